"""XML: prose (DocBook, TEI, JATS, XHTML) as paragraphs, data (feeds, records) as named values.

Prose is written by the rules of HTML: its elements are renamed to those of HTML
that mean the same. Entities are neither expanded nor fetched; a document that
declares any is refused.
"""

from __future__ import annotations

import re
from html.entities import html5
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from linnet.data.decoding import read_text
from linnet.data.document import Dropped, Extracted, UnreadableError
from linnet.data.markup.html import all_text, html_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from linnet.data.extract.context import Context

_DECLARATION = re.compile(r"\A\s*<\?xml[^>]*\?>")
_ENTITY = re.compile(r"<!ENTITY|<[\w:]")  # whichever comes first: a declaration or the root
_REFERENCE = re.compile(r"&(\w{2,32});")
_OF_XML = {"amp", "lt", "gt", "quot", "apos"}
_MARKUP = re.compile(r"</[a-zA-Z]|<(?:p|br)\b|&\w+;")
# Elements of DocBook, TEI, JATS and the like, by what they are in HTML.
_NAMES = {
    "p": "para simpara formalpara ab abstract speech",
    "h1": "title subtitle head article-title journal-title chapter-title",
    "section": "sect sec sect1 sect2 sect3 sect4 sect5 chapter preface appendix part book article "
    "div div1 div2 div3 body front back text titlepage info note warning tip caution important "
    "example figure table-wrap lg sp quote disp-quote epigraph verse",
    "ul": "itemizedlist orderedlist simplelist list variablelist glosslist def-list listbibl",
    "li": "listitem item list-item member bibl bibitem ref",
    "table": "informaltable tgroup",
    "tr": "row",
    "td": "entry cell",
    "pre": "programlisting screen literallayout code eg synopsis preformat source",
    "div": "l varlistentry glossentry def-item",
    "dt": "term glossterm",
    "br": "lb sbr break",
    "style": "graphic inline-graphic imagedata indexterm processing-meta",
}
_IN_HTML = {name: html for html, names in _NAMES.items() for name in names.split()}
_KNOWN = {*_NAMES, "div", "span", "h2", "h3", "h4", "h5", "h6", "ol", "dl", "dt", "dd", "th"}
_WRITTEN = {"p", "pre", *(name for name, html in _IN_HTML.items() if html in ("p", "pre", "li"))}
_WRITTEN -= {"item", "member", "abstract", "code", "source", "ref"}  # names in data, too
_CELLS = {"td", "th"}
_TELLS_NOTHING = {"content", "text", "body", "value"}
_LONG = 200  # characters
_NAMING = ("name", "key", "label", "id")  # attributes that tell records of one element apart


def read(path: Path, context: Context) -> Iterator[Extracted | Dropped]:
    source = read_text(path, limit=context.config.max_document_bytes, changes=context.changes)
    root = _parsed(source)
    kind = _local(root.tag)
    if kind == "html":
        text = html_text(source) if context.config.html == "main" else all_text(source)
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
    """The root element. Raises UnreadableError for damage and for declared entities."""
    from lxml import etree

    if (first := _ENTITY.search(source)) and first[0] == "<!ENTITY":
        raise UnreadableError("xml entities are not allowed")
    source = _REFERENCE.sub(_character, _DECLARATION.sub("", source))
    parser = etree.XMLParser(
        encoding="utf-8", resolve_entities=False, no_network=True, load_dtd=False,
        huge_tree=False, remove_comments=True, remove_pis=True, recover=False,
    )  # fmt: skip
    try:
        root = etree.fromstring(source.encode("utf-8", "replace"), parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise UnreadableError("damaged xml", str(error)[:200]) from None
    subset = root.getroottree().docinfo.internalDTD
    if subset is not None and any(True for _ in subset.iterentities()):
        raise UnreadableError("xml entities are not allowed")
    return root


def _character(reference: re.Match[str]) -> str:
    """What HTML means by a reference to an entity that XML does not have."""
    name = reference[1]
    return reference[0] if name in _OF_XML else escape(html5.get(f"{name};", reference[0]))


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

    for element in root.iter("{*}*"):
        parent = element.getparent()
        above = "" if parent is None else parent.tag
        name = _IN_HTML.get(_local(element.tag), _local(element.tag))
        if name == "p" and above in ("li", "dd"):
            name = "div"
        elif name == "p" and above in _CELLS:
            name, element.tail = "span", " "
        elif name == "li" and above not in ("ul", "ol"):
            name = "dd"
        element.tag = name if name in _KNOWN else "span"
        for attribute in list(element.attrib):
            del element.attrib[attribute]
    return all_text(f"<div>{etree.tostring(root, encoding='unicode', method='html')}</div>")


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
