"""Dividing clusters: never separated, never moved, about as many as asked for, no split empty."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnet.data.config import DataConfig
from linnet.data.split import NEW, TEST, TRAIN, VALIDATION, WITHHELD, divide, fit_borders, rank

# A corpus: for each document its cluster, its group (by number) and whether it is kept.
_documents = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 3), st.booleans()), min_size=1, max_size=40
)
_fractions = st.sampled_from([0.001, 0.05, 0.45])


def _rank(cluster: int, group: int) -> float:
    return rank(f"{cluster}/{group}", "linnet")


def _divide(
    documents: list[tuple[int, int, bool]], config: DataConfig, before: list[int] | None = None
) -> list[int]:
    sides = divide(
        np.array([cluster for cluster, _, _ in documents], np.int32),
        np.array([_rank(cluster, group) for cluster, group, _ in documents]),
        np.array(before or [NEW] * len(documents), np.int8),
        np.array([kept for _, _, kept in documents], np.bool_),
        config,
        sizes=np.full(len(documents), 100),
    )
    return sides.tolist()


@given(documents=_documents, data=st.data(), validation=_fractions, test=_fractions)
@settings(max_examples=200, deadline=None)
def test_a_cluster_is_in_one_split_the_one_that_its_past_decides(
    documents: list[tuple[int, int, bool]], data: st.DataObject, validation: float, test: float
) -> None:
    states = st.sampled_from([NEW, NEW, TRAIN, VALIDATION, TEST])
    before = data.draw(st.lists(states, min_size=len(documents), max_size=len(documents)))
    config = DataConfig(validation_fraction=validation, test_fraction=test)
    sides = _divide(documents, config, before)
    for cluster in {cluster for cluster, _, _ in documents}:
        members = [n for n, document in enumerate(documents) if document[0] == cluster]
        found = {sides[n] for n in members} - {WITHHELD}
        past = max(before[n] for n in members)
        assert found <= {past} if past != NEW else len(found) == 1
        withheld = [n for n in members if sides[n] == WITHHELD]
        assert withheld == [n for n in members if before[n] == TRAIN and past > TRAIN]


@given(documents=_documents, more=_documents, gone=st.integers(0, 39), test=_fractions)
@settings(max_examples=200, deadline=None)
def test_documents_stay_where_they_were_whatever_comes_and_goes(
    documents: list[tuple[int, int, bool]],
    more: list[tuple[int, int, bool]],
    gone: int,
    test: float,
) -> None:
    config = DataConfig(test_fraction=test)
    first = _divide(documents, config)
    stayed, before = documents[gone:], first[gone:]
    later = _divide(stayed + more, config, before + [NEW] * len(more))
    assert later[: len(stayed)] == before


@given(documents=_documents, old=st.integers(0, 40), validation=_fractions, test=_fractions)
@settings(max_examples=200, deadline=None)
def test_no_split_is_empty_where_enough_clusters_are_free(
    documents: list[tuple[int, int, bool]], old: int, validation: float, test: float
) -> None:
    config = DataConfig(validation_fraction=validation, test_fraction=test)
    before = [TRAIN if cluster < old else NEW for cluster, _, _ in documents]
    sides = _divide(documents, config, before)
    in_use = {cluster for cluster, _, kept in documents if kept}
    free = len([cluster for cluster in in_use if cluster >= old])
    found = {side for side, (_, _, kept) in zip(sides, documents, strict=True) if kept}
    if free >= 3 or (free == 2 and len(in_use) > 2):
        assert found == {TRAIN, VALIDATION, TEST}
    if free == 1 and len(in_use) > 2:  # one for both: training needs something to validate on
        assert VALIDATION in found
        assert TRAIN in found


def test_single_groups_are_divided_as_by_the_borders() -> None:
    groups = [f"file-{number}" for number in range(5000)]
    config = DataConfig(validation_fraction=0.1, test_fraction=0.05, split_key="another")
    borders = fit_borders(lambda: groups, config)
    sides = divide(
        np.arange(5000, dtype=np.int32),
        np.array([rank(group, config.split_key) for group in groups]),
        np.full(5000, NEW, np.int8),
        np.ones(5000, np.bool_),
        config,
        sizes=np.full(5000, 100),
    )
    names = ("train", "validation", "test")
    assert [names[side] for side in sides] == [borders.split_of(group) for group in groups]


@pytest.mark.parametrize("size", [1, 10, 100])
def test_large_clusters_are_held_out_no_more_often_than_small_ones(size: int) -> None:
    clusters = 3000
    documents = [(c, g, True) for c in range(clusters) for g in range(size)]
    sides = _divide(documents, DataConfig(validation_fraction=0.1, test_fraction=0.2))
    by_cluster = np.array(sides).reshape(clusters, size)
    assert (by_cluster == by_cluster[:, :1]).all()
    assert np.mean(by_cluster[:, 0] == TEST) == pytest.approx(0.2, abs=0.025)
    assert np.mean(by_cluster[:, 0] == VALIDATION) == pytest.approx(0.1, abs=0.02)


def test_without_a_past_one_document_more_or_less_moves_few_clusters() -> None:
    documents = [(c, g, True) for c in range(2000) for g in range(10)]
    config = DataConfig(validation_fraction=0.25, test_fraction=0.25)
    before = dict(zip(((c, g) for c, g, _ in documents), _divide(documents, config), strict=True))
    fewer = [document for document in documents if document[1] != 7]
    random.Random(5).shuffle(fewer)
    after = _divide(fewer, config)
    moved = np.mean([before[c, g] != side for (c, g, _), side in zip(fewer, after, strict=True)])
    # One draw in ten is another one, and of those 1 - (1/2^2 + 1/4^2 + 1/4^2) change the split.
    assert moved == pytest.approx(0.1 * 0.625, abs=0.02)


def test_nothing_is_divided_into_nothing() -> None:
    assert _divide([], DataConfig()) == []


def _divide_sizes(sizes: list[int], before: list[int] | None = None) -> np.ndarray:
    count = len(sizes)
    return divide(
        np.arange(count, dtype=np.int32),
        np.array([rank(f"file-{n}", "linnet") for n in range(count)]),
        np.array(before or [NEW] * count, np.int8),
        np.ones(count, np.bool_),
        DataConfig(),
        sizes=np.array(sizes),
    )


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("count", [40, 80, 300])
def test_held_out_text_is_a_share_of_the_bytes_in_several_documents(seed: int, count: int) -> None:
    """As in a folder: most documents are small, a few are large, one is nearly half of it."""
    draw = random.Random(seed)
    sizes = [int(draw.lognormvariate(8, 1.5)) for _ in range(count)]
    largest = draw.randrange(count)
    sizes[largest] = int(0.6 * (sum(sizes) - sizes[largest]))
    sides = _divide_sizes(sizes)
    shares = {side: sum(np.array(sizes)[sides == side]) / sum(sizes) for side in (VALIDATION, TEST)}
    assert sides[largest] == TRAIN
    for side, share in shares.items():
        assert 0.025 <= share <= 0.1, shares
        assert (sides == side).sum() >= 4
    # What comes later is divided by rank alone, but for what would fill a split.
    later = _divide_sizes([*sizes, *sizes], [*sides.tolist(), *[NEW] * count])
    assert (later[:count] == sides).all()
    assert later[count + largest] == TRAIN
