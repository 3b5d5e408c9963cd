"""What documents do not answer, answered by a model from what it knows.

Such an answer rests on nothing of the owner's: it has no citations, and says so.
"""

from __future__ import annotations

import contextlib
from typing import Any

from linnet.answers.responder import DocumentsResponder
from linnet.respond.context import Context
from linnet.respond.conversation import Conversation
from linnet.respond.pieces import (
    UNANSWERED,
    Decision,
    Passage,
    Piece,
    Refusal,
    Text,
)
from linnet.respond.responder import Batches, Responder

DOCUMENTS = "documents"
"""What the decision is about that says that an answer does not rest on them."""


class BeyondDocuments(DocumentsResponder):
    """Has a model write from documents; where they do not seem to have the answer, the model is
    asked without them."""

    def __init__(self, *args: Any, beyond: Responder, model: str, **settings: Any) -> None:
        """``beyond``: the model by itself, called ``model``."""
        super().__init__(*args, **settings)
        self._beyond, self._model = beyond, model

    async def respond(self, conversation: Conversation, context: Context) -> Batches:
        """See :class:`Responder`."""
        kept: list[Piece]
        found: list[Piece] = []  # held until it is known whether it answers anything
        refused = answered = False
        async with contextlib.aclosing(super().respond(conversation, context)) as batches:
            async for batch in batches:
                answered = answered or any(isinstance(piece, Text) for piece in batch)
                refused = refused or (not answered and any(map(_is_unanswered, batch)))
                if refused:
                    kept = [piece for piece in batch if isinstance(piece, Decision)]
                elif answered:
                    kept, found = [*found, *batch], []
                else:
                    found += [piece for piece in batch if isinstance(piece, Passage)]
                    kept = [piece for piece in batch if not isinstance(piece, Passage)]
                if kept:
                    yield kept
        if not refused:
            return
        context.record.choices -= 1  # the model counts its own
        reason = f"they do not seem to answer this; {self._model} answers from what it knows"
        yield [Decision(DOCUMENTS, "without", reason)]
        async with contextlib.aclosing(self._beyond.respond(conversation, context)) as batches:
            async for batch in batches:
                yield batch

    def shown(self, conversation: Conversation, context: Context) -> Conversation | None:
        """See :class:`DocumentsResponder`; where nothing is found it is the question alone."""
        return super().shown(conversation, context) or conversation


def _is_unanswered(piece: Piece) -> bool:
    return isinstance(piece, Refusal) and piece.reason == UNANSWERED
