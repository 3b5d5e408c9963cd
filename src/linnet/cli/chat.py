"""``linnet chat``: talk to a model, or let it continue what is typed, line by line."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from linnet.cli.options import (
    ModeOption,
    RoutingOption,
    ToolsOption,
    configured,
    in_turns,
    open_model,
    tools_in,
)
from linnet.cli.terminal import TextWriter, err
from linnet.config import parse_json, replace
from linnet.errors import ConfigError, LinnetError
from linnet.generate import GenerateConfig, Request, Sampling
from linnet.respond.pieces import Attribution, Decision, Piece, Refusal, Text, ToolCall

if TYPE_CHECKING:
    from linnet.generate import Engine
    from linnet.respond import Answer, Message, Responder, Tool
    from linnet.routing.opening import OpenRouting

app = typer.Typer(rich_markup_mode=None, add_completion=False)

PROMPT = "> "
SHARED_HELP = """\
Ctrl-C stops a text, Ctrl-D or /exit leaves.

/settings            show the settings
/temperature 0.5     change one; the same for the others
/stop "\\n\\n"         stop before an empty line (/stop alone: before nothing)
/seed                without a value: back to the default
"""
TEXT_GREETING = "Type the beginning of a text. /help lists the commands, Ctrl-D leaves."
TEXT_HELP = f"""\
Each line is continued on its own; an empty line goes on with the last text.
{SHARED_HELP}"""
DOCUMENTS_GREETING = "Ask the documents. /help lists the commands, Ctrl-D leaves."
DOCUMENTS_HELP = """\
Each line is a question, understood in the light of those before it.
Ctrl-C stops an answer, Ctrl-D or /exit leaves.

/new                 begin another conversation
/route NAME          the last answer by another model, or by 'local' (with --routing)
"""
TURN_GREETING = "Ask something. /help lists the commands, Ctrl-D leaves."
TURN_HELP = f"""\
Each line is a message; the model sees the conversation so far. Where it calls a tool, the next
line is what the tool answers.
{SHARED_HELP}
/new                 begin another conversation
/again               another answer to the last message
/route NAME          the same by another model, or by 'local' (with --routing)
/system You are ...  what the model is told first; begins another conversation
"""


@app.command()
@configured(GenerateConfig)
def run(
    model: Annotated[
        str | None,
        typer.Argument(help="A model, project or adapter directory, a hub name, a GGUF file."),
    ] = None,
    mode: ModeOption = "auto",
    system: Annotated[str, typer.Option(help="What the model is told first.")] = "",
    tools: ToolsOption = None,
    docs: Annotated[
        Path | None,
        typer.Option(
            metavar="INDEX", help="Answer from these documents ('linnet index'), citing them."
        ),
    ] = None,
    routing: RoutingOption = None,
    *,
    settings: dict[str, Any],
) -> None:
    """Talk to a model; one that only continues text continues what you type. With --docs
    documents answer, by the model where one is named.

    Ctrl-C stops a text, Ctrl-D leaves, /help lists the commands. Where lines come from a file
    or another program and one could not be answered, the exit status is 1.

    Example: linnet chat notes-model --temperature 0.5
    Example: linnet chat --docs notes-index
    """
    config = replace(GenerateConfig(), settings)
    offered = tools_in(tools)
    if docs is not None and (system or tools):
        raise ConfigError("--docs answers from documents, without --system and --tools")
    if docs is None and model is None:
        raise ConfigError("expected a model, or documents: linnet chat --docs INDEX")
    with contextlib.ExitStack() as stack:
        opened = open_routing(routing)
        if opened is not None:
            stack.callback(opened.close)
        session: _Session
        if docs is not None:
            session = _Documents(docs, model, config, opened)
        else:
            assert model is not None
            session = _with_model(model, mode, config, system, offered, opened)
        session.run()
    if session.failed and not session.interactive:
        raise typer.Exit(1)


def _with_model(
    model: str,
    mode: ModeOption,
    config: GenerateConfig,
    system: str,
    tools: Sequence[Tool],
    routing: OpenRouting | None,
) -> _Session:
    """Talking to a model, or having it continue what is typed."""
    from linnet.respond import EngineResponder

    loaded = open_model(model, config)
    if in_turns(mode, loaded):
        local = EngineResponder(loaded.engine, name=Path(model).stem)
        local.require_conversation()
        return _Turns(routing.auto(local) if routing else local, config, system, tools)
    if system or tools or routing:
        option_ = "--system" if system else "--tools" if tools else "--routing"
        raise ConfigError(f"{option_} is for models that converse; this one continues text")
    return _Texts(loaded.engine, config)


def converse(engine: Engine, sampling: Sampling | None = None) -> None:
    """Read lines from standard input until it ends; write what follows each.

    Without a terminal the lines are not asked for: only the texts are written.
    """
    _Texts(engine, sampling or Sampling()).run()


class _Session(ABC):
    """Lines in, answers out, and commands that change the settings."""

    greeting: str
    help: str

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling
        self.interactive = sys.stdin.isatty() and sys.stdout.isatty()
        self.failed = False
        """Whether a line could not be answered."""

    @property
    def prompt(self) -> str:
        """What a terminal shows where a line is expected."""
        return PROMPT

    @abstractmethod
    def answer(self, line: str) -> None:
        """Write what the model has to say to a line."""

    def command(self, name: str, value: str) -> bool:
        """Carry out a command of its own; False where there is none of this name."""
        return False

    def run(self) -> None:
        if self.interactive:
            err.print(self.greeting, markup=False)
            with contextlib.suppress(ImportError):  # Windows has none, but edits lines itself
                import readline  # noqa: F401 (gives input() editing and history)
        while (line := self._read_line()) is not None:
            if line.strip() in ("/exit", "/quit"):
                return
            try:
                if line.startswith("/"):
                    name, _, value = line[1:].strip().partition(" ")
                    if not self.command(name, value):
                        self._setting(name.replace("-", "_"), value)
                    continue
                try:
                    self.answer(line)
                except LinnetError:
                    self.failed = True
                    raise
            except LinnetError as error:
                err.print(f"error: {error}", markup=False)
            except KeyboardInterrupt:  # it came just before or after a text
                err.print()

    def write(self, texts: Generator[str], *, before: str = "") -> str:
        """Show a text as it comes; what came, all of it or until Ctrl-C."""
        writer, text = TextWriter(), ""
        with contextlib.closing(texts), contextlib.suppress(KeyboardInterrupt):  # this text only
            first = next(texts, "")  # what is wrong with it is said before anything is shown
            writer.write(before + first)
            text += first
            for more in texts:
                writer.write(more)
                text += more
        writer.write("\n")
        return text

    def _read_line(self) -> str | None:
        """The next line; None when there are no more."""
        while True:
            try:
                return input(self.prompt if self.interactive else "")
            except EOFError:
                if self.interactive:
                    err.print()
                return None
            except UnicodeDecodeError as error:
                err.print(f"error: a line must be text, but it cannot be decoded: {error}")
            except KeyboardInterrupt:
                err.print("\nCtrl-D or /exit leaves", markup=False)

    def _setting(self, name: str, value: str) -> None:
        known = [field.name for field in dataclasses.fields(Sampling) if "help" in field.metadata]
        if name == "help":
            err.print(self.help, markup=False)
        elif name == "settings":
            for field in known:
                err.print(f"{field} = {getattr(self.sampling, field)!r}", markup=False)
        elif name not in known:
            raise ConfigError(f"unknown command '/{name}'; /help lists them")
        elif value:
            self.sampling = replace(self.sampling, {name: _parse(name, value)}, where="chat")
        else:
            default: Any = getattr(Sampling(), name)
            self.sampling = dataclasses.replace(self.sampling, **{name: default})


class _Texts(_Session):
    """Each line is the beginning of a text."""

    greeting, help = TEXT_GREETING, TEXT_HELP

    def __init__(self, engine: Engine, sampling: Sampling) -> None:
        super().__init__(sampling)
        self.engine = engine
        self.last = ""
        """The last text, prompt included."""

    def answer(self, line: str) -> None:
        prompt = line or self.last
        # On a terminal with the prompt, so that the whole reads as one text.
        before = prompt if self.interactive else ""
        self.last = prompt + self.write(self._texts(prompt), before=before)

    def _texts(self, prompt: str) -> Generator[str]:
        for chunk in self.engine.stream(Request(prompt, self.sampling)):
            yield chunk.text


class _Turns(_Session):
    """Each line is a message of a conversation."""

    greeting, help = TURN_GREETING, TURN_HELP

    def __init__(
        self,
        responder: Responder,
        sampling: Sampling,
        system: str = "",
        tools: Sequence[Tool] = (),
    ) -> None:
        super().__init__(sampling)
        self.responder = responder
        self.tools = tuple(tools)
        self.begin(system)

    @property
    def prompt(self) -> str:
        return f"{self.calls[0].name}{PROMPT}" if self.calls else PROMPT

    def begin(self, system: str) -> None:
        """Forget what was said."""
        from linnet.respond import Message

        self.system = system
        self.messages = [Message.of("system", system)] if system else []
        self.calls: list[ToolCall] = []
        """Those that wait for what their tools answer."""

    def answer(self, line: str) -> None:
        from linnet.respond import Message, ToolResult

        if self.calls:
            call = self.calls[0]
            result = Message("tool", (ToolResult(call.id, line),), call.name)
            self.messages = [*self.messages, result]
            self.calls = self.calls[1:]
            if not self.calls:
                self._reply(self.messages)
        elif line:
            self._reply([*self.messages, Message.of("user", line)])

    def command(self, name: str, value: str) -> bool:
        if name == "new":
            self.begin(self.system)
        elif name == "system":
            self.begin(value)
        elif name == "again":
            if not self.messages or self.messages[-1].role != "assistant":
                raise ConfigError("there is no answer yet to give another one for")
            self._reply(self.messages[:-1])
        elif name == "route":
            self._reply(_before_answer(self.messages, self.responder, value), route=value)
        else:
            return False
        return True

    def _reply(self, messages: list[Message], *, route: str | None = None) -> None:
        from linnet.respond import Answer, ContextFullError

        answer = Answer()
        try:
            self.write(self._answer(messages, answer, route))
        except ContextFullError as error:
            raise ConfigError(f"{error}; /new begins another") from None
        for piece in answer.pieces:
            if isinstance(piece, Attribution):
                say_who_wrote(piece)
        self.calls = list(answer.tool_calls)
        answer.text = answer.text.strip()
        self.messages = [*messages, answer.message()]

    def _answer(self, messages: list[Message], answer: Answer, route: str | None) -> Generator[str]:
        """The texts to show; ``answer`` has all that came."""
        from linnet.respond import Context, Conversation, stream
        from linnet.respond.responder import INTERVAL

        asked = Conversation(tuple(messages), self.tools, sampling=self.sampling)
        context = Context(interval=INTERVAL, route=route)
        with contextlib.closing(stream(self.responder, asked, context)) as pieces:
            for piece in pieces:
                answer.add(piece)
                yield from shown(piece)


class _Documents(_Session):
    """Each line is a question to documents; what the answer cites is listed below it."""

    greeting, help = DOCUMENTS_GREETING, DOCUMENTS_HELP

    def __init__(
        self,
        docs: Path,
        model: str | None,
        config: GenerateConfig,
        routing: OpenRouting | None = None,
    ) -> None:
        from linnet.answers.opening import open_assistant
        from linnet.answers.responder import DocumentsResponder
        from linnet.cli.terminal import terminal_progress

        super().__init__(config)
        assistant = open_assistant(docs, model=model, engine=config, progress=terminal_progress())
        responder = DocumentsResponder(assistant, name=docs.name)
        self.responder = routing.auto(responder, place=docs) if routing is not None else responder
        self.messages: list[Message] = []

    def answer(self, line: str) -> None:
        from linnet.respond import Message

        if not line.strip():
            return
        self._reply([*self.messages, Message.of("user", line)])

    def _reply(self, messages: list[Message], *, route: str | None = None) -> None:
        from linnet.respond import Answer

        answer = Answer()
        self.write(self._answer(messages, answer, route))
        for piece in answer.pieces:
            if isinstance(piece, Attribution):
                say_who_wrote(piece)
        self.messages = [*messages, answer.message()]

    def command(self, name: str, value: str) -> bool:
        if name == "new":
            self.messages = []
        elif name == "route":
            self._reply(_before_answer(self.messages, self.responder, value), route=value)
        else:
            return False
        return True

    def _answer(self, messages: list[Message], answer: Answer, route: str | None) -> Generator[str]:
        """The texts to show, and the citations behind them."""
        from linnet.respond import Context, Conversation, stream
        from linnet.respond.responder import INTERVAL

        asked, context = Conversation(tuple(messages)), Context(interval=INTERVAL, route=route)
        with contextlib.closing(stream(self.responder, asked, context)) as pieces:
            for piece in pieces:
                answer.add(piece)
                yield from shown(piece)
        for number, cited in enumerate(dict.fromkeys(answer.citations), 1):
            page = f", page {cited.page}" if cited.page is not None else ""
            line = " ".join(cited.text.split())
            line = line if len(line) <= _SNIPPET else f"{line[:_SNIPPET]} ..."
            yield f"\n[{number}] {cited.source}{page}: {line}"
        for piece in answer.pieces:
            if isinstance(piece, Decision) and piece.subject != "route":
                about_documents = piece.subject == "documents"
                yield f"\n({piece.reason if about_documents else piece.outcome})"


_SNIPPET = 200  # characters of a citation


def _before_answer(messages: list[Message], responder: Responder, model: str) -> list[Message]:
    """What another model is to answer once more."""
    from linnet.routing.responder import RoutingResponder

    if not isinstance(responder, RoutingResponder):
        raise ConfigError("/route has other models answer, which --routing names: start with it")
    if not model:
        raise ConfigError("/route needs the name of a model, such as /route local")
    if not messages or messages[-1].role != "assistant":
        raise ConfigError("there is no answer yet to give another one for")
    return messages[:-1]


def open_routing(file: Path | None) -> OpenRouting | None:
    """The models beyond this machine that a file names. Raises ConfigError."""
    if file is None:
        return None
    from linnet.routing.opening import OpenRouting

    return OpenRouting.open(file)


def say_who_wrote(wrote: Attribution) -> None:
    """Print who wrote an answer where that was chosen, why, and what it cost."""
    from linnet.respond.prices import show_money

    cost = f"; {show_money(round(wrote.cost * 10**12), wrote.currency)}" if wrote.cost else ""
    place = {"here": "this machine", "network": "this network"}.get(wrote.place, "elsewhere")
    said = f"{wrote.model} ({place}): {wrote.route['reason']}{cost}"
    err.print(said, style="dim", markup=False)


def shown(piece: Piece) -> Iterator[str]:
    """A piece of an answer as text: calls of tools one in a line."""
    if isinstance(piece, Text | Refusal) and piece.text:
        yield piece.text
    elif isinstance(piece, ToolCall):
        yield f"{piece.name}({piece.arguments})\n"


def _parse(name: str, value: str) -> Any:
    """A value as typed: JSON, or else plain text."""
    try:
        parsed = parse_json(value)
    except ValueError:
        parsed = value
    return [parsed] if name == "stop" and not isinstance(parsed, list) else parsed
