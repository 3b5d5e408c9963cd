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
import glob
import itertools
import logging
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linnet import artifact, output
from linnet.config import Config, option, to_mapping
from linnet.errors import ConfigError, DataError, LinnetError, MissingExtraError, ModelError
from linnet.evaluate.config import TasksConfig
from linnet.evaluate.metrics import Metric, mean, measure
from linnet.generate.engine import Completion, Continuation, Request
from linnet.generate.sampling import Sampling
from linnet.progress import SILENT, Progress

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from lm_eval.api.model import TemplateLM
    from lm_eval.tasks import TaskManager

    from linnet.artifact import Draft
    from linnet.generate.engine import Engine

PACKAGE = "lm_eval"
INSTALL = "'linnet[harness]'"
USUAL_LENGTH = 256  # tokens that a task may write where it does not say, as in the harness
REQUESTS_AT_ONCE = 256
OPEN_END = "\ue000open\ue001"  # in no text: characters of private use
LARGEST_TASK_FILE = 1 << 20
LONGEST_NAME = 4096  # of files
MOST_FILES = 10_000  # of a folder of data that are looked at for changes
PLAIN_TAGS = re.compile(
    r"tag:yaml\.org,2002:(map|seq|str|int|float|bool|null|timestamp|merge|value)"
)

SAMPLING_NAMES = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "typical_p": "typical_p",
    "repetition_penalty": "repetition_penalty",
}
"""What tasks may set of generation, and what it is called here."""


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
                tasks=[_as_task(name) for name in tasks],
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

    files = _files_behind(_own(tasks, include))
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
        for path in _own(tasks, include):
            _refuse_code(path)
    try:
        # Its own tasks are 14,000 files, which take seconds to list: only where they are needed.
        manager = TaskManager(
            include_path=None if include is None else str(include), include_defaults=False
        )
        if any(not _is_file(name) and not manager.match_tasks([name]) for name in tasks):
            manager = TaskManager(include_path=None if include is None else str(include))
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"{include}: the harness cannot read its task files: {error}") from None
    unknown = [name for name in tasks if not _is_file(name) and not manager.match_tasks([name])]
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


def language_model(engine: Engine, *, seed: int = 0, progress: Progress = SILENT) -> TemplateLM:
    """The engine as the harness's model."""
    from lm_eval.api.model import TemplateLM
    from lm_eval.models.utils import normalize_gen_kwargs
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

    tokenizer = engine.tokenizer
    prefix = tokenizer.beginning

    class EngineModel(TemplateLM):  # type: ignore[misc]
        """Answers the harness through the engine."""

        @property
        def eot_token_id(self) -> int:
            return tokenizer.end_of_text

        @property
        def prefix_token_id(self) -> int:
            return prefix

        @property
        def tokenizer_name(self) -> str:
            return "linnet"

        @property
        def max_length(self) -> int:
            return engine.context

        def tok_encode(
            self, string: str, add_special_tokens: bool | None = None, **_: Any
        ) -> list[int]:
            # As transformers reads a text: names of special tokens stand for these.
            tokens = engine.tokenize(string, special=True)
            begun = tokens[:1] == [prefix] if add_special_tokens is None else not add_special_tokens
            return tokens if begun else [*tokenizer.start, *tokens]

        def loglikelihood(
            self, requests: list[Instance], disable_tqdm: bool = False
        ) -> list[tuple[float, bool]]:
            found: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=True)
            return found

        def _loglikelihood_tokens(
            self, requests: Sequence[tuple[Any, list[int], list[int]]], **_: Any
        ) -> list[tuple[float, bool]]:
            asked = [Continuation(tuple(before), own) for _, before, own in requests]
            return self._likelihoods(asked, "likelihoods")

        def loglikelihood_rolling(
            self, requests: list[Instance], disable_tqdm: bool = False
        ) -> list[float]:
            asked: list[Continuation] = []
            counts = []
            for (text,) in (each.args for each in requests):
                windows = get_rolling_token_windows(
                    token_list=self.tok_encode(text),
                    prefix_token=prefix,
                    max_seq_len=engine.context,
                    context_len=1,
                )
                own = [make_disjoint_window(window) for window in windows]
                asked += [Continuation(tuple(before), tokens) for before, tokens in own]
                counts.append(len(own))
            found = iter(self._likelihoods(asked, "texts"))
            return [sum(next(found)[0] for _ in range(count)) for count in counts]

        def _likelihoods(
            self, asked: Sequence[Continuation], unit: str
        ) -> list[tuple[float, bool]]:
            found = []
            with progress.task("harness: scoring", total=len(asked), unit=unit) as shown:
                for each in engine.likelihoods(asked):
                    found.append((-each.nats, each.greedy))
                    shown.advance(1)
            return found

        def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
            asked = [self._request(*each.args) for each in requests]
            texts = []
            with progress.task("harness: writing", total=len(asked), unit="texts") as shown:
                for start in range(0, len(asked), REQUESTS_AT_ONCE):
                    done: list[Completion] = engine.generate(
                        asked[start : start + REQUESTS_AT_ONCE]
                    )
                    texts += [each.text for each in done]
                    shown.advance(len(done))
            return texts

        def _request(self, context: str, settings: dict[str, Any]) -> Request:
            wanted = dict(normalize_gen_kwargs(settings, USUAL_LENGTH))
            length, until = wanted.pop("max_gen_toks"), wanted.pop("until", [])
            sampled = wanted.pop("do_sample", False)
            sampling = self._sampling(wanted, sampled=sampled)
            room = engine.context - length
            if room < 1:
                raise ConfigError(
                    f"the task writes {length} tokens, which leaves no room for a question in the "
                    f"model's context of {engine.context}; give the task a smaller max_gen_toks"
                )
            stops = tuple(text for text in until if text)
            return Request(
                tuple(self.tok_encode(context)[-room:]),
                replace(sampling, max_tokens=length, stop=stops),
            )

        def _sampling(self, wanted: Mapping[str, Any], *, sampled: bool) -> Sampling:
            unknown = sorted(set(wanted) - set(SAMPLING_NAMES))
            if unknown:
                raise ConfigError(
                    f"the task sets {', '.join(unknown)} for generation, which Linnet does not "
                    f"have; there are: {', '.join(SAMPLING_NAMES)}"
                )
            named = {SAMPLING_NAMES[name]: value for name, value in wanted.items()}
            if not sampled:
                named["temperature"] = 0.0
            return Sampling(**{"min_p": 0.0, "seed": seed, **named})

        def apply_chat_template(
            self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
        ) -> str:
            template = tokenizer.chat_template
            if template is None:
                raise ModelError("the model has no chat template; leave out --style chat")
            if add_generation_prompt:
                return template.render(chat_history, add_generation_prompt=True)
            *before, last = chat_history  # which the model is to go on with
            text = template.render([*before, {**last, "content": last["content"] + OPEN_END}])
            return text[: text.rindex(OPEN_END)]

        def chat_template(self, chat_template: bool | str = False) -> str | None:
            return str(tokenizer.config.get("chat_template", "")) if chat_template else ""

    return EngineModel()


def _is_file(name: str) -> bool:
    return name.endswith((".yaml", ".yml"))


def _as_task(name: str) -> str | dict[str, Any]:
    if not _is_file(name):
        return name
    from lm_eval.tasks._yaml_loader import load_yaml

    return dict(load_yaml(Path(name), resolve_func=True))


def _own(tasks: Sequence[str], include: Path | None) -> list[Path]:
    """The task files that are not part of the harness."""
    named = [Path(name) for name in tasks if _is_file(name)]
    return named if include is None else named + sorted(include.rglob("*.yaml"))


def _files_behind(own: Sequence[Path]) -> list[Path]:
    """All files that a result depends on: those of the tasks, those they include, the code beside
    them, and the local data that they name, from here as the harness sees it."""
    import yaml

    found: dict[Path, None] = {}
    waiting = [*own, *(code for path in own for code in path.parent.glob("*.py"))]
    while waiting:
        file = waiting.pop().resolve()
        if file in found or not file.is_file():
            continue
        found[file] = None
        if not _is_file(file.name):
            continue
        try:
            root = yaml.compose(file.read_text("utf-8"), Loader=yaml.SafeLoader)
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
            continue
        for node, key in _nodes(root):
            if isinstance(node, yaml.ScalarNode) and "\n" not in (named := str(node.value)):
                if key == "include":
                    waiting.append(file.parent / named)
                elif key == "data_dir":
                    waiting += itertools.islice(Path(named).rglob("*"), MOST_FILES)
                elif os.path.isfile(named):
                    waiting.append(Path(named))
                elif glob.has_magic(named) and len(named) < LONGEST_NAME:
                    waiting += map(Path, glob.glob(named, recursive=True))
    return sorted(found)


def _refuse_code(path: Path) -> None:
    """Raise ConfigError for a task file that names code; and for one that cannot be read."""
    import yaml

    seen: set[Path] = set()
    waiting = [path]
    while waiting:
        file = waiting.pop().resolve()
        if file in seen:
            continue
        seen.add(file)
        if not file.is_file():
            raise ConfigError(f"{file}: expected a task file of the harness, but there is none")
        if file.stat().st_size > LARGEST_TASK_FILE:
            raise ConfigError(f"{file}: expected a task file of at most 1 MB")
        try:
            root = yaml.compose(file.read_text("utf-8"), Loader=yaml.SafeLoader)
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
            raise ConfigError(f"{file}: expected YAML. {' '.join(str(error).split())}") from None
        for node, key in _nodes(root):
            line = node.start_mark.line + 1
            if not PLAIN_TAGS.fullmatch(node.tag) or key == "class":
                raise ConfigError(
                    f"{file}, line {line}: names Python code ({node.value}), which is not run "
                    "unasked; read it, then allow it with --allow-code"
                )
            if key == "include":
                waiting.append(file.parent / str(node.value))


def _nodes(root: Any) -> Iterator[tuple[Any, str | None]]:
    """Every node of a YAML tree with the key that it is the value of."""
    import yaml

    waiting: list[tuple[Any, str | None]] = [] if root is None else [(root, None)]
    seen: set[int] = set()  # aliases may form a circle
    while waiting:
        node, key = waiting.pop()
        yield node, key
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            waiting += [(value, name.value) for name, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            waiting += [(value, key) for value in node.value]


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
