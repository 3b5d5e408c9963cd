"""Loading and saving model directories: memory, formats, ties, what survives, what is refused."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from linnet.errors import ModelError, OutputError
from linnet.model import Transformer, load_checkpoint, load_model, save_checkpoint
from linnet.model.checkpoint import copy_tokenizer
from linnet.model.config_file import read_config_file
from linnet.model.weights import all_finite, write_safetensors
from odd_files import DEEP, HOSTILE_SIZES, HOSTILE_WEIGHTS, header_only

transformers = pytest.importorskip("transformers")

SHAPE = {
    "vocab_size": 96,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": [2, 5],
}
TOKENS = torch.randint(0, 96, (2, 20), generator=torch.Generator().manual_seed(0))


def published(path: Path, **changes: Any) -> torch.nn.Module:
    """A tiny Llama as transformers saves it."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**SHAPE | changes)
    model = transformers.LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(path)
    return model


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def restore(path: Path, **changes: torch.Tensor | None) -> None:
    """Store the weights again with some of them changed (None: left out)."""
    weights = load_file(path / "model.safetensors")
    weights |= {k.replace("__", "."): v for k, v in changes.items() if v is not None}
    for name in [k.replace("__", ".") for k, v in changes.items() if v is None]:
        del weights[name]
    save_file(weights, path / "model.safetensors")


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_every_format_is_read_as_transformers_reads_it(dtype: torch.dtype, tmp_path: Path) -> None:
    published(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    save_file({k: v.to(dtype) for k, v in weights.items()}, tmp_path / "model.safetensors")
    theirs = transformers.LlamaForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    torch.testing.assert_close(
        load_model(tmp_path)(TOKENS), theirs(TOKENS).logits, atol=1e-4, rtol=1e-4
    )
    assert {p.dtype for p in load_model(tmp_path, dtype=torch.bfloat16).parameters()} == {
        torch.bfloat16
    }
    automatic = {p.dtype for p in load_model(tmp_path, dtype="auto").parameters()}
    assert automatic <= {torch.bfloat16, torch.float32}


def test_formats_that_hold_no_plain_numbers_are_named(tmp_path: Path) -> None:
    published(tmp_path)
    name = "model__layers__0__mlp__up_proj__weight"
    weight = load_file(tmp_path / "model.safetensors")[name.replace("__", ".")]
    for dtype, called in ((torch.float8_e4m3fn, "F8_E4M3"), (torch.int8, "I8")):
        restore(tmp_path, **{name: weight.to(dtype)})
        with pytest.raises(ModelError, match=f"up_proj.weight' is stored as {called}"):
            load_model(tmp_path)
    edit(tmp_path / "config.json", quantization_config={"quant_method": "awq"})
    with pytest.raises(ModelError, match="quant_method must be compressed-tensors or gptq"):
        load_model(tmp_path)


@torch.inference_mode()
@pytest.mark.parametrize("case", ["equal", "different", "only the output", "untied, no output"])
def test_ties_are_as_transformers_has_them(case: str, tmp_path: Path) -> None:
    published(tmp_path, tie_word_embeddings=case != "untied, no output")
    table = load_file(tmp_path / "model.safetensors")["model.embed_tokens.weight"]
    if case == "untied, no output":
        restore(tmp_path, lm_head__weight=None)
        with pytest.raises(ModelError, match=r"'lm_head\.weight' is missing"):
            load_model(tmp_path)
        return
    output = table * 2 if case == "different" else table
    changes = {"lm_head__weight": output.clone()}
    if case == "only the output":
        changes["model__embed_tokens__weight"] = None
    restore(tmp_path, **changes)
    theirs = transformers.LlamaForCausalLM.from_pretrained(tmp_path)
    ours = load_model(tmp_path)
    assert ours.config.tied == (case != "different")
    torch.testing.assert_close(ours(TOKENS), theirs(TOKENS).logits, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_large_models_are_split_and_read_again(tmp_path: Path) -> None:
    theirs = published(tmp_path)
    ours = load_model(tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    save_checkpoint(ours, out)
    assert [f.name for f in out.glob("*.safetensors*")] == ["model.safetensors"]
    save_checkpoint(load_model(out), out, shard_bytes=20_000)
    names = sorted(f.name for f in out.glob("*.safetensors*"))
    assert "model.safetensors" not in names
    assert len(names) > 3
    again = transformers.LlamaForCausalLM.from_pretrained(out)
    torch.testing.assert_close(again(TOKENS).logits, theirs(TOKENS).logits, atol=0, rtol=0)
    torch.testing.assert_close(load_model(out)(TOKENS), ours(TOKENS), atol=0, rtol=0)
    save_checkpoint(load_model(out), out)
    assert [f.name for f in out.glob("*.safetensors*")] == ["model.safetensors"]


def test_a_full_disk_leaves_the_weights_that_were_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(tmp_path)
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    model = load_model(tmp_path)
    for parameter in model.parameters():
        parameter.data = parameter.data + 1

    written = []

    def full(file: Path, *rest: Any, **named: Any) -> None:
        if written:
            file.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        written.append(file)
        write_safetensors(file, *rest, **named)

    monkeypatch.setattr("linnet.model.weights.write_safetensors", full)
    with pytest.raises(OutputError, match="disk is full"):
        save_checkpoint(model, tmp_path, shard_bytes=20_000)
    assert written
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == before


def test_what_the_base_says_survives(tmp_path: Path) -> None:
    base, out = tmp_path / "base", tmp_path / "out"
    rope = {
        "rope_type": "llama3",
        "rope_theta": 5e5,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    }
    published(base, rope_parameters=rope)
    edit(base / "config.json", task_specific_params={"kept": 1}, auto_map={"AutoModel": "code.Run"})
    (base / "generation_config.json").write_text(
        json.dumps({"eos_token_id": [5, 7], "temperature": 0.6, "top_p": 0.9})
    )
    out.mkdir()
    save_checkpoint(load_model(base), out, base=base)
    values = read_config_file(out)
    assert values["task_specific_params"] == {"kept": 1}
    assert values["eos_token_id"] == [2, 5]
    assert values["rope_parameters"] == rope
    assert "auto_map" not in values
    generation = json.loads((out / "generation_config.json").read_text())
    assert generation == {
        "eos_token_id": [5, 7, 2],
        "temperature": 0.6,
        "top_p": 0.9,
        "bos_token_id": 1,
    }
    assert transformers.GenerationConfig.from_pretrained(out).eos_token_id == [5, 7, 2]
    assert load_model(out).config == load_model(base).config


@pytest.mark.parametrize("case", HOSTILE_WEIGHTS)
def test_weights_that_say_too_much(case: str, tmp_path: Path) -> None:
    published(tmp_path)
    header, message = HOSTILE_WEIGHTS[case]
    file = tmp_path / "model.safetensors"
    if case == "header of 4 EB":
        file.write_bytes(header)
    else:
        header_only(file, header)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("changes", HOSTILE_SIZES)
def test_sizes_are_judged_before_a_model_is_made(changes: dict[str, Any], tmp_path: Path) -> None:
    published(tmp_path)
    edit(tmp_path / "config.json", **changes)
    with pytest.raises(ModelError) as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (DEEP, "it nests too deeply"),
        ('{"a":' * 70 + "1" + "}" * 70, "it nests too deeply"),
        ('{"vocab_size": ' + "9" * 5000 + "}", "is damaged"),
        ("[1]", "must hold a JSON object"),
        ("", "is damaged"),
        ('{"weight_map": {"a": ["x.safetensors"]}, "model_type": ["llama"]}', r"\['"),
        ('{"weight_map": 5}', "weight_map|not supported"),
        ("{" + " " * (17 << 20) + "}", "too large"),
    ],
)
def test_json_of_strangers(name: str, text: str, message: str, tmp_path: Path) -> None:
    published(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / name).write_text(text)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)


def replace_with_pipe(file: Path) -> None:
    file.unlink(missing_ok=True)
    os.mkfifo(file)


def replace_with_device(file: Path) -> None:
    file.unlink(missing_ok=True)
    file.symlink_to("/dev/zero")


def replace_with_directory(file: Path) -> None:
    file.unlink(missing_ok=True)
    file.mkdir()


@pytest.mark.skipif(sys.platform == "win32", reason="has no such files")
@pytest.mark.parametrize("make", [replace_with_pipe, replace_with_device, replace_with_directory])
@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "model.safetensors.index.json", "shard", "shard 2"]
)
def test_only_regular_files_are_opened(
    make: Callable[[Path], None], name: str, tmp_path: Path
) -> None:
    published(tmp_path)
    if name.startswith(("shard", "model.safetensors.index")):
        (tmp_path / "model.safetensors").rename(tmp_path / "b.safetensors")
        index = {"weight_map": {"x": "b.safetensors", "y": "a.safetensors"}}
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    file = {"shard": "a.safetensors", "shard 2": "b.safetensors"}.get(name, name)
    make(tmp_path / file)
    with pytest.raises(ModelError, match=r"must be a regular file|there is no such file"):
        load_model(tmp_path)


def test_a_tensor_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    published(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    save_file(weights, tmp_path / "a.safetensors")
    save_file({"lm_head.weight": weights["lm_head.weight"]}, tmp_path / "b.safetensors")
    index = {"weight_map": {"x": "b.safetensors", "y": "a.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=r"the tensor 'lm_head\.weight' is there twice"):
        load_model(tmp_path)


def test_code_beside_a_model_is_not_run(tmp_path: Path) -> None:
    published(tmp_path)
    ran = tmp_path / "ran"
    (tmp_path / "code.py").write_text(f"open({str(ran)!r}, 'w')\n")
    edit(tmp_path / "config.json", auto_map={"AutoModelForCausalLM": "code.Model"})
    load_model(tmp_path)
    assert not ran.exists()


def test_an_index_cannot_name_files_elsewhere(tmp_path: Path) -> None:
    model = tmp_path / "model"
    published(model)
    (model / "model.safetensors").rename(tmp_path / "elsewhere.safetensors")
    for name in ("../elsewhere.safetensors", str(tmp_path / "elsewhere.safetensors"), "x.bin"):
        index = {"weight_map": {"lm_head.weight": name}}
        (model / "model.safetensors.index.json").write_text(json.dumps(index))
        with pytest.raises(ModelError, match="is not the name of a safetensors file"):
            load_model(model)


def test_templates_in_files_of_their_own_go_inline(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    (source / "additional_chat_templates").mkdir(parents=True)
    out.mkdir()
    (source / "tokenizer_config.json").write_text('{"eos_token": "</s>"}')
    (source / "chat_template.jinja").write_text("{{ messages }}")
    copy_tokenizer(source, out)
    written = json.loads((out / "tokenizer_config.json").read_text())
    assert written == {"eos_token": "</s>", "chat_template": "{{ messages }}"}
    (source / "additional_chat_templates" / "tool_use.jinja").write_text("{{ tools }}")
    copy_tokenizer(source, out)
    assert json.loads((out / "tokenizer_config.json").read_text())["chat_template"] == [
        {"name": "default", "template": "{{ messages }}"},
        {"name": "tool_use", "template": "{{ tools }}"},
    ]


def test_text_may_name_the_hub_and_a_path_never_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ModelError, match="offline"):
        load_checkpoint("org/name")
    with pytest.raises(ModelError, match="does not exist"):
        load_checkpoint(Path("org/name"))


MEMORY = """
import sys, torch
from pathlib import Path
from linnet.model import load_model
def status(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024
for dtype in (torch.float32, torch.bfloat16):
    load_model(Path(sys.argv[2]), dtype=dtype)  # so that the code itself is loaded
    before, peak = status("RssAnon"), status("VmHWM")
    model = load_model(Path(sys.argv[1]), dtype=dtype)
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    print(status("RssAnon") - before, status("VmHWM") - peak, size)
assert "torch._dynamo" not in sys.modules  # which takes seconds to import
"""


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_values_that_are_no_numbers_are_found_wherever_they_stand(dtype: torch.dtype) -> None:
    for size in (1, 7, 100):
        assert all_finite(torch.ones(size, dtype=dtype))
        for bad in (torch.nan, torch.inf, -torch.inf):
            for place in range(size):
                values = torch.ones(size, dtype=dtype)
                values[place] = bad
                assert not all_finite(values)
    for kind in (torch.bool, torch.int32, torch.uint8):
        assert all_finite(torch.ones(2, dtype=kind))
    assert all_finite(torch.ones(0, 3, dtype=dtype))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_model_is_never_in_memory_twice(tmp_path: Path) -> None:
    tiny, big = tmp_path / "tiny", tmp_path / "big"
    published(tiny)
    big.mkdir()
    shape = {"width": 512, "mlp_width": 2048, "depth": 4, "head_width": 128}
    config = dataclasses.replace(load_model(tiny).config, **shape)
    save_checkpoint(Transformer(config), big)
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(big), str(tiny)],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    mapped, converted = ([int(n) for n in line.split()] for line in done.stdout.splitlines())
    own, _, size = mapped
    assert size > 50_000_000
    assert own < size / 10
    own, peak, size = converted
    largest = 2048 * 512 * 4
    assert own > size - largest
    assert peak < size + 3 * largest


def test_nothing_is_shared_with_the_file_that_training_changes(tmp_path: Path) -> None:
    published(tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    model: Transformer = load_model(tmp_path)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
    assert (tmp_path / "model.safetensors").read_bytes() == before
    assert (load_model(tmp_path).embedding.weight != 1.0).any()
