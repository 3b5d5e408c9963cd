"""Texts and small tokenizers that the tests of this folder share."""

from __future__ import annotations

import os
import pydoc_data.topics
from pathlib import Path

import pytest
from varied_texts import VARIED

from linnet.tokenizer import Tokenizer, TokenizerConfig, load, train


@pytest.fixture(scope="session")
def documents() -> list[str]:
    """Some hundred kilobytes of real English with code: Python's own help topics."""
    return [text for _, text in sorted(pydoc_data.topics.topics.items())][:40]


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of test data; tests that need it are skipped where there is none."""
    beside = Path(__file__).parents[2].parent / "shared" / "data"
    place = Path(os.environ.get("LINNET_TEST_DATA", beside))
    if not place.is_dir():
        pytest.skip("no test data: set LINNET_TEST_DATA")
    return place


@pytest.fixture(scope="session", params=["bpe", "bytes", "chars", "unigram"])
def trained(
    request: pytest.FixtureRequest,
    documents: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Tokenizer:
    """A tokenizer of each kind that Linnet trains."""
    if request.param == "unigram":
        pytest.importorskip("sentencepiece")
    out = tmp_path_factory.mktemp(request.param) / "tokenizer"
    config = TokenizerConfig(kind=request.param, vocab_size=700)
    train([*documents, *VARIED], out, config, inputs={})
    return load(out)
