"""What a comparison of models says to people: sentences for page and terminal, and the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from linnet import output, page
from linnet.evaluate.compare import LEAST_ITEMS, PAGE, Difference
from linnet.evaluate.compare_config import ABOUT
from linnet.evaluate.compare_figures import BY_NAME, MONEY
from linnet.scoring.bounds import exact_interval
from linnet.version import __version__

if TYPE_CHECKING:
    from linnet.evaluate.compare_figures import Wins
    from linnet.evaluate.compare_results import ModelResult, ModelsComparison, PairResult
    from linnet.evaluate.compare_return import Return, Term
    from linnet.evaluate.figures import Figure
    from linnet.evaluate.judging import Reliability

TERMS: Mapping[str, tuple[str, str]] = {
    "bill": ("Bill of the model that is replaced", "a month"),
    "energy": ("Energy", "a month"),
    "upkeep": ("Work to run it", "a month"),
    "running": ("Running it", "a month"),
    "investment": ("Investment", "once"),
    "saving": ("Saving", "a month"),
    "break_even": ("Paid back after", "months"),
    "net": ("Net, over all months", ""),
    "return": ("Return on investment", ""),
}
"""What the terms of the formula are called, and of which time they are."""
NUMBERS: Mapping[str, str] = {
    "cost": "cost of a question (measured)",
    "queries_per_month": "questions a month",
    "hardware": "hardware",
    "watts": "watts",
    "energy_price": "price of a kilowatt-hour",
    "setup_hours": "hours to set it up",
    "monthly_hours": "hours a month",
    "hourly_rate": "an hour of work",
    "months": "months",
}
_SHORT: Mapping[str, str] = {
    "quality": "quality", "solved": "solved", "seconds_p50": "seconds, median",
    "first_seconds_p50": "first word", "cost": "cost", "cost_per_solved": "cost of a solved one",
}  # fmt: skip


def write_page(found: ModelsComparison, directory: Path) -> None:
    """``comparison.html`` of models."""
    template = page.environment("linnet.evaluate").get_template("models.html.jinja")
    text = template.render(
        found=found, about=ABOUT[found.measure], conclusions=list(conclusions(found)),
        shown_metrics=[
            (name, metric)
            for name, metric in BY_NAME.items()
            if any(name in each.figures or name in each.undefined for each in found.models)
        ],
        value=shown_value, interval=shown_interval, change=shown_change,
        between=shown_between, verdict=shown_verdict, wins=shown_wins, of_judge=of_judge,
        term=shown_term, terms=TERMS, numbers=NUMBERS, amount=shown_amount,
        free=is_free, named=_named([model.name for model in found.models]), begun=_begun,
        money=MONEY, version=__version__,
    )  # fmt: skip
    output.write_text(directory / PAGE, text)


def _named(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _begun(text: str) -> str:
    """As the beginning of a line."""
    return text[:1].upper() + text[1:]


def conclusions(found: ModelsComparison) -> Iterator[str]:
    """What whoever reads one paragraph should have read."""
    for pair in found.pairs:
        yield from _of_pair(found, pair)
    for model in found.models:
        if (solved := model.figures.get("cost_per_solved")) is not None and model.bills:
            value = shown_value("cost_per_solved", solved, found.currency)
            yield f"A question that {model.name} solves costs {value}."
    for each in found.returns:
        yield _of_return(each, found.currency)


def _of_pair(found: ModelsComparison, pair: PairResult) -> Iterator[str]:
    quality = pair.difference("quality")
    if quality is None:
        yield f"Nothing says yet whether {pair.second} or {pair.first} is better."
        return
    names = pair.second, pair.first
    span = f" ({shown_between(quality)})" if quality.low is not None else ""
    said = {
        "better": f"{names[0]} is better than {names[1]}",
        "worse": f"{names[0]} is worse than {names[1]}",
        "the same": f"{names[0]} is as good as {names[1]}",
        "not worse": f"{names[0]} is not worse than {names[1]}",
        "not clear": f"It is not clear whether {names[0]} or {names[1]} is better",
        None: f"{names[0]} beside {names[1]}",
    }[quality.verdict]
    yield (
        f"{said}: {quality.second:.1%} against {quality.first:.1%}, a difference of "
        f"{shown_change(quality)}{span}."
    )
    if quality.items < LEAST_ITEMS:
        yield f"{quality.items:,} questions are too few to tell; {LEAST_ITEMS} are the least."
    elif quality.items_needed is not None:
        yield f"About {quality.items_needed:,} questions would tell."


def _of_return(found: Return, currency: str) -> str:
    break_even = found.term("break_even")
    if break_even.missing:
        named = ", ".join(NUMBERS[name] for name in break_even.missing)
        return (
            f"Whether {found.own} pays in the place of {found.replaced} is not computed: {named}."
        )
    if break_even.value is None:
        return (
            f"{found.own} never pays in the place of {found.replaced}: running it costs more than "
            "the bill."
        )
    return f"{found.own} has paid for itself after {break_even.value:,.1f} months."


def shown_value(name: str, figure: Figure, currency: str) -> str:
    """A figure as people read it."""
    return _number(name, figure.value, currency)


def shown_interval(name: str, figure: Figure) -> str:
    """Its interval; empty where it has none."""
    if figure.interval is None:
        return ""
    low, high = (_number(name, end, "") for end in (figure.interval.low, figure.interval.high))
    return f"{low} to {high}"


def _number(name: str, value: float, currency: str) -> str:
    if name in MONEY:
        return shown_amount(value, currency)
    if BY_NAME[name].share:
        return f"{value:.1%}"
    if "seconds" in name:
        return f"{value:.3g} s" if value >= 0.1 else f"{1000 * value:.3g} ms"
    return f"{value:,.0f}"


def shown_amount(value: float, currency: str) -> str:
    """Money: as many digits as it takes to see a cost of a single answer."""
    digits = f"{value:,.2f}" if abs(value) >= 1 or value == 0 else _plain(value)
    return f"{digits} {currency}".strip()


def _plain(value: float, sign: str = "") -> str:
    """Three digits that say something, and no power of ten."""
    if abs(value) >= 100:
        return f"{value:{sign},.0f}"
    return f"{Decimal(f'{value:.3g}'):{sign}f}"


def is_free(model: ModelResult) -> bool:
    """Whether it asks no money, as far as is known."""
    return not model.bills and "cost" in model.figures


def shown_change(difference: Difference) -> str:
    """A difference, in points where it is one of shares."""
    if difference.share:
        return f"{100 * difference.difference:+.1f} points"
    return _change(difference, difference.difference)


def shown_between(difference: Difference) -> str:
    """The interval of a difference; empty where there is none."""
    low, high = difference.low, difference.high
    if low is None or high is None:
        return ""
    if difference.share:
        return f"{100 * low:+.1f} to {100 * high:+.1f}"
    return f"{_change(difference, low)} to {_change(difference, high)}"


def _change(difference: Difference, value: float) -> str:
    if "seconds" not in difference.metric:
        return _plain(value, "+")
    if max(abs(difference.first), abs(difference.difference)) >= 0.1:
        return f"{_plain(value, '+')} s"
    return f"{_plain(1000 * value, '+')} ms"


def shown_verdict(difference: Difference) -> str:
    """Its verdict, and how many questions would tell where it is not clear."""
    said: str = difference.verdict or ""
    if difference.items_needed is not None:
        said += f" (about {difference.items_needed:,} would tell)"
    return said


def shown_wins(wins: Wins) -> str:
    """A count of wins, for people."""
    said = f"wins {wins.wins:,}, ties {wins.ties:,} and loses {wins.losses:,}"
    if wins.share is None or wins.low is None or wins.high is None:
        return said
    return (
        f"{said}; it wins {wins.share:.0%} of those decided ({wins.low:.0%} to {wins.high:.0%}, "
        f"p = {wins.chance:.2g})"
    )


def of_judge(found: Reliability, level: float) -> Iterator[str]:
    """How far its verdicts can be believed."""

    def share(count: int, trials: int) -> str:
        low, high = exact_interval(count, trials, level)
        return f"{count:,} of {trials:,} ({count / trials:.0%}, {low:.0%} to {high:.0%})"

    if found.unreadable:
        yield f"It wrote no verdict on {found.unreadable:,} pairs, which are left out."
    if found.equal:
        yield f"{found.equal:,} pairs are the same text, and count as ties."
    if twice := max(0, found.judged - found.by_people):  # people see one order alone
        said = f"With the order of the answers {share(found.by_place, twice)} verdicts change"
        places = f"{found.first_place:,} for the first place, {found.second_place:,} for the second"
        yield f"{said}, and count as ties ({places} whatever stands there)."
    if found.decided:
        yield f"The longer answer wins {share(found.longer, found.decided)}."
    if found.comparable:
        yield (
            "It agrees with the expected answers on "
            f"{share(found.agreed, found.comparable)} of those that both decide."
        )


def shown_term(name: str, term: Term, currency: str) -> str:
    """A term of the return, or what is missing for it."""
    if term.missing:
        return "not computed: " + ", ".join(NUMBERS[each] for each in term.missing)
    if term.value is None:
        return "never" if name == "break_even" else "not defined, as nothing is invested"
    if name == "break_even":
        return f"{term.value:,.1f} months"
    if name == "return":
        return f"{term.value:+.0%}"
    return f"{shown_amount(term.value, currency)} {TERMS[name][1]}".strip()


def rows_of(model: ModelResult, currency: str) -> Iterator[tuple[str, str]]:
    """The main figures of a model, each with its interval, for the terminal."""
    for name, short in _SHORT.items():
        figure = model.figures.get(name)
        if figure is None or (name in MONEY and is_free(model)):
            yield short, "nothing" if name == "cost" and is_free(model) else "–"
            continue
        span = shown_interval(name, figure)
        yield short, shown_value(name, figure, currency) + (f" ({span})" if span else "")
