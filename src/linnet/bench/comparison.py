"""Every engine and number format that can compute a model, measured one after the other.

Quality is bits per byte on held-out text beside that of the full-precision weights. The
fastest whose loss stays within a bound is noted, and is what ``auto`` takes from then on.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from linnet import artifact, hub, runtime
from linnet.bench.worker import DraftingRates, Measurement
from linnet.config import Config, option
from linnet.errors import ArtifactError, ConfigError, DataError, ModelError, install_command
from linnet.generate.engine_kind import model_directory
from linnet.generate.engines import ENGINES, Choice, note_choice
from linnet.progress import SILENT, Progress
from linnet.runtime import MOST_THREADS

REFERENCE = next(kind for kind in ENGINES.values() if kind.can.exact)
FULL = (REFERENCE.name, REFERENCE.can.formats[0])
CANDIDATES = tuple(
    (kind.name, precision)
    for kind in sorted(ENGINES.values(), key=lambda kind: not kind.can.exact)
    for precision in kind.can.measured
)
"""The exact weights first, which all are compared with."""

PIECE = 4000  # characters of held-out text scored at once


@dataclass(frozen=True)
class BenchConfig(Config):
    """What to measure."""

    text: str = option(
        "",
        "Held-out text to compare quality on: a file; empty: what the model's training set aside, "
        "or else Python's documentation.",
    )
    prompt_tokens: int = option(128, "Tokens in a prompt.", least=1)
    new_tokens: int = option(64, "Tokens written after it.", least=1)
    streams: int = option(8, "Texts written at once.", least=1)
    repeats: int = option(3, "Measurements of each figure; the best counts.", least=1)
    text_bytes: int = option(20_000, "Held-out text to score, at most.", least=1)
    bound: float = option(
        0.01,
        "Largest rise of bits per byte, as a share, in what auto may choose.",
        least=0,
        below=1,
    )
    threads: int = option(0, "CPU threads; 0: all usable cores.", least=0, most=MOST_THREADS)
    draft: str = option(
        "",
        "A smaller model with the same vocabulary, to measure whether its drafts make the model "
        "faster.",
    )
    engine: tuple[str, ...] = option(
        (),
        "Only these beside torch:f32, as torch or llama.cpp:q8_0; may be given several times. "
        "auto stays as it was then.",
    )


@dataclass(frozen=True)
class Row:
    """One engine and format."""

    engine: str
    precision: str
    found: Measurement | None
    """None where it cannot compute the model."""
    remark: str = ""
    """Why not."""

    @property
    def speed(self) -> float:
        """One text and several at once, alike: the geometric mean of both rates."""
        return math.sqrt(self.found.one * self.found.many) if self.found else 0.0


LEAST_GAIN, MOST_LOSS = 1.1, 0.95
"""How many times as fast drafts must make a text that quotes, and how slow any other."""


@dataclass(frozen=True)
class Drafting:
    """One way of drafting, on the engine and format of the choice."""

    lookup: bool
    draft: str
    """The model that drafts; empty: none."""
    found: DraftingRates | None
    remark: str = ""
    """Why it cannot be measured."""

    @property
    def speed(self) -> float:
        """Texts that quote and others, alike: the geometric mean of both rates."""
        return math.sqrt(self.found.quoting * self.found.other) if self.found else 0.0


@dataclass(frozen=True)
class Comparison:
    """All that was measured, in order."""

    rows: tuple[Row, ...]
    text: str
    """Where the held-out text is from."""
    streams: int
    bound: float
    drafting: tuple[Drafting, ...] = ()
    """Ways of drafting on the choice, first without."""

    @property
    def drafting_choice(self) -> Drafting | None:
        """The fastest way that pays on texts that quote, and hardly costs on others."""
        plain = self.drafting[0] if self.drafting else None
        if plain is None or plain.found is None:
            return None
        good = [
            each
            for each in self.drafting
            if each.found is not None
            and each.found.other >= MOST_LOSS * plain.found.other
            and each.speed >= math.sqrt(LEAST_GAIN) * plain.speed
        ]
        return max(good, key=lambda each: each.speed, default=plain)

    @property
    def full_bits(self) -> float | None:
        """Bits per byte of the full-precision weights; None where they were not measured."""
        for row in self.rows:
            if (row.engine, row.precision) == FULL and row.found:
                return row.found.bits_per_byte
        return None

    def rise(self, row: Row) -> float | None:
        """By which share its bits per byte are above those of the full-precision weights."""
        if row.found is None or self.full_bits is None:
            return None
        return row.found.bits_per_byte / self.full_bits - 1

    @property
    def choice(self) -> Row | None:
        """The fastest that stays within the bound."""
        rises = [(row, self.rise(row)) for row in self.rows]
        good = [row for row, rise in rises if rise is not None and rise <= self.bound]
        return max(good, key=lambda row: row.speed, default=None)

    def to_mapping(self) -> dict[str, Any]:
        """As plain values."""
        chosen, drafting = self.choice, self.drafting_choice
        return {
            "text": self.text,
            "streams": self.streams,
            "bound": self.bound,
            "auto": None if chosen is None else {
                "engine": chosen.engine, "precision": chosen.precision,
                "lookup": None if drafting is None else drafting.lookup,
                "draft": "" if drafting is None else drafting.draft,
            },
            "drafting": [asdict(each) for each in self.drafting],
            "rows": [{**asdict(row), "rise": self.rise(row)} for row in self.rows],
        }  # fmt: skip


def compare(
    model: Path | str, config: BenchConfig | None = None, *, progress: Progress = SILENT
) -> Comparison:
    """Measure every engine and format on ``model``, and note the best choice for ``auto``.

    ``model``: a directory, a project, an adapter, a hub name, or a GGUF file (which has one
    format). Raises ModelError when there is no such model, DataError for text that is too
    short, ConfigError for an engine that is none.
    """
    config = config or BenchConfig()
    source = Path(model)
    if source.suffix == ".gguf":
        if not source.is_file():
            raise ModelError(f"{source}: expected a GGUF file, but it does not exist")
        place: Path = source
        candidates = [(kind.name, "auto") for kind in ENGINES.values() if kind.can.files]
    else:
        place = hub.find(model_directory(model) if source.exists() else model).path
        if not any((place / name).is_file() for name in ("config.json", "adapter_config.json")):
            lacks = "has no config.json" if place.exists() else "does not exist"
            raise ModelError(f"{model}: expected a model directory, but it {lacks}")
        candidates = list(_candidates(config))
    texts, origin = held_out_texts(place, config)
    asked = {
        "model": str(place),
        "texts": texts,
        "prompt_tokens": config.prompt_tokens,
        "new_tokens": config.new_tokens,
        "slots": config.streams,
        "repeats": config.repeats,
        "lookup": "off",
        "draft": "",
        "threads": config.threads or runtime.usable_cores(),
    }
    rows = []
    with progress.task("measuring", total=len(candidates), unit="engines") as task:
        for engine, precision in candidates:
            task.update(note=f"{engine} {precision}")
            rows.append(_measured(engine, precision, asked))
            task.advance()
    result = Comparison(tuple(rows), origin, config.streams, config.bound)
    if all(row.found is None for row in rows):
        raise ModelError(f"{model}: nothing could be measured; {rows[0].remark}")
    if (result.choice is not None or len(rows) == 1) and (config.draft or not config.engine):
        row = result.choice or rows[0]
        with progress.task("measuring drafts"):
            found = tuple(_drafting(row, config, asked))
        result = replace(result, drafting=found)
    # Only where all were compared: a look at one engine is no choice.
    if result.choice is not None and place.is_dir() and not config.engine:
        best, drafting = result.choice, result.drafting_choice
        choice = Choice(best.engine, best.precision)
        if drafting is not None:
            choice = replace(choice, lookup=drafting.lookup, draft=_absolute(drafting.draft))
        note_choice(place, choice)
    return result


def _drafting(row: Row, config: BenchConfig, asked: dict[str, Any]) -> Iterator[Drafting]:
    """The ways of drafting that there are, measured on one engine and format."""
    ways = [(False, ""), (True, "")]
    ways += [(False, config.draft), (True, config.draft)] if config.draft else []
    for lookup, draft in ways:
        wanted = {"drafting": True, "lookup": "on" if lookup else "off", "draft": draft}
        told = ask(row.engine, row.precision, {**asked, **wanted})
        if isinstance(told, str):
            yield Drafting(lookup, draft, None, told)
        else:
            yield Drafting(lookup, draft, DraftingRates(**told))


def _absolute(draft: str) -> str:
    return str(Path(draft).resolve()) if draft and Path(draft).exists() else draft


def held_out_texts(place: Path, config: BenchConfig) -> tuple[list[str], str]:
    """Pieces of text that the model was not trained on, as far as is known, and their origin."""
    if config.text:
        try:
            text = Path(config.text).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{config.text}: expected a text file in UTF-8 ({error})") from None
        origin = config.text
    else:
        text, origin = _set_aside(place, config.text_bytes)
    pieces = [text[start : start + PIECE] for start in range(0, len(text), PIECE)]
    chosen: list[str] = []
    size = 0
    for piece in pieces:
        size += len(piece.encode())
        if chosen and size > config.text_bytes:
            break
        chosen.append(piece)
    if not any(piece.strip() for piece in chosen):
        raise DataError(f"{origin}: expected text to score, but it is empty")
    return chosen, origin


def _set_aside(place: Path, size: int) -> tuple[str, str]:
    """What the training of this model set aside; Python's own documentation where that is gone."""
    from linnet.shards import Shards
    from linnet.tokenizer import load

    try:
        lineage = artifact.lineage(place) if artifact.is_artifact(place) else []
    except ArtifactError:  # what it was made from has changed
        lineage = []
    for made_from in lineage:
        if made_from.manifest.kind != "shards":
            continue
        shards = Shards.open(made_from.path)
        split = shards.split("test" if "test" in shards.entries else "validation")
        tokenizer, texts, found = load(shards.tokenizer_path), [], 0
        for number in range(split.documents):
            texts.append(tokenizer.decode([int(token) for token in split.document(number)]))
            found += len(texts[-1])
            if found >= size:
                break
        return "\n".join(texts), f"{made_from.path}, held out"
    import pydoc_data.topics as topics  # type: ignore[import-untyped]

    return "\n".join(topics.topics.values()), "Python's documentation"


def _candidates(config: BenchConfig) -> Iterator[tuple[str, str]]:
    known = {f"{engine}:{precision}" for engine, precision in CANDIDATES}
    for wanted in config.engine:
        if wanted not in known and wanted not in {engine for engine, _ in CANDIDATES}:
            raise ConfigError(
                f"engine must be one of {', '.join([*sorted(known), *ENGINES])}. Got '{wanted}'"
            )
    for engine, precision in CANDIDATES:
        named = {engine, f"{engine}:{precision}"} & set(config.engine)
        if config.engine and not named and (engine, precision) != FULL:
            continue
        yield engine, precision


def _measured(engine: str, precision: str, asked: dict[str, Any]) -> Row:
    missing = ENGINES[engine].missing
    if missing:
        remark = f"{missing[0]} is not installed: {install_command(missing[0])}"
        return Row(engine, precision, None, remark)
    told = ask(engine, precision, asked)
    if isinstance(told, str):
        return Row(engine, precision, None, told)
    return Row(engine, precision, Measurement(**told))


def ask(engine: str, precision: str, asked: dict[str, Any]) -> dict[str, Any] | str:
    """What a process of its own found, or why it found nothing."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "linnet.bench.worker"],
        input=json.dumps({**asked, "engine": engine, "precision": precision}),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return f"it ended with {done.returncode}: {last}"
    found: dict[str, Any] = json.loads(lines[-1])
    return str(found["error"]) if "error" in found else found
