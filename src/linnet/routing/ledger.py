"""What was spent on models that bill, within the limits of ``budgets``.

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
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from linnet.database import Contents, Database, Run, StoreError
from linnet.respond.context import BudgetExceededError, Charge, Settle
from linnet.respond.prices import trillionths
from linnet.routing.accounts import FORGOTTEN, TOTAL, Account, account_of, read_accounts
from linnet.routing.budgets import BudgetConfig, Limit, zone_of
from linnet.routing.presence import Presence

FILE_BYTES = 1 << 30
IDLE_SECONDS = 10.0
"""After which the thread that writes settlements ends; the next one starts another."""
RETRY_SECONDS = 1.0
"""Until a settlement that could not be written is tried again; any other change writes it, too."""
_SUFFIX = ".usage.sqlite"


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
        self._zone = zone_of(self.config.timezone)
        self._lock = threading.RLock()
        self._presence = None if file is None else Presence(file)
        """Shown as long as this process lives, once it has reserved something."""
        self._settling = threading.Condition()
        """Around the settlements that wait, and what calls have used; held for moments."""
        self._unsettled: list[tuple[_Reservation, int, int]] = []
        """Settlements that are not written yet; until then all that was reserved counts."""
        self._thread: threading.Thread | None = None
        self._closed = False
        self._database = Database(file, _CONTENTS, most_bytes=FILE_BYTES, is_durable=True)
        with contextlib.suppress(StoreError, OSError):  # busy: with the next look at it
            self._find_lost()
            if self._presence is not None:
                self._presence.remove_dead()

    def close(self) -> None:
        """Nothing is reserved or settled any more."""
        with self._settling:
            self._closed = True
            self._settling.notify_all()
        with self._lock:
            with contextlib.suppress(StoreError):
                self._settle_waiting()
            self._database.close()
            if self._presence is not None:
                self._presence.end()

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
            return read_accounts(run, self._today(run), self.config)

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
                run("DELETE FROM spent WHERE account = ?", (account_of(key),))
                run(
                    "UPDATE reserved SET account = ? WHERE account = ?",
                    (FORGOTTEN, account_of(key)),
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
        if self._presence is not None:
            self._presence.show()
        if not self._database.is_current:
            raise StoreError(f"{self.file} was moved or deleted; start again")
        process = "" if self._presence is None else self._presence.name
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
                    said = limit.refusal(charge, self.currency)
                    if day > self._date():
                        said += (
                            f" (this is counted for {day}, where the clock of this machine has "
                            "been; if that was wrong, see 'linnet budget --correct-clock')"
                        )
                    writable = min(one.writable(charge) for one in limits)
                    raise BudgetExceededError(said, writable=writable)
            for period in (day, day[:7]):
                for account in (TOTAL, account_of(call.key)):
                    self._add(run, period, account, charge.cost, charge.tokens, 1)
            number = run(
                "INSERT INTO reserved (process, at, day, account, model, cost, tokens) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    process, self._clock(), day, account_of(call.key), charge.model,
                    str(charge.cost), str(charge.tokens),
                ),
            ).lastrowid  # fmt: skip
        assert number is not None
        return _Reservation(number, charge)

    def _limits(self, run: Run, call: CallBudget, day: str) -> Iterator[Limit]:
        for key, limits in ((None, self.config), (call.key, self.config.limits_of(call.key))):
            given = [
                ("call", limits.query, limits.query_tokens, (call.cost, call.tokens)),
                ("day", limits.day, limits.day_tokens, self._spent(run, day, key)),
                ("month", limits.month, limits.month_tokens, self._spent(run, day[:7], key)),
            ]
            for each, amount, tokens, (cost, used) in given:
                if amount is not None:
                    yield Limit(trillionths(amount), cost, each, key, True)
                if tokens is not None:
                    yield Limit(tokens, used, each, key, False)

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
            for one in (TOTAL, account):
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
        return self._row(run, period, account_of(key))[:2]

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
        if self._presence is None:
            return
        with self._database.reading() as run:
            rows = run("SELECT DISTINCT process FROM reserved WHERE NOT is_lost").fetchall()
        dead = [name for (name,) in rows if not self._presence.is_alive(name)]
        if dead:
            with self._changing() as run:
                for name in dead:
                    run("UPDATE reserved SET is_lost = 1 WHERE process = ?", (name,))


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
