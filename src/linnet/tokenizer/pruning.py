"""A byte-level BPE tokenizer with fewer tokens.

What stays, beside the tokens that are wanted: every byte, every added token, and every token that
merging goes through on its way to one of them. Merges of which a part or the result is gone are
left out, the others keep their order. Then

* a text whose tokens all stay is cut as before: on its way no merge is taken that is gone, and
  each step takes the first of those that are possible, which is the same one;
* any other text is cut into smaller tokens, bytes at the least, and decodes to itself as before.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tokenizers

from linnet.errors import ConfigError, ModelError
from linnet.tokenizer.definition import faults_named
from linnet.tokenizer.token_bytes import byte_of_character
from linnet.tokenizer.tokenizer import Tokenizer

_REPEATED = ("added_tokens_decoder", "backend", "is_local", "local_files_only")
"""Settings that repeat ids of ``tokenizer.json``, or say where a copy of it was."""


def kept_tokens(
    tokenizer: Tokenizer, counts: Sequence[int], *, most: int = 0, needed: Iterable[int] = ()
) -> list[int]:
    """The ids of the tokens that stay, in order.

    ``counts``: how often a corpus uses each token. ``most``: how many may stay: those used most,
    each with what it is merged from; where more may stay than are used, those that were merged
    first; 0: as many as are used. ``needed``: ids that stay in any case.
    Raises ModelError for a tokenizer of another kind, ConfigError where ``most`` is too few.
    """
    definition = _definition(tokenizer)
    vocabulary: dict[str, int] = definition["model"]["vocab"]
    ranks = {pair: rank for rank, pair in enumerate(_merges(definition))}
    names = {token: name for name, token in vocabulary.items()}
    kept = {*tokenizer.added, *(token for token in needed if token in names)}
    kept |= {vocabulary[character] for character in byte_of_character() if character in vocabulary}
    if most and most < len(kept):
        raise ConfigError(
            f"the vocabulary must keep at least {len(kept):,} tokens, its bytes and special "
            f"tokens. Got {most:,}"
        )
    used = sorted((token for token in names if counts[token]), key=lambda t: (-counts[t], t))
    unused = sorted(token for token in names if not counts[token]) if most else []
    for token in (*used, *unused):
        if most and len(kept) == most:
            break
        more = {vocabulary[part] for part in merged_from(names[token], ranks)} | {token}
        more -= kept
        if not most or len(kept) + len(more) <= most:
            kept |= more
    return sorted(kept)


def merged_from(token: str, ranks: Mapping[tuple[str, str], int]) -> set[str]:
    """All that comes about where merging makes a token of its bytes; nothing where it does not."""
    pieces, found = list(token), set(token)
    while len(pieces) > 1:
        rank, place = min(
            (ranks.get(pair, math.inf), place)
            for place, pair in enumerate(itertools.pairwise(pieces))
        )
        if rank == math.inf:
            return set()  # taken whole, where a word is one ("ignore_merges")
        pieces[place : place + 2] = [pieces[place] + pieces[place + 1]]
        found.add(pieces[place])
    return found


def pruned(tokenizer: Tokenizer, kept: Sequence[int]) -> Tokenizer:
    """The tokenizer with these tokens of it alone, numbered in their order."""
    definition = _definition(tokenizer)
    ids = {old: new for new, old in enumerate(kept)}
    model = definition["model"]
    model["vocab"] = {name: ids[old] for name, old in model["vocab"].items() if old in ids}
    known = model["vocab"].keys()
    model["merges"] = [
        [left, right] for left, right in _merges(definition)
        if left in known and right in known and left + right in known
    ]  # fmt: skip
    for added in definition.get("added_tokens") or []:
        added["id"] = ids[added["id"]]
    _renumber_around(definition.get("post_processor"), ids)
    with faults_named(tokenizer.origin):
        backend = tokenizers.Tokenizer.from_str(json.dumps(definition))
    config = {key: value for key, value in tokenizer.config.items() if key not in _REPEATED}
    # Which reads tokenizer.json as it is; others put a tokenizer together of their own files.
    made = Tokenizer(backend, {**config, "tokenizer_class": "PreTrainedTokenizerFast"})
    made.origin = tokenizer.origin
    return made


def _definition(tokenizer: Tokenizer) -> dict[str, Any]:
    """The content of ``tokenizer.json``. Raises ModelError where it is no byte-level BPE."""
    definition: dict[str, Any] = json.loads(tokenizer.to_json())
    model = definition["model"]
    wrong = [name for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix")
             if model.get(name)]  # fmt: skip
    kind = f"{model.get('type')} ({tokenizer.spelling})"
    if model.get("type") != "BPE" or tokenizer.spelling != "byte-level" or wrong:
        raise ModelError(
            f"{tokenizer.origin}: a vocabulary can be pruned where it is byte-level BPE. Got "
            f"{kind}{' with ' + ', '.join(wrong) if wrong else ''}; leave --vocabulary out"
        )
    return definition


def _merges(definition: dict[str, Any]) -> list[tuple[str, str]]:
    found = []
    for merge in definition["model"]["merges"]:
        left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
        found.append((left, right))
    return found


def _renumber_around(step: Any, ids: Mapping[int, int]) -> None:
    """Give the tokens that a post-processor puts around a text their new ids."""
    if not isinstance(step, dict):
        return
    for inner in step.get("processors") or []:
        _renumber_around(inner, ids)
    if isinstance(step.get("special_tokens"), dict):
        for entry in step["special_tokens"].values():
            entry["ids"] = [ids[token] for token in entry["ids"]]
    for role in ("sep", "cls"):
        if isinstance(step.get(role), list):
            name, token = step[role]
            step[role] = [name, ids[token]]
