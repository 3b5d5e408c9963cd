"""Settings: what is accepted, what is refused, and in which words."""

import dataclasses
import importlib
import pkgutil
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linnet
from linnet.config import (
    dump_toml,
    from_mapping,
    load_toml,
    option,
    parse_duration,
    replace,
    show_duration,
    to_mapping,
)
from linnet.data import DataConfig
from linnet.errors import ConfigError
from linnet.evaluate import EvaluateConfig
from linnet.finetune.config import FinetuneConfig
from linnet.generate.sampling import Sampling
from linnet.shards import EncodeConfig
from linnet.tokenizer import TokenizerConfig
from linnet.train.config import TrainConfig


@dataclass(frozen=True)
class Inner:
    size: int = option(1, "a size")


@dataclass(frozen=True)
class Settings:
    width: int = option(256, "a whole number")
    rate: float = option(0.1, "a number")
    name: str = option("x", "text")
    tied: bool = option(False, "yes or no")
    kind: Literal["small", "large"] = option("small", "a choice")
    columns: tuple[str, ...] = option((), "a list")
    place: Path | None = None
    inner: Inner = field(default_factory=Inner)
    table: dict[str, Any] = field(default_factory=dict)


def make(**values: Any) -> Settings:
    return from_mapping(Settings, values, where="recipe.toml [train]")


def test_values_are_converted_to_the_declared_types() -> None:
    made = make(rate=1, columns=["a", "b"], place="/tmp", inner={"size": 3}, kind="large")
    assert made == Settings(
        rate=1.0, columns=("a", "b"), place=Path("/tmp"), inner=Inner(3), kind="large"
    )
    assert isinstance(made.rate, float)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"widht": 3}, "unknown setting 'widht'; did you mean 'width'?"),
        ({"zzz": 3}, "unknown setting 'zzz'; known: width, rate, name"),
        ({"width": "3"}, "width must be a whole number. Got '3'"),
        ({"width": 3.0}, "width must be a whole number. Got 3.0"),
        ({"width": True}, "width must be a whole number. Got True"),
        ({"rate": "fast"}, "rate must be a number. Got 'fast'"),
        ({"rate": True}, "rate must be a number. Got True"),
        ({"rate": float("nan")}, "rate must be a finite number. Got nan"),
        ({"tied": 1}, "tied must be true or false. Got 1"),
        ({"name": 1}, "name must be text. Got 1"),
        ({"kind": "lrage"}, "must be one of small, large. Got 'lrage'; did you mean 'large'?"),
        ({"columns": "a"}, 'columns must be a list, such as ["a"]. Got ' + repr("a")),
        ({"columns": [1]}, "columns must be text. Got 1"),
        ({"inner": 1}, "inner must be a table. Got 1"),
        ({"inner": {"sise": 1}}, "inner: unknown setting 'sise'; did you mean 'size'?"),
        ({"table": 1}, "table must be a table. Got 1"),
    ],
)
def test_wrong_values_are_refused_with_the_place_and_the_remedy(
    values: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        make(**values)
    assert str(caught.value).startswith("recipe.toml [train]")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "values", "said"),
    [
        (Sampling, {"temperature": "0.5"}, "temperature must be a number. Got '0.5'"),
        (Sampling, {"max_tokens": 1.5}, "max_tokens must be a whole number. Got 1.5"),
        (Sampling, {"max_tokens": True}, "max_tokens must be a whole number. Got True"),
        (Sampling, {"top_k": None}, "top_k must be a whole number. Got None"),
        (Sampling, {"stop": "end"}, "stop must be a list, such as [\"end\"]. Got 'end'"),
        (DataConfig, {"include": "*.md"}, 'include must be a list, such as ["*.md"]. Got'),
        (TrainConfig, {"steps": 10**30}, "steps must be a whole number of 64 bits. Got 1000"),
        (TrainConfig, {"steps": 9, "schedule": "cosin"}, "Got 'cosin'; did you mean 'cosine'?"),
        (TrainConfig, {"steps": 9, "tied": "no"}, "tied must be true or false. Got 'no'"),
        (TrainConfig, {"steps": 9, "seed": -1}, "seed must be 0 or more. Got -1"),
        (TrainConfig, {"steps": 9, "head_width": 0}, "head_width must be at least 1. Got 0"),
        (TrainConfig, {"steps": 9, "context": -5}, "context must be at least 1. Got -5"),
        (TrainConfig, {"steps": 9, "matrix_lr": 1e300}, "matrix_lr must be between 0 and "),
        (TrainConfig, {"steps": 9, "threads": 100000}, "threads must be between 0 and 4,096"),
        (FinetuneConfig, {"method": "qlora"}, "method must be one of lora, full. Got 'qlora'"),
        (FinetuneConfig, {"targets": "q_proj"}, "targets must be a list, such as"),
    ],
)
def test_python_is_held_to_the_types_and_bounds_of_toml(
    config: Any, values: dict[str, Any], said: str
) -> None:
    for make in (lambda: config(**values), lambda: from_mapping(config, values, where="x")):
        with pytest.raises(ConfigError, match=re.escape(said)):
            make()


def test_all_settings_with_options_are_held_to_them() -> None:
    for found in pkgutil.walk_packages(linnet.__path__, "linnet."):
        if not found.name.startswith("linnet.cli.__main__"):
            importlib.import_module(found.name)
    free = [
        each.__qualname__
        for each in object.__subclasses__()
        if dataclasses.is_dataclass(each)
        and each.__module__.startswith("linnet.")
        and any("bounds" in field.metadata for field in dataclasses.fields(each))
    ]
    assert free == []


def test_what_python_calls_alike_is_taken() -> None:
    made = DataConfig(include=["*.md"], max_nesting=np.int64(2), near_duplicates=1)  # type: ignore[arg-type]
    assert made.include == ("*.md",)
    assert type(made.max_nesting) is int
    assert FinetuneConfig(validation=Path("rows.jsonl")).validation == "rows.jsonl"  # type: ignore[arg-type]
    assert made == DataConfig(include=("*.md",), max_nesting=2, near_duplicates=1.0)


def test_a_missing_required_setting_is_named() -> None:
    @dataclass(frozen=True)
    class Required:
        size: int

    with pytest.raises(ConfigError, match="setting 'size' is missing"):
        from_mapping(Required, {}, where="here")


def test_replace_ignores_what_was_not_given_and_checks_the_rest() -> None:
    assert replace(Settings(width=3), {"rate": 0.5, "name": None}) == Settings(width=3, rate=0.5)
    with pytest.raises(ConfigError, match="command line"):
        replace(Settings(), {"kind": "huge"})


@pytest.mark.parametrize(
    "config",
    [
        Settings(columns=("a",), place=Path("x"), inner=Inner(2), table={"k": [1, 2]}),
        DataConfig(text_columns=("a", "b")),
        TokenizerConfig(),
        EncodeConfig(),
        TrainConfig(steps=3),
        EvaluateConfig(),
    ],
)
def test_every_configuration_survives_a_toml_file(config: Any, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(dump_toml(to_mapping(config)), encoding="utf-8")
    assert from_mapping(type(config), load_toml(file), where=str(file)) == config


@pytest.mark.parametrize("content", [b"width = ", b"\xff\xfe", b"[a]\n[a]\n"])
def test_a_file_that_is_not_toml_is_named(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"settings\.toml: not valid TOML"):
        load_toml(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such configuration file"):
        load_toml(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (90, 90), (0.5, 0.5), ("90s", 90), ("5m", 300), ("1h", 3600), ("1h30m", 5400), ("1.5m", 90),
        (" 2h 3m 4s ", 7384), ("1m 35s", 95), (0.00001, 0.00001),
    ],
)  # fmt: skip
def test_durations(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["5", "0.5", " 90 "])
def test_a_time_without_a_unit_is_asked_about(text: str) -> None:
    with pytest.raises(ConfigError, match=f"{text.strip()}s for seconds or {text.strip()}m for"):
        parse_duration(text)


@pytest.mark.parametrize(
    "text",
    ["", "soon", "0", "0s", "-5m", "5x", "1h30", "m", "1m1h", "nan", "inf", "9" * 400, "٥m",
     "99999999999999h", 0, -1, 10**400, float("nan"), float("inf")],
)  # fmt: skip
def test_what_is_not_a_duration(text: str | float) -> None:
    with pytest.raises(ConfigError, match="a time must look like 90s, 5m or 1h30m"):
        parse_duration(text)


@given(st.integers(1, 1_000_000))
def test_a_shown_duration_can_be_typed_back(seconds: int) -> None:
    back = parse_duration(show_duration(seconds))
    # Above an hour seconds are not shown.
    assert back == seconds if seconds < 3600 else 0 <= seconds - back < 60


@given(st.text(max_size=12))
def test_parsing_a_duration_never_fails_otherwise(text: str) -> None:
    try:
        assert 0 < parse_duration(text) < float("inf")
    except ConfigError:
        return


@given(
    st.dictionaries(
        st.sampled_from(["width", "rate", "name", "tied", "kind", "columns", "inner", "place"]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text()),
    )
)
def test_any_plain_value_is_taken_or_refused(values: dict[str, Any]) -> None:
    try:
        made = make(**values)
    except ConfigError:
        return
    assert from_mapping(Settings, to_mapping(made), where="again") == made
