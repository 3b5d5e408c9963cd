"""Model cards: the ``README.md`` in Hugging Face's form of every checkpoint and adapter.

A card says what a model was made from (by hash, walking the manifests), how, how
good it came out, under which licence as far as that is known, and what it must
not be trusted with. Nothing is invented: what is not known is said to be
unknown. No path and no name of a file or a directory of this machine is in it.

``README.md`` must be volatile in the artifact: an evaluation renews its part.
The form: https://huggingface.co/docs/hub/model-cards
"""

from __future__ import annotations

import contextlib
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from linnet import artifact
from linnet.card.facts import Facts, evaluation_figures, gather
from linnet.errors import ArtifactError
from linnet.output import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jinja2 import Template

CARD = "README.md"
_END = re.compile(r"<!-- end of [\w-]+ -->", re.ASCII)


def write_card(draft: artifact.Draft, *, base: Path | None = None) -> None:
    """Write the card of a model or adapter that is otherwise complete, figures included.

    ``base``: the directory of the model that it was made from, whose card and licence count.
    """
    facts = gather(draft.path, draft.recipe, draft.stats, base=base)
    write_text(draft.path / CARD, render(facts))


def render(facts: Facts) -> str:
    """The card as Markdown with its YAML header."""
    begin, end = _marks("evaluation")
    return _template().render(facts=facts, begin=begin, end=end)


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(__name__, "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    return environment.get_template("card.md.jinja")


class Table(NamedTuple):
    """What a card says of something that was made from the model."""

    title: str
    rows: Sequence[tuple[str, str]]


def refresh_evaluation(directory: Path, results: Mapping[str, Any]) -> bool:
    """Put the figures of ``linnet evaluate`` into the card; False where there is none of ours."""
    table = Table("On held-out text", evaluation_figures(results))
    return renew_part(directory, "evaluation", table)


def renew_part(directory: Path, part: str, table: Table) -> bool:
    """Put a table into a part of the card in ``directory``; False where there is none of ours.

    Only between the marks that Linnet wrote, so that what a person changed stays. A part that the
    card does not have yet comes after the last one.
    """
    try:
        entry = artifact.read(directory).manifest.files.get(CARD)
        text = (directory / CARD).read_text(encoding="utf-8")
    except (ArtifactError, OSError, ValueError):
        return False
    if entry is None or entry.sha256 is not None:
        return False
    begin, end = _marks(part)
    lines = [f"| {_cell(label)} | {_cell(value)} |" for label, value in table.rows]
    block = "\n".join([begin, f"| {_cell(table.title)} | |", "|---|---|", *lines, end])
    there = re.search(f"{re.escape(begin)}.*?{re.escape(end)}", text, re.DOTALL)
    last = [found.end() for found in _END.finditer(text)][-1:]
    if there is not None:
        renewed = text[: there.start()] + block + text[there.end() :]
    elif last:
        renewed = f"{text[: last[0]]}\n\n{block}{text[last[0] :]}"
    else:
        return False
    with contextlib.suppress(OSError):  # a directory that may not be written to is no error
        if renewed != text:
            write_text(directory / CARD, renewed)
        return True
    return False


def _marks(part: str) -> tuple[str, str]:
    return f"<!-- {part} by linnet -->", f"<!-- end of {part} -->"


def _cell(text: str) -> str:
    """A text as a cell of a table, out of which it cannot break."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
