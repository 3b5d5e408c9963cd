"""Who may ask, and how much: keys with their rates, and a bound on everything.

A rate is a bucket that fills with time and holds a minute's worth. Tokens are only
known afterwards: what was used is taken out then, and a bucket in debt refuses until
time has filled it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from linnet.serve.errors import ApiError
from linnet.serve.keys import Key, KeyRing

QUEUE_RETRY_SECONDS = 1.0


class Bucket:
    """So many a minute. ``clock`` gives seconds."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.size = float(per_minute)
        self._clock = clock
        self._left = self.size
        self._filled = clock()

    def wait(self, amount: float) -> float:
        """Seconds until ``amount`` is there; 0 when it is there already."""
        now = self._clock()
        rate = self.size / 60
        self._left = min(self.size, self._left + (now - self._filled) * rate)
        self._filled = now
        return max(0.0, (min(amount, self.size) - self._left) / rate)

    def take(self, amount: float) -> None:
        """Take out, even what is not there."""
        self._left -= amount


class Account:
    """What one key uses."""

    def __init__(self, key: Key, clock: Callable[[], float] = time.monotonic) -> None:
        limits = key.limits
        self.key = key
        self.running = 0
        self.waiting = 0
        """Requests for models that are being opened; they are not running yet."""
        self._clock = clock
        self._requests = Bucket(limits.requests_per_minute, clock)
        self._tokens = Bucket(limits.tokens_per_minute, clock)

    def change(self, key: Key) -> None:
        """Go on by the key's new limits; what runs is still counted."""
        old, new = self.key.limits, key.limits
        self.key = key
        if new.requests_per_minute != old.requests_per_minute:
            self._requests = Bucket(new.requests_per_minute, self._clock)
        if new.tokens_per_minute != old.tokens_per_minute:
            self._tokens = Bucket(new.tokens_per_minute, self._clock)

    def enter(self) -> None:
        """Begin a request. Raises ApiError (429) where a limit is reached."""
        limits = self.key.limits
        if limits.concurrent and self.running >= limits.concurrent:
            raise _too_many(
                f"Rate limit reached: this key may have {limits.concurrent} requests at a time.", 1
            )
        if limits.requests_per_minute and (wait := self._requests.wait(1)):
            raise _too_many(
                f"Rate limit reached: this key may send {limits.requests_per_minute} requests "
                f"a minute. Please try again in {wait:.1f} s.",
                wait,
            )
        if limits.tokens_per_minute and (wait := self._tokens.wait(1)):
            raise _too_many(
                f"Rate limit reached: this key may use {limits.tokens_per_minute} tokens a minute. "
                f"Please try again in {wait:.1f} s.",
                wait,
            )
        if limits.requests_per_minute:
            self._requests.take(1)
        self.running += 1

    def leave(self, tokens: int) -> None:
        """End a request that read and wrote so many tokens."""
        self.running -= 1
        if self.key.limits.tokens_per_minute:
            self._tokens.take(tokens)


class ByteBudget:
    """Memory that the bodies of all requests may take together while they are answered."""

    def __init__(self, total: int) -> None:
        self.left = total

    def take(self, count: int) -> None:
        """Take so many bytes. Raises ApiError (503) where they are not there."""
        if count > self.left:
            raise ApiError(
                503,
                "The server is busy with large requests. Please try again later.",
                code="busy",
                retry_after=QUEUE_RETRY_SECONDS,
            )
        self.left -= count

    def give_back(self, count: int) -> None:
        """What was taken is free again."""
        self.left += count


class Doorkeeper:
    """Lets requests in that have the right to."""

    def __init__(self, ring: KeyRing, *, most: int, body_bytes: int = 1 << 30) -> None:
        """``most``: texts that may be written or waiting at once, over all keys; ``body_bytes``:
        what the bodies of all requests may have together.
        """
        self.bodies = ByteBudget(body_bytes)
        self.ring = ring
        self.most = most
        self.inside = 0
        self.waiting = 0
        self._accounts: dict[str, Account] = {}

    def account(self, presented: str | None) -> Account | None:
        """Whose key was presented; None where none is needed. Raises ApiError (401)."""
        key = self.ring.find(presented) if presented else None
        if key is None:
            if not self.ring.required:
                return None
            raise ApiError(
                401,
                "Incorrect API key provided." if presented else
                "You didn't provide an API key. Send it as 'Authorization: Bearer KEY'.",
                code="invalid_api_key",
            )  # fmt: skip
        known = self._accounts.get(key.hash)
        if known is None:
            known = self._accounts[key.hash] = Account(key)
        elif known.key is not key:
            known.change(key)  # the same account: requests that run will leave it
        return known

    def enter(self, texts: int, account: Account | None) -> None:
        """Begin so many texts. Raises ApiError (429) where there is no room for them."""
        if texts > self.most:
            raise ApiError(
                400, f"A request may ask for at most {self.most} texts. Got {texts}", param="n"
            )
        if self.inside + texts > self.most:
            raise _too_many(
                f"The server is busy: {self.inside} texts are being written or wait, of at most "
                f"{self.most}. Please try again later.",
                QUEUE_RETRY_SECONDS,
                code="queue_full",
            )
        if account is not None:
            account.enter()
        self.inside += texts

    @contextlib.contextmanager
    def waiting_for_model(self, account: Account | None) -> Iterator[None]:
        """Count a request that waits until its model is open, and is not inside before. Raises
        ApiError (429) where too many wait, over all keys or of one.
        """
        if self.waiting + self.inside >= self.most:
            raise _too_many(
                f"The server is busy: {self.waiting} requests wait for models. Please try again "
                "later.",
                QUEUE_RETRY_SECONDS,
                code="queue_full",
            )
        most = account.key.limits.concurrent if account is not None else 0
        if account is not None and most and account.running + account.waiting >= most:
            raise _too_many(f"Rate limit reached: this key may have {most} requests at a time.", 1)
        self.waiting += 1
        if account is not None:
            account.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1
            if account is not None:
                account.waiting -= 1

    def leave(self, texts: int, account: Account | None, *, tokens: int) -> None:
        """End them."""
        self.inside -= texts
        if account is not None:
            account.leave(tokens)


def _too_many(message: str, wait: float, *, code: str = "rate_limit_exceeded") -> ApiError:
    return ApiError(429, message, code=code, retry_after=wait)
