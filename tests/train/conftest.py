"""What the tests of training share."""

from pathlib import Path

import pytest
from test_loop import make_shards


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Encoded documents of some sixteen words."""
    return make_shards(tmp_path_factory.mktemp("data"))
