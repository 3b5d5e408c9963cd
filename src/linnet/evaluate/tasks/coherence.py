"""Whether texts hold together: how much they repeat themselves and each other, whether they end,
and what of them stands in the training text, beside the same of what people wrote there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from linnet.evaluate.overlap import longest_overlaps
from linnet.evaluate.repetition import distinct_shares, self_overlaps, seq_rep
from linnet.evaluate.task import Answer, Example, Item
from linnet.evaluate.tasks.samples import Continuations, searched
from linnet.generate.engine import Completion

REPEATED = (1, 2, 3, 4)
DISTINCT = (1, 2, 3)
SHARED = 4


class Coherence(Continuations):
    """Continuations of held-out beginnings, by their tokens."""

    name = "coherence"
    about = "writing continuations"
    metrics = (
        "seq_rep_4", "real_seq_rep_4", "seq_rep_1", "seq_rep_2", "seq_rep_3", "distinct_1",
        "distinct_2", "distinct_3", "self_overlap_4", "ends_itself", "longest_overlap",
        "longest_real_overlap",
    )  # fmt: skip

    def examples(self) -> Iterator[Example]:
        """As many beginnings as are asked for."""
        config = self.run.config
        yield from self.beginnings(config.continuations if config.limit is None else config.limit)

    def scores(self, example: Example, answers: Sequence[Answer]) -> Mapping[str, float]:
        """What a text says of itself."""
        (written,) = answers
        assert isinstance(written, Completion)
        real = self.run.engine.tokenize(example.data[2])[: len(written.tokens)]
        scores = {
            "ends_itself": float(written.finish_reason == "stop"),
            "tokens": len(written.tokens),
            "characters": len(written.text),
        }
        for length in REPEATED:
            for side, tokens in (("", written.tokens), ("real_", real)):
                found = seq_rep(tokens, length)
                if found is not None:
                    scores[f"{side}seq_rep_{length}"] = found
        return scores

    def detail(self, example: Example, answers: Sequence[Answer]) -> dict[str, Any]:
        """The texts; the tokens are dropped when all are there."""
        (written,) = answers
        assert isinstance(written, Completion)
        prompt, seed, real = example.data
        return {
            "prompt": prompt,
            "answer": written.text,
            "real": real[: len(written.text)],
            "seed": seed,
            "_tokens": written.tokens,
        }

    def together(self, items: list[Item]) -> list[Item]:
        """What the texts have in common, with each other and with the training text."""
        tokens = [item.detail["_tokens"] for item in items]
        scores: list[dict[str, float]] = [dict(item.scores) for item in items]
        for length in DISTINCT:
            for own, (share, number) in zip(scores, distinct_shares(tokens, length), strict=True):
                if number:
                    own[f"distinct_{length}"], own[f"ngrams_{length}"] = share, number
        for own, overlap in zip(scores, self_overlaps(tokens, SHARED), strict=True):
            if overlap is not None:
                own[f"self_overlap_{SHARED}"] = overlap
        details = [
            {name: value for name, value in item.detail.items() if name != "_tokens"}
            for item in items
        ]
        self._search(details, scores)
        return [
            replace(item, scores=own, detail=detail)
            for item, own, detail in zip(items, scores, details, strict=True)
        ]

    def _search(self, details: list[dict[str, Any]], scores: list[dict[str, float]]) -> None:
        self.facts["searched_bytes"] = 0
        if self.run.training is None or not self.run.config.overlap_bytes or not details:
            return
        texts = [detail[side] for side in ("answer", "real") for detail in details]
        about = "searching for repeated passages"
        with self.run.progress.task(about, unit="bytes") as shown:
            found = longest_overlaps(texts, searched(self, shown.advance))
        for place, (detail, own) in enumerate(zip(details, scores, strict=True)):
            written, real = found[place], found[len(details) + place]
            own["overlap"], own["real_overlap"] = written.characters, real.characters
            detail["repeated"] = written.text
