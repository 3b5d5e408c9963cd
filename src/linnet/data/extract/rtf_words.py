"""The words of Rich Text Format (Microsoft's specification 1.9.1), as far as text needs them."""

from __future__ import annotations

import codecs
import re

from linnet.data.extract.layout import PAGE_NUMBER

TOKEN = re.compile(
    rb"\\(?P<word>[a-zA-Z]{1,32})(?P<number>-?[0-9]{1,10})? ?|\\'(?P<hex>[0-9a-fA-F]{2})"
    rb"|\\(?P<symbol>[^a-zA-Z])|(?P<brace>[{}])|(?P<text>[^\\{}\r\n\0]+)|[\r\n\0]+|\\",
    re.DOTALL,
)
# Groups that hold no text of the document. Of those that are marked with \*, which
# programs may pass over, only a few are read.
SILENT = {
    "colortbl", "stylesheet", "info", "pict", "object", "listtable",
    "listoverridetable", "revtbl", "rsidtbl", "themedata", "colorschememapping", "latentstyles",
    "datastore", "xmlnstbl", "filetbl", "nonesttables", "nonshppict", "shprslt", "sp", "ftnsep",
    "ftnsepc", "ftncn", "aftnsep", "aftnsepc", "aftncn", "tc", "tcn", "xe", "rxe", "template",
}  # fmt: skip
STARRED = {"fldinst", "annotation", "shpinst"}
NOTE, COMMENT, BOX, HEADER, FOOTER = "note", "comment", "box", "header", "footer"
INSTRUCTION, MARK = "instruction of a field", "mark of a list item"
PROPERTY, VALUE = "property of a shape", "value of a property"
FLOWS = {
    "footnote": NOTE, "annotation": COMMENT, "shptxt": BOX,
    "header": HEADER, "headerl": HEADER, "headerr": HEADER, "headerf": HEADER,
    "footer": FOOTER, "footerl": FOOTER, "footerr": FOOTER, "footerf": FOOTER,
    "fldinst": INSTRUCTION, "listtext": MARK, "pntext": MARK, "sn": PROPERTY, "sv": VALUE,
}  # fmt: skip
OF_SHAPES = {"sn", "sv"}  # read also in groups that are silent
HEIGHTS = {"super": 1, "up": 1, "sub": -1, "dn": -1, "nosupersub": 0}
CHARACTERS = {
    "tab": "\t", "line": "\n", "lquote": "\u2018", "rquote": "\u2019", "ldblquote": "\u201c",
    "rdblquote": "\u201d", "bullet": "\u2022", "endash": "\u2013", "emdash": "\u2014",
    "enspace": " ", "emspace": " ", "qmspace": " ", "zwj": "\u200d", "zwnj": "\u200c",
    "nestcell": " ", "nestrow": " ", "chpgn": PAGE_NUMBER,
}  # fmt: skip
SYMBOLS = {b"~": "\u00a0", b"_": "\u2011", b"\\": "\\", b"{": "{", b"}": "}", b"\t": "\t"}
BREAKS = {"par", "sect", "page"}
PAGE_FIELD = re.compile(r"\s*(PAGE|NUMPAGES|SECTIONPAGES)\b", re.IGNORECASE)
CONTENTS_FIELD = re.compile(r"\s*TOC\b", re.IGNORECASE)
CODE_PAGES = {"mac": 10000, "pc": 437, "pca": 850}
# Of \fcharset; other numbers stand for the code page of the document.
CHARSETS = {
    77: 10000, 128: 932, 129: 949, 130: 1361, 134: 936, 136: 950, 161: 1253, 162: 1254, 163: 1258,
    177: 1255, 178: 1256, 186: 1257, 204: 1251, 222: 874, 238: 1250,
}  # fmt: skip


def codec(code_page: int) -> str:
    """The encoding of a code page; that of Western Windows for one nobody knows."""
    name = {10000: "mac_roman", 65001: "utf-8", 1361: "johab"}.get(code_page, f"cp{code_page}")
    try:
        return codecs.lookup(name).name
    except LookupError:
        return "cp1252"
