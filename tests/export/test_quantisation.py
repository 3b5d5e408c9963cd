"""Number formats against gguf's own quantisation, to the bit, and read back."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from linnet.errors import ConfigError, ModelError
from linnet.export import ExportConfig, export_gguf, read_tensors
from linnet.gguf.architectures import tensors
from linnet.gguf.quantisation import encoded, format_of, stored_bytes
from linnet.model import load_model

gguf = pytest.importorskip("gguf")
pytest.importorskip("transformers")

LLAMA = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 40,  # no multiple of a block
}


@pytest.mark.parametrize("format", ["f32", "f16", "bf16", "q8_0", "q4_0"])
def test_bytes_are_those_of_gguf(format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linnet.gguf.quantisation._CHUNK_BYTES", 4096)  # in several pieces
    values = torch.randn(50, 96, generator=torch.Generator().manual_seed(0))
    values[3] = 0
    found = b"".join(chunk.tobytes() for chunk in encoded("x", values, format))
    kind = gguf.GGMLQuantizationType[format.upper()]
    assert found == gguf.quants.quantize(values.numpy(), kind).tobytes()
    assert len(found) == stored_bytes((50, 96), format)


def test_which_tensor_gets_which_format() -> None:
    assert format_of("blk.0.attn_norm.weight", (64,), "q4_0") == "f32"
    assert format_of("blk.0.ffn_up.weight", (96, 64), "q4_0") == "q4_0"
    assert format_of("blk.0.ffn_down.weight", (64, 40), "q4_0") == "f16"
    assert format_of("token_embd.weight", (300, 64), "q4_0") == "q8_0"
    assert format_of("position_embd.weight", (128, 64), "q8_0") == "f32"


@pytest.mark.parametrize(("format", "off"), [("f32", 0.0), ("bf16", 4e-3), ("q8_0", 8e-3)])
def test_a_file_reads_back(
    format: str, off: float, published: Callable[..., Path], tmp_path: Path
) -> None:
    path = published("Llama", LLAMA)
    file = export_gguf(path, tmp_path / "model.gguf", ExportConfig(type=format))
    own = dict(tensors(load_model(path)))
    found = dict(read_tensors(file))
    assert found.keys() == own.keys()
    for name, values in found.items():
        expected = own[name].float().numpy()
        assert values.shape == expected.shape
        assert np.abs(values - expected).max() <= off * max(1.0, np.abs(expected).max())


def test_values_that_no_format_holds_are_named() -> None:
    with pytest.raises(ModelError, match=r"'x' has values too large for f16; use bf16"):
        list(encoded("x", torch.full((2, 2), 1e6), "f16"))
    with pytest.raises(ModelError, match="'x' holds values that are not numbers"):
        list(encoded("x", torch.full((2, 2), float("nan")), "q8_0"))


def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF" + bytes(40))
    with pytest.raises(ModelError, match=r"a GGUF file must have version 2 or 3\. Got 0"):
        list(read_tensors(tmp_path / "x.gguf"))


def test_k_quants_need_the_program_and_the_widths(
    published: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = published("Llama", LLAMA), tmp_path / "model.gguf"
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="on the PATH, and there is none"):
        export_gguf(path, out, ExportConfig(type="q4_k_m"))
    program = tmp_path / "llama-quantize"
    program.write_text("#!/bin/sh\n/bin/cp $1 $2\n")
    program.chmod(0o755)
    with pytest.raises(ConfigError, match="widths that are multiples of 256"):
        export_gguf(path, out, ExportConfig(type="q4_k_m"))
    assert not out.exists()
    wide = published("Llama", LLAMA | {"hidden_size": 256, "intermediate_size": 256})
    export_gguf(wide, out, ExportConfig(type="q4_k_m"))
    assert dict(read_tensors(out))
    program.write_text("#!/bin/sh\necho out of luck >&2\nexit 3\n")
    before = out.read_bytes()
    with pytest.raises(ModelError, match="status 3: out of luck"):
        export_gguf(wide, out, ExportConfig(type="q4_k_m"))
    assert out.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


def test_unknown_type() -> None:
    with pytest.raises(ConfigError, match="type must be one of f32, f16"):
        ExportConfig(type="q9")
