"""One list out of several: what was found by words, and what was found by meaning.

Scores of different searches have different scales. Reciprocal rank fusion (Cormack et al., 2009)
looks at ranks alone. A weighted sum of scores, each scaled between the least that its search can
give and the most that it gave here (Bruch et al., 2023, arXiv:2210.11934), also uses how far
passages are apart, and is what measured better (docs/answers.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from linnet.errors import ConfigError
from linnet.retrieval.bm25 import Hit

Fusion = Literal["scores", "ranks"]

RANK_CONSTANT = 60
WEIGHTS = {"lexical": 0.5, "dense": 0.5}
"""How much a search counts, by its name; one that is not named here counts 0.5."""

LOWEST = {"lexical": 0.0, "dense": 0.0}
"""The least that a search can give; of others the least that it gave counts."""


def fuse(
    lists: Mapping[str, Sequence[Hit]],
    k: int,
    *,
    fusion: Fusion = "scores",
    weights: Mapping[str, float] = WEIGHTS,
) -> list[Hit]:
    """The ``k`` best of several lists, each the best first; scores are between 0 and 1.

    Of equals that with the lower number comes first. ``lists``: by the name of their search.
    """
    if fusion not in ("scores", "ranks"):
        raise ConfigError(f"fusion must be scores or ranks. Got {fusion!r}")
    total = sum(weights.get(name, 0.5) for name, found in lists.items() if found)
    fused: dict[int, float] = {}
    for name, found in lists.items():
        weight = weights.get(name, 0.5) / total if found else 0.0
        scaled = _by_rank(found) if fusion == "ranks" else _by_score(found, LOWEST.get(name))
        for hit, score in zip(found, scaled, strict=True):
            fused[hit.number] = fused.get(hit.number, 0.0) + weight * score
    ordered = sorted(fused.items(), key=lambda item: (-item[1], item[0]))
    return [Hit(number, score) for number, score in ordered[:k]]


def _by_rank(found: Sequence[Hit]) -> list[float]:
    return [(RANK_CONSTANT + 1) / (RANK_CONSTANT + rank) for rank in range(1, len(found) + 1)]


def _by_score(found: Sequence[Hit], lowest: float | None) -> list[float]:
    if not found:
        return []
    top = found[0].score
    least = found[-1].score if lowest is None else lowest
    return [(hit.score - least) / (top - least) if top > least else 1.0 for hit in found]
