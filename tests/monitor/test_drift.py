"""Drift: seldom said where there is none, soon where there is, and by how much.

The scores of questions are drawn from quantiles of real ones: MedQuAD's questions to an index of
its answers, and Alpaca's (without medical ones) as what is off-topic; ``benchmarks/drift.py`` has
the same with the scores themselves.
"""

import itertools
import json
import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest

from linnet.monitor.bets import Bets, ConfidenceSequence, Tails
from linnet.monitor.drift import (
    FALSE_ALARM,
    FIRST,
    FORTUNE,
    LEAST_REFERENCE,
    RECENT_DAYS,
    REFERENCE_ERROR,
    FirstQuestions,
    Reference,
    Watch,
    _place,
)

Numbers = npt.NDArray[np.float64]

A_DAY = 50
MONTH = 30 * A_DAY
DAY = 86_400.0

# At 0, 5, 10, 25, 50, 75, 90, 95 and 100 %.
ON_TOPIC = {
    "in_scope": (0.679, 0.994, 0.997, 0.999, 1, 1, 1, 1, 1),
    "probability": (0.0263, 0.0643, 0.0776, 0.152, 0.343, 0.542, 0.704, 0.787, 0.981),
    "words": (4, 5, 5, 6, 8, 10, 12, 13, 18),
    "found_covered": (0.344, 0.751, 0.82, 0.913, 1, 1, 1, 1, 1),
    "words_covered": (0.195, 0.696, 0.761, 0.882, 1, 1, 1, 1, 1),
    "lexical_level": (-0.572, 0.661, 1.28, 2.48, 4.89, 6.47, 9.25, 10.8, 16.2),
}
OFF_TOPIC = {
    "in_scope": (0, 0, 0, 0, 0, 0, 0, 0, 0),
    "probability": (0, 0, 0, 0, 0, 0, 0, 0, 0),
    "words": (4, 6, 7, 8, 12, 16, 22, 30.5, 79),
    "found_covered": (0, 0.146, 0.195, 0.289, 0.431, 0.536, 0.695, 0.769, 1),
    "words_covered": (0, 0.0841, 0.109, 0.142, 0.202, 0.289, 0.389, 0.429, 0.855),
    "lexical_level": (-2.31, -1.69, -1.47, -1.04, -0.412, 0.256, 1.77, 2.57, 8.73),
}
SHARES = (0, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 1)
ALIKE = 0.6  # correlation of the numbers of a question, about that of the real ones


def drawn(table: dict[str, tuple[float, ...]], shape: tuple[int, ...], seed: int) -> Numbers:
    """Numbers of questions, each with its own distribution, and correlated."""
    generator = np.random.default_rng(seed)
    common = generator.standard_normal((*shape, 1))
    own = generator.standard_normal((*shape, len(table)))
    normal = math.sqrt(ALIKE) * common + math.sqrt(1 - ALIKE) * own
    erf = np.vectorize(math.erf)
    shares = 0.5 * (1 + erf(normal / math.sqrt(2)))
    return np.stack(
        [np.interp(shares[..., k], SHARES, values) for k, values in enumerate(table.values())], -1
    )


def reference_of(rows: Numbers) -> Reference:
    found = Reference.of("gate", [dict(zip(ON_TOPIC, row, strict=True)) for row in rows])
    assert found is not None
    return found


def fortunes(reference: Numbers, questions: Numbers, seed: int) -> Numbers:
    """The logarithm of the larger fortune after each question; many streams at once.

    ``reference``: (streams, numbers, columns); as a watch has it, but for what chance decides.
    """
    generator = np.random.default_rng(seed)
    streams, count, columns = questions.shape
    bags = np.concatenate([reference, questions], 1)
    every, alone = Bets((streams, columns)), Bets((streams, columns))
    found = np.empty((streams, count))
    # In whole numbers, those of each stream and column above those of the one before.
    flat = np.moveaxis(bags, 1, 2).reshape(streams * columns, -1)
    codes = np.stack([np.unique(row, return_inverse=True)[1] for row in flat])
    codes += np.arange(len(codes))[:, None] * bags.shape[1]
    tails = [Tails(np.sort(row[: reference.shape[1]]), REFERENCE_ERROR / columns) for row in flat]
    lows, highs = (
        np.stack([getattr(own, name)(row) for own, row in zip(tails, flat, strict=True)])
        for name in ("below", "above")
    )
    earlier = np.tri(A_DAY, k=-1, dtype=bool)
    for begin in range(reference.shape[1], bags.shape[1], A_DAY):
        before, new = np.sort(codes[:, :begin]).ravel(), codes[:, begin : begin + A_DAY]
        starts = np.arange(len(codes))[:, None] * begin
        below = np.searchsorted(before, new, "left") - starts
        most = np.searchsorted(before, new, "right") - starts
        below += ((new[:, None, :] < new[:, :, None]) & earlier).sum(-1)
        most += ((new[:, None, :] <= new[:, :, None]) & earlier).sum(-1)
        for n in range(A_DAY):
            chance = generator.random(len(codes))
            places = (below[:, n] + chance * (most[:, n] - below[:, n] + 1)) / (begin + n + 1)
            places = places.reshape(streams, columns)
            every.bet(places, 1 - places)
            low, high = (own[:, begin + n].reshape(streams, columns) for own in (lows, highs))
            alone.bet(low, high)
            both = every.together(), alone.together()
            found[:, begin - reference.shape[1] + n] = np.maximum(*both)
    return found


def test_bets_are_fair_whatever_is_held() -> None:
    """On places that are uniform no bet gains: over a grid, whose mean is exact for steps."""
    grid = (np.arange(10_000) + 0.5) / 10_000
    bets = Bets(grid.shape)
    bets.bet(grid, 1 - grid)
    assert np.exp(bets.logs).mean() == pytest.approx(1, abs=1e-12)
    held = Bets(grid.shape)
    for place in (0.01, 0.5, 0.99, 0.003, math.nan):
        held.bet(np.full(grid.shape, place), np.full(grid.shape, 1 - place))
    before = np.exp(held.logs[0])
    held.bet(grid, 1 - grid)
    assert np.exp(held.logs).mean() == pytest.approx(before, rel=1e-12)


def test_bounds_of_tails_hold_for_all_numbers_at_once() -> None:
    """Of samples of uniform numbers, whose chances are known; at every number of the sample."""
    generator = np.random.default_rng(6)
    broken = 0
    for _ in range(1000):
        sample = np.sort(generator.random(60))
        tails = Tails(sample, 0.1)
        at = np.concatenate([sample, np.nextafter(sample, 0), [1.0]])  # where bounds change
        broken += bool((at > tails.below(at) + 1e-9).any() or (1 - at > tails.above(at)).any())
    assert broken <= 100
    assert (tails.below(np.array([-1.0])), tails.above(np.array([-1.0]))) == (tails._bounds[0], 1)
    at = np.linspace(0, 1, 99)
    assert (np.diff(tails.below(at)) >= 0).all()
    each = [tails.of(value) for value in at]
    assert [below for below, _, _ in each] == tails.below(at).tolist()
    assert [above for _, above, _ in each] == tails.above(at).tolist()


def test_a_place_is_that_among_all_by_brute_force() -> None:
    generator = np.random.default_rng(5)
    values = generator.integers(0, 6, 40).astype(float).tolist()
    for value, chance in itertools.product(range(-1, 7), (0.0, 0.25, 0.999)):
        below = sum(other < value for other in values)
        equal = sum(other == value for other in values)
        expected = (below + chance * (equal + 1)) / (len(values) + 1)
        assert _place(sorted(values), float(value), chance) == pytest.approx(expected)


def test_at_most_five_alarms_in_a_hundred_quiet_months() -> None:
    """Fifty questions a day, like those that the gate was fitted on, many numbers of which are
    equal. The chance of an alarm is one in a hundred a month; of more than five, one in 2,000."""
    assert pytest.approx(0.01) == FALSE_ALARM
    every = drawn(ON_TOPIC, (100, 200 + MONTH), seed=1)[..., ::2]
    every[..., 0] = np.round(every[..., 0], 1)
    logs = fortunes(every[:, :200], every[:, 200:], seed=2)
    alarms = (logs.max(1) >= math.log(FORTUNE)).sum()
    assert alarms <= 5
    # What stands behind it: each of the two fortunes has a mean of at most 1, at any time.
    assert np.exp(logs[:, -1]).mean() < 2


@pytest.mark.parametrize(
    ("share", "quiet_days", "days"),
    [(0.3, 0, 3), (0.3, 12, 3), (0.1, 0, 14)],  # the last: one that becomes usual
)
def test_off_topic_questions_are_noticed(share: float, quiet_days: int, days: int) -> None:
    """An inflow of 30 % within three days, from the first day on or later: in each of 100 streams.
    One of 10 % within two weeks in at least 95."""
    quiet = quiet_days * A_DAY
    own = 200 if share == 0.3 else 500  # questions of the reference
    every = drawn(ON_TOPIC, (100, own + quiet + days * A_DAY), seed=3)
    off = drawn(OFF_TOPIC, (100, days * A_DAY), seed=4)
    strays = np.random.default_rng(5).random((100, days * A_DAY)) < share
    every[:, own + quiet :][strays] = off[strays]
    logs = fortunes(every[:, :own], every[:, own:], seed=6)
    before = (logs[:, :quiet].max(1, initial=-np.inf) >= math.log(FORTUNE)).sum()
    noticed = (logs[:, quiet:].max(1) >= math.log(FORTUNE)).sum()
    assert before <= 5
    assert noticed >= (100 if share == 0.3 else 95)


def asked(numbers: Numbers, *, begin: float = 0.0) -> Iterator[tuple[float, str, dict[str, float]]]:
    for place, row in enumerate(numbers):
        yield begin + place * DAY / A_DAY, f"id-{place}", dict(zip(ON_TOPIC, row, strict=True))


def test_a_watch_does_as_the_simulations_do() -> None:
    """Without equal values chance decides little: fortunes are alike."""
    rows = drawn(ON_TOPIC, (400,), seed=7) + 1e-9 * np.random.default_rng(8).random((400, 1))
    watch = Watch(reference_of(rows[:200]))
    for at, id, numbers in asked(rows[200:]):
        watch.add(at, id, numbers)
    expected = fortunes(rows[None, :200], rows[None, 200:], seed=9)[0, -1] / math.log(10)
    assert watch.found(0).evidence == pytest.approx(expected, abs=0.3)


def test_an_alarm_says_when_it_began_and_how_much_has_changed() -> None:
    rows = drawn(ON_TOPIC, (200 + 500,), seed=10)
    off = drawn(OFF_TOPIC, (300,), seed=11)
    watch = Watch(reference_of(rows[:200]), model="manuals")
    for at, id, numbers in asked(np.concatenate([rows[200:], off])):
        watch.add(at, id, numbers)
    began, ended = 500 * DAY / A_DAY, 800 * DAY / A_DAY
    found = watch.found(ended)
    assert (found.model, found.reference, found.state) == ("manuals", "gate", "drifting")
    first = found.alarms[0]
    assert began - DAY < first.began < first.at < began + DAY
    assert first.superiority < 0.1
    assert len(found.alarms) == 1  # it lasts, and is noticed again until the end
    assert first.last > ended - DAY
    assert first.questions > 290
    numbers = {number.name: number for number in found.numbers}
    scope = numbers["in_scope"]
    assert scope.questions == 800
    bounds = scope.low, scope.superiority, scope.high, 0.5
    assert list(bounds) == sorted(bounds)  # type: ignore[type-var]
    assert (scope.below or 0) > 0.3
    assert 0 <= (scope.recent or 0) < 0.1
    assert watch.found(ended + (RECENT_DAYS + 1) * DAY).state == "steady"
    json.dumps(vars(first))


def test_the_first_questions_are_a_reference_for_those_after_them() -> None:
    watch = FirstQuestions(model="manuals")
    rows = list(asked(np.concatenate([
        drawn(ON_TOPIC, (FIRST + 100,), seed=12), drawn(OFF_TOPIC, (60,), seed=13),
    ])))  # fmt: skip
    for at, id, numbers in rows[:FIRST]:
        watch.add(at, id, {**numbers, "unheard_of": 1.0})
    assert watch.found(0).state == "few"
    for at, id, numbers in rows[FIRST : FIRST + 100]:
        watch.add(at, id, numbers)
    now = rows[-1][0]
    assert (watch.found(now).state, watch.found(now).questions) == ("steady", 100)
    for at, id, numbers in rows[FIRST + 100 :]:
        watch.add(at, id, numbers)
    assert watch.found(now).state == "drifting"


def test_numbers_that_are_missing_are_left_out() -> None:
    rows = [{"in_scope": 0.9, "known": math.nan, "odd": 1.0}] * LEAST_REFERENCE
    reference = Reference.of("gate", rows)
    assert reference is not None
    assert reference.numbers.keys() == {"in_scope"}
    assert Reference.of("gate", rows[1:]) is None
    watch = Watch(reference)
    watch.add(0, "a", {"words": 3})
    watch.add(0, "b", {"in_scope": math.nan})
    assert watch.found(0).questions == 0
    watch.add(0, "c", {"in_scope": 0.9})
    assert (watch.found(0).questions, watch.found(0).state) == (1, "few")
    assert watch.found(0).numbers[0].superiority == 0.5  # all are equal


def test_a_confidence_sequence_holds_at_all_times_at_once() -> None:
    """Of 300 streams at most one in twenty may leave it at any time; it narrows."""
    generator = np.random.default_rng(14)
    outside = 0
    widths = []
    for _ in range(300):
        bounds = ConfidenceSequence(0.05)
        left = False
        for value in generator.beta(2, 6, 300):
            bounds.add(float(value))
            left |= not bounds.bounds[0] <= 0.25 <= bounds.bounds[1]
        outside += left
        widths.append(bounds.bounds[1] - bounds.bounds[0])
    assert outside <= 15
    assert max(widths) < 0.25
    assert bounds.count == 300
