"""Patterns with the meaning .gitignore gives them (gitignore(5)), and those that git keeps in a
folder: ``.gitignore`` and ``.git/info/exclude``.

A walk asks of every file *and folder*, from the top down, which rule matches it
last, as git does; a folder that is left out is not entered. Libraries that
match whole paths cannot answer that: ``*`` with ``!*/`` leaves out every file,
but no folder. The patterns of a folder hold for all below it, those further down come first.
As with git, the folders between the top of the repository and the one that is read count too,
and a link named ``.gitignore`` does not.

Patterns may come from strangers. A segment is matched by a regular expression
that does not backtrack over its stars, so no pattern is slow.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_ANY = None  # the segment ``**``: any number of folders
_Segment = re.Pattern[str] | None
_CLASSES = {
    "alpha": "a-zA-Z", "digit": "0-9", "alnum": "a-zA-Z0-9", "upper": "A-Z", "lower": "a-z",
    "space": r"\s", "blank": r" \t", "xdigit": "0-9a-fA-F", "punct": r"!-/:-@\[-`{-~",
}  # fmt: skip
_FILES = (".gitignore", ".git/info/exclude")  # in the order of their weight
_MOST_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class _Rule:
    segments: tuple[_Segment, ...]
    negated: bool
    folders_only: bool
    anchored: bool
    """Matched against the whole path; otherwise against the last name in it."""


class Patterns:
    """Rules in order. False in a condition when there are none."""

    def __init__(self, lines: Iterable[str]) -> None:
        rules = (_parse(line) for line in lines)
        self._rules = [rule for rule in rules if rule is not None][::-1]

    def __bool__(self) -> bool:
        return bool(self._rules)

    def decide(self, path: str, *, folder: bool) -> bool | None:
        """What the last rule that matches says of ``path``, with ``/`` and relative to where the
        rules are from: True, False for one that begins with ``!``, None where none matches."""
        parts: list[str] = []
        name = path.rpartition("/")[2]
        for rule in self._rules:
            if rule.folders_only and not folder:
                continue
            if rule.anchored:
                parts = parts or path.split("/")
                matched = _matches(rule.segments, parts)
            else:
                segment = rule.segments[0]
                matched = segment is not None and segment.match(name) is not None
            if matched:
                return not rule.negated
        return None


def _parse(line: str) -> _Rule | None:
    """One line; None for a blank, a comment and what can never match."""
    line = line.removesuffix("\n").removesuffix("\r")
    while line.endswith(" ") and not line.endswith("\\ "):
        line = line[:-1]
    if line.startswith("#"):
        return None
    negated = line.startswith("!")
    line = line[negated:]
    folders_only = line.endswith("/")
    line = line.removesuffix("/")
    anchored = "/" in line
    line = line.removeprefix("/")
    if not line:
        return None
    if not anchored:
        segment = _segment(line)
        return _Rule((segment,), negated, folders_only, False) if segment else None
    segments: list[_Segment] = []
    for text in line.split("/"):
        segment = _ANY if text == "**" else _segment(text)
        if segment is None and text != "**":
            return None
        segments.append(segment)
    return _Rule(tuple(segments), negated, folders_only, True)


def _matches(segments: Sequence[_Segment], parts: Sequence[str]) -> bool:
    """Greedy matching with one point to return to, the latest ``**``, as it is enough."""
    at = part = 0
    star, resume = -1, 0
    while part < len(parts):
        segment = segments[at] if at < len(segments) else _ANY
        if at < len(segments) and segment is _ANY:
            star, resume = at, part
            at += 1
        elif segment is not None and segment.match(parts[part]):
            at += 1
            part += 1
        elif star >= 0:
            resume += 1
            at, part = star + 1, resume
        else:
            return False
    return at == len(segments)


def _segment(text: str) -> re.Pattern[str] | None:
    """What one name is matched by; None for a pattern that is malformed and matches nothing."""
    runs = [""]  # of single characters, between stars
    at = 0
    while at < len(text):
        character = text[at]
        at += 1
        if character == "*":
            runs.append("")
        elif character == "?":
            runs[-1] += "."
        elif character == "[":
            parsed = _character_class(text, at)
            if parsed is None:
                return None
            runs[-1] += parsed[0]
            at = parsed[1]
        else:
            if character == "\\":
                if at == len(text):
                    return None
                character = text[at]
                at += 1
            runs[-1] += re.escape(character)
    if len(runs) == 1:
        return re.compile(rf"(?s:{runs[0]})\Z")
    # As every run has a fixed length, its first place is as good as any: no need to go back.
    inner = "".join(f"(?>.*?{run})" for run in runs[1:-1] if run)
    return re.compile(rf"(?s:{runs[0]}{inner}.*{runs[-1]})\Z")


def _character_class(text: str, at: int) -> tuple[str, int] | None:
    """The class whose ``[`` stands before ``at``, and where it ends; None without a ``]``."""
    negated = text[at : at + 1] in ("!", "^")
    at += negated
    items = ""
    first = True
    while at < len(text) and (first or text[at] != "]"):
        first = False
        if text.startswith("[:", at):
            name, closed, _ = text[at + 2 :].partition(":]")
            if not closed or name not in _CLASSES:
                return None
            items += _CLASSES[name]
            at += len(name) + 4
            continue
        low, at = _class_member(text, at)
        high = low
        if text[at : at + 1] == "-" and text[at + 1 : at + 2] not in ("", "]"):
            high, at = _class_member(text, at + 1)
        if low <= high:
            items += f"{re.escape(low)}-{re.escape(high)}"
    if at >= len(text):
        return None
    if not items:
        return "." if negated else "(?!)", at + 1
    return f"[{'^' if negated else ''}{items}]", at + 1


def _class_member(text: str, at: int) -> tuple[str, int]:
    if text[at] == "\\" and at + 1 < len(text):
        at += 1
    return text[at], at + 1


Scope = tuple[int, Patterns]
"""Patterns, and how many characters of the path lie above the folder they are from."""


def is_left_out(scopes: Iterable[Scope], path: str, folder: bool) -> bool:
    """Whether ``path``, relative to the outermost scope's folder, is to be passed over. The first
    scope that has a rule for it decides."""
    for above, patterns in scopes:
        decided = patterns.decide(path[above:], folder=folder)
        if decided is not None:
            return decided
    return False


def outer_scopes(root: str) -> tuple[str, tuple[Scope, ...]]:
    """The way from the top of the git repository that ``root`` lies in down to it, and the
    patterns of the folders on the way; ("", ()) outside of a repository."""
    place = os.path.realpath(root)
    above = place
    while not os.path.lexists(os.path.join(above, ".git")):
        if above == os.path.dirname(above):
            return "", ()
        above = os.path.dirname(above)
    scopes: list[Scope] = []
    lead = ""
    for name in os.path.relpath(place, above).split(os.sep):
        if name == ".":
            break
        scopes = [*read_scopes(os.path.join(above, lead), len(lead)), *scopes]
        lead += f"{name}/"
    return lead, tuple(scopes)


def read_scopes(folder: str, above: int) -> Iterator[Scope]:
    """The patterns that a folder's ``.gitignore`` and repository hold. Raises OSError when they
    cannot be read: then what they leave out must not be read either."""
    for relative in _FILES:
        path = os.path.join(folder, relative)
        try:
            if not stat.S_ISREG(os.lstat(path).st_mode):
                continue
            with open(path, "rb") as file:
                content = file.read(_MOST_BYTES + 1)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if len(content) > _MOST_BYTES:
            raise OSError(errno.EFBIG, f"its {relative} is too large")
        lines = os.fsdecode(content.removeprefix(b"\xef\xbb\xbf")).split("\n")
        yield above, Patterns(lines)
