"""Tasks for the tests of the executor: each misbehaves in its own way."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from linnet.data.document import UnreadableError
from linnet.data.worker import Job

Messages = Iterator[dict[str, Any]]


def echo(item: dict[str, Any], job: Job) -> Messages:
    """Two messages with a text, from which the text can be found again."""
    for part in range(2):
        text = f"{item['text']} {part} {job.settings.get('word', '')}"
        yield {"part": part, "text": text, "place": job.store(text)}


def behave(item: dict[str, Any], job: Job) -> Messages:
    """Does what ``item["do"]`` says after it yielded a message."""
    yield {"first": item["do"]}
    globals()[f"do_{item['do']}"](item, job)
    yield {"last": item["do"]}


def do_nothing(item: dict[str, Any], job: Job) -> None:
    pass


def do_exit(item: dict[str, Any], job: Job) -> None:
    os._exit(3)


def do_leave(item: dict[str, Any], job: Job) -> None:
    sys.exit("a library that ends the process")


def do_segfault(item: dict[str, Any], job: Job) -> None:
    ctypes.string_at(0)


def do_hang(item: dict[str, Any], job: Job) -> None:
    time.sleep(600)


def do_allocate(item: dict[str, Any], job: Job) -> None:
    _ = [bytearray(100 << 20) for _ in range(40)]


def do_unreadable(item: dict[str, Any], job: Job) -> None:
    raise UnreadableError("encrypted", "rc4")


def do_missing(item: dict[str, Any], job: Job) -> None:
    (job.scratch / "not there").read_bytes()


def do_fail(item: dict[str, Any], job: Job) -> None:
    raise RuntimeError("text of a document " * 1000)


def do_print(item: dict[str, Any], job: Job) -> None:
    print("a library that prints")
    os.write(1, b"a library in C that prints\n")
    assert sys.stdin.read() == ""


def do_litter(item: dict[str, Any], job: Job) -> None:
    assert list(job.scratch.iterdir()) == []
    (job.scratch / "folder").mkdir()
    (job.scratch / "folder" / "file").write_bytes(b"left behind")
    (job.scratch / "file").write_bytes(b"left behind")


def crash_once(item: dict[str, Any], job: Job) -> Messages:
    """Yields 1,200 messages; the process dies after 900 of them if it works on another item
    before. (So it does not when it is tried again alone.)"""
    for number in range(1200):
        if number == 900 and item.get("unlucky") and threading.current_thread().name == "second":
            os._exit(1)
        yield {"number": number}
    threading.current_thread().name = "second"


def dripping(item: dict[str, Any], job: Job) -> Messages:
    """Longer than the time limit, but never silent for so long."""
    for number in range(7):
        time.sleep(0.5)
        yield {"number": number}


def where(item: dict[str, Any], job: Job) -> Messages:
    """The process that works, its surroundings, then silence."""
    yield {
        "pid": os.getpid(),
        "environment": dict(os.environ),
        "threads": len(os.listdir("/proc/self/task")) if os.path.exists("/proc") else 0,
        "scratch": str(job.scratch),
    }
    if item.get("stay"):
        yield from ({} for _ in range(500))  # so many are sent at once
        time.sleep(600)


def swell(item: dict[str, Any], job: Job) -> Messages:
    """Keeps what it takes, as a leaking library does."""
    swell.kept = bytearray(os.urandom(1 << 20)) * item["mb"]  # type: ignore[attr-defined]
    yield {"pid": os.getpid()}


def full(item: dict[str, Any], job: Job) -> Messages:
    """What becomes of texts when the spool can take no more; with ``longest``, no more than it
    has."""
    import errno

    class Full:
        def tell(self) -> int:
            return 0

        def write(self, data: bytes) -> int:
            raise OSError(errno.EFBIG if "longest" in item else errno.ENOSPC, "no room")

    if job.flush() >= item.get("longest", 0):
        job._spool = Full()  # type: ignore[assignment]
    yield {"place": job.store("a text")}


# Attempts at what the sandbox refuses. Each names the refusal.


def attempt(item: dict[str, Any], job: Job) -> Messages:
    """Try ``item["do"]``, and say how it was refused, or that it was not."""
    try:
        globals()[f"try_{item['do']}"](item, job)
    except OSError as error:
        yield {"refused": error.errno, "by": error.strerror}
    else:
        yield {"refused": None}


def _libc(function: str, *arguments: Any) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    result: int = getattr(libc, function)(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"the system refused {function}")
    return result


def try_socket(item: dict[str, Any], job: Job) -> None:
    socket.create_connection((item["host"], item["port"]), timeout=2)


def try_name(item: dict[str, Any], job: Job) -> None:
    socket.getaddrinfo("localhost", 80)


def try_urllib(item: dict[str, Any], job: Job) -> None:
    import urllib.request

    urllib.request.urlopen(f"http://{item['host']}:{item['port']}/", timeout=2)


def try_run(item: dict[str, Any], job: Job) -> None:
    subprocess.run([sys.executable, "-c", ""], check=True)


def try_system(item: dict[str, Any], job: Job) -> None:
    os.system("true")


def try_fork(item: dict[str, Any], job: Job) -> None:
    if os.fork() == 0:
        os._exit(0)


def try_write(item: dict[str, Any], job: Job) -> None:
    Path(item["path"]).write_text("changed")


def try_append(item: dict[str, Any], job: Job) -> None:
    with open(item["path"], "ab") as file:
        file.write(b"changed")


def try_remove(item: dict[str, Any], job: Job) -> None:
    os.remove(item["path"])


def try_move(item: dict[str, Any], job: Job) -> None:
    os.rename(item["path"], job.scratch / "taken")


def try_escape(item: dict[str, Any], job: Job) -> None:
    (job.scratch / "way out").symlink_to(Path(item["path"]).parent)
    (job.scratch / "way out" / Path(item["path"]).name).write_text("changed")


def try_c_socket(item: dict[str, Any], job: Job) -> None:
    _libc("socket", 2, 1, 0)


def try_c_fork(item: dict[str, Any], job: Job) -> None:
    if _libc("fork") == 0:
        os._exit(0)


def try_c_execv(item: dict[str, Any], job: Job) -> None:
    _libc("execv", b"/bin/true", (ctypes.c_char_p * 2)(b"true", None))


def try_c_write(item: dict[str, Any], job: Job) -> None:
    os.close(_libc("open", os.fsencode(item["path"]), os.O_WRONLY))


def try_c_remove(item: dict[str, Any], job: Job) -> None:
    _libc("unlink", os.fsencode(item["path"]))


def allowed(item: dict[str, Any], job: Job) -> Messages:
    """What readers do need: temporary files of all sorts, threads, the libraries."""
    import concurrent.futures
    import tempfile

    import lxml.html
    import pyarrow
    import pyarrow.parquet

    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as file:
        file.write(b"x" * 1000)
        place = Path(folder) / "table.parquet"
        pyarrow.parquet.write_table(pyarrow.table({"a": list(range(1000))}), place)
        place.rename(place.with_name("renamed"))
        rows = pyarrow.parquet.read_table(place.with_name("renamed")).num_rows
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        total = sum(threads.map(len, ["four", "five!"]))
    page = lxml.html.fromstring("<p>A <b>page</b></p>").text_content()
    with open(os.devnull, "w") as nothing:
        nothing.write("x")
    yield {"rows": rows, "total": total, "page": page, "left": os.listdir(job.scratch)}


def expand(item: dict[str, Any], job: Job) -> Messages:
    """Spends an allowance as a reader of a packed file does."""
    from linnet.data.extract.context import Allowance

    allowance = Allowance(10 << 20)
    for _ in range(1_000_000):
        chunk = bytes(1 << 20)
        allowance.spend(len(chunk))
        yield {"bytes": len(chunk)}


def read_watched(item: dict[str, Any], job: Job) -> Messages:
    """``linnet.data.reading.read``, and what it tried and held of the network meanwhile."""
    from linnet.data import reading

    tried: set[str] = set()
    watching = [True]

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event.startswith(("socket.", "urllib.", "http.", "subprocess.", "os.exec")):
            tried.add(event)

    sys.addaudithook(watch)
    documents = sockets = 0
    reason = ""
    try:
        for _ in reading.read(item, job):
            documents += 1
            sockets += _sockets()
    except UnreadableError as error:
        reason = error.reason
    watching.clear()
    yield {"documents": documents, "sockets": sockets + _sockets(), "tried": sorted(tried),
           "reason": reason}  # fmt: skip


def _sockets() -> int:
    """Sockets that this process holds, or 0 where the system does not show them."""
    try:
        names = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    except OSError:
        return 0
    links = [os.readlink(name) for name in names if os.path.islink(name)]
    return sum(link.startswith("socket:") for link in links)
