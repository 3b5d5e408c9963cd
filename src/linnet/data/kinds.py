"""What kind of file is it, which module reads it, and what family of text does it hold?

One table. The *kind* is the format (pdf, docx, csv); it is told by the file's
name first and by its first bytes where the name says nothing. The *family* is
how its text is cleaned and judged: rules made for web pages would destroy code.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal, get_args

Family = Literal["prose", "web", "code", "table", "log", "mail", "symbols"]
FAMILIES: tuple[Family, ...] = get_args(Family)

TEXT, MARKDOWN, RST, HTML, CODE = "text", "markdown", "rst", "html", "code"
JSON, JSON_LINES, CSV, PARQUET = "json", "jsonl", "csv", "parquet"
OFFICE = "soffice"  # LibreOffice, as it names its program
OCR = "tesseract"
IMAGE = "image"
PAGE_IMAGE = "image of a page"  # what it reads
LIBRARY_MODULE, LIBRARY_TOPICS = "library module", "library topics"


_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True)
class Kind:
    """A format. ``reader`` is ``module:function`` below ``linnet.data.extract``, imported when
    the first such file is read; it takes ``(path, context)`` and yields what it finds.
    ``programs`` can convert it, the best first: where none of them is installed it is not read.
    """

    name: str
    family: Family
    reader: str
    suffixes: str = ""
    names: str = ""
    programs: tuple[str, ...] = ()

    @property
    def needs(self) -> list[str]:
        """``programs`` by the names that people know."""
        return ["LibreOffice" if name == OFFICE else name for name in self.programs]


_KINDS = (
    Kind(TEXT, "prose", "text:read_text_file", "txt text asc"),
    Kind(MARKDOWN, "prose", "text:read_markdown", "md markdown mdown mkd mdx"),
    Kind(RST, "prose", "text:read_rst", "rst rest rst.txt"),
    Kind("org", "prose", "text:read_org", "org"),
    Kind(HTML, "web", "text:read_html", "html htm xhtml"),
    Kind("log", "log", "text:read_log", "log"),
    Kind("transcript", "prose", "transcript:read", "vtt srt"),
    Kind("pdf", "prose", "pdf:read", "pdf"),
    Kind(IMAGE, "prose", "scans:read_image", "png jpg jpeg tif tiff"),
    Kind("docx", "prose", "docx:read", "docx docm dotx dotm"),
    Kind("doc", "prose", "converted:read_doc", "doc dot", programs=(OFFICE, "antiword", "catdoc")),
    Kind("pptx", "prose", "pptx:read", "pptx pptm ppsx ppsm potx potm"),
    Kind("ppt", "prose", "converted:read_ppt", "ppt pps pot", programs=(OFFICE,)),
    Kind("xlsx", "table", "spreadsheet:read_xlsx", "xlsx xlsm xltx xltm"),
    Kind("xls", "table", "spreadsheet:read_xls", "xls xlt"),
    Kind("odt", "prose", "opendocument:read", "odt ott odp otp"),
    Kind("ods", "table", "opendocument:read", "ods ots"),
    Kind("rtf", "prose", "rtf:read", "rtf"),
    Kind("epub", "prose", "epub:read", "epub"),
    Kind("eml", "mail", "mail:read_eml", "eml"),
    Kind("mbox", "mail", "mail:read_mbox", "mbox"),
    Kind("msg", "mail", "mail:read_msg", "msg"),
    Kind("notebook", "code", "notebook:read", "ipynb"),
    Kind("xml", "prose", "xml:read", "xml"),
    Kind("yaml", "code", "text:read_code", "yaml yml"),
    Kind("symbols", "symbols", "text:read_symbols", "smi smiles"),
    Kind(JSON, "prose", "rows:read_json", "json"),
    Kind(JSON_LINES, "prose", "rows:read_json_lines", "jsonl ndjson"),
    Kind(CSV, "table", "rows:read_csv", "csv tsv"),
    Kind(PARQUET, "prose", "rows:read_parquet", "parquet"),
    Kind(
        "archive", "prose", "archive:read", "zip tar tgz tbz2 txz tar.gz tar.bz2 tar.xz gz bz2 xz"
    ),
    Kind(LIBRARY_MODULE, "code", "text:read_library_module"),
    Kind(LIBRARY_TOPICS, "prose", "text:read_library_topics"),
    Kind(
        CODE,
        "code",
        "text:read_code",
        "py pyi pyx pxd c h cc cpp cxx hh hpp hxx ipp cu cuh m mm java kt kts scala groovy "
        "js mjs cjs jsx ts tsx vue svelte go rs rb php pl pm lua r jl swift dart cs fs vb "
        "hs lhs ml mli elm erl hrl ex exs clj cljs lisp el scm rkt nim zig d v sv vhd vhdl "
        "f f77 f90 f95 for pas adb ads cob asm s sh bash zsh fish ps1 bat cmd awk sed tcl "
        "sql graphql proto thrift tex bib sty cls cmake mk gradle nix tf hcl toml "
        "ini cfg conf properties css scss sass less xsl xsd dtd vim diff patch",
        "makefile dockerfile cmakelists.txt",
    ),
)
KINDS = {kind.name: kind for kind in _KINDS}

_REFUSED = {
    "not supported": "mobi azw3 feather arrow avro sqlite db djvu 7z rar warc zst wps wpd "
    # Packages: ZIP archives whose members mean nothing to whom the format is unknown.
    "pages numbers key xlsb xps oxps vsdx vsdm vssx vstx vsd thmx one pub odg otg odf odb sketch "
    "idml indd 3mf kmz afdesign afphoto afpub procreate ora kra usdz fcstd mscz twbx pbix slx "
    "mlapp xmind mmap cbz cbr ggb sb3 apk aab xapk ipa appx msix nupkg vsix crx xpi war ear egg",
    "not a text format": "gif bmp webp ico heic svg psd mp3 wav flac ogg m4a "
    "aac mp4 mkv avi mov webm exe dll so dylib a o obj lib class jar pyc pyo whl deb rpm iso img "
    "bin dat ttf otf woff woff2 eot npy npz pt pth ckpt safetensors gguf onnx h5 hdf5 pkl pickle "
    "lock",
    # They hold an address, and often whose it is.
    "a link to a document elsewhere": "gdoc gsheet gslides gdraw gform gsite gmap glink url webloc "
    "lnk desktop",
}

KIND_BY_SUFFIX = {suffix: kind.name for kind in _KINDS for suffix in kind.suffixes.split()}
_KIND_BY_NAME = {name: kind.name for kind in _KINDS for name in kind.names.split()}
REFUSED = {
    suffix: f"{suffix} is not supported" if reason == "not supported" else reason
    for reason, suffixes in _REFUSED.items()
    for suffix in suffixes.split()
}


def kind_of(name: str) -> str | None:
    """The kind that a file's name says, or None for a name that says nothing."""
    name = name.lower()
    return _KIND_BY_NAME.get(name) or next(
        (KIND_BY_SUFFIX[suffix] for suffix in _suffixes(name) if suffix in KIND_BY_SUFFIX), None
    )


def refusal(name: str, *, images: bool = False) -> str | None:
    """Why a file of this name is not read, or None if it is. ``images``: whether these are."""
    name = name.lower()
    kind = kind_of(name)
    if kind == IMAGE and not images:
        return "not a text format"
    return None if kind else REFUSED.get(PurePath(name).suffix.removeprefix("."))


_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_PACKAGES = {"doc": "libreoffice-writer", "ppt": "libreoffice-impress"}
_PLACES = {  # where a program lies that is not on the path
    OFFICE: (
        "/Applications/LibreOffice.app/Contents/MacOS/soffice",
        "C:/Program Files/LibreOffice/program/soffice.exe",
    )
}


def lacking(kind: str, path: str | PurePath) -> str | None:
    """What has to be installed for this file to be read; None where it can be.

    A file that is not what its name says (a page saved as .doc) needs no program.
    """
    programs = KINDS[kind].programs
    if not programs or any(map(program, programs)):
        return None
    with open(path, "rb") as file:
        if file.read(len(_OLE)) != _OLE:
            return None
    names = " or ".join(KINDS[kind].needs)
    return f"{kind} needs {names}: install one (on Debian: apt install {_PACKAGES[kind]})"


def program(name: str) -> str | None:
    """The path of a program that is installed, or None."""
    return shutil.which(name) or next(filter(os.path.exists, _PLACES.get(name, ())), None)


def _suffixes(name: str) -> tuple[str, str]:
    """The last two suffixes together, such as ``tar.gz``, and the last one."""
    parts = PurePath(name).suffixes
    return "".join(parts[-2:]).removeprefix("."), "".join(parts[-1:]).removeprefix(".")


def printable(name: str) -> str:
    """A file name as it can be shown on a line: bytes that are not in the system's encoding as
    ``\\xff``, and so what moves a terminal's cursor or ends a line."""
    text = os.fsencode(name).decode("utf-8", errors="backslashreplace")
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)
