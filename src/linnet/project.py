"""A project: one directory that holds every stage from documents to model.

    linnet.toml   what to build from, for how long, and settings that override defaults
    corpus/       plan/  tokenizer/  shards/  model/  evaluation/
    report.html

Here is what each stage is made from and with which settings, and therefore
whether what is on disk is still current. ``linnet.pipeline`` makes the stages.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from linnet import artifact
from linnet.config import dump_toml, from_mapping, load_toml, parse_duration, to_mapping
from linnet.data import DataConfig, current_inputs
from linnet.errors import ArtifactError, ConfigError, DamagedError, DataError
from linnet.evaluate import EvaluateConfig
from linnet.planner import Plan, check_settings, plan_settings, read_plan, training_settings
from linnet.shards import EncodeConfig
from linnet.tokenizer import SMALLEST_VOCABULARY, TokenizerConfig
from linnet.train.config import TrainConfig

if TYPE_CHECKING:
    from linnet.artifact import Artifact

CONFIG_FILE = "linnet.toml"
LOCK_NAME = "build"
StageName = Literal["corpus", "plan", "tokenizer", "shards", "model", "evaluation"]
STAGES: tuple[StageName, ...] = get_args(StageName)
INPUTS: dict[str, tuple[str, ...]] = {
    "corpus": (),
    "plan": ("corpus",),
    "tokenizer": ("corpus",),
    "shards": ("corpus", "tokenizer"),
    "model": ("shards",),
    "evaluation": ("model", "shards", "corpus"),
}
HEADER = """\
# What linnet build makes this project from. Edit it and run `linnet build --out DIR` again:
# only what depends on a change is made again. Each table takes the settings of its stage,
# for example  [train]  width = 128 ; `linnet train --help` lists them.
# What you do not set is in the plan, which stays as it is: --replan makes it again,
# for the budget, documents and settings of the day.

"""


@dataclass(frozen=True)
class ProjectConfig:
    """What ``linnet.toml`` holds."""

    sources: tuple[str, ...]
    budget: str = "5m"
    data: dict[str, Any] = field(default_factory=dict)
    tokenizer: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    evaluate: dict[str, Any] = field(default_factory=dict)


State = Literal["current", "stale", "kept", "unfinished", "missing", "damaged"]


@dataclass(frozen=True)
class StageStatus:
    """Where one stage stands. ``reason`` says why it is not simply current."""

    name: str
    state: State
    reason: str
    made_from: tuple[str, ...]
    artifact: Artifact | None


@dataclass(frozen=True)
class Project:
    """A project directory and its configuration."""

    path: Path
    config: ProjectConfig

    @classmethod
    def open(cls, path: Path | str) -> Project:
        """Read an existing project. Raises ArtifactError when there is none."""
        path = Path(path)
        file = path / CONFIG_FILE
        if not file.is_file():
            raise ArtifactError(
                f"{path}: expected a project made by linnet build (no {CONFIG_FILE})"
            )
        config = from_mapping(ProjectConfig, load_toml(file), where=str(file))
        if re.fullmatch(r"[0-9.]+", config.budget):  # seconds without a unit, as once was allowed
            config = replace(config, budget=f"{config.budget}s")
        return cls(path, config)

    def save(self) -> None:
        """Write ``linnet.toml``, unless it says the same already (comments in it then stay)."""
        file = self.path / CONFIG_FILE
        if file.is_file() and Project.open(self.path).config == self.config:
            return
        artifact.write_text(file, HEADER + dump_toml(to_mapping(self.config)))

    def stage(self, name: StageName) -> Path:
        """The directory of a stage."""
        return self.path / name

    @property
    def budget(self) -> float:
        """Seconds the whole build may take."""
        return parse_duration(self.config.budget)

    def plan(self) -> Plan:
        """The frozen plan."""
        return read_plan(self.stage("plan"))

    # -- settings of the stages --------------------------------------------------------

    def data_config(self) -> DataConfig:
        return from_mapping(DataConfig, self.config.data, where=f"{CONFIG_FILE} [data]")

    @property
    def vocab_size(self) -> int | None:
        """The vocabulary that the user asks for; None leaves it to the plan."""
        where = f"{CONFIG_FILE} [tokenizer]"
        asked = from_mapping(TokenizerConfig, self.config.tokenizer, where=where)
        if asked.kind == "bytes":
            return SMALLEST_VOCABULARY
        return asked.vocab_size if "vocab_size" in self.config.tokenizer else None

    def tokenizer_config(self, plan: Plan) -> TokenizerConfig:
        where = f"{CONFIG_FILE} [tokenizer]"
        values = {"vocab_size": plan.vocab_size, **self.config.tokenizer}
        return from_mapping(TokenizerConfig, values, where=where)

    def train_config(self, plan: Plan) -> TrainConfig:
        given, chosen = self.config.train, plan.train
        if given.get("steps"):  # the plan's time may be less: what its own choice needs
            chosen = {**chosen, "seconds": plan.seconds_for_training}
        return training_settings(chosen, given, where=f"{CONFIG_FILE} [train]")

    def evaluate_config(self, plan: Plan) -> EvaluateConfig:
        """Evaluation settings that fit the time the plan leaves for it."""
        seconds = plan.seconds["evaluate"]
        fitting = {
            "max_bytes": int(max(50_000, min(4_000_000, 12_000 * seconds))),
            "baseline_bytes": int(max(200_000, min(4_000_000, 100_000 * seconds))),
            "overlap_bytes": int(max(5_000_000, min(500_000_000, 1_000_000 * seconds))),
        }
        where = f"{CONFIG_FILE} [evaluate]"
        return from_mapping(EvaluateConfig, {**fitting, **self.config.evaluate}, where=where)

    def check(self) -> None:
        """Raise ConfigError if the settings cannot work, as far as that shows before a plan."""
        _ = self.budget, self.data_config(), self.vocab_size
        check_settings(self.config.train, where=f"{CONFIG_FILE} [train]")
        from_mapping(EvaluateConfig, self.config.evaluate, where=f"{CONFIG_FILE} [evaluate]")

    def recipe(self, name: StageName, plan: Plan | None) -> Mapping[str, Any] | None:
        """The settings a stage would be made with now; None where the plan is to decide them."""
        if name == "corpus":
            return self.data_config().recipe()
        if name == "shards":
            return EncodeConfig().recipe()
        if name == "plan":
            return plan_settings(self.budget, self.config.train, self.vocab_size)
        if plan is None:
            return None
        if name == "tokenizer":
            return self.tokenizer_config(plan).recipe()
        if name == "model":
            return self.train_config(plan).recipe()
        return to_mapping(self.evaluate_config(plan))

    # -- status ------------------------------------------------------------------------

    def status(self) -> list[StageStatus]:
        """Every stage: what it was made from, and whether that has changed since."""
        plan = None
        if artifact.is_artifact(self.stage("plan")):
            try:
                plan = self.plan()
            except ArtifactError:
                plan = None
        found: dict[str, StageStatus] = {}
        for name in STAGES:
            found[name] = self._stage_status(name, plan, found)
        return list(found.values())

    def _stage_status(
        self, name: StageName, plan: Plan | None, before: Mapping[str, StageStatus]
    ) -> StageStatus:
        made_from = self.config.sources if name == "corpus" else INPUTS[name]
        path = self.stage(name)
        unfinished = artifact.partial_exists(path)
        try:
            made = self.read_stage(name)
        except DamagedError as error:
            return StageStatus(name, "damaged", str(error), made_from, None)
        if made is None:
            if unfinished:
                return StageStatus(name, "unfinished", "begun, but not finished", made_from, None)
            return StageStatus(name, "missing", "not made yet", made_from, None)
        state, reason = self._judge(name, made, plan, before)
        if state == "stale" and unfinished:
            state, reason = "unfinished", f"{reason}; made again, but not finished"
        return StageStatus(name, state, reason, made_from, made)

    def read_stage(self, name: StageName) -> Artifact | None:
        """What a stage made, None before it has. Raises DamagedError when it cannot be used."""
        path = self.stage(name)
        try:
            return artifact.read(path, kind=name)
        except DamagedError:
            raise
        except ArtifactError as error:
            if not path.exists() or (path.is_dir() and not any(path.iterdir())):
                return None
            raise DamagedError(f"{error}; move it away and run linnet build again") from None

    def _judge(
        self,
        name: StageName,
        made: Artifact,
        plan: Plan | None,
        before: Mapping[str, StageStatus],
    ) -> tuple[State, str]:
        recipe = self.recipe(name, plan)
        changed = _changed_settings(made.manifest.config, recipe) if recipe is not None else []
        if name == "plan":
            return self._judge_plan(made, changed, before["corpus"])
        if changed:
            return "stale", f"changed: {', '.join(changed)}"
        if name == "corpus":
            return self._judge_sources(made)
        for role in INPUTS[name]:
            upstream = before[role]
            recorded = made.manifest.inputs.get(_role(name, role))
            reason = ""
            if upstream.state in ("stale", "unfinished", "missing", "damaged"):
                reason = f"{role} is {upstream.state}"
            elif upstream.artifact and recorded and recorded.content != upstream.artifact.content:
                reason = f"{role} changed"
            if reason and name == "tokenizer":
                return "kept", f"{reason}; kept while it suits, or use --retrain-tokenizer"
            if reason:
                return "stale", reason
        return "current", ""

    def _judge_plan(
        self, made: Artifact, changed: list[str], corpus: StageStatus
    ) -> tuple[State, str]:
        """A plan is frozen: it never becomes stale, but may be worth making again."""
        reasons = [f"changed: {', '.join(changed)}"] if changed else []
        content = corpus.artifact.content if corpus.artifact else None
        if corpus.state != "current" or content != made.manifest.inputs["corpus"].content:
            reasons.append("made for other documents")
        if not reasons:
            return "current", ""
        return "kept", f"{', '.join(reasons)}; frozen until --replan"

    def _judge_sources(self, made: Artifact) -> tuple[State, str]:
        config = self.data_config()
        try:
            now = current_inputs(self.config.sources, made.path, config, exclude=[self.path])
        except (DataError, DamagedError) as error:
            return "stale", str(error)
        before = {role: entry.content for role, entry in made.manifest.inputs.items()}
        if now != before:
            return "stale", "the documents changed"
        return "current", ""


def set_option(config: ProjectConfig, assignment: str) -> ProjectConfig:
    """Apply ``train.width=128`` to a configuration. Raises ConfigError when malformed."""
    import tomllib

    name, equals, value = assignment.partition("=")
    table, dot, key = name.strip().partition(".")
    if not equals or not dot or table not in ("data", "tokenizer", "train", "evaluate"):
        raise ConfigError(
            "--set takes data., tokenizer., train. or evaluate. and a value, "
            f"such as train.width=128. Got {assignment!r}"
        )
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    except RecursionError:
        raise ConfigError(f"--set {table}.{key}: the value nests too deeply") from None
    changed: dict[str, Any] = {table: {**getattr(config, table), key: parsed}}
    return replace(config, **changed)


def _role(stage: str, made_from: str) -> str:
    """What a stage calls its input: evaluation scores any data, here the shards."""
    return "data" if (stage, made_from) == ("evaluation", "shards") else made_from


def _changed_settings(made: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    names = sorted(made.keys() | now.keys())
    return [name for name in names if made.get(name) != now.get(name)]
