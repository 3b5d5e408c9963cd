"""From documents to a model you can talk to: the stages in order, within a time budget.

Each stage is skipped when what it would make is there already. The plan is made
once and then frozen, so that adding a document does not change the model's
shape; the tokenizer is kept as long as it still suits the documents.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from linnet import artifact
from linnet.data import PYTHON_LIBRARY, prepare, read_documents
from linnet.errors import ArtifactError, ConfigError
from linnet.evaluate import evaluate
from linnet.evaluate.report import write_report
from linnet.planner import Plan
from linnet.planner import plan as make_plan
from linnet.progress import SILENT, Progress
from linnet.project import CONFIG_FILE, LOCK_NAME, Project, ProjectConfig, set_option
from linnet.shards import EncodeConfig, encode
from linnet.tokenizer import load as load_tokenizer
from linnet.tokenizer import train as train_tokenizer

if TYPE_CHECKING:
    from linnet.artifact import Artifact
    from linnet.evaluate import Evaluation

WORSE_TOKENIZER = 0.97  # bytes per token below this share of what they were: train it again
FIT_SAMPLE = 500_000  # characters on which that is judged


@dataclass(frozen=True)
class Build:
    """What a build made."""

    project: Project
    model: Path
    report: Path
    evaluation: Evaluation
    plan: Plan
    seconds: float


def build(
    sources: Sequence[str | Path] = (),
    out: Path | str = "model",
    *,
    budget: str | None = None,
    settings: Sequence[str] = (),
    replan: bool = False,
    retrain_tokenizer: bool = False,
    progress: Progress = SILENT,
) -> Build:
    """Turn files and folders into a model in ``out/model``, within ``budget`` (such as ``5m``).

    Run again it redoes only what changed; interrupted it carries on. Without
    ``sources`` it builds the project that is in ``out`` already.
    ``settings`` are assignments such as ``train.width=128``.
    Raises BusyError when another build is at work in ``out``, OutputError when
    ``out`` holds something else, DataError and BudgetError when there is too
    little text or time.
    """
    started = time.monotonic()
    out = Path(out)
    artifact.refuse_foreign(out, allowed=(CONFIG_FILE, f".{LOCK_NAME}.lock"))
    with artifact.lock(out / LOCK_NAME):
        project = _configure(out, sources, budget, settings)
        return _Builder(project, replan, retrain_tokenizer, progress, started).run()


def _configure(
    out: Path, sources: Sequence[str | Path], budget: str | None, settings: Sequence[str]
) -> Project:
    """The project as asked for: what is there, with what was given now."""
    if (out / CONFIG_FILE).is_file():
        config = Project.open(out).config
        if sources:
            config = replace(config, sources=_absolute(sources))
    elif sources:
        config = ProjectConfig(_absolute(sources))
    else:
        raise ConfigError(f"{out} is not a project yet: name the files and folders to build from")
    if budget is not None:
        config = replace(config, budget=budget)
    for assignment in settings:
        config = set_option(config, assignment)
    project = Project(out, config)
    # Check before anything is written.
    _ = project.budget, project.data_config()
    for source in project.config.sources:
        if source != PYTHON_LIBRARY and not Path(source).exists():
            raise ArtifactError(f"{source}: no such file or folder")
    project.save()
    return project


def _absolute(sources: Sequence[str | Path]) -> tuple[str, ...]:
    """Paths that stay true wherever the next build is started from."""
    return tuple(
        str(source) if str(source) == PYTHON_LIBRARY else str(Path(source).expanduser().absolute())
        for source in sources
    )


class _Builder:
    """One build under way."""

    def __init__(
        self,
        project: Project,
        replan: bool,
        retrain_tokenizer: bool,
        progress: Progress,
        started: float,
    ) -> None:
        self.project, self.progress, self.started = project, progress, started
        self.replan, self.retrain_tokenizer = replan, retrain_tokenizer

    def run(self) -> Build:
        corpus = self.corpus()
        plan = self.plan(corpus)
        tokenizer = self.tokenizer(corpus, plan)
        shards = self.shards(corpus, tokenizer)
        model = self.model(shards, plan)
        evaluation = self.evaluation(model, shards, plan)
        with self.progress.task("writing the report"):
            report = write_report(self.project.path)
        seconds = time.monotonic() - self.started
        return Build(self.project, model.path, report, evaluation, plan, seconds)

    def corpus(self) -> Artifact:
        path = self.project.stage("corpus")
        with self._stage("corpus", path):
            return prepare(
                self.project.config.sources,
                path,
                self.project.data_config(),
                exclude=[self.project.path],
                progress=self.progress,
            )

    def plan(self, corpus: Artifact) -> Plan:
        path = self.project.stage("plan")
        if self.replan or not artifact.is_artifact(path):
            with self._stage("plan", path):
                make_plan(
                    corpus.path,
                    path,
                    budget=self.project.budget,
                    spent=time.monotonic() - self.started,
                    overrides=self.project.config.train,
                    progress=self.progress,
                )
        plan = self.project.plan()
        if plan.budget != self.project.budget:
            self.progress.warn(
                f"the plan was made for another budget and stays as it is; "
                f"--replan makes one for {self.project.config.budget}"
            )
        return plan

    def tokenizer(self, corpus: Artifact, plan: Plan) -> Artifact:
        path = self.project.stage("tokenizer")
        config = self.project.tokenizer_config(plan)
        if not self.retrain_tokenizer:
            kept = self._kept_tokenizer(path, corpus, config.recipe())
            if kept is not None:
                return kept
        with self._stage("tokenizer", path):
            texts = (document.text for document in read_documents(corpus.path, "train"))
            return train_tokenizer(
                texts, path, config, inputs={"corpus": corpus}, progress=self.progress
            )

    def _kept_tokenizer(
        self, path: Path, corpus: Artifact, recipe: dict[str, object]
    ) -> Artifact | None:
        """The tokenizer that is there, if it has the same settings and still cuts as well."""
        try:
            found = artifact.read(path, kind="tokenizer")
        except ArtifactError:
            return None
        if found.manifest.config != recipe:
            return None
        if found.manifest.inputs["corpus"].content == corpus.content:
            return found
        before = self._recorded_fit()
        now = self._fit(path, corpus)
        if before is not None and now < WORSE_TOKENIZER * before:
            self.progress.message(
                f"tokenizer: {now:.2f} bytes per token now, {before:.2f} before; training it again"
            )
            return None
        self.progress.message(
            "tokenizer kept: it suits the changed documents (--retrain-tokenizer makes a new one)"
        )
        return found

    def _recorded_fit(self) -> float | None:
        """Bytes per token when the corpus was last encoded."""
        try:
            stats = artifact.read(self.project.stage("shards"), kind="shards").stats
        except ArtifactError:
            return None
        return stats["splits"]["train"]["bytes_per_token"]  # type: ignore[no-any-return]

    def _fit(self, tokenizer: Path, corpus: Artifact) -> float:
        loaded = load_tokenizer(tokenizer)
        documents = read_documents(corpus.path, "train")
        size = tokens = 0
        stride = max(1, corpus.stats["bytes"]["train"] // FIT_SAMPLE)
        for index, document in enumerate(documents):
            if index % stride == 0:
                text = document.text[:FIT_SAMPLE]
                size += len(text.encode("utf-8", "replace"))
                tokens += len(loaded.encode(text))
        return size / max(tokens, 1)

    def shards(self, corpus: Artifact, tokenizer: Artifact) -> Artifact:
        path = self.project.stage("shards")
        config = EncodeConfig()
        inputs: dict[str, Artifact | str] = {"corpus": corpus, "tokenizer": tokenizer}
        recipe = artifact.recipe_hash("shards", 1, config.recipe(), inputs)
        found = artifact.current(path, recipe, kind="shards")
        if found is not None:
            return found
        with self._stage("shards", path):
            return encode(corpus.path, tokenizer.path, path, config, progress=self.progress)

    def model(self, shards: Artifact, plan: Plan) -> Artifact:
        from linnet.train import train

        path = self.project.stage("model")
        with self._stage("model", path):
            return train(shards.path, path, self.project.train_config(plan), progress=self.progress)

    def evaluation(self, model: Artifact, shards: Artifact, plan: Plan) -> Evaluation:
        path = self.project.stage("evaluation")
        with self._stage("evaluation", path):
            return evaluate(
                model.path,
                shards.path,
                path,
                self.project.evaluate_config(plan),
                progress=self.progress,
            )

    @contextlib.contextmanager
    def _stage(self, name: str, path: Path) -> Iterator[None]:
        """Say what a stage did: made, or found current; and how long it took."""
        before = artifact.read(path).manifest.created if self._readable(path) else None
        started = time.monotonic()
        yield
        made = artifact.read(path)
        seconds = time.monotonic() - started
        if made.manifest.created == before and seconds < 2:
            self.progress.message(f"{name:<11} unchanged")
        else:
            self.progress.message(f"{name:<11} {summary(made)}  ({seconds:.1f} s)")

    @staticmethod
    def _readable(path: Path) -> bool:
        try:
            artifact.read(path)
        except ArtifactError:
            return False
        return True


def summary(made: Artifact) -> str:
    """An artifact in one line."""
    stats = made.stats
    if made.manifest.kind == "corpus":
        total = sum(stats["bytes"].values())
        count = sum(stats["documents"].values())
        return f"{count:,} documents, {artifact.human_bytes(total)} of text"
    if made.manifest.kind == "plan":
        return f"{stats['parameters'] / 1e6:.1f} M parameters, about {stats['steps']:,} steps"
    if made.manifest.kind == "tokenizer":
        return f"{stats['vocab_size']:,} tokens"
    if made.manifest.kind == "shards":
        train = stats["splits"]["train"]
        return f"{train['tokens']:,} tokens to train on, {train['bytes_per_token']:.2f} bytes each"
    if made.manifest.kind == "model":
        held = stats.get("validation_bits_per_byte")
        quality = f", {held:.3f} bits per byte on validation text" if held else ""
        return f"{stats['steps']:,} steps, {stats['epochs']} passes{quality}"
    bits = stats.get("bits_per_byte")
    return f"{bits:.3f} bits per byte on test text" if bits is not None else "done"
