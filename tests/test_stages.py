"""A stage is one declaration: one that only some projects have fits in without touching others."""

import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from linnet import artifact, output, stages
from linnet.artifact import Artifact, Draft
from linnet.card import CARD, Table
from linnet.cli import app
from linnet.config import option, to_mapping
from linnet.data import read_documents
from linnet.errors import ConfigError
from linnet.forget import forget
from linnet.project import Project
from linnet.stages import Section, Stage, Workspace, if_configured
from tiny_project import TinyProject

pytestmark = pytest.mark.usefixtures("reading_here", "undrawn")

STANDARD = tuple(stage.name for stage in stages.STAGES if stage.when is None)


@dataclass(frozen=True)
class WordsConfig:
    """How to count words."""

    most: int = option(5, "how many words to list")

    def __post_init__(self) -> None:
        if self.most < 1:
            raise ConfigError(f"most must be at least 1. Got {self.most}")


def count_words(workspace: Workspace) -> Artifact:
    corpus, config = workspace.artifacts["corpus"], workspace.configure(WordsConfig, "words")

    def write(draft: Draft) -> None:
        counts = Counter(
            word for d in read_documents(corpus.path, "train", columns=("text",))
            for word in d.text.split()
        )  # fmt: skip
        output.write_json(draft.path / "words.json", counts.most_common(config.most))
        draft.stats["words"] = len(counts)

    return artifact.make(
        workspace.directory("words"), write, kind="words", format=1, config=to_mapping(config),
        inputs={"corpus": corpus},
    )  # fmt: skip


def summary(made: Artifact) -> str:
    return f"{made.stats['words']:,} different words"


def report(workspace: Workspace) -> Section | None:
    made = workspace.artifacts.get("words")
    if made is None:
        return None
    return Section("Which words", "Counted in training.", [("different", summary(made))])


TOY = Stage(
    name="words",
    make=count_words,
    summary=summary,
    inputs={"corpus": "corpus"},
    table="words",
    config=WordsConfig,
    when=if_configured("words"),
    report=report,
    card=lambda made: Table("Its words | <b>", [("different", summary(made))]),
)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linnet.stages.STAGES", (*stages.STAGES, TOY))


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.usefixtures("toy")
def test_an_optional_stage_is_built_and_shown_where_it_is_asked_for(tiny: TinyProject) -> None:
    before = tiny.files()
    tiny.build()
    assert tiny.progress.unchanged == set(STANDARD)
    assert tiny.files() == before  # a project without it is as it was
    assert "words" not in run("status", str(tiny.path))

    tiny.build("words.most=3")
    assert tiny.progress.made == {"words"}
    said = [line for line in tiny.progress.said if line.startswith("words ")]
    assert "different words" in said[0]
    assert len(json.loads((tiny.path / "words" / "words.json").read_text())) == 3
    assert "[words]\nmost = 3\n" in (tiny.path / "linnet.toml").read_text("utf-8")
    text = run("status", str(tiny.path))
    assert any(line.split()[:3] == ["words", "current", "corpus"] for line in text.splitlines())
    shown = json.loads(run("status", str(tiny.path), "--json"))
    assert [stage["name"] for stage in shown] == [*STANDARD, "words"]
    page = (tiny.path / "report.html").read_text("utf-8")
    assert "<h2>Which words</h2>" in page
    assert "Counted in training." in page
    card = (tiny.path / "model" / CARD).read_text("utf-8")
    assert "<!-- words by linnet -->\n| Its words \\| &lt;b> | |\n" in card
    assert "| bits per byte |" in card
    assert card.index("end of evaluation") < card.index("words by linnet")

    before = tiny.files()
    tiny.build()
    assert tiny.progress.unchanged == {*STANDARD, "words"}
    assert tiny.files() == before


@pytest.mark.usefixtures("toy")
def test_it_follows_its_settings_and_inputs(tiny: TinyProject) -> None:
    tiny.build("words.most=3")
    status = {s.name: (s.state, s.reason) for s in Project.open(tiny.path).status()}
    assert status["words"] == ("current", "")
    file = tiny.path / "linnet.toml"
    file.write_text(file.read_text("utf-8").replace("most = 3", "most = 4"), encoding="utf-8")
    status = {s.name: (s.state, s.reason) for s in Project.open(tiny.path).status()}
    assert status["words"] == ("stale", "changed: most")
    tiny.build()
    assert tiny.progress.made == {"words"}
    (tiny.documents / "note-07.txt").unlink()
    status = {s.name: (s.state, s.reason) for s in Project.open(tiny.path).status()}
    assert status["words"] == ("stale", "corpus is stale")
    # Nothing of a forgotten document may stay, even in a stage that knows nothing of forgetting.
    forget(tiny.path, "note-09.txt")
    assert not (tiny.path / "words").exists()


@pytest.mark.usefixtures("toy")
def test_what_cannot_work_is_said_before_anything_is_made(tiny: TinyProject) -> None:
    before = tiny.files()
    for setting, said in (
        ("words.mots=3", r"linnet\.toml \[words\]: unknown setting 'mots'; did you mean 'most'"),
        ("words.most=0", "most must be at least 1"),
        (
            "sentences.most=3",
            r"takes data\., examples\., tokenizer\., train\., evaluate\..* or words\. and",
        ),
    ):
        with pytest.raises(ConfigError, match=said):
            tiny.build(setting)
    assert tiny.files() == before


def test_a_stage_without_its_input_is_refused(
    tiny: TinyProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = replace(TOY, name="more", inputs={"words": "words"}, when=None)
    monkeypatch.setattr("linnet.stages.STAGES", (*stages.STAGES, TOY, more))
    with pytest.raises(ConfigError, match="stage more needs stage words"):
        tiny.build()


def test_without_it_its_table_is_unknown(tiny: TinyProject) -> None:
    file = tiny.path / "linnet.toml"
    file.write_text(file.read_text("utf-8") + "\n[words]\nmost = 3\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"linnet\.toml: unknown setting 'words'"):
        Project.open(tiny.path)


def test_every_stage_comes_after_what_it_reads() -> None:
    seen: set[str] = set()
    for stage in stages.STAGES:
        assert seen >= set(stage.inputs.values()), stage.name
        assert stage.name not in seen
        seen.add(stage.name)
    assert [stage.table for stage in stages.STAGES if stage.table] == list(stages.tables())


def test_status_says_in_a_line_what_each_stage_made(built_once: TinyProject) -> None:
    for status in Project.open(Path(built_once.path)).status():
        assert status.summary
        assert "\n" not in status.summary


def test_tasks_of_a_project_are_run_shown_and_run_again_when_what_they_read_changes(
    tiny: TinyProject,
) -> None:
    rows = tiny.path / "own.jsonl"
    rows.write_text('{"word": "fox", "id": "a"}\n{"word": "hen", "id": "b"}', encoding="utf-8")
    (tiny.path / "own.yaml").write_text(
        "name: own\ndata: own.jsonl\nkind: likelihood\ntarget: word\n", encoding="utf-8"
    )
    tiny.build('tasks.tasks=["bias", "own.yaml"]', "tasks.limit=4")
    assert tiny.progress.made == {"tasks"}
    page = (tiny.path / "report.html").read_text("utf-8")
    assert "<h2>Bias: sentences of our own</h2>" in page
    assert "<h2>own</h2>" in page
    assert (tiny.path / "tasks" / "items.jsonl").read_text("utf-8").count("\n") == 6
    tiny.build()
    assert "tasks" in tiny.progress.unchanged
    rows.write_text('{"word": "fox", "id": "a"}\n{"word": "cat", "id": "b"}', encoding="utf-8")
    assert "task own changed" in run("status", str(tiny.path))
    tiny.build()
    assert tiny.progress.made == {"tasks"}
    with pytest.raises(ConfigError, match=r"none\.yaml: expected a task file"):
        tiny.build('tasks.tasks=["none.yaml"]')
