"""Forbidden acts, tried from inside a process that entered the wall exactly as a child does."""

from __future__ import annotations

import errno
import json
import platform
import subprocess
import sys

import pytest

from gateway.engine import wall
from tests.conftest import ROOT

# Numbers of calls that have no name in Python, by processor: what a break-out would reach for.
CALLS = {
    "x86_64": {
        "socketpair": 53,
        "connect": 42,
        "bind": 49,
        "sendto": 44,
        "sendmsg": 46,
        "accept4": 288,
        "ptrace": 101,
        "process_vm_readv": 310,
        "process_vm_writev": 311,
        "execveat": 322,
        "vfork": 58,
        "io_uring_setup": 425,
        "memfd_create": 319,
        "bpf": 321,
        "userfaultfd": 323,
        "perf_event_open": 298,
        "unshare": 272,
        "mount": 165,
        "keyctl": 250,
        "pidfd_open": 434,
        "pidfd_getfd": 438,
        "openat2": 437,
        "open_by_handle_at": 304,
        "shmget": 29,
        "mq_open": 240,
        "prctl": 157,
        "seccomp": 317,
        "chmod": 90,
        "unlink": 87,
        "rename": 82,
        "personality": 135,
        "kexec_load": 246,
    },
    "aarch64": {
        "socketpair": 199,
        "connect": 203,
        "bind": 200,
        "sendto": 206,
        "sendmsg": 211,
        "accept4": 242,
        "ptrace": 117,
        "process_vm_readv": 270,
        "process_vm_writev": 271,
        "execveat": 281,
        "io_uring_setup": 425,
        "memfd_create": 279,
        "bpf": 280,
        "userfaultfd": 282,
        "perf_event_open": 241,
        "unshare": 97,
        "mount": 40,
        "keyctl": 219,
        "pidfd_open": 434,
        "pidfd_getfd": 438,
        "openat2": 437,
        "open_by_handle_at": 265,
        "shmget": 194,
        "mq_open": 180,
        "prctl": 167,
        "seccomp": 277,
        "unlinkat": 35,
        "renameat2": 276,
        "personality": 92,
        "kexec_load": 104,
    },
}

SCRIPT = """
import sys; sys.path.insert(0, sys.argv[1])
import ctypes, json, mmap, os, resource, signal, socket, threading
from gateway.engine import worker
worker.bind_library()
from gateway.engine import native
native.silence()
libc = ctypes.CDLL(None, use_errno=True)
calls = json.loads(sys.argv[3])
stands = worker.enclose(sys.argv[2])
tried = {}

def act(name, what):
    try:
        result = what()
        tried[name] = 0 if result is None or result >= 0 else ctypes.get_errno()
    except OSError as error:
        tried[name] = error.errno
    except ValueError:  # setrlimit's word for EPERM
        tried[name] = 1
    except RuntimeError:  # a thread that could not start
        tried[name] = -1

def fork():
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)

def child_of(what):
    # exec replaces the process that tries it: where it is allowed, it must not be this one
    child = os.fork()
    if child == 0:
        try:
            what()
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

act("socket", lambda: socket.socket().close())
act("socket udp", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close())
act("socket unix", lambda: socket.socket(socket.AF_UNIX).close())
act("read a file", lambda: open("/etc/passwd", "rb").close())
act("read this package", lambda: open(worker.__file__, "rb").close())
act("write a file", lambda: open("/dev/null", "wb").close())
act("list a folder", lambda: len(os.listdir("/")))
act("read own memory map", lambda: open("/proc/self/maps", "rb").close())
act("fork", fork)
act("exec", lambda: child_of(lambda: os.execv("/bin/true", ["true"])) and None)
act("exec in place", lambda: os.execv("/nonexistent", ["x"]))
act("signal the parent", lambda: os.kill(os.getppid(), 0))
act("executable page", lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC).close())
act("change a limit", lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)))
act("a thread", lambda: (t := threading.Thread(target=lambda: None)).start() or t.join())
act("memory", lambda: len(bytearray(1 << 24)))
in_thread = threading.Thread(
    target=lambda: act("socket in a thread", lambda: socket.socket().close())
)
in_thread.start(); in_thread.join()
for name, number in calls.items():
    act("call " + name, lambda: libc.syscall(number, 0, 0, 0, 0, 0, 0))
os.write(1, json.dumps([stands, tried]).encode())
"""
ALLOWED = {"a thread", "memory"}


def attempt(isolation: str):
    calls = CALLS[platform.machine()] if isolation != wall.NONE else {}
    ran = subprocess.run(
        [sys.executable, "-I", "-B", "-c", SCRIPT, str(ROOT), isolation, json.dumps(calls)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={},
        timeout=60,
        check=True,
    )
    return json.loads(ran.stdout)


@pytest.fixture(scope="module")
def behind_the_wall():
    if platform.machine() not in CALLS:
        pytest.skip("the wall knows x86_64 and aarch64 only")
    return attempt("required")


def test_every_forbidden_act_fails_with_eperm(behind_the_wall):
    """Network, files, programs, other processes, new executable pages: the kernel says no."""
    _, tried = behind_the_wall
    refused = {name for name, code in tried.items() if code in (errno.EPERM, errno.EACCES)}
    assert refused == set(tried) - ALLOWED
    assert {name for name in ALLOWED if tried[name] == 0} == ALLOWED


def test_what_the_wall_refuses_works_without_it():
    """The acts above are real: without the wall they succeed."""
    stands, tried = attempt("none")
    assert stands == wall.NONE
    failed = {name for name, code in tried.items() if code != 0}
    assert failed <= {"exec in place", "read own memory map", "executable page"}


def test_the_child_knows_what_stands(behind_the_wall):
    """Seccomp must be there; Landlock is reported where the kernel has it."""
    assert behind_the_wall[0] in ("seccomp+landlock", "seccomp")


def test_the_filter_refuses_processors_it_has_no_numbers_for():
    """Unknown denies."""
    with pytest.raises(wall.WallError):
        wall.filter_program("riscv64", 1)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_is_whole_instructions_and_names_no_call_twice(machine: str):
    """A number that stands twice in the table would hide a mistake."""
    assert len(wall.filter_program(machine, 1)) % 8 == 0
    numbers = wall._MACHINES[machine]
    special = (numbers.mmap, numbers.mprotect, numbers.clone, numbers.clone3, numbers.tgkill)
    every = [*numbers.allowed, *special]
    assert len(set(every)) == len(every)
    assert not set(numbers.allowed) & set(CALLS[machine].values())


def test_a_wall_is_not_raised_around_threads():
    """Landlock would not bind the other thread: refused rather than half done."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import threading, time\n"
        "from gateway.engine import wall\n"
        "threading.Thread(target=time.sleep, args=(1,), daemon=True).start()\n"
        "try: wall.raise_wall()\n"
        "except wall.WallError: print('refused')\n"
    )
    ran = subprocess.run(
        [sys.executable, "-I", "-c", script, str(ROOT)],
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert ran.stdout == b"refused\n"


def test_a_hardened_process_leaves_no_core_and_is_not_dumpable():
    """Memory that held a prompt never reaches a disk by way of a crash."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import ctypes, resource\n"
        "from gateway.engine import wall\n"
        "wall.harden_process(); wall.harden_process()\n"
        "print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-I", "-c", script, str(ROOT)],
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert ran.stdout == b"(0, 0) 0\n"
