"""The check after fine-tuning: silent where a model is the same everywhere, loud where not."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from linnet.cli.export import app
from linnet.errors import ModelError
from linnet.export import ExportConfig, export_gguf, read_tensors
from linnet.model import ModelConfig, Transformer, load_model, save_checkpoint
from linnet.model.adapter import save_adapter
from linnet.model.lora import adapter_parameters, add_adapter
from linnet.model.lora_config import LoRAConfig
from linnet.roundtrip import CheckConfig, Comparison, check, require_same
from linnet.tokenizer import TokenizerConfig
from linnet.tokenizer import train as train_tokenizer

pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")
pytest.importorskip("transformers")

TEXT = "The small grey bird sat on the mat; and 12 saw one cat's house. " * 12
F32 = ExportConfig(type="f32")
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model in the default shape, with a chat template."""
    path = tmp_path_factory.mktemp("model")
    tokenizer = path / "tokenizer"
    train_tokenizer([TEXT], tokenizer, TokenizerConfig(vocab_size=320), inputs={})
    file = tokenizer / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"chat_template": TEMPLATE}))
    config = ModelConfig(
        family="apertus", vocab_size=320, context=256, width=64, depth=2, heads=4, kv_heads=2,
        head_width=16, mlp_width=96, activation="relu2", qk_norm=True, tied=False, bos_id=0,
        eos_id=0,
    )  # fmt: skip
    made = Transformer(config)
    generator = torch.Generator().manual_seed(0)
    made.initialise(generator)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    (path / "made").mkdir()
    save_checkpoint(made, path / "made", tokenizer=tokenizer)
    return path / "made"


def by_name(found: list[Comparison]) -> dict[tuple[str, str], Comparison]:
    return {(c.where, c.what): c for c in found}


def test_a_model_is_the_same_in_every_place(model: Path) -> None:
    found = check(model)
    require_same(found)
    places = by_name(found)
    for where in ("transformers", "llama.cpp f32"):
        for what in ("tokens", "chat template", "log-probabilities", "greedy text"):
            assert places[where, what].same, places[where, what]
    assert places["llama.cpp f32", "tokens of a chat"].same
    assert not places["llama.cpp q8_0", "log-probabilities"].binding


def test_without_transformers_nothing_is_said_to_differ(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    # A path wider than the terminal: the command must still be whole, to be copied.
    command = f"/{'deep/' * 40}python -m pip install transformers"
    monkeypatch.setattr("linnet.roundtrip.install_command", lambda package: command)
    done = CliRunner().invoke(app, ["check", str(model), "--max-tokens", "1", "--quantised", ""])
    assert done.exception is None
    assert "transformers all not compared" in " ".join(done.output.split())
    assert "differs" not in done.output
    assert f"transformers is not installed: {command}" in done.output.splitlines()
    assert done.exit_code == 0


def test_another_models_file_is_told_loudly(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the file were written wrongly: one vector is a little off."""
    other = tmp_path / "other"
    shutil.copytree(model, other)
    weights = load_file(other / "model.safetensors")
    weights["model.layers.1.feedforward_layernorm.weight"] *= 1.01
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})

    monkeypatch.setattr(
        "linnet.roundtrip.export_gguf",
        lambda path, *rest, **named: export_gguf(other, *rest, **named),
    )
    found = check(model, CheckConfig(quantised=""))
    assert not by_name(found)["llama.cpp f32", "log-probabilities"].same
    with pytest.raises(ModelError, match=r"llama.cpp f32: log-probabilities \(at most"):
        require_same(found)


def test_another_template_is_told(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    shutil.copytree(model, other)
    file = other / "tokenizer_config.json"
    changed = json.loads(file.read_text())
    changed["chat_template"] = TEMPLATE.replace("<|im_end|>\n", "<|im_end|>")
    file.write_text(json.dumps(changed))
    monkeypatch.setattr(
        "linnet.roundtrip.export_gguf",
        lambda path, *rest, **named: export_gguf(other, *rest, **named),
    )
    found = by_name(check(model, CheckConfig(quantised="", max_tokens=1)))
    assert found["llama.cpp f32", "chat template"].failed
    assert not found["llama.cpp f32", "log-probabilities"].failed


def test_an_adapter_is_the_same_merged_and_in_llama_cpp(model: Path, tmp_path: Path) -> None:
    made, adapter = load_model(model), tmp_path / "adapter"
    add_adapter(made, config=LoRAConfig(rank=4))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in adapter_parameters(made, "default").values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    adapter.mkdir()
    save_adapter(made, "default", adapter, base=model)
    found = by_name(check(adapter, CheckConfig(quantised="", max_tokens=4)))
    for where in ("merged adapter", "transformers", "llama.cpp f32"):
        assert found[where, "log-probabilities"].same
    plain = dict(read_tensors(export_gguf(model, tmp_path / "base.gguf", F32)))
    adapted = dict(read_tensors(export_gguf(adapter, tmp_path / "adapted.gguf", F32)))
    assert (plain["blk.0.attn_q.weight"] != adapted["blk.0.attn_q.weight"]).any()
    assert sorted(p.name for p in tmp_path.iterdir() if p.name[0] == "." and p.is_dir()) == []


def test_command(model: Path) -> None:
    done = CliRunner().invoke(app, ["check", str(model), "--max-tokens", "2", "--prompt", "the"])
    assert done.exit_code == 0, done.output
    assert "greedy text" in done.output
    assert "DIFFERS" not in done.output
