"""``gateway models``: the GGUF models and adapters of a home, and what they were used for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.domain import Decoding
from gateway.output import Format, Output, show

if TYPE_CHECKING:
    from gateway.engine.gguf_header import GgufHeader
    from gateway.engine.memory import Estimate
    from gateway.engine.models import ModelRecord
    from gateway.settings import Settings

models = typer.Typer(help="The GGUF models of this home.", no_args_is_help=True)


@models.command("add")
def add(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    name: Annotated[str, typer.Option(help="What requests call it. Default: its file name.")] = "",
    decoding: Annotated[Decoding | None, typer.Option(help="How it may answer.")] = None,
    context: Annotated[int, typer.Option(min=0, help="Tokens; 0: what the file says.")] = 0,
    tag: Annotated[list[str] | None, typer.Option(help="For policies and routing.")] = None,
    licence: Annotated[
        str, typer.Option("--license", help="Of the weights. Default: what the file says.")
    ] = "",
    card: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A text about the model.")
    ] = None,
    adapter_of: Annotated[str, typer.Option(help="FILE is a LoRA adapter of this model.")] = "",
    scale: Annotated[float, typer.Option(help="How strongly an adapter is applied.")] = 1.0,
    output: Format = Output.TEXT,
) -> None:
    """Check a GGUF file, copy it into the home and record its digest."""
    from gateway.acts import record_event
    from gateway.clock import utc_now
    from gateway.engine.models import NewModel, add_model
    from gateway.settings import home_from_environment

    new = NewModel(
        name=name or file.stem,
        added=utc_now().date().isoformat(),
        decoding=decoding,
        context=context,
        tags=frozenset(tag or ()),
        license=licence,
        card=card,
        base=adapter_of,
        scale=scale,
    )
    record = add_model(home_from_environment(), file, new)
    record_event("model.added", {"digests": _digests(record)}, {"name": new.name})
    text = f"{new.name} {record.spec.sha256}\nA running gateway serves it after its next start."
    show(_row(record, _header(record)), text, output)


@models.command("list")
def list_models_(output: Format = Output.TEXT) -> None:
    """List the models of this home, the bundled one first, and which fit its memory."""
    from gateway.engine.memory import MIB, budget_bytes
    from gateway.engine.models import list_models
    from gateway.settings import home_from_environment

    home = home_from_environment()
    budget = budget_bytes(_settings(home).engine.memory_mib)
    rows = []
    for record in list_models(home):
        header = _header(record)
        need = _need(home, record, header)
        fits = need is not None and need.total <= budget
        rows.append(_row(record, header) | {"memory_bytes": need and need.total, "fits": fits})
    head = f"{budget // MIB} MiB for all models together"
    show(rows, "\n".join([head, *map(_line, rows)]), output)


@models.command("show")
def show_model(name: str, output: Format = Output.JSON) -> None:
    """Print what is recorded of a model, its card and what it needs of the memory."""
    from gateway.engine.memory import MIB, budget_bytes
    from gateway.engine.models import find_model
    from gateway.settings import home_from_environment

    home = home_from_environment()
    record = find_model(home, name)
    header, budget = _header(record), budget_bytes(_settings(home).engine.memory_mib)
    need = _need(home, record, header)
    row = _row(record, header) | {"budget_bytes": budget, "card": _card(record)}
    row["memory"] = need and {
        "weights": need.weights,
        "cache": need.kv,
        "computing": need.compute,
        "other": need.other,
        "vectors": need.vectors,
        "total": need.total,
    }
    text = "\n".join(f"{key:<16} {_plain(value)}" for key, value in row.items() if key != "card")
    if need is not None and need.total > budget:
        text += f"\nIt does not fit: engine.memory_mib allows {budget // MIB} MiB."
    show(row, f"{text}\n\n{row['card']}".rstrip(), output)


@models.command("verify")
def verify(name: str, output: Format = Output.TEXT) -> None:
    """Check header, digest, chat template and card of a model, as loading does."""
    from gateway.engine.models import verify_model
    from gateway.settings import home_from_environment

    record = verify_model(home_from_environment(), name)
    show(_row(record, _header(record)), f"{name} is intact: {record.spec.sha256}", output)


@models.command("remove")
def remove(name: str, output: Format = Output.TEXT) -> None:
    """Forget a model and delete its file. One that has adapters stays."""
    from gateway.acts import record_event
    from gateway.engine.models import find_model, remove_model
    from gateway.settings import home_from_environment

    home = home_from_environment()
    record = find_model(home, name)
    remove_model(home, name)
    record_event("model.removed", {"digests": _digests(record)}, {"name": name})
    show({"name": name, "removed": True}, f"{name} is removed", output)


@models.command("report")
def report(
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Default: 30 days ago (UTC).")
    ] = None,
    output: Format = Output.TEXT,
) -> None:
    """Requests, tokens, energy and CO2e by model. A running gateway adds to it once a minute."""
    from gateway.clock import utc_now
    from gateway.engine.energy import micrograms
    from gateway.engine.tally import FILE, read_tally, totals
    from gateway.settings import home_from_environment

    home = home_from_environment()
    first = (since or utc_now() - timedelta(days=30)).replace(tzinfo=UTC).date()
    factor = _settings(home).energy.grid_gco2e_per_kwh
    rows = []
    for name, total in totals(read_tally(home / FILE), first.isoformat()).items():
        co2e = micrograms(total.millijoules, factor)
        rows.append(
            {
                "model": name,
                "requests": total.requests,
                "prompt_tokens": total.prompt,
                "cached_tokens": total.cached,
                "completion_tokens": total.completion,
                "joules": total.millijoules // 1000,
                "measured_joules": total.measured // 1000,
                "gco2e": None if co2e is None else round(co2e / 1e6, 3),
            }
        )
    text = "\n".join(map(_report_line, rows)) or "Nothing was asked of a model since then."
    show({"since": first.isoformat(), "models": rows}, text, output)


# --- rows -----------------------------------------------------------------------------------------


def _settings(home: Path) -> Settings:
    from gateway import settings

    there = (home / settings.SETTINGS_FILE).exists()
    return settings.load(home) if there else settings.Settings()


def _header(record: ModelRecord) -> GgufHeader | None:
    """What the file says of itself, None where it cannot be read as what it should be."""
    from gateway.engine.gguf_header import read_header
    from gateway.errors import ModelFileError

    path = record.spec.path
    try:
        with path.open("rb") as file:
            return read_header(file, path.stat().st_size)
    except (OSError, ModelFileError):
        return None


def _need(home: Path, record: ModelRecord, header: GgufHeader | None) -> Estimate | None:
    """What loading it would take."""
    from gateway.engine.memory import UBATCH, estimate
    from gateway.engine.model_file import context_of

    if header is None:
        return None
    slots = _settings(home).engine.slots
    context = context_of(record.spec, header)
    return estimate(header, context, UBATCH, sequences=slots, outputs=slots)


def _digests(record: ModelRecord) -> dict[str, str]:
    spec = record.spec
    if spec.base:
        return {"adapter": spec.sha256, "model": spec.base_sha256}
    return {"model": spec.sha256}


def _row(record: ModelRecord, header: GgufHeader | None) -> dict[str, Any]:
    """``context`` is what a conversation may have, which the file bounds."""
    from gateway.engine.model_copy import facts_of
    from gateway.engine.model_file import context_of, size_class

    spec, facts = record.spec, record.facts
    if header is not None and not facts.size_bytes:  # the bundled model, or an older list
        facts = facts_of(header)
    context = spec.context or None
    if header is not None and not spec.base:
        context = context_of(spec, header)
    return {
        "name": spec.name,
        "kind": spec.kind.value,
        "base": spec.base or None,
        "decoding": spec.decoding.value,
        "context": context,
        "sha256": spec.sha256,
        "size_bytes": facts.size_bytes,
        "quantization": facts.quantization,
        "architecture": facts.architecture,
        "parameters": facts.parameters,
        "template_sha256": facts.template_sha256,
        "card_sha256": facts.card_sha256,
        "scale": spec.scale if spec.base else None,
        "tags": sorted(spec.tags),
        "size": size_class(facts.parameters) if facts.parameters and not spec.base else None,
        "zone": spec.zone,
        "license": spec.license,
        "bundled": record.bundled,
        "added": record.added,
    }


def _card(record: ModelRecord) -> str | None:
    if not record.facts.card_sha256:
        return None
    try:
        return record.card.read_text("utf-8", "replace")
    except OSError:
        return None


def _line(row: dict[str, Any]) -> str:
    need, what = row["memory_bytes"], row["decoding"]
    if need is None:
        room = "its file cannot be read"
    else:
        room = f"{need >> 20} MiB" + ("" if row["fits"] else ", does not fit")
    if row["base"]:
        what = f"adapter of {row['base']}"
    parts = (row["name"], what, row["quantization"], str(row["sha256"])[:12], room)
    return "  ".join([part for part in parts if part] + row["tags"])


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {number}" for key, number in value.items())
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _report_line(row: dict[str, Any]) -> str:
    co2e = "" if row["gco2e"] is None else f", {row['gco2e']} g CO2e"
    return (
        f"{row['model']}  {row['requests']} requests, {row['prompt_tokens']} tokens read "
        f"({row['cached_tokens']} of them kept), {row['completion_tokens']} written, "
        f"{row['joules']} J{co2e}"
    )
