"""Documents of old formats, converted by LibreOffice, antiword or catdoc, if installed; and images
of pages, read by tesseract.

A process that reads strangers' files may start no program (``sandbox.enter``), so one beside
it does, which is started before, if a document needs it, and confined in its own way
(``sandbox.enter_converter``).
Whatever it starts has no network, writes to its own place, runs no macros, has limits of
memory and time, and is killed with all that it started. Each document has a fresh
profile of LibreOffice. The process ends when its input does.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from linnet.data import kinds, sandbox
from linnet.data.document import UnreadableError

_SUBREAPER = 36  # <linux/prctl.h>
_NEWEST = {"doc": "docx", "ppt": "pptx"}
_RESTART = (79, 81)  # what LibreOffice ends with where it wants to be started again
_MOST_STARTS = 3
_NO_LANGUAGE = ("osd", "equ")  # tesseract's models of other things
_MOST_LANGUAGES = 6  # at once: each takes its time
_PREPARING = 30.0  # seconds for a first profile
_PROFILE = """<?xml version="1.0" encoding="UTF-8"?>
<oor:items xmlns:oor="http://openoffice.org/2001/registry">
<item oor:path="/org.openoffice.Office.Common/Security/Scripting">
<prop oor:name="MacroSecurityLevel" oor:op="fuse"><value>3</value></prop>
<prop oor:name="DisableMacrosExecution" oor:op="fuse"><value>true</value></prop>
<prop oor:name="BlockUntrustedRefererLinks" oor:op="fuse"><value>true</value></prop>
</item></oor:items>
"""


@dataclass(frozen=True)
class Conversion:
    """A file that a program wrote, and its kind."""

    path: Path
    kind: str
    program: str


class Converter:
    """The process beside this one. It reads and writes below ``scratch`` and ``home``, a
    directory of its own that it makes and removes."""

    def __init__(self, scratch: Path, home: Path, *, memory_mb: int) -> None:
        self.process = sandbox.start("linnet.data.converter:serve")
        places = {"scratch": str(scratch.absolute()), "home": str(home.absolute())}
        sandbox.say(self.process, {**places, "memory_mb": memory_mb})

    def convert(self, source: Path, kind: str, *, seconds: float, limit: int) -> Conversion:
        """A document of an old format in one that is read.

        ``source`` lies in a directory of its own below ``scratch``, where what is made will lie;
        it may be no larger than ``limit`` bytes. Raises UnreadableError where no program makes
        anything of it in so many seconds.
        """
        with contextlib.suppress(OSError, ValueError):
            sandbox.say(
                self.process,
                {"source": str(source), "kind": kind, "seconds": seconds, "limit": limit},
            )
            assert self.process.stdout is not None
            answer = json.loads(self.process.stdout.readline())
            if answer["path"]:
                return Conversion(Path(answer["path"]), answer["kind"], answer["program"])
            raise UnreadableError(f"{kind} cannot be converted", answer["detail"])
        raise UnreadableError(f"{kind} cannot be converted", "the converter died")

    def close(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()
        self.process.wait()


class NotStartedError(Exception):
    """A document needs the process beside this one, which was started without it."""


_running: Converter | None = None
_may_start = True


def confine(scratch: Path | None, *, memory_mb: int) -> None:
    """Start the process for the readers of this one, or no process from now on (None).

    To be called before this process is confined.
    """
    global _running, _may_start
    _may_start = False
    if scratch is not None:
        home = scratch.with_name(f"{scratch.name}.converter")
        _running = Converter(scratch, home, memory_mb=memory_mb)


@contextlib.contextmanager
def running(scratch: Path, *, memory_mb: int) -> Iterator[Converter]:
    """The process that was started, or one for this once.

    Raises NotStartedError in a process that was confined without one.
    """
    if _running is not None:
        yield _running
        return
    if not _may_start:
        raise NotStartedError
    with tempfile.TemporaryDirectory(dir=scratch) as home:
        once = Converter(scratch, Path(home) / "converter", memory_mb=memory_mb)
        try:
            yield once
        finally:
            once.close()


# The process itself.


def serve() -> None:
    """Convert what comes on standard input, until it ends."""
    requests, answers = sandbox.streams()
    setup = json.loads(requests.readline())
    home = Path(setup["home"])
    home.mkdir(parents=True, exist_ok=True)
    places = [Path(setup["scratch"]), home]
    sandbox.enter_converter(places, _installed(), memory_mb=setup["memory_mb"])
    if sys.platform == "linux":  # what a program leaves behind becomes a child of this process
        ctypes.CDLL(None).prctl(*map(ctypes.c_ulong, (_SUBREAPER, 1, 0, 0, 0)))
    programs = _Programs(home)
    for request in sandbox.lines(requests, at_end=programs.end):
        answers.write(json.dumps(programs.convert(**request)).encode() + b"\n")
        answers.flush()


def _installed() -> Iterator[Path]:
    """Where the programs lie with what belongs to them."""
    for kind in kinds.KINDS.values():
        for found in filter(None, map(kinds.program, kind.programs)):
            folder = Path(os.path.realpath(found)).parent
            yield folder.parent if folder.name in ("program", "MacOS") else folder
    if place := kinds.program(kinds.OCR):  # with its models
        folder = Path(os.path.realpath(place)).parent
        yield folder.parent if folder.name == "bin" else folder


class _Programs:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.process: subprocess.Popen[bytes] | None = None
        self.languages = ""  # of tesseract, once they were asked for

    def convert(self, source: str, kind: str, seconds: float, limit: int) -> dict[str, str]:
        """What the first program makes that makes anything; each has an equal share of the time."""
        _limit_files(limit)
        end = time.monotonic() + seconds
        known = (kinds.OCR,) if kind == kinds.PAGE_IMAGE else kinds.KINDS[kind].programs
        names = [name for name in known if kinds.program(name)]
        told = []
        for number, name in enumerate(names):
            share = (end - time.monotonic()) / (len(names) - number)
            run = {kinds.OFFICE: self._office, kinds.OCR: self._recognised}.get(name, self._plain)
            try:
                made = run(name, Path(source), kind, share)
                if made.stat().st_size or kind == kinds.PAGE_IMAGE:
                    form = kinds.TEXT if made.suffix == ".txt" else made.suffix.removeprefix(".")
                    return {"path": str(made), "kind": form, "program": name}
                told.append(f"{name} found no text")
            except subprocess.TimeoutExpired:
                told.append(f"{name} took longer than {share:.0f} s")
            except (OSError, subprocess.SubprocessError) as error:
                told.append(f"{name}: {error.strerror if isinstance(error, OSError) else error}")
        return {"path": "", "detail": "; ".join(told)}

    def _office(self, name: str, source: Path, kind: str, seconds: float) -> Path:
        """By LibreOffice, in a copy of a profile that has been used for nothing."""
        end = time.monotonic() + seconds
        unused = self.home / "unused"
        if not unused.exists():
            (unused / "user").mkdir(parents=True)
            (unused / "user" / "registrymodifications.xcu").write_bytes(_PROFILE.encode())
            self._start_office(unused, ["--terminate_after_init"], min(_PREPARING, seconds))
        with tempfile.TemporaryDirectory(dir=self.home, ignore_cleanup_errors=True) as folder:
            profile = Path(folder) / "profile"
            shutil.copytree(unused, profile)
            made = source.with_suffix(f".{_NEWEST[kind]}")
            arguments = ["--convert-to", _NEWEST[kind], "--outdir", str(made.parent), str(source)]
            self._start_office(profile, arguments, end - time.monotonic())
        return made

    def _start_office(self, profile: Path, arguments: list[str], seconds: float) -> None:
        end = time.monotonic() + seconds
        place = Path(os.path.realpath(kinds.program(kinds.OFFICE) or ""))
        program = place.with_name("soffice.bin")  # without the scripts that start it
        command = [
            str(program if program.exists() else place),
            f"-env:UserInstallation={profile.as_uri()}",
            "-env:OSL_SOCKET_PATH=.",
            "--headless", "--norestore", "--nolockcheck", "--nodefault", *arguments,
        ]  # fmt: skip
        for _ in range(_MOST_STARTS):
            code = self._run(command, profile, subprocess.DEVNULL, end - time.monotonic())
            if code not in _RESTART:
                break
        if code:
            raise subprocess.SubprocessError(f"exit status {code}")

    def _plain(self, name: str, source: Path, kind: str, seconds: float) -> Path:
        """By a program that writes plain text to its output."""
        form = ["-m", "UTF-8.txt", "-w", "0"] if name == "antiword" else ["-d", "utf-8"]
        form += ["-w"] if name == "catdoc" else []
        made = source.with_suffix(".txt")
        with made.open("wb") as file:
            command = [kinds.program(name) or name, *form, str(source)]
            code = self._run(command, source.parent, file, seconds)
        if code:
            raise subprocess.SubprocessError(f"exit status {code}")
        return made

    def _recognised(self, name: str, source: Path, kind: str, seconds: float) -> Path:
        """The text of an image, in whatever languages there are models for."""
        program, made = kinds.program(name) or name, source.with_suffix(".txt")
        end = time.monotonic() + seconds
        if not self.languages:
            listed = source.with_suffix(".languages")
            with listed.open("wb") as file:
                self._run([program, "--list-langs"], source.parent, file, seconds)
            found = [
                line
                for line in listed.read_text("utf-8", "replace").splitlines()
                if re.fullmatch(r"[a-z]{3}(?:_\w+)?", line) and line not in _NO_LANGUAGE
            ]
            self.languages = "+".join(sorted(found, key="eng".__ne__)[:_MOST_LANGUAGES]) or "eng"
        with made.open("wb") as file:
            command = [program, str(source), "stdout", "-l", self.languages]
            code = self._run(command, source.parent, file, end - time.monotonic())
        if code:
            raise subprocess.SubprocessError(f"exit status {code}")
        return made

    def _run(
        self, command: list[str], folder: Path, output: int | IO[bytes], seconds: float
    ) -> int:
        """Run a program to its end, and end all that it leaves behind."""
        places = {name: str(folder) for name in ("HOME", "TMPDIR", "TMP", "TEMP")}
        locale = {"LC_ALL": "C.UTF-8", "SAL_USE_VCLPLUGIN": "svp", "OMP_THREAD_LIMIT": "1"}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env=sandbox.environment() | places | locale,
            start_new_session=True,
        )
        try:
            return self.process.wait(max(seconds, 0))
        finally:
            self.kill()

    def end(self) -> None:
        self.kill()
        shutil.rmtree(self.home, ignore_errors=True)

    def kill(self) -> None:
        """End the program that runs, its process group, and what has left that."""
        process = self.process
        if process is None:
            return
        with contextlib.suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
        process.wait()
        with contextlib.suppress(OSError):
            while left := Path(f"/proc/self/task/{os.getpid()}/children").read_bytes().split():
                for number in map(int, left):
                    os.kill(number, signal.SIGKILL)
                    os.waitpid(number, 0)


def _limit_files(limit: int) -> None:
    """No file becomes larger than this (POSIX)."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (min(limit, hard), hard))
