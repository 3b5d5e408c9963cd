"""``tokenizer.json`` as strangers write it: what one may ask for, judged before it is used.

The ``tokenizers`` library does what a file says: replacements that make a thousand characters of
one, in a row, take all memory and abort the process; an expression that backtracks panics, or
takes for ever; a table of characters that is not one panics while it is read. So

* a definition is bounded here: its vocabulary, and how much longer it may make a text;
* one with expressions or tables that are not among the published ones is first used in a process
  that can be ended (:mod:`linnet.tokenizer.confined`), on texts made for it;
* what the library raises later, panics included, becomes a ModelError (:func:`faults_named`).
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linnet.config import parse_json, read_json, show
from linnet.errors import ModelError
from linnet.tokenizer import confined

if TYPE_CHECKING:
    import tokenizers

TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"

LARGEST = 1 << 28  # bytes; the largest published ones have 40 MB
LARGEST_ID = 1 << 24
MOST_STEPS = 64  # of a normalizer, pre-tokenizer, post-processor or decoder
LONGEST_INSERTION = 1_000  # characters that one step may put in
MOST_GROWTH = 1_000  # characters that may be made of one, all steps together
TRUSTED_GROWTH = 16  # up to which nothing has to be tried
SECONDS = 10.0  # for reading and trying one
MEMORY = 1 << 30

# Published expressions, which cut any text in time that grows with its length.
GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"  # English contractions
    r"|[^\r\n\p{L}\p{N}]?\p{L}+"  # a word with the space (or other sign) before it
    r"|\p{N}"  # one digit
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*"  # signs
    r"|\s*[\r\n]+"  # line ends with the space before them
    r"|\s+(?!\S)"  # spaces, but leave the last for the word after it
    r"|\s+"
)
LLAMA3_PATTERN = QWEN2_PATTERN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
QWEN35_PATTERN = QWEN2_PATTERN.replace(r"?\p{L}+", r"?[\p{L}\p{M}]+").replace(
    r"[^\s\p{L}\p{N}]+", r"[^\s\p{L}\p{M}\p{N}]+"
)
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED = r"[^\r\n\p{L}\p{N}]?" + _UPPER
_SIGNS = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_ENDING = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
TEKKEN_PATTERN = rf"{_CASED}*{_LOWER}+|{_CASED}+{_LOWER}*|\p{{N}}|{_SIGNS}"
GPT4O_PATTERN = rf"{_CASED}*{_LOWER}+{_ENDING}|{_CASED}+{_LOWER}*{_ENDING}|\p{{N}}{{1,3}}|{_SIGNS}"
PUBLISHED = frozenset(
    (
        *(GPT2_PATTERN, QWEN2_PATTERN, LLAMA3_PATTERN, QWEN35_PATTERN),
        *(TEKKEN_PATTERN, GPT4O_PATTERN),
        *(r"[\s\S]", r" {2,}", r"\s+", r"\p{N}{1,3}", r"\p{N}", r"\w+|[^\w\s]+"),
    )
)
# The tables that sentencepiece has: nfkc, nmt_nfkc, and both with case folding.
_CHARACTER_TABLES = frozenset(
    (
        "7e46d9e08af4b6a37991b04fb8388644c1595a0abcd0f26d6a5d575e2a3663ea",
        "1e2c7b43d3ee9755ceaa2ac335e253d8703604e0249ee1e81156c92b46423844",
        "d8dfef3d6db0eef0742f8b55a73aee7fce6c1e21d26a09b8d3d4b52c42a791cb",
        "2c03512e62f9ed965ec90d85314211b63b5b8aa0395311ea2147eec9ff738907",
    )
)
_STEPS = {
    "normalizer": "normalizers",
    "pre_tokenizer": "pretokenizers",
    "post_processor": "processors",
    "decoder": "decoders",
}
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_tried: set[str] = set()  # hashes of definitions that were tried and found sound


@contextmanager
def faults_named(origin: object) -> Iterator[None]:
    """Inside, what the ``tokenizers`` library raises becomes a ModelError that names ``origin``.

    Its own errors are plain Exceptions; its panics derive from BaseException.
    """
    try:
        yield
    except BaseException as error:
        if type(error) is not Exception and type(error).__name__ != "PanicException":
            raise
        raise ModelError(f"{origin}: the tokenizer fails ({_line(error)})") from None


def read_definition(file: Path) -> str:
    """The text of a ``tokenizer.json``, found sound. Raises ModelError."""
    try:
        if not file.is_file() or file.stat().st_size > LARGEST:
            raise ValueError(f"it is no file of at most {LARGEST:,} bytes")
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise _unread(file, error) from None
    check_definition(text, file)
    return text


def check_definition(text: str, origin: object) -> None:
    """Raise ModelError for a definition that must not be used."""
    try:
        raw = parse_json(text)
        if not isinstance(raw, dict) or not isinstance(raw.get("model"), dict):
            raise ValueError("it has no model")
        _check_vocabulary(raw["model"], raw.get("added_tokens") or [])
        judged = [_check_steps(_steps(raw, name)) for name in _STEPS]  # each may raise
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise _unread(origin, error) from None
    if not all(judged):
        try_definition(text, _texts_for(raw), origin)


def try_definition(text: str, texts: list[str], origin: object) -> None:
    """Read a definition and encode ``texts``, where that can be ended. Raises ModelError."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    if digest in _tried:
        return
    try:
        outcome, reason = confined.call(__name__, (text, texts), seconds=SECONDS, memory=MEMORY)
    except confined.EndedError as error:
        outcome, reason = "ended", str(error)
    if outcome != "done":
        raise ModelError(f"{origin}: the tokenizer cannot be used: {reason}")
    _tried.add(digest)


def answer(request: Any, seconds: float) -> list[str]:
    """For :mod:`linnet.tokenizer.confined`: use a definition once."""
    import tokenizers

    text, texts = request
    try:
        backend = tokenizers.Tokenizer.from_str(text)
        backend.no_truncation()
        backend.no_padding()
        for sample in texts:
            encoded = backend.encode(sample, add_special_tokens=False)
            if len(encoded.ids) > MOST_GROWTH * (len(sample) + 1):
                return ["grown", f"it makes {len(encoded.ids):,} tokens of {len(sample):,} letters"]
            backend.decode(encoded.ids[:10_000])
    except Exception as error:
        return ["failed", _line(error)]
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        return ["failed", _line(error)]
    return ["done", ""]


def _check_vocabulary(model: dict[str, Any], added: list[dict[str, Any]]) -> None:
    """Some tokens, none of them beyond what a model can have, and one for what is unknown."""
    vocabulary = model["vocab"]
    if isinstance(vocabulary, list):
        pieces = {piece for piece, _ in vocabulary}
    else:
        pieces = set(vocabulary)
        _check_ids(vocabulary.values())
    if not pieces:
        raise ValueError("its vocabulary is empty")
    _check_ids(entry["id"] for entry in added)
    unknown = model.get("unk_token")
    if model.get("type") in ("WordPiece", "WordLevel") and unknown not in pieces:
        raise ValueError(f"its token for unknown words, {show(unknown)}, is not in its vocabulary")


def _check_ids(ids: Any) -> None:
    for token in ids:
        if not isinstance(token, int) or not 0 <= token < LARGEST_ID:
            raise ValueError(f"tokens have ids from 0 to {LARGEST_ID - 1:,}. Got {show(token)}")


def _steps(raw: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The steps of a part of the tokenizer, those of sequences in sequences included."""
    found: list[dict[str, Any]] = []
    waiting = [raw.get(name)]
    while waiting:
        step = waiting.pop(0)
        if step is None:
            continue
        inner = step.get(_STEPS[name])
        if inner is None:
            found.append(step)
        else:
            waiting[:0] = inner
        if len(found) + len(waiting) > MOST_STEPS:
            raise ValueError(f"its {name} has more than {MOST_STEPS} steps")
    return found


def _check_steps(steps: list[dict[str, Any]]) -> bool:
    """Whether all that they do is known. Raises ValueError for too much."""
    is_plain, growth = True, 1.0
    for step in steps:
        pattern = step.get("pattern")
        for key in ("content", "prepend", "prefix", "replacement", "suffix"):
            if len(inserted := step.get(key) or "") > LONGEST_INSERTION:
                raise ValueError(f"a step puts in {len(inserted):,} characters")
        for key in ("single", "pair", "special_tokens"):
            if len(step.get(key) or ()) > LONGEST_INSERTION:
                raise ValueError(f"its {key} has too many parts")
        if isinstance(pattern, dict) and "Regex" in pattern:
            is_plain &= pattern["Regex"] in PUBLISHED
        if step.get("type") == "Replace":
            replaced = pattern.get("String") if isinstance(pattern, dict) else None
            growth *= max(1.0, len(step.get("content") or "") / max(1, len(replaced or "")))
            is_plain &= replaced != ""
        elif step.get("type") == "Precompiled":
            is_plain &= is_known_table(base64.b64decode(step["precompiled_charsmap"]))
    if growth > MOST_GROWTH:
        raise ValueError(f"it makes up to {growth:,.0f} characters of one")
    return is_plain and growth <= TRUSTED_GROWTH


def is_known_table(table: bytes) -> bool:
    """Whether this table of characters is one of sentencepiece's own."""
    return hashlib.sha256(table).hexdigest() in _CHARACTER_TABLES


def _texts_for(raw: dict[str, Any]) -> list[str]:
    """Texts in which the steps find what they look for, over and over: what they are slow on."""
    parts = json.dumps([raw.get(name) for name in _STEPS], ensure_ascii=False)[:100_000]
    letters = sorted(set(parts[:20_000]))[:200]
    chance = random.Random(0)
    mixed = "".join(chance.choices(letters, k=4_000))
    runs = "".join(letter * 60 + "!" for letter in letters)
    few = [chance.sample(letters, min(2, len(letters))) for _ in range(20)]
    pairs = "".join("".join(chance.choices(two, k=60)) + "!" for two in few)
    # What an expression looks for may be slow to miss where much of it stands.
    long = [f"{letter * 2_000}!" for letter in sorted(set(parts) & _LETTERS)[:40]]
    text = "The quick brown fox, 1234567890 times; déjà\r\n\t 你好 مرحبا 🙂 e\u0301 \ufb03 \u3000"
    return ["", *letters, text * 20, mixed, runs, pairs, *long, " " * 4_000, "\n" * 4_000]


def _unread(origin: object, error: Exception) -> ModelError:
    return ModelError(
        f"{origin}: expected a tokenizer of the 'tokenizers' library, "
        f"but it cannot be read: {_line(error)}"
    )


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def read_backend(file: Path) -> tokenizers.Tokenizer:
    """Read a ``tokenizer.json``. Raises ModelError when it is none."""
    import tokenizers

    text = read_definition(file)
    with faults_named(file):
        return tokenizers.Tokenizer.from_str(text)


def read_settings(file: Path) -> dict[str, Any]:
    """Read a JSON file with settings. Raises ModelError when it holds something else."""
    try:
        settings = read_json(file, limit=LARGEST)
    except ValueError as error:
        raise ModelError(f"{file}: expected JSON, but it is damaged ({error})") from None
    if not isinstance(settings, dict):
        raise ModelError(f"{file}: expected a JSON object. Got {type(settings).__name__}")
    return settings
