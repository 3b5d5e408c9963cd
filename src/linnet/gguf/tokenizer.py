"""The tokenizer in a GGUF file, as the ``tokenizers`` library has it: ``vocabulary`` backwards.

Read are byte-level BPE (``gpt2``), SentencePiece BPE (``llama``), Unigram (``t5``) and WordPiece
(``bert``). A file names its pre-tokenizer by llama.cpp's tag; what has no place in it (that text
is composed first, say) is as whoever published the tag has it, unless the file was written here.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import tokenizers

from linnet.errors import ModelError
from linnet.gguf import pretokenizers
from linnet.gguf.vocabulary import (
    COMPOSES,
    CONTROL,
    IDS,
    NORMAL,
    UNUSED,
    USER_DEFINED,
    names_phi3,
    takes_space_after,
)
from linnet.tokenizer import Tokenizer
from linnet.tokenizer.chat import inline_templates
from linnet.tokenizer.definition import check_definition, faults_named
from linnet.tokenizer.sentencepiece import BPE, UNIGRAM, empty_proto, from_proto
from linnet.tokenizer.settings import put_around
from linnet.tokenizer.token_bytes import SENTENCEPIECE_SPACE

if TYPE_CHECKING:
    from linnet.gguf.metadata import Metadata


def rebuilt(metadata: Metadata) -> Tokenizer:
    """The tokenizer in a file. Raises ModelError for a kind that is not known here."""
    kind = str(metadata.vocabulary("model", "none"))
    if kind not in _KINDS:
        raise ModelError(
            f"{metadata.file}: expected a vocabulary of kind {', '.join(_KINDS)}. Got {kind[:60]!r}"
        )
    if len(set(metadata.tokens)) != metadata.rows or not metadata.rows:
        raise ModelError(f"{metadata.file}: expected a vocabulary without a token twice")
    config = _named_tokens(metadata)
    with faults_named(metadata.file):
        try:
            backend = _KINDS[kind](metadata, config)
        except ModelError as error:
            named = str(error).startswith(str(metadata.file))
            raise error if named else ModelError(f"{metadata.file}: {error}") from None
    if metadata.templates:
        config["chat_template"] = inline_templates(metadata.templates)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **config,
        "clean_up_tokenization_spaces": False,
    }
    tokenizer = Tokenizer(backend, config)
    tokenizer.origin = str(metadata.file)
    return tokenizer


def _named_tokens(metadata: Metadata) -> dict[str, Any]:
    """The tokens with a role, under their published names."""
    found = {}
    for role, key in IDS.items():
        name = metadata.named_token(key.removesuffix("_token_id"))
        if name is not None:
            found[role] = name
    return found


def _byte_level(metadata: Metadata, config: dict[str, Any]) -> tokenizers.Tokenizer:
    pre = pretokenizers.named(str(metadata.vocabulary("pre", "default")))
    vocabulary = _own_tokens(metadata)
    pairs = [tuple(str(merge).split(" ", 1)) for merge in metadata.vocabulary("merges", [])]
    if any(len(pair) != 2 for pair in pairs):
        raise ModelError("expected merges of two tokens each")
    merges = [pair for pair in pairs if {*pair, "".join(pair)} <= vocabulary.keys()]
    if len(pairs) - len(merges) > (0 if len(pairs) > 1 else 1):  # one stands for none
        raise ModelError("its merges make tokens that its vocabulary does not have")
    composes = metadata.vocabulary(COMPOSES, pre.composes)
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": pre.ignore_merges,
        "vocab": vocabulary,
        "merges": merges,
    }
    backend = _backend(
        metadata,
        model,
        normalizer={"type": "NFC"} if composes else None,
        pre_tokenizer=pre.step,
        decoder=pretokenizers.BYTES,
    )
    _put_around(metadata, backend, config, begins=pre.begins)
    return backend


def _sentencepiece(metadata: Metadata, config: dict[str, Any]) -> tokenizers.Tokenizer:
    return _pieces(metadata, config, BPE)


def _unigram(metadata: Metadata, config: dict[str, Any]) -> tokenizers.Tokenizer:
    return _pieces(metadata, config, UNIGRAM)


def _pieces(metadata: Metadata, config: dict[str, Any], kind: int) -> tokenizers.Tokenizer:
    """By way of the file that SentencePiece itself would have written."""
    scores = metadata.vocabulary("scores", [])
    if len(scores) != metadata.rows or not all(isinstance(one, int | float) for one in scores):
        raise ModelError(f"expected a score for each of its {metadata.rows:,} tokens")
    proto = empty_proto("reading a SentencePiece vocabulary")
    for token, score, marked in zip(metadata.tokens, scores, metadata.types, strict=True):
        proto.pieces.add(piece=token, score=float(score), type=marked)
    trainer, normalizer = proto.trainer_spec, proto.normalizer_spec
    trainer.model_type = kind
    trainer.byte_fallback = "<0x00>" in metadata.tokens
    for role in ("bos", "eos", "pad", "unk"):
        key = {"pad": "padding", "unk": "unknown"}.get(role, role)
        setattr(trainer, f"{role}_id", metadata.token_of(key, -1))
    normalizer.add_dummy_prefix = bool(metadata.vocabulary("add_space_prefix", True))
    normalizer.remove_extra_whitespaces = bool(
        metadata.vocabulary("remove_extra_whitespaces", kind == UNIGRAM)
    )
    table = metadata.vocabulary("precompiled_charsmap", [])
    if table:
        if not isinstance(table, list) or not all(type(value) is int for value in table):
            raise ModelError("precompiled_charsmap must be a list of bytes")
        normalizer.precompiled_charsmap = bytes(value % 256 for value in table)  # signed, in some
    backend, _ = from_proto(proto, metadata.file)
    raw = json.loads(backend.to_str())
    if isinstance(raw["model"]["vocab"], dict):
        for name in _unused(metadata):
            raw["model"]["vocab"].pop(name, None)
    raw["added_tokens"] = _added(metadata)
    backend = _checked(metadata, raw)
    _put_around(metadata, backend, config, begins=kind == BPE, ends=kind == UNIGRAM)
    return backend


def _wordpiece(metadata: Metadata, config: dict[str, Any]) -> tokenizers.Tokenizer:
    vocabulary: dict[str, int] = {}
    for token, place in _own_tokens(metadata).items():
        plain = metadata.types[place] != NORMAL or (token[:1] == "[" and token[-1:] == "]")
        name = token if plain else f"##{token}"
        if not plain and token.startswith(SENTENCEPIECE_SPACE):
            name = token.removeprefix(SENTENCEPIECE_SPACE)
        vocabulary[name] = place
    lower = bool(metadata.vocabulary("normalizer.lowercase", True))
    stripped = bool(metadata.vocabulary("normalizer.strip_accents", lower))
    config["cls_token"] = config.pop("bos_token", "[CLS]")
    config["do_lower_case"] = lower
    unknown = config.setdefault("unk_token", "[UNK]")
    model = {
        "type": "WordPiece",
        "unk_token": unknown,
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": vocabulary,
    }
    backend = _backend(
        metadata,
        model,
        normalizer={
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None if stripped == lower else stripped,
            "lowercase": lower,
        },
        pre_tokenizer={"type": "BertPreTokenizer"},
        decoder={"type": "WordPiece", "prefix": "##", "cleanup": True},
    )
    first = config["cls_token"] if metadata.vocabulary("add_bos_token", True) else None
    last = config.get("sep_token") if metadata.vocabulary("add_sep_token", True) else None
    single = [f"{first}:0"] * bool(first) + ["$A:0"] + [f"{last}:0"] * bool(last)
    pair = [*single, "$B:1", *([f"{last}:1"] * bool(last))]
    names = [(name, vocabulary[name]) for name in (first, last) if name in vocabulary]
    backend.post_processor = tokenizers.processors.TemplateProcessing(
        single=single, pair=pair, special_tokens=names
    )
    return backend


_KINDS = {"gpt2": _byte_level, "llama": _sentencepiece, "t5": _unigram, "bert": _wordpiece}


def _put_around(
    metadata: Metadata,
    backend: tokenizers.Tokenizer,
    config: dict[str, Any],
    *,
    begins: bool,
    ends: bool = False,
) -> None:
    """The tokens around every text, as the file has them or ``begins`` and ``ends`` say."""
    begins = bool(metadata.vocabulary("add_bos_token", begins)) and "bos_token" in config
    ends = bool(metadata.vocabulary("add_eos_token", ends)) and "eos_token" in config
    put_around(backend, config, {"add_bos_token": begins, "add_eos_token": ends})


def _own_tokens(metadata: Metadata) -> dict[str, int]:
    """The tokens by name, less those that only fill up a table."""
    unused = _unused(metadata)
    return {name: at for at, name in enumerate(metadata.tokens) if name not in unused}


def _unused(metadata: Metadata) -> set[str]:
    pairs = enumerate(zip(metadata.tokens, metadata.types, strict=True))
    return {name for at, (name, type) in pairs if type == UNUSED and name == f"[PAD{at}]"}


def _added(metadata: Metadata) -> list[dict[str, Any]]:
    """The tokens that stand outside the text that is cut, in their order."""
    spaced = names_phi3(str(metadata.values.get("general.name", "")), set(metadata.tokens))
    return [
        {
            "id": at,
            "content": name,
            "single_word": False,
            "lstrip": False,
            "rstrip": spaced and takes_space_after(name),
            "normalized": False,
            "special": type != USER_DEFINED,
        }
        for at, (name, type) in enumerate(zip(metadata.tokens, metadata.types, strict=True))
        if type in (CONTROL, USER_DEFINED) or (type == 2 and metadata.token_of("unknown", -1) == at)
    ]


def _backend(
    metadata: Metadata, model: dict[str, Any], **steps: dict[str, Any] | None
) -> tokenizers.Tokenizer:
    raw = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": _added(metadata),
        "post_processor": None,
        **steps,
        "model": model,
    }
    return _checked(metadata, raw)


def _checked(metadata: Metadata, raw: dict[str, Any]) -> tokenizers.Tokenizer:
    text = json.dumps(raw)
    check_definition(text, metadata.file)
    return tokenizers.Tokenizer.from_str(text)
