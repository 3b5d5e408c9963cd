"""``linnet bench``: what it measures is there, and what it chooses is what serves from then on."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from typer.testing import CliRunner

import linnet
from linnet.bench import worker
from linnet.bench.comparison import (
    BenchConfig,
    Comparison,
    Drafting,
    Row,
    compare,
    held_out_texts,
)
from linnet.bench.worker import DraftingRates, Measurement, bits_per_byte, measure_drafting
from linnet.cli import app
from linnet.errors import ConfigError, DataError, ModelError
from linnet.generate import Request
from linnet.generate.engines import Choice, EngineConfig, note_choice, noted_choice, open_engine
from tiny_project import TinyProject

pytestmark = pytest.mark.usefixtures("reading_here", "undrawn")


def row(engine: str, precision: str, speed: float, bits: float) -> Row:
    found = Measurement(1.0, 0.01, speed, 4 * speed, 1 << 20, bits)
    return Row(engine, precision, found)  # type: ignore[arg-type]


def test_the_fastest_within_the_bound_is_chosen() -> None:
    rows = (
        row("torch", "f32", 100, 1.000),
        row("llama.cpp", "f16", 200, 1.001),
        row("llama.cpp", "q8_0", 300, 1.009),
        row("llama.cpp", "q4_0", 400, 1.060),
        Row("torch", "bf16", None, "cannot"),
    )
    assert Comparison(rows, "", 8, 0.01).choice is rows[2]
    assert Comparison(rows, "", 8, 0.1).choice is rows[3]
    assert Comparison(rows, "", 8, 0.0).choice is rows[0]
    assert Comparison(rows[1:], "", 8, 0.1).choice is None  # nothing to compare with


def test_bits_per_byte_are_those_of_transformers(built_once: TinyProject) -> None:
    model = built_once.path / "model"
    engine = linnet.load(model, engine="torch").engine
    texts = ["The notes of the first day.", "More of it, a naïve one: 42."]
    theirs = transformers.AutoModelForCausalLM.from_pretrained(model)
    nats = 0.0
    for text in texts:
        tokens = [engine.tokenizer.end_of_text, *engine.tokenize(text)]  # type: ignore[attr-defined]
        with torch.no_grad():
            logprobs = theirs(torch.tensor([tokens])).logits[0].double().log_softmax(-1)
        nats -= sum(float(logprobs[n, token]) for n, token in enumerate(tokens[1:]))
    expected = nats / math.log(2) / sum(len(text.encode()) for text in texts)
    assert bits_per_byte(engine, texts) == pytest.approx(expected, rel=1e-4)


def test_of_the_repeats_the_best_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What disturbs a machine makes some of them slower, and none faster."""
    begun, took = 0.0, iter([9.0, 4.0, 1.0, 2.0])  # seconds; the first one warms up
    monkeypatch.setattr(time, "monotonic", lambda: begun)

    class Disturbed:
        def generate(self, requests: list[Request]) -> list[SimpleNamespace]:
            nonlocal begun
            begun += next(took)
            return [SimpleNamespace(tokens=range(8)) for _ in requests]

    asked = {"repeats": 3, "new_tokens": 8}
    engine: Any = Disturbed()
    assert worker._timed(engine, [(1, 2, 3)], 2, asked)[0] == 16.0


@pytest.mark.parametrize(("engine", "times"), [("llama.cpp", 1), ("torch", 0)])
def test_what_an_engine_keeps_is_made_before_anything_is_measured(
    engine: str, times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its memory was in the figures of the first measurement, and of no later one."""
    before: list[dict[str, Any]] = []

    def ran(command: list[str], *, input: str, **others: Any) -> None:
        before.append(json.loads(input))

    def opened(asked: dict[str, Any]) -> None:
        assert [each["opening"] for each in before] == [True] * times
        raise ModelError("opened")

    monkeypatch.setattr(subprocess, "run", ran)
    monkeypatch.setattr(worker, "_opened", opened)
    with pytest.raises(ModelError, match="opened"):
        worker.measure({"model": str(tmp_path), "engine": engine})


def test_text_to_compare_on(built_once: TinyProject, tmp_path: Path) -> None:
    texts, origin = held_out_texts(built_once.path / "model", BenchConfig(text_bytes=300))
    assert origin.endswith("held out")
    assert texts[0]
    assert all(text.split()[0] in "".join(texts) for text in texts)
    (tmp_path / "mine.txt").write_text("é" * 9000, encoding="utf-8")
    config = BenchConfig(text=str(tmp_path / "mine.txt"), text_bytes=9000)
    assert held_out_texts(tmp_path, config)[0] == ["é" * 4000]  # of two bytes each
    assert held_out_texts(tmp_path, BenchConfig())[1] == "Python's documentation"
    (tmp_path / "mine.txt").write_text("  \n", encoding="utf-8")
    with pytest.raises(DataError, match="expected text to score, but it is empty"):
        held_out_texts(tmp_path, config)


def test_what_was_measured_serves_from_then_on(
    tiny: TinyProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    model = tiny.path / "model"
    small = [
        "--new-tokens",
        "4",
        "--prompt-tokens",
        "8",
        "--streams",
        "2",
        "--repeats",
        "1",
        "--threads",
        "1",
    ]
    only = ["--engine", "torch:bf16", "--text-bytes", "500", "--bound", "0.5"]
    done = CliRunner().invoke(app, ["bench", str(model), *small, *only, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [(r["engine"], r["precision"]) for r in found["rows"]] == [
        ("torch", "f32"), ("torch", "bf16"),
    ]  # fmt: skip
    for measured in found["rows"]:
        assert measured["found"]["one"] > 0
        assert measured["found"]["many"] > 0
        assert measured["found"]["peak_bytes"] > 10_000_000
        assert abs(measured["rise"]) < 0.1
    assert found["auto"] is not None
    assert noted_choice(model) is None  # not all were compared
    note_choice(model, Choice("torch", "bf16"))
    engine = open_engine(model)
    assert engine.model.compute_dtype == torch.bfloat16 or (  # type: ignore[attr-defined]
        engine.model.embedding.weight.dtype == torch.bfloat16  # type: ignore[attr-defined]
    )
    engine.close()
    short = open_engine(model, EngineConfig(context=16))  # which torch has no say in
    assert (type(short).__name__, short.context) == ("LlamaCppEngine", 16)
    short.close()
    (model / "generation_config.json").write_text("{}")  # another model now
    assert noted_choice(model) is None


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="Linux's")
def test_memory_is_that_of_a_process_and_those_below_and_not_of_its_parent() -> None:
    measured = "from linnet.bench.worker import peak_bytes; print(peak_bytes())"
    waits = "import sys; held = bytearray(b'x') * (120 << 20); print('ready', flush=True); input()"
    below = f"""
import subprocess, sys
process = subprocess.Popen([sys.executable, "-c", {waits!r}], stdin=-1, stdout=-1)
process.stdout.readline()
{measured}
process.communicate(b"\\n")
"""
    large = """
import subprocess, sys
held = bytearray(b"x") * (300 << 20)
subprocess.run([sys.executable, "-c", sys.argv[1]], check=True)
"""
    alone, with_one = (
        int(subprocess.check_output([sys.executable, "-c", *program]))
        for program in ((large, measured), (below,))
    )
    assert 5 << 20 < alone < 100 << 20
    assert 120 << 20 < with_one < 250 << 20


def test_drafts_are_chosen_where_they_pay() -> None:
    def way(lookup: bool, draft: str, quoting: float, other: float) -> Drafting:
        return Drafting(lookup, draft, DraftingRates(quoting, other))

    plain, lookup = way(False, "", 100, 100), way(True, "", 180, 99)
    rows = (row("torch", "f32", 100, 1.0),)

    def chosen(*ways: Drafting) -> Drafting | None:
        return Comparison(rows, "", 8, 0.01, ways).drafting_choice

    assert chosen(plain, lookup) is lookup
    assert chosen(plain, way(True, "", 180, 90)) is plain  # others pay for it
    assert chosen(plain, way(True, "", 103, 101)) is plain
    both = way(True, "small", 190, 140)
    assert chosen(plain, lookup, way(False, "small", 140, 140), both) is both
    assert chosen(plain, Drafting(True, "", None, "cannot")) is plain
    assert chosen() is None


def test_drafting_is_measured(built_once: TinyProject) -> None:
    asked = {
        "model": str(built_once.path / "model"), "engine": "torch", "precision": "f32",
        "threads": 1, "slots": 1, "lookup": "on", "draft": "", "repeats": 1, "new_tokens": 8,
        "prompt_tokens": 12, "texts": ["The notes of the first day say a little of everything."],
    }  # fmt: skip
    found = measure_drafting(asked)
    assert found.quoting > 0
    assert found.other > 0
    with pytest.raises(ModelError):
        measure_drafting({**asked, "draft": "nowhere"})


def test_wrong_input() -> None:
    for settings, said in (
        ({"bound": 1.5}, "bound must be at least 0 and below 1"),
        ({"repeats": 0}, "repeats must be at least 1"),
    ):
        with pytest.raises(ConfigError, match=said):
            BenchConfig(**settings)  # type: ignore[arg-type]
    done = CliRunner().invoke(app, ["bench", "nowhere.gguf"])
    assert "expected a GGUF file, but it does not exist" in str(done.exception or done.output)


def test_a_look_at_one_engine_is_no_choice_and_nothing_is_no_measurement(
    tiny: TinyProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def measured(engine: str, precision: str, asked: object) -> Row:
        return row(engine, precision, 100, 1.0)

    model = tiny.path / "model"

    def ask(engine: str, precision: str, asked: dict[str, object]) -> dict[str, object]:
        return {"quoting": 200 if asked["lookup"] == "on" else 100, "other": 100}

    monkeypatch.setattr("linnet.bench.comparison._measured", measured)
    monkeypatch.setattr("linnet.bench.comparison.ask", ask)
    compare(model, BenchConfig(engine=("torch",)))
    assert noted_choice(model) is None
    compare(model, BenchConfig())
    assert noted_choice(model) == Choice("torch", "f32", lookup=True)
    monkeypatch.setattr(
        "linnet.bench.comparison._measured", lambda e, p, asked: Row(e, p, None, "too large")
    )
    with pytest.raises(ModelError, match="nothing could be measured; too large"):
        compare(model, BenchConfig())
    with pytest.raises(ModelError, match=r"has no config\.json"):
        compare(tmp_path)
