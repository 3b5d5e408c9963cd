"""``linnet embed``: texts in, vectors out."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from linnet.cli.options import configured
from linnet.cli.terminal import err, terminal_progress
from linnet.config import option, replace
from linnet.errors import ConfigError, DataError
from linnet.generate.embedding import EmbedConfig
from linnet.generate.engines import ENGINES, FORMATS, EngineConfig, open_encoder
from linnet.respond.language_model import with_dtype
from linnet.runtime import MOST_THREADS

if TYPE_CHECKING:
    from linnet.generate.embedding import Encoder, Vectors
    from linnet.progress import Progress

app = typer.Typer(rich_markup_mode=None, add_completion=False)

NORMALISE = {"auto": None, "yes": True, "no": False}
AT_ONCE = 1024  # lines whose vectors are written before more are read


@dataclass(frozen=True)
class EmbedCommandConfig(EmbedConfig):
    """How texts become vectors, and what to compute them with."""

    engine: str = option(
        "auto",
        "what computes; auto: torch, the exact weights; llama.cpp is faster",
        choices=("auto", *ENGINES),
    )
    precision: str = option(
        "auto",
        "number format of the weights; q8_0 and q4_0 are llama.cpp's, int8 is torch's; auto: f32",
        choices=("auto", *FORMATS),
    )
    threads: int = option(0, "threads to compute with; 0 chooses", least=0, most=MOST_THREADS)

    @property
    def engine_config(self) -> EngineConfig:
        """What the encoder is opened with."""
        config = EngineConfig(
            engine=self.engine, precision=self.precision, device=self.device, threads=self.threads
        )
        return with_dtype(config, None if self.dtype == EmbedConfig.dtype else self.dtype)


@app.command()
@configured(EmbedCommandConfig)
def run(
    model: Annotated[str, typer.Argument(help="An encoder's directory, or its name on the hub.")],
    texts: Annotated[
        list[str] | None,
        typer.Argument(help="The texts; - reads one from every line of standard input."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A .npy file for the vectors, one in each row.")
    ] = None,
    *,
    settings: dict[str, Any],
) -> None:
    """Turn texts into vectors that lie close where the meanings do.

    Prints a JSON object for each text, or writes all vectors into one NumPy file.

    Example: linnet embed all-MiniLM-L6-v2 "a dog barks" "a hound is heard"
    """
    config = replace(EmbedCommandConfig(), settings)
    if out is not None and out.suffix != ".npy":
        raise ConfigError(f"--out must be a file that ends in .npy. Got {out}")
    if not texts:
        raise ConfigError("give the texts, or - to read them from standard input")
    progress = terminal_progress()
    encoder = open_encoder(model, config.engine_config, progress=progress)
    lines = _lines() if texts == ["-"] else iter(texts)
    with closing(encoder):
        if out is None:
            while some := list(islice(lines, AT_ONCE)):
                _print(some, _embed(encoder, some, config, progress))
        else:
            whole = list(lines)
            _write(out, _embed(encoder, whole, config, progress))
            err.print(f"{out}: {len(whole):,} vectors of {encoder.width} numbers", markup=False)


def _embed(encoder: Encoder, texts: list[str], config: EmbedConfig, progress: Progress) -> Vectors:
    return encoder.embed(
        texts,
        batch=config.batch,
        prompt=config.prompt,
        prefix=config.prefix,
        normalise=NORMALISE[config.normalise],
        progress=progress,
    )


def _lines() -> Iterator[str]:
    for number, line in enumerate(sys.stdin.buffer, 1):
        try:
            yield line.decode("utf-8").removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError as error:
            raise DataError(f"standard input, line {number}: must be UTF-8: {error}") from None


def _print(texts: Iterable[str], vectors: Vectors) -> None:
    for text, vector in zip(texts, vectors, strict=True):
        numbers = [float(f"{number:.9g}") for number in vector]  # as many digits as fp32 has
        typer.echo(json.dumps({"text": text, "embedding": numbers}, ensure_ascii=False))


def _write(out: Path, vectors: Vectors) -> None:
    import numpy as np

    from linnet.output import full_disk_named, replacing

    with full_disk_named(out), replacing(out) as neighbour, neighbour.open("wb") as file:
        np.save(file, vectors, allow_pickle=False)
