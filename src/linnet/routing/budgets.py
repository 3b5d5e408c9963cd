"""What may be spent on models that bill, by whom and until when; and the ledger of what was.

Limits stand in ``routing.toml`` alone::

    [budget]                  # for all calls together
    query = 0.05              # money for one call, in the currency of the file
    day = 2.0
    month = 30.0
    day_tokens = 500_000
    timezone = "Europe/Berlin"

    [budget.each_key]         # for every key that has none of its own
    day = 0.5

    [budget.keys.anna]
    month = 10.0

A limit of 0 is nothing at all. A key with limits of its own has these alone; calls without a key
count as one key.

Every call that bills reserves what it may come to at most, before it is sent, and settles what it
came to. Both are one transaction each, on disk when it returns, among all threads and processes
that share the file; reserved counts as spent until it is settled. What a killed process had
reserved stays spent. Days and months are the owner's; a call counts where it was sent, also when
it ends after midnight.

The ledger's clock never goes back: setting the machine's back makes nothing available again, and
what is spent then counts on the last day that the ledger knows. Setting it forward begins a new
day, as it cannot be told from time that passes; once it is right again, ``correct_clock`` moves
what was counted on days to come to this one.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

from filelock import FileLock, Timeout

from linnet import output
from linnet.config import Config, option
from linnet.database import Contents, Database, Run, StoreError
from linnet.errors import ConfigError, ContradictionError
from linnet.respond.context import BudgetExceededError, Charge, Settle
from linnet.respond.prices import money, trillionths

FILE_BYTES = 1 << 30
IDLE_SECONDS = 10.0
"""After which the thread that writes settlements ends; the next one starts another."""
RETRY_SECONDS = 1.0
"""Until a settlement that could not be written is tried again; any other change writes it, too."""
_SUFFIX = ".usage.sqlite"
_TOTAL = ""
"""The account of all calls together; those of keys begin with ``_KEY``."""
_FORGOTTEN = "forgotten"
"""The account of keys that are forgotten, for the calls that had not ended then."""
_KEY = "key:"
_UNBOUNDED = 1 << 62
"""Tokens that may be written where no limit says how many."""


@dataclass(frozen=True)
class Limits(Config):
    """What calls may use; 0 is nothing at all, and what is not given has no limit."""

    query: float | None = option(None, "Money for one call.", least=0)
    day: float | None = option(None, "Money for a day.", least=0)
    month: float | None = option(None, "Money for a month.", least=0)
    query_tokens: int | None = option(None, "Tokens for one call.", least=0)
    day_tokens: int | None = option(None, "Tokens for a day.", least=0)
    month_tokens: int | None = option(None, "Tokens for a month.", least=0)

    @property
    def in_money(self) -> bool:
        """Whether any of them is in money, which needs prices."""
        return not (self.query is None and self.day is None and self.month is None)

    @property
    def is_limited(self) -> bool:
        """Whether there is any."""
        tokens = (self.query_tokens, self.day_tokens, self.month_tokens)
        return self.in_money or any(limit is not None for limit in tokens)


@dataclass(frozen=True)
class BudgetConfig(Limits):
    """For all calls together, and for single keys."""

    each_key: Limits = Limits()
    """For every key that has none of its own."""
    keys: dict[str, Limits] = field(default_factory=dict)
    """By the name of the key."""
    timezone: str | None = option(
        None, "Where days begin, such as Europe/Berlin; otherwise as this machine has it."
    )
    file: Path | None = option(
        None, "Where it is counted; otherwise beside routing.toml, as routing.usage.sqlite."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _zone(self.timezone)
        _refuse_contradictions("budget", self)
        _refuse_contradictions("budget.each_key", self.each_key)
        for key, limits in self.keys.items():
            _refuse_contradictions(f"budget.keys.{key}", limits)

    @property
    def all_limits(self) -> list[Limits]:
        """Those of all, of each key and of every key that has its own."""
        return [self, self.each_key, *self.keys.values()]

    @property
    def is_any_limited(self) -> bool:
        """Whether there is a limit at all, and so something to count."""
        return any(limits.is_limited for limits in self.all_limits)

    def limits_of(self, key: str) -> Limits:
        """Those of a key alone."""
        return self.keys.get(key, self.each_key)

    def unknown_keys(self, names: Collection[str]) -> list[str]:
        """Keys with limits that are none of these: a mistake, or not made yet."""
        return [name for name in self.keys if name not in names]


def _refuse_contradictions(table: str, limits: Limits) -> None:
    """A limit that could never be reached, as one for a longer time is smaller, is a mistake."""
    for names in (("query", "day", "month"), ("query_tokens", "day_tokens", "month_tokens")):
        values = [(name, getattr(limits, name)) for name in names]
        given = [(name, value) for name, value in values if value is not None]
        for (name, value), (longer, less) in pairwise(given):
            if value > less:
                raise ContradictionError(
                    f"{table}.{name} = {value:g} is more than {longer} = {less:g}; "
                    "leave it out, or make it smaller",
                    f"{table}.{name}", f"{table}.{longer}",
                )  # fmt: skip


def ledger_file(routing: Path, config: BudgetConfig) -> Path:
    """Where a file of settings has its ledger: the same for everyone who uses it."""
    if config.file is not None:
        return routing.parent / config.file
    return routing.with_name(routing.stem + _SUFFIX)


def open_ledger(routing: Path, config: BudgetConfig, *, currency: str = "USD") -> Ledger:
    """The ledger of a file of settings: on disk where there is any limit, and otherwise in memory.

    Everyone who uses the settings shares it, whatever logs they keep: what is spent is spent, also
    where a log is full or was deleted. Raises ConfigError.
    """
    file = ledger_file(routing, config) if config.is_any_limited else None
    return Ledger(file, config, currency=currency)


def show_money(amount: int, currency: str, *, rounding: str = ROUND_CEILING) -> str:
    """An amount in trillionths, for people; what is spent is never shown as less than it is."""
    places = 2 if abs(amount) >= 10**12 or not amount else 6
    shown = money(amount).quantize(Decimal(1).scaleb(-places), rounding=rounding)
    text = f"{shown:,f}"
    while places > 2 and text.endswith("0"):
        text, places = text[:-1], places - 1
    return f"{text} {currency}"


@dataclass(frozen=True)
class Amount:
    """What was spent in a time."""

    cost: int = 0
    """In trillionths of the unit of money; with what is reserved."""
    tokens: int = 0
    calls: int = 0
    reserved: int = 0
    """Of the cost, that of calls which have not ended."""
    assumed: int = 0
    """Of the cost, that of calls whose process died: all that they had reserved."""


@dataclass(frozen=True)
class Account:
    """What a key has spent, or all together, and may spend."""

    key: str | None
    """None: all together; empty: calls without a key."""
    limits: Limits
    day: Amount
    month: Amount

    @property
    def left(self) -> int | None:
        """Money that may still be spent today, in trillionths; None: no limit."""
        pairs = ((self.limits.day, self.day.cost), (self.limits.month, self.month.cost))
        left = [trillionths(limit) - cost for limit, cost in pairs if limit is not None]
        return max(0, min(left)) if left else None

    @property
    def tokens_left(self) -> int | None:
        """Tokens that may still be used today; None: no limit."""
        day, month = self.limits.day_tokens, self.limits.month_tokens
        pairs = ((day, self.day.tokens), (month, self.month.tokens))
        left = [limit - tokens for limit, tokens in pairs if limit is not None]
        return max(0, min(left)) if left else None


@dataclass(frozen=True)
class CutOff:
    """A model that billed more than a call had reserved; it is not asked again until lifted."""

    model: str
    at: float
    """In seconds since 1970."""
    reserved: int
    cost: int
    """That was billed, in trillionths; and the tokens."""
    reserved_tokens: int
    tokens: int


_TABLES = """
CREATE TABLE spent (
    period TEXT NOT NULL, account TEXT NOT NULL, cost TEXT NOT NULL, tokens TEXT NOT NULL,
    calls INTEGER NOT NULL, PRIMARY KEY (period, account)
) WITHOUT ROWID;
CREATE TABLE reserved (
    number INTEGER PRIMARY KEY AUTOINCREMENT, process TEXT NOT NULL, at REAL NOT NULL,
    day TEXT NOT NULL, account TEXT NOT NULL, model TEXT NOT NULL, cost TEXT NOT NULL,
    tokens TEXT NOT NULL, is_lost INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE cut_off (
    model TEXT PRIMARY KEY, at REAL NOT NULL, reserved TEXT NOT NULL, cost TEXT NOT NULL,
    reserved_tokens TEXT NOT NULL, tokens TEXT NOT NULL
);
"""
_CONTENTS = Contents("ledger of budgets", 0x4C6E7442, 1, _TABLES)  # "LntB"
# Amounts are text: in a currency of small units they outgrow SQLite's whole numbers.


@dataclass
class _Reservation:
    """What a call has set aside."""

    number: int
    charge: Charge


@dataclass(frozen=True)
class _Limit:
    """One limit, with what is spent of it."""

    amount: int
    spent: int
    each: str
    """``call``, ``day`` or ``month``."""
    key: str | None
    in_money: bool

    @property
    def left(self) -> int:
        return max(0, self.amount - self.spent)

    def admits(self, charge: Charge) -> bool:
        return self.spent + (charge.cost if self.in_money else charge.tokens) <= self.amount

    def writable(self, charge: Charge) -> int:
        """The tokens of an answer to this prompt that are within it."""
        if not self.in_money:
            return max(0, self.left - charge.prompt)
        left = self.left - replace(charge, written=0).cost
        each = charge.price.written
        if left < 0:
            return 0
        return left // each if each else _UNBOUNDED


class Ledger:
    """What was spent, within limits; for several threads, and in a file for several processes."""

    def __init__(
        self,
        file: Path | None = None,
        config: BudgetConfig | None = None,
        *,
        currency: str = "USD",
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``file``: None: in memory. Raises ConfigError for a file that is something else, is
        damaged or cannot be written.
        """
        self.file = file
        self.config = config or BudgetConfig()
        self.currency = currency
        self._clock = clock
        self._zone = _zone(self.config.timezone)
        self._lock = threading.RLock()
        self._process = secrets.token_hex(8)
        self._alive: FileLock | None = None
        """Held as long as this process lives, once it has reserved something."""
        self._settling = threading.Condition()
        """Around the settlements that wait, and what calls have used; held for moments."""
        self._unsettled: list[tuple[_Reservation, int, int]] = []
        """Settlements that are not written yet; until then all that was reserved counts."""
        self._thread: threading.Thread | None = None
        self._closed = False
        self._database = Database(file, _CONTENTS, most_bytes=FILE_BYTES, is_durable=True)
        with contextlib.suppress(StoreError, OSError):  # busy: with the next look at it
            self._find_lost()
            self._remove_locks()

    def close(self) -> None:
        """Nothing is reserved or settled any more."""
        with self._settling:
            self._closed = True
            self._settling.notify_all()
        with self._lock:
            with contextlib.suppress(StoreError):
                self._settle_waiting()
            self._database.close()
            if self._alive is not None:
                with contextlib.suppress(OSError):
                    Path(self._alive.lock_file).unlink()
                self._alive.release()
                self._alive = None

    def budget(self, key: str | None) -> CallBudget:
        """The budget of one call of a key, with all models that it asks and all its retries."""
        return CallBudget(self, key or "")

    def cut_off(self, model: str) -> CutOff | None:
        """Why a model is not asked any more, if it is so. Raises StoreError."""
        return next((found for found in self.cut_offs() if found.model == model), None)

    def cut_offs(self) -> list[CutOff]:
        """All models that are not asked any more. Raises StoreError."""
        self._settle_waiting()
        with self._database.reading() as run:
            rows = run("SELECT model, at, reserved, cost, reserved_tokens, tokens FROM cut_off")
            return [CutOff(model, at, *map(int, amounts)) for model, at, *amounts in rows]

    def lift(self, model: str) -> bool:
        """Have a model asked again; whether it was cut off. Raises StoreError."""
        with self._changing() as run:
            return bool(run("DELETE FROM cut_off WHERE model = ?", (model,)).rowcount)

    def spent(self) -> list[Account]:
        """What was spent today and this month: all together first, then by key.

        Raises StoreError.
        """
        with contextlib.suppress(StoreError):  # they count as reserved
            self._settle_waiting()
            self._find_lost()
        with self._database.reading() as run:
            day = self._today(run)
            amounts = {
                (period, account): Amount(int(cost), int(tokens), calls)
                for period, account, cost, tokens, calls in run(
                    "SELECT * FROM spent WHERE period IN (?, ?)", (day, day[:7])
                )
            }
            for there, account, cost, is_lost in run(
                "SELECT day, account, cost, is_lost FROM reserved WHERE SUBSTR(day, 1, 7) = ?",
                (day[:7],),
            ):
                for period in {day} & {there} | {day[:7]}:
                    for one in (_TOTAL, account):
                        found = amounts.get((period, one), Amount())
                        name = "assumed" if is_lost else "reserved"
                        more = getattr(found, name) + int(cost)
                        amounts[period, one] = replace(found, **{name: more})
        accounts = {account for _, account in amounts} - {_TOTAL, _FORGOTTEN}
        keys = {account.removeprefix(_KEY) for account in accounts}
        return [
            Account(
                key,
                self.config if key is None else self.config.limits_of(key),
                *(amounts.get((period, _account(key)), Amount()) for period in (day, day[:7])),
            )
            for key in (None, *sorted(keys | self.config.keys.keys()))
        ]

    def correct_clock(self) -> int:
        """Count what was counted on days to come on this one: the clock went ahead, and is right
        now. Gives how many such days there were. Raises StoreError."""
        with self._changing() as run:
            today = self._date()
            rows = run(
                "SELECT * FROM spent WHERE period > ? AND LENGTH(period) = LENGTH(?)",
                (today, today),
            ).fetchall()
            later = {row[0] for row in rows}
            for day, account, *amounts in rows:
                for period in (day, day[:7]):
                    self._add(run, period, account, *(-int(amount) for amount in amounts))
                for period in (today, today[:7]):
                    self._add(run, period, account, *map(int, amounts))
            run("UPDATE reserved SET day = ? WHERE day > ?", (today, today))
            run("DELETE FROM spent WHERE period > ?", (today,))
        return len(later)

    def forget(self, key: str) -> None:
        """Forget what a key spent, down to the bytes; what all spent together stays.

        Raises StoreError.
        """
        with self._lock:
            self._settle_waiting()
            with self._database.changing(is_deleting=True) as run:
                run("DELETE FROM spent WHERE account = ?", (_account(key),))
                run(
                    "UPDATE reserved SET account = ? WHERE account = ?",
                    (_FORGOTTEN, _account(key)),
                )
            self._database.rewrite()

    def reserve(self, call: CallBudget, charge: Charge) -> Settle:
        """See :meth:`CallBudget.reserve`."""
        if not charge.model:
            return _nothing
        with self._lock:
            try:
                reservation = self._reserve(call, charge)
            except StoreError as error:
                raise BudgetExceededError(
                    f"what is spent cannot be kept, so nothing may be ({error})"
                ) from None
            with self._settling:
                call.cost += charge.cost
                call.tokens += charge.tokens
        settled = False

        def settle(tokens: int, cost: int) -> None:
            nonlocal settled
            with self._settling:
                if settled:
                    return
                settled = True
                tokens, cost = max(0, tokens), max(0, cost)
                call.cost += cost - charge.cost
                call.tokens += tokens - charge.tokens
                self._unsettled.append((reservation, tokens, cost))
                if self._thread is None:
                    self._thread = threading.Thread(
                        target=self._settle_all, name="linnet-settling", daemon=True
                    )
                    self._thread.start()
                self._settling.notify_all()

        return settle

    def _reserve(self, call: CallBudget, charge: Charge) -> _Reservation:
        if self._alive is None and self.file is not None:
            self._alive = self._hold()
        if not self._database.is_current:
            raise StoreError(f"{self.file} was moved or deleted; start again")
        with self._changing() as run:
            if run("SELECT 1 FROM cut_off WHERE model = ?", (charge.model,)).fetchone():
                raise BudgetExceededError(
                    f"the model '{charge.model}' is cut off, as it billed more than was asked of "
                    "it; 'linnet budget --lift' has it asked again"
                )
            day = self._today(run)
            limits = list(self._limits(run, call, day))
            for limit in limits:
                if not limit.admits(charge):
                    said = self._said(limit, charge)
                    if day > self._date():
                        said += (
                            f" (this is counted for {day}, where the clock of this machine has "
                            "been; if that was wrong, see 'linnet budget --correct-clock')"
                        )
                    writable = min(one.writable(charge) for one in limits)
                    raise BudgetExceededError(said, writable=writable)
            for period in (day, day[:7]):
                for account in (_TOTAL, _account(call.key)):
                    self._add(run, period, account, charge.cost, charge.tokens, 1)
            number = run(
                "INSERT INTO reserved (process, at, day, account, model, cost, tokens) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    self._process, self._clock(), day, _account(call.key), charge.model,
                    str(charge.cost), str(charge.tokens),
                ),
            ).lastrowid  # fmt: skip
        assert number is not None
        return _Reservation(number, charge)

    def _limits(self, run: Run, call: CallBudget, day: str) -> Iterator[_Limit]:
        for key, limits in ((None, self.config), (call.key, self.config.limits_of(call.key))):
            given = [
                ("call", limits.query, limits.query_tokens, (call.cost, call.tokens)),
                ("day", limits.day, limits.day_tokens, self._spent(run, day, key)),
                ("month", limits.month, limits.month_tokens, self._spent(run, day[:7], key)),
            ]
            for each, amount, tokens, (cost, used) in given:
                if amount is not None:
                    yield _Limit(trillionths(amount), cost, each, key, True)
                if tokens is not None:
                    yield _Limit(tokens, used, each, key, False)

    def _said(self, limit: _Limit, charge: Charge) -> str:
        """That a charge is beyond a limit, for people."""
        whose = "the budget" if limit.key is None else f"the budget of key '{limit.key}'"
        if limit.key == "":
            whose = "the budget of calls without a key"
        if limit.in_money:
            most, needed = (
                show_money(amount, self.currency) for amount in (limit.amount, charge.cost)
            )
            left = show_money(limit.left, self.currency, rounding=ROUND_FLOOR)
        else:
            most, left, needed = (
                f"{count:,} tokens" for count in (limit.amount, limit.left, charge.tokens)
            )
        each = "for a call" if limit.each == "call" else f"a {limit.each}"
        if not limit.amount:
            return f"{whose} is {most} {each}: no model that bills is asked"
        advice = "ask for a shorter answer (max_tokens), or raise the budget"
        if not limit.writable(charge):
            advice = "what is asked takes that up by itself: shorten it, or raise the budget"
        return (
            f"{whose} of {most} {each} has {left} left, but '{charge.model}' may need {needed}; "
            f"{advice}"
        )

    def _settle_all(self) -> None:
        """Write settlements as they come, in a thread of its own, so that no answer waits."""
        while True:
            with self._settling:
                self._settling.wait_for(
                    lambda: self._unsettled or self._closed, timeout=IDLE_SECONDS
                )
                if self._closed or not self._unsettled:
                    self._thread = None
                    return
            try:
                self._settle_waiting()
            except StoreError:  # the disk is full, or the file busy
                with self._settling:
                    self._settling.wait_for(lambda: self._closed, timeout=RETRY_SECONDS)

    def _settle_waiting(self) -> None:
        """Write the settlements that are not written. Raises StoreError.

        It waits for the disk only where more was billed than reserved: of others, a power failure
        leaves what was reserved.
        """
        with self._lock:
            with self._settling:
                waiting = list(self._unsettled)
            if not waiting:
                return
            is_beyond = any(
                cost > reservation.charge.cost or tokens > reservation.charge.tokens
                for reservation, tokens, cost in waiting
            )
            with self._changing(waits_for_disk=is_beyond):
                pass

    @contextlib.contextmanager
    def _changing(self, *, waits_for_disk: bool = True) -> Iterator[Run]:
        """A change, with the settlements that wait for one."""
        with self._lock:
            with self._settling:
                waiting = list(self._unsettled)
            with self._database.changing(waits_for_disk=waits_for_disk) as run:
                for reservation, tokens, cost in waiting:
                    self._settle(run, reservation, tokens, cost)
                yield run
            with self._settling:
                del self._unsettled[: len(waiting)]

    def _settle(self, run: Run, reservation: _Reservation, tokens: int, cost: int) -> None:
        charge, number = reservation.charge, reservation.number
        found = run("SELECT day, account FROM reserved WHERE number = ?", (number,)).fetchone()
        if found is None:  # it is another file by now
            return
        day, account = found  # as they are by now: see correct_clock and forget
        run("DELETE FROM reserved WHERE number = ?", (number,))
        for period in (day, day[:7]):
            for one in (_TOTAL, account):
                self._add(run, period, one, cost - charge.cost, tokens - charge.tokens, 0)
        if cost > charge.cost or tokens > charge.tokens:
            amounts = (charge.cost, cost, charge.tokens, tokens)
            run(
                "INSERT OR REPLACE INTO cut_off VALUES (?, ?, ?, ?, ?, ?)",
                (charge.model, self._clock(), *map(str, amounts)),
            )

    def _add(self, run: Run, period: str, account: str, cost: int, tokens: int, calls: int) -> None:
        before = self._row(run, period, account)
        run(
            "INSERT OR REPLACE INTO spent VALUES (?, ?, ?, ?, ?)",
            (period, account, str(before[0] + cost), str(before[1] + tokens), before[2] + calls),
        )

    def _row(self, run: Run, period: str, account: str) -> tuple[int, int, int]:
        found = run(
            "SELECT cost, tokens, calls FROM spent WHERE period = ? AND account = ?",
            (period, account),
        ).fetchone()
        return (int(found[0]), int(found[1]), found[2]) if found else (0, 0, 0)

    def _spent(self, run: Run, period: str, key: str | None) -> tuple[int, int]:
        return self._row(run, period, _account(key))[:2]

    def _date(self) -> str:
        """The owner's date, by the clock."""
        return datetime.fromtimestamp(self._clock(), UTC).astimezone(self._zone).date().isoformat()

    def _today(self, run: Run) -> str:
        """The date that counts: never before one that something was spent on. (A month comes
        before its days.)"""
        (latest,) = run("SELECT MAX(period) FROM spent").fetchone()
        return max(latest or "", self._date())

    def _find_lost(self) -> None:
        """Find reservations whose process died: they stay spent. Raises StoreError."""
        if self.file is None:
            return
        with self._database.reading() as run:
            rows = run("SELECT DISTINCT process FROM reserved WHERE NOT is_lost").fetchall()
        dead = [name for (name,) in rows if name != self._process and not self._is_alive(name)]
        if dead:
            with self._changing() as run:
                for name in dead:
                    run("UPDATE reserved SET is_lost = 1 WHERE process = ?", (name,))

    def _hold(self) -> FileLock:
        """Show other processes that this one lives."""
        lock = FileLock(self._lock_file(self._process), thread_local=False)
        try:
            lock.acquire(timeout=1)
        except (OSError, Timeout) as error:
            raise StoreError(f"{self.file}: nothing can be written beside it ({error})") from None
        return lock

    def _is_alive(self, process: str) -> bool:
        """Whether the process that called itself so lives. The file of a dead one is removed."""
        file = self._lock_file(process)
        if not file.exists():
            return False
        try:
            with output.hold(file, timeout=0):
                return False
        except Timeout:
            return True

    def _remove_locks(self) -> None:
        """Remove the files of processes that died. Raises OSError."""
        if self.file is not None:
            start = f".{self.file.name}."
            for file in list(self.file.parent.iterdir()):
                if file.name.startswith(start) and file.suffix == ".lock":
                    self._is_alive(file.name.removeprefix(start).removesuffix(".lock"))

    def _lock_file(self, process: str) -> Path:
        assert self.file is not None
        return self.file.with_name(f".{self.file.name}.{process}.lock")


class CallBudget:
    """The budget of one call, as a :class:`~linnet.respond.context.Budget`."""

    def __init__(self, ledger: Ledger, key: str) -> None:
        self.key = key
        self.cost = 0
        """What it has spent or reserved so far, in trillionths."""
        self.tokens = 0
        self._ledger = ledger

    def reserve(self, charge: Charge) -> Settle:
        """Set aside what a charge may come to; it is on disk when this returns, which takes as long
        as the disk does: within an event loop, call it in a thread.

        A charge without a model is this machine's own, and not counted. Raises BudgetExceededError
        where it is not there, the model is cut off, or the ledger cannot be written.
        """
        return self._ledger.reserve(self, charge)


def _nothing(tokens: int, cost: int) -> None:
    """Nobody bills it."""


def _account(key: str | None) -> str:
    return _TOTAL if key is None else _KEY + key


def _zone(name: str | None) -> tzinfo | None:
    """None: this machine's. Raises ConfigError for one that there is not."""
    if name is None:
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ConfigError(
            f"budget: timezone must be one like Europe/Berlin, that this machine has. Got '{name}'"
        ) from None
