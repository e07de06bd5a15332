"""``policyctl``: check, test and explain policies. Exit codes are DESIGN §3's and stable.

0 all is well, 1 a check failed, 2 wrong usage or an invalid file, 4 nothing was evaluated.
Results go to standard output, faults to standard error. Nothing here needs a gateway or a network.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.domain import Band, Category, Decoding, Purpose, Retention, Role
from gateway.errors import PolicyFileError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from importlib.resources.abc import Traversable

    from gateway.domain import Citation, Decision
    from gateway.policy.cases import Result
    from gateway.policy.model import Policy

OK, FAILED, INVALID, NOTHING = 0, 1, 2, 4


class Output(StrEnum):
    TEXT = "text"
    JSON = "json"


class Confidence(StrEnum):
    """The names of ``domain.Band``, as an option takes them."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


Files = Annotated[
    list[str] | None,
    typer.Argument(help="Policy files, or names of shipped ones. Default: all that ship."),
]
Format = Annotated[Output, typer.Option("--output", "-o", help="How to print the result.")]

app = typer.Typer(
    name="policyctl",
    help="Check, test and explain the policies of a Cloister gateway.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit; the console script calls this without arguments."""
    try:
        app(args=args)
    except PolicyFileError as error:
        _fault(error.message)
        sys.exit(INVALID)


# --- commands -------------------------------------------------------------------------------------


@app.command()
def validate(files: Files = None, output: Format = Output.TEXT) -> None:
    """Check that policies load and speak of the entity types that detection knows."""
    from gateway.pii.recognizers.vocabulary import ENTITY_TYPES  # noqa: PLC0415 - a fast start
    from gateway.policy.lint import check_vocabulary  # noqa: PLC0415

    rows: list[dict[str, object]] = []
    for source in _sources(files):
        try:
            policy = _load(source)
            check_vocabulary(policy, ENTITY_TYPES)
        except PolicyFileError as error:
            rows.append({"valid": False, "error": error.message})
            _fault(error.message)
        else:
            rows.append({"valid": True, **_described(policy), "rules": len(policy.rules)})
    lines = [_validated(row) for row in rows if row["valid"]]
    _print(output, {"policies": rows}, lines)
    raise typer.Exit(OK if all(row["valid"] for row in rows) else INVALID)


@app.command("test")
def check_cases(files: Files = None, output: Format = Output.TEXT) -> None:
    """Evaluate the truth table beside each policy (NAME.cases.yaml)."""
    from gateway.policy.cases import evaluate, load_cases  # noqa: PLC0415

    failed: list[Result] = []
    counts: dict[str, int] = {}
    for source in _sources(files):
        policy = _load(source)
        table = _beside(source)
        cases = load_cases(table, policy=policy.name) if table.is_file() else ()
        results = list(evaluate(policy, cases))
        counts[policy.file] = len(results)
        failed += [result for result in results if result.faults]
    for result in failed:
        _fault(f"{result.case.where}: case '{_named(result)}': {'; '.join(result.faults)}")
    empty = [file for file, count in counts.items() if count == 0]
    for file in empty:
        _fault(f"{file}: no case was evaluated; write {Path(file).stem}.cases.yaml beside it")
    rows = [
        {"case": _named(each), "where": each.case.where, "faults": each.faults} for each in failed
    ]
    total = sum(counts.values())
    lines = [f"{file}: {count} evaluated" for file, count in counts.items()]
    lines.append(f"{total} evaluated, {len(failed)} failed")
    _print(output, {"evaluated": counts, "failed": rows}, lines)
    raise typer.Exit(FAILED if failed else NOTHING if empty or not total else OK)


@app.command()
def explain(  # noqa: PLR0913, PLR0917 - typer makes options of the arguments
    role: Annotated[Role, typer.Option(help="Role of the key.")],
    purpose: Annotated[Purpose, typer.Option(help="Purpose of the request.")],
    entity: Annotated[
        list[str] | None, typer.Option(help="Entity type of a finding; may be repeated.")
    ] = None,
    confidence: Annotated[
        Confidence, typer.Option(help="Band of the findings' scores.")
    ] = Confidence.HIGH,
    beside: Annotated[
        list[str] | None, typer.Option(help="Entity type found as well; may be repeated.")
    ] = None,
    category: Annotated[
        list[Category] | None, typer.Option(help="Data category found; may be repeated.")
    ] = None,
    policy: Annotated[
        list[str] | None, typer.Option(help="Policy in force; may be repeated. Default: all.")
    ] = None,
    output: Format = Output.TEXT,
) -> None:
    """Show what is decided for a sample, and which rule, line and clause decided it."""
    from gateway.policy.cases import Sample, decide_on  # noqa: PLC0415
    from gateway.policy.decide import PolicySet  # noqa: PLC0415
    from gateway.policy.lint import check_retention  # noqa: PLC0415

    policies = PolicySet([_load(source) for source in _sources(policy)])
    check_retention(policies.policies)
    whys = _whys(policies.policies)
    asked = Sample(
        role,
        purpose,
        None,
        Band[confidence.name],
        tuple(beside or ()),
        frozenset(category or ()),
    )
    request = decide_on(policies, replace(asked, beside=()))
    decisions = {each: decide_on(policies, replace(asked, entity=each)) for each in entity or []}
    document = {
        "policies": [_described(each) for each in policies.policies],
        "digest": policies.digest,
        "request": _explained(request, whys),
        "findings": [_finding(each, decision, whys) for each, decision in decisions.items()],
    }
    lines = [f"{role.value} for {purpose.value}: {_summary(request)}"]
    lines += _because(request.denied or request.citations, whys)
    for each, decision in decisions.items():
        ruling = decision.rulings[0]
        restored = "restored" if ruling.restore else "not restored"
        lines.append(f"{each}: {ruling.operator.name.lower()}, {restored}")
        lines += _because(ruling.citations, whys)
    _print(output, document, lines)


@app.command()
def digest(files: Files = None, output: Format = Output.TEXT) -> None:
    """Print the SHA-256 of each policy's bytes, and one of the set."""
    from gateway.policy.decide import PolicySet  # noqa: PLC0415

    policies = PolicySet([_load(source) for source in _sources(files)])
    lines = [
        f"{each.digest}  {each.name} {each.version}  {each.file}" for each in policies.policies
    ]
    lines.append(f"{policies.digest}  all of them")
    document = {"policies": [_described(each) for each in policies.policies]}
    _print(output, {**document, "digest": policies.digest}, lines)


@app.command()
def schema() -> None:
    """Print the JSON Schema of a policy file, for completion in an editor."""
    from gateway.pii.recognizers.vocabulary import ENTITY_TYPES  # noqa: PLC0415
    from gateway.policy.schema import policy_schema  # noqa: PLC0415

    sys.stdout.write(json.dumps(policy_schema(ENTITY_TYPES), indent=2) + "\n")


# --- files ----------------------------------------------------------------------------------------


def _sources(names: Sequence[str] | None) -> list[Path | Traversable]:
    from gateway.policy.load import SHIPPED, shipped  # noqa: PLC0415

    return [shipped(name) if name in SHIPPED else Path(name) for name in names or SHIPPED]


def _beside(source: Path | Traversable) -> Path | Traversable:
    from gateway.policy.load import shipped  # noqa: PLC0415

    if isinstance(source, Path):
        return source.with_name(f"{source.stem}.cases.yaml")
    return shipped(f"{source.name.removesuffix('.yaml')}.cases")


def _load(source: Path | Traversable) -> Policy:
    from gateway.policy.load import load_policy  # noqa: PLC0415

    return load_policy(source)


# --- printing -------------------------------------------------------------------------------------


def _described(policy: Policy) -> dict[str, object]:
    return {
        "file": policy.file,
        "name": policy.name,
        "version": policy.version,
        "kind": policy.kind.value,
        "sha256": policy.digest,
    }


def _validated(row: dict[str, object]) -> str:
    return f"{row['file']}: {row['name']} {row['version']}, {row['rules']} rules, valid"


def _named(result: Result) -> str:
    return f"{result.case.id} ({result.sample})"


def _whys(policies: Sequence[Policy]) -> dict[tuple[str, str], str]:
    from gateway.policy.model import SILENCE  # noqa: PLC0415

    whys = {(each.name, rule.id): rule.why for each in policies for rule in each.rules}
    for each in policies:
        if each.silence is not None:
            whys[each.name, SILENCE] = each.silence.why
    return whys


def _cited(citation: Citation, whys: dict[tuple[str, str], str]) -> dict[str, object]:
    return {
        "policy": citation.policy,
        "rule": citation.rule,
        "where": f"{citation.file}:{citation.line}",
        "clause": citation.clause,
        "why": whys.get((citation.policy, citation.rule), ""),
    }


def _explained(decision: Decision, whys: dict[tuple[str, str], str]) -> dict[str, object]:
    zones = decision.constraints.zones
    return {
        "denied": [_cited(each, whys) for each in decision.denied],
        "stages": {each.stage: each.action for each in decision.stages},
        "zones": None if zones is None else sorted(zones),
        "tags": sorted(decision.constraints.tags),
        "decoding": decision.constraints.decoding.value,
        "restore_tools": sorted(decision.restore_tools),
        "obligations": list(decision.obligations),
        "retain": _retained(decision.retention),
        "because": [_cited(each, whys) for each in decision.citations],
    }


def _finding(
    entity: str, decision: Decision, whys: dict[tuple[str, str], str]
) -> dict[str, object]:
    ruling = decision.rulings[0]
    return {
        "entity_type": entity,
        "operator": ruling.operator.name.lower(),
        "restore": ruling.restore,
        "because": [_cited(each, whys) for each in ruling.citations],
    }


def _summary(decision: Decision) -> str:
    if decision.denied:
        return "denied"
    zones = decision.constraints.zones
    stages = ", ".join(f"{each.stage} {each.action}" for each in decision.stages) or "none"
    where = "any zone" if zones is None else "zone " + ", ".join(sorted(zones))
    held = decision.constraints.decoding
    answers = "" if held is Decoding.FREE else f"; answers: {held.value}"
    from gateway.policy.shown import shown  # noqa: PLC0415 - a fast start

    kept = "" if decision.retention == Retention() else f"; kept: {shown(decision.retention)}"
    return f"permitted; {where}{answers}{kept}; stages: {stages}"


def _retained(kept: Retention) -> dict[str, int | None]:
    return {"at_least": kept.at_least, "at_most": kept.at_most, "not_erased": kept.floor}


def _because(citations: Sequence[Citation], whys: dict[tuple[str, str], str]) -> list[str]:
    lines = []
    for each in citations:
        why = whys.get((each.policy, each.rule), "")
        lines.append(f"  {each.policy}/{each.rule}  {each.file}:{each.line}")
        lines.append(f"    {each.clause}: {why}" if why else f"    {each.clause}")
    return lines


def _print(output: Output, document: Mapping[str, object], lines: Sequence[str]) -> None:
    if output is Output.JSON:
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        sys.stdout.writelines(f"{line}\n" for line in lines)


def _fault(message: str) -> None:
    plain = "NO_COLOR" in os.environ or not sys.stderr.isatty()
    typer.echo(message if plain else typer.style(message, fg="red"), err=True)


if __name__ == "__main__":
    main()
