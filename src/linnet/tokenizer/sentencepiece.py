"""Reads a SentencePiece ``.model`` and rebuilds it on the ``tokenizers`` library.

A model (Kudo and Richardson, 2018) lists pieces with scores. In its BPE, at
each step the neighbours whose union has the best score are joined; that is
byte pair encoding whose merges are ranked by the score of what they make. In
its Unigram (Kudo, 2018), the text is cut so that the scores add up to the most.

The result gives SentencePiece's own ids, but for two cases: where several cuts of
Unigram have the very same score (a long run of one sign), and beside symbols that the model's
author defined, where the leading space may fall differently.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from linnet.errors import MissingExtraError, ModelError
from linnet.tokenizer.definition import LARGEST, check_definition, faults_named, is_known_table
from linnet.tokenizer.token_bytes import SENTENCEPIECE_SPACE

if TYPE_CHECKING:
    from pathlib import Path

# Types of pieces, in sentencepiece_model.proto.
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = range(1, 7)
UNIGRAM, BPE = 1, 2
_LONGEST_PIECE = 4_096  # characters; sentencepiece itself stops at 16

# Unigram's score for pieces that no text may turn into, such as ``</s>``.
_NEVER = -1e6


def read_sentencepiece(
    file: Path, *, spaced: bool | None = None, once: bool = False
) -> tuple[tokenizers.Tokenizer, dict[str, Any]]:
    """The tokenizer in ``file``, and what ``tokenizer_config.json`` should say about it.

    ``spaced``: whether a space is put before a text, if not as the model has it. ``once``: not
    after special tokens again, nor before a space (transformers' ``legacy=False``).
    Raises ModelError when it is no SentencePiece model or one of another kind.
    """
    return from_proto(_parse(file), file, spaced=spaced, once=once)


def from_proto(
    proto: Any, file: object, *, spaced: bool | None = None, once: bool = False
) -> tuple[tokenizers.Tokenizer, dict[str, Any]]:
    """As :func:`read_sentencepiece`, of a ``ModelProto``; ``file`` is named in errors."""
    kind = proto.trainer_spec.model_type
    if kind not in (BPE, UNIGRAM):
        raise ModelError(f"{file}: expected a BPE or Unigram model. Got type {kind}")
    if proto.trainer_spec.treat_whitespace_as_suffix:
        raise ModelError(f"{file}: models with the space after the word cannot be read")
    with faults_named(file):
        backend = tokenizers.Tokenizer(_bpe(proto) if kind == BPE else _unigram(proto))
    if spaced is not None:
        proto.normalizer_spec.add_dummy_prefix = spaced
    backend.normalizer = _normalizer(proto.normalizer_spec, file, once=once)
    if once and proto.normalizer_spec.add_dummy_prefix:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    backend.decoder = _decoder(proto)
    backend.add_special_tokens(_added(proto, _UNKNOWN, _CONTROL))
    backend.add_tokens(_added(proto, _USER_DEFINED))
    return backend, _config(proto)


def empty_proto(purpose: str) -> Any:
    """A ``ModelProto`` to fill. Raises MissingExtraError without the packages for it."""
    try:
        import google.protobuf.message  # type: ignore[import-untyped]  # noqa: F401
        from sentencepiece import sentencepiece_model_pb2
    except ImportError as error:
        missing = "protobuf" if (error.name or "").startswith("google") else "sentencepiece"
        raise MissingExtraError(missing, purpose) from None
    return vars(sentencepiece_model_pb2)["ModelProto"]()


def _parse(file: Path) -> Any:
    proto = empty_proto(f"reading {file.name}")
    from google.protobuf.message import DecodeError

    if file.stat().st_size > LARGEST:
        raise ModelError(f"{file}: expected a SentencePiece model of at most {LARGEST:,} bytes")
    try:
        proto.ParseFromString(file.read_bytes())
    except DecodeError:
        raise ModelError(f"{file}: expected a SentencePiece model, but it is damaged") from None
    longest = max((len(piece.piece) for piece in proto.pieces), default=0)
    if longest > _LONGEST_PIECE:
        raise ModelError(f"{file}: expected pieces of at most {_LONGEST_PIECE} characters")
    if not proto.pieces:
        raise ModelError(f"{file}: expected a SentencePiece model, but it has no pieces")
    return proto


def _bpe(proto: Any) -> models.BPE:
    vocabulary = {piece.piece: index for index, piece in enumerate(proto.pieces)}
    return models.BPE(
        vocab=vocabulary,
        merges=_merges(proto),
        unk_token=_unknown(proto),
        fuse_unk=True,
        byte_fallback=proto.trainer_spec.byte_fallback,
    )


def _merges(proto: Any) -> list[tuple[str, str]]:
    """Every way to make a piece from two others, best piece first.

    Only normal pieces take part: no text may turn into a control or byte piece.
    """
    normal = {
        piece.piece: (-piece.score, index)
        for index, piece in enumerate(proto.pieces)
        if piece.type in (_NORMAL, _UNUSED)
    }
    merges = []
    for piece, (rank, _) in sorted(normal.items(), key=lambda item: item[1]):
        for middle in range(1, len(piece)):
            left, right = piece[:middle], piece[middle:]
            if left in normal and right in normal:
                merges.append((rank, normal[left][1], normal[right][1], left, right))
    return [(left, right) for *_, left, right in sorted(merges)]


def _unigram(proto: Any) -> models.Unigram:
    scores = [
        (piece.piece, piece.score if piece.type in (_NORMAL, _USER_DEFINED, _UNUSED) else _NEVER)
        for piece in proto.pieces
    ]
    return models.Unigram(
        scores, unk_id=proto.trainer_spec.unk_id, byte_fallback=proto.trainer_spec.byte_fallback
    )


def _normalizer(spec: Any, file: object, *, once: bool) -> normalizers.Normalizer:
    steps: list[normalizers.Normalizer] = []
    if spec.precompiled_charsmap:
        if not is_known_table(spec.precompiled_charsmap):
            _try_table(spec.precompiled_charsmap, file)
        steps.append(normalizers.Precompiled(spec.precompiled_charsmap))
    if spec.remove_extra_whitespaces:
        steps.append(normalizers.Strip())
        steps.append(normalizers.Replace(tokenizers.Regex(" {2,}"), " "))
    if spec.add_dummy_prefix and not once:
        steps.append(normalizers.Prepend(SENTENCEPIECE_SPACE))
    steps.append(normalizers.Replace(" ", SENTENCEPIECE_SPACE))
    return normalizers.Sequence(steps)


def _try_table(table: bytes, file: object) -> None:
    """Use a table of characters where a panic does no harm. Raises ModelError."""
    definition = {
        "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"},
        "normalizer": {
            "type": "Precompiled",
            "precompiled_charsmap": base64.b64encode(table).decode("ascii"),
        },
    }
    check_definition(json.dumps(definition), file)


def _decoder(proto: Any) -> decoders.Decoder:
    steps = [
        decoders.Replace(SENTENCEPIECE_SPACE, " "),
        decoders.ByteFallback(),
        decoders.Fuse(),
    ]
    if proto.normalizer_spec.add_dummy_prefix:
        steps.append(decoders.Strip(content=" ", left=1, right=0))
    return decoders.Sequence(steps)


def _added(proto: Any, *types: int) -> list[tokenizers.AddedToken]:
    return [
        tokenizers.AddedToken(piece.piece, normalized=False, special=piece.type != _USER_DEFINED)
        for piece in proto.pieces
        if piece.type in types
    ]


def _unknown(proto: Any) -> str | None:
    index = proto.trainer_spec.unk_id
    return str(proto.pieces[index].piece) if 0 <= index < len(proto.pieces) else None


def _config(proto: Any) -> dict[str, Any]:
    spec = proto.trainer_spec
    ids = {"unk": spec.unk_id, "bos": spec.bos_id, "eos": spec.eos_id, "pad": spec.pad_id}
    return {
        f"{name}_token": proto.pieces[index].piece
        for name, index in ids.items()
        if 0 <= index < len(proto.pieces)  # -1 where there is none
    }
