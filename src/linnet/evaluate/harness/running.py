"""Tasks of lm-evaluation-harness, run in this process through Linnet's engine.

EleutherAI's harness (Gao et al., https://github.com/EleutherAI/lm-evaluation-harness, package
``lm_eval``) asks three things of a model: the likelihood of a continuation, that of a whole text,
and a text up to a stop string. Prompts become tokens as its own ``hf`` model makes them, so that
every likelihood can be compared with that model's.

Nothing is fetched unless asked: its libraries are set to offline, and tasks and data come from
local files or the hub's cache. Its templates are rendered in Jinja's sandbox. Task files may name
Python functions that lie beside them; of files that are not part of the harness this is refused
unless it is allowed.
"""

from __future__ import annotations

import contextlib
import copy
import difflib
import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linnet import artifact, output
from linnet.config import Config, option, to_mapping
from linnet.errors import ConfigError, DataError, LinnetError, MissingExtraError
from linnet.evaluate.config import TasksConfig
from linnet.evaluate.figures import measure
from linnet.evaluate.harness.files import as_task, files_behind, is_file, own_files, refuse_code
from linnet.evaluate.harness.model import language_model
from linnet.evaluate.metrics import Metric, mean
from linnet.progress import SILENT, Progress

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager

    from linnet.artifact import Draft
    from linnet.generate.engine import Engine

PACKAGE = "lm_eval"
INSTALL = "'linnet[harness]'"


@dataclass(frozen=True)
class HarnessConfig(Config):
    """How to run tasks of lm-evaluation-harness."""

    few_shot: int | None = option(
        None, "solved examples before each question; None: as many as the task says", least=0
    )
    download: bool = option(False, "let the harness fetch data sets from the hub")
    allow_code: bool = option(False, "run the Python functions that your own task files name")


def run_harness(
    engine: Engine,
    tasks: Sequence[str],
    config: TasksConfig | None = None,
    harness: HarnessConfig | None = None,
    *,
    include: Path | None = None,
    out: Path | None = None,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Run ``tasks``, by name or as YAML files, and return what the harness returns.

    ``include`` is a folder of more task files. With ``out`` the harness writes its own
    ``results_….json`` and ``samples_….jsonl`` there. Raises MissingExtraError without the harness,
    ConfigError for a task that it does not have or that cannot be run, DataError where the data of
    a task is not on this machine.
    """
    config, harness = config or TasksConfig(), harness or HarnessConfig()
    with _offline(not harness.download):
        manager = open_harness(tasks, include=include, allow_code=harness.allow_code)
        from lm_eval.evaluator import simple_evaluate
        from lm_eval.loggers import EvaluationTracker

        _quiet()
        tracker = None
        if out is not None:
            output.make_directory(out)
            tracker = EvaluationTracker(output_path=str(out))
        try:
            found = simple_evaluate(
                model=language_model(engine, seed=config.seed, progress=progress),
                tasks=[as_task(name) for name in tasks],
                num_fewshot=harness.few_shot,
                limit=config.limit,
                bootstrap_iters=config.resamples,
                apply_chat_template=config.style == "chat",
                task_manager=manager,
                evaluation_tracker=tracker,
                random_seed=config.seed,
                numpy_random_seed=config.seed,
                torch_random_seed=config.seed,
                fewshot_random_seed=config.seed,
            )
        except LinnetError:
            raise
        except (OSError, ValueError, KeyError, ImportError, RuntimeError, TypeError) as error:
            raise _explained(error, download=harness.download) from error
        assert found is not None  # only other ranks get nothing
        results: dict[str, Any] = dict(found)
        if tracker is not None:
            samples = copy.deepcopy(results.get("samples") or {})  # it changes what it writes
            tracker.save_results_aggregated(results=results, samples=samples)
            for name, own in samples.items():
                tracker.save_results_samples(task_name=name, samples=own)
        return results


def evaluate_harness(
    model: Path | str,
    tasks: Sequence[str],
    out: Path | str | None = None,
    config: TasksConfig | None = None,
    harness: HarnessConfig | None = None,
    *,
    include: Path | None = None,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Figures of the harness's tasks as those of our own, with intervals.

    With ``out`` all is written there as ``linnet.evaluate.suite`` writes it, so that runs can be
    compared, and what the harness itself writes stands in ``harness/``. Raises as
    :func:`run_harness`.
    """
    from linnet.evaluate import suite

    config, harness = config or TasksConfig(), harness or HarnessConfig()
    model = artifact.within(model, "model")
    open_harness(tasks, include=include, allow_code=harness.allow_code)

    def measured(raw: Path | None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        with suite.opened(model, config, progress) as engine:
            found = run_harness(
                engine, tasks, config, harness, include=include, out=raw, progress=progress
            )
        shown, rows = as_tasks(found, config)
        settings = {**to_mapping(config), "harness": to_mapping(harness)}
        return {
            "model": model.resolve().name, "data": None, "tasks": shown, "settings": settings,
        }, rows  # fmt: skip

    if out is None:
        return measured(None)[0]

    def write(draft: Draft) -> None:
        results, rows = measured(draft.path / "harness")
        suite.write_results(draft, results, rows)

    files = files_behind(own_files(tasks, include))
    inputs = {"model": suite.model_content(model)} | {
        f"file {number}": artifact.hash_file(file) for number, file in enumerate(files)
    }
    settings = {
        **to_mapping(config), "harness": to_mapping(harness), "tasks": list(tasks),
    }  # fmt: skip
    made = artifact.make(
        out, write, kind=suite.KIND, format=suite.FORMAT, config=settings, inputs=inputs
    )
    return suite.read_results(made.path)


def as_tasks(
    results: Mapping[str, Any], config: TasksConfig
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """What the harness returned, in the form of our own results: tasks, and a row for each item.

    Its own figure stands where it is not the mean of the items' scores, without an interval.
    """
    tasks: dict[str, dict[str, Any]] = {}
    rows: list[dict[str, Any]] = []
    for name, samples in (results.get("samples") or {}).items():
        items = _items(name, samples)
        figures, better = {}, {}
        for key, value in results["results"][name].items():
            metric, _, kind = key.partition(",")
            if "_stderr" in metric or not isinstance(value, int | float) or not kind:
                continue
            named = metric if kind == "none" else f"{metric},{kind}"
            higher = (results.get("higher_is_better") or {}).get(name, {}).get(metric)
            better[named] = {True: "higher", False: "lower"}.get(higher, "neither")
            scores = [item["scores"] for item in items if named in item["scores"]]
            figures[named] = _figure(named, float(value), scores, len(items), config)
        tasks[f"harness: {name}"] = {
            "items": len(items), "failed": {}, "figures": figures, "better": better,
            "scores": {item["id"]: item["scores"] for item in items},
            "about": f"lm-evaluation-harness, {results['n-shot'].get(name, 0)} solved examples",
        }  # fmt: skip
        rows += [{"task": f"harness: {name}", **item} for item in items]
    return tasks, rows


def _items(task: str, samples: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """An item for each document: the harness has a sample of it for each of its filters."""
    items: dict[str, dict[str, Any]] = {}
    for sample in samples:
        id = str(sample["doc_id"])
        first = next(iter(sample["arguments"]), ("",))
        item = items.setdefault(
            id,
            {
                "id": id,
                "scores": {},
                "prompt": str(first[0]),
                "expected": [str(sample["target"])],
                "answer": str(sample["filtered_resps"]),
            },
        )
        for metric in sample.get("metrics", ()):
            value = sample.get(metric)
            kind = sample.get("filter", "none")
            if isinstance(value, int | float) and math.isfinite(value):
                item["scores"][metric if kind == "none" else f"{metric},{kind}"] = float(value)
    return list(items.values())


def _figure(
    name: str,
    value: float,
    scores: Sequence[Mapping[str, float]],
    items: int,
    config: TasksConfig,
) -> dict[str, Any]:
    plain = {"value": value, "items": items, "seed": config.seed}
    if not scores or not math.isfinite(value):
        return plain
    # A share where all scores are 0 or 1, whose interval is exact where all are alike.
    found = measure(
        Metric(name, name, (name,), mean, share=True), scores, level=config.level,
        resamples=config.resamples, seed=config.seed,
    )  # fmt: skip
    return found.to_json() if math.isclose(found.value, value, abs_tol=1e-9) else plain


def open_harness(
    tasks: Sequence[str], *, include: Path | None = None, allow_code: bool = False
) -> TaskManager:
    """The harness with these tasks. Raises as :func:`run_harness`, before a model is opened."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # progress is shown in our own way
    try:
        import lm_eval.utils
        from lm_eval.tasks import TaskManager
    except ImportError:
        raise MissingExtraError(INSTALL, "running tasks of lm-evaluation-harness") from None
    _sandbox_templates(lm_eval.utils)
    if include is not None and not include.is_dir():
        raise ConfigError(f"{include}: expected a folder of task files, but there is none")
    if not allow_code:
        for path in own_files(tasks, include):
            refuse_code(path)
    try:
        # Its own tasks are 14,000 files, which take seconds to list: only where they are needed.
        manager = TaskManager(
            include_path=None if include is None else str(include), include_defaults=False
        )
        if any(not is_file(name) and not manager.match_tasks([name]) for name in tasks):
            manager = TaskManager(include_path=None if include is None else str(include))
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"{include}: the harness cannot read its task files: {error}") from None
    unknown = [name for name in tasks if not is_file(name) and not manager.match_tasks([name])]
    if unknown:
        raise ConfigError(
            f"the harness has no task {', '.join(unknown)}; "
            f"{_like(unknown[0], manager.all_tasks)} There are {len(manager.all_tasks):,}; "
            "name a file of your own by its path"
        )
    return manager


def _like(name: str, names: Sequence[str]) -> str:
    """Those that may have been meant."""
    near = difflib.get_close_matches(name[:100], names, n=3)
    return f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(names[:3])}, ..."


def _sandbox_templates(utils: Any) -> None:
    """Let the harness render templates of task files as this project does: without attributes."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    if isinstance(utils.env, ImmutableSandboxedEnvironment):
        return
    boxed = ImmutableSandboxedEnvironment(loader=utils.env.loader, undefined=utils.env.undefined)
    boxed.filters.update(utils.env.filters)
    utils.env = boxed


@contextlib.contextmanager
def _offline(wanted: bool) -> Iterator[None]:
    """Keep the libraries of the harness off the network, also where they are loaded already."""
    if not wanted:
        yield
        return
    names = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    switched = []
    for module, name in (
        ("huggingface_hub.constants", "HF_HUB_OFFLINE"),
        ("datasets.config", "HF_HUB_OFFLINE"),
        ("datasets.config", "HF_DATASETS_OFFLINE"),
    ):
        with contextlib.suppress(ImportError):
            found = __import__(module, fromlist=["_"])
            if hasattr(found, name):
                switched.append((found, name, getattr(found, name)))
                setattr(found, name, True)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
        for found, name, value in switched:
            setattr(found, name, value)


def _quiet() -> None:
    """What it reports on the way is not for our terminal; its warnings are."""
    from lm_eval import evaluator

    logging.getLogger(PACKAGE).setLevel(logging.WARNING)
    # It would call git in the directory that a user happens to be in, which says so where it fails.
    evaluator.get_git_commit_hash = lambda: None


def _explained(error: Exception, *, download: bool) -> LinnetError:
    said = " ".join(str(error).split())[:300] or type(error).__name__
    kind = type(error).__name__
    if not download and any(
        word in f"{kind} {said}".lower() for word in ("offline", "connection", "couldn't reach")
    ):
        return DataError(
            f"the data of a task is not on this machine ({said}); fetch it with --download, or "
            "name local files in a task of your own (dataset_path: json, dataset_kwargs: "
            "data_files)"
        )
    return ConfigError(f"the harness cannot run this: {kind}: {said}")
