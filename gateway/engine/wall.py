"""The wall around native code: what a process may still ask of the kernel once it stands.

Three layers, each through ctypes so that the child needs no further library:

1. ``harden_process``: no core dumps, not dumpable, so no same-user debugger and no memory in a
   dump (prctl(2) PR_SET_DUMPABLE, setrlimit(2) RLIMIT_CORE). The gateway calls it for itself too.
2. Landlock (kernel 5.13 and later): a ruleset without a single rule. No path can be opened, no TCP
   port bound or reached, no abstract socket or signal leaves the domain. The model is not opened
   by path at all: its descriptor is handed over open.
3. seccomp: an allow-list of the few calls that reading descriptors, memory and threads need.
   Everything else fails with EPERM: socket, connect, open, execve, fork, ptrace,
   process_vm_readv and all that a later kernel invents. New executable pages are refused.

The wall MUST be raised while the process has one thread: Landlock restricts the calling thread
and its children only. ``raise_wall`` checks that.

Sources: kernel documentation userspace-api/seccomp_filter and userspace-api/landlock.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import resource
import signal
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

NONE: Final = "none"
"""What ``raise_wall`` reports when nothing stands."""

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38


class WallError(Exception):
    """The kernel does not grant what the wall needs. Only constants in the message."""


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def harden_process() -> None:
    """Make this process non-dumpable and forbid core files. Idempotent.

    Raises:
        WallError: the kernel refused; the memory of this process could reach a disk.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if _libc().prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise WallError("The process could not be made non-dumpable.")


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends."""
    _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def die_first() -> None:
    """Have the kernel end this process before others when memory runs out (proc(5) oom_score_adj).

    A model file or its template may ask for any amount. MUST come before ``harden_process``: the
    files of a non-dumpable process belong to root. A kernel that does not know it changes nothing.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")


def raise_wall() -> str:
    """Restrict this process for good; return what stands: ``seccomp+landlock`` or ``seccomp``.

    seccomp alone already denies files and network, so it is what must be there; Landlock is a
    second lock where the kernel has it.

    Raises:
        WallError: not Linux, an unknown processor, more than one thread, or no seccomp.
    """
    if sys.platform != "linux":
        raise WallError("The engine's wall needs Linux.")
    if len(list(Path("/proc/self/task").iterdir())) != 1:
        raise WallError("The engine's wall must be raised before threads start.")
    program = filter_program(platform.machine(), os.getpid())
    if _libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise WallError("The kernel refused no_new_privs.")
    landlocked = _restrict_with_landlock()
    _load_filter(program, platform.machine())
    return "seccomp+landlock" if landlocked else "seccomp"


# --- Landlock ---------------------------------------------------------------------------------

_LANDLOCK_CREATE_RULESET = 444  # the same number on every processor, as are the next two
_LANDLOCK_RESTRICT_SELF = 446
_LANDLOCK_VERSION_FLAG = 1
_FS_RIGHTS_BY_ABI = {1: 13, 2: 14, 3: 15, 5: 16}  # the first N access bits exist since this ABI
_NET_ABI, _NET_RIGHTS = 4, 0b11  # bind and connect of TCP
_SCOPE_ABI, _SCOPES = 6, 0b11  # abstract unix sockets, signals


def _restrict_with_landlock() -> bool:
    """Forbid all paths; return False where the kernel has no Landlock."""
    libc = _libc()
    abi = libc.syscall(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_VERSION_FLAG)
    if abi < 1:
        return False
    bits = max(count for since, count in _FS_RIGHTS_BY_ABI.items() if abi >= since)
    fields = [(1 << bits) - 1]
    if abi >= _NET_ABI:
        fields.append(_NET_RIGHTS)
    if abi >= _SCOPE_ABI:
        fields.append(_SCOPES)
    attributes = struct.pack(f"{len(fields)}Q", *fields)
    ruleset = libc.syscall(_LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)
    if ruleset < 0:
        return False
    try:
        return bool(libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


# --- seccomp ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Machine:
    """Numbers of one processor. ``allowed`` are calls whose arguments do not matter."""

    audit_arch: int
    seccomp: int
    allowed: tuple[int, ...]
    mmap: int
    mprotect: int
    clone: int
    clone3: int
    tgkill: int


# In the order of frequency: the kernel walks the list for every call.
# futex read write clock_gettime sched_yield poll|ppoll munmap madvise brk mremap lseek pread64
# fstat close nanosleep clock_nanosleep restart_syscall sched_getaffinity getpid gettid getrandom
# rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack set_robust_list rseq membarrier sysinfo
# getrusage exit exit_group
# fmt: off
_MACHINES: Final = {
    "x86_64": _Machine(
        audit_arch=0xC000003E, seccomp=317,
        allowed=(
            202, 0, 1, 228, 24, 7, 271, 11, 28, 12, 25, 8, 17, 5, 3, 35, 230, 219, 204, 39, 186,
            318, 13, 14, 15, 131, 273, 334, 324, 99, 98, 60, 231,
        ),
        mmap=9, mprotect=10, clone=56, clone3=435, tgkill=234,
    ),
    "aarch64": _Machine(
        audit_arch=0xC00000B7, seccomp=277,
        allowed=(
            98, 63, 64, 113, 124, 73, 215, 233, 214, 216, 62, 67, 80, 57, 101, 115, 128, 123, 172,
            178, 278, 134, 135, 139, 132, 99, 293, 283, 179, 165, 93, 94,
        ),
        mmap=222, mprotect=226, clone=220, clone3=435, tgkill=131,
    ),
}
# fmt: on

_EPERM, _ENOSYS = 1, 38
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_SET_MODE_FILTER, _TSYNC = 1, 1
_PROT_EXEC, _CLONE_THREAD = 0x4, 0x10000
# Offsets in struct seccomp_data; arguments are 64 bits, little end first on both machines.
_NR, _ARCH, _ARG0, _ARG2 = 0, 4, 16, 32
_LOAD, _JUMP_EQ, _JUMP_SET, _RETURN = 0x20, 0x15, 0x45, 0x06


def filter_program(machine: str, pid: int) -> bytes:
    """Return the BPF program for ``machine`` as an array of struct sock_filter.

    ``pid`` is the only process that ``tgkill`` (abort(3) uses it) may name.

    Raises:
        WallError: the processor is not one whose call numbers are known here.
    """
    numbers = _MACHINES.get(machine)
    if numbers is None:
        raise WallError("The engine's wall knows x86_64 and aarch64 only.")
    code = [
        _op(_LOAD, _ARCH),
        _op(_JUMP_EQ, numbers.audit_arch, when_true=1),
        _op(_RETURN, _KILL),
        _op(_LOAD, _NR),
    ]
    for number in numbers.allowed:
        code += [_op(_JUMP_EQ, number, when_false=1), _op(_RETURN, _ALLOW)]
    # glibc falls back to clone, whose flags can be read, when clone3 does not exist.
    code += [_op(_JUMP_EQ, numbers.clone3, when_false=1), _op(_RETURN, _ERRNO | _ENOSYS)]
    for number, argument, test, value, wanted in (
        (numbers.mmap, _ARG2, _JUMP_SET, _PROT_EXEC, False),
        (numbers.mprotect, _ARG2, _JUMP_SET, _PROT_EXEC, False),
        (numbers.clone, _ARG0, _JUMP_SET, _CLONE_THREAD, True),
        (numbers.tgkill, _ARG0, _JUMP_EQ, pid, True),
    ):
        code += [
            _op(_JUMP_EQ, number, when_false=4),
            _op(_LOAD, argument),
            _op(test, value, when_true=int(not wanted), when_false=int(wanted)),
            _op(_RETURN, _ALLOW),
            _op(_RETURN, _ERRNO | _EPERM),
        ]
    code.append(_op(_RETURN, _ERRNO | _EPERM))
    return b"".join(code)


def _op(code: int, value: int, *, when_true: int = 0, when_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, when_true, when_false, value)


def _load_filter(program: bytes, machine: str) -> None:
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    # TSYNC: every thread, should one have started despite the check above.
    result = _libc().syscall(_MACHINES[machine].seccomp, _SET_MODE_FILTER, _TSYNC, header)
    if result != 0:
        raise WallError("The kernel refused the seccomp filter.")
