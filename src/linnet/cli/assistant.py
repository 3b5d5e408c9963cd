"""``linnet assistant``: documents in, a page at which people ask them out."""

from __future__ import annotations

import os
import sys
import time
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from linnet.artifact import is_artifact
from linnet.cli.options import GroupedCommand, configured
from linnet.cli.terminal import as_typed, err, terminal_progress
from linnet.config import replace
from linnet.errors import ArtifactError, ConfigError, DataError, LinnetError, ModelError, typed
from linnet.hub import find, parse
from linnet.output import human_bytes
from linnet.serve.settings import ServeConfig

if TYPE_CHECKING:
    import socket

    from linnet.answers.current import CurrentAssistant
    from linnet.answers.upkeep import Step, StepStatus, Upkeep
    from linnet.answers.workspace import Workspace
    from linnet.progress import Progress
    from linnet.serve.server import Server

MODEL_STEP, INDEX = "model", "index"

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(cls=GroupedCommand)
@configured(ServeConfig)
def assistant(
    documents: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DOCS...", help="Files, folders, addresses; those of the last time if left out."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Directory of the assistant.")] = Path("assistant"),
    model: Annotated[
        str,
        typer.Option(
            help="What writes the answers: a model as 'linnet serve' takes it; auto: the open one "
            "that fits this machine; none: the passages themselves."
        ),
    ] = "none",
    ocr: Annotated[
        Literal["none", "tesseract", "docling"] | None,
        typer.Option(
            help="Read scanned pages, and with tesseract images, where it is installed; as the "
            "last time if left out.",
            show_choices=True,
        ),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Follow the documents.")] = False,
    question: Annotated[
        str | None, typer.Option("--ask", help="Ask this as soon as it can be answered.")
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve/--no-serve", help="Answer on a page; or end when all is made.")
    ] = True,
    browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in a browser.")
    ] = True,
    *,
    settings: dict[str, Any],
) -> None:
    """Answer questions from documents, on a page of this machine.

    The documents are read and made searchable first; from then on questions are answered, while
    what makes the answers better goes on. Run again it redoes only what changed.

    Example: linnet assistant ~/notes --out notes-assistant --watch
    """
    from linnet.answers.current import CurrentAssistant
    from linnet.answers.guards import guards_of
    from linnet.answers.upkeep import Upkeep, vanished
    from linnet.answers.workspace import Workspace

    work = Workspace.of(documents or (), out, ocr=ocr)
    if not work.corpus.exists() and (gone := vanished(work)):
        raise DataError(gone)
    config = replace(ServeConfig(), settings)
    answering = CurrentAssistant(work.path)
    answering.guards = guards_of(config.unsafe_classifier)
    said = _Said(work, answering, question)
    steps, said.ask_after = _steps(_model(model, config), config, answering)
    upkeep = Upkeep(
        work, steps, refreshed=answering.renew, told=said.step,
        is_busy=lambda: answering.asked.now > 0, answers=_as_before(answering),
        follow=watch and serve,
        progress=terminal_progress(),
    )  # fmt: skip
    if serve:
        _serve(work, answering, upkeep, config, settings.get("port") is not None, browser=browser)
    else:
        _make(upkeep, said)


def _steps(
    source: str | None, config: ServeConfig, answering: CurrentAssistant
) -> tuple[list[Step], str]:
    """What is made of the documents, and the step after which questions are answered."""
    from linnet.answers.steps import STEPS

    steps = list(STEPS)
    ready = next(place for place, step in enumerate(STEPS) if step.answers)
    if source is None:
        return steps, steps[ready].name
    steps.insert(ready + 1, _opening(source, config, answering))
    return [*steps, _measuring(source, answering)], MODEL_STEP


def _serve(
    work: Workspace,
    answering: CurrentAssistant,
    upkeep: Upkeep,
    config: ServeConfig,
    is_chosen: bool,
    *,
    browser: bool,
) -> None:
    """Answer on a page until somebody stops it. ``is_chosen``: whether the port was."""
    config, listener = _listening(config, is_chosen)
    server = _server(work, answering, upkeep, config, listener)
    err.print(f"{server.url} (the documents of {work.path}); Ctrl-C stops", markup=False)
    if browser:
        _open_page(server.url)
    upkeep.start()
    try:
        server.run()
    finally:
        upkeep.stop()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # what still computes has nothing to finish


def _model(wanted: str, config: ServeConfig) -> str | None:
    """The model that writes, None for none. Raises ModelError for one that is not there.

    Nothing is downloaded that nobody agreed to.
    """
    if wanted == "none":
        return None
    if wanted != "auto":
        if not Path(wanted).expanduser().exists() and parse(wanted) is None:
            raise ModelError(f"{wanted}: expected a model's directory, a .gguf file or a hub name")
        return wanted
    from linnet.planner.open_models import fitting_model
    from linnet.runtime import available_memory, detect, usable_cores

    device = detect(config.device).device
    found = fitting_model(available_memory(device), usable_cores(), device=device)
    if found is None:
        err.print("no open model fits this machine; the passages themselves answer", markup=False)
        return None
    if _is_here(found.name):
        return found.name
    offer = f"{found.name} ({found.licence}) fits this machine: {human_bytes(found.download)}"
    if sys.stdin.isatty() and typer.confirm(f"{offer} to download. Fetch it now?", err=True):
        return found.name
    err.print(
        f"{offer} to download, which nobody agreed to; the passages themselves answer. With a "
        f"network: --model {found.name}; without one, fetch it elsewhere "
        f"(linnet pull {found.name} --out DIR) and give --model DIR",
        markup=False,
    )
    return None


def _is_here(name: str) -> bool:
    """Whether a model of the hub was downloaded before."""
    try:
        find(name, offline=True)
    except LinnetError:
        return False
    return True


def _opening(source: str, config: ServeConfig, answering: CurrentAssistant) -> Step:
    """The step that opens the model; without it the passages themselves go on answering."""
    from linnet.answers.upkeep import Step

    def make(work: Workspace, progress: Progress) -> str | None:
        from linnet.answers.opening import open_writer
        from linnet.serve.sources import name_of

        if answering.writer is not None:
            return None
        answering.writer = open_writer(
            source, place=work.path, name=name_of(source), engine=config, progress=progress
        )
        if answering.writer.weakness:
            return answering.writer.weakness
        return f"{name_of(source)} writes"

    return Step(MODEL_STEP, "Opening the model", make)


def _as_before(answering: CurrentAssistant) -> bool:
    """Whether there is an index from before, which answers at once."""
    if not is_artifact(answering.place / INDEX):
        return False
    try:
        answering.renew()
    except LinnetError as error:
        err.print(as_typed(str(error)), style="yellow", markup=False)
        return False
    if answering.gate_problem:
        said = f"{answering.gate_problem}; until that is done here no answer is held back by it"
        err.print(as_typed(said), style="yellow", markup=False)
    return True


def _measuring(source: str, answering: CurrentAssistant) -> Step:
    """The step that finds out whether the model answers better than the passages themselves."""
    from linnet.answers.upkeep import SkipStep, Step

    def make(work: Workspace, progress: Progress) -> str | None:
        from linnet.answers.opening import measure_writer, read_strengths, writer_of
        from linnet.answers.writer import ModelWriter

        writer = answering.writer
        if not isinstance(writer, ModelWriter):
            raise SkipStep("the model was not opened")
        if writer.identity in read_strengths(work.path):
            return None
        try:
            strength = measure_writer(work.path, writer, progress=progress)
        except (ArtifactError, DataError) as error:
            raise SkipStep(str(error)) from None
        answering.writer = writer_of(writer.responder, work.path, model=source, name=writer.name)
        return strength.said(writer.name)

    return Step("strength", "Trying the model on questions", make)


def _listening(config: ServeConfig, chosen: bool) -> tuple[ServeConfig, socket.socket]:
    """The settings with a port that is free: another where none was ``chosen``."""
    from linnet.serve.keys import key_ring
    from linnet.serve.server import bind, require_server

    require_server()
    key_ring(config)
    try:
        return config, bind(config)
    except ConfigError:
        if chosen:
            raise
        config = replace(config, {"port": 0})
        return config, bind(config)


def _server(
    work: Workspace,
    answering: CurrentAssistant,
    upkeep: Upkeep,
    config: ServeConfig,
    listener: socket.socket,
) -> Server:
    from linnet.serve.catalog import Catalog, Served
    from linnet.serve.logs import log_to_stderr
    from linnet.serve.server import Server
    from linnet.serve.sources import name_of, open_routing, remote_models, routed

    try:
        served = Served(name_of(str(work.path)), assistant=answering, workspace=work, upkeep=upkeep)
        models = [served]
        routing = open_routing(config)
        if routing is not None:
            models += [routed(routing, served, str(work.path)), *remote_models(routing)]
        server = Server(Catalog(models, routing=routing), config, listener=listener)
    except BaseException:
        listener.close()
        raise
    log_to_stderr("errors" if config.log == "requests" else config.log)
    return server


def _open_page(url: str) -> None:
    """Open it where there is a screen; a browser that takes over the terminal is no help."""
    has_screen = sys.platform in ("win32", "darwin") or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
    if has_screen and sys.stderr.isatty():
        webbrowser.open(url)


def _make(upkeep: Upkeep, said: _Said) -> None:
    """Do all steps here. Raises DataError where what questions need failed."""
    if not upkeep.update():
        raise DataError(upkeep.status().problem)
    failed = [step for step in upkeep.status().steps if step.state == "failed"]
    if failed:
        err.print(
            f"{len(failed)} of {len(upkeep.status().steps)} steps failed; run the same again to "
            "try them anew",
            markup=False,
        )
    where = as_typed(f"linnet assistant --out {typed(str(said.work.path))}")
    err.print(f"ask on a page: {where}", markup=False)


class _Said:
    """Says what the upkeep does, and the answer to the first question: after the step that
    ``ask_after`` names."""

    ask_after = ""

    def __init__(self, work: Workspace, answering: CurrentAssistant, question: str | None) -> None:
        self.work = work
        self._answering, self._question = answering, question
        self._began = time.monotonic()

    def step(self, status: StepStatus) -> None:
        """A step began or ended."""
        if status.state in ("running", "waiting"):
            return
        result = status.text or "nothing was to do"
        style = "yellow" if status.state == "failed" else None
        ended = {"failed": "failed: ", "skipped": "left out: "}.get(status.state, "")
        err.print(
            f"{status.title}: {ended}{result} ({status.seconds:.1f} s)", style=style, markup=False
        )
        if (
            self._question is not None
            and status.name == self.ask_after
            and self._answering.is_ready
        ):
            question, self._question = self._question, None
            self._ask(question)

    def _ask(self, question: str) -> None:
        from linnet.cli.ask import show_answer
        from linnet.cli.terminal import out

        try:
            answer = self._answering.ask(question)
        except LinnetError as error:
            err.print(f"{question} {error}", style="yellow", markup=False)
            return
        out.print(f"\n{question}", style="bold", markup=False)
        show_answer(answer)
        seconds = time.monotonic() - self._began
        err.print(f"answered {seconds:.0f} s after the start", markup=False)
