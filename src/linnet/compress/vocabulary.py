"""A vocabulary without the tokens that a text never uses.

The table of tokens is a fifth of a small model and more. What is left is the model over fewer
tokens: the rows of the others go from its tables, so that it expects what it did before, divided
among those that stay (its logits are the same, its softmax is over fewer). Texts whose tokens all
stay are read as before (``linnet.tokenizer.pruning``). It is an ordinary checkpoint, and the
teacher of what is made smaller besides.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from linnet import artifact
from linnet.compress.prune_config import AUTO
from linnet.data import SPLITS, read_documents
from linnet.errors import DataError, LinnetError, ModelError
from linnet.evaluate.held_out import TEXT_SUFFIXES, split_text_file, text_files
from linnet.export.gguf import stored_format
from linnet.finetune.config import ExamplesConfig
from linnet.finetune.examples import load_examples
from linnet.model import Transformer, load_model, save_checkpoint
from linnet.model.config_file import CONFIG, GENERATION, read_config_file, read_generation_file
from linnet.output import make_directory, write_json
from linnet.progress import SILENT, Progress
from linnet.tokenizer import Tokenizer
from linnet.tokenizer import load as load_tokenizer
from linnet.tokenizer.pruning import kept_tokens, pruned

Counts = npt.NDArray[np.int64]

_WHOLE = 1 << 40  # bytes of a document, at most
_LONGEST = 1 << 30  # tokens of a row, at most
_LISTS_OF_IDS = ("suppress_tokens", "begin_suppress_tokens", "bad_words_ids")
_ROLES = (("system", "user", "assistant"), ("user", "assistant"))


@dataclass(frozen=True)
class VocabularyReport:
    """What became of a vocabulary."""

    tokens: int
    of_tokens: int
    uses: int
    """Tokens of the text, as it was cut before."""
    uses_cut: int
    """Those of them that are cut into smaller ones now."""
    of_parameters: int


def prune_vocabulary(
    source: Path,
    text: Path | str,
    out: Path,
    wanted: str = AUTO,
    *,
    progress: Progress = SILENT,
) -> VocabularyReport:
    """Write the model in ``source`` with fewer tokens into the directory ``out``.

    ``wanted``: ``auto``, the tokens that ``text`` uses and those that they are made of; or how many
    there may be. Raises ModelError for a tokenizer of another kind than byte-level BPE, DataError
    for a text without tokens, ConfigError for too small a number.
    """
    tokenizer = load_tokenizer(source)
    model = load_model(source, dtype=stored_format(source))
    counts = token_counts(text, tokenizer, progress=progress)
    config, generation = read_config_file(source), read_generation_file(source)
    roles = {token for values in (config, generation) for token in _roles(values)}
    own = _counted([_chat(tokenizer)], tokenizer.vocab_size)
    kept = kept_tokens(
        tokenizer, (counts + own).tolist(), most=0 if wanted == AUTO else int(wanted), needed=roles
    )
    if kept[-1] >= model.config.vocab_size:
        raise ModelError(
            f"{source}: the tokenizer has {tokenizer.vocab_size:,} tokens, but the model only "
            f"{model.config.vocab_size:,}"
        )
    ids = {old: new for new, old in enumerate(kept)}
    make_directory(out)
    pruned(tokenizer, kept).save(out)
    write_json(out / CONFIG, renumbered(config, ids))
    if generation:
        write_json(out / GENERATION, renumbered(generation, ids))
    save_checkpoint(with_tokens(model, kept), out, base=out)
    gone = np.ones(tokenizer.vocab_size, dtype=bool)
    gone[kept] = False
    report = VocabularyReport(
        len(kept),
        model.config.vocab_size,
        int(counts.sum()),
        int(counts[gone].sum()),
        model.config.parameters,
    )
    return report


def token_counts(text: Path | str, tokenizer: Tokenizer, *, progress: Progress = SILENT) -> Counts:
    """How often all of a text uses each token: a file or folder of text, a corpus, or rows.

    Raises DataError where there is no text, and for shards, whose tokens are fixed.
    """
    path = artifact.within(Path(text), "corpus")
    kind = artifact.read(path).manifest.kind if artifact.is_artifact(path) else ""
    if kind == "shards":
        raise DataError(
            f"{path}: expected text, of which the tokens change. Got shards; give the corpus that "
            "they were made from"
        )
    with progress.task("counting tokens", unit="tokens") as task:
        if kind != "corpus" and path.is_file() and path.suffix.lower() not in TEXT_SUFFIXES:
            config = ExamplesConfig(template="none", held_out=0.0, context=_LONGEST)
            arrays: Iterable[Any] = (
                example.tokens for example in load_examples([path], tokenizer, config).train
            )
        else:
            arrays = _encoded(_texts(path, kind), tokenizer)
        counts = np.zeros(tokenizer.vocab_size, dtype=np.int64)
        for ids in arrays:
            counts += _counted([ids], tokenizer.vocab_size)
            task.advance(len(ids))
    if not counts.sum():
        raise DataError(f"{text}: expected text whose tokens are to stay. Got none")
    return counts


def with_tokens(model: Transformer, kept: Sequence[int]) -> Transformer:
    """A new model with these rows of the tables of tokens."""
    config = model.config
    new: dict[int | None, int | None] = {old: place for place, old in enumerate(kept)}
    smaller = dataclasses.replace(
        config, vocab_size=len(kept), bos_id=new.get(config.bos_id), eos_id=new.get(config.eos_id),
        pad_id=new.get(config.pad_id),
    )  # fmt: skip
    with torch.device("meta"):
        made = Transformer(smaller)
    rows = torch.tensor(list(kept))
    made.load_state_dict(
        {
            name: values[rows] if name.startswith(("embedding.", "output.")) else values
            for name, values in model.state_dict().items()
        },
        assign=True,
    )
    return made.eval()


def renumbered(values: Mapping[str, Any], ids: Mapping[int, int]) -> dict[str, Any]:
    """A configuration whose tokens have new ids; what names one that is gone is left out."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found[key] = renumbered(value, ids)
        elif not _names_tokens(key):
            found[key] = value
        elif (changed := _new_id(value, ids)) is not None or value is None:
            found[key] = changed
    return found


def _names_tokens(key: str) -> bool:
    return key.endswith(("_token_id", "_token_ids")) or key in _LISTS_OF_IDS


def _new_id(value: Any, ids: Mapping[int, int]) -> Any:
    if isinstance(value, list):
        return [new for each in value if (new := _new_id(each, ids)) is not None]
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return ids.get(value)
    return value  # -1: none


def _roles(values: Mapping[str, Any]) -> Iterator[int]:
    """The ids of tokens that have a role in a configuration: what it only bans may go."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _roles(value)
        elif _names_tokens(key) and key not in _LISTS_OF_IDS:
            each = value if isinstance(value, list) else [value]
            yield from (token for token in each if type(token) is int)


def _texts(path: Path, kind: str) -> Iterator[str]:
    if kind == "corpus":
        for split in SPLITS:
            for document in read_documents(path, split, columns=("id", "text")):
                yield document.text
        return
    for file in text_files(path):
        for text, _ in split_text_file(file, keep_bytes=_WHOLE):
            yield text


def _encoded(texts: Iterable[str], tokenizer: Tokenizer) -> Iterator[Any]:
    for text in texts:
        yield from tokenizer.encode_arrays([text])


def _counted(arrays: Iterable[Any], size: int) -> Counts:
    found = np.zeros(size, dtype=np.int64)
    for ids in arrays:
        found += np.bincount(np.asarray(ids, dtype=np.int64), minlength=size)
    return found


def _chat(tokenizer: Tokenizer) -> list[int]:
    """What the chat template writes beside messages: its words are of every conversation."""
    found: list[int] = []
    for roles in _ROLES if tokenizer.chat_template is not None else ():
        messages = [{"role": role, "content": "a"} for role in roles]
        with contextlib.suppress(LinnetError):  # some refuse a system's message
            found += tokenizer.encode_chat(messages).ids
            found += tokenizer.encode_chat(messages[:-1], add_generation_prompt=True).ids
    return found
