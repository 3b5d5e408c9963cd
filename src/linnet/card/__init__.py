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
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linnet import artifact
from linnet.card.facts import Facts, evaluation_figures, gather
from linnet.errors import ArtifactError
from linnet.output import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping

CARD = "README.md"
_BEGIN, _END = "<!-- evaluation by linnet -->", "<!-- end of evaluation -->"
_EVALUATION = re.compile(f"{re.escape(_BEGIN)}.*?{re.escape(_END)}", re.DOTALL)


def write_card(draft: artifact.Draft, *, base: Path | None = None) -> None:
    """Write the card of a model or adapter that is otherwise complete, figures included.

    ``base``: the directory of the model that it was made from, whose card and licence count.
    """
    facts = gather(draft.path, draft.recipe, draft.stats, base=base)
    write_text(draft.path / CARD, render(facts))


def render(facts: Facts) -> str:
    """The card as Markdown with its YAML header."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(__name__, "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    template = environment.get_template("card.md.jinja")
    return template.render(facts=facts, begin=_BEGIN, end=_END)


def refresh_evaluation(directory: Path, results: Mapping[str, Any]) -> bool:
    """Put the figures of ``linnet evaluate`` into the card; False where there is none of ours.

    Only between the marks that Linnet wrote, so that what a person changed stays.
    """
    try:
        entry = artifact.read(directory).manifest.files.get(CARD)
        text = (directory / CARD).read_text(encoding="utf-8")
    except (ArtifactError, OSError, ValueError):
        return False
    if entry is None or entry.sha256 is not None or not _EVALUATION.search(text):
        return False
    lines = [f"| {label} | {value} |" for label, value in evaluation_figures(results)]
    table = "\n".join(["| On held-out text | |", "|---|---|", *lines])
    renewed = _EVALUATION.sub(lambda _: f"{_BEGIN}\n{table}\n{_END}", text, count=1)
    with contextlib.suppress(OSError):  # a directory that may not be written to is no error
        if renewed != text:
            write_text(directory / CARD, renewed)
        return True
    return False
