"""A project: its configuration, and what it knows of the state of its stages."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

import linnet
from linnet import artifact, stages
from linnet.cli import app
from linnet.errors import ArtifactError, ConfigError
from linnet.export.config import ExportConfig
from linnet.finetune.rows import open_source
from linnet.project import Project, set_option
from linnet.shards import EncodeConfig
from linnet.stages import ProjectConfig, Workspace, model, tokenizer
from linnet.tokenizer import load as load_tokenizer
from linnet.train.config import TrainConfig
from tiny_project import TinyProject, note

STAGES = tuple(stage.name for stage in stages.STAGES if stage.when is None)


def states(project: Path) -> dict[str, str]:
    return {stage.name: stage.state for stage in Project.open(project).status()}


def reason(project: Path, name: str) -> str:
    return next(s.reason for s in Project.open(project).status() if s.name == name)


CURRENT = dict.fromkeys(STAGES, "current")


def test_all_is_current_after_a_build(built_once: TinyProject) -> None:
    found = Project.open(built_once.path).status()
    assert [stage.name for stage in found] == list(STAGES)
    assert {stage.name: stage.state for stage in found} == CURRENT
    assert all(stage.reason == "" and stage.artifact for stage in found)
    assert found[0].upstream == (str(built_once.documents),)
    assert found[3].upstream == ("corpus", "tokenizer")


def test_looking_changes_nothing(tiny: TinyProject) -> None:
    before = tiny.files()
    Project.open(tiny.path).status()
    assert tiny.files() == before


def test_a_project_without_stages(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    Project(tmp_path, ProjectConfig((str(tmp_path / "docs"),))).save()
    assert states(tmp_path) == dict.fromkeys(STAGES, "missing")
    assert reason(tmp_path, "model") == "not made yet"


def test_changed_documents_make_stale_what_follows_but_plan_and_tokenizer_are_kept(
    tiny: TinyProject,
) -> None:
    (tiny.documents / "note-07.txt").write_text(note(1007), encoding="utf-8")
    assert states(tiny.path) == {
        "corpus": "stale", "plan": "kept", "tokenizer": "kept",
        "shards": "stale", "model": "stale", "evaluation": "stale",
    }  # fmt: skip
    assert reason(tiny.path, "corpus") == "the documents changed"
    assert reason(tiny.path, "plan") == "made for other documents; frozen until --replan"
    assert "--retrain-tokenizer" in reason(tiny.path, "tokenizer")
    assert reason(tiny.path, "shards") == "corpus is stale"


def test_documents_that_are_gone(tiny: TinyProject) -> None:
    shutil.rmtree(tiny.documents)
    assert states(tiny.path)["corpus"] == "stale"
    assert str(tiny.documents) in reason(tiny.path, "corpus")


@pytest.mark.parametrize(
    ("setting", "stale", "why"),
    [
        ("train.matrix_lr=0.01", {"model", "evaluation"}, ("model", "changed: matrix_lr")),
        ("evaluate.seed=5", {"evaluation"}, ("evaluation", "changed: seed")),
        ("tokenizer.min_frequency=3", {"tokenizer", "shards", "model", "evaluation"},
         ("tokenizer", "changed: min_frequency")),
        ("data.min_characters=20", {"corpus", "shards", "model", "evaluation"},
         ("corpus", "changed: min_characters")),
        ("train.threads=2", set(), None),  # how, not what
        ("data.workers=2", set(), None),
    ],
)  # fmt: skip
def test_a_changed_setting_makes_stale_what_depends_on_it(
    setting: str, stale: set[str], why: tuple[str, str] | None, tiny: TinyProject
) -> None:
    opened = Project.open(tiny.path)
    Project(tiny.path, set_option(opened.config, setting)).save()
    found = states(tiny.path)
    assert {name for name, state in found.items() if state == "stale"} == stale
    if why:
        assert reason(tiny.path, why[0]) == why[1]


def test_a_plan_says_what_it_was_not_made_for(tiny: TinyProject) -> None:
    config = set_option(Project.open(tiny.path).config, "train.width=64")
    Project(tiny.path, config).save()
    assert states(tiny.path)["plan"] == "kept"
    assert reason(tiny.path, "plan") == "changed: train.width; frozen until --replan"


@pytest.mark.parametrize("name", ["corpus", "plan", "shards"])
def test_what_has_another_format_is_stale(tiny: TinyProject, name: str) -> None:
    file = tiny.path / name / "manifest.json"
    manifest = json.loads(file.read_text("utf-8"))
    now = manifest["format"]
    file.write_text(json.dumps({**manifest, "format": 0}), "utf-8")
    assert states(tiny.path)[name] == "stale"
    if name != "plan":  # it is no input of the model
        assert states(tiny.path)["model"] == "stale"
    assert reason(tiny.path, name) == f"its format is 0; this version makes {now}"
    assert "its format is 0" in CliRunner().invoke(app, ["status", str(tiny.path)]).output


def test_damage_is_named(tiny: TinyProject) -> None:
    (tiny.path / "shards" / "train-00000.bin").write_bytes(b"")
    (tiny.path / "model" / "manifest.json").write_text("{")
    (tiny.path / "evaluation" / "manifest.json").unlink()
    found = states(tiny.path)
    assert {n for n, s in found.items() if s == "damaged"} == {"shards", "model", "evaluation"}
    assert "train-00000.bin should have" in reason(tiny.path, "shards")
    assert "manifest.json is damaged" in reason(tiny.path, "model")
    assert "has no manifest.json; move it away" in reason(tiny.path, "evaluation")


def test_what_was_begun_is_unfinished(tiny: TinyProject) -> None:
    (tiny.path / "model").rename(tiny.path / ".model.partial")
    (tiny.path / ".model.partial" / "recipe").write_text("x")
    assert states(tiny.path)["model"] == "unfinished"
    assert reason(tiny.path, "evaluation") == "model is unfinished"
    # What is current is so, whatever lies beside it.
    (tiny.path / ".corpus.partial").mkdir()
    (tiny.path / ".corpus.partial" / "recipe").write_text("x")
    assert states(tiny.path)["corpus"] == "current"


def test_a_swap_that_was_killed_is_put_right(tiny: TinyProject) -> None:
    (tiny.path / "model").rename(tiny.path / ".model.superseded")
    assert states(tiny.path) == CURRENT


def test_a_project_that_was_moved(tiny: TinyProject) -> None:
    tiny.path.rename(tiny.path.parent / "elsewhere")
    assert states(tiny.path.parent / "elsewhere") == CURRENT


# -- linnet.toml ---------------------------------------------------------------------------


def test_saving_and_opening(tmp_path: Path) -> None:
    config = ProjectConfig(
        ("/a", "python:library"),
        "1h30m",
        {"data": {"workers": 1}, "tokenizer": {}, "train": {"width": 64}, "evaluate": {}},
    )
    Project(tmp_path, config).save()
    assert Project.open(tmp_path).config == config
    assert Project.open(tmp_path).workspace().budget == 5400


def test_comments_stay_while_nothing_changes(tmp_path: Path) -> None:
    Project(tmp_path, ProjectConfig(("/a",))).save()
    file = tmp_path / "linnet.toml"
    file.write_text("# mine\n" + file.read_text().replace("[data]\n", ""))
    Project.open(tmp_path).save()
    assert file.read_text().startswith("# mine\n")


@pytest.mark.parametrize(
    ("assignment", "table", "value"),
    [
        ("train.width=128", "train", {"width": 128}),
        ("train.matrix_lr = 0.5", "train", {"matrix_lr": 0.5}),
        ("train.compile=no", "train", {"compile": "no"}),
        ('data.text_columns=["a", "b"]', "data", {"text_columns": ["a", "b"]}),
        ("data.separator=a=b", "data", {"separator": "a=b"}),
        ("train.tied=true", "train", {"tied": True}),
    ],
)
def test_assignments(assignment: str, table: str, value: dict[str, object]) -> None:
    assert set_option(ProjectConfig(()), assignment).tables == {table: value}


@pytest.mark.parametrize("assignment", ["train.width", "width=3", "model.width=3", "=", "budget=1"])
def test_what_is_not_an_assignment(assignment: str) -> None:
    with pytest.raises(
        ConfigError,
        match=r"--set takes data\., examples\., tokenizer\., train\., evaluate\. or tasks",
    ):
        set_option(ProjectConfig(()), assignment)


def test_a_value_that_nests_too_deeply_is_refused_in_a_line() -> None:
    with pytest.raises(ConfigError, match=r"--set train\.width: the value nests too deeply"):
        set_option(ProjectConfig(()), f"train.width={'[' * 100_000}")


def test_the_last_assignment_counts() -> None:
    config = set_option(
        ProjectConfig((), tables={"train": {"width": 1, "depth": 2}}), "train.width=3"
    )
    assert config.table("train") == {"width": 3, "depth": 2}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sources = []\nbudgie = '5m'", "unknown setting 'budgie'; did you mean 'budget'?"),
        ("budget = '5m'", "the setting 'sources' is missing"),
        ("sources = []\nbudget = 5", "budget must be text. Got 5"),
        ("sources = [", "not valid TOML"),
    ],
)
def test_a_wrong_configuration_file_is_named(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "linnet.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        Project.open(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / "linnet.toml"))
    assert said in str(caught.value)


def test_not_a_project(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="expected a project made by linnet build"):
        Project.open(tmp_path)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["train.widht=3"], "linnet.toml [train]: unknown setting 'widht'"),
        (["train.width=37"], "width must be a multiple of head_width"),
        (["tokenizer.vocab_size=10"], "vocab_size must be at least 260"),
        (["tokenizer.kind=words"], "linnet.toml [tokenizer]: kind must be one of"),
        (["data.min_characters=0"], "min_characters must be at least 1"),
        (["evaluate.level=2"], "level must be above 0 and below 1"),
    ],
)
def test_settings_that_cannot_work(settings: list[str], said: str) -> None:
    config = ProjectConfig(())
    for setting in settings:
        config = set_option(config, setting)
    with pytest.raises(ConfigError) as caught:
        Project(Path("nowhere"), config).check()
    assert said in str(caught.value)


# -- settings beside the plan --------------------------------------------------------------


def with_settings(tiny: TinyProject, *settings: str) -> Workspace:
    """The project with these settings, and its plan made."""
    config = Project.open(tiny.path).config
    for setting in settings:
        config = set_option(config, setting)
    return Workspace(tiny.path, config, {"plan": artifact.read(tiny.path / "plan")})


def training(workspace: Workspace) -> TrainConfig:
    config = model.configure(workspace)
    assert config is not None
    return config


def test_settings_take_the_place_of_what_was_planned(tiny: TinyProject) -> None:
    project = with_settings(tiny, "train.width=48", "train.context=64", "tokenizer.vocab_size=300")
    found = training(project)
    assert (found.width, found.context) == (48, 64)
    assert found.width % found.head_width == 0
    cutting = tokenizer.configure(project)
    assert cutting is not None
    assert cutting.vocab_size == 300


def test_steps_are_not_cut_by_the_time_of_a_plan_that_needed_less(tiny: TinyProject) -> None:
    project = with_settings(tiny, "train.steps=7")
    plan, found = project.plan, training(project)
    assert plan is not None
    assert found.steps == 7
    assert found.seconds == pytest.approx(plan.seconds_for_training)
    assert training(with_settings(tiny, "train.seconds=2.5")).seconds == 2.5


def test_the_vocabulary_of_bytes_is_known(tiny: TinyProject) -> None:
    for settings, size in (
        ((), None), (("tokenizer.kind=bytes",), 260), (("tokenizer.vocab_size=700",), 700)
    ):  # fmt: skip
        assert tokenizer.vocab_size(with_settings(tiny, *settings)) == size


# -- the command ---------------------------------------------------------------------------


def status(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["status", *arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_status_as_text(tiny: TinyProject) -> None:
    text = status(str(tiny.path))
    for name in STAGES:
        assert f"\n{name} " in text
    assert "60 documents" in text
    assert "bring it up to date" not in text
    (tiny.documents / "note-07.txt").unlink()
    text = status(str(tiny.path))
    assert "corpus stale: the documents changed\n" in text
    assert text.endswith(f"bring it up to date: linnet build --out {tiny.path}\n")


def test_status_as_json(tiny: TinyProject) -> None:
    (tiny.path / "model" / "model.safetensors").unlink()
    found = {stage["name"]: stage for stage in json.loads(status(str(tiny.path), "--json"))}
    assert list(found) == list(STAGES)
    corpus = found["corpus"]
    assert (corpus["state"], corpus["made_from"]) == ("current", [str(tiny.documents)])
    assert found["shards"]["inputs"]["corpus"] == corpus["content"]
    assert found["model"]["state"] == "damaged"
    assert "model.safetensors is missing" in found["model"]["reason"]
    assert found["model"]["content"] is None
    assert found["evaluation"]["reason"] == "model is damaged"


def test_a_project_does_wherever_one_of_its_directories_would(
    built_once: TinyProject, tmp_path: Path
) -> None:
    project = built_once.path
    assert linnet.explain_document(project, "note-07.txt")
    scored = linnet.evaluate_model(project, project)
    assert (
        scored.bits_per_byte
        == linnet.evaluate_model(project / "model", project / "shards").bits_per_byte
    )
    shards = linnet.encode(project, project, tmp_path / "shards", EncodeConfig())
    assert shards.content == artifact.read(project / "shards").content
    exported = linnet.export_gguf(project, tmp_path / "m.gguf", ExportConfig(type="f16"))
    assert exported.stat().st_size
    base = linnet.load(project, engine="torch")
    assert base.generate("the", max_tokens=2, temperature=0).text
    assert (
        load_tokenizer(project).vocab_size
        == artifact.read(project / "tokenizer").stats["vocab_size"]
    )
    assert open_source(project).corpus == project / "corpus"
    with pytest.raises(ArtifactError, match="expected a corpus directory"):
        linnet.explain_document(tmp_path, "note-07.txt")
