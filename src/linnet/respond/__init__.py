"""Answering conversations, whatever stands behind: typed messages in, typed pieces out.

In reading order: ``pieces`` and ``conversation`` (the types), ``context`` (what belongs to one
call), ``responder`` (the interface, and the synchronous façade), ``engine`` (a model of this
machine: ``engine_requests`` are what it writes, ``tools`` shows it tools, ``tool_calls`` reads its
calls, ``inbox`` batches its tokens), ``remote`` (a model at an ``address``, reached by
``transport``, asked in its ``dialect``; its ``deltas`` and ``counts`` are a stranger's).
``language_model`` is what Python programs, commands and the server open models by.

    from linnet import respond
    answer, = respond.run(respond.EngineResponder(engine), respond.conversation(
        [{"role": "user", "content": "Is it raining in Ulm?"}], tools=[...]))
"""

from linnet.respond.address import read_key
from linnet.respond.context import (
    Budget,
    BudgetExceededError,
    CancelledCallError,
    Charge,
    Context,
    DeadlineError,
    Ledger,
    Record,
    TokenBudget,
    Tokens,
)
from linnet.respond.conversation import (
    ContextFullError,
    Conversation,
    ConversationError,
    Message,
    Tool,
    conversation,
    tools_of,
)
from linnet.respond.engine import EngineResponder
from linnet.respond.language_model import LanguageModel, load, open_model
from linnet.respond.pieces import (
    Attribution,
    Batch,
    Citation,
    Claim,
    Decision,
    Failure,
    Finish,
    Origin,
    Outcome,
    Passage,
    Piece,
    Reasoning,
    Refusal,
    Status,
    Text,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
)
from linnet.respond.prices import Price
from linnet.respond.remote import RemoteResponder
from linnet.respond.remote_errors import RemoteError
from linnet.respond.responder import Abilities, Answer, Batches, Responder, run, stream
from linnet.respond.transport import Timeouts

__all__ = [
    "Abilities",
    "Answer",
    "Attribution",
    "Batch",
    "Batches",
    "Budget",
    "BudgetExceededError",
    "CancelledCallError",
    "Charge",
    "Citation",
    "Claim",
    "Context",
    "ContextFullError",
    "Conversation",
    "ConversationError",
    "DeadlineError",
    "Decision",
    "EngineResponder",
    "Failure",
    "Finish",
    "LanguageModel",
    "Ledger",
    "Message",
    "Origin",
    "Outcome",
    "Passage",
    "Piece",
    "Price",
    "Reasoning",
    "Record",
    "Refusal",
    "RemoteError",
    "RemoteResponder",
    "Responder",
    "Status",
    "Text",
    "Timeouts",
    "TokenBudget",
    "Tokens",
    "Tool",
    "ToolCall",
    "ToolCallDelta",
    "ToolResult",
    "Usage",
    "conversation",
    "load",
    "open_model",
    "read_key",
    "run",
    "stream",
    "tools_of",
]
