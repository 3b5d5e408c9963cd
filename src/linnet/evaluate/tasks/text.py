"""How surprised the model is by documents that it was not trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from linnet.evaluate.task import Answer, Example, Prompt, Task
from linnet.generate.engine import Continuation, Likelihood


class HeldOutText(Task):
    """Bits per byte of held-out text; its items are documents."""

    name = "text"
    needs = ("text",)
    sampled = False
    about = "scoring"
    unit = "bytes"
    metrics = ("bits_per_byte", "perplexity", "nats_per_token")

    def examples(self) -> Iterator[Example]:
        """The documents."""
        for number, document in enumerate(self.run.held_out.documents):
            yield Example(str(number), document, document.text_bytes)

    def prompts(self, example: Example) -> Sequence[Prompt]:
        """The document after an end of text, as in training."""
        return [Continuation((self.run.engine.tokenizer.end_of_text,), example.data.tokens)]

    def scores(self, example: Example, answers: Sequence[Answer]) -> Mapping[str, float]:
        """Its cost and its sizes."""
        (found,) = answers
        assert isinstance(found, Likelihood)
        return {"nats": found.nats, "tokens": found.tokens, "bytes": example.size}
