"""How many examples of each kind are kept: no kind outweighs the others, questions lead.

Of each kind those are kept that come first when every document gives its first one before any gives
its second; among those of one rank a hash decides, so that the choice is the same every time.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from linnet.examples.config import ExamplesConfig

_MOST_GIVEN_UP = 0.5  # of the accepted examples; rather than lose more, shares are exceeded


class Row(NamedTuple):
    """What the balance needs of an accepted example."""

    id: str
    kind: str
    source: str | None


@dataclass(frozen=True)
class Balance:
    """What is kept, by id."""

    kept: frozenset[str]
    accepted: Mapping[str, int] = field(default_factory=dict)
    """How many of each kind were accepted."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """How many of each kind are kept."""
    exceeded: bool = False
    """Whether shares are exceeded, because too little would be left within them."""


def balanced(rows: Iterable[Row], config: ExamplesConfig) -> Balance:
    """Choose among the accepted examples."""
    ranks: Counter[tuple[str | None, str]] = Counter()
    by_kind: dict[str, list[tuple[int, bytes, str]]] = defaultdict(list)
    for one in rows:
        rank = ranks[one.source, one.kind] if one.source is not None else 0
        ranks[one.source, one.kind] += 1
        key = hashlib.blake2b(f"{config.seed} {one.id}".encode(), digest_size=8).digest()
        by_kind[one.kind].append((rank, key, one.id))
    accepted = {kind: len(found) for kind, found in by_kind.items()}
    counts, exceeded = shares(accepted, config)
    kept: set[str] = set()
    for kind, found in by_kind.items():
        kept.update(identity for _, _, identity in sorted(found)[: counts[kind]])
    return Balance(frozenset(kept), accepted, counts, exceeded)


def shares(accepted: Mapping[str, int], config: ExamplesConfig) -> tuple[dict[str, int], bool]:
    """How many of each kind to keep, and whether the shares had to be exceeded."""
    total = sum(accepted.values())
    limit = min(total, config.limit or total)
    best = _largest(accepted, config, limit)
    if sum(best.values()) >= (1 - _MOST_GIVEN_UP) * limit:
        return best, False
    return _scaled(dict(accepted), limit), True


def _largest(accepted: Mapping[str, int], config: ExamplesConfig, limit: int) -> dict[str, int]:
    """The largest choice within the shares: found by halving, since a larger total allows more of
    each kind, but also asks for more questions."""
    low, high, best = 0, limit, dict.fromkeys(accepted, 0)
    while low < high:
        total = (low + high + 1) // 2
        found = _of_total(accepted, config, total)
        if found is None:
            high = total - 1
        else:
            low, best = total, found
    return best


def _of_total(
    accepted: Mapping[str, int], config: ExamplesConfig, total: int
) -> dict[str, int] | None:
    """This many examples within the shares; None where there are not."""
    cap = int(config.largest_share * total + 1e-9)
    most = {kind: min(count, cap) for kind, count in accepted.items()}
    questions = most.get("question", 0)
    if "question" in accepted and questions < config.question_share * total:
        return None
    if sum(most.values()) < total:
        return None
    least = -int(-config.question_share * total // 1) if "question" in accepted else 0
    others = {kind: count for kind, count in most.items() if kind != "question"}
    asked = max(least, total - sum(others.values()))
    if "question" in accepted:
        asked = max(asked, min(questions, round(total * questions / sum(most.values()))))
        return {"question": asked, **_scaled(others, total - asked)}
    return _scaled(others, total)


def _scaled(counts: dict[str, int], total: int) -> dict[str, int]:
    """As many as ``total``, taken from the kinds that have most."""
    counts, spare = dict(counts), sum(counts.values()) - total
    while spare > 0:
        order = sorted(counts, key=lambda kind: (-counts[kind], kind))
        most = counts[order[0]]
        level = [kind for kind in order if counts[kind] == most]
        below = max((counts[kind] for kind in order if counts[kind] < most), default=0)
        step = max(min(most - below, spare // len(level)), 1)
        for kind in level:
            taken = min(step, spare)
            counts[kind] -= taken
            spare -= taken
    return counts
