"""What the report says, gathered from a project's directories.

Each part is None (or empty) where its artifact is missing or cannot be read:
a report about half a project is still a report. Nothing here loads torch.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linnet import artifact
from linnet.config import parse_json, read_json
from linnet.data.report_page import CorpusFacts, corpus_facts
from linnet.errors import LinnetError
from linnet.evaluate.baselines import BASELINE_NAMES
from linnet.evaluate.evaluation import Evaluation, read_evaluation
from linnet.page import duration
from linnet.train.metrics import bits_figure, loss_figure, read_curves, svg

if TYPE_CHECKING:
    from linnet.artifact import Artifact

STAGES = ("corpus", "tokenizer", "shards", "plan", "model", "evaluation")
PLANNED_STAGES = {"data": "corpus", "encode": "shards", "train": "model", "evaluate": "evaluation"}
EXAMPLE_CHARACTERS = 160


@dataclass(frozen=True)
class ModelFacts:
    """The model's size and shape."""

    parameters: int
    file_bytes: int
    shape: list[tuple[str, str]]


@dataclass(frozen=True)
class SplitFacts:
    """One split of the encoded documents."""

    name: str
    documents: int
    bytes: int
    tokens: int


@dataclass(frozen=True)
class TokenizerFacts:
    """The vocabulary, and how it cuts an example."""

    vocab_size: int
    bytes_per_token: float | None
    example: list[str]


@dataclass(frozen=True)
class PlanFacts:
    """The plan's reasons, and its figures with what came of them."""

    reasons: list[str]
    compared: list[tuple[str, str, str]]


@dataclass(frozen=True)
class Bar:
    """One score in the picture; ``low`` and ``high`` bound the model's."""

    name: str
    bits_per_byte: float
    is_model: bool = False
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class StageFacts:
    """One artifact of the lineage."""

    kind: str
    place: str
    created: str
    seconds: float
    content: str
    made_from: list[str]


@dataclass(frozen=True)
class Facts:
    """All that the report says."""

    name: str
    model: ModelFacts | None
    corpus: CorpusFacts | None
    splits: list[SplitFacts]
    tokenizer: TokenizerFacts | None
    plan: PlanFacts | None
    curves: list[str]
    evaluation: Evaluation | None
    bars: list[Bar]
    stages: list[StageFacts]

    @property
    def training_seconds(self) -> float | None:
        return next((s.seconds for s in self.stages if s.kind == "model"), None)


def gather(project: Path) -> Facts:
    """Read a project's directories."""
    made = {name: found for name in STAGES if (found := _artifact(project / name)) is not None}
    evaluation = _evaluation(project / "evaluation")
    model = model_facts(project / "model")
    return Facts(
        name=project.resolve().name,
        model=model,
        corpus=corpus_facts(project / "corpus"),
        splits=split_facts(project / "shards"),
        tokenizer=tokenizer_facts(project, evaluation),
        plan=plan_facts(project, model, evaluation, made),
        curves=_curves(project / "model" / "metrics.jsonl"),
        evaluation=evaluation,
        bars=bars(evaluation),
        stages=[_stage(found, project) for found in made.values()],
    )


def model_facts(place: Path) -> ModelFacts | None:
    """Size and shape from the checkpoint's own files."""
    config = _read_json(place / "config.json")
    if config is None:
        return None
    parameters = file_bytes = 0
    for file in sorted(place.glob("*.safetensors")):
        parameters += _tensor_elements(file)
        file_bytes += file.stat().st_size
    named = (
        ("architecture", ("model_type",)),
        ("layers", ("num_hidden_layers", "n_layer")),
        ("width", ("hidden_size", "n_embd")),
        ("attention heads", ("num_attention_heads", "n_head")),
        ("vocabulary", ("vocab_size",)),
        ("context, tokens", ("max_position_embeddings", "n_positions")),
    )
    shape = [
        (label, _number(config[key])) for label, keys in named for key in keys if key in config
    ]
    return ModelFacts(parameters, file_bytes, shape)


def split_facts(shards: Path) -> list[SplitFacts]:
    """Documents, bytes and tokens of each split."""
    description = _read_json(shards / "shards.json") or {}
    facts = []
    for name, entries in description.get("splits", {}).items():
        sums = [sum(e[key] for e in entries) for key in ("documents", "bytes", "tokens")]
        facts.append(SplitFacts(name, *sums))
    return facts


def tokenizer_facts(project: Path, evaluation: Evaluation | None) -> TokenizerFacts | None:
    """The vocabulary; cuts a held-out beginning as an example."""
    from linnet.tokenizer import load

    places = [project / "tokenizer", project / "model"]
    place = next((p for p in places if (p / "tokenizer.json").is_file()), None)
    if place is None:
        return None
    try:
        tokenizer = load(place)
    except LinnetError:
        return None
    text = "The quick brown fox jumps over the lazy dog, 1,234 times a day."
    if evaluation is not None and evaluation.samples:
        sample = evaluation.samples[0]
        text = (sample.prompt + sample.text)[:EXAMPLE_CHARACTERS]
    pieces = [tokenizer.token_bytes(token) for token in tokenizer.encode(text)]
    splits = split_facts(project / "shards")
    tokens = sum(split.tokens - split.documents for split in splits)
    size = sum(split.bytes for split in splits)
    return TokenizerFacts(
        vocab_size=tokenizer.vocab_size,
        bytes_per_token=size / tokens if tokens else None,
        example=[piece.decode("utf-8", "replace") for piece in pieces],
    )


def plan_facts(
    project: Path,
    model: ModelFacts | None,
    evaluation: Evaluation | None,
    made: dict[str, Artifact],
) -> PlanFacts | None:
    """What was planned beside what came of it."""
    plan = _read_json(project / "plan" / "plan.json")
    if plan is None:
        return None
    curves = project / "model" / "metrics.jsonl"
    steps = read_curves(curves).steps[-1:] if curves.is_file() else []
    compared = []
    if "parameters" in plan:
        real = _number(model.parameters) if model is not None else ""
        compared.append(("parameters", _number(plan["parameters"]), real))
    if "steps" in plan:
        compared.append(("training steps", _number(plan["steps"]), _number(*steps)))
    if plan.get("expected_bits_per_byte") is not None:
        real = f"{evaluation.bits_per_byte:.3f}" if evaluation is not None else ""
        expected = f"{plan['expected_bits_per_byte']:.3f}"
        compared.append(("bits per byte, held out", expected, real))
    seconds = plan.get("seconds")
    for stage, planned in (seconds if isinstance(seconds, dict) else {}).items():
        found = made.get(PLANNED_STAGES.get(str(stage), str(stage)))
        real = duration(found.manifest.seconds) if found is not None else ""
        compared.append((f"time for {stage}", duration(planned), real))
    return PlanFacts([str(reason) for reason in plan.get("reasons", [])], compared)


def bars(evaluation: Evaluation | None) -> list[Bar]:
    """The model among the baselines, the best first."""
    if evaluation is None:
        return []
    interval = evaluation.confidence_interval
    low, high = (interval.low, interval.high) if interval is not None else (None, None)
    found = [Bar("this model", evaluation.bits_per_byte, is_model=True, low=low, high=high)]
    if evaluation.baselines is not None:
        found += [
            Bar(BASELINE_NAMES.get(name, name), score)
            for name, score in evaluation.baselines.bits_per_byte.items()
        ]
    return sorted(found, key=lambda bar: bar.bits_per_byte)


def _curves(metrics: Path) -> list[str]:
    """Training curves as SVG."""
    if not metrics.is_file():
        return []
    curves = read_curves(metrics)
    if not curves.losses and not curves.validation_losses:
        return []
    figures = [loss_figure(curves), bits_figure(curves)]
    return [svg(figure) for figure in figures if figure is not None]


def _evaluation(place: Path) -> Evaluation | None:
    try:
        return read_evaluation(place)
    except LinnetError:
        return None


def _artifact(place: Path) -> Artifact | None:
    try:
        return artifact.read(place)
    except LinnetError:
        return None


def _stage(found: Artifact, project: Path) -> StageFacts:
    manifest = found.manifest
    made_from = [
        f"{role} {entry.content[:8]}" if entry.path is None else role
        for role, entry in manifest.inputs.items()
    ]
    return StageFacts(
        kind=manifest.kind,
        place=found.path.relative_to(project).as_posix(),
        created=manifest.created.replace("T", " ").removesuffix("+00:00") + " UTC",
        seconds=manifest.seconds,
        content=found.content[:12],
        made_from=made_from,
    )


def _tensor_elements(file: Path) -> int:
    """Numbers in a safetensors file, from its header: a length, then JSON with the shapes."""
    try:
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            header = parse_json(opened.read(min(length, file.stat().st_size)).decode())
        return sum(prod(v["shape"]) for k, v in header.items() if k != "__metadata__")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
        return 0


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        values = read_json(path)
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None


def _number(value: object = "") -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
