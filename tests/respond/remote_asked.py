"""What is asked of models at an address, what one answers, and a ledger that remembers."""

from typing import Any

from linnet.respond import BudgetExceededError, Charge, conversation
from linnet.respond.context import Settle
from strangers import call, delta, event

ASKED = conversation([{"role": "user", "content": "Is it raining?"}])
GOOD = (
    b": hello\n\n"
    + event(delta(role="assistant", content=""))
    + event(delta(reasoning_content="Hm."))
    + event(delta(content="I lo"))
    + event(delta(content="ok é."))
    + event(delta(tool_calls=[call(0, name="weather", arguments='{"city"')]))
    + event(delta(tool_calls=[{"index": 0, "function": {"arguments": ': "Ulm"}'}}]))
    + event(delta("tool_calls"))
    + event({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 30,
                                      "prompt_tokens_details": {"cached_tokens": 4}}})
    + b"data: [DONE]\n\n"
)  # fmt: skip
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"


def calls_of(*given: Any) -> list[Any]:
    return [event(delta(tool_calls=[each])) for each in given]


class Books:
    """A ledger that knows what was reserved and settled."""

    def __init__(self, left: int = 10**18) -> None:
        self.left = left
        self.charges: list[Charge] = []
        self.settled: list[tuple[int, int]] = []
        self.keys: list[str | None] = []

    def budget(self, key: str | None) -> "Books":
        self.keys.append(key)
        return self

    def reserve(self, charge: Charge) -> Settle:
        if charge.cost > self.left:
            left = self.left - charge.price.prompt * charge.prompt
            raise BudgetExceededError("no more", writable=max(0, left // charge.price.written))
        self.charges.append(charge)
        return lambda tokens, cost: self.settled.append((tokens, cost))


LONG = conversation([{"role": "user", "content": "Is it raining in Ulm? " * 100}])
"""2,200 bytes, 1,700 without spaces: some 600 tokens."""
