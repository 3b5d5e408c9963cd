"""Adapters against PEFT: what one writes the other reads, with equal logits."""

import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from linnet.errors import ModelError
from linnet.model import Transformer, load_model, save_checkpoint
from linnet.model.adapter import adapter_base, base_hash, load_adapter, save_adapter
from linnet.model.families import FAMILIES
from linnet.model.lora import activate, adapter_parameters, add_adapter, set_strength
from linnet.model.lora_config import LoRAConfig
from linnet.model.merging import merge, unmerge

transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

SMALL = {
    "vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 56, "max_position_embeddings": 64, "bos_token_id": 0,
    "eos_token_id": 0, "pad_token_id": 1,
}  # fmt: skip
GPT2 = {
    "vocab_size": 97, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64,
    "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip
GROUPED = SMALL | {"num_key_value_heads": 2}
# What AutoModel calls the class, its configuration's class and its values.
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", GPT2),
    "llama": ("LlamaForCausalLM", "LlamaConfig", GROUPED | {"attention_bias": True}),
    "llama-tied": ("LlamaForCausalLM", "LlamaConfig", GROUPED | {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", GROUPED | {"head_dim": 12}),
    "apertus": ("ApertusForCausalLM", "ApertusConfig", GROUPED),
    "phi3": ("Phi3ForCausalLM", "Phi3Config", GROUPED | {"sliding_window": None}),
    "gemma2": ("Gemma2ForCausalLM", "Gemma2Config", GROUPED | {"head_dim": 8}),
    "gemma3_text": ("Gemma3ForCausalLM", "Gemma3TextConfig", GROUPED | {"head_dim": 8}),
    "bert": ("BertForMaskedLM", "BertConfig", SMALL),
    "gpt_neox": ("GPTNeoXForCausalLM", "GPTNeoXConfig", SMALL),
    "phi": ("PhiForCausalLM", "PhiConfig", SMALL),
    "stablelm": ("StableLmForCausalLM", "StableLmConfig", GROUPED | {"qk_layernorm": True}),
}
# Each with a family whose names it needs, and as PEFT takes it.
SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "rslora": ("qwen3", {"r": 6, "lora_alpha": 5, "use_rslora": True}),
    "attention only": ("llama", {"r": 3, "target_modules": ["q_proj", "v_proj"]}),
    "fused only": ("gpt2", {"r": 3, "target_modules": ["c_attn"]}),
    "one of two alike": ("gpt2", {"r": 3, "target_modules": ["attn.c_proj"]}),
    "fused mlp only": ("phi3", {"r": 3, "target_modules": ["gate_up_proj"]}),
    "output too": ("llama", {"r": 3, "target_modules": ["lm_head", "down_proj"]}),
    "one layer": (
        "llama",
        {"r": 3, "target_modules": ["q_proj", "up_proj"], "layers_to_transform": [1]},
    ),
    "expression": ("llama", {"r": 3, "target_modules": r".*\.1\..*(k|o)_proj"}),
    "patterns": (
        "phi3",
        {
            "r": 4, "lora_alpha": 8, "target_modules": "all-linear",
            "rank_pattern": {"qkv_proj": 7, r"layers\.1\.mlp\.down_proj": 2},
            "alpha_pattern": {"model.layers.0.self_attn.qkv_proj": 3, "down_proj": 1},
        },
    ),
    "patterns of gpt2": (
        "gpt2",
        {"r": 4, "target_modules": "all-linear", "rank_pattern": {"mlp.c_proj": 2}},
    ),
}  # fmt: skip


def reference(name: str) -> Any:
    """A transformers model with weights large enough that a wrong detail shows."""
    model, config, values = MODELS[name]
    torch.manual_seed(1)
    made = getattr(transformers, model)(getattr(transformers, config)(**values)).float().eval()
    redraw(made, 0.2)
    return made


def redraw(model: torch.nn.Module, size: float, *, only: str = "") -> None:
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if only in name:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * size)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {}
    for name, (_, config, _) in MODELS.items():
        if getattr(transformers, config).model_type in FAMILIES:
            made[name] = tmp_path_factory.mktemp(name) / "base"
            reference(name).save_pretrained(made[name])
    return made


def base_of(bases: dict[str, Path], name: str) -> Path:
    if name not in bases:
        pytest.skip(f"no {name} yet")
    return bases[name]


def auto(name: str) -> Any:
    masked = MODELS[name][0].endswith("MaskedLM")
    return transformers.AutoModelForMaskedLM if masked else transformers.AutoModelForCausalLM


def tokens() -> torch.Tensor:
    return torch.randint(0, 97, (2, 24), generator=torch.Generator().manual_seed(3))


def theirs_with(name: str, base: Path, settings: dict[str, Any]) -> Any:
    """PEFT's model with an adapter that changes much."""
    task = None if name == "bert" else "CAUSAL_LM"
    config = peft.LoraConfig(task_type=task, **settings)
    model = peft.get_peft_model(auto(name).from_pretrained(base), config)
    redraw(model, 0.2, only="lora_")
    return model.eval()


def ours_with(base: Path, config: LoRAConfig) -> Transformer:
    model = load_model(base)
    add_adapter(model, "mine", config, generator=torch.Generator().manual_seed(4))
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in adapter_parameters(model, "mine").values():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model


def assert_equal(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    # A relative error for logits as large as these weights make them.
    torch.testing.assert_close(ours, theirs, atol=1e-5 * float(theirs.abs().max()), rtol=1e-5)


@torch.inference_mode()
def both_ways(name: str, base: Path, settings: dict[str, Any], place: Path) -> None:
    """PEFT to us, us to PEFT, and the second file like the first."""
    theirs = theirs_with(name, base, settings)
    wanted = theirs(tokens()).logits
    theirs.save_pretrained(place / "theirs")
    ours = load_model(base)
    before = ours(tokens())
    load_adapter(ours, place / "theirs")
    assert torch.equal(ours(tokens()), before)
    activate(ours, "default")
    assert (wanted - before).abs().max() > 0.5
    assert_equal(ours(tokens()), wanted)
    (place / "ours").mkdir()
    save_adapter(ours, "default", place / "ours", base=base)
    first = load_file(place / "theirs" / "adapter_model.safetensors")
    second = load_file(place / "ours" / "adapter_model.safetensors")
    assert {key: first[key] for key in second}.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in second)
    again = peft.PeftModel.from_pretrained(auto(name).from_pretrained(base), place / "ours")
    assert {k for k, _ in again.named_parameters()} == {k for k, _ in theirs.named_parameters()}
    assert_equal(again.eval()(tokens()).logits, wanted)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODELS)
def test_all_linear_layers_of_every_family(
    name: str, bases: dict[str, Path], tmp_path: Path
) -> None:
    settings = {"r": 4, "lora_alpha": 6, "target_modules": "all-linear"}
    both_ways(name, base_of(bases, name), settings, tmp_path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", SETTINGS)
def test_every_kind_of_setting(case: str, bases: dict[str, Path], tmp_path: Path) -> None:
    name, settings = SETTINGS[case]
    settings = {"target_modules": "all-linear"} | settings
    both_ways(name, base_of(bases, name), settings, tmp_path)


# What adapters change besides adding products, each with a family that has it.
BEYOND: dict[str, tuple[str, dict[str, Any]]] = {
    "dora": ("llama", {"use_dora": True}),
    "dora, fused and transposed": ("gpt2", {"use_dora": True, "use_rslora": True}),
    "dora, fused": ("phi3", {"use_dora": True, "rank_pattern": {"qkv_proj": 7}}),
    "dora of the output": ("llama", {"use_dora": True, "target_modules": ["lm_head", "o_proj"]}),
    "both tables": ("llama", {"modules_to_save": ["embed_tokens", "lm_head"]}),
    "embedding of a tied one": ("llama-tied", {"modules_to_save": ["embed_tokens"]}),
    "output of a tied one": ("llama-tied", {"modules_to_save": ["lm_head"]}),
    "both of a tied one": ("gemma3_text", {"modules_to_save": ["embed_tokens", "lm_head"]}),
    "norms": ("qwen3", {"modules_to_save": ["norm"]}),
    "norms with biases": ("gpt2", {"modules_to_save": ["ln_1", "ln_f"]}),
    "whole layers": ("llama", {"target_modules": ["q_proj"], "modules_to_save": ["mlp", "o_proj"]}),
    "all biases": ("gpt2", {"bias": "all", "target_modules": ["c_attn"]}),
    "own biases": ("llama", {"bias": "lora_only", "target_modules": ["q_proj", "o_proj"]}),
    "everything": (
        "gpt2",
        {"bias": "all", "use_dora": True, "target_modules": ["c_attn"], "modules_to_save": ["wte"]},
    ),
    "head by head": (
        "gpt_neox",
        {"bias": "all", "use_dora": True, "target_modules": ["query_key_value"]},
    ),
    "norm of each head": ("stablelm", {"modules_to_save": ["norms.1", "q_layernorm"]}),
    "output with a bias": ("phi", {"modules_to_save": ["lm_head"]}),
    "of an encoder": ("bert", {"use_dora": True, "modules_to_save": ["LayerNorm"]}),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", BEYOND)
@torch.inference_mode()
def test_what_is_more_than_low_rank(case: str, bases: dict[str, Path], tmp_path: Path) -> None:
    name, settings = BEYOND[case]
    base = base_of(bases, name)
    settings = {"r": 4, "target_modules": "all-linear"} | settings
    theirs = theirs_with(name, base, settings)
    redraw(theirs, 0.2, only="modules_to_save.default")
    redraw(theirs, 0.1, only="lora_magnitude_vector")
    biases = {"all": "bias", "lora_only": "base_layer.bias"}.get(settings.get("bias", "none"))
    if biases is not None:
        redraw(theirs, 0.2, only=biases)
    theirs.save_pretrained(tmp_path)
    wanted = theirs(tokens()).logits
    ours = load_model(base)
    before, weights = ours(tokens()), {k: v.clone() for k, v in ours.state_dict().items()}
    load_adapter(ours, tmp_path)
    add_adapter(ours, "plain", LoRAConfig(rank=2))
    assert torch.equal(ours(tokens()), before)
    activate(ours, "default")
    assert (wanted - before).abs().max() > 0.5
    assert_equal(ours(tokens()), wanted)
    with pytest.raises(ModelError, match="cannot be written: it "):
        save_adapter(ours, "default", tmp_path, base=base)
    activate(ours, "base")
    assert torch.equal(ours(tokens()), before)
    merge(ours, "default")
    assert_equal(ours(tokens()), wanted)
    (tmp_path / "merged").mkdir()
    save_checkpoint(ours, tmp_path / "merged", base=base)
    assert_equal(auto(name).from_pretrained(tmp_path / "merged")(tokens()).logits, wanted)
    unmerge(ours)
    assert_equal(ours(tokens()), wanted)
    assert all(torch.equal(ours.state_dict()[key], value) for key, value in weights.items())


@torch.inference_mode()
def test_strength_of_more_than_low_rank(bases: dict[str, Path], tmp_path: Path) -> None:
    """Twice what DoRA adds to the weights is twice the distance from the base."""
    theirs = theirs_with("llama", bases["llama"], {"use_dora": True, "target_modules": ["lm_head"]})
    theirs.save_pretrained(tmp_path)
    ours = load_model(bases["llama"])
    before = ours(tokens())
    load_adapter(ours, tmp_path)
    activate(ours, "default")
    once = ours(tokens())
    set_strength(ours, "default", 2.0)
    assert_equal(ours(tokens()) - before, 2 * (once - before))
    saved = theirs_with("llama", bases["llama"], {"r": 2, "modules_to_save": ["lm_head"]})
    saved.save_pretrained(tmp_path / "saved")
    load_adapter(ours, tmp_path / "saved", "saved")
    set_strength(ours, "saved", 0.0)
    activate(ours, "saved")
    assert_equal(ours(tokens()), before)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["gpt2", "llama-tied", "phi3", "gemma3_text", "bert"])
@torch.inference_mode()
def test_peft_reads_what_began_here_and_merges_alike(
    name: str, bases: dict[str, Path], tmp_path: Path
) -> None:
    base = base_of(bases, name)
    ours = ours_with(base, LoRAConfig(rank=5, alpha=7, rslora=True))
    wanted = ours(tokens())
    save_adapter(ours, "mine", tmp_path, base=base)
    theirs = peft.PeftModel.from_pretrained(auto(name).from_pretrained(base), tmp_path).eval()
    assert_equal(theirs(tokens()).logits, wanted)
    merge(ours, "mine")
    assert_equal(ours(tokens()), wanted)
    merged = tmp_path / "merged"
    merged.mkdir()
    save_checkpoint(ours, merged, base=base)
    whole = auto(name).from_pretrained(merged)
    assert_equal(whole(tokens()).logits, wanted)
    by_name = dict(theirs.merge_and_unload().named_parameters())
    for key, parameter in whole.named_parameters():
        torch.testing.assert_close(parameter, by_name[key], atol=1e-6, rtol=1e-5)


@torch.inference_mode()
def test_strength_goes_into_the_scale(bases: dict[str, Path], tmp_path: Path) -> None:
    ours = ours_with(bases["llama"], LoRAConfig(rank=4, alpha_pattern={"q_proj": 3.0}))
    set_strength(ours, "mine", 0.5)
    save_adapter(ours, "mine", tmp_path, base=bases["llama"])
    again = load_model(bases["llama"])
    load_adapter(again, tmp_path, "half")
    activate(again, "half")
    assert torch.equal(ours(tokens()), again(tokens()))


@torch.inference_mode()
def test_other_spellings_of_the_names(bases: dict[str, Path], tmp_path: Path) -> None:
    """Adapters trained on the model without its head, or stored with the adapter's name."""
    ours = ours_with(bases["llama"], LoRAConfig(rank=4))
    save_adapter(ours, "mine", tmp_path, base=bases["llama"])
    file = tmp_path / "adapter_model.safetensors"
    written = load_file(file)
    spellings: list[Callable[[str], str]] = [
        lambda key: key.replace("base_model.model.model.", "base_model.model."),
        lambda key: key.removeprefix("base_model.model."),
        lambda key: key.replace(".weight", ".default.weight"),
    ]
    for spelled in spellings:
        save_file({spelled(key): tensor for key, tensor in written.items()}, file)
        again = load_model(bases["llama"])
        load_adapter(again, tmp_path)
        activate(again, "default")
        assert torch.equal(ours(tokens()), again(tokens()))


def test_the_base_is_recorded_so_that_both_can_be_moved(
    bases: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "here" / "tuned").mkdir(parents=True)
    shutil.copytree(bases["llama"], tmp_path / "here" / "base")
    ours = ours_with(tmp_path / "here" / "base", LoRAConfig(rank=2))
    save_adapter(ours, "mine", tmp_path / "here" / "tuned", base=tmp_path / "here" / "base")
    values = json.loads((tmp_path / "here" / "tuned" / "adapter_config.json").read_text())
    assert values["base_model_name_or_path"] == "../base"
    (tmp_path / "here").rename(tmp_path / "there")
    assert adapter_base(tmp_path / "there" / "tuned") == str(tmp_path / "there" / "base")
    shutil.rmtree(tmp_path / "there" / "base")
    with pytest.raises(ModelError, match=r"base is '\.\./base', which is not there"):
        adapter_base(tmp_path / "there" / "tuned")
    save_adapter(ours, "mine", tmp_path / "there" / "tuned", base="org/small-2@abc123")
    assert adapter_base(tmp_path / "there" / "tuned") == "org/small-2@abc123"
    values = json.loads((tmp_path / "there" / "tuned" / "adapter_config.json").read_text())
    assert (values["base_model_name_or_path"], values["revision"]) == ("org/small-2", "abc123")


def test_an_adapter_for_another_base_is_refused(bases: dict[str, Path], tmp_path: Path) -> None:
    ours = ours_with(bases["llama"], LoRAConfig(rank=2))
    save_adapter(ours, "mine", tmp_path, base="org/base")
    other = load_model(bases["llama"])
    with torch.no_grad():
        other.get_parameter("blocks.1.mlp.up.weight").add_(1e-2)
    with pytest.raises(ModelError, match=r"trained on other weights.*its base is 'org/base'"):
        load_adapter(other, tmp_path)
    load_adapter(other, tmp_path, any_base=True)
    with pytest.raises(ModelError, match=r"must have shape \(2, 32\)|is missing|for nothing that"):
        load_adapter(load_model(bases["gpt2"]), tmp_path)
    narrow = transformers.LlamaConfig(**GROUPED | {"intermediate_size": 48})
    transformers.LlamaForCausalLM(narrow).save_pretrained(tmp_path / "narrow")
    with pytest.raises(ModelError, match=r"gate_proj.lora_B.* must have shape \(48, 2\).*org/base"):
        load_adapter(load_model(tmp_path / "narrow"), tmp_path)


def test_the_hash_of_a_base_is_that_of_its_numbers(bases: dict[str, Path]) -> None:
    plain = load_model(bases["phi3"])
    wanted = base_hash(plain)
    assert base_hash(load_model(bases["phi3"], dtype=torch.bfloat16)) == wanted
    assert base_hash(ours_with(bases["phi3"], LoRAConfig())) == wanted
    assert base_hash(load_model(bases["llama"])) != wanted


BAD_SETTINGS = {
    "type": ({"peft_type": "LOHA"}, "expected an adapter of type LORA. Got 'LOHA'"),
    "dora without": ({"use_dora": True}, "lora_magnitude_vector.weight' is missing"),
    "saved modules": ({"modules_to_save": ["lm_head"]}, "'lm_head.weight' is missing"),
    "score": ({"modules_to_save": ["score"]}, "names 'score', but this model has no such"),
    "bias": ({"bias": "some"}, "bias must be none or all or lora_only. Got 'some'"),
    "tokens": ({"trainable_token_indices": [1]}, "trainable_token_indices is not supported"),
    "replication": ({"layer_replication": [[0, 2]]}, "layer_replication is not supported"),
    "invocation": ({"alora_invocation_tokens": [1]}, "alora_invocation_tokens is not supported"),
    "parameters": ({"target_parameters": ["x"]}, "target_parameters is not supported"),
    "arrow": ({"arrow_config": {"top_k": 2}}, "arrow_config is not supported"),
    "tying": (
        {"modules_to_save": ["lm_head"], "ensure_weight_tying": True}, "ensure_weight_tying with",
    ),
    "large alpha": ({"lora_alpha": 10**400}, "lora_alpha must be a number below"),
    "large rank": ({"r": 10**400}, "r must be a number below"),
    "kind": ({"peft_type": [["LORA"]] * 99}, "expected an adapter of type LORA. Got "),
    "saved what": ({"modules_to_save": [[]]}, "modules_to_save must be a list of names"),
    "pissa": ({"init_lora_weights": "pissa"}, "init_lora_weights 'pissa' changes the base"),
    "something new": ({"use_next_year": {"a": 1}}, "use_next_year is not supported"),
    "rank": ({"r": "8"}, "r must be a number"),
    "negative rank": ({"r": -1}, "rank must be at least 1"),
    "alpha": ({"lora_alpha": float("nan")}, "lora_alpha must be a number"),
    "pattern": ({"rank_pattern": {"(a+)+b": 2}}, "too complicated"),
    "broken pattern": ({"rank_pattern": {"(a": 2}}, "not valid"),
    "other rank": ({"r": 3}, r"must have shape \(3, 32\).*Got \(2, 32\)"),
    "missing": ({"target_modules": ["q_proj", "lm_head"]}, "'lm_head.lora_A.weight' is missing"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_SETTINGS)
def test_what_is_not_plain_lora_is_refused(
    case: str, bases: dict[str, Path], tmp_path: Path
) -> None:
    changed, message = BAD_SETTINGS[case]
    save_adapter(ours_with(bases["llama"], LoRAConfig(rank=2)), "mine", tmp_path, base="org/base")
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))
    with pytest.raises(ModelError, match=message):
        load_adapter(load_model(bases["llama"]), tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="has no pipes")
def test_files_of_strangers(bases: dict[str, Path], tmp_path: Path) -> None:
    """None is waited for, read whole before it is judged, or walked through without a bound."""
    model = load_model(bases["llama"])
    save_adapter(ours_with(bases["llama"], LoRAConfig(rank=2)), "mine", tmp_path, base="org/base")
    config, weights = tmp_path / "adapter_config.json", tmp_path / "adapter_model.safetensors"
    sound = config.read_text()
    for text, message in (
        ("[" * 100_000, "it nests too deeply"),
        (json.dumps(json.loads(sound) | {"runtime_config": nested(200)}), "it nests too deeply"),
        ("{" + " " * (2 << 20) + "}", "too large"),
        ("[]", "must hold a JSON object"),
    ):
        config.write_text(text)
        with pytest.raises(ModelError, match=message):
            load_adapter(model, tmp_path)
    config.write_text(sound)
    weights.write_bytes(((1 << 62) - 1).to_bytes(8, "little"))
    with pytest.raises(ModelError, match="a header of 46116860184"):
        load_adapter(model, tmp_path)
    for file, said in ((weights, "adapter_model.safetensors"), (config, "adapter_config.json")):
        file.unlink()
        os.mkfifo(file)
        with pytest.raises(ModelError, match=f"{said} must be a regular file"):
            load_adapter(model, tmp_path)


def nested(depth: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


def test_damaged_files(bases: dict[str, Path], tmp_path: Path) -> None:
    model = load_model(bases["llama"])
    with pytest.raises(ModelError, match=r"expected an adapter directory, but it has no adapter_c"):
        load_adapter(model, tmp_path)
    save_adapter(ours_with(bases["llama"], LoRAConfig(rank=2)), "mine", tmp_path, base="org/base")
    file = tmp_path / "adapter_model.safetensors"
    written = load_file(file)
    some = "base_model.model.model.layers.0.mlp.up_proj.lora_B.weight"
    for tensors, message in (
        ({key: t for key, t in written.items() if key != some}, "up_proj.lora_B.weight' is miss"),
        (written | {"base_model.model.oh.lora_A.weight": torch.zeros(2, 2)}, "'.*oh.*' is for not"),
        (written | {some: torch.zeros(5, 2)}, r"up_proj.lora_B.weight' must have shape \(56, 2\)"),
        (written | {some: torch.zeros(56, 2, dtype=torch.int8)}, "must be fp32"),
        (written | {"base_model.model.lm_head.weight": torch.zeros(97, 32)}, "changes the vocabu"),
        ({}, "is missing|no tensors"),
    ):
        save_file(tensors, file)
        with pytest.raises(ModelError, match=message):
            load_adapter(model, tmp_path)
    file.write_bytes(b"\xff" * 100)
    with pytest.raises(ModelError, match="is damaged"):
        load_adapter(model, tmp_path)
    file.rename(tmp_path / "adapter_model.bin")
    with pytest.raises(ModelError, match="is a pickle"):
        load_adapter(model, tmp_path)


def test_an_adapter_goes_on_with_the_model_that_another_replaced(
    bases: dict[str, Path], tmp_path: Path
) -> None:
    """As ``linnet build`` does: the model that is replaced stays as ``model.previous``."""
    model, kept, tuned = tmp_path / "model", tmp_path / "model.previous", tmp_path / "tuned"
    shutil.copytree(bases["llama"], model)
    tuned.mkdir()
    ours = ours_with(model, LoRAConfig(rank=2))
    save_adapter(ours, "mine", tuned, base=model)
    shutil.copytree(model, kept)
    assert adapter_base(tuned) == str(model)  # the same weights: nothing was replaced

    other = load_model(model)
    with torch.no_grad():
        other.get_parameter("blocks.1.mlp.up.weight").add_(1e-2)
    save_checkpoint(other, model)
    assert adapter_base(tuned) == str(kept)
    found = load_model(adapter_base(tuned))
    load_adapter(found, tuned)
    activate(found, "default")
    activate(ours, "mine")
    assert torch.equal(found(tokens()), ours(tokens()))
    with pytest.raises(ModelError, match=f"trained on {re.escape(str(kept))}: name that as"):
        load_adapter(load_model(model), tuned)

    save_checkpoint(other, kept)  # replaced a second time: what it was trained on is gone
    assert adapter_base(tuned) == str(model)
    with pytest.raises(ModelError, match="fine-tune this model anew, or give the adapter"):
        load_adapter(load_model(model), tuned)
