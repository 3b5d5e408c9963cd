"""What documents do not answer, answered by a model from what it knows.

Such an answer rests on nothing of the owner's: it has no citations, and says so.
"""

from __future__ import annotations

from typing import Any

from linnet.answers.responder import DocumentsResponder
from linnet.respond.context import Context
from linnet.respond.conversation import Conversation
from linnet.respond.responder import Responder

DOCUMENTS = "documents"
"""What the decision is about that says that an answer does not rest on them."""


class BeyondDocuments(DocumentsResponder):
    """Has a model write from documents. ``beyond`` is the model by itself, which is asked where
    nobody finds an answer in them (``RoutingResponder``)."""

    def __init__(self, *args: Any, beyond: Responder, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.beyond = beyond

    def shown(self, conversation: Conversation, context: Context) -> Conversation | None:
        """See :class:`DocumentsResponder`; where nothing is found it is the question alone."""
        return super().shown(conversation, context) or conversation
