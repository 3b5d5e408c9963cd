"""An assistant over an index that is still being made, or made anew while it answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from linnet.answers.answer import Answer
from linnet.answers.assistant import Assistant, Watch, Writer
from linnet.answers.evidence import Turn
from linnet.answers.gathering import GatherConfig
from linnet.respond.context import Context
from linnet.respond.conversation import ConversationError
from linnet.retrieval import Index, PassagesInMemory, Searchable

NOT_READY = "not_ready"


class CurrentAssistant(Assistant):
    """Answers from what a directory holds now: see :meth:`renew`."""

    def __init__(
        self, place: Path | str, *, writer: Writer | None = None, config: GatherConfig | None = None
    ) -> None:
        """Knows nothing yet, whatever is there."""
        super().__init__(PassagesInMemory(()), writer=writer, config=config)
        self.place = Path(place)
        self.is_ready = False
        self.asked = Counter()
        self.on_renew: Callable[[Searchable], None] = lambda index: None
        """Called with what is searched from now on, before it is."""
        self.gate_problem = ""
        """Why the gate that is there is not used, if it is not: answers do not wait for another."""

    def renew(self) -> None:
        """Take up what is in the directory now. Raises as :meth:`Assistant.open`, and goes on with
        what was there then."""
        problems: list[str] = []
        found = Assistant.open(
            self.place, writer=self.writer, guards=self.guards, config=self.config,
            without_gate=problems.append,
        )  # fmt: skip
        self.gate_problem = "".join(problems)
        self.on_renew(found.index)
        before = self.index
        self._search_in(found.index, found.gate, found._gatherer)
        self.is_ready = True
        if isinstance(before, Index):
            before.close()

    def ask(
        self,
        question: str,
        turns: Sequence[Turn] = (),
        *,
        id: str = "",
        collections: Sequence[str] | None = None,
        watch: Watch | None = None,
        context: Context | None = None,
        writer: Writer | None = None,
    ) -> Answer:
        """See :class:`Assistant`. Raises ConversationError while there is nothing to search."""
        if not self.is_ready:
            raise ConversationError(
                "the documents are still being read; ask again in a moment", code=NOT_READY
            )
        with self.asked:
            return super().ask(
                question, turns, id=id, collections=collections, watch=watch, context=context,
                writer=writer,
            )  # fmt: skip


class Counter:
    """How many are within ``with`` blocks of it, in whichever threads."""

    def __init__(self) -> None:
        self.now = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.now += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.now -= 1
