"""The Modelfile: templates in Go's language say what the model's own Jinja template says."""

import re
from pathlib import Path

import pytest

from linnet.export.ollama import FORMATS, PROBES, ChatFormat, modelfile, recognised
from linnet.tokenizer import Tokenizer, load

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + "
    "message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
QWEN2_5 = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are Qwen.<|im_end|>\n"
    "{% endif %}" + CHATML
)
GEMMA = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for message in messages %}{% set role = 'model' if message['role'] == "
    "'assistant' else message['role'] %}{{ '<start_of_turn>' + role + '\n' + message['content'] "
    "| trim + '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<start_of_turn>model\n' }}{% endif %}"
)
ZEPHYR = (
    "{% for message in messages %}\n{% if message['role'] == 'user' %}\n"
    "{{ '<|user|>\n' + message['content'] + '</s>' }}\n{% elif message['role'] == 'system' %}\n"
    "{{ '<|system|>\n' + message['content'] + '</s>' }}\n"
    "{% elif message['role'] == 'assistant' %}\n"
    "{{ '<|assistant|>\n'  + message['content'] + '</s>' }}\n{% endif %}\n"
    "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"
)


def with_template(directory: Path, template: str | None) -> Tokenizer:
    made = load(directory)
    made.config = {**made.config, "chat_template": template}
    return made


def run_go(template: str, messages: list[dict[str, str]]) -> str:
    """As much of Go's templates as is used: nothing is trimmed, variables, if, range."""
    parts = re.split(r"\{\{ (.*?) \}\}", template)
    values: dict[str, object] = {}

    def value(name: str, message: dict[str, str]) -> object:
        return message["content"] if name == ".Content" else values[name]

    def truth(condition: str, message: dict[str, str]) -> bool:
        if match := re.fullmatch(r'eq \.Role "(\w+)"', condition):
            return message["role"] == match[1]
        if match := re.fullmatch(r'ne \(index \.Messages 0\)\.Role "(\w+)"', condition):
            return messages[0]["role"] != match[1]
        return bool(values[condition])

    def block(at: int, on: bool, message: dict[str, str]) -> tuple[str, int]:
        """Text up to the action that ends or turns the block, and where that is."""
        text = ""
        while at < len(parts):
            if at % 2 == 0:
                text, at = text + parts[at] * on, at + 1
                continue
            action = parts[at]
            if action == "end" or action.startswith("else if "):
                return text, at
            at += 1
            if action == "range .Messages":
                start = at
                for each in messages:
                    inner, at = block(start, on, each)
                    text += inner
                at += 1
            elif action.startswith("if "):
                done, condition = False, action.removeprefix("if ")
                while True:
                    taken = on and not done and truth(condition, message)
                    inner, at = block(at, taken, message)
                    text, done = text + inner, done or taken
                    at += 1
                    if parts[at - 1] == "end":
                        break
                    condition = parts[at - 1].removeprefix("else if ")
            elif match := re.fullmatch(r"(\$\w+) :?= (.+)", action):
                if on:
                    known = {'""': "", "false": False, "true": True}
                    values[match[1]] = (
                        known[match[2]] if match[2] in known else value(match[2], message)
                    )
            elif on:
                text += str(value(action, message))
        return text, at

    return block(0, True, {})[0]


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)
def test_go_says_what_was_compared(format: ChatFormat) -> None:
    for messages in PROBES:
        assert run_go(format.go(), messages) == format.render(messages)


@pytest.mark.parametrize(
    ("name", "template"),
    [("chatml", CHATML), ("chatml", QWEN2_5), ("gemma", GEMMA), ("zephyr", ZEPHYR)],
)
def test_templates_are_recognised(name: str, template: str, byte_level: Path) -> None:
    tokenizer = with_template(byte_level, template)
    found = recognised(tokenizer)
    assert found is not None
    assert found.name == name
    assert tokenizer.chat_template is not None
    for messages in PROBES[:2]:
        own = tokenizer.chat_template.render(messages, add_generation_prompt=True)
        assert run_go(found.go(), messages) == own
    text = modelfile(tokenizer, {"temperature": 0.7, "top_k": None})
    assert text.startswith("FROM ./model.gguf\n")
    assert f'PARAMETER stop "{found.stop[0]}"\n' in text
    assert text.endswith("PARAMETER temperature 0.7\n")


def test_a_template_that_only_looks_alike_is_not_taken(byte_level: Path) -> None:
    assert (
        recognised(with_template(byte_level, CHATML.replace("'<|im_end|>'", "'<|end|>'"))) is None
    )
    shouted = CHATML.replace("message['content']", "message['content'] | upper")
    tokenizer = with_template(byte_level, shouted)
    assert recognised(tokenizer) is None
    assert "TEMPLATE" not in modelfile(tokenizer, {})
    assert "{{ .Prompt }}" in modelfile(with_template(byte_level, None), {})
