"""What Python programs call."""

import shutil
from pathlib import Path

import pytest
from tiny_models import MakeModel

import linnet
from linnet.errors import ConfigError, ModelError
from linnet.generate import EngineConfig, GenerateConfig, Request, Sampling
from linnet.generate.torch_engine import TorchEngine
from linnet.serve import ServeConfig


def test_generate_and_stream_take_settings_by_name(make_model: MakeModel) -> None:
    model = linnet.load(make_model("qwen3"), engine="torch")
    named = model.generate("Once upon", max_tokens=20, temperature=0.9, seed=1, stop=("zzz",))
    sampling = Sampling(max_tokens=20, temperature=0.9, seed=1, stop=("zzz",))
    assert named == model.engine.generate([Request("Once upon", sampling)])[0]
    assert named == model.generate("Once upon", sampling=sampling)
    assert named != model.generate("Once upon", sampling=sampling, seed=2)
    chunks = list(model.stream("Once upon", sampling=sampling))
    assert "".join(chunk.text for chunk in chunks) == named.text
    assert len(model.score("The fox").tokens) == len(model.score("The fox").logprobs)


def test_bad_settings(make_model: MakeModel) -> None:
    model = linnet.load(make_model("llama"), engine="torch")
    with pytest.raises(ConfigError, match="temperature must be"):
        model.generate("x", temperature=-1)
    with pytest.raises(ConfigError, match="max_tokens must be a whole number"):
        model.stream("x", max_tokens=1.5)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="device must be one of auto, cpu"):
        linnet.load("x", device="tpu")  # type: ignore[arg-type]


def test_opens_a_project_too(make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model("llama")
    shutil.copytree(model, tmp_path / "project" / "model")
    settings = Sampling(temperature=0, max_tokens=5)
    expected = linnet.load(model, engine="torch").generate("The", sampling=settings)
    assert (
        linnet.load(tmp_path / "project", engine="torch").generate("The", sampling=settings)
        == expected
    )
    with pytest.raises(ModelError, match="expected a model directory"):
        linnet.load(tmp_path, engine="torch")


def test_a_device_or_a_dtype_asks_for_torch(make_model: MakeModel) -> None:
    model = make_model("llama")
    for settings in ({"dtype": "fp32"}, {"engine": "torch"}, {"device": "auto"}):
        engine = linnet.load(model, **settings).engine  # type: ignore[arg-type]
        assert isinstance(engine, TorchEngine)
        assert engine.precision == "f32"
    assert linnet.load(model, dtype="bf16").engine.precision == "bf16"
    assert GenerateConfig().engine == EngineConfig().engine == ServeConfig().engine == "auto"
