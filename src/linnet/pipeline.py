"""From documents to a model you can talk to: the stages in order, within a time budget.

Each stage is skipped when what it would make is there already. The plan is made
once and then frozen, so that adding a document does not change the model's
shape; the tokenizer is kept as long as it still suits the documents.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from linnet import artifact
from linnet.config import parse_duration, show_duration
from linnet.data import prepare, read_documents
from linnet.data.files import absolute, names_a_path
from linnet.errors import ArtifactError, BudgetError, ConfigError, DataError, StoppedError
from linnet.evaluate import evaluate
from linnet.evaluate.report import REPORT, write_report
from linnet.planner import Plan, check_memory, show_parameters
from linnet.planner import plan as make_plan
from linnet.progress import SILENT, Progress
from linnet.project import (
    CONFIG_FILE,
    LOCK_NAME,
    STAGES,
    Project,
    ProjectConfig,
    StageName,
    set_option,
)
from linnet.shards import EncodeConfig, encode
from linnet.tokenizer import bytes_per_token
from linnet.tokenizer import load as load_tokenizer
from linnet.tokenizer import train as train_tokenizer

if TYPE_CHECKING:
    from linnet.artifact import Artifact
    from linnet.evaluate import Evaluation
    from linnet.train.config import TrainConfig

WORSE_TOKENIZER = 0.97  # bytes per token below this share of what they were: train it again


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
    sources: str | Path | Sequence[str | Path] = (),
    out: Path | str = "model",
    *,
    budget: str | float | None = None,
    settings: Sequence[str] = (),
    replan: bool = False,
    retrain_tokenizer: bool = False,
    progress: Progress = SILENT,
) -> Build:
    """Turn files and folders into a model in ``out/model``, within ``budget``: ``5m``, or seconds.

    Run again it redoes only what changed; interrupted it carries on. A model that is
    replaced stays in ``out/model.previous`` until the next one is. Without
    ``sources`` it builds the project that is in ``out`` already.
    ``settings`` are assignments such as ``train.width=128``.
    Raises ConfigError for another budget than the one that was planned for, without
    ``replan``; BusyError when another build is at work in ``out``, OutputError when
    ``out`` holds something else, DamagedError when a stage made before is broken,
    DataError and BudgetError when there is too little text or time, StoppedError
    after Ctrl-C.
    """
    started = time.monotonic()
    out = Path(out)
    sources = [sources] if isinstance(sources, str | Path) else sources
    artifact.refuse_foreign(out, allowed=(CONFIG_FILE, f".{LOCK_NAME}.lock"))
    # What cannot work is said before anything is made.
    project = _configure(out, sources, budget, settings)
    if budget is not None and not replan:
        _refuse_other_budget(project)
    with artifact.lock(out / LOCK_NAME):
        is_new = not (out / CONFIG_FILE).exists()
        project = _configure(out, sources, budget, settings)
        project.save()
        try:
            return _Builder(project, replan, retrain_tokenizer, progress, started).run()
        except (ConfigError, DataError, BudgetError):
            if is_new and set(os.listdir(out)) <= {CONFIG_FILE, f".{LOCK_NAME}.lock"}:
                (out / CONFIG_FILE).unlink()  # nothing was made: no project begins here
            raise
        except KeyboardInterrupt:
            raise StoppedError(
                "stopped; what was finished is kept: run the same command again to carry on"
            ) from None


def _refuse_other_budget(project: Project) -> None:
    """A plan holds until it is made again, and with it the time that training takes."""
    if not artifact.is_artifact(project.stage("plan")):
        return
    planned = project.plan().budget
    if planned != project.budget:
        raise ConfigError(
            f"{project.path} was planned for {show_duration(planned)}. Got a budget of "
            f"{show_duration(project.budget)}: add --replan to plan and train again for it, or "
            "leave out --budget to keep the plan"
        )


def _configure(
    out: Path, sources: Sequence[str | Path], budget: str | float | None, settings: Sequence[str]
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
        parse_duration(budget)
        config = replace(config, budget=budget if isinstance(budget, str) else f"{budget}s")
    for assignment in settings:
        config = set_option(config, assignment)
    project = Project(out, config)
    project.check()
    for source in project.config.sources:
        if names_a_path(source) and not os.path.lexists(source):
            raise DataError(f"{source}: no such file or folder")
    return project


def _absolute(sources: Sequence[str | Path]) -> tuple[str, ...]:
    """Paths that stay true wherever the next build is started from."""
    return tuple(_absolute_source(str(source)) for source in sources)


def _absolute_source(source: str) -> str:
    try:
        source.encode("utf-8")
    except UnicodeEncodeError:
        raise DataError(
            f"{os.fsencode(source)!r}: {CONFIG_FILE} can only name paths that are UTF-8; "
            "rename it, or name the folder above it"
        ) from None
    return absolute(source)


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
        self.made: list[StageName] = []

    def run(self) -> Build:
        self.refuse_damaged()
        corpus = self.corpus()
        plan = self.plan(corpus)
        tokenizer = self.tokenizer(corpus, plan)
        shards = self.shards(corpus, tokenizer)
        model = self.model(shards, plan)
        evaluation = self.evaluation(model, shards, plan)
        report = self.report()
        seconds = time.monotonic() - self.started
        return Build(self.project, model.path, report, evaluation, plan, seconds)

    def refuse_damaged(self) -> None:
        """Raise DamagedError, naming the file, before work is done on top of a broken stage."""
        found = {name: self.project.read_stage(name) for name in STAGES}
        if found["model"] is not None:
            artifact.read(found["model"].path, verify=True)  # every byte: it is what is given away

    def corpus(self) -> Artifact:
        with self._stage("corpus") as path:
            return prepare(
                self.project.config.sources,
                path,
                self.project.data_config(),
                exclude=[self.project.path],
                progress=self.progress,
            )

    def plan(self, corpus: Artifact) -> Plan:
        with self._stage("plan") as path:
            if self.replan or not artifact.is_artifact(path):
                make_plan(
                    corpus.path,
                    path,
                    budget=self.project.budget,
                    spent=time.monotonic() - self.started,
                    overrides=self.project.config.train,
                    vocab_size=self.project.vocab_size,
                    progress=self.progress,
                )
        plan = self.project.plan()
        if plan.budget != self.project.budget:
            self.progress.warn(
                f"the plan was made for another budget and stays as it is; "
                f"--replan makes one for {self.project.config.budget}"
            )
        # Settings that do not go with a plan made before them are told before the long stages.
        training = self.project.train_config(plan)
        vocab_size = min(plan.vocab_size, corpus.stats["bytes"]["train"])  # it cannot have more
        check_memory(training.model(vocab_size, end_of_text=0, pad=1), plan.machine["device"])
        return plan

    def tokenizer(self, corpus: Artifact, plan: Plan) -> Artifact:
        config = self.project.tokenizer_config(plan)
        with self._stage("tokenizer") as path:
            kept = None
            if not self.retrain_tokenizer:
                kept = self._kept_tokenizer(path, corpus, config.recipe())
            if kept is not None:
                return kept
            return train_tokenizer(
                self._training_texts(corpus),
                path,
                config,
                inputs={"corpus": corpus},
                progress=self.progress,
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
        made_from = found.manifest.inputs.get("corpus")
        if made_from is not None and made_from.content == corpus.content:
            return found
        before = found.stats.get("bytes_per_token")
        now = bytes_per_token(load_tokenizer(path), self._training_texts(corpus))
        if before is not None and now < WORSE_TOKENIZER * before:
            self.progress.message(
                f"tokenizer: {now:.2f} bytes per token now, {before:.2f} when it was trained; "
                "training it again"
            )
            return None
        self.progress.message(
            "tokenizer kept: it suits the changed documents (--retrain-tokenizer makes a new one)"
        )
        return found

    def _training_texts(self, corpus: Artifact) -> Iterator[str]:
        for document in read_documents(corpus.path, "train", columns=("text",)):
            yield document.text

    def shards(self, corpus: Artifact, tokenizer: Artifact) -> Artifact:
        with self._stage("shards") as path:
            return encode(corpus.path, tokenizer.path, path, EncodeConfig(), progress=self.progress)

    def model(self, shards: Artifact, plan: Plan) -> Artifact:
        from linnet.train import train

        with self._stage("model") as path:
            config = self.project.train_config(plan)
            self._keep_previous(path, shards, config)
            return train(shards.path, path, config, progress=self.progress)

    def _keep_previous(self, path: Path, shards: Artifact, config: TrainConfig) -> None:
        """Say that a model is about to be replaced, and keep it: adapters and exports need it."""
        before = self.project.read_stage("model")
        if before is None:
            return
        trained_on = before.manifest.inputs["shards"].content
        same = before.manifest.config == config.recipe()
        if same and trained_on == shards.content:
            return
        kept = artifact.previous_version(path)
        _link_tree(path, kept)
        self.progress.message(
            f"model: training again, because the {'documents' if same else 'settings'} changed; "
            f"until now's stays as {kept}, which adapters and exports made from it belong to"
        )

    def evaluation(self, model: Artifact, shards: Artifact, plan: Plan) -> Evaluation:
        with self._stage("evaluation") as path:
            config = self.project.evaluate_config(plan)
            return evaluate(model.path, shards.path, path, config, progress=self.progress)

    def report(self) -> Path:
        """The report, written again if any stage was."""
        path = self.project.path / REPORT
        if self.made or not path.is_file():
            with self.progress.task("writing the report"):
                return write_report(self.project.path)
        return path

    @contextlib.contextmanager
    def _stage(self, name: StageName) -> Iterator[Path]:
        """Say what a stage did: made, or found current; and how long it took."""
        before = self.project.read_stage(name)
        started = time.monotonic()
        path = self.project.stage(name)
        yield path
        now = artifact.read(path, kind=name)
        if before is not None and now.manifest == before.manifest:
            self.progress.message(f"{name:<11} unchanged")
            return
        self.made.append(name)
        seconds = time.monotonic() - started
        self.progress.message(f"{name:<11} {summary(now)}  ({seconds:.1f} s)")


def _link_tree(source: Path, target: Path) -> None:
    """A second name for every file, which costs no room; where links cannot be made, copies."""
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial, copy_function=_link)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def summary(made: Artifact) -> str:
    """An artifact in one line."""
    stats = made.stats
    if made.manifest.kind == "corpus":
        total = sum(stats["bytes"].values())
        count = sum(stats["documents"].values())
        return f"{count:,} documents, {artifact.human_bytes(total)} of text"
    if made.manifest.kind == "plan":
        return f"{show_parameters(stats['parameters'])} parameters, about {stats['steps']:,} steps"
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
