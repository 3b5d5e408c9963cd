"""Small documents made by hand, and reading them."""

from __future__ import annotations

import re
import zipfile
from typing import TYPE_CHECKING

from linnet.data.config import DataConfig
from linnet.data.document import Dropped, Extracted
from linnet.data.extract import Context, extract
from linnet.data.kinds import kind_of

if TYPE_CHECKING:
    from pathlib import Path

_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml"
W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
NAMESPACES = f"""{W} xmlns:r="{_RELATIONS}"
 xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"
 xmlns:wps="http://schemas.microsoft.com/office/word/2010/wordprocessingShape"
 xmlns:v="urn:schemas-microsoft-com:vml"
 xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"
 xmlns:wp="http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing"
 xmlns:style="urn:oasis:names:tc:opendocument:xmlns:style:1.0"
 xmlns:svg="urn:oasis:names:tc:opendocument:xmlns:svg-compatible:1.0"
 xmlns:xlink="http://www.w3.org/1999/xlink"
 xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"
 xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"
 xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0"
 xmlns:draw="urn:oasis:names:tc:opendocument:xmlns:drawing:1.0"
 xmlns:presentation="urn:oasis:names:tc:opendocument:xmlns:presentation:1.0"
 xmlns:dc="http://purl.org/dc/elements/1.1/" """


def read(path: Path, **settings: int) -> list[Extracted | Dropped]:
    """All that the reader of this file's kind finds in it."""
    context = Context.of_file(DataConfig(**settings), path.name, path.parent)
    return list(extract(path, kind=kind_of(path.name), context=context))


def text_of(path: Path) -> str:
    """The text of a file that is one document."""
    (found,) = read(path)
    assert isinstance(found, Extracted)
    assert found.group == path.name
    return found.text


def words(text: str) -> list[str]:
    """The words of a text, without what tells lists, tables and notes apart."""
    return re.sub(r"^\s*- |[|•▪]|\[\d+\]", " ", text, flags=re.MULTILINE).split()


def write_zip(path: Path, members: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def write_docx(path: Path, body: str, **parts: str) -> Path:
    """A Word document from its body and parts such as ``footnotes`` or ``header1``."""
    members = {
        "word/document.xml": f"<w:document {NAMESPACES}><w:body>{body}</w:body></w:document>"
    }
    relations = ""
    for name, content in parts.items():
        members[f"word/{name}.xml"] = f"<w:{name} {NAMESPACES}>{content}</w:{name}>"
        kind = name.rstrip("0123456789")
        relations += f'<Relationship Id="{name}" Type="{_RELATIONS}/{kind}" Target="{name}.xml"/>'
    members["word/_rels/document.xml.rels"] = _relationships(relations)
    main = f'<Relationship Id="a" Type="{_RELATIONS}/officeDocument" Target="word/document.xml"/>'
    members["_rels/.rels"] = _relationships(main)
    kinds = {"document": "document.main"} | {name: name.rstrip("0123456789") for name in parts}
    overrides = "".join(
        f'<Override PartName="/word/{name}.xml" ContentType="{_WORD}.{kind}+xml"/>'
        for name, kind in kinds.items()
    )
    members["[Content_Types].xml"] = (
        f'<Types xmlns="{_PACKAGE}/content-types"><Default Extension="rels" ContentType="'
        f'application/vnd.openxmlformats-package.relationships+xml"/>{overrides}</Types>'
    )
    return write_zip(path, members)


def _relationships(entries: str) -> str:
    return f'<Relationships xmlns="{_PACKAGE}/relationships">{entries}</Relationships>'


def write_odf(path: Path, body: str, styles: str = "", manifest: str = "") -> Path:
    members = {
        "content.xml": f"<office:document-content {NAMESPACES}><office:body>{body}</office:body>"
        "</office:document-content>",
    }
    if styles:
        members["styles.xml"] = (
            f"<office:document-styles {NAMESPACES}>{styles}</office:document-styles>"
        )
    if manifest:
        members["META-INF/manifest.xml"] = manifest
    return write_zip(path, members)


def paragraph(text: str) -> str:
    return f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"
