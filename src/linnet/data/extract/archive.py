"""Archives: every member is a file of its own. ZIP, tar, and either packed by gzip, bzip2 or xz.

Members are read in the order of the archive, one at a time; their names are
never used on disk. What unpacks to far more than text ever does is refused
before it fills the disk.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import posixpath
import stat
import tarfile
import zipfile
import zlib
from typing import IO, TYPE_CHECKING, Any, cast

from linnet.data.document import Dropped, Extracted, UnreadableError
from linnet.data.extract.context import Context, extract
from linnet.data.extract.package import open_member
from linnet.data.extract.sniff import is_tar, package_kind
from linnet.data.kinds import printable
from linnet.data.sources.folder import is_junk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Found = Iterator[Extracted | Dropped]

# Text rarely packs to less than a hundredth; bombs do far better. Small files may.
_MOST_EXPANSION, _NEVER_A_BOMB = 250, 50_000_000
_ENCRYPTED_FLAG = 1
_PACKERS: dict[bytes, Callable[[Path, str], IO[bytes]]] = {
    b"\x1f\x8b": cast("Any", gzip.open),
    b"BZh": cast("Any", bz2.open),
    b"\xfd7zXZ\x00": cast("Any", lzma.open),
}
_DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError,
    ValueError, LookupError, ArithmeticError, NotImplementedError, RecursionError, RuntimeError,
)  # fmt: skip


def read(path: Path, context: Context) -> Found:
    """The members of an archive, or the one file that is packed."""
    with path.open("rb") as file:
        start = file.read(512)
        if not start:
            raise UnreadableError("empty file")
        if zipfile.is_zipfile(path):
            yield from _package_or_zip(path, context)
        elif (packer := _packer(start)) is None:
            yield from _tar(path, path.open("rb"), context)
        elif is_packed_tar(path):
            yield from _tar(path, packer(path, "rb"), context)
        else:
            name = posixpath.basename(context.group).rpartition(".")[0] or "packed file"
            with packer(path, "rb") as unpacked:
                for found in context.nested(name, _bounded(unpacked, _limit(path))):
                    if isinstance(found, Dropped) and found.part == name:
                        raise UnreadableError(found.reason)
                    yield found


def is_packed_tar(path: Path) -> bool:
    """Whether a file is a tar archive that is packed as a whole."""
    with path.open("rb") as file:
        packer = _packer(file.read(8))
    if packer:
        with contextlib.suppress(*_DAMAGE), packer(path, "rb") as unpacked:
            return is_tar(unpacked.read(512))
    return False


def _packer(start: bytes) -> Callable[[Path, str], IO[bytes]] | None:
    return next((packer for mark, packer in _PACKERS.items() if start.startswith(mark)), None)


def _package_or_zip(path: Path, context: Context) -> Found:
    if kind := package_kind(path):  # a document under the name of an archive
        yield from extract(path, kind=kind, context=context)
    else:
        yield from _zip(path, context)


def _zip(path: Path, context: Context) -> Found:
    with _damage_told():
        archive = zipfile.ZipFile(path)
    with archive:
        members = archive.infolist()
        if sum(info.file_size for info in members) > _limit(path):
            raise _bomb()
        for info in members:
            link = stat.S_ISLNK(info.external_attr >> 16)
            if info.is_dir() or link or _is_passed_over(info.filename):
                continue
            if info.flag_bits & _ENCRYPTED_FLAG:
                yield Dropped("encrypted", printable(info.filename))
                continue
            try:
                with _damage_told():
                    member = open_member(archive, info)
            except UnreadableError as error:
                yield Dropped(error.reason, printable(info.filename))
                continue
            with member:
                yield from context.nested(info.filename, _bounded(member, info.file_size))


def _tar(path: Path, unpacked: IO[bytes], context: Context) -> Found:
    limit = _limit(path)
    with unpacked, _opened_tar(_bounded(unpacked, limit)) as archive:
        while True:
            with _damage_told():
                info = archive.next()
            if info is None:
                return
            archive.members = []  # type: ignore[attr-defined]  # or all would be kept
            if info.isreg() and not _is_passed_over(info.name):
                member = archive.extractfile(info)
                if member is not None:
                    yield from context.nested(info.name.replace("\0", ""), _bounded(member, limit))


def _opened_tar(file: IO[bytes]) -> tarfile.TarFile:
    with _damage_told():
        return tarfile.open(fileobj=file, mode="r|")


def _bounded(file: IO[bytes], limit: int) -> IO[bytes]:
    return cast("IO[bytes]", _Bounded(file, limit))


class _Bounded:
    """A stream that raises UnreadableError where it is damaged, or longer than ``limit``."""

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self.file = file
        self.left = limit

    def read(self, size: int = -1) -> bytes:
        with _damage_told():
            data = self.file.read(size)
        self.left -= len(data)
        if self.left < 0:
            raise _bomb()
        return data


@contextlib.contextmanager
def _damage_told() -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise UnreadableError("damaged archive", str(error)[:200]) from None


def _limit(path: Path) -> int:
    return max(_MOST_EXPANSION * path.stat().st_size, _NEVER_A_BOMB)


def _bomb() -> UnreadableError:
    return UnreadableError(f"expands to more than {_MOST_EXPANSION} times its size")


def _is_passed_over(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return any(is_junk(part) for part in parts if part not in ("", ".", ".."))
