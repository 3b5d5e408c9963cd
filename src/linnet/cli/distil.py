"""``linnet distil``: a larger model and text in, a smaller one that learned from it out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from linnet.cli.options import GroupedCommand, configured
from linnet.cli.terminal import out as terminal
from linnet.cli.terminal import terminal_progress
from linnet.config import from_mapping
from linnet.distil.config import DistilConfig

if TYPE_CHECKING:
    from linnet.artifact import Artifact

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(cls=GroupedCommand)
@configured(DistilConfig)
def distil(
    teacher: Annotated[
        str,
        typer.Argument(help="A model directory, a hub name: org/name, or saved logits."),
    ],
    data: Annotated[
        str, typer.Argument(help="Text: a file, folder, corpus, shards; or rows with prompts.")
    ],
    out: Annotated[Path, typer.Option(help="Directory for the student, or for the logits.")],
    student: Annotated[
        str | None,
        typer.Option(help="A model that learns; without one, a fresh one of the teacher's family."),
    ] = None,
    *,
    settings: dict[str, Any],
) -> None:
    """Have a smaller model learn what a larger one expects.

    With --save-logits what the teacher expects is saved instead; give that directory as TEACHER
    later. Of rows with prompts the completions are learned. A student of another vocabulary learns
    from what the teacher writes (--by text). Stopped by Ctrl-C or a crash it goes on where it was.

    Example: linnet distil model notes --out small --width 256 --seconds 600
    """
    config = from_mapping(DistilConfig, settings, where="command line")
    from linnet.distil.distil import distil_model

    made = distil_model(teacher, data, out, config, student=student, progress=terminal_progress())
    terminal.print(_described(made), markup=False)


def _described(made: Artifact) -> str:
    stats = made.stats
    if made.manifest.kind == "logits":
        return (
            f"{made.path}: {stats['places']:,} places, {stats['k']:,} of {stats['vocabulary']:,} "
            f"tokens at each; the others have {stats['rest']:.2%} of the mass"
        )
    said = f"{made.path}: {stats['parameters']:,} parameters"
    if "method" in stats:  # tuned on texts
        return f"{said}, tuned on {stats['examples']['train']:,} texts of the teacher"
    if "teacher_parameters" in stats:
        said += f", the teacher has {stats['teacher_parameters']:,}"
    if "validation_loss" in stats:
        said += "; held-out text "
        if "teacher_loss" in stats:
            said += f"{stats['teacher_loss']:.3f} nats per token by the teacher, "
        said += f"{stats['start_loss']:.3f} at the start, {stats['validation_loss']:.3f} distilled"
    return said
