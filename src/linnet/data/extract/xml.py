"""XML: prose (DocBook, TEI, JATS, XHTML) as paragraphs, data (feeds, records) as named values.

Prose is written by the rules of HTML: its elements are renamed to those of HTML
that mean the same. The parser sees no DOCTYPE. What a document declares as a short text is
written in its place, so much in all; nothing is ever fetched, and a document that refers to
another file, or whose entities grow, is refused.
"""

from __future__ import annotations

import re
from html.entities import html5
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from linnet.data.decoding import read_text
from linnet.data.document import Dropped, Extracted, UnreadableError
from linnet.data.markup.html import all_text, html_text
from linnet.data.markup.mathml import formula

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from linnet.data.extract.context import Context

_DECLARATION = re.compile(r"\A\s*<\?xml[^>]*\?>")
# The DOCTYPE before the root, and what its internal subset is made of.
_DOCTYPE = re.compile(r"\A(?:\s|<!--.*?-->|<\?.*?\?>)*(<!DOCTYPE\b)", re.DOTALL)
_SUBSET = re.compile(
    r"""<!--.*?-->|<\?.*?\?>|<!ENTITY\s+(?P<parameter>%\s+)?(?P<name>[\w:.-]+)\s+
        (?:(?P<external>SYSTEM|PUBLIC)\b|"(?P<double>[^"]*)"|'(?P<single>[^']*)')
    |%(?P<used>[\w:.-]+);|"[^"]*"|'[^']*'|(?P<open>\[)|(?P<close>\])|(?P<end>>)|(?P<inner><!)""",
    re.DOTALL | re.VERBOSE,
)
_REFERENCE = re.compile(r"<!\[CDATA\[.*?\]\]>|&([\w:.-]{1,64});", re.DOTALL)
_NUMERIC = re.compile(r"&#(?:x([0-9a-fA-F]{1,6})|([0-9]{1,7}));")
_MOST_EXPANSION = 1_000_000  # characters that entities may add to a document
_MOST_NESTING = 20
_OF_XML = {"amp", "lt", "gt", "quot", "apos"}
_MARKUP = re.compile(r"</[a-zA-Z]|<(?:p|br)\b|&\w+;")
# Elements of DocBook, TEI, JATS and the like, by what they are in HTML.
_NAMES = {
    "p": "para simpara formalpara ab abstract speech",
    "h1": "title subtitle head article-title journal-title chapter-title",
    "section": "sect sec sect1 sect2 sect3 sect4 sect5 chapter preface appendix part book article "
    "div div1 div2 div3 body front back text titlepage info note warning tip caution important "
    "example figure table-wrap lg sp quote disp-quote epigraph verse",
    "ul": "itemizedlist simplelist list variablelist glosslist def-list listbibl",
    "ol": "orderedlist procedure",
    "li": "listitem item list-item member bibl bibitem ref step",
    "table": "informaltable tgroup",
    "tr": "row",
    "td": "entry cell",
    "pre": "programlisting screen literallayout code eg synopsis preformat source",
    "div": "l varlistentry glossentry def-item",
    "dt": "term glossterm",
    "br": "lb sbr break",
    "sup": "superscript",
    "sub": "subscript",
    "style": "graphic inline-graphic imagedata indexterm processing-meta",
}
_IN_HTML = {name: html for html, names in _NAMES.items() for name in names.split()}
_KNOWN = {*_NAMES, "div", "span", "h2", "h3", "h4", "h5", "h6", "ol", "dl", "dt", "dd", "th"}
_WRITTEN = {"p", "pre", *(name for name, html in _IN_HTML.items() if html in ("p", "pre", "li"))}
_WRITTEN -= {"item", "member", "abstract", "code", "source", "ref", "step"}  # names in data, too
_NUMBERED = {"order", "ordered", "numbered", "arabic"}  # in attributes of lists
_STRUCTURE = {"section", "ul", "ol", "table", "tr", "div"}
_CELLS = {"td", "th"}
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_TELLS_NOTHING = {"content", "text", "body", "value"}
_LONG = 200  # characters
_NAMING = ("name", "key", "label", "id")  # attributes that tell records of one element apart


def read(path: Path, context: Context) -> Iterator[Extracted | Dropped]:
    source = read_text(path, limit=context.config.max_document_bytes, changes=context.changes)
    root = _parsed(source)
    kind = _local(root.tag)
    text: str
    if kind == "html":
        write = html_text if context.config.html == "main" else all_text
        text = write(source, context.changes)
    elif kind == "svg":
        raise UnreadableError("not a text format", "a picture")
    elif _is_prose(root):
        text = _prose(root)
    else:
        text = "\n".join([(root.text or "").strip(), *_records(root)]).strip("\n")
    if not text.strip():
        raise UnreadableError("no text in it")
    yield Extracted(text, context.group, "xml")


def _parsed(source: str) -> Any:
    """The root element. Raises UnreadableError for damage and for entities that may not be."""
    from lxml import etree

    source = _with_entities(_DECLARATION.sub("", source.replace("\0", "")))
    parser = etree.XMLParser(
        encoding="utf-8", resolve_entities=False, no_network=True, load_dtd=False,
        huge_tree=False, remove_comments=True, remove_pis=True, recover=False,
    )  # fmt: skip
    try:
        root = etree.fromstring(source.encode("utf-8", "replace"), parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise UnreadableError("damaged xml", str(error)[:200]) from None
    return root


def _with_entities(source: str) -> str:
    """A document without its DOCTYPE and with the entities that it declares written out.

    Names that it does not declare are those of HTML.
    """
    declared: dict[str, str | None] = {}
    found = _DOCTYPE.match(source)
    if found:
        end = _read_subset(source, found.start(1), declared)
        source = source[: found.start(1)] + source[end:]
    growth = _Growth(declared)

    def written(reference: re.Match[str]) -> str:
        name = reference[1]
        if name is None or name in _OF_XML:
            return reference[0]
        if name in declared:
            return growth.value(name)
        if (known := html5.get(f"{name};")) is not None:
            return escape(known)
        return f"&amp;{name};" if found else reference[0]  # may be declared elsewhere

    return _REFERENCE.sub(written, source)


def _read_subset(source: str, start: int, declared: dict[str, str | None]) -> int:
    """Where a DOCTYPE ends. ``declared`` gets its entities, None for those in other files."""
    inside = depth = 0
    for token in _SUBSET.finditer(source, start + len("<!DOCTYPE")):
        if name := token["name"]:
            depth += 1
            value = token["double"] if token["double"] is not None else token["single"]
            if not token["parameter"]:
                declared.setdefault(name, value)
        elif token["used"] and inside:
            raise UnreadableError("xml entities are not allowed", f"%{token['used']};")
        elif token["inner"]:
            depth += 1
        elif token["open"]:
            inside += 1
        elif token["close"]:
            inside -= 1
        elif token["end"]:
            if not inside and not depth:
                return token.end()
            depth = max(depth - 1, 0)
    raise UnreadableError("damaged xml", "a DOCTYPE without end")


class _Growth:
    """Entities written out, as long as they add no more than a bounded number of characters."""

    def __init__(self, declared: dict[str, str | None]) -> None:
        self.declared = declared
        self.left = _MOST_EXPANSION
        self.sizes: dict[str, int] = {}

    def value(self, name: str) -> str:
        self.left -= self._size(name, ())
        if self.left < 0:
            raise UnreadableError("xml entities are not allowed", "they grow without bound")
        return self._expanded(name)

    def _size(self, name: str, within: tuple[str, ...]) -> int:
        """How long an entity is when it is written out: known before it is."""
        if name not in self.sizes:
            value = self.declared[name]
            if value is None:
                raise UnreadableError("xml entities are not allowed", f"&{name}; is another file")
            if name in within or len(within) > _MOST_NESTING:
                raise UnreadableError("xml entities are not allowed", f"&{name}; holds itself")
            inner = (found[1] for found in _REFERENCE.finditer(value))
            self.sizes[name] = len(value) + sum(
                self._size(each, (*within, name)) for each in inner if self._is_own(each)
            )
        return self.sizes[name]

    def _expanded(self, name: str) -> str:
        value = _NUMERIC.sub(_numbered, self.declared[name] or "")
        return _REFERENCE.sub(
            lambda found: self._expanded(found[1]) if self._is_own(found[1]) else found[0], value
        )

    def _is_own(self, name: str | None) -> bool:
        return name in self.declared and name not in _OF_XML


def _numbered(reference: re.Match[str]) -> str:
    code = int(reference[1], 16) if reference[1] else int(reference[2])
    return escape(chr(code)) if code < 0x110000 and code not in range(0xD800, 0xE000) else ""


def _is_prose(root: Any) -> bool:
    """Whether most of the text stands in paragraphs, or between elements as in a sentence."""
    from lxml import etree

    written = total = 0
    walk = etree.iterwalk(root, events=("start",), tag="{*}*")
    for _, element in walk:
        between = any((child.tail or "").strip() for child in element)
        if between or _local(element.tag) in _WRITTEN:
            length = sum(len(text.strip()) for text in element.itertext())
            written += length
            total += length
            walk.skip_subtree()
        else:
            total += len((element.text or "").strip())
    return 2 * written > total


def _prose(root: Any) -> str:
    from lxml import etree

    _write_formulas(root)
    own_lines: set[Any] = set()
    for element in root.iter("{*}*"):
        parent = element.getparent()
        above = "" if parent is None else parent.tag
        name = _IN_HTML.get(_local(element.tag), _local(element.tag))
        if name == "ul" and not _NUMBERED.isdisjoint(element.attrib.values()):
            name = "ol"
        if name == "p" and above in ("li", "dd"):
            name = "div"
        elif name == "p" and above in _CELLS:
            name, element.tail = "span", " "
        elif name == "li" and above not in ("ul", "ol"):
            name = "dd"
        if name not in _KNOWN:
            name = _unknown(element, parent, own_lines)
        element.tag = name
        spans = _spans(element) if name in _CELLS else {}
        element.attrib.clear()
        element.attrib.update(spans)
    return all_text(f"<div>{etree.tostring(root, encoding='unicode', method='html')}</div>")


def _write_formulas(root: Any) -> None:
    """MathML as text; the LaTeX beside it, which is a document of its own, goes."""
    for math in list(root.iter("{*}math")):
        beside = math.getparent()
        for other in list(beside.iterchildren("{*}tex-math")) if beside is not None else []:
            beside.remove(other)
        text, tail = formula(math), math.tail
        math.clear()
        math.tag, math.text, math.tail = "span", text, tail


def _unknown(element: Any, parent: Any, own_lines: set[Any]) -> str:
    """What an element is in HTML that has no counterpart there: a part of a sentence where
    text stands beside it, else a line of its own, or words set apart from those beside them."""
    if parent is None or not _holds_elements_only(parent):
        return "span"
    within = parent.tag in _STRUCTURE and parent not in own_lines
    if within or (len(element) and _holds_elements_only(element)):
        own_lines.add(element)
        return "div"
    element.tail = " "
    return "span"


def _holds_elements_only(element: Any) -> bool:
    if element.tag in ("p", "pre", "li", "td", "th", "dt", "dd", *_HEADINGS):
        return False
    return not (element.text or "").strip() and not any(
        (child.tail or "").strip() for child in element
    )


def _spans(cell: Any) -> dict[str, str]:
    """The columns and rows that a cell takes, by the attributes of HTML or of CALS."""
    spans = {name: value for name in ("colspan", "rowspan") if (value := cell.get(name))}
    if (more := cell.get("morerows", "")).isdigit():
        spans["rowspan"] = str(int(more[:4]) + 1)
    ends = [re.search(r"(\d{1,3})$", cell.get(name, "")) for name in ("namest", "nameend")]
    if ends[0] and ends[1]:
        spans["colspan"] = str(max(int(ends[1][1]) - int(ends[0][1]) + 1, 1))
    return spans


def _records(element: Any, depth: int = 0) -> Iterator[str]:
    """``name: value`` lines; a blank line before each record of a list of them."""
    indent = "  " * max(depth - 1, 0)
    for child in element.iterchildren("{*}*"):
        tag = child.tag.rpartition("}")[2]
        name = next((value for n in _NAMING if (value := child.get(n))), tag)
        value = " ".join((child.text or "").split())
        if _MARKUP.search(value):  # HTML within a feed
            value = all_text(value)
        if len(child) == 0:
            if value:
                plain = len(value) > _LONG and tag.lower() in _TELLS_NOTHING
                yield f"{indent}{value}" if plain else f"{indent}{name}: {value}"
            continue
        lines = _records(child, depth + 1)
        first = next(lines, None)
        if first is None:
            continue
        if depth == 0:
            yield ""
        elif value or not first.startswith("\n"):
            yield f"{indent}{name}: {value}".rstrip()
        yield first
        yield from lines


def _local(tag: Any) -> str:
    return tag.rpartition("}")[2].lower() if isinstance(tag, str) else ""
