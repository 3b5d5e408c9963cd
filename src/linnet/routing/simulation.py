"""What routing would have done: past questions replayed under a policy, with cost and quality.

Outcomes of both models (``linnet compare``, a table) tell all. A log tells what came of the model
that answered alone: where the policy would have asked another one, its answer's quality is not
known, and where the log keeps no contents, rules and features have nothing to look at. What could
not be replayed is counted by its reason, and what could not be known is not made up.

Questions that the router learned from are judged by what it said of them while they were held out.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from linnet.respond.conversation import Conversation, Message
from linnet.routing.features import Attempt, attempt_of_row
from linnet.routing.learned import Estimate, LearnedRouter
from linnet.routing.queries import Queries, Rated
from linnet.routing.router import LOCAL, Route, Router
from linnet.routing.targets import RESAMPLES, HeldOut, resampled
from linnet.routing.training import key_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Numbers: TypeAlias = npt.NDArray[np.float64]
Places: TypeAlias = npt.NDArray[np.int64]

STEPS = 20
_LEVEL = 0.95


@dataclass(frozen=True)
class Outcome:
    """A way to choose, and what it comes to."""

    name: str
    share: float
    """Of the questions that leave this machine."""
    cost: float | None
    """For a question; None where costs are not known."""
    quality: float | None
    """None where no outcome is known of what it chooses."""
    low: float | None = None
    """With ``high`` the 95 % interval of the bootstrap over questions."""
    high: float | None = None
    known: int = 0
    """Questions of which the quality is known."""


@dataclass
class Replay:
    """Questions, what is known of each model's answer, and what the policy chooses."""

    models: tuple[str, ...]
    qualities: Numbers
    """(questions, models), the local one first; NaN where not known."""
    costs: Numbers
    chosen: Places
    """By the policy."""
    fixed: npt.NDArray[np.bool_]
    """Where a rule or an ability decided, and no threshold."""
    gains: Numbers | None
    """(questions, larger models), as the router expects them; None: it knows none."""
    after_attempt: npt.NDArray[np.bool_]
    """Where the local model answers whatever is chosen."""
    decided_by: Counter[str] = field(default_factory=Counter)
    unreplayed: Counter[str] = field(default_factory=Counter)
    """Questions that could not be replayed, by reason."""
    notes: list[str] = field(default_factory=list)

    def taken(self, models: Places) -> tuple[Numbers, Numbers]:
        """Quality and cost of each question with these models."""
        rows = np.arange(len(models))
        cost = self.costs[rows, models]
        attempts = np.where(self.after_attempt & (models > 0), self.costs[:, 0], 0.0)
        return self.qualities[rows, models], cost + np.nan_to_num(attempts)

    def outcome(self, name: str, models: Places) -> Outcome:
        """What a choice comes to."""
        quality, cost = self.taken(models)
        known = np.isfinite(quality)
        low = high = mean = None
        if known.any():
            drawn = resampled(quality[known][:, None], RESAMPLES)[:, 0]
            mean = float(quality[known].mean())
            tail = (1 - _LEVEL) / 2
            low, high = (float(each) for each in np.quantile(drawn, [tail, 1 - tail]))
        price = float(cost.mean()) if len(cost) else math.nan
        return Outcome(
            name, float((models > 0).mean()), price if math.isfinite(price) else None,
            mean, low, high, int(known.sum()),
        )  # fmt: skip


@dataclass
class Simulated:
    """A replay beside what else could be done."""

    policy: Outcome
    singles: list[Outcome]
    """Each model alone."""
    single_at_cost: Outcome | None
    """The best single model that costs no more than the policy; None where none does."""
    random: Outcome | None
    """The local model and the best larger one at random, for what the policy costs."""
    oracle: Outcome | None
    """With every outcome known beforehand, for what the policy costs at most."""
    curve: list[Outcome]
    """The router at other thresholds."""
    oracle_curve: list[Outcome]
    replayed: int
    unreplayed: dict[str, int]
    decided_by: dict[str, int]
    by_calls: bool
    """Whether costs are not known, and calls of larger models stand for them."""
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""

        def of(outcome: Outcome | None) -> dict[str, Any] | None:
            return None if outcome is None else dict(vars(outcome))

        return {
            "policy": of(self.policy), "singles": [of(each) for each in self.singles],
            "single_at_cost": of(self.single_at_cost), "random": of(self.random),
            "oracle": of(self.oracle), "curve": [of(each) for each in self.curve],
            "replayed": self.replayed, "unreplayed": self.unreplayed,
            "decided_by": self.decided_by, "cost_is_calls": self.by_calls, "notes": self.notes,
        }  # fmt: skip


@dataclass(frozen=True)
class HeldOutRouter(LearnedRouter):
    """Says of the questions that it learned from what it said while they were held out."""

    def estimate(self, stage: str, question: str, attempt: Attempt | None = None) -> Estimate:
        """See :class:`LearnedRouter`; of those that are known, what counts is the difference."""
        place = self.places.get(key_of(question))
        if place is None:
            return super().estimate(stage, question, attempt)
        return Estimate((0.0, *map(float, self.stages[stage].held_out.gains[place])))


def held_out(router: Router) -> Router:
    """A router for questions that it may have learned from."""
    learned = router.learned
    return router if learned is None else replace(router, learned=HeldOutRouter(**vars(learned)))


def replay_queries(queries: Queries, router: Router, names: dict[str, str]) -> Replay:
    """Outcomes under a policy. ``names``: by model of the router, the local one first, how the
    outcomes name it."""
    models = tuple(names)
    local = names[LOCAL]
    router = held_out(router)
    unreplayed: Counter[str] = Counter()
    rows, routes, gains, known = [], [], [], 0
    for row in queries.rows:
        if local not in row.outcomes and not any(names[m] in row.outcomes for m in models):
            unreplayed["no model of the policy answered"] += 1
            continue
        conversation = _asked(row.question)
        route = router.choose(conversation)
        if route.judges_attempt:
            own = row.outcomes.get(local)
            if own is None:
                unreplayed["the local answer, by which it is judged, is not there"] += 1
                continue
            attempt = attempt_of_row(row.question, own.answer, own.signals)
            route, attempted = router.judge(conversation, attempt), True
        else:
            attempt, attempted = None, False
        rows.append(row)
        routes.append((route, attempted))
        gains.append(_gains(router, route, row.question, attempt, models))
        known += router.learned is not None and key_of(row.question) in router.learned.places
    qualities = np.array([
        [own.quality if (own := row.outcomes.get(names[m])) else math.nan for m in models]
        for row in rows
    ]).reshape(len(rows), len(models))  # fmt: skip
    costs = np.array([
        [
            own.cost if (own := row.outcomes.get(names[m])) and own.cost is not None else math.nan
            for m in models
        ]
        for row in rows
    ]).reshape(len(rows), len(models))  # fmt: skip
    notes = list(queries.notes)
    if known:
        notes.append(
            f"{known:,} of {len(rows):,} questions are those that the router learned from: they "
            "count as it judged them while they were held out."
        )
    return _replay(models, routes, gains, qualities, costs, unreplayed, notes)


def replay_calls(calls: Iterable[Rated], router: Router, models: Sequence[str]) -> Replay:
    """A log under a policy. ``models``: the local one first."""
    router = held_out(router)
    unreplayed: Counter[str] = Counter()
    routes: list[tuple[Route, bool]] = []
    gains: list[Numbers | None] = []
    qualities, costs = [], []
    scored = 0
    for call in calls:
        answered = LOCAL if call.place == "here" else call.model
        if not answered:
            unreplayed["nobody answered: they were refused or failed"] += 1
            continue
        if answered not in models:
            unreplayed[f"'{answered}' answered, which the policy does not have"] += 1
            continue
        found = _rerouted(call, router, answered)
        if isinstance(found, str):
            unreplayed[found] += 1
            continue
        route, attempt, attempted = found
        scored += call.question is None
        routes.append((route, attempted))
        own = _gains(router, route, call.question, attempt, models) if call.question else None
        if own is None and route.score is not None:
            own = np.full(len(models) - 1, route.score)
        gains.append(own)
        place = list(models).index(answered)
        quality = np.full(len(models), math.nan)
        if call.good is not None:
            quality[place] = float(call.good)
        cost = np.full(len(models), math.nan)
        cost[place] = call.cost / 1e12
        if place:
            cost[0] = 0.0
        elif call.would_cost is not None:
            cost[1:] = call.would_cost / 1e12
        qualities.append(quality)
        costs.append(cost)
    notes = [
        "A log tells the quality of the answers that were given alone, as far as people rated "
        "them: what another model would have done is not known."
    ]
    if scored:
        notes.append(
            f"{scored:,} calls have no contents: they count by the score that was logged, and "
            "rules are not applied to them."
        )
    shape = (len(routes), len(models))
    return _replay(
        tuple(models), routes, gains, np.array(qualities).reshape(shape),
        np.array(costs).reshape(shape), unreplayed, notes,
    )  # fmt: skip


def _rerouted(
    call: Rated, router: Router, answered: str
) -> tuple[Route, Attempt | None, bool] | str:
    """Where the policy sends a call of a log, or why that cannot be known."""
    if call.question is not None:
        conversation = _asked(call.question)
        route = router.choose(conversation)
        if not route.judges_attempt:
            return route, None, False
        if answered == LOCAL:
            signals = {
                name: value
                for name in ("probability", "in_scope", "grounded")
                if (value := getattr(call, name)) is not None
            }
            attempt = attempt_of_row(
                call.question, call.answer or "", {**signals, "refused": float(call.refused)}
            )
            return router.judge(conversation, attempt), attempt, True
    if call.score is None:
        return (
            "the local answer, by which it is judged, is not in the log"
            if call.question is not None
            else "neither the question nor a score is in the log"
        )
    threshold = next(iter(router.thresholds.values()), None)
    if threshold is None:
        least = router.config.probability
        if least is None:
            return "the policy has no threshold for the score in the log"
        threshold = 1 - least
    larger = next(iter(router.models), LOCAL)
    leaves = call.score >= threshold
    decided_by = call.decided_by or "router"
    return (
        Route(larger if leaves else LOCAL, "", decided_by, call.score, threshold),
        None,
        decided_by == "attempt",
    )


def _replay(
    models: tuple[str, ...],
    routes: Sequence[tuple[Route, bool]],
    gains: Sequence[Numbers | None],
    qualities: Numbers,
    costs: Numbers,
    unreplayed: Counter[str],
    notes: list[str],
) -> Replay:
    width = len(models) - 1
    known = [own is not None for own in gains]
    return Replay(
        models, qualities, costs,
        np.array([models.index(route.model) for route, _ in routes], dtype=np.int64),
        np.array([not each for each in known], dtype=bool),
        np.array([np.zeros(width) if own is None else own for own in gains])
        if any(known)
        else None,
        np.array([attempted for _, attempted in routes], dtype=bool),
        Counter(route.decided_by for route, _ in routes), unreplayed, notes,
    )  # fmt: skip


def simulate(replay: Replay) -> Simulated:
    """The policy beside each model alone, chance, and knowing everything."""
    count = len(replay.chosen)
    by_calls = not np.isfinite(replay.taken(replay.chosen)[1]).all() or not np.nansum(replay.costs)
    if by_calls:  # a call of any larger model costs 1
        called = (np.arange(len(replay.models)) > 0).astype(np.float64)
        replay = replace(replay, costs=np.tile(called, (count, 1)))
    policy = replay.outcome("policy", replay.chosen)
    alone = [np.full(count, place) for place in range(len(replay.models))]
    bare = replace(replay, after_attempt=np.zeros(count, dtype=bool))
    singles = [bare.outcome(model, own) for model, own in zip(replay.models, alone, strict=True)]
    complete = bool(np.isfinite(replay.qualities).all()) and count > 0
    affordable = [
        each for each in singles
        if each.quality is not None and (each.cost or 0.0) <= (policy.cost or 0.0) + 1e-12
    ]  # fmt: skip
    best_at_cost = max(affordable, key=lambda each: each.quality or 0.0, default=None)
    oracle_curve = _oracle_curve(bare) if complete else []
    return Simulated(
        policy, singles, best_at_cost if complete else None,
        _random(singles, policy) if complete else None,
        _at_cost(oracle_curve, policy.cost or 0.0) if complete else None,
        _curve(replay), oracle_curve, count, dict(replay.unreplayed), dict(replay.decided_by),
        by_calls, replay.notes,
    )  # fmt: skip


def _curve(replay: Replay) -> list[Outcome]:
    """The router at other thresholds; what rules decide stays as it is."""
    if replay.gains is None:
        return []
    judged = HeldOut(replay.gains, replay.qualities, replay.costs)
    found = []
    free = judged.scores[~replay.fixed]
    levels = np.quantile(free, np.linspace(1, 0, STEPS + 1))
    for threshold in (math.inf, *dict.fromkeys(map(float, levels))):
        models = np.where(replay.fixed, replay.chosen, judged.chosen(threshold))
        found.append(replay.outcome(f"threshold {threshold:.3g}", models))
    return found


def _random(singles: Sequence[Outcome], policy: Outcome) -> Outcome | None:
    """Between the local model and the best larger one: on the line between them."""
    local, larger = singles[0], max(singles[1:], key=lambda each: each.quality or 0.0, default=None)
    if larger is None or local.quality is None or larger.quality is None:
        return None
    low, high = local.cost or 0.0, larger.cost or 0.0
    if high <= low:
        return None
    share = min(1.0, max(0.0, ((policy.cost or 0.0) - low) / (high - low)))
    quality = local.quality + share * (larger.quality - local.quality)
    return Outcome("random", share, low + share * (high - low), quality)


def _oracle_curve(replay: Replay) -> list[Outcome]:
    """Each question first to the cheapest model, then those that gain most for their cost."""
    qualities, costs = replay.qualities, replay.costs
    rows = np.arange(len(qualities))
    gained, paid = qualities[:, 1:] - qualities[:, :1], costs[:, 1:] - costs[:, :1]
    worth = np.where(gained > 0, gained / np.maximum(paid, 1e-12), -np.inf)
    best = worth.argmax(1)
    order = np.argsort(-worth[rows, best], kind="stable")
    order = order[worth[order, best[order]] > -np.inf]
    found = []
    for count in np.unique(np.linspace(0, len(order), STEPS + 1).astype(int)):
        models = np.zeros(len(qualities), dtype=np.int64)
        models[order[:count]] = best[order[:count]] + 1
        found.append(replay.outcome("oracle", models))
    return found


def _at_cost(curve: Sequence[Outcome], cost: float) -> Outcome | None:
    within = [each for each in curve if (each.cost or 0.0) <= cost + 1e-12]
    return max(within, key=lambda each: each.quality or 0.0, default=None)


def _gains(
    router: Router, route: Route, question: str | None, attempt: Attempt | None,
    models: Sequence[str],
) -> Numbers | None:  # fmt: skip
    """What the router expects each larger model to gain; None where a rule or chance decided."""
    if route.decided_by not in ("router", "attempt") or route.score is None or question is None:
        return None
    if router.learned is None or len(router.learned.models) < 2:
        return np.full(len(models) - 1, route.score)
    stage = "question" if attempt is None else "attempt"
    estimate = router.learned.estimate(stage, question, attempt)
    by_name = dict(zip(router.learned.models, estimate.qualities, strict=True))
    lost = min(by_name.values()) - 1.0  # of models that it did not learn of
    return np.array([by_name.get(m, lost) - estimate.qualities[0] for m in models[1:]])


def _asked(question: str) -> Conversation:
    return Conversation((Message.of("user", question),))


def figure(found: Simulated, *, currency: str = "") -> Figure:
    """Cost against quality: the router's curve, the policy on it, and what else could be done."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from linnet.train.metrics import INK, TRAINING, VALIDATION

    drawn = Figure(figsize=(6.4, 4.2), layout="constrained")
    FigureCanvasAgg(drawn)
    axes = drawn.add_subplot()
    unit = "share of questions sent" if found.by_calls else f"cost of a question {currency}".strip()
    axes.set_title("Quality for its cost", loc="left", fontsize=11, fontweight="bold", color=INK)
    axes.set_xlabel(unit, color=INK)
    axes.set_ylabel("quality", color=INK)

    def line(points: Sequence[Outcome], label: str, **style: Any) -> None:
        shown = [
            (p.cost, p.quality) for p in points if p.cost is not None and p.quality is not None
        ]
        if len(shown) > 1:
            axes.plot(*zip(*sorted(shown), strict=True), label=label, linewidth=1.6, **style)

    line(found.oracle_curve, "every outcome known", color=INK, alpha=0.5, linestyle=":")
    line(found.curve, "router", color=TRAINING)
    known = [each for each in found.singles if each.quality is not None and each.cost is not None]
    if found.random is not None and len(known) > 1:
        line([known[0], max(known[1:], key=lambda each: each.quality or 0.0)], "at random",
             color=INK, alpha=0.5, linestyle="--")  # fmt: skip
    dearest = max((each.cost or 0.0 for each in known), default=0.0)
    for each in known:
        assert each.cost is not None
        assert each.quality is not None
        axes.plot([each.cost], [each.quality], "o", color=INK, markersize=5)
        axes.annotate(each.name[-40:], (each.cost, each.quality), textcoords="offset points",
                      xytext=(-2, -13), fontsize=8, color=INK,
                      ha="right" if each.cost > dearest / 2 else "left")  # fmt: skip
    policy = found.policy
    if policy.quality is not None and policy.cost is not None:
        low, high = policy.low or policy.quality, policy.high or policy.quality
        axes.errorbar(
            [policy.cost], [policy.quality],
            yerr=[[policy.quality - low], [high - policy.quality]],
            color=VALIDATION, marker="D", markersize=6, elinewidth=1, label="this policy", zorder=5,
        )  # fmt: skip
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    if found.by_calls:
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["bottom", "left"]].set_color(INK)
    axes.grid(axis="y", color=INK, alpha=0.12, linewidth=0.6)
    axes.tick_params(length=3, color=INK, labelcolor=INK)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8, loc="lower right")
    return drawn


def save_figure(found: Simulated, file: Path, *, currency: str = "") -> None:
    """As PNG or SVG, by the ending of the file's name."""
    from linnet import output

    with output.replacing(file) as neighbour:
        figure(found, currency=currency).savefig(
            neighbour, format=file.suffix[1:].lower(), dpi=150, metadata=None
        )
