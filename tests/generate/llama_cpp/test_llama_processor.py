"""What is said of a processor that can do more than the installed llama.cpp uses."""

import pytest

from linnet.generate.llama_cpp.resources import advice, unused_instructions

# What xllamacpp 2026.10 says of itself: from PyPI, and built on a Sapphire Rapids.
WHEEL = "CPU : AVX = 1 | AVX2 = 1 | F16C = 1 | FMA = 1 | BMI2 = 1 | REPACK = 1 |"
NATIVE = (
    "CPU : AVX = 1 | AVX_VNNI = 1 | AVX2 = 1 | F16C = 1 | FMA = 1 | BMI2 = 1 "
    "| AVX512 = 1 | AVX512_VBMI = 1 | AVX512_VNNI = 1 | AVX512_BF16 = 1 | REPACK = 1 |"
)
PROCESSOR = frozenset(
    ("avx", "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "avx512vl")
)


def test_what_is_left_unused() -> None:
    assert unused_instructions(WHEEL, PROCESSOR) == (
        "AVX512", "AVX512_VNNI", "AVX512_BF16", "AVX_VNNI",
    )  # fmt: skip
    assert unused_instructions(NATIVE, PROCESSOR) == ()
    assert unused_instructions(NATIVE, PROCESSOR | {"amx_int8"}) == ("AMX_INT8",)
    assert unused_instructions(WHEEL, frozenset(("avx", "avx2"))) == ()


def test_advice_names_them_and_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linnet.generate.llama_cpp.resources.cpu_features", lambda: PROCESSOR)
    said = advice(WHEEL)
    assert said is not None
    assert "AVX512_VNNI" in said
    assert "--no-binary xllamacpp" in said
    assert advice(NATIVE) is None
