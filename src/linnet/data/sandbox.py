"""What a process that reads strangers' files may do: read, compute, and write to its own place.

Two layers. The system refuses, to libraries in C as well: memory and files
beyond a limit (``setrlimit``); on Linux also programs, processes and sockets
(seccomp, x86-64 and ARM64) and writing outside (Landlock, from 5.13). Above it,
everywhere, Python refuses the same to Python code (PEP 578), which stops
what a library does unasked but no attacker. A layer that the system lacks is left out.

Reading files is not limited: which files a task opens is its own affair.

Programs that convert documents (``enter_converter``) are confined by the system alone: they
may start others, read what is installed and what lies in their place, and reach no network.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import queue
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import linnet
from linnet.runtime import worker_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

# ``-P`` and this keep the working directory, where documents may lie, off the path of
# modules, and put the place of this package at its end, where it hides nothing.
_START = (
    "import importlib, sys; sys.path.append(sys.argv.pop(1)); "
    "module, _, name = sys.argv.pop(1).partition(':'); "
    "getattr(importlib.import_module(module), name)()"
)
_MB = 1 << 20
_FILES_OPEN = 256
_FILE_BYTES = 100 << 30  # the texts of one huge file of rows are rightly many

_REFUSED = (
    "socket.", "urllib.", "http.", "ftplib.", "smtplib.", "imaplib.", "poplib.", "webbrowser.",
    "subprocess.", "os.system", "os.exec", "os.spawn", "os.posix_spawn", "os.fork", "os.startfile",
    "os.kill", "pty.", "_winapi.CreateProcess",
)  # fmt: skip
_CHANGES = {  # events that change the file system: how many paths and directories they name
    "os.remove": 1, "os.rmdir": 1, "os.mkdir": 1, "os.chmod": 1, "os.chown": 1,
    "os.rename": 2, "os.link": 2, "os.symlink": 2,
}  # fmt: skip
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

_SET = {
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",  # the other takes 1 GB at once, if it may
}  # fmt: skip


def environment() -> dict[str, str]:
    """The environment to start such a process in: no proxies, keys or tokens; one thread."""
    return worker_environment("DOCLING_") | _SET


def start(function: str) -> subprocess.Popen[bytes]:
    """A process that calls a function, ``module:name``, spoken to over its standard streams."""
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _START, str(Path(linnet.__file__).parents[1]), function],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(),
        start_new_session=True,  # Ctrl-C is for the process that was started in the terminal
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # Windows
    )


def say(process: subprocess.Popen[bytes], message: Any) -> None:
    """Write a line of JSON to a process."""
    assert process.stdin is not None
    with contextlib.suppress(OSError):  # it is gone, which shows when it does not answer
        process.stdin.write(json.dumps(message).encode() + b"\n")
        process.stdin.flush()


def streams() -> tuple[IO[bytes], IO[bytes]]:
    """Standard input and output of this process, kept from libraries that may read or print."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.close(nothing)
    return requests, answers


def lines(requests: IO[bytes], *, at_end: Callable[[], object] = lambda: None) -> Iterator[Any]:
    """Lines of JSON as they come. The process ends with its input, even in the midst of work:
    who would hear the answer is gone."""
    waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def listen() -> None:
        for line in requests:
            waiting.put(json.loads(line))
        at_end()
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        yield waiting.get()


def enter(scratch: Path, spool: Path, *, memory_mb: int) -> None:
    """Confine this process, for good. It may write below ``scratch`` and to ``spool``.

    To be called before other threads are started: the filters hold for the
    thread that sets them and for its descendants.
    """
    os.environ["HOME"] = os.environ["TMPDIR"] = tempfile.tempdir = str(scratch)
    sys.dont_write_bytecode = True
    _limit(memory_mb)
    if sys.platform == "linux":
        _confine_linux(scratch, spool)
    sys.addaudithook(_guard(scratch, spool))


def enter_converter(places: Iterable[Path], installed: Iterable[Path], *, memory_mb: int) -> None:
    """Confine this process and the programs that it will start, for good.

    They read and write below ``places``, and read what is ``installed`` there or on the system.
    """
    _limit(memory_mb)
    if sys.platform == "linux":
        libc = _libc()
        if _prctl(libc, _NO_NEW_PRIVS, 1) == 0:
            allowed: dict[Path | str, int] = {os.devnull: _READ | _WRITE}
            allowed |= dict.fromkeys((*_INSTALLED, *installed), _READ | _EXECUTE)
            allowed |= dict.fromkeys(places, _READ | _WRITE | _MAKE)
            _restrict_files(libc, allowed, handled=_READ | _WRITE | _MAKE | _EXECUTE)
            _forbid_calls(libc, converter=True)


def resident_bytes() -> int:
    """Main memory that this process takes (at its highest, where the system tells only that)."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, AttributeError):  # Windows has no sysconf
        pass
    try:
        import resource
    except ImportError:  # Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _limit(memory_mb: int) -> None:
    """Limits of POSIX systems.

    Memory is limited as RLIMIT_DATA: Linux counts there what is private and can be
    written to, and with pyarrow, numpy and lxml at work that is hardly more than
    is in memory. RLIMIT_AS would count what is reserved, more than twice as much.
    """
    try:
        import resource
    except ImportError:  # Windows
        return
    limits = {
        resource.RLIMIT_DATA: memory_mb * _MB,
        resource.RLIMIT_FSIZE: _FILE_BYTES,
        resource.RLIMIT_NOFILE: _FILES_OPEN,
        resource.RLIMIT_CORE: 0,
    }
    for kind, value in limits.items():
        _, hard = resource.getrlimit(kind)
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (value, value))


def _guard(scratch: Path, spool: Path) -> Callable[[str, tuple[Any, ...]], None]:
    """The audit hook that refuses what the process may not do."""
    inside = os.path.realpath(scratch) + os.sep
    files = {os.path.realpath(spool), os.path.realpath(os.devnull)}

    def may_change(path: Any) -> bool:
        if isinstance(path, int):  # a file that is open
            return True
        place = os.path.realpath(os.fsdecode(path))
        return place in files or (place + os.sep).startswith(inside)

    def guard(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            refused = flags & _WRITING and not may_change(path)
        elif count := _CHANGES.get(event):
            # A name below an open directory, which come last then, is not looked at.
            relative = any(isinstance(a, int) and a >= 0 for a in arguments[-count:])
            refused = not (relative or all(map(may_change, arguments[:count])))
        else:
            refused = event.startswith(_REFUSED)
        if refused:
            raise PermissionError(errno.EPERM, f"the sandbox refused {event}")

    return guard


# Linux. Numbers from <linux/prctl.h>, <linux/seccomp.h>, <linux/filter.h>, <linux/landlock.h>.

_PDEATHSIG, _SET_SECCOMP, _NO_NEW_PRIVS = 1, 22, 38
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_CLONE_THREAD = 0x10000
_OTHER_ABI = 0x40000000  # x86-64 has a second set of calls from here
_CLONE3, _IO_URING_SETUP = 435, 425


class _Calls(NamedTuple):
    """The numbers of system calls on one architecture."""

    architecture: int
    clone: int
    socket: int
    access: tuple[tuple[int, int], ...]  # and where its mode stands in what is loaded
    refused: tuple[int, ...]
    reader: tuple[int, ...]
    converter: tuple[int, ...]


# Architecture, clone, socket, access, and what is refused to all: ptrace, process_vm_readv and
# _writev; to readers socket, execve, execveat, and on x86-64 fork and vfork; to converters connect,
# mount, unshare, setns, bpf, keyctl and perf_event_open.
_CALLS = {
    "x86_64": _Calls(
        0xC000003E, 56, 41, ((21, 24), (269, 32)), (101, 310, 311), (41, 59, 322, 57, 58),
        (42, 165, 272, 308, 321, 250, 298),
    ),
    "aarch64": _Calls(
        0xC00000B7, 220, 198, ((48, 32),), (117, 270, 271), (198, 221, 281),
        (203, 40, 97, 268, 280, 219, 241),
    ),
}  # fmt: skip
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_RULE_BELOW = 1
# What may be done with files: Landlock's rights.
_EXECUTE, _WRITE, _READ, _MAKE = 1 << 0, 1 << 1 | 1 << 14, 1 << 2 | 1 << 3, 0b11_1111_1111 << 4
_OF_FILES = _EXECUTE | _WRITE | 1 << 2  # those that mean something for what is no folder
_SINCE = ((2, 1 << 13), (3, 1 << 14))  # the version that brought rights which older ones lack
_INSTALLED = (
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/opt", "/etc", "/nix/store",
    "/gnu/store", "/snap", "/var/cache/fontconfig", "/var/lib/libreoffice",
    "/var/spool/libreoffice",
    "/proc/cpuinfo", "/proc/meminfo", "/proc/self", "/dev/urandom", "/dev/random", "/dev/zero",
    "/sys/devices/system/cpu",
)  # fmt: skip


def _confine_linux(scratch: Path, spool: Path) -> None:
    libc = _libc()
    _prctl(libc, _PDEATHSIG, signal.SIGKILL)  # when the thread that started this process ends
    if _prctl(libc, _NO_NEW_PRIVS, 1) == 0:
        _restrict_files(
            libc,
            {scratch: _WRITE | _MAKE, spool: _WRITE, os.devnull: _WRITE},
            handled=_WRITE | _MAKE,
        )
        _forbid_calls(libc, converter=False)


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return libc


def _prctl(libc: ctypes.CDLL, option: int, *values: int | ctypes.c_void_p) -> int:
    longs = [ctypes.c_ulong(v) if isinstance(v, int) else v for v in values]
    padding = [ctypes.c_ulong(0)] * (4 - len(longs))
    result: int = libc.prctl(option, *longs, *padding)
    return result


def _forbid_calls(libc: ctypes.CDLL, *, converter: bool) -> None:
    """A seccomp filter: no network, no looking into other processes; unless this is a
    ``converter`` no programs, processes and sockets of any sort."""
    calls = _CALLS.get(os.uname().machine)
    if calls is None or struct.calcsize("P") != 8:
        return
    no, unknown = (_RETURN, 0, 0, _ERRNO | errno.EPERM), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)
    yes = (_RETURN, 0, 0, _ALLOW)
    # (operation, instructions to skip if so, if not, operand); at 0, 4 and 16 of what is
    # loaded lie the call's number, the architecture and the first argument.
    program = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, calls.architecture), no]
    program += [(_LOAD, 0, 0, 0), (_AT_LEAST, 0, 1, _OTHER_ABI), no]
    for call in (
        *calls.refused,
        _IO_URING_SETUP,
        *(calls.converter if converter else calls.reader),
    ):
        program += [(_EQUAL, 0, 1, call), no]
    if converter:
        # LibreOffice puts a socket into /tmp if it may write there, and asks that of access, to
        # which Landlock is nothing. Told no, it takes the place that it is given.
        for call, mode in calls.access:
            program += [(_EQUAL, 0, 4, call), (_LOAD, 0, 0, mode), (_EQUAL, 0, 1, os.W_OK), no, yes]
        # Sockets within the machine, of which none can be connected.
        program += [(_EQUAL, 1, 0, calls.socket), yes]
        program += [(_LOAD, 0, 0, 16), (_EQUAL, 1, 0, socket.AF_UNIX), no, yes]
    else:
        # Threads are allowed, and told by clone's flags; those of clone3 cannot be seen here,
        # so the C library is told to use clone.
        program += [(_EQUAL, 0, 1, _CLONE3), unknown, (_EQUAL, 1, 0, calls.clone), yes]
        program += [(_LOAD, 0, 0, 16), (_ANY_BIT, 1, 0, _CLONE_THREAD), no, yes]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in program))
    header = struct.pack("@HP", len(program), ctypes.addressof(code))
    _prctl(libc, _SET_SECCOMP, 2, ctypes.cast(ctypes.c_char_p(header), ctypes.c_void_p))


def _restrict_files(libc: ctypes.CDLL, allowed: Mapping[Path | str, int], *, handled: int) -> None:
    """A Landlock ruleset: of the rights ``handled``, these remain below these places."""

    def call(number: int, *values: Any) -> int:
        result: int = libc.syscall(ctypes.c_long(number), *values, *[ctypes.c_long(0)] * 2)
        return result

    version = call(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint(1))
    if version < 1:
        return
    for since, rights in _SINCE:
        handled &= ~rights if version < since else -1
    attributes = ctypes.c_uint64(handled)
    rules = call(_CREATE_RULESET, ctypes.byref(attributes), ctypes.c_size_t(8), ctypes.c_uint(0))
    if rules < 0:
        return
    held = True
    for place, rights in allowed.items():
        if not os.path.exists(place):
            continue
        handle = os.open(place, os.O_PATH | os.O_CLOEXEC)
        rights &= handled if os.path.isdir(place) else handled & _OF_FILES
        rule = struct.pack("=Qi", rights, handle)
        held &= call(_ADD_RULE, rules, _RULE_BELOW, ctypes.c_char_p(rule)) == 0
        os.close(handle)
    if held:
        call(_RESTRICT_SELF, rules, ctypes.c_uint(0))
    os.close(rules)
