"""The model: trained on the shards as the plan says."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linnet.artifact import previous_version
from linnet.config import parse_json
from linnet.output import move
from linnet.planner import check_settings, training_settings
from linnet.stages.stage import CONFIG_FILE, Section, Stage, Workspace, number, read_object
from linnet.train.config import TrainConfig, check_memory
from linnet.train.metrics import bits_figure, loss_figure, read_curves, svg

if TYPE_CHECKING:
    from linnet.artifact import Artifact

_WHERE = f"{CONFIG_FILE} [train]"
_SHAPE = (
    ("architecture", ("model_type",)),
    ("layers", ("num_hidden_layers", "n_layer")),
    ("width", ("hidden_size", "n_embd")),
    ("attention heads", ("num_attention_heads", "n_head")),
    ("vocabulary", ("vocab_size",)),
    ("context, tokens", ("max_position_embeddings", "n_positions")),
)


@dataclass(frozen=True)
class ModelFacts:
    """The model's size and shape, and how its training went."""

    parameters: int
    file_bytes: int
    shape: list[tuple[str, str]]


def facts(workspace: Workspace) -> ModelFacts | None:
    """Size and shape from the checkpoint's own files."""
    place = workspace.directory("model")
    config = read_object(place / "config.json")
    if config is None:
        return None
    files = sorted(place.glob("*.safetensors"))
    return ModelFacts(
        parameters=sum(_tensor_elements(file) for file in files),
        file_bytes=sum(file.stat().st_size for file in files),
        shape=[
            (label, number(config[key])) for label, keys in _SHAPE for key in keys if key in config
        ],
    )


def configure(workspace: Workspace) -> TrainConfig | None:
    """What was planned, with the user's settings in its place; None before there is a plan."""
    if (plan := workspace.plan) is None:
        return None
    given, chosen = workspace.config.table("train"), plan.train
    if given.get("steps"):  # the plan's time may be less: what its own choice needs
        chosen = {**chosen, "seconds": plan.seconds_for_training}
    return training_settings(chosen, given, where=_WHERE)


def _settings(workspace: Workspace) -> Mapping[str, Any] | None:
    config = configure(workspace)
    return None if config is None else config.recipe()


def _check(workspace: Workspace) -> None:
    plan, config = workspace.plan, configure(workspace)
    if plan is None or config is None:
        check_settings(workspace.config.table("train"), where=_WHERE)
        return
    # A vocabulary cannot have more tokens than there are bytes.
    vocab_size = min(plan.vocab_size, workspace.artifacts["corpus"].stats["bytes"]["train"])
    check_memory(config.model(vocab_size, end_of_text=0, pad=1), plan.machine["device"])


def _make(workspace: Workspace) -> Artifact:
    from linnet.train import train

    shards, config = workspace.artifacts["shards"], configure(workspace)
    assert config is not None  # planned before
    _keep_previous(workspace, shards, config)
    return train(shards.path, workspace.directory("model"), config, progress=workspace.progress)


def _keep_previous(workspace: Workspace, shards: Artifact, config: TrainConfig) -> None:
    """Say that a model is about to be replaced, and keep it: adapters and exports need it."""
    before = workspace.read("model")
    if before is None:
        return
    same = before.manifest.config == config.recipe()
    if same and before.manifest.inputs["shards"].content == shards.content:
        return
    kept = previous_version(before.path)
    _link_tree(before.path, kept)
    workspace.progress.message(
        f"model: training again, because the {'documents' if same else 'settings'} changed; "
        f"until now's stays as {kept}, which adapters and exports made from it belong to"
    )


def _link_tree(source: Path, target: Path) -> None:
    """A second name for every file, which costs no room; where links cannot be made, copies."""
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial, copy_function=_link)
    shutil.rmtree(target, ignore_errors=True)
    move(partial, target)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _summary(made: Artifact) -> str:
    held = made.stats.get("validation_bits_per_byte")
    quality = f", {held:.3f} bits per byte on validation text" if held else ""
    return f"{made.stats['steps']:,} steps, {made.stats['epochs']} passes{quality}"


def _report(workspace: Workspace) -> Section:
    shown = {
        "model": facts(workspace),
        "curves": _curves(workspace.directory("model") / "metrics.jsonl"),
    }
    return Section(template="training.html.jinja", facts=shown, place=5)


def _curves(metrics: Path) -> list[str]:
    """Training curves as SVG, drawn here and so to be trusted as markup."""
    from markupsafe import Markup

    if not metrics.is_file():
        return []
    curves = read_curves(metrics)
    if not curves.losses and not curves.validation_losses:
        return []
    figures = [loss_figure(curves), bits_figure(curves)]
    return [Markup(svg(figure)) for figure in figures if figure is not None]


def _tensor_elements(file: Path) -> int:
    """Numbers in a safetensors file, from its header: a length, then JSON with the shapes."""
    try:
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            header = parse_json(opened.read(min(length, file.stat().st_size)).decode())
        return sum(prod(v["shape"]) for k, v in header.items() if k != "__metadata__")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
        return 0


STAGE = Stage(
    name="model",
    make=_make,
    summary=_summary,
    inputs={"shards": "shards"},
    table="train",
    config=TrainConfig,
    settings=_settings,
    check=_check,
    report=_report,
    on_forget="trained",
    verify=True,  # it is what is given away
)
