"""The model that a run begins from: its tokenizer made fit for training, its weights.

* Padding that ends a text or a turn is replaced, or no longer named: programs that
  pad leave it out of the loss, and a model so trained never stops.
* A model without a chat template gets one where conversations are to be trained
  and the embedding is trained with them (``full``): rows for the new markers begin
  as the mean of the others.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from linnet import artifact, hub
from linnet.config import read_json
from linnet.errors import ConfigError
from linnet.evaluate.held_out import text_files
from linnet.examples.texts import corpus_of
from linnet.finetune.row_schema import ChatRow, TextRow
from linnet.finetune.rows import open_source
from linnet.model.adapter import is_adapter, save_adapter
from linnet.model.checkpoint import (
    copy_tokenizer,
    load_model,
    read_config_file,
    read_stop_ids,
    save_checkpoint,
    stored_dtype,
)
from linnet.model.families import family
from linnet.model.lora import add_adapter
from linnet.model.quantised import require_plain
from linnet.output import write_json
from linnet.progress import SILENT, Progress
from linnet.tokenizer import check_trainable, with_chat, with_safe_padding
from linnet.tokenizer import load as load_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from linnet.artifact import Artifact
    from linnet.examples.prompts import Book
    from linnet.finetune.config import FinetuneConfig
    from linnet.hub import Located
    from linnet.model import ModelConfig, Transformer
    from linnet.model.lora_config import LoRAConfig
    from linnet.tokenizer import Tokenizer


ADAPTER = "default"
"""An adapter's name while it is trained."""
_MODEL_FILES = ("*.safetensors", "config.json", "tokenizer*", "*.jinja", "vocab.*", "merges.txt")


def find_base(
    model: str | Path, use: str, *, plain: bool = False, progress: Progress = SILENT
) -> Located:
    """Where a model lies that is to be changed: a directory, or a hub name. ``use``: what is done
    to it, as a verb; ``plain``: its weights must not have been rounded to whole numbers. Raises
    ConfigError for an adapter, ModelError where there is nothing, and what
    :func:`linnet.hub.find` raises."""
    found = hub.find(model, progress=progress)
    if not found.path.is_dir():
        read_config_file(found.path)  # says what is there instead
    if is_adapter(found.path):
        raise ConfigError(
            f"{found.path} is an adapter; merge it first (linnet merge), and {use} what comes out"
        )
    if plain:
        require_plain(found.path, f"{use} the model that it was made from")
    return found


@dataclass(frozen=True)
class Base:
    """A model directory and the tokenizer that its fine-tuned copy will have."""

    located: Located
    shape: ModelConfig
    tokenizer: Tokenizer
    stop_ids: tuple[int, ...]
    changes: dict[str, Any]
    """What the tokenizer's settings say otherwise than those of the base."""
    grown: bool = False
    """Whether the tokenizer has markers that the base's had not."""

    @property
    def path(self) -> Path:
        return self.located.path

    @property
    def stored(self) -> torch.dtype:
        """The format that the weights are stored in, as config.json says."""
        return stored_dtype(self.path)

    def load(self, *, dtype: torch.dtype, device: str = "cpu") -> Transformer:
        """The weights, with a row for every token of the tokenizer."""
        model = load_model(self.path, device=device, dtype=dtype)
        if model.config.head != "output":
            raise ConfigError(
                f"{self.path} is an encoder; fine-tuning is for models that write text"
            )
        if self.shape.vocab_size > model.config.vocab_size:
            grow_vocabulary(model, self.shape.vocab_size)
        model.config = dataclasses.replace(model.config, pad_id=self.tokenizer.pad)
        return model

    def load_to_train(
        self, adapter: LoRAConfig | None, *, dtype: torch.dtype, device: str, seed: int
    ) -> Transformer:
        """The model to compute in ``dtype``: with a new adapter on it, or all its weights to train,
        in fp32."""
        torch.manual_seed(seed)
        # fp16 has too few digits to keep weights in; bf16 loses nothing that it computes with.
        kept = dtype if adapter is not None and dtype != torch.float16 else torch.float32
        model = self.load(dtype=kept, device=device)
        model.compute_dtype = dtype
        if adapter is not None:
            add_adapter(model, ADAPTER, adapter, generator=torch.Generator().manual_seed(seed))
        else:
            model.requires_grad_(True)
        return model

    def save(self, model: Transformer, directory: Path, *, lora: bool) -> None:
        """Write a model that was trained, or its adapter, with the tokenizer's files."""
        self.save_tokenizer(directory)
        if lora:
            save_adapter(model, ADAPTER, directory, base=self.located.pin or self.path)
        else:
            save_checkpoint(model, directory, base=self.path, dtype=self.stored)

    def without_template(self) -> Base:
        """For a model that has only ever read plain text, and is to be given nothing else."""
        return dataclasses.replace(self, changes={**self.changes, "chat_template": None})

    def save_tokenizer(self, directory: Path) -> None:
        """Write the tokenizer's files."""
        copy_tokenizer(self.path, directory)
        if self.grown:
            self.tokenizer.save(directory)
        if self.changes:
            # An old file that says the same things once more, as they were.
            (directory / "special_tokens_map.json").unlink(missing_ok=True)
            file = directory / "tokenizer_config.json"
            values = read_json(file) if file.is_file() else {}
            values |= self.changes
            write_json(file, {name: value for name, value in values.items() if value is not None})


def read_base(
    located: Located, data: Sequence[str | Path], config: FinetuneConfig, progress: Progress
) -> Base:
    """Look at a base before any weight is loaded, and make its tokenizer fit for these rows.

    Raises ModelError when the model could not learn to stop from them, or cannot be read.
    """
    forms = {type(row) for source in data for row in _first_row(source, config)}
    return fit_base(
        located, forms, config.template, lora=config.method == "lora", progress=progress
    )


def fit_base(
    located: Located,
    forms: set[type],
    template: Literal["auto", "chatml", "none"],
    *,
    lora: bool,
    progress: Progress,
) -> Base:
    """The same for rows of these forms. ``template``: see ``ExamplesConfig``."""
    values = read_config_file(located.path)
    table = family(values.get("model_type"))
    if not lora:
        require_plain(
            located.path,
            "train an adapter for them (--method lora), or the model that they were made from",
        )
    shape = table.read(values)
    shape.require_writes()
    if table.other_inputs is not None:
        progress.warn(f"{located.path.name}: only the text part is read, trained and written")
    first = load_tokenizer(located.path)
    tokenizer = with_safe_padding(first)
    changes: dict[str, Any] = {}
    if tokenizer.pad != first.pad:
        name = None if tokenizer.pad is None else tokenizer.token_name(tokenizer.pad)
        changes["pad_token"] = name
        progress.message(
            f"padding was {first.token_name(first.pad or 0)}, which ends a text; "
            f"it is {name or 'not named'} now"
        )
    new_ids: tuple[int, ...] = ()
    wanted = template == "chatml" or (template == "auto" and _conversations(forms))
    if wanted and tokenizer.chat_template is None:
        if lora:
            raise ConfigError(
                f"{located.path} has no chat template, and conversations need markers that LoRA "
                "does not train; use --method full, or rows of prompt and completion as plain text "
                "(--template auto)"
            )
        given = with_chat(tokenizer)
        tokenizer, new_ids = given.tokenizer, given.new_ids
        changes["chat_template"] = tokenizer.config["chat_template"]
        progress.message("the model has no chat template; it gets ChatML's")
    if new_ids:
        rows = max(shape.vocab_size, tokenizer.vocab_size)
        shape = dataclasses.replace(shape, vocab_size=rows)
    chats = template != "none" and tokenizer.chat_template is not None
    check_trainable(tokenizer, rows=shape.vocab_size, chat=chats and bool(forms - {TextRow}))
    stop_ids = read_stop_ids(located.path, shape, tokenizer)
    return Base(located, shape, tokenizer, stop_ids, changes, bool(new_ids))


@torch.no_grad()
def grow_vocabulary(model: Transformer, rows: int) -> None:
    """Give the embedding and the output layer ``rows`` rows; new ones are the mean of the old."""

    def longer(old: Tensor) -> nn.Parameter:
        mean = old.float().mean(0, keepdim=True).to(old.dtype)
        more = mean.expand(rows - len(old), *old.shape[1:])
        return nn.Parameter(torch.cat((old, more)))

    model.embedding.weight = longer(model.embedding.weight)
    model.embedding.num_embeddings = rows
    if not model.config.tied:
        model.output.weight = longer(model.output.weight)
        if model.config.logit_bias:
            model.output.bias = longer(model.output.bias)
        model.output.out_features = rows
    model.config = dataclasses.replace(model.config, vocab_size=rows)


def _first_row(source: str | Path, config: FinetuneConfig) -> list[Any]:
    rows = open_source(source).rows("train", config.column_names())
    return [row for row, _ in zip(rows, range(1), strict=False)]


def _conversations(forms: set[type]) -> bool:
    return ChatRow in forms


def base_input(path: Path, *, pin: str | None, progress: Progress) -> Artifact | str:
    """The base model as an input: what Linnet made, a pinned hub name, or the files' hash."""
    if artifact.is_artifact(path):
        return artifact.read(path)
    if pin is not None:
        return pin
    files = {file for pattern in _MODEL_FILES for file in path.glob(pattern)}
    return _hash_files(files, root=path, task="reading the base model", progress=progress)


def data_inputs(
    data: Sequence[str | Path],
    validation: str,
    general: str = "",
    *,
    book: Book = "closed",
    progress: Progress,
) -> dict[str, Artifact | str]:
    """Each source of rows as an input, by its place in the command; and the general text.

    ``book``: whether the passages count that examples rest on.
    """
    sources = [(f"data.{number}", source) for number, source in enumerate(data, 1)]
    if validation:
        sources.append(("validation", validation))
    found: dict[str, Artifact | str] = {}
    for role, source in sources:
        opened = open_source(source)
        if opened.corpus is not None:
            found[role] = artifact.read(opened.corpus)
            continue
        files = [file for split in opened.files.values() for file in split]
        if opened.examples is not None and book == "open":
            corpus = corpus_of(opened.examples)
            if corpus is not None:
                found[f"{role}.corpus"] = artifact.read(corpus)
        root = Path(source) if Path(source).is_dir() and opened.examples is None else None
        found[role] = _hash_files(files, root=root, task="reading rows", progress=progress)
    place = artifact.within(general, "corpus")
    if general and artifact.is_artifact(place):
        found["general"] = artifact.read(place)
    elif general:
        files, root = text_files(Path(general)), Path(general) if Path(general).is_dir() else None
        found["general"] = _hash_files(
            files, root=root, task="reading general text", progress=progress
        )
    return found


def _hash_files(files: Iterable[Path], *, root: Path | None, task: str, progress: Progress) -> str:
    """One hash of the contents of files, and of their names within ``root``."""
    ordered = sorted(files)
    whole = hashlib.sha256()
    total = sum(file.stat().st_size for file in ordered)
    with progress.task(task, total=total, unit="bytes") as running:
        for file in ordered:
            name = "" if root is None else file.relative_to(root).as_posix()
            whole.update(f"{name}\0{artifact.hash_file(file)}\n".encode())
            running.advance(file.stat().st_size)
    return whole.hexdigest()
