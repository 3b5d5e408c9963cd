"""Building: only what changed is made, nothing is lost, and every stop is carried on from."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from collections.abc import Sequence
from pathlib import Path

import pytest

import linnet
from linnet import artifact, output, stages
from linnet.config import parse_duration
from linnet.errors import (
    BudgetError,
    BusyError,
    ConfigError,
    DamagedError,
    DataError,
    LinnetError,
    OutputError,
    StoppedError,
)
from linnet.pipeline import build
from linnet.project import Project
from running_here import Here
from tiny_project import SETTINGS, TinyProject, note

pytestmark = pytest.mark.usefixtures("reading_here", "undrawn")

STAGES = tuple(stage.name for stage in stages.STAGES if stage.when is None)
ALL = set(STAGES)
AFTER_CORPUS = {"shards", "model", "evaluation"}
Usage = namedtuple("Usage", "total used free")


def changed(tiny: TinyProject, *settings: str, **flags: bool) -> set[str]:
    """What a build makes; it must say of all other stages that they are unchanged."""
    before = tiny.files()
    tiny.build(*settings, **flags)
    assert tiny.progress.unchanged == ALL - tiny.progress.made
    after = tiny.files()
    for name in tiny.progress.unchanged:
        inside = {f for f in before if f.startswith(f"{name}/")}
        if "evaluation" in tiny.progress.made:
            inside.discard("model/README.md")  # the card tells the evaluation's figures
        assert {f: before[f] for f in inside} == {f: after[f] for f in inside}, name
    assert {stage.state for stage in Project.open(tiny.path).status()} <= {"current", "kept"}
    return tiny.progress.made


def content(tiny: TinyProject, name: str) -> str:
    return artifact.read(tiny.path / name).content


# -- what is made --------------------------------------------------------------------------


def test_a_build_makes_everything(built_once: TinyProject) -> None:
    path = built_once.path
    assert built_once.progress.made == ALL
    assert {p.name for p in path.iterdir() if p.name[0] != "."} == {
        *STAGES, "linnet.toml", "report.html"
    }  # fmt: skip
    kinds = {made.manifest.kind for made in artifact.lineage(path / "evaluation")}
    assert kinds == {"evaluation", "model", "shards", "tokenizer", "corpus"}
    assert artifact.read(path / "model").stats["steps"] == 4
    assert "<html" in (path / "report.html").read_text("utf-8")
    # Nothing on disk knows where the project lies, so it can be moved.
    for file in path.rglob("*.json"):
        assert str(path) not in file.read_text("utf-8"), file


def test_what_is_returned(tiny: TinyProject) -> None:
    made = tiny.build()
    assert made.model == tiny.path / "model"
    assert made.report == tiny.path / "report.html"
    assert made.plan == tiny.build().plan
    results = json.loads((tiny.path / "evaluation" / "results.json").read_text())
    assert made.evaluation.bits_per_byte == results["bits_per_byte"]
    assert linnet.load(made.model, engine="torch").generate("the", max_tokens=3, temperature=0).text


def test_the_last_line_says_what_was_not_read_and_how_to_list_it(
    fresh: TinyProject, capsys: pytest.CaptureFixture[str]
) -> None:
    from linnet.cli.build import _excluding, show_build

    (fresh.documents / "picture.png").write_bytes(b"PNG")
    (fresh.documents / "copy.txt").write_text((fresh.documents / "note-01.txt").read_text())
    (fresh.documents / "drafts").mkdir()
    (fresh.documents / "drafts" / "one.txt").write_text("A draft that nobody is to learn from.")
    made = fresh.build(*SETTINGS, *_excluding(fresh.path, ["drafts/"]))
    show_build(made)
    assert capsys.readouterr().out.splitlines()[-1].strip() == (
        f"61 files read, 1 not read, 1 document dropped: linnet data list {fresh.path} --dropped"
    )
    assert _excluding(fresh.path, ["*.log", "drafts/"]) == ['data.exclude=["drafts/", "*.log"]']
    assert _excluding(fresh.path, []) == []


def test_a_second_build_changes_nothing(tiny: TinyProject) -> None:
    before = tiny.files()
    assert changed(tiny) == set()
    assert tiny.files() == before
    tiny.build(sources=[])  # the documents are known to the project
    assert tiny.files() == before


def test_a_changed_document(tiny: TinyProject) -> None:
    plan, tokenizer = content(tiny, "plan"), content(tiny, "tokenizer")
    (tiny.documents / "note-07.txt").write_text(note(1007), encoding="utf-8")
    assert changed(tiny) == {"corpus", *AFTER_CORPUS}
    assert (content(tiny, "plan"), content(tiny, "tokenizer")) == (plan, tokenizer)
    assert any("tokenizer kept" in line for line in tiny.progress.said)
    assert any("--retrain-tokenizer" in line for line in tiny.progress.said)
    assert changed(tiny) == set()
    assert changed(tiny, retrain_tokenizer=True) >= {"tokenizer"}


def test_a_deleted_document_is_gone_from_the_corpus(tiny: TinyProject) -> None:
    train = [d.id for d in linnet.data.read_documents(tiny.path / "corpus", "train")]
    (tiny.documents / "note-07.txt").unlink()
    assert changed(tiny) == {"corpus", *AFTER_CORPUS}
    left = {
        d.source
        for split in ("train", "validation", "test")
        for d in linnet.data.read_documents(tiny.path / "corpus", split)
    }
    assert len(left) == 59
    assert not any("note-07" in source for source in left)
    # The others stay in the split they were in.
    now = [d.id for d in linnet.data.read_documents(tiny.path / "corpus", "train")]
    assert set(now) <= set(train)


def test_a_small_edit_keeps_the_tokenizer_whatever_the_sizes_of_the_documents(
    fresh: TinyProject,
) -> None:
    # One long document in a manner of its own: a sample by document misses it or sees only it.
    odd = " ".join(f"{n * n:x}-{n:o}" for n in range(9_000))
    (fresh.documents / "odd.txt").write_text(odd, encoding="utf-8")
    fresh.build(*SETTINGS, "data.quality=[]")
    before = content(fresh, "tokenizer")
    note = fresh.documents / "note-07.txt"
    note.write_text(note.read_text("utf-8") + " The price is now 12 euros.", encoding="utf-8")
    assert "tokenizer" not in changed(fresh)
    assert content(fresh, "tokenizer") == before


def test_the_model_that_is_replaced_is_kept(tiny: TinyProject) -> None:
    before = artifact.read(tiny.path / "model", verify=True)
    files = {p.name: p.read_bytes() for p in (tiny.path / "model").iterdir()}
    tiny.build("train.width=48")
    assert any("model.previous" in line for line in tiny.progress.said)
    kept = artifact.read(tiny.path / "model.previous", verify=True)
    assert kept.content == before.content != content(tiny, "model")
    assert {p.name: p.read_bytes() for p in kept.path.iterdir()} == files
    assert linnet.load(kept.path, engine="torch").generate("the", max_tokens=3, temperature=0).text


def test_quite_different_documents_get_a_tokenizer_of_their_own(tiny: TinyProject) -> None:
    for number, file in enumerate(sorted(tiny.documents.iterdir())):
        words = " ".join(f"Zwölf Boxkämpfer jagen Viktor quer {number * k}" for k in range(20))
        file.write_text(words, encoding="utf-8")
    assert changed(tiny) == {"corpus", "tokenizer", *AFTER_CORPUS}
    assert any("training it again" in line for line in tiny.progress.said)


@pytest.mark.parametrize(
    ("setting", "made"),
    [
        ("train.steps=5", {"model", "evaluation"}),
        ("train.width=48", {"model", "evaluation"}),
        ("evaluate.seed=5", {"evaluation"}),
        ("train.save_seconds=5", set()),
        ("data.workers=2", set()),
    ],
)
def test_a_changed_setting_redoes_what_depends_on_it(
    setting: str, made: set[str], tiny: TinyProject
) -> None:
    plan = content(tiny, "plan")
    # The seed moves the weights, without which more steps might end in the same model.
    assert changed(tiny, setting, *(["train.seed=2"] if "model" in made else [])) == made
    assert content(tiny, "plan") == plan
    config = Project.open(tiny.path).config
    assert setting.partition("=")[2] in str(config.table(setting.partition(".")[0]))


def test_a_setting_of_the_tokenizer(tiny: TinyProject) -> None:
    assert changed(tiny, "tokenizer.vocab_size=300") == {"tokenizer", *AFTER_CORPUS}
    assert artifact.read(tiny.path / "tokenizer").stats["vocab_size"] == 300


def test_settings_take_effect_without_a_new_plan_and_go_away_again(tiny: TinyProject) -> None:
    before = content(tiny, "model")
    tiny.build("train.width=48", "train.matrix_lr=0.01")
    config = json.loads((tiny.path / "model" / "config.json").read_text())
    assert config["hidden_size"] == 48
    file = tiny.path / "linnet.toml"
    text = file.read_text().replace("width = 48", "width = 32").replace("matrix_lr = 0.01", "")
    file.write_text(text)
    tiny.build()
    assert content(tiny, "model") == before


def test_a_new_plan(tiny: TinyProject) -> None:
    before = tiny.files()
    with pytest.raises(ConfigError, match=r"planned for 5m\. Got a budget of 2m: add --replan"):
        tiny.build(budget="2m")
    assert tiny.files() == before
    file = tiny.path / "linnet.toml"
    file.write_text(file.read_text().replace('budget = "5m"', 'budget = "120"'))
    tiny.build()  # written there by hand, without a unit as older versions allowed
    assert tiny.progress.made == set()
    assert any("made for another budget" in line for line in tiny.progress.said)
    assert artifact.read(tiny.path / "plan").manifest.config["budget"] == 300
    assert "plan" in changed(tiny, replan=True)
    assert artifact.read(tiny.path / "plan").manifest.config["budget"] == 120
    assert not any("another budget" in line for line in tiny.progress.said)


def test_a_missing_report_is_written_again(tiny: TinyProject) -> None:
    (tiny.path / "report.html").unlink()
    assert changed(tiny) == set()
    assert (tiny.path / "report.html").is_file()


def test_a_stage_that_was_deleted_is_made_again(tiny: TinyProject) -> None:
    shutil.rmtree(tiny.path / "shards")
    before = content(tiny, "model")
    assert changed(tiny) == {"shards"}  # with the same content, so nothing else
    assert content(tiny, "model") == before


def test_a_project_that_was_moved_goes_on(tiny: TinyProject) -> None:
    before = {name: content(tiny, name) for name in STAGES}
    tiny.path = tiny.path.rename(tiny.path.parent / "else where")
    assert changed(tiny) == set()
    assert changed(tiny, "evaluate.seed=9") == {"evaluation"}
    assert {name: content(tiny, name) for name in STAGES[:-1]} == {
        name: before[name] for name in STAGES[:-1]
    }


def test_a_project_inside_its_documents_does_not_read_itself(fresh: TinyProject) -> None:
    fresh.path = fresh.documents / "my-model"
    fresh.build(*SETTINGS)
    assert artifact.read(fresh.path / "corpus").stats["documents"]["train"] < 60
    assert changed(fresh) == set()


# -- wrong input ---------------------------------------------------------------------------


def refused(
    tiny: TinyProject,
    error: type[LinnetError],
    *settings: str,
    sources: Sequence[Path | str] | None = None,
    budget: str | None = None,
) -> str:
    """Build in vain; give the message. Nothing that was there may change or go."""
    before = tiny.files() if tiny.path.exists() else {}
    with pytest.raises(error) as caught:
        tiny.build(*settings, sources=sources, budget=budget)
    after = tiny.files() if tiny.path.exists() else {}
    lost = {name for name in before if after.get(name) != before[name]}
    assert lost <= ({"linnet.toml"} if settings else set())  # which keeps the settings
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["train.widht=3"], "linnet.toml [train]: unknown setting 'widht'; did you mean 'width'?"),
        (["train.width=37"], "width must be a multiple of head_width. Got 37 and "),
        (["train.head_width=24"], "width must be a multiple of head_width. Got 32 and 24"),
        (["tokenizer.vocab_size=10"], "vocab_size must be at least 260"),
        (["data.workers=-1"], "workers must be at least 0"),
        (
            ["width=3"],
            "--set takes data., examples., tokenizer., train., evaluate. or tasks. and a value",
        ),
    ],
)
def test_settings_that_cannot_work(settings: list[str], said: str, tiny: TinyProject) -> None:
    assert said in refused(tiny, ConfigError, *settings)


def test_settings_that_do_not_fit_the_plan(tiny: TinyProject) -> None:
    file = tiny.path / "linnet.toml"
    file.write_text(file.read_text().replace("width = 32\n", "head_width = 48\n"))
    before = tiny.files()
    with pytest.raises(
        ConfigError, match=r"width must be a multiple of head_width\. Got 32 and 48"
    ):
        tiny.build()
    assert tiny.files() == before


def test_a_budget_that_is_none_or_too_short_is_refused_before_anything_is_read(
    fresh: TinyProject,
) -> None:
    assert "a time must look like" in refused(fresh, ConfigError, budget="soon")
    said = refused(fresh, BudgetError, *SETTINGS, budget="3s")
    assert "a budget of 3s leaves no time to train" in said
    assert parse_duration(said.rpartition("allow at least ")[2]) > 3
    assert not fresh.path.exists()


def test_sources_without_text(tmp_path: Path) -> None:
    project = TinyProject(tmp_path / "docs", tmp_path / "project")
    assert "no such file or folder" in refused(project, DataError)
    assert not project.path.exists()
    project.documents.mkdir()
    assert "no documents found, it is empty" in refused(project, DataError)
    (project.documents / "a.bin").write_bytes(bytes(range(256)) * 9)
    assert "none of 1 files can be used" in refused(project, DataError)
    (project.documents / "a.txt").write_text("A small text that is too short to learn from.")
    said = refused(project, DataError, "data.workers=1")
    assert "training needs at least 20.0 KB of text" in said
    assert "add documents" in said
    assert said.startswith(str(project.path))


def test_a_source_whose_name_cannot_be_written_down(fresh: TinyProject) -> None:
    odd = os.fsdecode(os.fsencode(fresh.documents.parent) + b"/odd-\xff")
    try:
        fresh.documents.rename(odd)
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    assert "rename it, or name the folder above it" in refused(fresh, DataError, sources=[odd])


def test_odd_names_and_links_in_circles_stop_nothing(fresh: TinyProject) -> None:
    try:
        (fresh.documents / "loop").symlink_to(fresh.documents)
        (fresh.documents / "self").symlink_to(fresh.documents / "self")
        (fresh.documents / "new\nline [bold].txt").write_text(note(100))
        odd = os.fsencode(fresh.documents) + b"/caf\xe9.txt"
        with open(os.fsdecode(odd), "w") as file:
            file.write(note(101))
    except OSError:
        pytest.skip("this file system does not take such names")
    fresh.build(*SETTINGS)
    assert sum(artifact.read(fresh.path / "corpus").stats["documents"].values()) == 62
    assert changed(fresh) == set()


def test_a_directory_that_holds_something_else(fresh: TinyProject) -> None:
    fresh.path.mkdir()
    (fresh.path / "thesis.txt").write_text("years of work")
    assert "holds something that linnet did not write" in refused(fresh, OutputError)
    assert {p.name for p in fresh.path.iterdir()} == {"thesis.txt"}
    shutil.rmtree(fresh.path)
    fresh.path.write_text("a file")
    with pytest.raises(OutputError, match="is a file; choose another output directory"):
        fresh.build()
    with pytest.raises(ConfigError, match="is not a project yet: name the files and folders"):
        build(out=fresh.path.parent / "none")


def spoil(file: Path, how: str) -> None:
    data = file.read_bytes()
    cut = {"cut": data[: len(data) // 2], "empty": b"", "flipped": data[:-1] + b"\x01"}
    if how == "gone":
        file.unlink()
    else:
        file.write_bytes(cut[how])


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("corpus/train-00000.parquet", "cut"),
        ("plan/plan.json", "empty"),
        ("tokenizer/tokenizer.json", "gone"),
        ("shards/train-00000.bin", "cut"),
        ("shards/train-00000.bin", "flipped"),
        ("shards/manifest.json", "cut"),
        ("model/model.safetensors", "flipped"),
        ("model/model.safetensors", "gone"),
        ("model/manifest.json", "empty"),
        ("model/manifest.json", "gone"),
        ("evaluation/results.json", "cut"),
    ],
)
def test_damage_is_named_with_what_to_do(name: str, how: str, tiny: TinyProject) -> None:
    spoil(tiny.path / name, how)
    # Another setting of the model, so that the shards are needed.
    said = refused(tiny, DamagedError, *(["train.seed=3"] if how == "flipped" else []))
    assert str(tiny.path / name.partition("/")[0]) in said
    assert name.rpartition("/")[2] in said
    assert "again" in said
    if how != "gone":
        return  # following the advice is the same for all
    shutil.rmtree(tiny.path / name.partition("/")[0])
    tiny.build()
    assert {stage.state for stage in Project.open(tiny.path).status()} <= {"current", "kept"}


def test_a_disk_with_too_little_room(fresh: TinyProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(0, 0, 1_000_000))
    said = refused(fresh, OutputError, "data.workers=1")
    assert "only 1.0 MB are free on that disk" in said


def test_a_disk_that_fills_up_while_training(
    tiny: TinyProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        # As safetensors says it.
        raise Exception("Error while serializing: No space left on device (os error 28)")

    before = content(tiny, "model")
    with monkeypatch.context() as patched:
        patched.setattr("linnet.train.pretraining.save_checkpoint", fail)
        with pytest.raises(OutputError, match="model: the disk is full; what was finished is kept"):
            tiny.build("train.seed=2")
    assert content(tiny, "model") == before
    assert changed(tiny) == {"model", "evaluation"}
    assert content(tiny, "model") != before


# -- stopping and going on -----------------------------------------------------------------


MOMENTS = {
    "corpus": "linnet.data.writing.SplitWriter",
    "plan": "linnet.planner.choose",
    "tokenizer": "linnet.tokenizer.training._train_backend",
    "shards": "linnet.shards.encoding.write_description",
    "evaluation": "linnet.evaluate.suite.run_task",
}


def test_ctrl_c_in_each_stage_and_on_again(
    fresh: TinyProject, built_once: TinyProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    for stage, moment in MOMENTS.items():
        with monkeypatch.context() as patched:
            patched.setattr(moment, stop)
            with pytest.raises(StoppedError, match="run the same command again to carry on"):
                fresh.build(*SETTINGS)
        done = {s.name for s in Project.open(fresh.path).status() if s.state == "current"}
        assert done == set(STAGES[: STAGES.index(stage)]), stage
    fresh.build()
    assert fresh.progress.made == {"evaluation"}
    for name in ("corpus", "tokenizer", "shards", "model"):
        assert content(fresh, name) == content(built_once, name)


def test_one_build_at_a_time(tiny: TinyProject, here: Here) -> None:
    with output.lock(tiny.path / "build"):
        assert "another linnet process is writing here" in refused(tiny, BusyError)
        second = here("build", "--out", tiny.path)
    assert second.returncode == 1
    assert second.stdout == b""
    assert second.stderr.startswith(b"error: ")
    assert second.stderr.count(b"\n") == 1
    assert changed(tiny) == set()


# Runs the command line and sends a signal to itself when a piece of work begins.
SIGNALLED = """
import contextlib, os, signal, sys
from unittest import mock
from linnet.progress import Progress, Task
sys.path.insert(0, sys.argv.pop(1))
from tiny_project import MACHINE
number, work = int(sys.argv.pop(1)), sys.argv.pop(1)

class Steps(Task):
    def update(self, *, done=None, total=None, note=None):
        if done == 2:
            os.kill(os.getpid(), number)

class Sender(Progress):
    @contextlib.contextmanager
    def task(self, name, *, total=None, unit=""):
        if name.startswith(work) and work != "training":
            os.kill(os.getpid(), number)
        yield Steps() if name == work == "training" else Task()

with (
    mock.patch("linnet.cli.terminal.terminal_progress", Sender),
    mock.patch("linnet.planner.measure_machine", return_value=MACHINE),
):
    from linnet.cli import main
    sys.argv[0] = "linnet"
    main()
"""
WORK = {
    "corpus": "writing documents",
    "plan": "measuring documents",
    "tokenizer": "training a tokenizer",
    "shards": "encoding",
    "model": "training",
    "evaluation": "baselines",
}


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_signals_in_each_stage_and_on_again(
    number: signal.Signals, fresh: TinyProject, built_once: TinyProject
) -> None:
    flags = [part for setting in (*SETTINGS, "train.save_seconds=0") for part in ("--set", setting)]
    command = ["build", str(fresh.documents), "--out", str(fresh.path), *flags]
    for stage, work in WORK.items():
        done = subprocess.run(
            [sys.executable, "-c", SIGNALLED, str(Path(__file__).parent), str(int(number)), work,
             *command],
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.stdout == "", done.stdout
        if number == signal.SIGKILL:
            assert done.returncode == -number, done.stderr
        else:
            assert done.returncode == 130, done.stderr
            assert done.stderr.splitlines()[-1].endswith("again to carry on")
            assert "Traceback" not in done.stderr
        found = {s.name: s.state for s in Project.open(fresh.path).status()}
        assert found[stage] in ("unfinished", "missing"), stage
        assert all(found[name] == "current" for name in STAGES[: STAGES.index(stage)])
    fresh.build()
    assert fresh.progress.made == {"evaluation"}
    for name in ("corpus", "tokenizer", "shards", "model"):
        assert content(fresh, name) == content(built_once, name)
