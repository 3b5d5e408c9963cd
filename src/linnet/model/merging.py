"""Merging: an adapter added to the weights it belongs to.

A merged model computes as fast as its base and is an ordinary checkpoint, which tools
that know no adapters can load.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from linnet import artifact, hub
from linnet.card import CARD, write_card
from linnet.config import to_mapping
from linnet.errors import ModelError
from linnet.model.adapter import WEIGHTS, adapter_base, base_hash, is_adapter, load_adapter
from linnet.model.adapter_config import CONFIG
from linnet.model.checkpoint import (
    Checkpoint,
    load_checkpoint,
    read_generation_file,
    save_checkpoint,
)
from linnet.model.layers import Linear
from linnet.model.loading import AnyDtype
from linnet.model.lora import (
    activate,
    adapters_of,
    changed_parameters,
    require_adapter,
    separates_tables,
    set_strength,
)
from linnet.model.lora_config import MergeConfig
from linnet.model.lora_layers import ReplaceableEmbedding
from linnet.progress import SILENT, Progress
from linnet.runtime import torch_dtype
from linnet.tokenizer import load as load_tokenizer

if TYPE_CHECKING:
    from linnet.artifact import Artifact, Draft
    from linnet.model.config import ModelConfig
    from linnet.model.transformer import Transformer

KIND, FORMAT = "model", 1
ADAPTER = "default"


@torch.no_grad()
def merge(model: Transformer, name: str, *, strength: float = 1.0, reversible: bool = True) -> None:
    """Add an adapter to the weights: then it costs nothing to compute with.

    Into fp32 weights only: in fewer bits most of what was learned would be rounded away.
    Raises ModelError otherwise, and when an adapter is merged already. ``reversible`` keeps the
    changed weights as they were (that much more memory), so that ``unmerge`` is exact. Where an
    adapter has a table of its own on one side only, embedding and output layer are tied no more.
    """
    adapters = require_adapter(adapters_of(model), name)
    if adapters.merged is not None:
        raise ModelError(f"the adapter '{adapters.merged}' is already merged; unmerge it first")
    set_strength(model, name, strength)
    undo: list[Callable[[], object]] = []
    if separates_tables(model, name):
        undo.append(partial(_tie, model, model.config))
        _untie(model, name)
    changed = list(changed_parameters(model, name))
    for parameter, _ in changed:
        if parameter.dtype != torch.float32:
            raise ModelError(
                f"an adapter can be merged into fp32 weights only. Got "
                f"{str(parameter.dtype).removeprefix('torch.')}; load the base with dtype fp32"
            )
    for parameter, change in changed:
        if reversible:
            undo.append(partial(parameter.copy_, parameter.detach().clone()))
        change()
    adapters.undo = undo if reversible else None
    adapters.active, adapters.merged = None, name


@torch.no_grad()
def unmerge(model: Transformer) -> None:
    """Take the merged adapter out again, to the bit, and make it active.

    Raises ModelError when none is merged, or when it was merged for good.
    """
    adapters = adapters_of(model)
    if adapters is None or adapters.merged is None:
        raise ModelError("no adapter is merged into this model")
    if adapters.undo is None:
        raise ModelError(f"the adapter '{adapters.merged}' was merged for good; load the base anew")
    for step in reversed(adapters.undo):
        step()
    adapters.undo = None
    adapters.active, adapters.merged = adapters.merged, None


def _untie(model: Transformer, name: str) -> None:
    """Give the output layer a matrix of its own: the adapter's, or the table as it is."""
    table = model.embedding
    assert isinstance(table, ReplaceableEmbedding)
    rows, width = table.weight.shape
    with torch.device("meta"):
        output = Linear(width, rows, bias=False)
    output.weight = nn.Parameter(table.output_of(name).detach().clone(), requires_grad=False)
    model.config = replace(model.config, tied=False)
    model.output = output


def _tie(model: Transformer, config: ModelConfig) -> None:
    model.config = config
    del model.output


def open_checkpoint(
    source: Path | str,
    *,
    device: str | torch.device = "cpu",
    dtype: AnyDtype = torch.float32,
    packed: bool = False,
    progress: Progress = SILENT,
) -> Checkpoint:
    """A model, or an adapter on its base, active: a directory or (given as text) a hub name.

    ``packed``: see :func:`linnet.model.load_model`; the base of an adapter never is. Raises
    ModelError naming what is wrong.
    """
    found = hub.find(source, progress=progress)
    if is_adapter(found.path):
        return load_adapted(found.path, device=device, dtype=dtype, progress=progress)
    return load_checkpoint(source, device=device, dtype=dtype, packed=packed, progress=progress)


def load_adapted(
    path: Path | str,
    *,
    base: Path | str | None = None,
    device: str | torch.device = "cpu",
    dtype: AnyDtype = torch.float32,
    progress: Progress = SILENT,
) -> Checkpoint:
    """The base of an adapter with the adapter on it, active, under the name "default".

    A tokenizer beside the adapter (with its chat template) goes before the base's.
    ``base``: where the base is, if not where the adapter says. Raises ModelError when it is
    not there, or is another.
    """
    path = Path(path)
    if base is None:
        base = adapter_base(path)
        if base.endswith(".previous"):
            progress.message(
                f"{path} goes with {base}, which it was trained on: a build replaced that model"
            )
    loaded = load_checkpoint(base, device=device, dtype=dtype, progress=progress)
    load_adapter(loaded.model, path, ADAPTER)
    activate(loaded.model, ADAPTER)
    if not (path / "tokenizer.json").is_file():
        return loaded
    tokenizer = load_tokenizer(path)
    if tokenizer.vocab_size > loaded.config.vocab_size:
        raise ModelError(
            f"{path}: the tokenizer beside the adapter has {tokenizer.vocab_size} tokens but its "
            f"base only {loaded.config.vocab_size}; they do not belong together"
        )
    ends = read_generation_file(path).get("eos_token_id")
    more = [*(ends if isinstance(ends, list) else [ends]), getattr(tokenizer, "end_of_turn", None)]
    stops = dict.fromkeys([*loaded.stop_ids, *(end for end in more if isinstance(end, int))])
    return replace(loaded, tokenizer=tokenizer, stop_ids=tuple(stops))


def merge_adapter(
    adapter: Path | str,
    out: Path | str,
    config: MergeConfig | None = None,
    *,
    base: Path | str | None = None,
    progress: Progress = SILENT,
) -> Artifact:
    """Write the base of an adapter with the adapter in its weights: an ordinary model directory.

    ``base``: where the base is, if not where the adapter says. Merged in fp32, whatever is
    stored. Raises ModelError when the base is not there or is another.
    """
    adapter, out, config = Path(adapter), Path(out), config or MergeConfig()
    loaded = load_adapted(adapter, base=base, progress=progress)
    assert loaded.path is not None
    is_ours = artifact.is_artifact(loaded.path)
    inputs = {
        "base": artifact.read(loaded.path) if is_ours else loaded.source or base_hash(loaded.model),
        "adapter": _adapter_input(adapter),
    }

    def write(draft: Draft) -> None:
        merge(loaded.model, ADAPTER, strength=config.strength, reversible=False)
        own = (adapter / "tokenizer.json").is_file()
        save_checkpoint(
            loaded.model,
            draft.path,
            tokenizer=adapter if own else loaded.path,
            base=loaded.path,
            dtype=torch_dtype(config.dtype),
            progress=progress,
        )
        draft.stats["parameters"] = loaded.model.config.parameters
        write_card(draft, base=loaded.path)

    return artifact.make(
        out,
        write,
        kind=KIND,
        format=FORMAT,
        config=to_mapping(config),
        inputs=inputs,
        volatile=(CARD,),
        sources=[adapter, loaded.path],
    )


def _adapter_input(path: Path) -> Artifact | str:
    """What an adapter goes into a recipe as; one that Linnet did not write has no manifest."""
    if artifact.is_artifact(path):
        return artifact.read(path)
    return f"{artifact.hash_file(path / CONFIG)} {artifact.hash_file(path / WEIGHTS)}"


@contextmanager
def merged(path: Path | str, *, beside: Path, progress: Progress = SILENT) -> Iterator[Path]:
    """A model directory as it is; an adapter merged into its base, in fp32.

    ``beside``: an existing directory on a disk with room for that. Raises ModelError when the
    adapter's base is not there.
    """
    path = artifact.within(path, "model")
    if not is_adapter(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix=".merged-", dir=beside) as place:
        made = Path(place) / path.resolve().name
        merge_adapter(path, made, MergeConfig(dtype="fp32"), progress=progress)
        yield made
