"""The learning rate of a run against a clock that is made up: whatever a machine does to speed.

The real loop runs on a model of one weight; steps, validations and the clock are simulated.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from linnet.errors import BudgetError, StoppedError, TrainingError
from linnet.progress import Progress
from linnet.runtime import Runtime
from linnet.shards.batches import Batch
from linnet.train import loop as loop_module
from linnet.train import stream as stream_module
from linnet.train.config import TrainingConfig
from linnet.train.distributed import Interrupt
from linnet.train.loop import Loop, Verdict
from linnet.train.machine import Machine
from linnet.train.objectives import Loss
from linnet.train.schedule import Pace, rate

Speed = Callable[[float, int], float]
"""Seconds of a step that begins at some time, as the n-th of its process."""


class Tokens:
    """One batch for ever."""

    def next(self, context: object = None) -> Batch:
        return Batch(torch.zeros(1, 4, dtype=torch.long), torch.zeros(1, 4, dtype=torch.long))

    def state(self) -> dict[str, int]:
        return {}

    def restore(self, state: object) -> None:
        pass


class Heard(Progress):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@dataclass
class Simulation:
    """Runs of the real loop in a made-up time."""

    directory: Path
    now: float = 0.0
    heard: Heard = field(default_factory=Heard)

    def run(
        self, step: Speed, *, validation: float = 0.0, compiled: bool = False,
        stop_after: int = 0, started: float | None = None, **changes: object,
    ) -> list[dict[str, float]]:  # fmt: skip
        """What the log says of each step of the run so far."""
        model = torch.nn.Linear(1, 1)
        interrupt, count = Interrupt(), 0

        def objective(model: torch.nn.Module, batch: Batch) -> Loss:
            nonlocal count
            count += 1
            self.now += step(self.now, count)
            interrupt.requested = count == stop_after
            return Loss((next(model.parameters()) ** 2).sum(), 1.0)

        def validator(model: torch.nn.Module) -> dict[str, float]:
            self.now += validation
            return {"loss": 1.0}

        settings: dict[str, object] = {
            "steps": 0, "seconds": 0.0, "schedule": "wsd", "warmup": 0.05, "decay": 0.5,
            "clip": 1.0, "save_seconds": 1e9,
        }  # fmt: skip
        optimizer = torch.optim.SGD([{"params": list(model.parameters()), "peak_lr": 1.0}], lr=0.0)
        loop = Loop(
            self.directory,
            TrainingConfig(**{**settings, **changes}),  # type: ignore[arg-type]
            machine=Machine(Runtime("cpu", "fp32", 1), compiled),
            model=model,  # type: ignore[arg-type]
            stream=Tokens(),
            objective=objective,  # type: ignore[arg-type]
            optimizers=[optimizer],
            micro_units=1,
            validators=[validator] if validation else [],  # type: ignore[list-item]
            progress=self.heard,
            started=self.now if started is None else started,
        )
        loop.resume()
        loop.run(interrupt)
        self.loop = loop
        return self.log()

    def log(self) -> list[dict[str, float]]:
        lines = (self.directory / "metrics.jsonl").read_text().splitlines()
        return [entry for entry in map(json.loads, lines) if "lr" in entry]


@pytest.fixture
def simulation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Simulation:
    made = Simulation(tmp_path)

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return made.now

    monkeypatch.setattr(loop_module, "time", Clock)
    monkeypatch.setattr(stream_module, "at_rest", lambda model, compiled: torch.no_grad())
    return made


def steady(now: float, n: int) -> float:
    return 0.4


def compiling(now: float, n: int) -> float:
    """As seen: 36.7 s of compiling before steps of a fifth of a second."""
    return 36.7 if n == 1 else 0.2


def wavering(now: float, n: int) -> float:
    """Speed doubles and halves within a minute."""
    return 0.4 * 2 ** math.sin(now / 30 * math.pi)


def busy_at_first(now: float, n: int) -> float:
    return 4.0 if now < 20 else 0.3


def busy_at_the_end(now: float, n: int) -> float:
    return 0.3 if now < 60 else 2.0


def stalling(now: float, n: int) -> float:
    """Now and then a step waits for long: the disk, or another shape that is compiled."""
    return 8.0 if n in (2, 40) else 0.4


def slow_steps(now: float, n: int) -> float:
    return 9.0 if n == 1 else 6.0


@pytest.mark.parametrize("schedule", ["wsd", "cosine"])
@pytest.mark.parametrize("validation", [0.0, 1.5])
@pytest.mark.parametrize(
    ("speed", "compiled"),
    [
        (steady, False), (compiling, True), (wavering, False), (busy_at_first, False),
        (busy_at_the_end, False), (stalling, True), (slow_steps, False),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_the_rate_ends_when_the_time_does(
    simulation: Simulation, speed: Speed, compiled: bool, validation: float, schedule: str
) -> None:
    steps = simulation.run(
        speed, compiled=compiled, validation=validation, seconds=80.0, schedule=schedule
    )
    longest = speed(79.0, len(steps))
    assert 80 - 3 - validation - 2 * longest - 0.3 * 80 < simulation.now <= 80.0
    check_rates(steps, schedule, last=max(0.06, 6 * longest / 80))


def check_rates(steps: list[dict[str, float]], schedule: str, *, last: float = 0.06) -> None:
    """Above zero at every step, rising once, then falling to nearly nothing."""
    rates = [entry["lr"] for entry in steps]
    assert min(rates) > 0
    top = rates.index(max(rates))
    if len(rates) < 20:  # steps so long that each is a stretch of the schedule
        assert rates[-1] <= 0.4
        return
    assert rates[0] < 0.3
    assert max(rates) > 0.98
    changes = [after - before for before, after in pairwise(rates)]
    assert min([0.0, *changes[:top]]) > -0.05
    assert max([0.0, *changes[top:]]) < 0.05
    assert rates[-1] < last
    ideal = [
        rate((n + 0.5) / 1000, schedule=schedule, warmup=0.05, decay=0.5)  # type: ignore[arg-type]
        for n in range(1000)
    ]
    # By time it is the ideal; by steps more where the machine was faster.
    assert 0.75 < sum(rates) / len(rates) / (sum(ideal) / 1000) < 1.3


@pytest.mark.parametrize("stop_after", [1, 2, 30])
def test_a_timed_run_that_is_resumed_goes_on_with_its_schedule(
    simulation: Simulation, stop_after: int
) -> None:
    """The first step of each process compiles; neither ends the schedule nor leaps ahead in it."""
    with pytest.raises(StoppedError, match=f"step {stop_after}"):
        simulation.run(compiling, compiled=True, seconds=120.0, stop_after=stop_after)
    simulation.now += 1000.0  # nobody was at work
    steps = simulation.run(compiling, compiled=True, seconds=120.0, validation=1.0)
    assert simulation.now - 1000.0 <= 120.0
    check_rates(steps, "wsd")
    before, after = steps[stop_after - 1]["lr"], steps[stop_after]["lr"]
    assert abs(after - before) < 0.1


def test_a_run_by_steps_knows_no_clock(tmp_path: Path, simulation: Simulation) -> None:
    """The same rates whatever the speed, whole or resumed, or with a time limit that suffices."""
    rates: dict[str, list[float]] = {}
    for name, speed, changes in (
        ("plain", steady, {}),
        ("wavering", wavering, {}),
        ("limited", stalling, {"seconds": 300.0}),
        ("compiled", compiling, {"seconds": 100.0, "compiled": True}),
    ):
        simulation.directory = tmp_path / name
        simulation.directory.mkdir()
        steps = simulation.run(speed, steps=50, **changes)  # type: ignore[arg-type]
        rates[name] = [entry["lr"] for entry in steps]
    simulation.directory = tmp_path / "resumed"
    simulation.directory.mkdir()
    with pytest.raises(StoppedError, match="step 20 of 50"):
        simulation.run(stalling, steps=50, seconds=300.0, stop_after=20)
    resumed = simulation.run(busy_at_first, steps=50, seconds=300.0)
    rates["resumed"] = [entry["lr"] for entry in resumed]
    for name, found in rates.items():
        assert found == rates["plain"], name
    progress = [(n + 0.5) / 50 for n in range(50)]
    expected = [rate(p, schedule="wsd", warmup=0.05, decay=0.5) for p in progress]
    assert rates["plain"] == pytest.approx(expected, rel=1e-3)


def test_steps_that_do_not_fit_the_time_are_shortened(simulation: Simulation) -> None:
    steps = simulation.run(steady, steps=1000, seconds=60.0)
    assert 55 < simulation.now <= 60
    check_rates(steps, "wsd")
    events = (simulation.directory / "metrics.jsonl").read_text()
    assert '"event": "steps 1000 -> 1' in events


def test_a_slow_while_does_not_end_a_run_by_steps(simulation: Simulation) -> None:
    """Half the steps in a busy machine: all are made in the end, for the time suffices again."""
    steps = simulation.run(lambda now, n: 2.0 if n < 12 else 0.3, steps=100, seconds=80.0)
    assert len(steps) == 100
    assert min(entry["lr"] for entry in steps) > 0


def test_a_time_that_ends_early_is_said(simulation: Simulation) -> None:
    """A stall takes the rest of the time: what was not learnt is not passed over in silence."""
    simulation.run(lambda now, n: 0.5 if n < 40 else 200.0, seconds=80.0)
    assert any("of the learning-rate schedule" in text for text in simulation.heard.warnings)


def test_no_time_for_a_step_is_an_error(simulation: Simulation) -> None:
    with pytest.raises(BudgetError, match="too short"):
        simulation.run(steady, seconds=80.0, started=simulation.now - 90)


def test_validations_leave_time_to_train(simulation: Simulation) -> None:
    """Validating takes longer than the run can afford: it is left out, but for the last time."""
    steps = simulation.run(steady, seconds=60.0, validation=9.0)
    assert simulation.now <= 60
    check_rates(steps, "wsd")
    assert simulation.loop.best_step == 0 or simulation.loop.best is not None


@pytest.mark.parametrize("when", ["loss", "last update", "weights at validation"])
def test_what_is_not_a_number_fails_the_run(
    when: str, simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Loop._update

    def breaks(self: Loop, scale: float) -> float:
        norm = original(self, scale)
        if self.pace.step == (9 if when == "last update" else 4):
            with torch.no_grad():
                self.parameters[0].fill_(math.inf if when == "loss" else math.nan)
        return norm

    monkeypatch.setattr(Loop, "_update", breaks)
    interval = 5 if when == "weights at validation" else 1000
    with pytest.raises(TrainingError, match=r"loss is|no longer numbers"):
        simulation.run(steady, steps=10, validation=1.0, validation_interval=interval)


def test_what_is_not_a_number_from_the_beginning_is_no_matter_of_rates(
    simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Loop.resume

    def damaged(self: Loop) -> None:
        original(self)
        with torch.no_grad():
            self.parameters[0].fill_(math.nan)

    monkeypatch.setattr(Loop, "resume", damaged)
    with pytest.raises(TrainingError, match=r"at step 1; nothing was changed yet.* another copy"):
        simulation.run(steady, steps=10)


@pytest.mark.parametrize(
    ("best", "shown"),
    [
        ({"loss": 2.0}, "loss 2.000"),
        ({"loss": 2.0, "bits_per_byte": 1.0}, "1.000 bits/byte"),
        ({"loss": -0.5, "reward": 0.5}, "reward 0.500"),
    ],
)
def test_the_held_out_figure_that_is_shown(best: dict[str, float], shown: str) -> None:
    loop: Any = SimpleNamespace(best=best)
    assert Loop._held_out_note(loop) == f" · held-out {shown}"


def test_figures_that_are_not_numbers_are_never_the_best(
    simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a judge says; and they count as validations without improvement."""
    figures = iter([math.nan, 2.0, math.inf, math.nan, 1.0])

    def found(self: Loop) -> None:
        self.validators = [lambda model: {"loss": next(figures)}]
        self.judge = lambda figures, best: Verdict("keep")

    original = Loop.resume
    monkeypatch.setattr(Loop, "resume", lambda self: (found(self), original(self))[1])
    simulation.run(steady, steps=20, validation_interval=2, patience=2)
    assert simulation.loop.best == {"loss": 2.0}
    assert (simulation.loop.best_step, simulation.loop.pace.step) == (4, 8)
    lines = (simulation.directory / "metrics.jsonl").read_text()
    assert "NaN" not in lines
    assert "Infinity" not in lines


def test_the_end_of_a_pace_is_a_guess_that_is_mended() -> None:
    """A long first step leaves time for others as soon as it is known that they are short."""
    pace = Pace(0)
    pace.advance(36.0, 30.0, compiled=True)
    assert pace.progress == 0
    assert pace.fits(30.0)
    assert pace.expected_steps(30.0) is None
    for left in (29.5, 29.0, 28.5):
        pace.advance(0.5, left)
    assert pace.expected_steps(28.5) == 61
    assert pace.progress == pytest.approx(1.5 / 30, rel=0.01)
    assert Pace(**json.loads(json.dumps(pace.state()))).recent == pace.recent
