"""The tree of a page, made ready to be written out: what it hides or strikes out is taken
out and counted, formulas and what is raised or lowered become text."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from typing import Any

from linnet.data.extract.typeface import lowered, raised
from linnet.data.markup.mathml import formula

_DECLARATION = re.compile(r"\A\s*<\?xml[^>]*\?>")
_HIDDEN = re.compile(r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*hidden)", re.IGNORECASE)
_STRUCK = {"del", "s", "strike"}
_MOST_HIDDEN = 0.5  # of the text; where more is hidden, a script would show it
_MOST_NOSCRIPTS = 20
_SMALL = 8  # elements within something raised
_TEXT_TO_END = 64  # characters before it that are looked at

_NOTE = re.compile(r"[\[(]?(?:\d{1,3}|[a-z]|[ivx]{1,5})[\])]?", re.IGNORECASE)
_SIGN = re.compile(r"[*†‡§¶#]{1,3}")
_SIMPLE = re.compile(r"[+\-−]?[\w.,]{1,8}(?:[+\-−*/=,][\w.]{1,8}){0,4}[+\-−]?|[+\-−∞∗]")
_ENDS_WORD = re.compile(r"[^\W\d_]{4,}\Z|[.,;:!?\"'”’»]\Z")
_ENDS_OPERAND = re.compile(r"[\w)\]}]\Z")
_ORDINAL = re.compile(r"[^\W\d_]{2,}|[oaeº]")
_FRACTION = re.compile(r"\s*[/\u2044]")


def page_tree(source: str, changes: Counter[str]) -> Any:
    """The root of a page; None where there is nothing but blanks and comments."""
    from lxml import etree, html

    parser = html.HTMLParser(remove_comments=True, remove_pis=True, huge_tree=True)
    source = _DECLARATION.sub("", source.replace("\0", ""))
    try:
        root = html.document_fromstring(source, parser=parser)
    except (etree.ParserError, ValueError):
        return None
    whole = _length(root)
    for element in list(
        itertools.islice(root.iter("noscript"), _MOST_NOSCRIPTS)
    ):  # one that was never closed holds the page
        if _length(element) > _MOST_HIDDEN * whole:
            element.drop_tag()
    _write_formulas(root)
    _take_out(root, changes)
    for element in list(root.iter("sup", "sub")):
        _write_raised(element)
    return root


def _write_formulas(root: Any) -> None:
    """Every formula once: pages show them as MathML, as a script's picture and as LaTeX."""
    from lxml import etree

    scripts = [e for e in root.iter("script") if (e.get("type") or "").startswith("math/tex")]
    for script in scripts:
        _replace(script, " ".join((script.text or "").split()))
    drawn: list[Any] = []
    formulas: list[Any] = []
    walk = etree.iterwalk(root, events=("start",))
    for _, element in walk:
        names = (element.get("class") or "").split() if isinstance(element.tag, str) else []
        if "katex-html" in names or (scripts and any(n.startswith("MathJax") for n in names)):
            drawn.append(element)
            walk.skip_subtree()
        elif element.tag == "math":
            formulas.append(element)
            walk.skip_subtree()
    for element in drawn:
        element.drop_tree()
    for element in formulas:
        for above in itertools.islice(element.iterancestors(), 3):
            if _is_hidden(above):  # for readers of screens, beside a picture
                above.attrib.pop("style", None)
        _replace(element, formula(element))


def _take_out(root: Any, changes: Counter[str]) -> None:
    from lxml import etree

    hidden: list[Any] = []
    struck: list[Any] = []
    walk = etree.iterwalk(root, events=("start",))
    for _, element in walk:
        if not isinstance(element.tag, str) or element is root:
            continue
        if element.tag in _STRUCK or _is_hidden(element):
            (struck if element.tag in _STRUCK else hidden).append(element)
            walk.skip_subtree()
    lengths = [_length(element) for element in hidden]
    if sum(lengths) > _MOST_HIDDEN * _length(root):
        hidden, lengths = [], []
    for element, length in zip(hidden, lengths, strict=True):
        element.drop_tree()
        changes.update({"hidden passages": 1} if length else ())
    for element in struck:
        element.drop_tree()
        changes["struck-out passages"] += 1


def _length(element: Any) -> int:
    """Characters of text, scripts and styles left aside."""
    walk = element.xpath(".//text()[not(parent::script or parent::style)]")
    return sum(len(text.strip()) for text in walk)


def _is_hidden(element: Any) -> bool:
    style = element.get("style")
    hidden = element.get("hidden")
    return (hidden is not None and hidden != "until-found") or (
        style is not None and _HIDDEN.search(style) is not None
    )


def _replace(element: Any, text: str) -> None:
    """The element as a plain span with this text."""
    tail = element.tail
    element.clear()
    element.tag, element.text, element.tail = "span", text, tail


def _write_raised(element: Any) -> None:
    if sum(1 for _ in itertools.islice(element.iter(), _SMALL + 1)) > _SMALL:
        return
    text = " ".join("".join(element.itertext()).split())
    before = _text_before(element)
    written = _raised(element, text, before) if element.tag == "sup" else _lowered(text, before)
    if written is not None and written != text:
        _replace(element, written)


def _raised(element: Any, text: str, before: str) -> str | None:
    if _FRACTION.match(element.tail or ""):
        return f" {text}" if before[-1:].isdigit() else None
    parent = element.getparent()
    links = [*element.iter("a"), *([parent] if parent is not None and parent.tag == "a" else [])]
    if _SIGN.fullmatch(text):
        return None
    if _NOTE.fullmatch(text) and (
        any((link.get("href") or "").startswith("#") for link in links)
        or (text.strip("[]()").isdigit() and _ENDS_WORD.search(before))
        or text[0] == "["
    ):
        return f" [{text.strip('[]()')}]"
    ordinal = _ORDINAL.fullmatch(text) and (len(text) > 1 or before[-1:].isdigit())
    if ordinal or not _SIMPLE.fullmatch(text) or not _ENDS_OPERAND.search(before):
        return None
    return raised(text)


def _lowered(text: str, before: str) -> str | None:
    if not _SIMPLE.fullmatch(text) or not _ENDS_OPERAND.search(before):
        return None
    written = lowered(text)
    if written != text:
        return written
    return f"_{text}" if len(text) == 1 else f"_{{{text}}}"  # letters are set apart


def _text_before(element: Any) -> str:
    """The end of the text before an element, in its own parent."""
    previous = element.getprevious()
    while previous is not None:
        text = (previous.tail or "") or "".join(itertools.islice(previous.itertext(), 50))
        if text:
            return text[-_TEXT_TO_END:]
        previous = previous.getprevious()
    parent = element.getparent()
    return (parent.text or "")[-_TEXT_TO_END:] if parent is not None else ""
