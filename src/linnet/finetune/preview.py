"""What a run will train on, to look at: examples with the trained tokens marked, and counts.

In colour, trained tokens are green and the others grey, neighbouring tokens in
two shades; without colour, trained tokens stand between ⟦ and ⟧. Special tokens
show their names. The text is a stranger's: what could move a cursor or turn the
direction of writing is shown as an escape.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console, ConsoleOptions, RenderResult

    from linnet.finetune.config import ExamplesConfig
    from linnet.finetune.encoding import Example
    from linnet.finetune.examples import Examples
    from linnet.tokenizer import Tokenizer

BEGIN, END = "⟦", "⟧"
LINE_END = "↵"
MOST_TOKENS = 600
"""Of a longer example the beginning and the end are shown."""

_TRAINED = ("green", "bright_green")
_CONTEXT = ("grey50", "grey66")
_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")  # fmt: skip  # noqa: E501


@dataclass(frozen=True)
class Preview:
    """A renderable for :mod:`rich`: some examples, then the counts."""

    examples: Examples
    tokenizer: Tokenizer
    config: ExamplesConfig
    count: int = 3
    """Examples to show, spread over all there are to train on."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        colour = console.color_system is not None and not console.no_color
        for example in spread(self.examples.train, self.count):
            yield Text(
                f"{visible(example.source)}  {len(example.tokens):,} tokens, "
                f"{int(example.trained.sum()):,} trained",
                style="bold",
            )
            yield marked(example, self.tokenizer, colour=colour)
            yield Text()
        yield self._counts()
        for line in self.examples.report.losses(self.config.context):
            yield Text(visible(line), style="yellow")

    def _counts(self) -> Table:
        report = self.examples.report
        table = Table.grid(padding=(0, 2))
        forms = ", ".join(f"{count:,} {form}" for form, count in report.forms.items())
        share = report.trained_tokens / max(1, report.tokens)
        for name, value in (
            ("rows", f"{report.rows:,} ({forms})"),
            ("examples", f"{report.train:,} to train on, {report.held_out:,} held out"),
            ("tokens", f"{report.tokens:,}, of which {share:.0%} are trained"),
            ("longest row", f"{report.longest:,} tokens; the context is {self.config.context:,}"),
            ("packed", f"{self._fill():.0%} of the places hold a token"),
        ):
            table.add_row(name, value)
        return table

    def _fill(self) -> float:
        from linnet.finetune.packing import PackedBatches

        length, seed = self.config.context, self.config.seed
        return PackedBatches(self.examples.train, rows=1, length=length, seed=seed).fill


def spread(examples: Sequence[Example], count: int) -> list[Example]:
    """So many examples, evenly from all of them."""
    places = np.linspace(0, len(examples) - 1, min(count, len(examples)))
    return [examples[int(place)] for place in places]


def marked(example: Example, tokenizer: Tokenizer, *, colour: bool) -> Text:
    """An example's text with its trained tokens marked."""
    text = Text()
    inside = False
    for number, (piece, trained, special) in enumerate(_pieces(example, tokenizer)):
        if trained != inside and not colour:
            text.append(BEGIN if trained else END)
        inside = trained
        style = (_TRAINED if trained else _CONTEXT)[number % 2] + (" bold" if special else "")
        text.append(piece, style=style if colour else "")
    if inside and not colour:
        text.append(END)
    return text


def visible(text: str) -> str:
    """The text with what a terminal would obey as escapes."""
    return _HIDDEN.sub(lambda found: ascii(found[0])[1:-1], text)


def _pieces(example: Example, tokenizer: Tokenizer) -> Iterator[tuple[str, bool, bool]]:
    """What each token shows, whether it is trained, and whether it is a special one.

    A character made of several tokens is shown with the last of them.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    size = len(example.tokens)
    for place, (token, trained) in enumerate(
        zip(example.tokens.tolist(), example.trained.tolist(), strict=True)
    ):
        if size > MOST_TOKENS and MOST_TOKENS // 2 <= place < size - MOST_TOKENS // 2:
            if place == MOST_TOKENS // 2:
                yield f" … {size - MOST_TOKENS:,} tokens … ", trained, False
            continue
        special = token in tokenizer.special_ids
        if special:
            piece = decoder.decode(b"", final=True) + tokenizer.token_name(token)
            decoder.reset()
        else:
            piece = decoder.decode(tokenizer.token_bytes(token), final=place == size - 1)
        yield visible(piece).replace("\n", f"{LINE_END}\n"), trained, special
