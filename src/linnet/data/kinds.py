"""What kind of file is it? By name first, then by a look at its first bytes."""

from __future__ import annotations

import os
from pathlib import PurePath

TEXT, MARKDOWN, RST, HTML, CODE = "text", "markdown", "rst", "html", "code"
JSON, JSON_LINES, CSV = "json", "jsonl", "csv"
LIBRARY_MODULE, LIBRARY_TOPICS = "library module", "library topics"

_SUFFIXES: dict[str, str] = {
    TEXT: "txt text log asc",
    MARKDOWN: "md markdown mdown mkd mdx",
    RST: "rst rest",
    HTML: "html htm xhtml",
    JSON: "json",
    JSON_LINES: "jsonl ndjson",
    CSV: "csv tsv",
    CODE: (
        "py pyi pyx pxd c h cc cpp cxx hh hpp hxx ipp cu cuh m mm java kt kts scala groovy "
        "js mjs cjs jsx ts tsx vue svelte go rs rb php pl pm lua r jl swift dart cs fs vb "
        "hs lhs ml mli elm erl hrl ex exs clj cljs lisp el scm rkt nim zig d v sv vhd vhdl "
        "f f77 f90 f95 for pas adb ads cob asm s sh bash zsh fish ps1 bat cmd awk sed tcl "
        "sql graphql proto thrift tex bib sty cls cmake mk gradle nix tf hcl toml yaml yml "
        "ini cfg conf properties css scss sass less xml xsl xsd dtd vim diff patch"
    ),
}
_NAMES: dict[str, str] = {"makefile": CODE, "dockerfile": CODE, "cmakelists.txt": CODE}

_LATER = (
    "pdf doc docx docm dot dotx ppt pptx pptm xls xlsx xlsm odt ods odp rtf epub mobi azw3 "
    "ipynb parquet feather arrow avro eml msg mbox vtt srt sqlite db djvu "
    "zip tar gz tgz bz2 xz zst 7z rar warc"
)
_NOT_TEXT = (
    "png jpg jpeg gif bmp tif tiff webp ico heic svg psd mp3 wav flac ogg m4a aac mp4 mkv avi "
    "mov webm exe dll so dylib a o obj lib class jar pyc pyo whl deb rpm iso img bin dat "
    "ttf otf woff woff2 eot npy npz pt pth ckpt safetensors gguf onnx h5 hdf5 pkl pickle lock"
)

KIND_BY_SUFFIX = {suffix: kind for kind, names in _SUFFIXES.items() for suffix in names.split()}
REFUSED = {suffix: f"{suffix} is not supported yet" for suffix in _LATER.split()} | dict.fromkeys(
    _NOT_TEXT.split(), "not a text format"
)


def kind_of(name: str) -> str | None:
    """The kind that a file's name says, or None for a name that says nothing."""
    name = name.lower()
    return _NAMES.get(name) or KIND_BY_SUFFIX.get(PurePath(name).suffix.removeprefix("."))


def refusal(name: str) -> str | None:
    """Why a file of this name is not read, or None if it is."""
    return REFUSED.get(PurePath(name.lower()).suffix.removeprefix("."))


def printable(name: str) -> str:
    """A file name as valid Unicode: bytes that are not in the system's encoding as ``\\xff``."""
    return os.fsencode(name).decode("utf-8", errors="backslashreplace")
