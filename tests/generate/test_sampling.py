"""Settings that cannot work are refused by name."""

import math

import pytest

from linnet.config import replace
from linnet.errors import ConfigError
from linnet.generate import Sampling


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", 0),
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("top_k", -1),
        ("top_p", 0),
        ("top_p", 1.01),
        ("top_p", math.nan),
        ("min_p", -0.5),
        ("min_p", 2),
        ("repetition_penalty", 0),
        ("stop", ["end", ""]),
        ("seed", -1),
        ("seed", 1 << 63),
        ("temperature", "hot"),
        ("top_k", 1.5),
    ],
)
def test_bad_values(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"{name}.* must be") as caught:
        replace(Sampling(), {name: value})
    assert "\n" not in str(caught.value)


def test_bounds_that_work() -> None:
    Sampling(max_tokens=1, temperature=0, top_p=1e-6, min_p=1, seed=0, stop=("x",))
