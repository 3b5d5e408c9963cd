"""An example as a conversation: what a model is asked, and what it should answer.

One form for fine-tuning, evaluation and exports. Closed book, the question stands alone; open
book, the passage stands before it.
"""

from __future__ import annotations

import json
from typing import Any, Literal, TypeAlias

from linnet.examples.record import Example

Book: TypeAlias = Literal["closed", "open"]
Message: TypeAlias = dict[str, str]

BETWEEN = "\n\n"
"""Between passage, question and answer, where they are plain text."""

REFUSALS = {
    "en": "I don't know. The documents do not say.",
    "de": "Das weiß ich nicht. In den Dokumenten steht es nicht.",
    "fr": "Je ne sais pas. Les documents ne le disent pas.",
    "es": "No lo sé. Los documentos no lo dicen.",
}
"""What to answer to what the documents do not say, by language."""


def question_text(
    question: str, passage: str | None = None, schema: dict[str, Any] | None = None
) -> str:
    """A question with the passage before it, open book, and the schema of its answer after it."""
    parts = [] if passage is None else [passage.strip()]
    parts.append(question)
    if schema is not None:
        parts.append(json.dumps(schema, ensure_ascii=False))
    return BETWEEN.join(parts)


def prompt_text(example: Example, passage: str | None = None) -> str:
    """What the last turn asks. ``passage``: what stands before the question, open book."""
    return question_text(example.question, passage, example.schema)


def answer_text(example: Example) -> str:
    """What to answer; of a refusal without words of its own, those of its language."""
    return example.answer or REFUSALS.get(example.language, REFUSALS["en"])


def prompt_messages(example: Example, passage: str | None = None) -> list[Message]:
    """The conversation up to what is asked."""
    messages = []
    for turn in example.turns:
        messages.append({"role": "user", "content": turn.question})
        messages.append({"role": "assistant", "content": turn.answer})
    messages.append({"role": "user", "content": prompt_text(example, passage)})
    return messages


def messages(example: Example, passage: str | None = None) -> list[Message]:
    """The whole conversation."""
    answered = {"role": "assistant", "content": answer_text(example)}
    return [*prompt_messages(example, passage), answered]
