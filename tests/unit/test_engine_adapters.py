"""LoRA adapters: what fits a base is added to it, anything else is refused with a reason."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gateway.engine.gguf_header import Kind
from gateway.engine.model_file import adapter_card, card, check_file
from gateway.engine.models import (
    NewModel,
    add_model,
    check_bases,
    list_models,
    remove_model,
    verify_model,
)
from gateway.engine.registry import open_registry
from gateway.errors import ModelFileError, SettingsError, UnknownModelError
from tests import sizedmodel
from tests.sizedmodel import Shape, write_adapter, write_gguf, write_model

ADDED = "2026-11-22"
SHAPE = Shape(layers=2, width=32, heads=2, kv_heads=1, feed_forward=64, words=300)
ADAPTER = {
    "general.type": "adapter",
    "general.architecture": "llama",
    "adapter.type": "lora",
    "adapter.lora.alpha": 8.0,
}
QUERY = "blk.0.attn_q.weight"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    add_model(folder, write_model(tmp_path / "base.gguf", SHAPE), NewModel("base", ADDED))
    return folder


def test_an_adapter_is_recorded_with_its_base(home: Path, tmp_path: Path):
    """Name and digest of the base, the scale, and nothing of a chat of its own."""
    file = write_adapter(tmp_path / "a.gguf", SHAPE, **{"general.license": "mit"})
    new = NewModel("notes", ADDED, base="base", scale=0.5, tags=frozenset({"clinical"}))
    record = add_model(home, file, new)
    base = list_models(home, bundled=False)[0]
    assert list_models(home, bundled=False) == (base, record)
    assert (record.spec.base, record.spec.base_sha256) == ("base", base.spec.sha256)
    assert (record.spec.kind, record.spec.scale, record.spec.license) == (Kind.ADAPTER, 0.5, "mit")
    assert verify_model(home, "notes") == record
    check_bases(list_models(home))


def test_an_adapted_model_is_its_base_under_another_name(home: Path, tmp_path: Path):
    """The digest is the adapter's, the base's stands beside it; tags are the adapter's own."""
    new = NewModel("notes", ADDED, base="base", tags=frozenset({"clinical"}))
    spec = add_model(home, write_adapter(tmp_path / "a.gguf", SHAPE), new).spec
    base = list_models(home, bundled=False)[0].spec
    with base.path.open("rb") as file:
        header, digest = check_file(file, base.sha256)
    shown = adapter_card(spec, 10, card(base, header, digest))
    assert (shown.name, shown.digest) == ("notes", spec.sha256)
    assert (shown.base, shown.base_digest) == ("base", base.sha256)
    assert shown.tags == {"clinical", "tiny"}
    assert shown.size_bytes == header.size_bytes + 10


WRONG = {
    "another architecture": (ADAPTER | {"general.architecture": "qwen2"}, None, "architecture"),
    "no alpha": ({k: v for k, v in ADAPTER.items() if "alpha" not in k}, None, "alpha"),
    "an alpha that is no number of native code": (
        ADAPTER | {"adapter.lora.alpha": 8},
        None,
        "alpha",
    ),
    "an alpha beyond numbers": (ADAPTER | {"adapter.lora.alpha": float("inf")}, None, "alpha"),
    "an alpha that is none": (ADAPTER | {"adapter.lora.alpha": float("nan")}, None, "alpha"),
    "an alpha of zero": (ADAPTER | {"adapter.lora.alpha": 0.0}, None, "alpha"),
    "another kind": (ADAPTER | {"adapter.type": "control"}, None, "plain LoRA"),
    "one that wakes at certain words": (
        ADAPTER | {"adapter.alora.invocation_tokens": [1, 2]},
        None,
        "plain LoRA",
    ),
    "half a pair": (ADAPTER, {f"{QUERY}.lora_a": (4, 32)}, "half"),
    "a tensor the base does not have": (
        ADAPTER,
        {"blk.9.attn_q.weight.lora_a": (4, 32), "blk.9.attn_q.weight.lora_b": (32, 4)},
        "does not have",
    ),
    "a wider base": (
        ADAPTER,
        {f"{QUERY}.lora_a": (4, 64), f"{QUERY}.lora_b": (64, 4)},
        "does not have",
    ),
    "two ranks in a pair": (
        ADAPTER,
        {f"{QUERY}.lora_a": (4, 32), f"{QUERY}.lora_b": (32, 8)},
        "does not have",
    ),
    "a vector": (
        ADAPTER,
        {"output_norm.weight.lora_a": (32,), "output_norm.weight.lora_b": (32,)},
        "does not have",
    ),
    "a norm, which llama.cpp leaves out silently": (
        ADAPTER,
        {f"{QUERY}.lora_a": (4, 32), f"{QUERY}.lora_b": (32, 4), "blk.0.attn_norm.weight": (32,)},
        "no part",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_adapter_that_does_not_fit_is_refused(home: Path, tmp_path: Path, name: str):
    """Before native code sees it, with the reason; the home stays as it was."""
    fields, tensors, word = WRONG[name]
    good = {f"{QUERY}.lora_a": (4, 32), f"{QUERY}.lora_b": (32, 4)}
    file = write_gguf(tmp_path / "a.gguf", fields, good if tensors is None else tensors)
    sound = write_gguf(tmp_path / "good.gguf", ADAPTER, good)
    before = sorted(path.name for path in (home / "models").iterdir())
    with pytest.raises(ModelFileError, match=word):
        add_model(home, file, NewModel("a", ADDED, base="base"))
    assert sorted(path.name for path in (home / "models").iterdir()) == before
    add_model(home, sound, NewModel("a", ADDED, base="base"))


def test_an_embedding_is_adapted_the_other_way_round(home: Path, tmp_path: Path):
    """Rows are looked up in its first half, so both halves are transposed (llm_build_inp_embd)."""
    name = "token_embd.weight"
    right = {f"{name}.lora_a": (300, 4), f"{name}.lora_b": (32, 4)}
    wrong = {f"{name}.lora_a": (4, 32), f"{name}.lora_b": (300, 4)}
    add_model(
        home, write_gguf(tmp_path / "r.gguf", ADAPTER, right), NewModel("r", ADDED, base="base")
    )
    with pytest.raises(ModelFileError):
        add_model(
            home, write_gguf(tmp_path / "w.gguf", ADAPTER, wrong), NewModel("w", ADDED, base="base")
        )


# llama.cpp's own word on a base and adapters of it, in a process of its own: it may abort.
NATIVE = """
import ctypes, sys
import llama_cpp.llama_cpp as llama
quiet = llama.llama_log_callback(lambda *_: None)
llama.llama_log_set(quiet, ctypes.c_void_p(0))
model = llama.llama_model_load_from_file(sys.argv[1].encode(), llama.llama_model_default_params())
print(*(bool(llama.llama_adapter_lora_init(model, path.encode())) for path in sys.argv[2:]))
"""


def test_llama_cpp_takes_what_is_taken_here(tmp_path: Path):
    """The adapter that passes loads; one of another shape does not load there, either."""
    base = write_model(tmp_path / "base.gguf", SHAPE)
    good = write_adapter(tmp_path / "good.gguf", SHAPE, parts=("attn_q", "attn_v", "ffn_down"))
    fields, tensors, _ = WRONG["a wider base"]
    bad = write_gguf(tmp_path / "bad.gguf", fields, tensors)
    done = subprocess.run(
        [sys.executable, "-c", NATIVE, str(base), str(good), str(bad)],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.split() == ["True", "False"]


def test_kinds_are_not_mixed_up(home: Path, tmp_path: Path):
    """No adapter as a model, no model as an adapter, none of an adapter, none of nothing."""
    adapter = write_adapter(tmp_path / "a.gguf", SHAPE)
    model = tmp_path / "base.gguf"
    add_model(home, adapter, NewModel("a", ADDED, base="base"))
    for file, base, error in (
        (adapter, "", ModelFileError),
        (model, "base", ModelFileError),
        (adapter, "a", ModelFileError),
        (adapter, "nobody", UnknownModelError),
    ):
        with pytest.raises(error):
            add_model(home, file, NewModel("b", ADDED, base=base))
    for scale in (0.0, -1.0, 101.0, float("nan")):
        with pytest.raises(SettingsError):
            add_model(home, adapter, NewModel("b", ADDED, base="base", scale=scale))


def test_a_base_stays_as_long_as_it_has_adapters(home: Path, tmp_path: Path):
    """Its adapters are named; without them it goes."""
    add_model(
        home, write_adapter(tmp_path / "a.gguf", SHAPE), NewModel("notes", ADDED, base="base")
    )
    with pytest.raises(SettingsError, match="notes"):
        remove_model(home, "base")
    remove_model(home, "notes")
    remove_model(home, "base")
    assert list_models(home, bundled=False) == ()


def test_an_adapter_never_meets_another_base(home: Path, tmp_path: Path):
    """A base that was replaced under its name, or is gone: the gateway does not start."""
    add_model(
        home, write_adapter(tmp_path / "a.gguf", SHAPE), NewModel("notes", ADDED, base="base")
    )
    open_registry(home)
    path = home / "models" / "models.toml"
    listed = path.read_text()
    digest = list_models(home, bundled=False)[0].spec.sha256
    path.write_text(listed.replace(digest, "0" * 64, 1))
    for call in (lambda: open_registry(home), lambda: verify_model(home, "notes")):
        with pytest.raises(SettingsError, match="notes"):
            call()


def test_the_sizes_of_the_measured_models_are_what_they_are_called():
    """The figures in docs/models.md are of these."""
    counts = []
    for shape in (sizedmodel.ABOUT_1M, sizedmodel.ABOUT_10M, sizedmodel.ABOUT_125M):
        sizes = sizedmodel.tensors(shape).values()
        counts.append(sum(s[0] * (s[1] if len(s) > 1 else 1) for s in sizes))
    assert [round(count / 1e6) for count in counts] == [1, 10, 135]
