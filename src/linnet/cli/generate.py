"""``linnet generate``: continue a prompt."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from linnet.cli.chat import shown
from linnet.cli.options import ModeOption, ToolsOption, configured, in_turns, open_model, tools_in
from linnet.cli.terminal import TextWriter
from linnet.config import replace
from linnet.errors import ConfigError, DataError
from linnet.generate import Completion, GenerateConfig, Request

if TYPE_CHECKING:
    from linnet.generate import Engine
    from linnet.respond import Answer, Tool

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
@configured(GenerateConfig)
def run(
    model: Annotated[
        str, typer.Argument(help="A model, project or adapter directory, a hub name, a GGUF file.")
    ],
    prompt: Annotated[
        str, typer.Argument(help="The text to continue; - reads it from standard input.")
    ] = "",
    mode: ModeOption = "auto",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object and nothing else.")
    ] = False,
    tools: ToolsOption = None,
    *,
    settings: dict[str, Any],
) -> None:
    """Continue a prompt: prints the new text as it is written, and nothing else.

    A model that was trained to converse answers the prompt instead; calls of
    tools are written as NAME(ARGUMENTS), one in a line. Without a
    prompt the text begins where a document would. Of a prompt from standard
    input one final line end is left out. A file or a pipe gets the exact bytes
    of the text in UTF-8; on a terminal a line end follows.

    Example: linnet generate notes-model "Once upon a time" --max-tokens 100
    """
    config = replace(GenerateConfig(), settings)
    offered = tools_in(tools)
    text = _standard_input() if prompt == "-" else prompt
    loaded = open_model(model, config)
    if in_turns(mode, loaded):
        _answer(text, loaded.engine, config, offered, as_json=as_json)
        return
    if tools:
        raise ConfigError("--tools is for models that converse; this one continues text")
    request = Request(text, config)
    if as_json:
        typer.echo(json.dumps(_plain(text, loaded.engine.generate([request])[0])))
        return
    writer = TextWriter()
    for chunk in loaded.engine.stream(request):
        writer.write(chunk.text)
    writer.finish()


def _answer(
    text: str, engine: Engine, config: GenerateConfig, tools: tuple[Tool, ...], *, as_json: bool
) -> None:
    """Answer the text as a message."""
    from linnet.respond import Conversation, EngineResponder, Message, run, stream

    responder = EngineResponder(engine)
    asked = Conversation((Message.of("user", text),), tools, sampling=config)
    if as_json:
        (answer,) = run(responder, asked)
        found = _plain(text, answer)
        if tools:
            found["tool_calls"] = [
                {"name": call.name, "arguments": json.loads(call.arguments)}
                for call in answer.tool_calls
            ]
        typer.echo(json.dumps(found))
        return
    writer = TextWriter()
    for piece in stream(responder, asked):
        for part in shown(piece):
            writer.write(part)
    writer.finish()


def _standard_input() -> str:
    try:
        text = sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"the prompt on standard input must be UTF-8 text: {error}") from None
    return text.removesuffix("\n").removesuffix("\r")


def _plain(prompt: str, completion: Completion | Answer) -> dict[str, Any]:
    beams = completion.beams if isinstance(completion, Completion) else ()
    found = [
        {"text": beam.text, "score": beam.score, "finish_reason": beam.finish_reason}
        for beam in beams
    ]
    return {
        "prompt": prompt,
        "text": completion.text,
        "finish_reason": completion.finish_reason,
        "prompt_tokens": completion.prompt_tokens,
        "completion_tokens": len(completion.tokens),
        **({"beams": found} if found else {}),
    }
