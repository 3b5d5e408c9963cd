"""``linnet chat`` with a model that converses: what it is told, turn by turn."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import linnet
from linnet import artifact
from linnet.card.conversation import converses
from linnet.cli import chat, generate
from linnet.cli.chat import _Turns
from linnet.cli.options import tools_in
from linnet.errors import DataError, ModelError
from linnet.export.config import ExportConfig
from linnet.generate import Chunk, Request, Sampling
from linnet.respond import EngineResponder, LanguageModel

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class Parrot:
    """Answers with the number of messages and the last one; a token for each character."""

    context = 1000

    def __init__(self) -> None:
        self.told: list[list[Mapping[str, Any]]] = []

    def chat_prompt(self, messages: Sequence[Mapping[str, Any]]) -> tuple[int, ...]:
        self.told.append(list(messages))
        return tuple(0 for message in messages for _ in message["content"])

    def submit(self, request: Request, deliver: Callable[[Chunk], None]) -> Callable[[], None]:
        last = self.told[-1]
        deliver(Chunk(f"{len(last)}: ", (1,)))
        deliver(Chunk(f"{last[-1]['content']}!", (2,), "stop"))
        return lambda: None


def talk(
    lines: str, monkeypatch: pytest.MonkeyPatch, capfdbinary: Any, system: str = ""
) -> tuple[list[bytes], list[bytes], Parrot]:
    parrot = Parrot()
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    _Turns(EngineResponder(parrot), Sampling(), system).run()  # type: ignore[arg-type]
    shown, messages = capfdbinary.readouterr()
    return shown.splitlines(), messages.splitlines(), parrot


def test_the_model_sees_the_conversation_so_far(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: Any
) -> None:
    shown, _, parrot = talk("hello\n\nhow are you\n", monkeypatch, capfdbinary, "Be brief.")
    assert shown == [b"2: hello!", b"4: how are you!"]
    assert parrot.told[-1] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "2: hello!"},
        {"role": "user", "content": "how are you"},
    ]


def test_commands_of_a_conversation(monkeypatch: pytest.MonkeyPatch, capfdbinary: Any) -> None:
    lines = "/again\none\n/again\n/new\ntwo\n/system S\nthree\n/temperature 0\n/nonsense\n"
    shown, messages, _ = talk(lines, monkeypatch, capfdbinary)
    assert shown == [b"1: one!", b"1: one!", b"1: two!", b"2: three!"]
    assert messages == [
        b"error: there is no answer yet to give another one for",
        b"error: unknown command '/nonsense'; /help lists them",
    ]


def test_a_conversation_that_is_too_long_is_told_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: Any
) -> None:
    shown, messages, _ = talk("x" * 1000 + "\nshort\n", monkeypatch, capfdbinary)
    assert shown == [b"1: short!"]
    assert b"the conversation has 1000 tokens, but the context holds 1000" in messages[0]


@pytest.mark.parametrize(
    ("inputs", "template", "expected"),
    [
        ({"shards": "a" * 64}, None, False),  # from scratch: it has a template for later
        ({"base": "a" * 64}, "auto", True),
        ({"base": "a" * 64}, "none", False),
        ({"adapter": "a" * 64}, None, True),
    ],
)
def test_a_template_alone_does_not_make_a_conversation(
    inputs: dict[str, str], template: str | None, expected: bool, tmp_path: Path
) -> None:
    config = {} if template is None else {"template": template}
    with artifact.create(
        tmp_path / "m", kind="model", format=1, config=config, inputs=inputs
    ) as draft:
        (draft.path / "tokenizer_config.json").write_text(json.dumps({"chat_template": CHATML}))
    assert converses(tmp_path / "m") == expected
    (tmp_path / "m" / "manifest.json").unlink()
    assert converses(tmp_path / "m")  # somebody else's: nothing else tells
    (tmp_path / "m" / "tokenizer_config.json").unlink()
    assert not converses(tmp_path / "m")


def test_a_file_for_llama_cpp_converses(make_model: Any, tmp_path: Path) -> None:
    model = make_model("qwen3", context=256)  # with Linnet's own template
    linnet.export_gguf(model, tmp_path / "model.gguf", ExportConfig(type="f32"))
    loaded = linnet.load(tmp_path / "model.gguf")
    assert loaded.converses
    messages = [{"role": "user", "content": "Is the fox at home?"}]
    exact = linnet.load(model, engine="torch").chat(messages, temperature=0, max_tokens=3)
    assert loaded.chat(messages, temperature=0, max_tokens=3).text == exact.text
    loaded.engine.close()


class Caller(Parrot):
    """Calls two tools at first, and then tells what they answered."""

    def submit(self, request: Request, deliver: Callable[[Chunk], None]) -> Callable[[], None]:
        last = self.told[-1][-1]["content"]
        said = "".join(CALL % city for city in ("Ulm", "Bonn"))
        if "<tool_response>" in last:
            said = last.replace("\n", " ")
        deliver(Chunk(said, (1,), "stop"))
        return lambda: None

    def chat_prompt(self, messages: Sequence[Mapping[str, Any]], **more: Any) -> tuple[int, ...]:
        return super().chat_prompt(messages)

    def detokenize(self, tokens: Sequence[int]) -> str:
        return ""


CALL = '<tool_call>{"name": "weather", "arguments": {"city": "%s"}}</tool_call>'
WEATHER = [{"type": "function", "function": {"name": "weather"}}]


def test_tools_in_a_conversation(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: Any, tmp_path: Path
) -> None:
    file = tmp_path / "tools.json"
    file.write_text(json.dumps(WEATHER))
    monkeypatch.setattr("sys.stdin", io.StringIO("How is it?\ndry\nwet\n"))
    caller = EngineResponder(Caller())  # type: ignore[arg-type]
    _Turns(caller, Sampling(), tools=tools_in(file)).run()
    shown, _ = capfdbinary.readouterr()
    assert shown.splitlines() == [
        b'weather({"city": "Ulm"})',
        b'weather({"city": "Bonn"})',
        b"",
        b"<tool_response> dry </tool_response> <tool_response> wet </tool_response>",
    ]
    answer = LanguageModel(Caller()).chat(  # type: ignore[arg-type]
        [{"role": "user", "content": "How is it?"}], tools=WEATHER
    )
    assert [json.loads(call.arguments)["city"] for call in answer.tool_calls] == ["Ulm", "Bonn"]
    assert (answer.text, answer.finish_reason) == ("", "tool_calls")
    (tmp_path / "none.json").write_text("{")
    for wrong in ("none.json", "no such.json"):
        with pytest.raises(DataError, match="expected a JSON list of tools"):
            tools_in(tmp_path / wrong)


def run_command(command: Any, model: Any, *arguments: str, text: str = "") -> Any:
    with pytest.MonkeyPatch.context() as patch:
        for module in (chat, generate):
            patch.setattr(module, "open_model", lambda source, config: model)
        return CliRunner().invoke(command, ["m", *arguments], input=text)


def test_commands_end_with_what_they_did(tmp_path: Path) -> None:
    class Plain(Parrot):
        def chat_prompt(self, messages: Sequence[Mapping[str, Any]]) -> tuple[int, ...]:
            raise ModelError("the tokenizer has no chat template")

    file = tmp_path / "tools.json"
    file.write_text(json.dumps(WEATHER))
    talking, plain = LanguageModel(Parrot(), True), LanguageModel(Plain())  # type: ignore[arg-type]
    assert run_command(chat.app, talking, text="hello\n").exit_code == 0
    long = run_command(chat.app, talking, text="x" * 1000 + "\nshort\n")
    assert (long.exit_code, "1: short!" in long.stdout) == (1, True)  # it goes on, and tells
    assert run_command(chat.app, talking, text="/nonsense\nhello\n").exit_code == 0
    refused = run_command(chat.app, plain, "--mode", "chat", text="hello\n")
    assert isinstance(refused.exception, ModelError)
    assert "no chat template" in str(refused.exception)
    for command in (chat.app, generate.app):
        without = run_command(command, plain, "--tools", str(file), text="hello\n")
        assert "continues text" in str(without.exception)
    calling = LanguageModel(Caller(), True)  # type: ignore[arg-type]
    found = run_command(generate.app, calling, "How?", "--json", "--tools", str(file))
    assert json.loads(found.stdout)["tool_calls"] == [
        {"name": "weather", "arguments": {"city": city}} for city in ("Ulm", "Bonn")
    ]
    found = run_command(generate.app, calling, "How?", "--tools", str(file))
    assert found.stdout == 'weather({"city": "Ulm"})\nweather({"city": "Bonn"})\n'
