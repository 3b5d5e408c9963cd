"""A model whose weights have 4 or 8 bits: exported by the command, opened by the engine."""

from pathlib import Path

import pytest
import torch
from tiny_models import MakeModel
from typer.testing import CliRunner

from linnet.cli import app
from linnet.errors import ConfigError
from linnet.export.config import PackedConfig
from linnet.export.packed import export_packed
from linnet.generate import Request, Sampling
from linnet.generate.engine_kind import Opening
from linnet.generate.engines import EngineConfig, open_engine
from linnet.generate.llama_cpp.kind import LLAMA_CPP
from linnet.generate.torch_engine import TorchEngine
from linnet.generate.torch_layers import DenseProduct, PackedProduct, SideBySide
from linnet.model import load_model
from linnet.serve.memory import checkpoint_memory

PROMPT = "Once upon a time"


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file: Path = tmp_path_factory.mktemp("text") / "text.txt"
    file.write_text("Once upon a time there was a fox. The fox met a hen; the hen ran home.\n" * 80)
    return file


@pytest.mark.parametrize("type", ["int4", "int8"])
def test_a_model_is_exported_and_opened(
    type: str, make_model: MakeModel, text: Path, tmp_path: Path
) -> None:
    """Greedy text is as likely as any, by the numbers that are stored; one row or many."""
    out = tmp_path / "model"
    given = ["export", "packed", str(make_model("qwen3")), "--out", str(out), "--text", str(text)]
    done = CliRunner().invoke(app, [*given, "--type", type, "--tokens", "1000", "--context", "32"])
    assert done.exit_code == 0, done.output
    assert out.name in done.output
    engine = open_engine(out, EngineConfig(engine="torch"))
    assert isinstance(engine, TorchEngine)
    assert engine.precision == type
    layer = engine._runner._make_decoder().layers[0]  # type: ignore[attr-defined]
    # Heads of 16 rows do not fill blocks of 4 bits, so that they lie by themselves.
    assert isinstance(layer.qkv, SideBySide if type == "int4" else PackedProduct)
    # Rows of 48 numbers do not divide into groups of 32.
    assert isinstance(layer.down, DenseProduct if type == "int4" else PackedProduct)
    plain = load_model(out)
    requests = [
        Request(PROMPT + more, Sampling(max_tokens=12, temperature=0)) for more in ("", " a", " b")
    ]
    for request, found in zip(requests, engine.generate(requests), strict=True):
        prompt = engine.prompt_tokens(str(request.prompt))
        tokens = torch.tensor([[*prompt, *found.tokens]])
        with torch.inference_mode():
            scores = plain(tokens)[0, len(prompt) - 1 : -1]
        own = scores.gather(1, tokens[0, len(prompt) :, None])[:, 0]
        assert (scores.amax(1) - own).max() < 0.15  # inputs of products are in bf16
    scored = engine.score(["there was a fox"])[0].logprobs
    other = open_engine(out, EngineConfig(engine="torch", precision="int8"))
    assert other.precision == "int8"
    assert other.score(["there was a fox"])[0].logprobs == pytest.approx(scored, abs=1e-3)
    for each in (engine, other):
        each.close()


def test_what_a_packed_model_is_for(make_model: MakeModel, text: Path, tmp_path: Path) -> None:
    """``auto`` takes torch; whole training is refused, and so is making it smaller once more."""
    source = make_model("llama")
    out = export_packed(source, tmp_path / "model", PackedConfig(group="32")).path
    opening = Opening(out, EngineConfig(precision="q8_0"), {})
    assert "torch multiplies as they are" in (LLAMA_CPP.objection(opening) or "")
    assert LLAMA_CPP.objection(Opening(source, EngineConfig(precision="q8_0"), {})) is None
    shape = load_model(out).config
    needed = [
        checkpoint_memory(path, shape, EngineConfig(engine="torch")) for path in (out, source)
    ]
    assert needed[0] < needed[1]
    with pytest.raises(ConfigError, match="rounded to few bits; export the model that it was made"):
        export_packed(out, tmp_path / "again")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a", "completion": "b"}\n' * 20)
    for command, message in (
        (["finetune", str(out), str(rows), "--method", "full"], "train an adapter for them"),
        (["prune", str(out), str(text)], "prune the model that it was made from"),
    ):
        done = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "tuned")])
        assert done.exit_code == 1
        assert message in " ".join((done.output + str(done.exception)).split())
