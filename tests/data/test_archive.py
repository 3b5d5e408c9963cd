"""Archives made by the standard library, by hostile hands, and of many members."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import time
import zipfile
import zlib
from pathlib import Path

import pytest

from linnet.data.config import DataConfig
from linnet.data.document import Dropped, Extracted, UnreadableError
from linnet.data.extract import Context, extract
from linnet.data.extract.archive import read
from linnet.data.kinds import kind_of, refusal

MEMBERS = {
    "b/second.txt": b"The second file is read first.",
    "a.txt": "Tannenb\u00e4ume".encode("cp1252"),
    "rows.jsonl": b'{"text": "one row"}\n{"text": "and another"}\n',
    "photo.jpg": b"\xff\xd8\xff",
    ".hidden": b"secret",
    "__MACOSX/._a.txt": b"resource fork",
    "../../escape.txt": b"It stays where it is.",
}
TEXTS = ["The second file is read first.", "Tannenb\u00e4ume", "one row", "and another",
         "It stays where it is."]  # fmt: skip


def context(tmp_path: Path, **settings: int) -> Context:
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    return Context.of_file(DataConfig(**settings), "docs/a.zip", scratch)  # type: ignore[arg-type]


def found(path: Path, within: Context) -> tuple[list[Extracted], list[Dropped]]:
    everything = list(read(path, within))
    assert not list(within.scratch.iterdir())
    return (
        [one for one in everything if isinstance(one, Extracted)],
        [one for one in everything if isinstance(one, Dropped)],
    )


def zipped(path: Path, members: dict[str, bytes], **options: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def tarred(path: Path, mode: str, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo("special.txt")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    return path


@pytest.mark.parametrize("form", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_members_are_read_as_files_of_their_own(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"a.{form}"
    if form == "zip":
        zipped(path, MEMBERS)
    else:
        tarred(path, f"w:{form.removeprefix('tar').removeprefix('.')}", MEMBERS)
    documents, dropped = found(path, context(tmp_path))
    assert [one.text for one in documents] == TEXTS
    assert documents[0].part == "b/second.txt"
    assert documents[0].group == "docs/a.zip/b/second.txt"
    assert documents[2].part == "rows.jsonl/#1"
    assert dropped == [Dropped("not a text format", "photo.jpg")]
    assert {p.name for p in tmp_path.iterdir()} == {path.name, "scratch"}


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_single_packed_file(tmp_path: Path, pack) -> None:
    path = tmp_path / "notes.txt.gz"
    path.write_bytes(pack(b"Packed on its own."))
    within = Context.of_file(DataConfig(), "docs/notes.txt.gz", tmp_path)
    documents = list(read(path, within))
    assert [(one.text, one.part) for one in documents] == [("Packed on its own.", "notes.txt")]


def test_archives_in_archives_end_at_max_nesting(tmp_path: Path) -> None:
    data = b"The innermost text."
    for level in range(6):
        inner = io.BytesIO()
        with zipfile.ZipFile(inner, "w") as archive:
            archive.writestr("text.txt" if level == 0 else "inner.zip", data)
            archive.writestr("note.txt", f"Note of level {level}.")
        data = inner.getvalue()
    path = tmp_path / "a.zip"
    path.write_bytes(data)
    documents, dropped = found(path, context(tmp_path, max_nesting=2))
    assert [one.text for one in documents] == ["Note of level 4.", "Note of level 5."]
    too_deep = [f"inner.zip/inner.zip/{name}" for name in ("inner.zip", "note.txt")]
    assert dropped == [Dropped("nested deeper than max_nesting", part) for part in too_deep]


def test_encrypted_and_damaged_members_cost_only_themselves(tmp_path: Path) -> None:
    path = zipped(
        tmp_path / "a.zip", {"a.txt": b"locked away", "b.txt": b"b" * 500, "c.txt": b"in the open"}
    )
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1  # the flag of encryption of the first entry
    at = data.index(zlib.compress(b"b" * 500, 6)[2:-4])
    data[at] ^= 0xFF
    path.write_bytes(data)
    documents, dropped = found(path, context(tmp_path))
    assert [one.text for one in documents] == ["in the open"]
    assert dropped == [Dropped("encrypted", "a.txt"), Dropped("damaged archive", "b.txt")]


@pytest.mark.parametrize("form", ["zip", "tar.gz", "gz"])
def test_bombs_are_refused_before_they_fill_the_disk(tmp_path: Path, form: str) -> None:
    zeros = bytes(10_000_000)
    path = tmp_path / f"a.{form}"
    if form == "zip":
        zipped(path, {f"{n}.txt": zeros for n in range(8)})
    elif form == "gz":
        with gzip.open(path, "wb") as file:
            for _ in range(8):
                file.write(zeros)
    else:
        tarred(path, "w:gz", {f"{n}.txt": zeros for n in range(8)})
    start = time.monotonic()
    with pytest.raises(UnreadableError, match="expands to more than"):
        list(read(path, context(tmp_path)))
    assert time.monotonic() - start < 5


def test_the_allowance_ends_the_whole_archive(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {f"{n}.txt": b"0123456789" * 100 for n in range(10)})
    with pytest.raises(UnreadableError, match="max_expanded_bytes"):
        list(read(path, context(tmp_path, max_expanded_bytes=5000)))


@pytest.mark.parametrize("data", [b"PK\x03\x04" + b"x" * 100, b"\x1f\x8b" + b"x" * 100, b"x" * 600])
def test_what_is_no_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(data)
    with pytest.raises(UnreadableError, match="damaged archive"):
        list(read(path, context(tmp_path)))


def test_an_archive_cut_short_gives_what_is_whole(tmp_path: Path) -> None:
    path = tarred(tmp_path / "a.tar", "w", {"a.txt": b"whole", "b.txt": b"b" * 5000})
    path.write_bytes(path.read_bytes()[:3000])
    members = read(path, context(tmp_path))
    assert getattr(next(members), "text", "") == "whole"
    with pytest.raises(UnreadableError, match="damaged archive"):
        list(members)


def test_an_archive_of_real_documents(test_data: Path, tmp_path: Path) -> None:
    path = test_data / "documents" / "simple.zip"
    documents = list(extract(path, kind="archive", context=context(tmp_path)))
    assert [one.part for one in documents] == ["ideas-page.html", "stanley-cups.csv"]


PACKAGES = {
    "iWork": ["Index/Document.iwa", "Metadata/Properties.plist"],
    "xlsb": ["[Content_Types].xml", "xl/workbook.bin"],
    "xps": ["[Content_Types].xml", "Documents/1/Pages/1.fpage"],
    "vsdx": ["[Content_Types].xml", "visio/document.xml"],
    "thmx": ["[Content_Types].xml", "theme/theme/theme1.xml"],
    "3mf": ["[Content_Types].xml", "3D/3dmodel.model"],
    "apk": ["AndroidManifest.xml", "classes.dex"],
    "ipa": ["Payload/A.app/Info.plist"],
    "jar": ["META-INF/MANIFEST.MF", "org/A.class"],
    "idml": ["mimetype", "designmap.xml"],
    "kmz": ["doc.kml"],
    "sketch": ["document.json", "meta.json", "pages/A.json"],
    "this package": ["mimetype", "mergedimage.png"],
}


@pytest.mark.parametrize("name", ["unnamed", "a.zip"])
@pytest.mark.parametrize("package", PACKAGES)
def test_packages_of_unknown_kind_are_no_archives(tmp_path: Path, package: str, name: str) -> None:
    path = zipped(tmp_path / name, dict.fromkeys(PACKAGES[package], b"<a>meta</a>"))
    with pytest.raises(UnreadableError, match=f"{package} is not supported"):
        list(extract(path, kind=kind_of(name), context=context(tmp_path)))


def test_archives_are_told_from_packages_by_name_and_content(tmp_path: Path) -> None:
    members = {"src/AndroidManifest.xml": b"<a>kept</a>", "note.txt": b"A note."}
    for name, count in (("a.zip", 2), ("unnamed", 2)):
        path = zipped(tmp_path / name, members)
        assert len(list(extract(path, kind=kind_of(name), context=context(tmp_path)))) == count
    path = zipped(tmp_path / "a.strange", members)
    with pytest.raises(UnreadableError, match="strange is not supported"):
        list(extract(path, kind=None, context=context(tmp_path)))
    for suffix in (*PACKAGES, "pages", "numbers", "key"):
        if not suffix.isalnum() or suffix == "iWork":
            continue
        assert refusal(f"a.{suffix}") in (f"{suffix} is not supported", "not a text format")
    document = "<w:document xmlns:w='w'><w:body><w:p><w:r><w:t>Text</w:t></w:r></w:p></w:body>"
    path = zipped(tmp_path / "b.zip", {"word/document.xml": f"{document}</w:document>".encode()})
    (found,) = extract(path, kind="archive", context=context(tmp_path))
    assert (found.kind, found.text) == ("docx", "Text")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("method", "name"), [(9, "Deflate64"), (6, "implode"), (93, "Zstandard"), (98, "PPMd")]
)
def test_methods_of_packing_that_are_not_read_are_named(
    tmp_path: Path, method: int, name: str
) -> None:
    """The headers alone say how a member is packed."""
    document = b"<w:document xmlns:w='w'><w:body><w:p/></w:body></w:document>"
    path = zipped(tmp_path / "a.zip", {"a.txt": b"packed oddly", "b.txt": b"packed as usual"})
    other = zipped(tmp_path / "b.docx", {"word/document.xml": document})
    for archive in (path, other):
        data = bytearray(archive.read_bytes())
        data[8:10] = method.to_bytes(2, "little")  # of the first member
        at = data.index(b"PK\x01\x02") + 10
        data[at : at + 2] = method.to_bytes(2, "little")
        archive.write_bytes(data)
    if name == "Zstandard" and hasattr(zipfile, "ZIP_ZSTANDARD"):
        pytest.skip("this Python reads Zstandard")
    documents, dropped = found(path, context(tmp_path))
    assert [one.text for one in documents] == ["packed as usual"]
    assert dropped == [Dropped(f"packed by {name}, which is not supported: pack it anew", "a.txt")]
    with pytest.raises(UnreadableError, match=f"packed by {name}"):
        list(extract(other, kind="docx", context=context(tmp_path)))
