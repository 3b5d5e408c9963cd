"""Opens tokenizers, and adopts those from elsewhere: a file, a directory or a name on the hub.

Read are, in this order of preference: ``tokenizer.json``; GPT-2's ``vocab.json``
with ``merges.txt``; a SentencePiece model (``*.model``); BERT's ``vocab.txt``. What is written is
the same as for a tokenizer that was trained here.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from linnet import artifact, hub
from linnet.config import read_json, show
from linnet.errors import ModelError
from linnet.progress import SILENT, Progress
from linnet.tokenizer.chat import inline_templates, read_templates
from linnet.tokenizer.definition import (
    CONFIG_FILE,
    LARGEST,
    LARGEST_ID,
    QWEN2_PATTERN,
    TOKENIZER_FILE,
    faults_named,
    read_backend,
    read_settings,
)
from linnet.tokenizer.sentencepiece import read_sentencepiece
from linnet.tokenizer.settings import (
    BERT_CLASSES,
    GPT2_CLASSES,
    QWEN,
    SENTENCEPIECE_CLASSES,
    USED_SETTINGS,
    add_tokens,
    class_of,
    put_around,
    with_settings,
)
from linnet.tokenizer.special_tokens import MASK, mask_token
from linnet.tokenizer.tokenizer import Tokenizer
from linnet.tokenizer.training import END_OF_TEXT, FORMAT, KIND

if TYPE_CHECKING:
    from linnet.artifact import Artifact, Draft

VOCABULARY_FILE, MERGES_FILE = "vocab.json", "merges.txt"
WORDS_FILE = "vocab.txt"
SPECIAL_TOKENS_FILE = "special_tokens_map.json"

_SPECIAL_SETTINGS = (
    "bos_token",
    "eos_token",
    "pad_token",
    "unk_token",
    "cls_token",
    "sep_token",
    "mask_token",
)
# What carries over from the old tokenizer_config.json. The rest names Python
# classes that are not used here, or repeats what tokenizer.json says.
_KEPT_SETTINGS = (
    *_SPECIAL_SETTINGS,
    "chat_template",
    "model_max_length",
    "add_prefix_space",
    "do_lower_case",
    "strip_accents",
    "tokenize_chinese_chars",
    "additional_special_tokens",
)


def adopt(source: str, out: Path, *, progress: Progress = SILENT) -> Artifact:
    """Write the tokenizer at ``source`` as a tokenizer directory.

    ``source``: a directory, one of the files named above, or a hub name such as ``gpt2``
    (the only case that uses the network). Raises ModelError when there is no
    tokenizer there, or one that cannot be read.
    """
    with progress.task(f"adopting {source}"):
        place = Path(source) if Path(source).exists() else _fetch(source)
        files = _find(place)
        tokenizer = _read(files)
    inputs = {file.name: artifact.hash_file(file) for file in files}

    def write(draft: Draft) -> None:
        tokenizer.save(draft.path)
        draft.stats.update(kind="adopted", source=source, vocab_size=tokenizer.vocab_size)

    return artifact.make(
        out, write, kind=KIND, format=FORMAT, config={}, inputs=inputs, reuse=False
    )


def load(path: Path | str) -> Tokenizer:
    """Open the tokenizer in a directory (a tokenizer's, a model's, or within shards).

    Raises ModelError when there is none or it cannot be read.
    """
    path = artifact.within(path, "tokenizer")
    file = path / TOKENIZER_FILE
    if not file.is_file():
        return read_directory(path)  # older checkpoints have the files of the Python classes only
    config_file = path / CONFIG_FILE
    config = read_settings(config_file) if config_file.is_file() else {}
    templates = read_templates(path, config)
    if templates:
        config["chat_template"] = inline_templates(templates)
    tokenizer = Tokenizer(with_settings(read_backend(file), path, config), config)
    tokenizer.origin = str(config_file)
    return tokenizer


def load_with_mask(path: Path) -> tuple[Tokenizer, int]:
    """The tokenizer in a directory with a mask token, and that token's id.

    Where there was none it comes last, so that every text keeps its ids. Raises
    ModelError as :func:`linnet.tokenizer.load` does.
    """
    tokenizer = load(path)
    known = mask_token(tokenizer)
    if known is not None:
        return tokenizer, known
    backend = read_backend(path / TOKENIZER_FILE)
    backend.add_special_tokens([tokenizers.AddedToken(MASK, special=True, normalized=False)])
    added = Tokenizer(backend, {**tokenizer.config, "mask_token": MASK})
    return added, added.vocab_size - 1


def read_directory(place: Path) -> Tokenizer:
    """The tokenizer in a directory or file, without writing it. Raises ModelError as adopt."""
    return _read(_find(place))


def _find(place: Path) -> list[Path]:
    """The file or files that hold the vocabulary."""
    directory = place if place.is_dir() else place.parent
    gpt2 = [directory / VOCABULARY_FILE, directory / MERGES_FILE]
    if place.is_file() and place not in gpt2:
        return [place]
    if place.is_dir() and (directory / TOKENIZER_FILE).is_file():
        return [directory / TOKENIZER_FILE]
    if all(file.is_file() for file in gpt2):
        return gpt2
    pieces = sorted(directory.glob("*.model"))
    if len(pieces) == 1:
        return pieces
    if (directory / WORDS_FILE).is_file():
        return [directory / WORDS_FILE]
    raise ModelError(
        f"{place}: expected {TOKENIZER_FILE}, {VOCABULARY_FILE} with {MERGES_FILE}, one "
        f"SentencePiece .model or {WORDS_FILE}, but it has none of them"
    )


def _read(files: list[Path]) -> Tokenizer:
    file = files[0]
    settings = _read_settings(file.parent)
    used = {key: settings.pop(key, None) for key in USED_SETTINGS}
    if len(files) == 2:
        kind = class_of(files, used, GPT2_CLASSES)
        spaced = bool(settings.get("add_prefix_space"))
        backend = _read_gpt2(files[0], files[1], kind, spaced=spaced)
        if END_OF_TEXT in backend.get_vocab():
            usual = ("eos_token",) if kind == QWEN else ("bos_token", "eos_token")
            settings = {**dict.fromkeys(usual, END_OF_TEXT), **settings}
    elif file.suffix == ".model":
        kind = class_of(files, used, SENTENCEPIECE_CLASSES)
        first = None if kind == "GemmaTokenizer" else settings.get("add_prefix_space")
        backend, own = read_sentencepiece(file, spaced=first, once=used["legacy"] is False)
        settings = {**own, **settings}
    elif file.suffix == ".json":
        backend = read_backend(file)
    elif file.name == WORDS_FILE:
        class_of(files, used, BERT_CLASSES)
        backend, own = _read_bert(file, settings)
        settings = {**own, **settings}
    else:
        raise ModelError(f"{file}: expected a .json or .model file; give one, or its directory")
    if file.suffix != ".json" or len(files) == 2:
        add_tokens(backend, file.parent, used["added_tokens_decoder"])
        if used["add_bos_token"] or used["add_eos_token"]:
            put_around(backend, settings, used)
    # Some files leave it to a Python class to say that these are special.
    named = {settings.get(key) for key in _SPECIAL_SETTINGS} | {END_OF_TEXT}
    vocabulary = backend.get_vocab()
    backend.add_special_tokens(sorted(name for name in named if name in vocabulary))
    tokenizer = Tokenizer(backend, settings)
    end = tokenizer.token_name(tokenizer.end_of_text)
    tokenizer.config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **settings,
        "eos_token": end,
        "clean_up_tokenization_spaces": False,
    }
    return tokenizer


def _read_gpt2(vocabulary: Path, merges: Path, kind: str, *, spaced: bool) -> tokenizers.Tokenizer:
    try:
        for file in (vocabulary, merges):
            if file.stat().st_size > LARGEST:
                raise ValueError(f"{file.name} has more than {LARGEST:,} bytes")
        ids = read_json(vocabulary)
        if not ids or not all(
            type(token) is int and 0 <= token < LARGEST_ID for token in ids.values()
        ):
            raise ValueError("it lists no tokens with their ids")
        with faults_named(vocabulary):
            model = models.BPE.from_file(str(vocabulary), str(merges))
    except (OSError, ValueError, AttributeError, ModelError) as error:
        raise ModelError(
            f"{vocabulary}: expected GPT-2's vocabulary and merges, "
            f"but they cannot be read: {error}"
        ) from None
    backend = tokenizers.Tokenizer(model)
    if kind == QWEN:
        backend.normalizer = normalizers.NFC()
        words = tokenizers.Regex(QWEN2_PATTERN)
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(words, behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=spaced, use_regex=False),
            ]
        )
    else:
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=spaced)
    backend.decoder = decoders.ByteLevel()
    return backend


def _read_bert(file: Path, settings: dict[str, Any]) -> tuple[tokenizers.Tokenizer, dict[str, Any]]:
    """BERT's WordPiece, as ``BertTokenizer`` reads it (Devlin et al., 2019)."""
    names = {"unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"}
    own = {f"{key}_token": settings.get(f"{key}_token", name) for key, name in names.items()}
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{file}: expected BERT's vocabulary in UTF-8 ({error})") from None
    lines = lines[:-1] if lines[-1] == "" else lines
    vocabulary = {line.removesuffix("\r"): place for place, line in enumerate(lines)}
    missing = [own[key] for key in ("unk_token", "sep_token", "cls_token")]
    missing = [name for name in missing if name not in vocabulary]
    if missing:
        raise ModelError(f"{file}: expected BERT's vocabulary, but it has no {missing[0]}")
    backend = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token=own["unk_token"]))
    backend.normalizer = normalizers.BertNormalizer(
        lowercase=settings.get("do_lower_case", True),
        strip_accents=settings.get("strip_accents"),
        handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    start, end = own["cls_token"], own["sep_token"]
    backend.post_processor = processors.TemplateProcessing(
        single=f"{start}:0 $A:0 {end}:0",
        pair=f"{start}:0 $A:0 {end}:0 $B:1 {end}:1",
        special_tokens=[(start, vocabulary[start]), (end, vocabulary[end])],
    )
    return backend, own


def _read_settings(directory: Path) -> dict[str, Any]:
    """What the files beside the vocabulary say about it: special tokens and chat template."""
    found: dict[str, Any] = {}
    for name in (SPECIAL_TOKENS_FILE, CONFIG_FILE):
        file = directory / name
        if not file.is_file():
            continue
        raw = read_settings(file)
        kept = (*_KEPT_SETTINGS, *USED_SETTINGS)
        found.update({key: raw[key] for key in kept if raw.get(key) is not None})
    for key in _SPECIAL_SETTINGS:
        if isinstance(found.get(key), dict):
            found[key] = found[key].get("content")
        if not isinstance(found.get(key, ""), str):
            raise ModelError(
                f"{directory / CONFIG_FILE}: {key} must be text. Got {show(found[key])}"
            )
    templates = read_templates(directory, found)
    if templates:
        found["chat_template"] = inline_templates(templates)
    return found


def _fetch(name: str) -> Path:
    """Download the tokenizer's files from the hub; returns the directory with them."""
    bare = "/" not in name and not name.startswith(hub.PREFIX)
    is_file = Path(name).suffix in (".json", ".model", ".txt")
    named = None if is_file else hub.parse(hub.PREFIX + name if bare else name)
    if named is None:
        raise ModelError(
            f"{name}: expected a tokenizer file, its directory or a name on the Hugging Face hub, "
            "but there is no such file"
        )
    return hub.locate(hub.PREFIX + str(named), patterns=hub.TOKENIZER_FILES)
