"""Several tasks on one model: which ones, over what, and what is kept of them.

A task is chosen by its name, by its name and the place it reads (``questions=DIR``), or by a YAML
file that declares it. What is wrong with any of them, and what the model cannot do, is refused
before the first one runs. The result is an artifact: ``results.json`` (figures and scores),
``items.jsonl`` (each item with its texts), and ``report.html``.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linnet import artifact, output
from linnet.config import parse_json, read_json, to_mapping
from linnet.errors import ArtifactError, ConfigError, DamagedError
from linnet.evaluate.config import EvaluateConfig, TasksConfig
from linnet.evaluate.declaration import SUFFIXES
from linnet.evaluate.held_out import text_files
from linnet.evaluate.task import Run, Task, UnscoredError, run_task
from linnet.evaluate.tasks import TASKS, with_needed
from linnet.evaluate.tasks.declared import declared_task, files_of
from linnet.examples.decisions import decisions_file
from linnet.examples.record import examples_file, is_examples
from linnet.generate.engine_kind import DTYPES
from linnet.generate.engines import EngineConfig, open_engine
from linnet.progress import SILENT, Progress

if TYPE_CHECKING:
    from linnet.artifact import Artifact, Draft
    from linnet.generate.engine import Engine

KIND = "tasks"
FORMAT = 1
RESULTS = "results.json"
ITEMS = "items.jsonl"
REPORT = "report.html"


@dataclass
class Chosen:
    """Tasks in the order in which they run, and what they read."""

    tasks: dict[str, Callable[[Run], Task]] = field(default_factory=dict)
    places: dict[str, Path] = field(default_factory=dict)
    files: dict[str, list[Path]] = field(default_factory=dict)
    """Of the tasks that files declare: those they depend on."""

    def inputs(self, config: TasksConfig) -> dict[str, Artifact | str]:
        """The content of what they read, for the recipe."""
        found: dict[str, Artifact | str] = {}
        for name, place in self.places.items():
            found[f"place of {name}"] = content_of(place)
            if is_examples(place):
                decisions = decisions_file(examples_file(place))
                files = [decisions] if decisions.is_file() else []
                found[f"decisions of {name}"] = _hash_files(decisions.parent, files)
        if config.checker:
            found["checker"] = content_of(Path(config.checker))
        for name, files in self.files.items():
            found[f"task {name}"] = _hash_files(files[0].parent, files)
        return found


def choose(names: Sequence[str], model: Path | None = None, *, base: Path | None = None) -> Chosen:
    """The tasks that these name, with those they need.

    ``model``: a project, whose examples are what tasks over questions read unless another place is
    named. ``base``: where relative paths begin, if not here. Raises ConfigError or DataError for
    what is wrong with one.
    """
    base = base or Path()
    chosen = Chosen()
    built_in: list[str] = []
    declared: dict[str, Callable[[Run], Task]] = {}
    for given in names:
        name, equals, place = given.partition("=")
        if name in TASKS:
            if name in built_in:
                raise ConfigError(f"--task {name} is given twice")
            built_in.append(name)
            if equals:
                chosen.places[name] = _existing(base / place, name)
            elif "place" in TASKS[name].needs and (examples := _examples_of(model)) is not None:
                chosen.places[name] = examples
        elif Path(given).suffix.lower() in SUFFIXES:
            declaration, make = declared_task(base / given)
            if declaration.name in declared or declaration.name in TASKS:
                raise ConfigError(
                    f"{declaration.at('name')} must differ from those of other tasks. "
                    f"Got {declaration.name}"
                )
            declared[declaration.name] = make
            chosen.files[declaration.name] = files_of(declaration)
        else:
            near = difflib.get_close_matches(name[:100], TASKS, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise ConfigError(
                f"--task must be one of {', '.join(TASKS)}, or a .yaml file. Got '{name}'{hint}"
            )
    chosen.tasks = {name: TASKS[name] for name in with_needed(built_in)} | declared
    return chosen


def evaluate_tasks(
    model: Path | str,
    data: Path | str | None,
    names: Sequence[str],
    out: Path | str | None = None,
    config: EvaluateConfig | None = None,
    *,
    corpus: Path | str | None = None,
    base: Path | None = None,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """The figures of these tasks as plain values, with intervals and with what failed.

    ``data``: held-out text, for the tasks that need some. With ``out`` all is written there, as an
    artifact with ``results.json``, ``items.jsonl`` and ``report.html``; if that was made already
    from the same things, it is read instead. ``base``: where the paths in ``names`` begin.
    """
    config = tasks_config(config)
    chosen = choose(names, Path(model), base=base)
    model = artifact.within(model, "model")
    data = None if data is None else artifact.within(data, "shards")
    training = training_corpus(model, None if corpus is None else Path(corpus))

    def measured() -> tuple[dict[str, Any], Run]:
        run = run_chosen(
            model, data, chosen, config, training=training, progress=progress, keep_going=True
        )
        return {
            "model": model.resolve().name,
            "data": data.resolve().name if data is not None else None,
            "tasks": {name: result.to_json() for name, result in run.results.items()},
            "settings": to_mapping(config),
        }, run

    if out is None:
        return measured()[0]
    inputs: dict[str, Artifact | str] = {"model": model_content(model), **chosen.inputs(config)}
    if data is not None:
        inputs["data"] = content_of(data)
    if training is not None:
        inputs["corpus"] = training

    def write(draft: Draft) -> None:
        results, run = measured()
        write_results(draft, results, (row for own in run.results.values() for row in own.rows()))

    settings = {**to_mapping(config), "tasks": list(names)}
    made = artifact.make(out, write, kind=KIND, format=FORMAT, config=settings, inputs=inputs)
    return read_results(made.path)


def write_results(
    draft: Draft, results: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]
) -> None:
    """Figures, items and the page about them."""
    from linnet.evaluate.report_page import write_report

    output.write_json(draft.path / RESULTS, results)
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    output.write_text(draft.path / ITEMS, "".join(lines))
    write_report(draft.path, results, list(read_items(draft.path)))
    draft.stats["figures"] = {
        name: {metric: figure["value"] for metric, figure in result["figures"].items()}
        for name, result in results["tasks"].items()
    }


def read_results(path: Path | str) -> dict[str, Any]:
    """What :func:`evaluate_tasks` wrote: figures and scores. Raises ArtifactError."""
    found = artifact.read(path, kind=KIND)
    try:
        values = read_json(found.path / RESULTS)
        if not isinstance(values, dict) or not isinstance(values.get("tasks"), dict):
            raise ValueError("it holds no results")
    except (OSError, ValueError) as error:
        raise DamagedError(f"{found.path / RESULTS} cannot be read ({error})") from None
    return values


def read_items(path: Path | str) -> Iterator[dict[str, Any]]:
    """Each item of all tasks with its scores and texts. Raises DamagedError."""
    file = Path(path) / ITEMS
    if not file.is_file():
        return
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield dict(parse_json(line))
            except (ValueError, TypeError) as error:
                raise DamagedError(f"{file}, line {number}, cannot be read ({error})") from None


def run_chosen(
    model: Path,
    data: Path | None,
    chosen: Chosen,
    config: TasksConfig,
    *,
    training: Artifact | None = None,
    progress: Progress = SILENT,
    keep_going: bool = False,
) -> Run:
    """Put ``model`` to these tasks; it is opened once, by one engine.

    ``keep_going``: a task of which no item can be scored does not stop the others; if all are like
    this, the first error is raised.
    """
    with opened(model, config, progress) as engine:
        run = Run(engine, data, training, config, progress, chosen.places, model=model)
        for make in chosen.tasks.values():
            make(run).require()
        errors: list[UnscoredError] = []
        for make in chosen.tasks.values():
            try:
                run_task(make, run)
            except UnscoredError as error:
                if not keep_going:
                    raise
                progress.warn(str(error))
                errors.append(error)
        if errors and len(errors) == len(chosen.tasks):
            raise errors[0]
    return run


@contextmanager
def opened(model: Path, config: EvaluateConfig, progress: Progress) -> Iterator[Engine]:
    """The engine that scores and writes, on the device and in the format of the settings."""
    precision = next(name for name, dtype in DTYPES.items() if dtype == config.dtype)
    engine = open_engine(
        model,
        EngineConfig(engine="torch", precision=precision, device=config.device),
        progress=progress,
    )
    try:
        yield engine
    finally:
        engine.close()


def tasks_config(config: EvaluateConfig | None) -> TasksConfig:
    """The same settings for tasks, whose own keep their defaults."""
    if isinstance(config, TasksConfig):
        return config
    return TasksConfig(**vars(config)) if config is not None else TasksConfig()


def training_corpus(model: Path, corpus: Path | None) -> Artifact | None:
    """The corpus named, or the one that the model's lineage leads to."""
    if corpus is not None:
        return artifact.read(corpus, kind="corpus")
    for made in artifact.lineage(model):
        if made.manifest.kind == "corpus":
            return made
    return None


def model_content(model: Path) -> Artifact | str:
    """The model's content, whether Linnet made it or not."""
    if artifact.is_artifact(model):
        return artifact.read(model)
    files = sorted(p for p in model.glob("*") if p.suffix in (".json", ".safetensors", ".model"))
    if not files:
        raise ArtifactError(f"{model}: expected a model directory, but it holds no model")
    return _hash_files(model, files)


def content_of(place: Path) -> Artifact | str:
    """The content of an artifact, a file, or the texts or rows of a folder."""
    if artifact.is_artifact(place):
        return artifact.read(place)
    if place.is_file():
        return _hash_files(place.parent, [place])
    files = text_files(place)
    if place.is_dir():
        files = sorted({*files, *(p for p in place.glob("*.jsonl") if p.is_file())})
    return _hash_files(place, files)


def _hash_files(place: Path, files: Sequence[Path]) -> str:
    listed = [(_relative(file, place), artifact.hash_file(file)) for file in files]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def _relative(file: Path, place: Path) -> str:
    return file.relative_to(place).as_posix() if file.is_relative_to(place) else file.name


def _existing(place: Path, name: str) -> Path:
    if not place.exists():
        raise ConfigError(f"--task {name}={place}: expected a file or directory, but there is none")
    return place


def _examples_of(model: Path | None) -> Path | None:
    """The examples of a project."""
    if model is None or artifact.is_artifact(model):
        return None
    examples = model / "examples"
    return examples if artifact.is_artifact(examples) else None
