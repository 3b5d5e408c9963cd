"""What a model card says, gathered from manifests and the base's own card.

Text from files is let in only where it is a word of the kind expected (a licence,
a language, a name on the hub), so that nothing can break out of the card's form,
and no path or file name gets into it.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from linnet import artifact
from linnet.artifact import Artifact
from linnet.card.conversation import has_template, taught
from linnet.config import read_json
from linnet.errors import ArtifactError
from linnet.output import human_bytes
from linnet.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Method = Literal["scratch", "distilled", "full", "lora", "merged", "pruned"]

PLAIN = re.compile(r"[A-Za-z0-9][\w .+/:@-]{0,150}", re.ASCII)
_PIN = re.compile(r"(?P<name>[\w.-]+(?:/[\w.-]+)?)@(?P<revision>[0-9a-f]{40})", re.ASCII)
_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{64}")
_HEADER = re.compile(r"\A---\s*\n(.*?)\n---\s*$", re.DOTALL | re.MULTILINE)
_CARD_LIMIT = 1 << 20  # bytes of a card that are read

_KIND = re.compile(r"[a-z]{1,20}")
# Other roles may be names of files.
_ROLES = (
    "corpus",
    "tokenizer",
    "shards",
    "plan",
    "model",
    "adapter",
    "base",
    "sources",
    "validation",
    "replay",
    "teacher",
)
# Settings whose text is one of a few words of ours; others could hold a name from this machine.
_WORDS = (
    "checkpoint_activations",
    "compile",
    "dtype",
    "family",
    "method",
    "objective",
    "optimizer",
    "schedule",
    "targets",
    "template",
    "too_long",
    "train_on",
    "vocabulary",
)
_FIGURES = {
    "validation_bits_per_byte": "bits per byte, validation",
    "validation_loss": "loss per token, validation",
    "validation_accuracy": "share of masked tokens guessed, validation",
    "base_validation_bits_per_byte": "bits per byte before, validation",
    "base_validation_loss": "loss per token before, validation",
    "base_loss": "loss per token before, validation",
    "whole_loss": "loss per token before pruning, validation",
    "whole_bits_per_byte": "bits per byte before pruning, validation",
    "pruned_loss": "loss per token after pruning, validation",
    "pruned_bits_per_byte": "bits per byte after pruning, validation",
}
_RUN = {
    "steps": "updates",
    "tokens": "tokens read",
    "trained_tokens": "tokens trained on",
    "epochs": "times through the data",
    "seconds": "seconds",
    "device": "device",
    "trained_parameters": "parameters trained",
}


SCORING = "text-classification"
"""The task of a model that scores answers, as the hub names it."""


@dataclass(frozen=True)
class Ancestor:
    """One thing the model was made from: what it is, its hash, and figures about it."""

    role: str
    content: str
    note: str = ""


@dataclass(frozen=True)
class Facts:
    """What a card is rendered from; every text in it is safe to be written in."""

    kind: str
    method: Method
    task: str
    library: str
    tags: tuple[str, ...]
    chats: bool
    parameters: int | None
    of_parameters: int | None
    """Of the model that it was before it was pruned."""
    base: str | None
    base_revision: str | None
    license: tuple[tuple[str, str], ...]
    """``license`` and, for one of its own, ``license_name`` and ``license_link``."""
    languages: tuple[str, ...]
    train_bytes: int | None
    masked: bool
    """Whether personal data was masked in the documents."""
    lineage: tuple[Ancestor, ...]
    recipe: tuple[tuple[str, str], ...]
    run: tuple[tuple[str, str], ...]
    figures: tuple[tuple[str, str], ...]
    linnet: str = __version__

    @property
    def sort(self) -> str:
        """What sort of model it is, in a few words."""
        sorts = {"text-generation": "language model", SCORING: "reward model"}
        return sorts.get(self.task, "encoder")

    @property
    def size(self) -> str:
        """``12.3M-parameter``, for the title."""
        if not self.parameters:
            return ""
        count, unit = self.parameters / 1e6, "M"
        if count >= 1000:
            count, unit = count / 1000, "B"
        return f"{count:.0f}{unit}-parameter" if count >= 100 else f"{count:.1f}{unit}-parameter"

    @property
    def volume(self) -> str | None:
        """How much text it was trained on."""
        return human_bytes(self.train_bytes) if self.train_bytes else None


def gather(
    directory: Path, recipe: artifact.Recipe, stats: Mapping[str, Any], *, base: Path | None
) -> Facts:
    """The facts about the model in ``directory``."""
    kind, inputs, config = recipe.kind, recipe.inputs, recipe.config
    method = _method(kind, inputs, stats)
    ancestors = list(_walk(inputs))
    pinned = _base(inputs, base)
    corpora = [found for _, found in ancestors if isinstance(found, Artifact) and _is(found)]
    chats = has_template(directory) and taught(inputs, config)
    task = _task(directory)
    library = "peft" if kind == "adapter" else "transformers"
    tags = ["linnet", *(["lora"] if method in ("lora", "merged") else [])]
    tags += ["conversational"] if chats and task == "text-generation" else []
    return Facts(
        kind=kind,
        method=method,
        task=task,
        library=library,
        tags=tuple(tags),
        chats=chats,
        parameters=_whole(stats.get("parameters")),
        of_parameters=_whole(stats.get("of_parameters")),
        base=pinned[0],
        base_revision=pinned[1],
        license=_license(_card_of(inputs, base)),
        languages=_languages(corpora),
        train_bytes=sum(found.stats.get("bytes", {}).get("train", 0) for found in corpora) or None,
        masked=bool(corpora)
        and all(found.manifest.config.get("privacy") == "mask" for found in corpora),
        lineage=tuple(_ancestor(role, found) for role, found in ancestors),
        recipe=tuple((key, _shown(value)) for key, value in config.items() if _tells(key, value)),
        run=_labelled(stats, _RUN),
        figures=_figures(stats),
    )


def evaluation_figures(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a card says of an ``Evaluation``, given as plain values."""
    lines = [("bits per byte", f"{results['bits_per_byte']:.4f}")]
    interval = results.get("confidence_interval")
    if interval:
        low, high, level = (float(interval[key]) for key in ("low", "high", "level"))
        lines.append((f"{level:.0%} interval", f"{low:.4f} to {high:.4f}"))
    lines.append(("perplexity per token", f"{results['perplexity']:.2f}"))
    split = results.get("split")
    named = f", {split} split" if split in ("test", "validation", "train") else ""
    size = human_bytes(results["bytes"])
    lines.append(("text", f"{results['documents']:,} documents, {size}{named}"))
    baselines = (results.get("baselines") or {}).get("bits_per_byte", {})
    for name, bits in baselines.items():
        if PLAIN.fullmatch(name):
            lines.append((f"bits per byte of {name}", f"{bits:.4f}"))
    return lines


def plain(value: Any) -> str | None:
    """A text that is a word or a name, or None."""
    return value if isinstance(value, str) and PLAIN.fullmatch(value) else None


def _method(kind: str, inputs: artifact.Inputs, stats: Mapping[str, Any]) -> Method:
    if kind == "adapter":
        return "lora"
    if "adapter" in inputs:
        return "merged"
    if "base" in inputs:
        return "pruned" if "of_parameters" in stats else "full"
    return "distilled" if "teacher" in inputs else "scratch"


def _is(found: Artifact) -> bool:
    return found.manifest.kind == "corpus"


def _walk(inputs: artifact.Inputs) -> Iterator[tuple[str, Artifact | str]]:
    """Everything that the inputs were made from, nearest first, each once."""
    queue: list[tuple[str, Artifact | str]] = [
        (role, found.content if isinstance(found, artifact.InputEntry) else found)
        for role, found in inputs.items()
    ]
    seen: set[str] = set()
    while queue:
        role, found = queue.pop(0)
        content = found if isinstance(found, str) else found.content
        if content in seen:
            continue
        seen.add(content)
        yield role, found
        if isinstance(found, str):
            continue
        for name, entry in found.manifest.inputs.items():
            inner: Artifact | str = entry.content
            if entry.path is not None:
                try:
                    inner = artifact.read((found.path / entry.path).resolve())
                except ArtifactError:  # moved or deleted: its hash remains
                    inner = entry.content
            queue.append((name, inner))


def _ancestor(role: str, found: Artifact | str) -> Ancestor:
    if isinstance(found, str):
        name = role if role in _ROLES or re.fullmatch(r"data\.\d+", role) else "file"
        if _PIN.fullmatch(found):
            return Ancestor(name, found)
        # Anything but one hash could be a name from this machine.
        digest = found if _HASH.fullmatch(found) else hashlib.sha256(found.encode()).hexdigest()
        return Ancestor(name, digest)
    kind = found.manifest.kind if _KIND.fullmatch(found.manifest.kind) else "artifact"
    pulled = _pulled(found)
    note = f"{pulled[0]} at commit {pulled[1]}" if pulled else _note(found)
    return Ancestor(kind, found.content, note)


def _note(found: Artifact) -> str:
    stats = found.stats
    if _is(found):
        documents, size = stats.get("documents", {}), stats.get("bytes", {})
        train = size.get("train", 0)
        return f"{documents.get('train', 0):,} training documents, {human_bytes(train)}"
    for key, unit in (("parameters", "parameters"), ("vocab_size", "tokens in the vocabulary")):
        if isinstance(stats.get(key), int):
            return f"{stats[key]:,} {unit}"
    return ""


def _pulled(found: Artifact) -> tuple[str, str] | None:
    """The hub name and commit of what ``linnet pull`` made."""
    config = found.manifest.config
    match = _PIN.fullmatch(f"{config.get('source')}@{config.get('revision')}")
    return (match["name"], match["revision"]) if match else None


def _base(inputs: artifact.Inputs, base: Path | None) -> tuple[str | None, str | None]:
    """The model on the hub that all this began with, and its commit."""
    for role, found in _walk(inputs):
        if isinstance(found, str):
            match = _PIN.fullmatch(found) if role == "base" else None
            if match:
                return match["name"], match["revision"]
        elif pulled := _pulled(found):
            return pulled
    named = str(_header(base).get("base_model")) if base is not None else ""
    return (named if _NAME.fullmatch(named) else None), None


def _card_of(inputs: artifact.Inputs, base: Path | None) -> dict[str, Any]:
    """The header of the base's card."""
    if base is not None:
        return _header(base)
    found = inputs.get("base")
    return _header(found.path) if isinstance(found, Artifact) else {}


def _header(directory: Path) -> dict[str, Any]:
    """The front matter of a card: its plain ``key: value`` lines, which is all that is used."""
    try:
        with (directory / "README.md").open(encoding="utf-8", errors="replace") as file:
            found = _HEADER.match(file.read(_CARD_LIMIT))
    except OSError:
        return {}
    lines = found[1].splitlines() if found else []
    pairs = (line.partition(":") for line in lines if not line.startswith((" ", "-", "#")))
    return {key.strip(): value.strip().strip("'\"") for key, _, value in pairs}


def _license(header: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    keys = ("license", "license_name", "license_link")
    found = ((key, plain(header.get(key))) for key in keys)
    known = tuple((key, value) for key, value in found if value is not None)
    return known if known and known[0][0] == "license" else ()


def _languages(corpora: list[Artifact]) -> tuple[str, ...]:
    """Languages of a tenth of the documents or more, most frequent first."""
    counts: dict[str, int] = {}
    for corpus in corpora:
        try:
            report = read_json(corpus.path / "report.json")
            for language, count in report["documents"]["languages"].items():
                counts[language] = counts.get(language, 0) + int(count)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    all_together = sum(counts.values())
    often = [name for name, count in counts.items() if count * 10 >= all_together]
    known = [name for name in often if re.fullmatch(r"[a-z]{2,3}", name)]
    return tuple(sorted(known, key=lambda name: -counts[name]))


def _task(directory: Path) -> str:
    """The task as the hub names it, by the architecture."""
    try:
        values = read_json(directory / "config.json")
        architecture = str(values["architectures"][0])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return "text-generation"
    if architecture.endswith("ForSequenceClassification"):
        return SCORING
    if architecture.endswith("ForMaskedLM"):
        return "fill-mask"
    return "feature-extraction" if architecture == "BertModel" else "text-generation"


def _tells(key: str, value: Any) -> bool:
    if isinstance(value, bool | int | float):
        return True
    if key not in _WORDS:
        return False
    words = value if isinstance(value, list | tuple) else [value]
    return bool(words) and all(plain(word) is not None for word in words)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _labelled(stats: Mapping[str, Any], labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (label, f"{stats[key]:,}" if isinstance(stats[key], int) else _shown(stats[key]))
        for key, label in labels.items()
        if key in stats and (isinstance(stats[key], int | float) or plain(stats[key]))
    )


def _figures(stats: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Losses and what was forgotten, by whatever names the run gives them."""
    telling = re.compile(r"loss|bits_per_byte|forg[eo]t|perplexity|accuracy")
    found = []
    for key, value in stats.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and telling.search(key) and plain(key):
            found.append((_FIGURES.get(key, key.replace("_", " ")), f"{value:.4f}"))
    return tuple(found)


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
