"""Chats for tokenizers without them, and the check before training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_chat import CALLED, CONVERSATIONS, TOOL, chat

from linnet.errors import DataError, ModelError
from linnet.tokenizer import (
    Tokenizer,
    adopt,
    check_trainable,
    load,
    safe_padding,
    with_chat,
    with_safe_padding,
)


def changed(tokenizer: Tokenizer, directory: Path, **settings: Any) -> Tokenizer:
    """The tokenizer with other settings, by way of its files."""
    tokenizer.save(directory)
    file = directory / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))
    return load(directory)


def test_what_is_trained_here_knows_chats(trained: Tokenizer, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    trained.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for messages in [*CONVERSATIONS, CALLED]:
        for tools in (None, [TOOL]):
            options: dict[str, Any] = {"tools": tools, "add_generation_prompt": len(messages) % 2}
            ids = theirs.apply_chat_template(messages, return_dict=False, **options)
            made = trained.encode_chat(messages, **options)
            assert made.ids == ids
            assert made.text == theirs.apply_chat_template(messages, tokenize=False, **options)
    assert trained.stop_ids == (0, 3)
    check_trainable(trained, rows=trained.vocab_size)
    made = trained.encode_chat(CALLED, tools=[TOOL])
    said = [token for token, own in zip(made.ids, made.trained, strict=True) if own]
    call = '<tool_call>{"name": "weather", "arguments": {"city": "Malmö"}}</tool_call>'
    assert trained.decode(said) == call + "Yes."
    with pytest.raises(DataError, match="roles are system, user, assistant and tool, not human"):
        trained.encode_chat([{"role": "human", "content": "a"}])


def test_gpt2_with_chat(data: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    adopt(str(data / "tokenizers" / "gpt2"), tmp_path / "gpt2")
    base = load(tmp_path / "gpt2")
    with pytest.raises(ModelError, match="no chat template"):
        check_trainable(base, rows=50257)
    check_trainable(base, rows=50257, chat=False)
    made = with_chat(base)
    assert made.new_ids == (50257, 50258)
    assert made.tokenizer.vocab_size == 50259
    assert base.chat_template is None
    assert base.vocab_size == 50257
    with pytest.raises(ModelError, match=r"50,259 tokens.*50,257"):
        check_trainable(made.tokenizer, rows=50257)
    check_trainable(made.tokenizer, rows=50304)
    assert made.tokenizer.encode("Hello world") == [15496, 995]
    made.tokenizer.save(tmp_path / "with")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "with")
    messages = chat("Hello", "Hi <|im_end|>")
    assert made.tokenizer.encode_chat(chat("Hello")).ids == theirs.apply_chat_template(
        chat("Hello"), return_dict=False
    )
    assert made.tokenizer.encode_chat(messages).ids.count(50258) == 2
    again = with_chat(made.tokenizer)
    assert again.tokenizer is made.tokenizer
    assert again.new_ids == ()


def test_padding_that_ends_something_is_refused_and_replaced(
    trained: Tokenizer, tmp_path: Path
) -> None:
    assert safe_padding(trained) == trained.pad == 1
    assert with_safe_padding(trained) is trained
    for ending in ("<|endoftext|>", "<|im_end|>"):
        made = changed(trained, tmp_path / ending.strip("<|>"), pad_token=ending)
        with pytest.raises(ModelError, match="name another pad_token"):
            check_trainable(made)
        repaired = with_safe_padding(made)
        assert repaired.pad == 1
        check_trainable(repaired)


def test_no_padding_at_all_is_better_than_a_wrong_one(data: Path, tmp_path: Path) -> None:
    adopt(str(data / "tokenizers" / "gpt2"), tmp_path / "gpt2")
    made = changed(load(tmp_path / "gpt2"), tmp_path / "out", pad_token="<|endoftext|>")
    assert safe_padding(made) is None
    assert with_safe_padding(made).pad is None
    assert "pad_token" not in with_safe_padding(made).config


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}", "eos_token"),
        ("{% for m in messages %}{{ m.content }}<|im_start|>", "does not compile"),
        ("{% for m in messages %}{{ m.content }}<|unknown|>{% endfor %}", "no special token"),
        ("{{ messages[0].content }}", "no special token"),
        (
            "{% for m in messages %}{% if m.role == 'user' %}{{ loop.length }}{% endif %}"
            "{{ m.content }}<|im_end|>{% endfor %}",
            "cannot be found",
        ),
    ],
)
def test_templates_that_cannot_be_trained(
    template: str, message: str, trained: Tokenizer, tmp_path: Path
) -> None:
    made = changed(trained, tmp_path, chat_template=template)
    with pytest.raises(ModelError, match=message):
        check_trainable(made)
