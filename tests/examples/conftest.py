"""One small corpus for all tests of examples."""

from pathlib import Path

import few_examples
import pytest

from linnet.examples import Example


@pytest.fixture(scope="session")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return few_examples.small_corpus(tmp_path_factory.mktemp("trees"))


@pytest.fixture(scope="session")
def tree_examples(trees: Path) -> list[Example]:
    return few_examples.examples_of(trees)


@pytest.fixture
def place(tmp_path: Path, trees: Path, tree_examples: list[Example]) -> Path:
    """A directory of examples, with nothing decided about them."""
    few_examples.write(tmp_path / "examples", tree_examples, trees)
    return tmp_path / "examples"
