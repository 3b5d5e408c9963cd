"""A model whose files are candidates, and what was measured of them, kept by what it depends on.

    costs.json       the files that can be made, and what each is expected to cost
    q4_k.gguf        a file
    torch-int4       a checkpoint for torch
    q4_k.json        what was measured of it: answers by question, speeds
    model.json       what was measured of the model

The folder belongs to a model and a text that shows what matters in it; where one of the two is
another, it is emptied. A figure lies under the hash of what else it depends on: the questions, or
how speed was measured. What is decided (``linnet.compress.choice``) is kept nowhere. Files may be
deleted: those that are needed are made again, and so is what turns out to be damaged. Figures are
those of a file with a certain content: where it is made again and comes out otherwise (another
version of a library), they are measured anew.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from linnet.artifact.manifest import hash_file, hash_json
from linnet.bench import worker
from linnet.bench.worker import Measurement
from linnet.compress.candidates import (
    Plan,
    bytes_of,
    make_file,
    nats_in,
    packed_plans,
    plans,
    speed_of,
)
from linnet.compress.importance import measure_importance
from linnet.compress.mixing import options_of
from linnet.compress.quality import Floats, Questions, nats
from linnet.compress.sensitivity import sensitivities, weighted
from linnet.config import from_mapping, read_json
from linnet.errors import ConfigError, ModelError
from linnet.export.gguf import require_opens
from linnet.gguf.quantisation import Importance
from linnet.output import make_directory, remove, write_json
from linnet.progress import SILENT, Progress

if TYPE_CHECKING:
    from torch import Tensor

    from linnet.align.encoding import Completion
    from linnet.compress.config import CompressConfig
    from linnet.model import Transformer

FORMAT = 2
"""Of what is kept; others are measured anew."""
_RECIPE = "recipe.json"
_CONTENT = "content"
"""The key of a file's hash among its figures."""
_DAMAGED = (KeyError, TypeError, ValueError, AttributeError, ConfigError)

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Speed:
    """Speed and memory, or why they could not be measured."""

    measured: Measurement | None
    remark: str = ""


class MeasuredModel:
    """A model, the files that can be made of it, and what was measured of both."""

    def __init__(
        self,
        model: Transformer,
        path: Path,
        folder: Path,
        content: str,
        rows: Sequence[Tensor],
        config: CompressConfig,
        *,
        prefix: str = "",
        apart: float = 0.0,
        progress: Progress = SILENT,
    ) -> None:
        """``path``: of the model; ``content``: its hash. ``rows``: texts as tokens ``(1, T)``, by
        which it is known what matters. ``prefix``: of the names of its candidates. ``apart``: how
        far it is from the model that is compressed, in nats per token."""
        self.model, self.path, self.folder = model, path, folder
        self.rows, self.config = rows, config
        self.prefix, self.apart, self.progress = prefix, apart, progress
        self._seen: set[Path] = set()
        recipe = {
            "format": FORMAT, "model": content, "texts": digest(rows),
            "importance": bool(config.calibration_tokens),
        }  # fmt: skip
        if _read(folder / _RECIPE) != recipe:
            if folder.exists():
                progress.message(f"{folder}: of another model or text, measured anew")
                remove(folder)
            make_directory(folder)
            write_json(folder / _RECIPE, recipe)

    @cached_property
    def importance(self) -> Importance:
        """How much each column of a matrix matters."""
        if not self.config.calibration_tokens:
            return {}
        total = sum(row.numel() for row in self.rows)
        return measure_importance(self.model, self.rows, total=total, progress=self.progress)

    @cached_property
    def plans(self) -> list[Plan]:
        """What can be made, largest first."""
        file = self.folder / "costs.json"
        kept = _read(file)
        if kept is not None:
            try:
                return self._wanted(kept, str(file))
            except _DAMAGED:
                self.progress.warn(f"{file} is damaged, measured anew")
        made = self._planned()
        write_json(file, made)
        return self._wanted(made, str(file))

    def _wanted(self, kept: Any, where: str) -> list[Plan]:
        found = [from_mapping(Plan, each, where=where) for each in kept["plans"]]
        reason = str(kept["not_packed"])
        if not self.config.packed:
            return [plan for plan in found if plan.packed is None]
        if reason:
            self.progress.warn(f"no checkpoint for torch is tried: {reason}")
        return found

    def _planned(self) -> dict[str, Any]:
        options = options_of(self.model, self.importance, progress=self.progress)
        if not options:
            raise ModelError(f"{self.path}: none of its matrices has rows that divide into blocks")
        costs = sensitivities(
            self.model, self.path, options, self.rows, self.folder,
            importance=self.importance, progress=self.progress,
        )  # fmt: skip
        found, reason = list(plans(self.model, weighted(options, costs))), ""
        try:
            found += packed_plans(self.model, self.importance, costs)
        except (ConfigError, ModelError) as error:
            reason = str(error)
        found.sort(key=lambda plan: -plan.bytes)
        return {"plans": [dataclasses.asdict(plan) for plan in found], "not_packed": reason}

    def file(self, plan: Plan) -> Path:
        """The file or directory of a plan, made where it is not there, or is not what it was."""
        file = self.folder / (_stem(plan) + (".gguf" if plan.packed is None else ""))
        if file in self._seen:
            return file
        known = self._figures(plan)
        content = _content(file) if file.exists() else ""  # written whole or not at all
        if content and known.get(_CONTENT, content) != content:
            self.progress.warn(f"{file} is not what it was, made anew")
            content = ""
        if not content:
            make_file(
                plan, self.path, file, model=self.model, importance=self.importance, rows=self.rows
            )
            content = _content(file)
        if known.get(_CONTENT) != content:
            write_json(self._place(plan), {_CONTENT: content})  # figures are those of another
        self._seen.add(file)
        return file

    def bytes(self, plan: Plan) -> int:
        """The size of a plan's file."""
        return self._kept(plan, "bytes", lambda: bytes_of(self.file(plan)), int)

    def answers(self, plan: Plan, questions: Questions) -> Floats:
        """What each right answer costs a plan's file, in nats."""
        key = f"answers {_completions(questions.right)}"
        return self._kept(
            plan, key,
            lambda: nats_in(self.file(plan), self.model.config, questions.right).tolist(),
            lambda kept: _costs(kept, len(questions.right)),
        )  # fmt: skip

    def speed(self, plan: Plan, texts: Sequence[str]) -> Speed:
        """A file's speed and memory."""
        engine = "llama.cpp" if plan.packed is None else "torch"
        return self._speed(plan, lambda: self.file(plan), engine, "auto", texts)

    def own_answers(self, questions: Questions) -> tuple[Floats, Floats]:
        """What each right answer costs the model behind its own question, and behind another."""

        def measured() -> list[list[float]]:
            return [
                nats(self.model, each, progress=self.progress).tolist()
                for each in (questions.right, questions.other)
            ]

        def read(kept: Any) -> tuple[Floats, Floats]:
            right, other = (_costs(each, len(questions.right)) for each in kept)
            return right, other

        both = _completions([*questions.right, *questions.other])
        return self._kept(None, f"answers {both}", measured, read)

    def own_speed(self, texts: Sequence[str]) -> Speed:
        """The model's speed and memory in full precision."""
        return self._speed(None, lambda: self.path, "llama.cpp", "f32", texts)

    def require_opens(self, plan: Plan, out: Path) -> None:
        """Have llama.cpp open a file, once. Raises ModelError, naming ``out``, where it refuses.
        Checkpoints were read when their answers were measured."""
        if plan.packed is not None:
            return

        def opened() -> bool:
            require_opens(self.file(plan), out, causal=True, progress=self.progress)
            return True

        self._kept(plan, "opens", opened, bool)

    def _speed(
        self,
        plan: Plan | None,
        place: Callable[[], Path],
        engine: str,
        precision: str,
        texts: Sequence[str],
    ) -> Speed:
        config = self.config
        if not config.measure_speed:
            return Speed(None)
        asked = [
            worker.FORMAT, list(texts), config.new_tokens, config.streams, config.repeats,
            config.threads,
        ]  # fmt: skip

        def measured() -> dict[str, Any]:
            return dataclasses.asdict(Speed(*speed_of(place(), engine, precision, texts, config)))

        def read(kept: Any) -> Speed:
            return from_mapping(Speed, kept, where=str(self.folder))

        return self._kept(
            plan, f"speed {hash_json(asked)}", measured, read,
            lasts=lambda speed: speed.measured is not None,  # what was in the way may be mended
        )  # fmt: skip

    def _kept(
        self,
        plan: Plan | None,
        key: str,
        measured: Callable[[], Any],
        read: Callable[[Any], T],
        *,
        lasts: Callable[[T], bool] = lambda found: True,
    ) -> T:
        """What was measured before, or is now, and is kept where it ``lasts``."""
        known = self._figures(plan)
        if key in known:
            try:
                found = read(known[key])
            except _DAMAGED:
                self.progress.warn(f"{self._place(plan)} is damaged, measured anew")
            else:
                if lasts(found):
                    return found
        made = measured()
        try:
            found = read(made)
        except ValueError as error:
            raise ModelError(f"{self.path}: {error}") from None
        if lasts(found):  # written whole or not at all, beside what came meanwhile
            write_json(self._place(plan), {**self._figures(plan), key: made})
        return found

    def _place(self, plan: Plan | None) -> Path:
        return self.folder / f"{'model' if plan is None else _stem(plan)}.json"

    def _figures(self, plan: Plan | None) -> dict[str, Any]:
        known = _read(self._place(plan))
        return known if isinstance(known, dict) else {}


def digest(rows: Sequence[Tensor]) -> str:
    """A hash of texts as tokens."""
    found = hashlib.sha256()
    for row in rows:
        found.update(f"{row.numel()} ".encode())
        found.update(row.to(torch.int64).numpy().tobytes())
    return found.hexdigest()


def _completions(completions: Sequence[Completion]) -> str:
    found = hashlib.sha256()
    for each in completions:
        found.update(f"{len(each.tokens)} {each.start} ".encode())
        found.update(np.asarray(each.tokens, dtype=np.int64).tobytes())
        found.update(np.asarray(each.trained).tobytes())
    return found.hexdigest()


def _costs(kept: Any, count: int) -> Floats:
    """What so many answers cost. Raises ValueError or TypeError for what is something else."""
    found = np.array(kept, dtype=np.float64)
    if found.shape != (count,) or not np.isfinite(found).all():
        raise ValueError("expected answers to cost a number of nats. Got what is no number")
    return found


def _content(place: Path) -> str:
    """A hash of a file, or of all files of a directory."""
    if place.is_file():
        return hash_file(place)
    return hash_json({each.name: hash_file(each) for each in sorted(place.iterdir())})


def _stem(plan: Plan) -> str:
    return plan.name.replace(" ", "-")


def _read(file: Path) -> Any:
    """What a file holds; None where it is not there, or not whole."""
    try:
        return read_json(file)
    except (OSError, ValueError):
        return None
