"""The place to write to: locked, ours, with room; and files written whole or not at all.

A project or a model may come from a stranger, with symbolic links where Linnet is going to write.
So every file that is written is made anew here (:func:`create_file`, :func:`replacing`,
:func:`write_text`) or opened without following a link (:func:`open_to_append`), and every directory
is a real one (:func:`make_directory`).

What Linnet makes of documents is private. Directories are made for their owner alone, unless
``LINNET_DIRECTORY_MODE`` says otherwise (``750``, say, for a group that shares them). A directory
that is there keeps its mode; files follow the umask.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import stat
import time
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from linnet.errors import BusyError, ConfigError, OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator

MODE_VARIABLE = "LINNET_DIRECTORY_MODE"
PRIVATE = 0o700
_NOT_FOLLOWED = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_BINARY = getattr(os, "O_BINARY", 0)
_SPARE = 16 << 20  # bytes of a disk that are left to others
_MOVES_WHAT_IS_OPEN = os.name != "nt"
SWAP_SECONDS = 5.0  # far longer than two renames take, or a reader has a small file open


def named(path: Path | str) -> Path:
    """A path with a name: ``.`` and ``..`` have none that something could be written beside."""
    path = Path(path)
    return path if path.name not in ("", "..") else Path(os.path.abspath(path))


@contextlib.contextmanager
def lock(path: Path, *, wait: float = 0.0) -> Iterator[None]:
    """Hold the right to write to ``path``; meanwhile the lock file ``.NAME.lock`` lies beside it.

    ``wait``: seconds for which somebody else may hold it before BusyError is raised. The operating
    system drops the lock when the process dies, however it dies. Directories that are made for it
    are removed where the block raises and leaves nothing in them.
    """
    path = named(path)
    place = path.parent / f".{path.name}.lock"
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(within_directory(path.parent))
            refuse_links(place)
            stack.enter_context(hold(place, timeout=wait))
        except Timeout:
            raise BusyError(
                f"{path}: another linnet process is writing here; wait for it, or choose "
                "another --out"
            ) from None
        except OSError as error:
            raise OutputError(f"{path.parent}: cannot write here ({error.strerror})") from None
        yield


@contextlib.contextmanager
def within_directory(path: Path) -> Iterator[None]:
    """Write into a directory, made where there is none.

    Those that are made are removed again where the block raises and leaves nothing in them.
    """
    made = make_directory(path)
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):  # one that is not empty stays, with those above it
            for directory in reversed(made):
                directory.rmdir()
        raise


@contextlib.contextmanager
def hold(file: Path, *, timeout: float = -1) -> Iterator[None]:
    """Hold the lock of that name; its file is there only as long. Raises filelock's Timeout.

    The file is removed before the lock is released: who then gets the lock of a removed file
    sees that (``FileLock`` does) and takes it anew, so no two hold it. Windows removes no file
    that is open; there ``FileLock`` does it after the release, unless another has it open.
    """
    file_lock = FileLock(file)
    file_lock.acquire(timeout=timeout)
    try:
        yield
    finally:
        if os.name != "nt":
            with contextlib.suppress(OSError):
                file.unlink()
        file_lock.release()


@contextlib.contextmanager
def full_disk_named(path: Path) -> Iterator[None]:
    """Turn the many ways in which libraries report a full disk into one OutputError."""
    try:
        yield
    except Exception as error:
        codes = (errno.ENOSPC, errno.EDQUOT)
        # Libraries written in Rust raise errors of their own, with the system's words in them.
        if getattr(error, "errno", None) in codes or os.strerror(errno.ENOSPC) in str(error):
            raise OutputError(
                f"{path}: the disk is full; what was finished is kept: "
                "free some space and run the same command again"
            ) from error
        if getattr(error, "errno", None) == errno.EFBIG or os.strerror(errno.EFBIG) in str(error):
            raise OutputError(
                f"{path}: a file of this size may not be written here; raise the limit (ulimit -f) "
                "or choose another disk"
            ) from error
        raise


def check_output_directory(path: Path, *, allowed: tuple[str, ...]) -> None:
    """Raise OutputError unless ``path`` may be written to: absent, empty, or Linnet's own.

    ``allowed``: files of which a directory that Linnet wrote has at least one.
    """
    if not path.exists():
        return
    if not path.is_dir():
        raise OutputError(f"{path} is a file; choose another output directory")
    if any(path.iterdir()) and not any((path / name).exists() for name in allowed):
        raise OutputError(
            f"{path} holds something that linnet did not write; choose another output directory"
        )


def refuse_to_replace_here(path: Path) -> None:
    """Raise OutputError where ``path`` is the directory that this process is in, or is above it,
    and has something in it: whoever stands there would be left in a directory that is gone."""
    with contextlib.suppress(OSError):
        here = Path.cwd()
        if any(map(path.samefile, (here, *here.parents))) and any(path.iterdir()):
            raise OutputError(
                f"{path}: what is in this directory is to be replaced, and you are in it; run the "
                "command from another one (cd ..)"
            )


def require_space(path: Path, needed: int, *, purpose: str) -> None:
    """Raise OutputError unless ``needed`` bytes (and a little more) are free at ``path``."""
    existing = path.absolute()
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if free < needed + _SPARE:
        raise OutputError(
            f"{path}: {purpose} needs {human_bytes(needed)}, but only {human_bytes(free)} "
            f"are free on that disk, and {human_bytes(_SPARE)} have to stay free; free some, or "
            "choose another --out"
        )


def require_file_size(needed: int, *, purpose: str) -> None:
    """Raise OutputError where the process may not write files of ``needed`` bytes."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if limit != resource.RLIM_INFINITY and limit < needed:
        raise OutputError(
            f"{purpose} needs files of {human_bytes(needed)}, but none may be larger than "
            f"{human_bytes(limit)} here; raise the limit (ulimit -f)"
        )


def human_bytes(count: float) -> str:
    """``1536`` as ``1.5 KB`` (powers of 1000, as disks are sold)."""
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file in UTF-8 whole or not at all: to a neighbour, synced, then renamed.

    The same bytes on every system: lines end as they do in ``text``.
    """
    with (
        replacing(path) as neighbour,
        neighbour.open("w", encoding="utf-8", newline="") as file,
    ):
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new, empty file beside ``path`` that takes its place when the block ends well.

    A link that has the name of either is replaced, not followed.
    """
    neighbour = path.with_name(f".{path.name}.partial")
    create_file(neighbour).close()
    try:
        yield neighbour
        move(neighbour, path)
    finally:
        neighbour.unlink(missing_ok=True)


def move(source: Path, target: Path) -> None:
    """Give a file or a directory another name, in place of a file that has it.

    Windows moves and replaces nothing that another program has open, such as a reader or a virus
    scanner. There it is tried again for some seconds.
    """
    deadline = time.monotonic() + SWAP_SECONDS
    while True:
        try:
            os.replace(source, target)
            return
        except PermissionError:
            if _MOVES_WHAT_IS_OPEN or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def create_file(path: Path, *, mode: int = 0o666) -> IO[bytes]:
    """A new file, open for writing, in place of whatever had its name (a link: the link itself).

    ``mode``: less what the umask takes away."""
    try:
        path.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOT_FOLLOWED | _BINARY
        return os.fdopen(os.open(path, flags, mode), "wb")
    except OSError as error:
        if path.is_dir() or error.errno == errno.EEXIST:
            raise OutputError(f"{path} is in the way; remove it, and run this again") from None
        raise


def open_to_append(path: Path) -> IO[bytes]:
    """A file, made if there is none, open for writing at its end. Raises OutputError for a link."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | _NOT_FOLLOWED | _BINARY
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError:
        refuse_links(path)
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        refuse_links(path)
    return os.fdopen(descriptor, "ab")


def refuse_links(path: Path) -> None:
    """Raise OutputError, naming it, for what Linnet did not write at ``path`` or below it.

    That is a link, a pipe, a device: everything but files and directories. Nothing there is fine.
    """
    waiting = [path]
    while waiting:
        place = waiting.pop()
        try:
            mode = place.lstat().st_mode
        except OSError:
            continue
        if stat.S_ISDIR(mode):
            waiting += [Path(entry.path) for entry in os.scandir(place)]
        elif not stat.S_ISREG(mode):
            kind = "a symbolic link" if stat.S_ISLNK(mode) else "no regular file"
            raise OutputError(
                f"{place} is {kind}, which linnet did not write; remove it, and run this again"
            )


def make_directory(path: Path) -> list[Path]:
    """Make a directory, and those above it, for its owner alone (see the module).

    Returns those that it made, from above. Raises OutputError for a file or a dangling link of
    that name.
    """
    missing: list[Path] = []
    made: list[Path] = []
    place = path
    while not place.is_dir() and place != place.parent:
        missing.append(place)
        place = place.parent
    mode = directory_mode()
    for place in reversed(missing):
        try:
            place.mkdir(mode=PRIVATE)
        except FileExistsError:
            if not place.is_dir():
                raise OutputError(f"{place} is no directory; choose another place") from None
            continue  # another process made it at the same time
        made.append(place)
        if mode != PRIVATE:
            place.chmod(mode)
    return made


def make_inner_directory(path: Path) -> None:
    """Make a directory within one that Linnet writes. Raises OutputError for a link."""
    if path.is_symlink():
        refuse_links(path)
    make_directory(path)


def directory_mode() -> int:
    """The mode of directories that Linnet makes."""
    given = os.environ.get(MODE_VARIABLE, "")
    if not given:
        return PRIVATE
    if not re.fullmatch(r"0?7[0-7]{2}", given):
        raise ConfigError(
            f"{MODE_VARIABLE} must be a mode that lets the owner in, such as 750. Got {given!r}"
        )
    return int(given, 8)


def sync_file(path: Path) -> None:
    """Have the disk keep what was written to a file."""
    with path.open("rb") as file, contextlib.suppress(OSError):
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Have the disk keep the names in a directory."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file, a link or a directory with all that is in it, as far as that can be done."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def erase(path: Path) -> None:
    """Remove it, if it is there. Raises OutputError where something of it stays."""
    remove(path)
    if path.is_symlink() or path.exists():
        raise OutputError(
            f"{path}: cannot be removed, by its rights or because a program has it open; put this "
            "right, or remove it, and run the same command again"
        )


def path_from(directory: Path, place: Path) -> str:
    """The way from a directory to a place, with forward slashes; the whole path of a place on
    another drive, to which Windows has no other way."""
    whole = place.resolve()
    try:
        return Path(os.path.relpath(whole, directory.resolve())).as_posix()
    except ValueError:
        return whole.as_posix()


def is_plain_name(name: object) -> bool:
    """Whether this is a path that can only mean a place below a directory, on every system."""
    if not isinstance(name, str) or not name or set(name) & set("\\:\0"):
        return False
    parts = name.split("/")
    return all(part not in ("", ".", "..") for part in parts) and str(PurePosixPath(name)) == name
