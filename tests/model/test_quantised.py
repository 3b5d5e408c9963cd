"""Weights of 4 and 8 bits: the layout of compressed-tensors and GPTQ, products, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from linnet.compress.packed import write_packed
from linnet.errors import ConfigError, ModelError
from linnet.export.config import PackedConfig
from linnet.model import ModelConfig, Transformer, load_model, packed, save_checkpoint
from linnet.model.packed import PackedLinear, pack, packed_layers
from linnet.model.quantised import (
    Codes,
    QuantisedFiles,
    _pack,
    _unpack,
    join_codes,
    read_scheme,
    split_codes,
)
from linnet.model.weights import open_weights

SMALL: dict[str, Any] = {
    "vocab_size": 64, "context": 64, "width": 64, "depth": 2, "heads": 4, "kv_heads": 2,
    "head_width": 16, "mlp_width": 96, "tied": True,
}  # fmt: skip
LAYERNORM: dict[str, Any] = {
    "norm": "layernorm", "norm_eps": 1e-5, "attention_bias": True, "output_bias": True,
    "mlp_bias": True,
}  # fmt: skip
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {"attention_bias": True},
    "phi3": {"tied": False},  # queries, keys and values in one matrix
    "gpt_neox": {  # head by head
        **LAYERNORM, "kv_heads": 4, "rotary_width": 4, "activation": "gelu", "parallel": True,
        "tied": False,
    },
}  # fmt: skip
ROWS = [torch.randint(64, (1, 20), generator=torch.Generator().manual_seed(n)) for n in range(5)]


def codes_of(
    rows: int, width: int, bits: int, group: int, *, zero: bool = False, seed: int = 1
) -> Codes:
    """A matrix of any codes."""
    generator = torch.Generator().manual_seed(seed)
    half, groups = 1 << bits - 1, width // group

    def drawn(most: int, *shape: int) -> Tensor:
        return torch.randint(-most, most, shape, generator=generator).to(torch.int8)

    scale = (torch.rand(rows, groups, generator=generator) + 0.1).to(torch.bfloat16)
    return Codes(
        drawn(half, rows, width), scale, drawn(half // 2, rows, groups) if zero else None, bits
    )


def model_of(family: str = "llama", **changes: Any) -> Transformer:
    model = Transformer(ModelConfig(family=family, **SMALL | FAMILIES[family] | changes))
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        parameter.data += torch.randn(parameter.shape, generator=generator) * 0.2
    return model.eval()


def written(path: Path, model: Transformer, **settings: Any) -> Transformer:
    """A model's directory with whole numbers; gives what is stored."""
    plain = path.parent / f"{path.name}-plain"
    for each in (plain, path):
        each.mkdir()
    save_checkpoint(model, plain)
    stored = load_model(plain)
    rows = settings.pop("rows", ())
    write_packed(stored, plain, path, PackedConfig(**{"dtype": "fp32"} | settings), rows)
    return stored


# --- layout ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [4, 8])
def test_codes_lie_as_the_reference_has_them(bits: int) -> None:
    helpers = pytest.importorskip("compressed_tensors.compressors.pack_quantized.helpers")
    for rows, width in ((3, 32), (5, 96), (7, 33)):
        codes = codes_of(rows, width, bits, width).codes
        words = _pack(codes, bits)
        assert torch.equal(words, helpers.pack_to_int32(codes, bits))
        assert torch.equal(_pack(codes.T, bits).T, helpers.pack_to_int32(codes, bits, packed_dim=0))
        assert torch.equal(_unpack(words, bits, width), codes)


@torch.inference_mode()
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("settings", [
    {"group": "32"}, {"group": "32", "zero": True}, {"type": "int8"},
    {"type": "int8", "group": "32"}, {"group": "row", "zero": True},
])  # fmt: skip
def test_what_is_written_is_read(family: str, settings: dict[str, Any], tmp_path: Path) -> None:
    """Here, plain and packed, and in transformers."""
    stored = written(tmp_path / "model", model_of(family), **settings)
    plain, kept = load_model(tmp_path / "model"), load_model(tmp_path / "model", packed=True)
    for (name, own), read in zip(stored.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(read, own.data, rtol=1e-6, atol=1e-7, msg=name)
    assert sum(isinstance(each, PackedLinear) for each in kept.modules()) == 2 * (
        6 + stored.config.gated
    )
    expected = stored(ROWS[0])
    torch.testing.assert_close(kept(ROWS[0]), expected, rtol=1e-4, atol=1e-4)
    transformers = pytest.importorskip("transformers")
    reference = pytest.importorskip("compressed_tensors")
    if settings.get("zero"):  # release 0.20 makes no place for packed zeros when it loads
        tensors = load_file(tmp_path / "model" / "model.safetensors")
        given = json.loads((tmp_path / "model" / "config.json").read_text())["quantization_config"]
        scheme = reference.quantization.QuantizationConfig(**given).config_groups["group_0"]
        read = reference.compressors.BaseCompressor.get_value_from_registry("pack-quantized")
        codes = QuantisedFiles(open_weights(tmp_path / "model"), read_scheme(
            {"quantization_config": given}
        ))  # fmt: skip
        for name in (each for each in codes if codes.is_packed(each)):
            parts = {key.removeprefix(name.removesuffix("weight")): value
                     for key, value in tensors.items() if key.startswith(f"{name}_")}  # fmt: skip
            parts["weight_scale"] = parts["weight_scale"].float()
            found = read.decompress(parts, scheme)["weight"]
            torch.testing.assert_close(codes.read(name), found, rtol=1e-6, atol=1e-7)
        return
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "model", dtype=torch.float32
    )
    torch.testing.assert_close(theirs(ROWS[0]).logits, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("form", ["gptq", "gptq_v2"])
@pytest.mark.parametrize("bits", [4, 8])
def test_gptq_checkpoints(form: str, bits: int, tmp_path: Path) -> None:
    """Packed one by one, as its papers and programs have it: eight rows of inputs to a word."""
    stored = written(tmp_path / "model", model_of(), type=f"int{bits}", group="32", zero=True)
    file = tmp_path / "model" / "model.safetensors"
    tensors, each, half = load_file(file), 32 // bits, 1 << bits - 1

    def words(values: Tensor) -> Tensor:  # (count, columns), whole numbers from 0
        found = torch.zeros(len(values) // each, values.shape[1], dtype=torch.int64)
        for place in range(len(values)):
            found[place // each] |= values[place].long() << bits * (place % each)
        return torch.where(found >= 1 << 31, found - (1 << 32), found).to(torch.int32)

    for name in [name for name in tensors if name.endswith("weight_packed")]:
        stem = name.removesuffix("weight_packed")
        rows, width = tensors.pop(f"{stem}weight_shape").tolist()
        codes = _unpack(tensors.pop(name), bits, width).int() + half
        zero = _unpack(tensors.pop(f"{stem}weight_zero_point").T, bits, rows).int() + half
        tensors[f"{stem}qweight"] = words(codes.T)
        less = (zero - int(form == "gptq")) % (2 * half)
        tensors[f"{stem}qzeros"] = words(less.T).T.contiguous()
        tensors[f"{stem}scales"] = tensors.pop(f"{stem}weight_scale").T.contiguous()
        tensors[f"{stem}g_idx"] = (torch.arange(width) // 32).to(torch.int32)
        tensors[f"{stem}bias"] = torch.zeros(rows)  # AutoGPTQ wrote them where there are none
    save_file(tensors, file, {"format": "pt"})
    settings = {"quant_method": "gptq", "bits": bits, "group_size": 32, "desc_act": False,
                "sym": False, "checkpoint_format": form}  # fmt: skip
    edit(tmp_path / "model", quantization_config=settings)
    for (name, own), read in zip(
        stored.named_parameters(), load_model(tmp_path / "model").parameters(), strict=True
    ):
        torch.testing.assert_close(read, own.data, rtol=1e-6, atol=1e-7, msg=name)
    for added in ({"method": "gptq", "format": form}, {"format": form, "checkpoint_format": None}):
        edit(tmp_path / "model", quantization_config=settings | added)
        load_model(tmp_path / "model")
    for added, said in [
        ({"format": "marlin"}, "format must be"), ({"method": "qqq"}, "method must be"),
        ({"format": "gptq" if form == "gptq_v2" else "gptq_v2"}, "what checkpoint_format is"),
        ({"format": "marlin", "checkpoint_format": None}, "format must be"),
    ]:  # fmt: skip
        edit(tmp_path / "model", quantization_config=settings | added)
        with pytest.raises(ModelError, match=said):
            load_model(tmp_path / "model")
    edit(tmp_path / "model", quantization_config=settings)
    name = "model.layers.0.mlp.up_proj.bias"
    save_file({**tensors, name: tensors[name] + 1}, file, {"format": "pt"})
    with pytest.raises(ModelError, match=r"up_proj.bias' does not belong"):
        load_model(tmp_path / "model")
    name = "model.layers.0.mlp.up_proj.g_idx"
    save_file({**tensors, name: tensors[name].flip(0)}, file, {"format": "pt"})
    with pytest.raises(ModelError, match=r"up_proj.weight', 'g_idx' has columns in another order"):
        load_model(tmp_path / "model")


def edit(path: Path, **changes: Any) -> None:
    file = path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


# --- products -------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_torch", [True, False])
@pytest.mark.parametrize(
    ("bits", "group"), [(4, 32), (4, 96), (4, 48), (4, 192), (8, 192), (8, 32)]
)
def test_products_are_those_of_the_numbers(
    bits: int, group: int, by_torch: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within bf16's tolerance, and exact in fp32; for few rows and many, for rows that fill blocks
    and not."""
    if not by_torch:
        monkeypatch.setattr(packed, "_packs_in_blocks", lambda: False)
        monkeypatch.setitem(packed.FEW_ROWS, 8, 0)
    for rows, zero in ((128, False), (100, True), (65, False)):
        codes = codes_of(rows, 192, bits, group, zero=zero)
        matrix = pack(codes)
        for count in (1, 7, 40):
            x = torch.randn(count, 192, generator=torch.Generator().manual_seed(count))
            expected = x @ codes.values().T
            for dtype, near in ((torch.float32, 1e-5), (torch.bfloat16, 0.01)):
                found = matrix.multiply(x.to(dtype))
                assert found.shape == expected.shape
                assert found.dtype == dtype
                assert (found.float() - expected).norm() < near * expected.norm()


def test_layers_of_one_input_share_memory() -> None:
    for bits, rows, shares in ((4, (128, 64, 64), True), (4, (32, 64), False), (8, (5, 3), True)):
        parts = [codes_of(count, 64, bits, 32, seed=count) for count in rows]
        layers = packed_layers(parts, [None] * len(rows))
        assert all((layer.shared is not None) == shares for layer in layers)
        x = torch.randn(3, 2, 64)
        for part, layer in zip(parts, layers, strict=True):
            torch.testing.assert_close(layer(x), x @ part.values().T, rtol=1e-4, atol=1e-4)
            if shares and bits == 4:
                whole = layer.shared.blocks.untyped_storage()  # type: ignore[union-attr]
                assert layer.matrix.blocks.untyped_storage().data_ptr() == whole.data_ptr()  # type: ignore[attr-defined]


def test_matrices_are_joined_and_split_head_by_head() -> None:
    parts = [codes_of(8, 64, 4, 32, zero=True, seed=seed) for seed in (1, 2, 3)]
    for heads in (0, 4):
        again = split_codes(join_codes(parts, interleaved=heads), [8, 8, 8], interleaved=heads)
        for one, other in zip(parts, again, strict=True):
            assert torch.equal(one.values(), other.values())


# --- what is refused ------------------------------------------------------------------------------

Change = Callable[[dict[str, Any]], object]


def weights_of(settings: dict[str, Any]) -> dict[str, Any]:
    return settings["config_groups"]["group_0"]["weights"]  # type: ignore[no-any-return]


REFUSED: dict[str, tuple[Change, str]] = {
    "another method": (lambda s: s.update(quant_method="awq"), "quant_method must be"),
    "another layout": (lambda s: s.update(format="int-quantized"), "format must be 'pack-quan"),
    "no longer packed": (lambda s: s.update(quantization_status="frozen"), "quantization_status"),
    "a cache": (lambda s: s.update(kv_cache_scheme={"num_bits": 8}), "kv_cache_scheme must be"),
    "sparse": (lambda s: s.update(sparsity_config={"format": "x"}), "sparsity_config must be"),
    "rotations": (lambda s: s.update(transform_config={"a": 1}), "transform_config must be"),
    "two schemes": (lambda s: s["config_groups"].update(b={}), "config_groups must be one scheme"),
    "no scheme": (lambda s: s.update(config_groups=[]), "config_groups must be one scheme"),
    "inputs": (
        lambda s: s["config_groups"]["group_0"].update(input_activations={"num_bits": 8}),
        "group_0.input_activations must be",
    ),
    "bits": (lambda s: weights_of(s).update(num_bits=3), "num_bits must be 4 or 8. Got 3"),
    "floats": (lambda s: weights_of(s).update(type="float"), "type must be 'int'"),
    "order": (lambda s: weights_of(s).update(actorder="group"), "actorder must be"),
    "tensor": (lambda s: weights_of(s).update(strategy="tensor"), "strategy must be"),
    "group": (lambda s: weights_of(s).update(group_size=0), "group_size must be a whole number"),
    "unknown": (lambda s: weights_of(s).update(rotated=True), "rotated is not known"),
}


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("quantised") / "model"
    written(path, model_of(), group="32")
    return path


@pytest.fixture
def copied(quantised: Path, tmp_path: Path) -> Path:
    for file in quantised.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


@pytest.mark.parametrize("case", REFUSED)
def test_other_settings_are_refused_by_name(case: str, copied: Path) -> None:
    change, message = REFUSED[case]
    settings = json.loads((copied / "config.json").read_text())["quantization_config"]
    change(settings)
    edit(copied, quantization_config=settings)
    with pytest.raises(ModelError, match=f"quantization_config.*{message}"):
        load_model(copied)


NAME = "model.layers.0.mlp.up_proj.weight"
HOSTILE: dict[str, tuple[dict[str, Tensor | None], str]] = {
    "huge": ({"shape": torch.tensor([1 << 40, 1 << 40])}, "must be I32 of shape"),
    "negative": ({"shape": torch.tensor([96, -64])}, "at least one number. Got -64"),
    "no shape": ({"shape": None}, "'weight_shape' is missing"),
    "long shape": ({"shape": torch.tensor([96, 64, 1])}, "two whole numbers"),
    "floats": ({"packed": torch.zeros(96, 8)}, "'weight_packed' must be I32"),
    "few words": ({"packed": torch.zeros(96, 7, dtype=torch.int32)}, "'weight_packed' must be I32"),
    "few scales": ({"scale": torch.zeros(96, 1)}, r"'weight_scale' must be .* of shape \(96, 2\)"),
    "bad scales": (
        {"scale": torch.zeros(96, 2, dtype=torch.int32)}, "'weight_scale' must be F32 or"
    ),
    "zeros": (
        {"zero_point": torch.zeros(12, 2, dtype=torch.int32)}, "says that it is symmetric"
    ),
    "order": ({"g_idx": torch.zeros(64, dtype=torch.int32)}, "columns in another order"),
    "odd": ({"shape": torch.tensor([96, 63])}, "63 numbers do not divide into groups of 32"),
    "no number": ({"scale": torch.full((96, 2), float("nan"))}, "scales are infinite or not num"),
    "infinite": ({"scale": torch.full((96, 2), float("-inf"))}, "scales are infinite or not num"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_shapes_are_judged_first(case: str, copied: Path) -> None:
    changes, message = HOSTILE[case]
    file = copied / "model.safetensors"
    tensors: dict[str, Tensor | None] = dict(load_file(file))
    tensors |= {f"{NAME}_{part}": value for part, value in changes.items()}
    save_file({n: v for n, v in tensors.items() if v is not None}, file, {"format": "pt"})
    for packed_ in (True, False):
        with pytest.raises(ModelError, match=f"of the matrix '{NAME}', .*{message}"):
            load_model(copied, packed=packed_)


def test_a_matrix_of_another_shape_or_twice(copied: Path) -> None:
    file = copied / "model.safetensors"
    tensors = load_file(file)
    save_file({**tensors, NAME: torch.zeros(96, 64)}, file, {"format": "pt"})
    with pytest.raises(ModelError, match="is there twice"):
        load_model(copied)
    short = {f"{NAME}_{part}": tensors[f"{NAME}_{part}"][:64] for part in ("packed", "scale")}
    short[f"{NAME}_shape"] = torch.tensor([64, 64])
    save_file(tensors | short, file, {"format": "pt"})
    with pytest.raises(ModelError, match=r"must have shape \(96, 64\)\. Got \(64, 64\)"):
        load_model(copied)


def test_what_cannot_be_written(tmp_path: Path) -> None:
    model = model_of()
    for config, message in (
        (PackedConfig(group="128"), "no matrix of this model has rows that divide into groups"),
    ):
        with pytest.raises(ConfigError, match=message):
            write_packed(model, Path("x"), Path("x"), config)
    model.blocks[1].mlp.up.weight.data[3, 5] = float("inf")
    with pytest.raises(ModelError, match=r"layers\.1\.mlp\.up_proj\.weight has numbers that"):
        write_packed(model, Path("x"), Path("x"), PackedConfig())
    model = model_of()
    model.embedding.weight.data[3, 5] = float("inf")
    with pytest.raises(ModelError, match=r"embed_tokens\.weight has numbers that"):
        write_packed(model, Path("x"), Path("x"), PackedConfig())
    model.embedding.weight.data[3, 5] = 1e5
    with pytest.raises(ModelError, match=r"embed_tokens\.weight' has values .* in float16; use"):
        write_packed(model, tmp_path, tmp_path, PackedConfig(dtype="fp16"))
    other = replace(
        model.config, family="gpt2", positions="learned", kv_heads=4, activation="gelu_tanh"
    )
    with pytest.raises(ModelError, match="stores its matrices in columns"):
        write_packed(Transformer(other), Path("x"), Path("x"), PackedConfig())
