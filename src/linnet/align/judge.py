"""A model that scores answers as a reward: what ``--method reward`` makes, or its like."""

from __future__ import annotations

from pathlib import Path

import torch

from linnet.align.rewards import Sample
from linnet.errors import ConfigError
from linnet.examples.prompts import BETWEEN
from linnet.model import load_model
from linnet.progress import SILENT, Progress
from linnet.tokenizer import encode_chat
from linnet.tokenizer import load as load_tokenizer
from linnet.tokenizer.chat import joined_text

NAME = "judged"
"""Of the reward."""


class Judge:
    """The sigmoid of what a sequence classification with one label says of a conversation, as its
    chat template writes it. Of what is longer than its context the middle is left out."""

    def __init__(self, path: Path, *, progress: Progress = SILENT) -> None:
        """Raises ConfigError for a model of another kind."""
        self._model = load_model(path, dtype=torch.float32, progress=progress).eval()
        self._tokenizer = load_tokenizer(path)
        shape = self._model.config
        if shape.head != "sequence" or len(shape.labels) != 1:
            raise ConfigError(
                f"{path}: expected a model that gives one score (linnet align --method reward). "
                f"Got one with the head '{shape.head}'"
                + (f" and {len(shape.labels)} labels" if shape.labels else "")
            )

    @torch.no_grad()
    def __call__(self, sample: Sample) -> float:
        """From 0 to 1."""
        ids, context = self._ids(sample), self._model.config.context
        if len(ids) > context:
            ids = ids[: context // 2] + ids[len(ids) - (context - context // 2) :]
        return float(self._model(torch.tensor([ids]))[0, 0].sigmoid())

    def _ids(self, sample: Sample) -> list[int]:
        """As the model was trained: without a chat template, a text and its end. What a call of a
        tool says is no text."""
        if self._tokenizer.chat_template is not None:
            answer = {"role": "assistant", "content": sample.text}
            messages = [*map(dict, sample.messages), answer]
            return list(encode_chat(self._tokenizer, messages, tools=sample.tools).ids)
        said = [each["content"] for each in sample.messages if each.get("content")]
        asked = BETWEEN.join(map(joined_text, said))
        ids = self._tokenizer.encode_arrays([f"{asked}{BETWEEN}{sample.text}"])[0]
        end = self._tokenizer.end_of_text
        return [*self._tokenizer.start, *ids.tolist(), *([] if end is None else [end])]
