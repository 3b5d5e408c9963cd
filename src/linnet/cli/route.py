"""``linnet route``: which model a question goes to, learned, explained and replayed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from linnet.cli.options import configured
from linnet.cli.terminal import out as terminal
from linnet.cli.terminal import terminal_progress
from linnet.config import replace
from linnet.errors import ConfigError, DataError, OutputError
from linnet.routing.config import LOCAL, RouterTrainConfig

if TYPE_CHECKING:
    from linnet.monitor.entry import Entry
    from linnet.respond.conversation import Conversation
    from linnet.respond.responder import Abilities
    from linnet.routing.queries import Queries
    from linnet.routing.router import Route, Router
    from linnet.routing.settings import Routing
    from linnet.routing.simulation import Outcome, Simulated

app = typer.Typer(rich_markup_mode=None, add_completion=False)

SETTINGS = Path("routing.toml")
PLOTS = (".png", ".svg")
_SQLITE = b"SQLite format 3\0"

RoutingOption = Annotated[
    Path, typer.Option("--routing", "--policy", metavar="FILE.toml", help="What decides.")
]


@app.command()
@configured(RouterTrainConfig)
def train(
    data: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATA...",
            help="Outcomes of 'linnet compare', tables (CSV or JSONL) with a column for each "
            "model, feedback of an index, or a log that keeps contents.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Where the router is written.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the figures as one JSON object.")
    ] = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Learn when a larger model does better, from questions that both have answered.

    Example: linnet route train comparison/outcomes.jsonl --out router
    """
    from linnet.artifact import hash_file
    from linnet.routing.training import train_router

    files = [_data_file(place) for place in data]
    made = train_router(
        out, _queries(files), replace(RouterTrainConfig(), settings),
        inputs={f"data {number}": hash_file(file) for number, file in enumerate(files, 1)},
        progress=terminal_progress(),
    )  # fmt: skip
    if as_json:
        typer.echo(json.dumps(made.stats, ensure_ascii=False))
        return
    _show_trained(made.stats)
    terminal.print(f"router: {out}", markup=False)


@app.command()
def explain(
    question: Annotated[str, typer.Argument(help="What would be asked.")],
    routing: RoutingOption = SETTINGS,
    index: Annotated[
        Path | None,
        typer.Option(help="Answer from these documents first, and judge that answer."),
    ] = None,
    answer: Annotated[
        str | None, typer.Option(help="Judge this answer of the local model.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Say which model a question goes to, and why.

    Example: linnet route explain "Compare both leases, clause by clause" --routing routing.toml
    """
    from linnet.respond.conversation import Conversation, Message
    from linnet.routing.features import attempt_of_row

    if index is not None and answer is not None:
        raise ConfigError("expected --index or --answer: there is one local answer")
    settings, router = _open(routing, documents=index is not None)
    conversation = Conversation((Message.of("user", question),))
    rules = [
        {"rule": number, "name": rule.name, "model": rule.model, "fits": rule.fits(conversation)}
        for number, rule in enumerate(settings.rules, 1)
    ]
    steps = [router.choose(conversation)]
    if steps[-1].judges_attempt and (index is not None or answer is not None):
        attempt = (
            attempt_of_row(question, answer, {}) if answer is not None
            else _answered(index, conversation)
        )  # fmt: skip
        steps.append(router.judge(conversation, attempt))
    expected = _expected(router, question)
    kept = _kept_here(settings, conversation, index)
    if as_json:
        found = {
            "model": steps[-1].model, "routes": [dataclasses.asdict(route) for route in steps],
            "rules": rules, "expected": expected, "policy": settings.policy.farthest,
            "kept_here": kept,
        }  # fmt: skip
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    _show_explained(rules, expected, steps)
    for name, said in kept.items():
        terminal.print(f"policy for {name}: {said}", markup=False)


@app.command()
def simulate(
    log: Annotated[
        Path,
        typer.Argument(
            metavar="LOG",
            help="A log of calls, outcomes of 'linnet compare', or a table with a column for each "
            "model.",
        ),
    ],
    policy: RoutingOption = SETTINGS,
    local: Annotated[str, typer.Option(help="The model of this machine, as LOG names it.")] = "",
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png|FILE.svg", help="Draw it here, too.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Replay past questions under a policy: cost against quality, beside what else could be done.

    Example: linnet route simulate comparison/outcomes.jsonl --policy routing.toml --plot cost.svg
    """
    from linnet.routing.simulation import replay_calls, replay_queries, save_figure
    from linnet.routing.simulation import simulate as simulated

    if plot is not None and plot.suffix.lower() not in PLOTS:
        raise ConfigError(f"--plot: expected a file that ends in .png or .svg. Got {plot.name!r}")
    settings, router = _open(policy)
    if _is_log(log):
        replay = replay_calls(_entries(log), router, (LOCAL, *settings.models))
    else:
        queries = _queries([log])
        replay = replay_queries(queries, router, _names(queries, settings, local))
    if not len(replay.chosen):
        reasons = "; ".join(f"{count:,}: {reason}" for reason, count in replay.unreplayed.items())
        raise DataError(f"{log}: nothing could be replayed ({reasons or 'it is empty'})")
    found = simulated(replay)
    if plot is not None:
        save_figure(found, plot, currency=settings.currency)
    if as_json:
        typer.echo(json.dumps(found.to_json(), ensure_ascii=False))
        return
    _show_simulated(found, settings.currency)
    if plot is not None:
        terminal.print(f"plot: {plot}", markup=False)


@app.command()
def init(
    out: Annotated[Path, typer.Option(help="The file to write.")] = SETTINGS,
) -> None:
    """Write a routing.toml to fill in: models, policy, budget, router and rules, each explained.

    Example: linnet route init --out routing.toml
    """
    from linnet import output
    from linnet.routing.template import template

    if out.exists():
        raise OutputError(f"{out} is there already; name another file with --out")
    output.write_text(out, template())
    terminal.print(f"settings: {out}; nothing leaves this machine until it says so", markup=False)


# Opening.


def _open(file: Path, *, documents: bool = False) -> tuple[Routing, Router]:
    from linnet.respond.responder import Abilities
    from linnet.routing.router import open_router
    from linnet.routing.settings import read_routing

    settings = read_routing(file)
    models: dict[str, Abilities] = {
        name: Abilities(
            name, config.context, config.runs,
            # Documents are searched here, and answered from without tools, whoever writes.
            tools=config.tools and not documents, constraints=config.constraints,
            logprobs=config.logprobs,
        )
        for name, config in settings.models.items()
    }  # fmt: skip
    return settings, open_router(settings, base=file.parent, models=models)


def _answered(index: Path | None, conversation: Any) -> Any:
    from contextlib import closing

    from linnet.answers.opening import open_assistant
    from linnet.answers.responder import DocumentsResponder
    from linnet.respond.responder import run
    from linnet.routing.features import Attempt

    assert index is not None
    assistant = open_assistant(index, progress=terminal_progress())
    with closing(DocumentsResponder(assistant)) as responder:
        return Attempt.of(conversation, run(responder, conversation)[0].pieces)


def _data_file(place: Path) -> Path:
    """A file of outcomes: of a directory, the one that is in it."""
    from linnet.answers.feedback import NAME
    from linnet.routing.outcomes import OUTCOMES

    if not place.is_dir():
        return place
    found = [place / name for name in (OUTCOMES, NAME) if (place / name).is_file()]
    if not found:
        raise DataError(f"{place}: expected {OUTCOMES} or {NAME} in it, but there is neither")
    return found[0]


def _queries(files: Sequence[Path]) -> Queries:
    from linnet.routing.queries import Queries, joined, queries_of_calls, read_queries

    logs = [file for file in files if _is_log(file)]
    found = read_queries([file for file in files if file not in logs])
    for log in logs:
        own = queries_of_calls(_entries(log))
        found = joined(Queries(found.rows + own.rows, found.notes + own.notes))
    return found


def _is_log(file: Path) -> bool:
    if not file.is_file():
        raise DataError(f"{file}: expected a log or a file of outcomes, but there is none")
    with file.open("rb") as opened:
        return opened.read(len(_SQLITE)) == _SQLITE


def _entries(file: Path) -> Iterator[Entry]:
    from contextlib import closing

    from linnet.monitor.log import Log

    with closing(Log(file, is_reading=True)) as log:
        yield from log.read()


def _names(queries: Queries, settings: Routing, local: str) -> dict[str, str]:
    """How the data name the models of the settings: by the name, or by the name at the address."""
    have = queries.models
    found: dict[str, str] = {}
    for name, config in settings.models.items():
        given = next((each for each in (name, config.model) if each in have), None)
        if given is None:
            raise ConfigError(
                f"models.{name}: the data have no answers of it, neither as '{name}' nor as "
                f"'{config.model}'; there are: {', '.join(have)}"
            )
        found[name] = given
    rest = [each for each in have if each not in found.values()]
    own = local or (LOCAL if LOCAL in have else rest[0] if len(rest) == 1 else "")
    if own not in have:
        raise ConfigError(
            f"which model runs on this machine? Name it with --local; there are: {', '.join(have)}"
        )
    return {LOCAL: own, **found}


# Showing.


def _show_trained(found: Mapping[str, Any]) -> None:
    for note in found["notes"]:
        terminal.print(note, markup=False)
    best = max(found["single"], key=lambda each: each["quality"])
    for each in found["single"]:
        terminal.print(f"{each['model']} alone: {_quality(each['quality'])}", markup=False)
    for name, stage in found["stages"].items():
        seen = "the question alone" if name == "question" else "the question and the local answer"
        terminal.print(
            f"\nBy {seen} ({stage['learner']}; {found['questions']:,} questions, each held out "
            "once):",
            markup=False,
        )
        if stage.get("apgr") is not None:
            terminal.print(
                f"gap recovered on average (APGR) {stage['apgr']:.3f}; half of it with "
                f"{stage['calls_50']:.0%} of the questions sent, 80 % with {stage['calls_80']:.0%}",
                markup=False,
            )
        terminal.print(f"{'sent':>6}  {'quality':>8}  {'95 % interval':>16}  of {best['model']}'s",
                       markup=False)  # fmt: skip
        for point in stage["points"]:
            terminal.print(
                f"{point['share']:>6.0%}  {point['quality']:>8.1%}  "
                f"{point['quality_low']:>7.1%} - {point['quality_high']:<6.1%}  "
                f"{point['relative']:.1%}"
                + (f"  cost {point['cost']:.3g}" if point.get("cost") is not None else ""),
                markup=False,
            )
    terminal.print(
        "\nSet what is to be reached in [router] of routing.toml: quality, cost or share.",
        markup=False,
    )


def _expected(router: Router, question: str) -> dict[str, float]:
    learned = router.learned
    if learned is None or len(learned.models) < 2:
        return {}
    qualities = learned.estimate("question", question).qualities
    return dict(zip(learned.models, qualities, strict=True))


def _show_explained(
    rules: Sequence[Mapping[str, Any]],
    expected: Mapping[str, float],
    steps: Sequence[Route],
) -> None:
    for rule in rules:
        name = f" ({rule['name']})" if rule["name"] else ""
        fits = "fits" if rule["fits"] else "does not fit"
        terminal.print(f"rule {rule['rule']}{name}, to {rule['model']}: {fits}", markup=False)
    if expected:
        told = ", ".join(f"{name} {value:.2f}" for name, value in expected.items())
        terminal.print(f"expected by the question alone: {told}", markup=False)
    for route in steps:
        terminal.print(f"{route.model}: {route.reason} ({route.decided_by})", markup=False)
    if steps[-1].judges_attempt:
        terminal.print(
            "How good that answer is decides: name the documents with --index, or give it with "
            "--answer.",
            markup=False,
        )


def _kept_here(settings: Routing, conversation: Conversation, index: Path | None) -> dict[str, str]:
    """What the policy says of a question, for each model beyond this machine."""
    from linnet.respond.context import Context
    from linnet.retrieval import Index
    from linnet.routing.policy import Policy

    policy = Policy(settings.policy)
    if index is not None:
        with Index.open(index) as opened:
            policy.protect(opened)
    found: dict[str, str] = {}
    for name, model in settings.models.items():
        told = policy.explain(conversation, Context(), model.runs, model=name)
        found[name] = told.verdict.reason or ", ".join(
            ("it may go", *(f"{each.outcome}: {each.reason}" for each in told.decisions))
        )
    policy.close()
    return found


def _show_simulated(found: Simulated, currency: str) -> None:
    from linnet.respond.prices import readable

    terminal.print(f"replayed: {found.replayed:,} questions", markup=False)
    for reason, count in found.unreplayed.items():
        terminal.print(f"not replayed: {count:,}, as {reason}", markup=False)
    for note in found.notes:
        terminal.print(note, markup=False)
    told = ", ".join(f"{name} {count:,}" for name, count in sorted(found.decided_by.items()))
    terminal.print(f"decided by: {told}", markup=False)
    unit = "calls of larger models for a question" if found.by_calls else f"{currency} a question"
    terminal.print(f"\ncost in {unit}", markup=False)
    terminal.print(
        f"{'':28}  {'sent':>5}  {'cost':>9}  {'quality':>7}  95 % interval", markup=False
    )
    rows: list[tuple[str, Outcome | None]] = [("this policy", found.policy)]
    rows += [(f"{each.name} alone", each) for each in found.singles]
    if found.random is not None:
        rows += [
            ("single best at equal cost", found.single_at_cost),
            ("at random, equal cost", found.random),
            ("every outcome known", found.oracle),
        ]  # fmt: skip
    rows += [(each.name, each) for each in found.curve[:: max(1, len(found.curve) // 10)]]
    for label, own in rows:
        if own is None:
            terminal.print(f"{label[-28:]:28}  none", markup=False)
            continue
        if label == "single best at equal cost":
            label = f"best at equal cost: {own.name}"
        cost = "-" if own.cost is None else readable(own.cost)
        quality = "-" if own.quality is None else f"{own.quality:.1%}"
        interval = ""
        if own.low is not None and own.high is not None:
            interval = f"{own.low:.1%} - {own.high:.1%}"
            if own.known < found.replayed:
                interval += f" of {own.known:,} rated"
        terminal.print(
            f"{label[-28:]:28}  {own.share:>5.0%}  {cost:>9}  {quality:>7}  {interval}",
            markup=False,
        )


def _quality(value: float) -> str:
    return f"{value:.1%} right"
