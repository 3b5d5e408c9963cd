"""What a process that reads strangers' files is refused, by Python and by the system itself."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from linnet.config import to_mapping
from linnet.data import kinds, sandbox
from linnet.data.config import DataConfig
from linnet.data.executor import Answer, ProcessPool


@pytest.fixture
def spools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, found)))
    folder = tmp_path / "spools"
    folder.mkdir()
    return folder


def run(spools: Path, task: str, *items: dict[str, Any], **settings: Any) -> list[Answer]:
    pool = ProcessPool(1, timeout=60, memory_mb=2000)
    task = f"executor_tasks:{task}"
    return list(pool.map(task, enumerate(items), settings=settings, spools=spools))


def messages(found: list[Answer]) -> list[dict[str, Any]]:
    assert [answer.reason for answer in found if answer.reason] == []
    return [message for answer in found for message in answer.messages]


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A server on this machine, which an outgoing connection would reach."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        yield server


@pytest.mark.parametrize("way", ["socket", "name", "urllib"])
def test_python_reaches_no_network(spools: Path, listener: socket.socket, way: str) -> None:
    host, port = listener.getsockname()
    (found,) = messages(run(spools, "attempt", {"do": way, "host": host, "port": port}))
    assert found["refused"] == errno.EPERM
    assert found["by"].startswith("the sandbox refused")
    with pytest.raises(TimeoutError):
        listener.accept()


def test_python_starts_no_program(spools: Path) -> None:
    ways = ["run", "fork", "system"] if os.name == "posix" else ["run", "system"]
    found = messages(run(spools, "attempt", *({"do": way} for way in ways)))
    assert [message["refused"] for message in found] == [errno.EPERM] * len(ways)


def test_python_changes_nothing_outside(spools: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("precious")
    other = spools / "spool-of-another"
    other.write_text("texts")
    tries = [
        {"do": way, "path": str(path)}
        for way in ("write", "append", "remove", "move", "escape")
        for path in (precious, other)
    ]
    found = messages(run(spools, "attempt", *tries))
    assert [message["refused"] for message in found] == [errno.EPERM] * len(tries)
    assert precious.read_text() == "precious"
    assert other.read_text() == "texts"


needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="filters of Linux")


@needs_linux
@pytest.mark.parametrize("way", ["c_socket", "c_fork", "c_execv"])
def test_nor_do_libraries_in_c(spools: Path, way: str) -> None:
    if platform.machine() not in sandbox._CALLS or "Seccomp:" not in status():
        pytest.skip("seccomp is not to be had here")
    (found,) = messages(run(spools, "attempt", {"do": way}))
    assert found == {"refused": errno.EPERM, "by": f"the system refused {way[2:]}"}


@needs_linux
def test_nor_do_libraries_in_c_change_anything(spools: Path, tmp_path: Path) -> None:
    if ctypes.CDLL(None).syscall(sandbox._CREATE_RULESET, None, 0, 1) < 1:  # asks its version
        pytest.skip("Landlock is not to be had here")
    precious = tmp_path / "precious.txt"
    precious.write_text("precious")
    tries = [{"do": way, "path": str(precious)} for way in ("c_write", "c_remove")]
    found = messages(run(spools, "attempt", *tries))
    assert [message["refused"] for message in found] == [errno.EACCES] * 2
    assert precious.exists()


def status() -> str:
    return Path("/proc/self/status").read_text()


def test_what_readers_need_is_allowed(spools: Path) -> None:
    assert messages(run(spools, "allowed", {})) == [
        {"rows": 1000, "total": 9, "page": "A page", "left": []}
    ]


def test_surroundings_are_bare(spools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "http_proxy", "HF_TOKEN", "HF_HOME", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "secret")
    (found,) = messages(run(spools, "where", {}))
    assert "secret" not in found["environment"].values()
    assert found["environment"]["HOME"] == found["scratch"]
    assert found["environment"]["OMP_NUM_THREADS"] == "1"


@needs_linux
def test_the_filters_are_set_before_there_are_threads(spools: Path) -> None:
    (found,) = messages(run(spools, "where", {}))
    assert found["threads"] == 2  # the one at work, and the one that waits for requests


def test_what_expands_is_stopped_by_its_allowance(spools: Path) -> None:
    (answer,) = run(spools, "expand", {})
    assert answer.reason == "expands to more than max_expanded_bytes"
    assert not answer.transient


def test_reading_uses_no_network(spools: Path, test_data: Path) -> None:
    """Every kind of file in the public samples: the smaller ones, so that it takes seconds."""
    files = [p for p in sorted((test_data / "documents").rglob("*")) if p.is_file()]
    items = [
        {"path": str(path), "kind": kinds.kind_of(path.name), "group": path.name}
        for path in files
        if path.stat().st_size < 100_000 and not kinds.refusal(path.name)
        if not (kind := kinds.kind_of(path.name)) or not kinds.KINDS[kind].programs
    ]
    found = run(spools, "read_watched", *items, **to_mapping(DataConfig()))
    watched = [message for answer in found for message in answer.messages]
    assert len(watched) > 50
    assert sum(message["documents"] for message in watched) > 50
    assert sum(message["sockets"] for message in watched) == 0
    # Importing urllib3 tries whether the machine has IPv6, without sending anything.
    tried = {event for message in watched for event in message["tried"]}
    assert tried <= {"socket.__new__"}
