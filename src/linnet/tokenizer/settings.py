"""What ``tokenizer_config.json`` says beside a vocabulary that changes the ids of a text.

Where there is a ``tokenizer.json`` it says nearly all itself, and wins, as in transformers; of the
settings these count all the same: tokens with ids that it does not have, and what a Python
class is told of spaces and case. Where there is none, the class decides how text is cut, and the
settings what stands around it. A class or value that is not known is refused by name.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tokenizers
from tokenizers import processors

from linnet.errors import ModelError
from linnet.tokenizer.definition import CONFIG_FILE, TOKENIZER_FILE, read_settings
from linnet.tokenizer.token_bytes import without_prefix_space

if TYPE_CHECKING:
    from collections.abc import Mapping

USED_SETTINGS = (
    "tokenizer_class",
    "add_bos_token",
    "add_eos_token",
    "added_tokens_decoder",
    "legacy",
    "do_basic_tokenize",
)
"""What is used up in reading files other than ``tokenizer.json``."""

_ANY_CLASS = ("", "PreTrainedTokenizer", "TokenizersBackend")
"""Those of the tokenizers library, which cut text by what ``tokenizer.json`` says."""
QWEN = "Qwen2Tokenizer"
GPT2_CLASSES = ("GPT2Tokenizer", "CodeGenTokenizer", QWEN)
SENTENCEPIECE_CLASSES = ("LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer")
BERT_CLASSES = (
    "BertTokenizer",
    "DistilBertTokenizer",
    "ElectraTokenizer",
    "MobileBertTokenizer",
    "ConvBertTokenizer",
)
"""Classes whose way to cut text is known, by the files that they read; the first is the usual."""
_SPACED_CLASSES = (*GPT2_CLASSES, "RobertaTokenizer", "BartTokenizer", *SENTENCEPIECE_CLASSES[:2])
_CASE = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}


def with_settings(
    backend: tokenizers.Tokenizer, directory: Path, config: Mapping[str, Any]
) -> tokenizers.Tokenizer:
    """A tokenizer from ``tokenizer.json`` as the settings beside it have it.

    Raises ModelError for settings that cannot be followed.
    """
    named = str(config.get("tokenizer_class") or "").removesuffix("Fast")
    spaced = config.get("add_prefix_space") if named in _SPACED_CLASSES else None
    case = {_CASE[key]: config[key] for key in _CASE if key in config}
    if spaced is not None or (case and named in BERT_CLASSES):
        raw = json.loads(backend.to_str())
        if spaced is not None:
            _put_space_first(raw, directory, wanted=bool(spaced))
        elif (raw.get("normalizer") or {}).get("type") == "BertNormalizer":
            raw["normalizer"].update(case)
        backend = tokenizers.Tokenizer.from_str(json.dumps(raw))
    decoder = config.get("added_tokens_decoder")
    if isinstance(decoder, dict):
        missing = {
            token: entry
            for token, entry in decoder.items()
            if isinstance(entry, dict) and backend.token_to_id(str(entry.get("content"))) is None
        }
        if missing:
            add_tokens(backend, directory, missing)
    return backend


def class_of(files: list[Path], used: Mapping[str, Any], known: tuple[str, ...]) -> str:
    """The Python class that these files are for; the first known where none is said.

    Raises ModelError for one that cuts text, or counts ids, in a way of its own.
    """
    directory = files[0].parent
    config = directory / "config.json"
    model = read_settings(config) if config.is_file() else {}
    named = str(used["tokenizer_class"] or model.get("tokenizer_class") or "")
    found = named.removesuffix("Fast")
    if found in _ANY_CLASS:
        is_qwen = QWEN in known and str(model.get("model_type", "")).startswith("qwen")
        return QWEN if is_qwen else known[0]
    if found not in known:
        raise ModelError(
            f"{directory}: {' and '.join(file.name for file in files)} of a {named} cannot be "
            f"read (known: {', '.join(known)}); add the {TOKENIZER_FILE} that transformers writes "
            "with save_pretrained"
        )
    if used["do_basic_tokenize"] is False:
        raise ModelError(f"{directory / CONFIG_FILE}: do_basic_tokenize must be true. Got False")
    return found


def add_tokens(backend: tokenizers.Tokenizer, directory: Path, decoder: Any) -> None:
    """Add the tokens that stand beside the vocabulary, as ``added_tokens_decoder`` has them.

    Older directories name them in ``added_tokens.json``. Raises ModelError for ids that the
    vocabulary cannot give them.
    """
    file = directory / CONFIG_FILE
    older = directory / "added_tokens.json"
    if not decoder and older.is_file():
        file, names = older, read_settings(older)
        decoder = {str(token): {"content": name} for name, token in names.items()}
    try:
        entries = sorted((int(token), dict(entry)) for token, entry in (decoder or {}).items())
        tokens = [(token, _added(entry)) for token, entry in entries]
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise ModelError(
            f"{file}: the added tokens cannot be read ({type(error).__name__}: {error})"
        ) from None
    for token, added in tokens:
        (backend.add_special_tokens if added.special else backend.add_tokens)([added])
        found = backend.token_to_id(added.content)
        if found != token:
            raise ModelError(
                f"{file}: the added token '{added.content}' is said to be {token}, but the "
                f"vocabulary beside it makes it {found}"
            )


def put_around(
    backend: tokenizers.Tokenizer, settings: Mapping[str, Any], used: Mapping[str, Any]
) -> None:
    """Begin every text with the token that begins texts, end it with the one that ends them."""
    before = settings.get("bos_token") if used["add_bos_token"] else None
    after = settings.get("eos_token") if used["add_eos_token"] else None
    ids = {name: backend.token_to_id(name) for name in (before, after) if name is not None}
    missing = [name for name, token in ids.items() if token is None]
    if missing:
        raise ModelError(
            f"add_bos_token or add_eos_token puts '{missing[0]}' around texts, which the "
            "vocabulary does not have"
        )
    if not ids:
        return
    first = [f"{before}:0"] if before else []
    last = [f"{after}:0"] if after else []
    single = [*first, "$A:0", *last]
    pair = [part.replace(":0", ":1") for part in [*first, "$B:0", *last]]
    backend.post_processor = processors.TemplateProcessing(
        single=single, pair=[*single, *pair], special_tokens=list(ids.items())
    )


def _added(entry: Mapping[str, Any]) -> tokenizers.AddedToken:
    flags = {key: bool(entry.get(key, False)) for key in ("lstrip", "rstrip", "single_word")}
    return tokenizers.AddedToken(
        str(entry["content"]),
        normalized=bool(entry.get("normalized", False)),
        special=bool(entry.get("special", True)),
        **flags,
    )


def _put_space_first(raw: dict[str, Any], directory: Path, *, wanted: bool) -> None:
    """Change the parts of a tokenizer so that a space is put before a text, or none is."""
    parts = {name: raw.get(name) for name in ("normalizer", "pre_tokenizer")}
    without = {name: without_prefix_space(part) for name, part in parts.items()}
    if not wanted:
        raw.update(without)
        steps = (raw.get("decoder") or {}).get("decoders")
        if steps:
            raw["decoder"]["decoders"] = [step for step in steps if step["type"] != "Strip"]
        return
    if without != parts:
        return
    steps = (raw.get("pre_tokenizer") or {}).get("pretokenizers", [raw.get("pre_tokenizer")])
    spaced = [step for step in steps if step and step["type"] == "ByteLevel"]
    if not spaced:
        raise ModelError(
            f"{directory}: add_prefix_space is true, but tokenizer.json puts no space before a "
            "text; correct one of them"
        )
    spaced[0]["add_prefix_space"] = True
