"""What the version before made opens, is current, and is made no second time.

``fixtures/version_before.tar.xz`` was made by ``fixtures/make_version_before.py`` with the code of
28 November 2026, before stages were declared in a table: a project with a forgotten document, a
corpus with another, and an adapter on the project's model.
"""

import tarfile
from pathlib import Path

import pytest

import linnet
from linnet import artifact
from linnet.data.forgetting import Forgotten
from linnet.finetune.config import FinetuneConfig
from linnet.pipeline import build
from linnet.project import Project
from tiny_project import Recorder

FIXTURE = Path(__file__).parent / "fixtures" / "version_before.tar.xz"
MADE_AT = "/tmp/made"  # as linnet.toml says, whose paths are absolute
STAGES = ("corpus", "plan", "tokenizer", "shards", "model", "evaluation")


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("before")
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(place, filter="data")
    settings = place / "project" / "linnet.toml"
    text = settings.read_text(encoding="utf-8")
    settings.write_text(text.replace(MADE_AT, str(place)), encoding="utf-8")
    return place


def files(place: Path) -> dict[str, tuple[int, bytes]]:
    found = sorted(p for p in place.rglob("*") if p.is_file() and p.suffix != ".lock")
    return {str(p.relative_to(place)): (p.stat().st_mtime_ns, p.read_bytes()) for p in found}


def test_every_artifact_opens(before: Path) -> None:
    for place in (*(before / "project" / name for name in STAGES), before / "adapter"):
        found = artifact.read(place, verify=True)
        assert found.manifest.linnet == "0.1.0"
        hashes = {name: e.sha256 for name, e in found.manifest.files.items() if e.sha256}
        assert artifact.manifest.content_hash(found.manifest.kind, hashes, None) == found.content


def test_everything_is_current_and_a_build_makes_nothing(before: Path) -> None:
    project = before / "project"
    states = {stage.name: stage.state for stage in Project.open(project).status()}
    kept = dict.fromkeys(("plan", "tokenizer"), "kept")  # made before the document was forgotten
    assert states == dict.fromkeys(STAGES, "current") | kept
    was, progress = files(project), Recorder()
    build(out=project, progress=progress)
    assert progress.unchanged == set(STAGES)
    assert files(project) == was


def test_what_was_forgotten_stays_so(before: Path) -> None:
    for corpus, name in (
        (before / "project" / "corpus", "note-03.txt"),
        (before / "corpus", "note-05.txt"),
    ):
        assert Forgotten.beside(corpus).names
        kept = [
            d.source
            for s in ("train", "validation", "test")
            for d in linnet.read_documents(corpus, s)
        ]
        assert kept
        assert not any(name in source for source in kept)
    was = files(before / "corpus")
    made = linnet.prepare(before / "few", before / "corpus", linnet.DataConfig(workers=1))
    assert files(before / "corpus") == was
    assert made.manifest.linnet == "0.1.0"


def test_an_adapter_is_current(before: Path) -> None:
    was = files(before / "adapter")
    config = FinetuneConfig(steps=2, context=64, rank=2, threads=1, device="cpu", compile="no")
    linnet.finetune_model(
        before / "project" / "model", before / "rows.jsonl", before / "adapter", config
    )
    assert files(before / "adapter") == was
