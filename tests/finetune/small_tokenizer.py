"""A byte-level tokenizer with the marks of a chat, made in a moment."""

from functools import cache
from typing import Any

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from linnet.tokenizer import Tokenizer

WORDS = (
    "What is the capital of France? The capital of France is Paris. Say it in a few words, "
    "please: user assistant system tool. It is a small town by the sea, and nobody goes there."
)
MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>")

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' "
    "+ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@cache
def _trained() -> str:
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=list(MARKS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([WORDS] * 5, trainer)
    return str(backend.to_str())


def tokenizer(template: str | None = None, *, bos: bool = False) -> Tokenizer:
    """With this chat template, and a token that begins every text if ``bos``."""
    backend = tokenizers.Tokenizer.from_str(_trained())
    config: dict[str, Any] = {"eos_token": "<|endoftext|>"}
    if bos:
        backend.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", backend.token_to_id("<s>"))]
        )
        config["bos_token"] = "<s>"
    if template is not None:
        config["chat_template"] = template
    return Tokenizer(backend, config)
