"""The models of a home: added once, checked always."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from gateway.domain import Decoding
from gateway.engine.configured import engines
from gateway.engine.models import (
    NewModel,
    add_model,
    bundled_model,
    find_model,
    list_models,
    remove_model,
    verify_model,
)
from gateway.errors import ModelFileError, SettingsError, UnknownModelError
from gateway.settings import EngineSettings, Settings
from tests.sizedmodel import ABOUT_1M, write_adapter
from tests.tinymodel import write_tiny_gguf

ADDED = "2026-11-22"


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    return write_tiny_gguf(tmp_path / "source.gguf", labels=3)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def test_a_model_that_was_added_is_listed_and_verified(home: Path, gguf: Path):
    """The record survives a restart; the copy is private; what the file declares is taken over."""
    new = NewModel("site-1", ADDED, tags=frozenset({"b", "a"}), license='Own "1.0"', context=99)
    record = add_model(home, gguf, new)
    assert list_models(home, bundled=False) == (record,)
    assert find_model(home, "site-1") == verify_model(home, "site-1") == record
    assert record.spec.decoding is Decoding.EXTRACTIVE
    assert record.spec.path.read_bytes() == gguf.read_bytes()
    for path in (record.spec.path, home / "models" / "models.toml"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_operators_word_outweighs_the_files(home: Path, gguf: Path):
    """A file that says extractive can be recorded as free."""
    new = NewModel("site", ADDED, decoding=Decoding.FREE)
    assert add_model(home, gguf, new).spec.decoding is Decoding.FREE


def test_a_file_that_changed_is_found_out(home: Path, gguf: Path):
    """One flipped bit in the weights, a missing file: not the model that was recorded."""
    path = add_model(home, gguf, NewModel("m", ADDED)).spec.path
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelFileError):
        verify_model(home, "m")
    path.unlink()
    with pytest.raises(ModelFileError):
        verify_model(home, "m")


@pytest.mark.parametrize("name", ["", "auto", "../m", "a b", ".hidden", "x" * 129, "m.gguf", "é"])
def test_a_name_that_is_no_plain_name_is_refused(home: Path, gguf: Path, name: str):
    """Names become file names and model ids."""
    with pytest.raises(SettingsError):
        add_model(home, gguf, NewModel(name, ADDED))


def test_nothing_is_left_of_an_add_that_failed(home: Path, gguf: Path, tmp_path: Path):
    """A corrupt file, a taken name, a line break in the licence: the home stays as it was."""
    add_model(home, gguf, NewModel("m", ADDED))
    (home / "models" / "stray.gguf").write_bytes(b"not ours")
    before = sorted((p.name, p.read_bytes()) for p in (home / "models").iterdir())
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(gguf.read_bytes()[:-1])
    for path, new, error in (
        (broken, NewModel("n", ADDED), ModelFileError),
        (tmp_path / "absent.gguf", NewModel("n", ADDED), SettingsError),
        (gguf, NewModel("m", ADDED), SettingsError),
        (gguf, NewModel("stray", ADDED), SettingsError),
        (gguf, NewModel(bundled_model().spec.name, ADDED), SettingsError),
        (gguf, NewModel("n", ADDED, license="a\nb"), SettingsError),
    ):
        with pytest.raises(error):
            add_model(home, path, new)
    assert sorted((p.name, p.read_bytes()) for p in (home / "models").iterdir()) == before


def test_a_removed_model_is_gone(home: Path, gguf: Path):
    """List and file; the bundled one stays."""
    path = add_model(home, gguf, NewModel("m", ADDED)).spec.path
    remove_model(home, "m")
    assert list_models(home, bundled=False) == ()
    assert not path.exists()
    with pytest.raises(UnknownModelError):
        remove_model(home, "m")
    with pytest.raises(SettingsError):
        remove_model(home, bundled_model().spec.name)


GOOD = {"name": '"m"', "file": '"m.gguf"', "sha256": f'"{"0" * 64}"', "decoding": '"free"'}
BAD = [
    {"name": '"a b"'},
    {"name": "1"},
    {"name": '"auto"'},
    {"file": '"../m.gguf"'},
    {"file": '"/etc/passwd"'},
    {"sha256": '""'},
    {"sha256": '"xyz"'},
    {"decoding": '"loud"'},
    {"context": "-1"},
    {"context": "true"},
    {"tags": '"a"'},
    {"zone": '""'},
    {"digest": '"0"'},
]


def listing(entry: dict[str, str]) -> str:
    return "[[model]]\n" + "".join(f"{key} = {value}\n" for key, value in entry.items())


@pytest.mark.parametrize("change", BAD)
def test_a_list_with_a_bad_entry_is_refused(home: Path, change: dict[str, str]):
    """Unknown keys and bad values stop the start; nothing is guessed."""
    path = home / "models" / "models.toml"
    path.parent.mkdir()
    path.write_text(listing(GOOD))
    assert len(list_models(home, bundled=False)) == 1
    path.write_text(listing(GOOD | change))
    with pytest.raises(SettingsError):
        list_models(home, bundled=False)


@pytest.mark.parametrize("text", ["[[model]", "x = 1", "model = 1", listing(GOOD) * 2])
def test_a_list_that_is_no_list_is_refused(home: Path, text: str):
    """Not TOML, a stray key, one name twice."""
    (home / "models").mkdir()
    (home / "models" / "models.toml").write_text(text)
    with pytest.raises(SettingsError):
        list_models(home, bundled=False)


def test_no_model_at_all_is_an_error(home: Path):
    """Empty denies: a gateway without a model does not start."""
    settings = Settings(engine=EngineSettings(bundled_model=False))
    with pytest.raises(SettingsError):
        engines(settings, home)


def test_what_does_not_apply_to_a_file_is_refused_by_name(home: Path, gguf: Path, tmp_path: Path):
    """A context beyond the file's, a scale of no adapter, a reserved name, an adapter alone."""
    adapter = write_adapter(tmp_path / "a.gguf", ABOUT_1M)
    for path, new, words in (
        (gguf, NewModel("m", ADDED, context=10**6), "own context"),
        (gguf, NewModel("m", ADDED, scale=2.0), "adapter"),
        (gguf, NewModel("auto", ADDED), "reserved"),
        (adapter, NewModel("m", ADDED), "--adapter-of"),
    ):
        with pytest.raises((ModelFileError, SettingsError)) as caught:
            add_model(home, path, new)
        assert words in caught.value.message
    assert list_models(home, bundled=False) == ()
