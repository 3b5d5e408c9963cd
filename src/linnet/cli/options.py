"""Command-line options made from a stage's dataclass.

``@configured(TrainConfig)`` gives a command one option per field, with the
help text written beside the field and the default shown, so that neither is
written twice. The command receives the options as ``settings``: a dict of the
ones that were given, for ``linnet.config.replace``.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperCommand

from linnet.errors import ConfigError, DataError

if TYPE_CHECKING:
    from linnet.generate import GenerateConfig
    from linnet.respond import LanguageModel, Tool

Command = Callable[..., None]
MACHINE = "Machine"


class GroupedCommand(TyperCommand):
    """A command whose help lists the common options first, then the others by group."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            group = getattr(parameter, "rich_help_panel", None)
            if parameter.param_type_name == "argument":
                group = "Arguments"
            if record is not None:
                sections.setdefault(group or "Options", []).append(record)
        if MACHINE in sections:  # what a result does not depend on comes last
            sections[MACHINE] = sections.pop(MACHINE)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


ModeOption = Annotated[
    str,
    typer.Option(
        help="Whether to converse (chat) or to continue text (text); auto: as the model was "
        "trained. [default: auto]",
        show_default=False,
    ),
]


ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        help="What writes the answers: a model, project or adapter directory, a hub name, a GGUF "
        "file, or an address such as http://127.0.0.1:8080/v1; otherwise the passages answer.",
        show_default=False,
    ),
]
ModelNameOption = Annotated[
    str, typer.Option("--model-name", help="At an address: which model.", show_default=False)
]
ModelKeyOption = Annotated[
    str,
    typer.Option(
        "--model-key", metavar="VARIABLE", help="At an address: the variable with the key.",
        show_default=False,
    ),
]  # fmt: skip


RoutingOption = Annotated[
    Path | None,
    typer.Option(
        "--routing",
        metavar="FILE.toml",
        help="Models beyond this machine that may answer, too, and what may go to them at what "
        "price.",
        show_default=False,
    ),
]
ToolsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.json",
        help="A JSON list of tools that the model may call, as OpenAI's interface has them.",
    ),
]


def tools_in(file: Path | None) -> tuple[Tool, ...]:
    """The tools in a file; none without one."""
    if file is None:
        return ()
    from linnet.config import read_json
    from linnet.respond import tools_of

    try:
        return tools_of(read_json(file), str(file))
    except FileNotFoundError:
        raise DataError(f"{file}: expected a JSON list of tools, but it does not exist") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: expected a JSON list of tools, but {error}") from None


def recipe_table(file: Path, name: str) -> dict[str, Any]:
    """The settings in a recipe: those of its table ``[name]``. Raises ConfigError."""
    from linnet.config import load_toml

    tables = load_toml(file)
    if not isinstance(tables.get(name), dict):
        found = ", ".join(f"[{table}]" for table in tables) or "nothing"
        raise ConfigError(f"{file}: expected a table [{name}]. Got {found}")
    return dict(tables[name])


def open_model(source: str, config: GenerateConfig) -> LanguageModel:
    """The model that a command is to write with."""
    from linnet.cli.terminal import terminal_progress
    from linnet.respond import language_model

    opened = language_model.open_model(
        source, language_model.with_dtype(config, config.dtype), progress=terminal_progress()
    )
    return language_model.require_writer(opened, source)


def in_turns(mode: str, model: LanguageModel) -> bool:
    """Whether to converse with this model. Raises ConfigError for an unknown mode."""
    if mode not in ("auto", "chat", "text"):
        raise ConfigError(f"--mode must be auto, chat or text. Got {mode!r}")
    return mode == "chat" or (mode == "auto" and model.converses)


def configured(cls: type, *, only: tuple[str, ...] | None = None) -> Callable[[Command], Command]:
    """Add the fields of ``cls`` (or just ``only``) to a command as options.

    The command must take a keyword ``settings: dict[str, Any]``.
    """

    def decorate(command: Command) -> Command:
        own = inspect.signature(command, eval_str=True)
        kept = [p for p in own.parameters.values() if p.name != "settings"]
        added = [
            p
            for p in _parameters(cls, only)
            if p.name not in {parameter.name for parameter in kept}
        ]
        names = {p.name for p in added}

        def run(**values: Any) -> None:
            settings = {k: v for k, v in values.items() if k in names and v is not None}
            rest = {k: v for k, v in values.items() if k not in names}
            command(**rest, settings=settings)

        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__signature__ = own.replace(parameters=kept + added)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in kept + added}
        return run

    return decorate


def _parameters(cls: type, only: tuple[str, ...] | None) -> list[inspect.Parameter]:
    hints = get_type_hints(cls)
    parameters = []
    for field in dataclasses.fields(cls):
        if "help" not in field.metadata or (only is not None and field.name not in only):
            continue
        kind = _option_type(hints[field.name])
        default = field.default
        shown = "" if default in (None, (), "") else f" [default: {_show(default)}]"
        choices = _choices(hints[field.name]) or field.metadata["bounds"].choices
        listed = f" ({', '.join(choices)})" if choices else ""
        info = typer.Option(
            help=field.metadata["help"] + listed + shown,
            show_default=False,
            rich_help_panel=field.metadata["group"] or None,
        )
        parameters.append(
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[kind | None, info],
            )
        )
    return parameters


def _choices(hint: Any) -> list[str]:
    if get_origin(hint) is typing.Literal:
        return [str(choice) for choice in get_args(hint)]
    return [c for a in get_args(hint) if get_origin(a) is typing.Literal for c in get_args(a)]


def _option_type(hint: Any) -> Any:
    """The type Typer parses: literals as text (checked by the dataclass), unions by their first."""
    origin = get_origin(hint)
    if origin is typing.Literal:
        return str
    if origin is tuple:
        return list[get_args(hint)[0]]  # type: ignore[misc]
    arguments = [a for a in get_args(hint) if a is not type(None)]
    return _option_type(arguments[0]) if origin is not None and arguments else hint


def _show(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return str(value)
