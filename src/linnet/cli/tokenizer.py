"""``linnet tokenizer``: train one, adopt one, look into one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from linnet import artifact
from linnet.cli.options import configured
from linnet.cli.terminal import out as terminal
from linnet.cli.terminal import terminal_progress
from linnet.config import replace
from linnet.data import read_documents
from linnet.errors import ConfigError, DataError
from linnet.tokenizer import Tokenizer, TokenizerConfig, adopt, load
from linnet.tokenizer import train as train_tokenizer
from linnet.tokenizer.inspection import Piece, count_kinds, cut_into_pieces, longest_tokens

if TYPE_CHECKING:
    from rich.text import Text

app = typer.Typer(rich_markup_mode=None, add_completion=False)

SHOWN_CHARACTERS = 1_000  # of a text, when it is drawn in pieces
SHOWN_TOKENS = 12  # in a list of tokens
PIECE_STYLES = ("black on bright_cyan", "black on bright_yellow", "black on bright_green")


@app.callback()
def tokenizer() -> None:
    """Train a tokenizer, or look into one."""


@app.command("train")
@configured(TokenizerConfig)
def train(
    corpus: Annotated[
        Path | None, typer.Argument(help="A corpus, from 'linnet data prepare'.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Adopt this tokenizer instead: a tokenizer.json, vocab.json with merges.txt, "
            "a SentencePiece .model, BERT's vocab.txt, their directory, or a Hugging Face name.",
        ),
    ] = None,
    *,
    out: Annotated[Path, typer.Option(help="Directory for the tokenizer.")],
    settings: dict[str, Any],
) -> None:
    """Train a tokenizer on a corpus, or adopt one that exists.

    Example: linnet tokenizer train corpus --out tokenizer --vocab-size 2048
    """
    progress = terminal_progress()
    if source is not None and corpus is None:
        if settings:
            names = ", ".join("--" + name.replace("_", "-") for name in settings)
            raise ConfigError(f"--from takes a tokenizer as it is; leave out {names}")
        made = adopt(source, out, progress=progress)
    elif corpus is not None and source is None:
        config = replace(TokenizerConfig(), settings)
        texts = (document.text for document in read_documents(corpus, "train", columns=("text",)))
        inputs = {"corpus": artifact.read(corpus, kind="corpus")}
        made = train_tokenizer(texts, out, config, inputs=inputs, progress=progress)
    else:
        raise ConfigError("give either a corpus to train on or --from SOURCE, and not both")
    terminal.print(f"{made.path}: {made.stats['vocab_size']:,} tokens", markup=False)


@app.command("inspect")
def inspect(
    directory: Annotated[Path, typer.Argument(help="A directory with a tokenizer.")],
    text: Annotated[str | None, typer.Argument(help="Text to cut into tokens.")] = None,
    file: Annotated[Path | None, typer.Option(help="Take the text from this file.")] = None,
) -> None:
    """Show what a vocabulary is made of and how it cuts a text.

    Example: linnet tokenizer inspect tokenizer "Once upon a time"
    """
    loaded = load(directory)
    if file is not None:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{file}: expected a text file in UTF-8 ({error})") from None
    _show_vocabulary(loaded)
    if text:
        _show_text(loaded, text)


def _show_vocabulary(loaded: Tokenizer) -> None:
    from rich.table import Table

    terminal.print(f"{loaded.vocab_size:,} tokens, spelt {loaded.spelling}")
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(justify="right")
    for kind, count in count_kinds(loaded).items():
        table.add_row(f"{count:,}", kind)
    terminal.print(table)
    ends = f"end of text: {loaded.token_name(loaded.end_of_text)} ({loaded.end_of_text})"
    if loaded.end_of_turn is not None:
        ends += f", of a turn: {loaded.end_of_turn_name} ({loaded.end_of_turn})"
    terminal.print(ends, markup=False)
    _show_tokens(loaded, "longest", longest_tokens(loaded, SHOWN_TOKENS))


def _show_text(loaded: Tokenizer, text: str) -> None:
    ids = loaded.encode(text)
    size = len(text.encode("utf-8", "replace"))
    frequent = [token for token, _ in Counter(ids).most_common(SHOWN_TOKENS)]
    _show_tokens(loaded, "most frequent", frequent)
    terminal.print(f"{size:,} bytes in {len(ids):,} tokens: {size / len(ids):.2f} bytes per token")
    shown = loaded.encode(text[:SHOWN_CHARACTERS])
    terminal.print(_drawn(cut_into_pieces(loaded, shown)), soft_wrap=True)
    if len(text) <= SHOWN_CHARACTERS:
        terminal.print("ids: " + " ".join(map(str, ids)), style="dim", soft_wrap=True)


def _show_tokens(loaded: Tokenizer, title: str, tokens: list[int]) -> None:
    shown = (repr(loaded.token_bytes(token).decode("utf-8", "replace")) for token in tokens)
    terminal.print(f"{title}: {' '.join(shown)}", markup=False, soft_wrap=True)


def _drawn(pieces: list[Piece]) -> Text:
    """The pieces in alternating colours; with bars between them where there are no colours."""
    from rich.text import Text

    drawn = Text()
    for number, piece in enumerate(pieces):
        if number and not terminal.is_terminal:
            drawn.append("|")
        visible = piece.text.replace("\r", "␍").replace("\n", "⏎\n").replace("\t", "→")
        drawn.append(visible, style=PIECE_STYLES[number % len(PIECE_STYLES)])
    return drawn
