"""Nearest vectors against a full sort, fusion against its definitions, measures against known
values."""

import numpy as np
import pytest

from linnet.errors import ConfigError, DataError
from linnet.retrieval.bm25 import Hit
from linnet.retrieval.fusion import fuse
from linnet.retrieval.measures import MEASURES, paired_difference, rank_of, ranks_of, summary
from linnet.retrieval.vectors import BLOCK, nearest, similarities


@pytest.mark.parametrize("kind", [np.float32, np.float16])
@pytest.mark.parametrize("count", [0, 1, 7, BLOCK, 2 * BLOCK + 5])
def test_the_nearest_are_those_of_a_full_sort(kind: type, count: int) -> None:
    draw = np.random.default_rng(count)
    rows = draw.standard_normal((count, 16)).astype(kind)
    if count > 3:
        rows[3] = rows[1]  # equal scores
    query = draw.standard_normal(16).astype(np.float32)
    wanted = rows.astype(np.float32) @ query
    allowed = draw.random(count) < 0.7
    for mask, k in ((None, 5), (allowed, 5), (allowed, count + 3)):
        found = nearest(rows, query, k, allowed=mask)
        order = sorted(
            (n for n in range(count) if mask is None or mask[n]), key=lambda n: (-wanted[n], n)
        )
        scores = [hit.score for hit in found]
        np.testing.assert_allclose(scores, wanted[order[:k]], rtol=1e-4, atol=1e-4)
        assert len({hit.number for hit in found}) == len(found) == min(k, len(order))
        assert scores == sorted(scores, reverse=True)


def test_vectors_of_another_length_are_refused() -> None:
    with pytest.raises(DataError, match="Got 8 and 9; the index was made with another encoder"):
        similarities(np.zeros((3, 8), np.float32), np.zeros((1, 9), np.float32))


LEXICAL = [Hit(1, 8.0), Hit(2, 4.0), Hit(3, 2.0)]
DENSE = [Hit(2, 0.8), Hit(4, 0.6), Hit(1, 0.2)]


@pytest.mark.parametrize(
    ("fusion", "lists", "wanted"),
    [
        (
            "scores",
            {"lexical": LEXICAL, "dense": DENSE},
            [(2, 0.5 * 0.5 + 0.5), (1, 0.5 + 0.5 * 0.25), (4, 0.5 * 0.75), (3, 0.5 * 0.25)],
        ),
        (
            "ranks",
            {"lexical": LEXICAL, "dense": DENSE},
            [(2, 30.5 / 62 + 30.5 / 61), (1, 30.5 / 61 + 30.5 / 63), (4, 30.5 / 62),
             (3, 30.5 / 63)],
        ),
        ("scores", {"lexical": [], "dense": DENSE}, [(2, 1.0), (4, 0.75), (1, 0.25)]),
        ("scores", {"lexical": LEXICAL}, [(1, 1.0), (2, 0.5), (3, 0.25)]),
        ("scores", {"other": [Hit(5, 3.0), Hit(6, 3.0)]}, [(5, 1.0), (6, 1.0)]),
        ("scores", {}, []),
    ],
)  # fmt: skip
def test_fusion_is_what_its_definition_says(
    fusion: str, lists: dict[str, list[Hit]], wanted: list[tuple[int, float]]
) -> None:
    found = fuse(lists, 10, fusion=fusion)  # type: ignore[arg-type]
    assert [hit.number for hit in found] == [number for number, _ in wanted]
    assert [hit.score for hit in found] == pytest.approx([score for _, score in wanted])
    assert fuse(lists, 2, fusion=fusion) == found[:2]  # type: ignore[arg-type]


def test_another_fusion_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"fusion must be scores or ranks\. Got 'sum'"):
        fuse({}, 3, fusion="sum")  # type: ignore[arg-type]


def test_ranks_and_measures_are_the_known_values() -> None:
    scores = np.array([[0.9, 0.5, 0.5, 0.1], [0.2, 0.2, 0.2, 0.2], [0.0, 1.0, 2.0, 3.0]])
    found = ranks_of(scores, [{1}, {0, 3}, set()])
    assert found.tolist() == [3.0, 3.0, np.inf]  # of equals the wrong ones come first
    assert rank_of(["a", "b", "a"], {"b", "c"}) == 2
    assert rank_of(["a"], {"b"}) == np.inf
    ranks = np.array([1.0, 3.0, 11.0, np.inf])
    assert MEASURES["recall@1"](ranks).tolist() == [1, 0, 0, 0]
    assert MEASURES["recall@5"](ranks).tolist() == [1, 1, 0, 0]
    assert MEASURES["ndcg@10"](ranks).tolist() == [1, 0.5, 0, 0]
    assert MEASURES["mrr"](ranks) == pytest.approx([1, 1 / 3, 1 / 11, 0])
    made = summary(ranks)
    assert made["questions"] == 4
    assert made["recall@1"]["low"] <= made["recall@1"]["value"] == 0.25 <= made["recall@1"]["high"]


def test_a_difference_that_chance_may_make_has_zero_in_its_interval() -> None:
    draw = np.random.default_rng(0)
    ranks = draw.integers(1, 20, 200).astype(float)
    low, high = paired_difference(ranks, draw.permutation(ranks))
    assert low < 0 < high
    low, high = paired_difference(np.maximum(ranks - 3, 1), ranks)
    assert 0 < low < high
