"""Tasks of lm-evaluation-harness through Linnet's engine, beside the harness's own ``hf`` model."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from linnet.errors import ConfigError, DataError, MissingExtraError
from linnet.evaluate.compare import compare
from linnet.evaluate.config import TasksConfig
from linnet.evaluate.harness import (
    HarnessConfig,
    evaluate_harness,
    language_model,
    open_harness,
    run_harness,
)
from linnet.evaluate.harness.files import files_behind
from linnet.evaluate.harness.running import _like
from linnet.generate.engine import Engine
from linnet.generate.engines import EngineConfig, open_engine
from tiny_project import TinyProject

NAMES = ("dog", "cat", "bird", "tree")


@pytest.fixture(scope="module")
def engine(built_once: TinyProject) -> Iterator[Engine]:
    opened = open_engine(
        built_once.path / "model", EngineConfig(engine="torch", precision="f32", device="cpu")
    )
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a task of each kind over local data."""
    place = tmp_path_factory.mktemp("tasks")
    rows = [
        {"q": f"There was a little {name}. The", "choices": [f" {n}" for n in NAMES], "gold": i}
        for i, name in enumerate(NAMES)
    ]
    rows.append({**rows[0], "q": "word " * 600})  # longer than the context: cut from the left
    texts = [{"text": "Once upon a time. " * count} for count in (1, 40, 300)]
    for name, values in (("rows", rows), ("texts", texts)):
        (place / f"{name}.jsonl").write_text("\n".join(map(json.dumps, values)))
    write_task(
        place, "choice", "multiple_choice", doc_to_text="{{q}}", doc_to_choice="{{choices}}",
        doc_to_target="gold", target_delimiter="", metric="acc",
    )  # fmt: skip
    write_task(
        place, "writing", "generate_until", doc_to_text="{{q}}", doc_to_target="{{choices[gold]}}",
        metric="exact_match", generation_kwargs='{until: ["."], max_gen_toks: 12}',
    )  # fmt: skip
    write_task(
        place, "rolling", "loglikelihood_rolling", data="texts", doc_to_text="",
        doc_to_target="{{text}}", metric="bits_per_byte",
    )  # fmt: skip
    return place


def write_task(place: Path, name: str, kind: str, *, metric: str, data: str = "rows",
               generation_kwargs: str | None = None, **fields: str) -> None:  # fmt: skip
    lines = [
        f"task: {name}", f"output_type: {kind}", "dataset_path: json", "test_split: test",
        f"dataset_kwargs: {{data_files: {{test: {json.dumps(str(place / data))[:-1]}.jsonl\"}}}}",
        f"metric_list: [{{metric: {metric}, aggregation: "
        f"{'bits_per_byte' if metric == 'bits_per_byte' else 'mean'}, higher_is_better: true}}]",
        *(f"{key}: {json.dumps(value)}" for key, value in fields.items()),
    ]  # fmt: skip
    if generation_kwargs is not None:
        lines.append(f"generation_kwargs: {generation_kwargs}")
    (place / f"{name}.yaml").write_text("\n".join(lines))


def test_likelihoods_and_texts_equal_those_of_the_harness(
    engine: Engine, built_once: TinyProject, tasks: Path, tmp_path: Path
) -> None:
    pytest.importorskip("lm_eval")
    import lm_eval
    from lm_eval.models.huggingface import HFLM

    names = ["choice", "writing", "rolling"]
    ours = run_harness(engine, names, include=tasks, out=tmp_path / "out")
    reference = lm_eval.simple_evaluate(
        HFLM(str(built_once.path / "model"), device="cpu", dtype="float32", batch_size=2,
             max_length=engine.context),
        tasks=names, task_manager=open_harness(names, include=tasks), bootstrap_iters=0,
    )  # fmt: skip
    for name in names:
        assert len(ours["samples"][name]) == len(reference["samples"][name]) > 0
        for own, other in zip(ours["samples"][name], reference["samples"][name], strict=True):
            if name == "writing":
                assert own["resps"] == other["resps"]
                continue
            for mine, theirs in zip(own["filtered_resps"], other["filtered_resps"], strict=True):
                mine, theirs = (x if isinstance(x, tuple) else (x,) for x in (mine, theirs))
                assert mine[0] == pytest.approx(theirs[0], rel=1e-6, abs=1e-3)
                assert mine[1:] == theirs[1:]
        for metric, value in reference["results"][name].items():
            if "stderr" not in metric and isinstance(value, float):
                assert ours["results"][name][metric] == pytest.approx(value, abs=1e-4)
    written = sorted(path.name.split("_20")[0] for path in (tmp_path / "out").rglob("*.json*"))
    assert written == ["results", "samples_choice", "samples_rolling", "samples_writing"]


def test_results_stand_beside_those_of_our_own_tasks(
    built_once: TinyProject, tasks: Path, tmp_path: Path
) -> None:
    pytest.importorskip("lm_eval")
    config = TasksConfig(resamples=20, device="cpu")
    names = ["choice", "rolling"]
    out = tmp_path / "run"
    found = evaluate_harness(built_once.path, names, out, config, include=tasks)
    accuracy = found["tasks"]["harness: choice"]["figures"]["acc"]
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    assert accuracy["items"] == len(NAMES) + 1
    assert found["tasks"]["harness: rolling"]["figures"]["bits_per_byte"]["value"] > 0
    assert {path.name for path in out.iterdir()} >= {"results.json", "items.jsonl", "report.html"}
    assert list((out / "harness").rglob("results_*.json"))
    same = compare([out, out])
    assert [each.task for each in same.runs[0].tasks] == ["harness: choice", "harness: rolling"]
    assert same.runs[0].tasks[0].differences[0].difference == 0


def test_what_a_result_depends_on_is_every_file_that_a_task_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("yaml")
    for name in ("base.yaml", "a.jsonl", "b-1.jsonl", "b-2.jsonl", "code.py", "other.jsonl"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "rows.csv").write_text("a,b")
    task = tmp_path / "own.yaml"
    task.write_text(
        "include: base.yaml\ntask: own\ndataset_path: json\ndataset_kwargs:\n"
        f"  data_dir: {tmp_path}/more\n  data_files:\n    test: a.jsonl\n    train: b-*.jsonl\n"
    )
    monkeypatch.chdir(tmp_path)
    assert [path.name for path in files_behind([task])] == [
        "a.jsonl", "b-1.jsonl", "b-2.jsonl", "base.yaml", "code.py", "rows.csv", "own.yaml",
    ]  # fmt: skip


def test_the_example_of_the_documentation_runs_as_it_stands(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lm_eval")
    page = (Path(__file__).parents[1] / "docs" / "evaluation.md").read_text("utf-8")
    for name, text in re.findall(r"^`(colours\.\w+)`\n\n```\w+\n(.*?)^```$", page, re.M | re.S):
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    found = run_harness(engine, ["colours.yaml"])
    assert 0 <= found["results"]["colours"]["acc,none"] <= 1
    asked = [str(each["arguments"][0][0]) for each in found["samples"]["colours"]]
    assert asked == ["Grass is", "Blood is", "The sky is"]


def test_a_file_of_ones_own_and_few_shot(engine: Engine, tasks: Path) -> None:
    pytest.importorskip("lm_eval")
    text = (tasks / "choice.yaml").read_text() + "\nfewshot_split: test\n"
    own = tasks / "own.yml"
    own.write_text(text.replace("task: choice", "task: own"))
    config = TasksConfig(limit=2, seed=3)
    found = [run_harness(engine, [str(own)], config, HarnessConfig(2)) for _ in range(2)]
    asked = [each["arguments"] for each in found[0]["samples"]["own"]]
    assert len(asked) == 2
    assert str(asked[0]).count("There was a little") >= 2
    assert found[0]["results"] == found[1]["results"]


def test_what_cannot_be_run_is_refused_by_name(engine: Engine, tasks: Path, tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    with pytest.raises(ConfigError, match="there is none"):
        open_harness([str(tmp_path / "no.yaml")])
    assert _like("roling", ["choice", "rolling"]) == "did you mean rolling?"
    with pytest.raises(ConfigError, match="expected a folder"):
        open_harness(["choice"], include=tmp_path / "no")
    beams = tasks / "beams.yml"
    beams.write_text(
        (tasks / "writing.yaml").read_text().replace("max_gen_toks: 12", "num_beams: 4")
    )
    with pytest.raises(ConfigError, match="num_beams"):
        run_harness(engine, [str(beams)])


def test_conversations_are_written_with_the_models_template(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    from types import SimpleNamespace

    from linnet.tokenizer.chat import ChatTemplate

    template = "{% for m in messages %}<{{m.role}}>{{m.content}}</{{m.role}}>{% endfor %}"
    template += "{% if add_generation_prompt %}<assistant>{% endif %}"
    tokenizer = SimpleNamespace(chat_template=ChatTemplate({"default": template}, {}), beginning=0)
    model = language_model(SimpleNamespace(tokenizer=tokenizer))  # type: ignore[arg-type]
    asked = [{"role": "user", "content": "Why?"}]
    assert model.apply_chat_template(asked) == "<user>Why?</user><assistant>"
    begun = [*asked, {"role": "assistant", "content": "Because"}]
    written = model.apply_chat_template(begun, add_generation_prompt=False)
    assert written == "<user>Why?</user><assistant>Because"


@pytest.mark.slow  # listing the 14,000 tasks of the harness
def test_its_own_tasks_fetch_nothing(engine: Engine) -> None:
    pytest.importorskip("lm_eval")
    with pytest.raises(ConfigError, match="no task arc_esay"):
        open_harness(["arc_esay"])
    with pytest.raises(DataError, match="--download"):
        run_harness(engine, ["arc_easy"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task: a\ndoc_to_text: !function evil.run\n", "line 2: names Python code"),
        ("task: a\nclass: evil\n", "line 2: names Python code"),
        ("include: other.yml\n", "line 1: names Python code"),
        ("task: [a\n", "expected YAML"),
        ("a: &a [*a]\ntask: !!python/object/apply:os.system [ls]\n", "names Python code"),
    ],
)
def test_code_in_task_files_is_not_run_unasked(text: str, message: str, tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    (tmp_path / "evil.py").write_text("raise SystemExit('ran')\n")
    (tmp_path / "other.yml").write_text("process_docs: !function evil.run\n")
    path = tmp_path / "task.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        open_harness([str(path)])


def test_templates_are_rendered_in_the_sandbox() -> None:
    pytest.importorskip("lm_eval")
    from lm_eval.utils import apply_template

    open_harness([])
    assert apply_template("{{a}} b", {"a": 1}) == "1 b"
    with pytest.raises(Exception, match="unsafe"):
        apply_template("{{a.__class__.__mro__}}", {"a": 1})


def test_without_the_harness_the_command_to_install_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    monkeypatch.setitem(sys.modules, "lm_eval.utils", None)
    with pytest.raises(MissingExtraError, match=r"linnet\[harness\]"):
        open_harness(["arc_easy"])
