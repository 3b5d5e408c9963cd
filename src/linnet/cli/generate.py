"""``linnet generate``: continue a prompt."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from linnet.cli.options import ModeOption, configured, in_turns, open_model
from linnet.cli.writing import TextWriter
from linnet.config import replace
from linnet.errors import DataError
from linnet.generate import GenerateConfig, Request

if TYPE_CHECKING:
    from linnet.generate import Completion

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
    *,
    settings: dict[str, Any],
) -> None:
    """Continue a prompt: prints the new text as it is written, and nothing else.

    A model that was trained to converse answers the prompt instead. Without a
    prompt the text begins where a document would. Of a prompt from standard
    input one final line end is left out. A file or a pipe gets the exact bytes
    of the text in UTF-8; on a terminal a line end follows.

    Example: linnet generate notes-model "Once upon a time" --max-tokens 100
    """
    config = replace(GenerateConfig(), settings)
    text = _standard_input() if prompt == "-" else prompt
    loaded = open_model(model, config)
    engine = loaded.engine
    request = Request(text, config)
    if in_turns(mode, loaded):
        request = Request(engine.chat_prompt([{"role": "user", "content": text}]), config)
    if as_json:
        typer.echo(json.dumps(_plain(text, engine.generate([request])[0])))
        return
    writer = TextWriter()
    for chunk in engine.stream(request):
        writer.write(chunk.text)
    writer.finish()


def _standard_input() -> str:
    try:
        text = sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"the prompt on standard input must be UTF-8 text: {error}") from None
    return text.removesuffix("\n").removesuffix("\r")


def _plain(prompt: str, completion: Completion) -> dict[str, Any]:
    return {
        "prompt": prompt,
        "text": completion.text,
        "finish_reason": completion.finish_reason,
        "prompt_tokens": completion.prompt_tokens,
        "completion_tokens": len(completion.tokens),
    }
