"""The page: complete, escaped, self-contained, and there even when stages are not."""

import json
import re
import struct
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from linnet import artifact, output
from linnet.errors import ArtifactError
from linnet.evaluate import Evaluation
from linnet.evaluate.evaluation import Baselines
from linnet.evaluate.figures import Interval
from linnet.evaluate.overlap import Overlap
from linnet.evaluate.tasks.samples import Sample
from linnet.page import duration, visible
from linnet.report import gather, headline, write_report
from linnet.stages import ProjectConfig, Workspace, corpus, plan
from linnet.stages.evaluation import overlap_sentence
from linnet.tokenizer import TokenizerConfig
from linnet.tokenizer import train as train_tokenizer

pytestmark = pytest.mark.usefixtures("reading_here")

HOSTILE = "<script>alert('&')</script>\x07<img src=x onerror=y>"
PASSAGE = "a passage of more than thirty characters"
VOID = {"meta", "br", "img", "hr", "link", "input"}


def evaluation(*, score: float = 0.93, shared: str = PASSAGE) -> Evaluation:
    overlap = Overlap(len(shared), len(shared.split()), shared)
    sample = Sample("Once", f" {HOSTILE} {shared} end", 0, 0.8, overlap, Overlap(50, 9, "x" * 50))
    return Evaluation(
        model="model", data="shards", split="test", bits_per_byte=score, perplexity=8.9,
        nats_per_token=2.19, tokens=457, bytes=1702, documents=8, of_documents=16, of_bytes=3404,
        context=256, device="cpu", dtype="fp32",
        confidence_interval=Interval(score - 0.02, score + 0.02, 0.95, 1000),
        baselines=Baselines({"unigram": 4.3, "ngram": 1.59, "xz": 1.61}, 5, 1000, 10, 2000),
        samples=(sample,), overlap_searched_bytes=2000,
    )  # fmt: skip


def corpus_report() -> dict[str, object]:
    return {
        "files": {"read": 3, "skipped": 1, "ignored": {"hidden": 7}, "by_kind": {}},
        "documents": {
            "found": 12, "kept": 10, "dropped": {"exact duplicate": 2}, "by_source": {},
            "by_kind": {"text": {"documents": 9, "bytes": 8}, "html": {"documents": 1, "bytes": 1}},
        },
        "splits": {"train": {"documents": 10, "bytes": 2000}},
        "split_by": "piece",
        "warnings": ["pieces are held out"],
        "skipped": {"reasons": {"no permission": 1},
                    "files": [{"name": f"{HOSTILE}.txt", "reason": "no permission"}]},
        "duplicates": [],
        "examples": [{"source": "a.txt", "kind": "text", "text": HOSTILE}],
    }  # fmt: skip


STAGES = ("corpus", "tokenizer", "shards", "plan", "model", "evaluation")


def write_stage(project: Path, stage: str) -> None:
    """One stage's artifact, as far as the report reads it."""
    if stage == "tokenizer":
        train_tokenizer(["a b"], project / stage, TokenizerConfig(kind="bytes"), inputs={})
        return
    with artifact.create(project / stage, kind=stage, format=1, config={}, inputs={}) as draft:
        if stage == "corpus":
            output.write_json(draft.path / "report.json", corpus_report())
        elif stage == "shards":
            entries = [{"name": "t", "documents": 10, "bytes": 2000, "tokens": 510}]
            output.write_json(draft.path / "shards.json", {"splits": {"train": entries}})
        elif stage == "plan":
            plan = {"parameters": 3_000_000, "steps": 5, "expected_bits_per_byte": 0.95,
                    "seconds": {"train": 61}, "reasons": ["Because it is small."]}  # fmt: skip
            output.write_json(draft.path / "plan.json", plan)
        elif stage == "model":
            output.write_json(draft.path / "config.json", {"model_type": "arcee", "n_layer": 6})
            header = json.dumps({"w": {"dtype": "F32", "shape": [1500, 2000]}}).encode()
            content = struct.pack("<Q", len(header)) + header
            (draft.path / "model.safetensors").write_bytes(content)
            lines = [{"step": s, "loss": 3.0 - s / 10} for s in range(1, 5)]
            lines.append({"step": 4, "validation_loss": 2.7, "validation_bits_per_byte": 1.1})
            text = "\n".join(map(json.dumps, lines)) + '\n{"ste'
            (draft.path / "metrics.jsonl").write_text(text, encoding="utf-8")
        else:
            output.write_json(draft.path / "results.json", evaluation().to_json())


class Reader(HTMLParser):
    """Checks that tags nest, and keeps tags and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def project(tmp_path: Path) -> Path:
    place = tmp_path / "my <notes>"
    place.mkdir()
    for stage in STAGES:
        write_stage(place, stage)
    return place


def test_the_page_says_what_matters(project: Path) -> None:
    page = Reader(write_report(project).read_text(encoding="utf-8"))
    for said in (
        "my <notes>", "3.0 million parameters", "10 documents (2.0 KB of text)", "0.930",
        "5-gram of bytes", "1.590", "0.910 and 0.950", "exact duplicate", "no permission",
        "7 files", "pieces are held out", "260", "Because it is small.", "3,000,000", "1 min 1 s",
        "an even sample of 16 documents", "4.00 bytes of text",
    ):  # fmt: skip
        assert said in page.text, said
    assert {"svg", "mark", "blockquote"} <= page.tags


def test_nothing_untrusted_becomes_markup(project: Path) -> None:
    page = Reader(write_report(project).read_text(encoding="utf-8"))
    assert not {"script", "img", "iframe", "object", "link", "b onerror"} & page.tags
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert visible(HOSTILE) in page.text
    assert "\x07" not in page.text


def test_nothing_is_loaded_from_anywhere(project: Path) -> None:
    source = write_report(project).read_text(encoding="utf-8")
    page = Reader(source)
    links = [value for name, value in page.attributes if name in ("src", "href", "xlink:href")]
    assert all(value.startswith("#") for value in links)
    assert "@import" not in source
    assert all(target.startswith("#") for target in re.findall(r"url\((.*?)\)", source))


@pytest.mark.parametrize("missing", STAGES)
def test_any_stage_may_be_missing(project: Path, missing: str) -> None:
    for file in sorted((project / missing).rglob("*"), reverse=True):
        file.unlink()
    Reader(write_report(project).read_text(encoding="utf-8"))


def test_an_empty_project_has_a_page_too(tmp_path: Path) -> None:
    page = Reader(write_report(tmp_path).read_text(encoding="utf-8"))
    assert "No model has been trained here yet" in page.text


def test_a_missing_project_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="does not exist"):
        write_report(tmp_path / "none")


def test_damaged_files_leave_their_part_out(project: Path) -> None:
    for name in ("corpus/report.json", "plan/plan.json", "shards/shards.json",
                 "evaluation/results.json", "model/config.json"):  # fmt: skip
        (project / name).write_text("{not json", encoding="utf-8")
    (project / "model" / "model.safetensors").write_bytes(b"\xff" * 9)
    facts, workspace = gather(project), Workspace(project, ProjectConfig(()))
    assert (corpus.facts(workspace), plan.facts(workspace)) == (None, None)
    assert (facts.evaluation, facts.model) == (None, None)
    Reader(write_report(project).read_text(encoding="utf-8"))


@pytest.mark.parametrize("text", ["[" * 100_000, "[1]", '{"a": 5}', "\0"])
def test_weights_of_no_sense_have_no_size(project: Path, text: str) -> None:
    file = project / "model" / "model.safetensors"
    file.write_bytes(len(text).to_bytes(8, "little") + text.encode())
    assert gather(project)


def test_a_model_worse_than_a_simple_method_is_said_to_be(project: Path) -> None:
    results = project / "evaluation" / "results.json"
    output.write_json(results, evaluation(score=1.80).to_json())
    manifest = json.loads((project / "evaluation" / "manifest.json").read_text(encoding="utf-8"))
    manifest["files"]["results.json"]["bytes"] = results.stat().st_size
    output.write_json(project / "evaluation" / "manifest.json", manifest)
    assert "5-gram of bytes needs only 1.59" in headline(gather(project))[1]


def test_copying_is_called_copying() -> None:
    assert "no copying" in (overlap_sentence(evaluation()) or "")
    assert "somewhat more" in (overlap_sentence(evaluation(shared="word " * 15)) or "")
    assert "copies" in (overlap_sentence(evaluation(shared="word " * 60)) or "")
    assert overlap_sentence(replace(evaluation(), samples=())) is None


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (59.6, "1 min"), (312.4, "5 min 12 s"), (7260, "2 h 1 min")],
)
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
