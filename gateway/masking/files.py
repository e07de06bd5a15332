"""`gateway mask PATH...`: files and folders in, the same tree masked out; one record for the run.

Within a file a value has one number, and what a part of it teaches holds in the parts after it. A
file that cannot be read, or may not be masked, is named at the end; the others are not lost for
it. Only masked text is written, and only whole files appear.
"""

from __future__ import annotations

import codecs
import io
import json
import os
import signal
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import BinaryIO, TextIO

from gateway.errors import DetectorError, GatewayError, RequestError
from gateway.masking.formats import READERS
from gateway.masking.place import EXISTS, target
from gateway.masking.plan import Job, Refused, plan
from gateway.masking.pool import in_order
from gateway.masking.run import Run, Tally
from gateway.pii.mask import Memory

FILE_LIMIT = 256 * 1024 * 1024
_NOT_WRITTEN = "The masked file cannot be written."


@dataclass(frozen=True, slots=True)
class Options:
    """What a command line says of files. ``encoding`` None: UTF-8, or UTF-16 with its mark."""

    force: bool = False
    together: bool = False
    workers: int = 1
    kind: str | None = None
    encoding: str | None = None
    keep_names: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file: where it is now, or why it is nowhere."""

    source: Path
    size: int = 0
    placed: Path | None = None
    reason: str = ""
    code: str = ""


def mask_files(
    run: Run, paths: Sequence[Path], out: Path, options: Options
) -> Iterator[tuple[int, Outcome]]:
    """Mask every file of ``paths`` to below ``out``; yields how many there are, with each outcome.

    What is counted goes to ``run.tally``. Recording the run is the caller's.

    Raises:
        RequestError: the folder for the masked files cannot be made.
    """
    telling = (lambda _: False) if options.keep_names else run.telling
    _folder(out)
    planned = plan(paths, out, options.kind, telling)
    jobs = _apart(planned)
    shared = Memory() if options.together else None

    def work(index: int) -> tuple[Outcome, Tally]:
        before = run.take_tally()
        outcome = _outcome(run, jobs[index], options, shared)
        run.tally.done["error" if outcome.code else "masked"] += 1
        tally, run.tally = run.tally, before
        return outcome, tally

    def lost(index: int) -> tuple[Outcome, Tally]:
        tally = Tally(Counter(error=1))
        reason = DetectorError("Masking it ended the process.")
        return Outcome(jobs[index].source, 0, None, reason.message, reason.code), tally

    workers = 1 if options.together else options.workers
    for outcome, tally in in_order(work, range(len(jobs)), workers, lost):
        run.tally.add(tally)
        yield len(jobs), outcome


def mask_stream(
    run: Run, source: BinaryIO, target: BinaryIO, kind: str, encoding: str | None
) -> None:
    """Mask one text from a stream into another. Nothing is written of a block that fails.

    Raises:
        GatewayError: it cannot be read as what it is said to be, or not be masked.
    """
    data = io.BytesIO(source.read(FILE_LIMIT + 1))
    name = _encoding(data, encoding)
    memory = Memory()
    with _text(data, name) as text:
        for block in READERS[kind](text):
            target.write(run.mask(block, memory).encode(name))
            target.flush()


def write_names(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Which file became which, for the operator alone: names can be personal data.

    Raises:
        RequestError: the file is there already or cannot be written.
    """
    names = {str(each.source): str(each.placed) for each in outcomes if each.placed}
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
            json.dump(names, file, indent=2, ensure_ascii=False)
    except OSError:
        raise RequestError("The file for the names is there already or not writable.") from None


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """Let SIGTERM end the run as Ctrl-C does: what is unfinished is removed on the way out."""

    def end(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


# --- one file --------------------------------------------------------------------------------


def _outcome(run: Run, job: Job | Refused, options: Options, shared: Memory | None) -> Outcome:
    if isinstance(job, Refused):
        return Outcome(job.source, 0, None, job.reason, RequestError.code)
    try:
        placed = _mask_file(run, job, options, shared if shared is not None else Memory())
    except GatewayError as error:
        return Outcome(job.source, job.size, None, error.message, error.code)
    except UnicodeError:
        reason = "It is not text in the encoding it is said to be in (--encoding names another)."
        return Outcome(job.source, job.size, None, reason, RequestError.code)
    except OSError:
        return Outcome(job.source, job.size, None, _NOT_WRITTEN, "not_written")
    except Exception:  # noqa: BLE001 - whatever it is, the other files are not lost for it
        return Outcome(job.source, job.size, None, GatewayError.default_message, GatewayError.code)
    return Outcome(job.source, job.size, placed)


def _mask_file(run: Run, job: Job, options: Options, memory: Memory) -> Path:
    with opened(job.source) as data:
        name = _encoding(data, options.encoding)
        _folder(job.folder)
        with target(job.folder, name, force=options.force) as made, _text(data, name) as text:
            for block in READERS[job.format](text):
                made.file.write(run.mask(block, memory))
            stem = Path(job.name).stem
            telling = not options.keep_names and run.telling(stem, memory)
            final = job.folder / (job.number_name if telling else job.name)
            if final.exists() and final.samefile(job.source):
                raise RequestError("The masked file would replace its source.")
            made.put(final.name)
    return final


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A plain file, no link, of a size that is read.

    Raises:
        RequestError: it is not that, or cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        raise RequestError("It cannot be read.") from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):  # a folder cannot even be made a stream of
        os.close(descriptor)
        raise RequestError("It is no file.")
    with os.fdopen(descriptor, "rb") as data:
        if status.st_size > FILE_LIMIT:
            raise RequestError(f"A file is read up to {FILE_LIMIT:,} bytes.")
        yield data


@contextmanager
def read_text(path: Path, encoding: str | None) -> Iterator[TextIO]:
    """The text of a plain file, decoded strictly.

    Raises:
        RequestError: it cannot be read, or is no text.
    """
    with opened(path) as data, _text(data, _encoding(data, encoding)) as text:
        yield text


def _encoding(data: BinaryIO, named: str | None) -> str:
    """The encoding by the mark at the beginning; a binary file is refused."""
    head = data.read(4096)
    data.seek(0)
    if named is not None:
        try:
            return codecs.lookup(named).name
        except LookupError:
            raise RequestError("No such encoding is known.") from None
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if b"\0" in head or head.startswith((b"%PDF-", b"{\\rtf", b"%!PS")):
        raise RequestError("It is no plain text.")
    return "utf-8-sig" if head.startswith(codecs.BOM_UTF8) else "utf-8"


@contextmanager
def _text(data: BinaryIO, name: str) -> Iterator[TextIO]:
    text = _Strict(data, encoding=name, errors="strict", newline="")
    try:
        yield text
    finally:
        text.detach()


class _Strict(io.TextIOWrapper):
    """A text without NUL: what has one is binary, wherever it stands."""

    def read(self, size: int | None = -1, /) -> str:
        return _no_nul(super().read(size))

    def readline(self, size: int = -1, /) -> str:  # type: ignore[override]
        return _no_nul(super().readline(size))


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise RequestError("It is no plain text.")
    return text


def _apart(planned: Sequence[Job | Refused]) -> list[Job | Refused]:
    """The jobs, but for those that would come to lie where another one does."""
    taken: set[Path] = set()
    jobs: list[Job | Refused] = []
    for job in planned:
        if isinstance(job, Job) and job.folder / job.name in taken:
            jobs.append(Refused(job.source, EXISTS))
            continue
        if isinstance(job, Job):
            taken.add(job.folder / job.name)
        jobs.append(job)
    return jobs


def _folder(path: Path) -> None:
    """Make the folder and those above it, for their owner alone; what is there stays as it is."""
    try:
        for each in reversed([path, *path.parents]):
            if not each.is_dir():
                each.mkdir(mode=0o700, exist_ok=True)
    except OSError:
        raise RequestError("A folder for the masked files cannot be made.") from None


def failures(outcomes: Sequence[Outcome]) -> list[str]:
    """One line for each file that is not masked, names shown as they can be printed."""
    return [f"{str(each.source)!r}: {each.reason}" for each in outcomes if each.code]
