"""What simple methods make of the same text; the items are the methods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from linnet.evaluate.baselines import BASELINES
from linnet.evaluate.task import Answer, Example, Task


class Baselines(Task):
    """Bits per byte of the held-out text by methods that learnt from the training text."""

    name = "baselines"
    about = "baselines"

    def examples(self) -> Iterator[Example]:
        """A method each, where there is text to learn from."""
        if self.run.training is None or not self.run.config.baseline_bytes:
            return
        sample = self.run.training_sample
        self.facts = {
            "training_documents": len(sample.items),
            "training_bytes": sum(len(text.encode()) for text in sample.items),
            "of_documents": sample.of_items,
            "of_bytes": sample.of_size,
        }
        for name, bits in BASELINES.items():
            yield Example(name, bits)

    def scores(self, example: Example, answers: Sequence[Answer]) -> Mapping[str, float]:
        """What the method spends on each byte."""
        held_out = self.run.held_out
        texts = [document.text for document in held_out.documents]
        bits = example.data(self.run.training_sample.items, texts)
        return {"bits_per_byte": bits / held_out.text_bytes}
