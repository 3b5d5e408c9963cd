"""What Python programs see: names, types, defaults that can be read."""

import inspect
import re
from pathlib import Path

import pytest

import linnet
import linnet.pipeline
from linnet.errors import ConfigError

FUNCTIONS = [name for name in linnet.__all__ if inspect.isfunction(getattr(linnet, name))]


def test_the_typed_example_is_the_readmes() -> None:
    here = Path(__file__).parent
    readme = (here.parent / "README.md").read_text(encoding="utf-8")
    block = re.search(r"```python\nimport linnet\n\n(.*?)```", readme, re.DOTALL)
    assert block is not None
    checked = inspect.cleandoc((here / "typed_consumer.py").read_text(encoding="utf-8"))
    indented = "\n".join(f"    {line}".rstrip() for line in block[1].strip().splitlines())
    assert f"def readme() -> None:\n{indented}\n" in checked


def test_every_public_name_is_there_and_typed() -> None:
    assert set(linnet.__all__) <= set(dir(linnet))
    consumer = (Path(__file__).parent / "typed_consumer.py").read_text(encoding="utf-8")
    for name in linnet.__all__:
        assert getattr(linnet, name) is not None
        assert f"linnet.{name}" in consumer, f"{name} is not type-checked"
    assert (Path(linnet.__file__).parent / "py.typed").is_file()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_signatures_can_be_read(name: str) -> None:
    signature = inspect.signature(getattr(linnet, name))
    assert " at 0x" not in str(signature)
    assert signature.return_annotation is not inspect.Signature.empty
    assert inspect.getdoc(getattr(linnet, name))


def test_times_in_either_form(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("some text", encoding="utf-8")
    asked = []
    monkeypatch.setattr(linnet.pipeline._Builder, "run", lambda self: asked.append(self.project))
    linnet.build(tmp_path / "a.txt", tmp_path / "m", budget=50)
    linnet.build(str(tmp_path / "a.txt"), tmp_path / "n", budget="5m")
    assert [project.workspace().budget for project in asked] == [50, 300]
    with pytest.raises(ConfigError, match="5s for seconds or 5m for minutes"):
        linnet.build(tmp_path / "a.txt", tmp_path / "o", budget="5")
