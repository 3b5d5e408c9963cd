"""A project: one directory that holds every stage from documents to model.

    linnet.toml   what to build from, for how long, and settings that override defaults
    corpus/       plan/  tokenizer/  shards/  model/  evaluation/
    report.html

Here is what each stage is made from and with which settings, and therefore
whether what is on disk is still current. ``linnet.pipeline`` makes the stages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from linnet import artifact
from linnet.config import dump_toml, from_mapping, load_toml, parse_duration, to_mapping
from linnet.data import DataConfig, sources_fingerprint
from linnet.errors import ArtifactError, ConfigError, DamagedError, DataError
from linnet.evaluate import EvaluateConfig
from linnet.planner import Plan, read_plan
from linnet.shards import EncodeConfig
from linnet.tokenizer import TokenizerConfig
from linnet.train.config import TrainConfig

if TYPE_CHECKING:
    from linnet.artifact import Artifact

CONFIG_FILE = "linnet.toml"
LOCK_NAME = "build"
STAGES = ("corpus", "plan", "tokenizer", "shards", "model", "evaluation")
StageName = Literal["corpus", "plan", "tokenizer", "shards", "model", "evaluation"]
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
# budget, [tokenizer] and [train] take effect with --replan: a plan stays as it is until then.

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
        return cls(path, from_mapping(ProjectConfig, load_toml(file), where=str(file)))

    def save(self) -> None:
        """Write ``linnet.toml``."""
        text = HEADER + dump_toml(to_mapping(self.config))
        neighbour = self.path / f".{CONFIG_FILE}.partial"
        neighbour.write_text(text, encoding="utf-8")
        neighbour.replace(self.path / CONFIG_FILE)

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

    def tokenizer_config(self, plan: Plan) -> TokenizerConfig:
        where = f"{CONFIG_FILE} [tokenizer]"
        values = {"vocab_size": plan.vocab_size, **self.config.tokenizer}
        return from_mapping(TokenizerConfig, values, where=where)

    def train_config(self, plan: Plan) -> TrainConfig:
        where = f"{CONFIG_FILE} [train]"
        return from_mapping(TrainConfig, {**plan.train, **self.config.train}, where=where)

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

    def recipe(self, name: StageName, plan: Plan | None) -> Mapping[str, Any] | None:
        """The settings a stage would be made with now; None where the plan is to decide them."""
        if name == "corpus":
            return self.data_config().recipe()
        if name == "shards":
            return EncodeConfig().recipe()
        if plan is None or name == "plan":
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
            found[name] = self._stage_status(name, plan, found)  # type: ignore[arg-type]
        return list(found.values())

    def _stage_status(
        self, name: StageName, plan: Plan | None, before: Mapping[str, StageStatus]
    ) -> StageStatus:
        made_from = self.config.sources if name == "corpus" else INPUTS[name]
        path = self.stage(name)
        if not path.exists():
            if artifact.partial_exists(path):
                return StageStatus(name, "unfinished", "interrupted", made_from, None)
            return StageStatus(name, "missing", "not made yet", made_from, None)
        try:
            made = artifact.read(path, kind=name)
        except DamagedError as error:
            return StageStatus(name, "damaged", str(error), made_from, None)
        except ArtifactError as error:
            return StageStatus(name, "missing", str(error), made_from, None)
        state, reason = self._judge(name, made, plan, before)
        return StageStatus(name, state, reason, made_from, made)

    def _judge(
        self,
        name: StageName,
        made: Artifact,
        plan: Plan | None,
        before: Mapping[str, StageStatus],
    ) -> tuple[State, str]:
        recipe = self.recipe(name, plan)
        changed = _changed_settings(made.manifest.config, recipe) if recipe is not None else []
        if changed:
            return "stale", f"changed: {', '.join(changed)}"
        if name == "corpus":
            return self._judge_sources(made)
        if name == "plan":
            if made.manifest.config.get("budget") != self.budget:
                return "kept", f"frozen; --replan for the budget {self.config.budget}"
            return "current", ""
        for role in INPUTS[name]:
            upstream = before[role]
            if upstream.state in ("stale", "unfinished", "missing", "damaged"):
                return "stale", f"{role} is {upstream.state}"
            recorded = made.manifest.inputs.get(
                "data" if (name, role) == ("evaluation", "shards") else role
            )
            if upstream.artifact and recorded and recorded.content != upstream.artifact.content:
                if name == "tokenizer":
                    return "kept", "the corpus changed since; --retrain-tokenizer to follow it"
                return "stale", f"{role} changed"
        return "current", ""

    def _judge_sources(self, made: Artifact) -> tuple[State, str]:
        try:
            now = sources_fingerprint(self.config.sources, corpus=made.path, exclude=[self.path])
        except DataError as error:
            return "stale", str(error)
        if now != made.manifest.inputs["sources"].content:
            return "stale", "the documents changed"
        return "current", ""


def set_option(config: ProjectConfig, assignment: str) -> ProjectConfig:
    """Apply ``train.width=128`` to a configuration. Raises ConfigError when malformed."""
    import tomllib
    from dataclasses import replace

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
    changed: dict[str, Any] = {table: {**getattr(config, table), key: parsed}}
    return replace(config, **changed)


def _role(stage: str, made_from: str) -> str:
    """What a stage calls its input: evaluation scores any data, here the shards."""
    return "data" if (stage, made_from) == ("evaluation", "shards") else made_from


def _changed_settings(made: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    names = sorted(made.keys() | now.keys())
    return [name for name in names if _plain(made.get(name)) != _plain(now.get(name))]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
