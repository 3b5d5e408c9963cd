"""The engine on llama.cpp."""

from pathlib import Path

import pytest

from linnet.generate.llama_cpp.cache import cache_directory


@pytest.fixture(scope="session")
def gguf_cache(own_cache: None) -> Path:
    """Where GGUF files are kept during the tests."""
    return cache_directory()
