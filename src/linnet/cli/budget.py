"""``linnet budget``: what models beyond this machine have cost, and what may still be spent."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from linnet.cli.terminal import err
from linnet.cli.terminal import out as terminal

if TYPE_CHECKING:
    from linnet.routing.accounts import Account, Amount
    from linnet.routing.ledger import Ledger

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def budget(
    routing: Annotated[
        Path, typer.Argument(metavar="FILE.toml", help="What has the budgets.")
    ] = Path("routing.toml"),
    lift: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="Have a model asked again that was cut off, as it billed more."
        ),
    ] = None,
    forget: Annotated[
        str | None, typer.Option(metavar="KEY", help="Forget what a key spent, but not the sum.")
    ] = None,
    correct_clock: Annotated[
        bool,
        typer.Option(
            "--correct-clock",
            help="This machine's clock had gone ahead and is right now: count on this day what "
            "was counted on days to come.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Show what was spent on models that bill, by key, and what is left.

    Example: linnet budget routing.toml
    """
    from linnet.errors import ConfigError
    from linnet.routing.ledger import Ledger, ledger_file, open_ledger
    from linnet.routing.settings import read_routing

    settings = read_routing(routing)
    if not settings.budget.is_any_limited:
        raise ConfigError(f"{routing}: there is no [budget], so nothing is counted beyond a run")
    file = ledger_file(routing, settings.budget)
    if not file.exists():
        if lift is not None or forget is not None:
            raise ConfigError(f"{file}: nothing was spent yet, by any key and on any model")
        if as_json:
            with closing(Ledger(None, settings.budget, currency=settings.currency)) as none:
                typer.echo(json.dumps(_as_json(none), ensure_ascii=False))
        else:
            terminal.print(f"{file}: nothing was spent yet", markup=False)
        return
    with closing(open_ledger(routing, settings.budget, currency=settings.currency)) as ledger:
        if lift is not None and not ledger.lift(lift):
            names = ", ".join(found.model for found in ledger.cut_offs()) or "none"
            raise ConfigError(f"the model '{lift}' is not cut off; those that are: {names}")
        if forget is not None:
            keys = [account.key for account in ledger.spent() if account.key]
            ledger.forget(forget)  # (it may have spent in a month that is over)
            if forget not in keys:
                err.print(f"key '{forget}' has spent nothing this month", markup=False)
        if correct_clock:
            ledger.correct_clock()
        if as_json:
            typer.echo(json.dumps(_as_json(ledger), ensure_ascii=False))
        else:
            _show(ledger)


def _show(ledger: Ledger) -> None:
    from linnet.respond.prices import show_money

    rows = [("", "today", "this month")]
    for account in ledger.spent():
        name = "all together" if account.key is None else account.key or "without a key"
        day = _amount(ledger, account.day, account.limits.day, account.limits.day_tokens)
        month = _amount(ledger, account.month, account.limits.month, account.limits.month_tokens)
        rows.append((name, day, month))
    widths = [max(len(row[place]) for row in rows) for place in range(3)]
    for row in rows:
        line = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        terminal.print(line.rstrip(), markup=False, soft_wrap=True)
    for found in ledger.cut_offs():
        at = datetime.fromtimestamp(found.at).astimezone()
        cost, reserved = (
            show_money(amount, ledger.currency) for amount in (found.cost, found.reserved)
        )
        terminal.print(
            f"'{found.model}' is cut off since {at:%Y-%m-%d %H:%M}: a call was billed {cost} and "
            f"{found.tokens:,} tokens, but had reserved {reserved} and "
            f"{found.reserved_tokens:,}; 'linnet budget --lift' has it asked again",
            markup=False, soft_wrap=True,
        )  # fmt: skip


def _amount(ledger: Ledger, spent: Amount, money: float | None, tokens: int | None) -> str:
    """What was spent in a time, of what there is for it."""
    from linnet.respond.prices import show_money, trillionths

    text = show_money(spent.cost, ledger.currency)
    if money is not None:
        text += f" of {show_money(trillionths(money), ledger.currency)}"
    text += f", {spent.tokens:,} tokens"
    if tokens is not None:
        text += f" of {tokens:,}"
    for amount, what in ((spent.reserved, "not settled"), (spent.assumed, "assumed")):
        if amount:
            text += f", {show_money(amount, ledger.currency)} {what}"
    return text


def _as_json(ledger: Ledger) -> dict[str, Any]:
    from linnet.respond.prices import money

    def amount(spent: Amount) -> dict[str, Any]:
        found = {name: str(money(getattr(spent, name))) for name in ("cost", "reserved", "assumed")}
        return {**found, "tokens": spent.tokens, "calls": spent.calls}

    def account(found: Account) -> dict[str, Any]:
        left = None if found.left is None else str(money(found.left))
        return {
            "key": found.key, "day": amount(found.day), "month": amount(found.month),
            "left": left, "tokens_left": found.tokens_left,
        }  # fmt: skip

    return {
        "currency": ledger.currency,
        "accounts": [account(found) for found in ledger.spent()],
        "cut_off": [
            {"model": found.model, "at": found.at, "cost": str(money(found.cost)),
             "reserved": str(money(found.reserved)), "tokens": found.tokens,
             "reserved_tokens": found.reserved_tokens}
            for found in ledger.cut_offs()
        ],
    }  # fmt: skip
