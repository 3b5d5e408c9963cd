"""Filling in the middle: a prompt of what stands before and after, in tokens that a model knows.

Models of code are trained on texts of which a middle was moved to the end, between tokens of their
own. Which a model has is told by its vocabulary; the formats are those that its makers published.

References: https://arxiv.org/abs/2207.14255, https://arxiv.org/abs/2409.12186 (Qwen2.5-Coder, and
files of a repository), https://arxiv.org/abs/2308.12950 (Code Llama), and the model cards.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from linnet.generate.engine import Engine

File = tuple[str, str]
"""Name and text of a file that is shown before the one to be filled in."""


@dataclass(frozen=True)
class InfillFormat:
    """How a family writes it, by the names of its tokens."""

    prefix: str
    suffix: str
    middle: str = ""
    """What the answer follows; without one it follows the prefix, which then comes last."""
    ends: tuple[str, ...] = ()
    """Those that end an answer beside the ones that end every text."""
    repository: tuple[str, ...] = ()
    """What the name of a repository follows, by its possible names."""
    file: tuple[str, ...] = ()
    """What the name of a file follows, by its possible names."""


_BARS = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")

FORMATS = (
    # Qwen2.5-Coder, CodeGemma, Granite 4
    InfillFormat(
        *_BARS,
        ends=(*_BARS, "<|fim_pad|>", "<|endoftext|>", "<|repo_name|>", "<|file_sep|>",
              "<|file_separator|>"),
        repository=("<|repo_name|>",),
        file=("<|file_sep|>", "<|file_separator|>"),
    ),
    # StarCoder, StarCoder 2, Granite Code
    InfillFormat(
        "<fim_prefix>", "<fim_suffix>", "<fim_middle>",
        ends=("<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<fim_pad>", "<|endoftext|>",
              "<file_sep>", "<filename>", "<repo_name>", "<reponame>"),
        repository=("<repo_name>", "<reponame>"),
        file=("<file_sep>", "<filename>"),
    ),
    # SantaCoder
    InfillFormat("<fim-prefix>", "<fim-suffix>", "<fim-middle>", ends=("<|endoftext|>",)),
    # DeepSeek-Coder
    InfillFormat(
        "<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>",
        ends=("<|EOT|>", "<｜end▁of▁sentence｜>"),
    ),
    # Code Llama
    InfillFormat("▁<PRE>", "▁<SUF>", "▁<MID>", ends=("▁<EOT>",)),
    # Codestral
    InfillFormat("[PREFIX]", "[SUFFIX]"),
)  # fmt: skip


class Infill:
    """Makes the prompts of one engine."""

    def __init__(self, engine: Engine, format_: InfillFormat) -> None:
        self.format = format_
        self._engine = engine
        self._tokenization = engine.tokenization
        self._prefix, self._suffix = (
            _token(engine, name) for name in (format_.prefix, format_.suffix)
        )
        self._middle = _token(engine, format_.middle)
        self._repository, self._file = (
            next(filter(None, (_token(engine, name) for name in names)), ())
            for names in (format_.repository, format_.file)
        )
        self.ends = tuple(token for name in format_.ends for token in _token(engine, name))
        """The tokens that end an answer."""

    def prompt(
        self, prefix: str, suffix: str, *, repository: str = "", files: Sequence[File] = ()
    ) -> tuple[int, ...]:
        """The tokens after which the middle comes. ``files``: shown before, where the model has
        tokens for that; the last name may be that of the file itself, with no text.
        """
        before, after = self._engine.tokenize(prefix), self._tokenization.continuation(suffix)
        shown = [*self._prefix, *before]
        hidden = [*self._suffix, *after]
        around = [*shown, *hidden, *self._middle] if self._middle else [*hidden, *shown]
        return (*self._tokenization.start, *self._shown(repository, files), *around)

    def _shown(self, repository: str, files: Sequence[File]) -> Iterable[int]:
        """The other files."""
        if repository and self._repository:
            yield from (*self._repository, *self._tokenization.continuation(f"{repository}\n"))
        for name, text in files:
            if self._file:
                yield from (*self._file, *self._tokenization.continuation(f"{name}\n{text}"))
            else:
                yield from self._engine.tokenize(f"{text}\n")


def find_infill(engine: Engine) -> Infill | None:
    """How the engine's model fills in, if its vocabulary has the tokens for it."""
    for format_ in FORMATS:
        names = [name for name in (format_.prefix, format_.suffix, format_.middle) if name]
        tokens = [_token(engine, name) for name in names]
        if all(tokens) and len(set(tokens)) == len(tokens):  # not what stands for the unknown
            return Infill(engine, format_)
    return None


def _token(engine: Engine, name: str) -> tuple[int, ...]:
    """The token of this name; nothing where there is none."""
    found = engine.tokenize(name, special=True) if name else ()
    return tuple(found) if len(found) == 1 else ()
