"""A tokenizer as llama.cpp wants it told: tokens with types and scores or merges, and a tag.

llama.cpp does not run the regular expressions in a ``tokenizer.json``. It knows a list of
pre-tokenizers by tag, each compiled into it. The tag is found here by what the
file says, never guessed: a tokenizer that llama.cpp would run in another way is
an error, as a model given the wrong tokens answers with plausible nonsense.

Three kinds are written: byte-level BPE (``gpt2``), SentencePiece BPE (``llama``) and
WordPiece (``bert``).

Known differences that remain in llama.cpp: it does not compose Unicode (NFC) as the
tokenizers of Qwen do; for ``tekken`` and ``gpt-4o`` it tells upper from lower case in ASCII
only; and where BERT's tokenizer strips accents, it keeps the marks of scripts such
as Hangul and Devanagari.

Reference: ``src/llama-vocab.cpp`` in https://github.com/ggml-org/llama.cpp.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from linnet.errors import ModelError
from linnet.gguf.pretokenizers import tag_of
from linnet.tokenizer import Tokenizer
from linnet.tokenizer.token_bytes import SENTENCEPIECE_SPACE

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # as in SentencePiece

COMPOSES = "normalizer.nfc"
"""A key of ours: llama.cpp leaves it out, but a tokenizer that is read back need not."""

_NEVER_SCORE = -1e4
_PHI3 = re.compile(r"(phi)-?(3)", re.IGNORECASE)
_PHI3_WITHOUT_SPACE = frozenset(("<unk>", "<s>", "<|endoftext|>"))
_PHI3_TOKENS = _PHI3_WITHOUT_SPACE | {"</s>"}
IDS = {
    "bos_token": "bos_token_id",
    "eos_token": "eos_token_id",
    "unk_token": "unknown_token_id",
    "sep_token": "seperator_token_id",  # spelt so in the format
    "pad_token": "padding_token_id",
    "mask_token": "mask_token_id",
}


@dataclass
class Vocabulary:
    """What a GGUF file says of a tokenizer."""

    model: str
    pre: str
    tokens: list[str]
    types: list[int]
    scores: list[float] | None = None
    merges: list[str] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    """More keys, without ``tokenizer.ggml.``."""
    templates: dict[str, str] = field(default_factory=dict)
    """Chat templates by name."""
    takes_space: bool = False
    """Whether special tokens take in the white space after them, as Phi-3's do."""

    differences: list[str] = field(default_factory=list)
    """What llama.cpp is known to do otherwise, a sentence for each."""

    def safe_name(self, name: str) -> str:
        """A model's name with which llama.cpp cuts text as it should.

        It knows Phi-3's tokens by the model's name alone, treats those of any model of that
        name so, and crashes where it does not find them.
        """
        if self.takes_space:
            return name if _PHI3.search(name) else f"{name} (Phi-3)"
        return _PHI3.sub(r"\1 \2", name)


def vocabulary(tokenizer: Tokenizer, definition: dict[str, Any], *, size: int) -> Vocabulary:
    """The vocabulary of a model with ``size`` rows in its table of tokens.

    ``definition``: the content of ``tokenizer.json``. Raises ModelError where llama.cpp
    cannot do what the tokenizer does.
    """
    tokens, types = _tokens(definition, size)
    if tokenizer.spelling == "byte-level":
        made = _byte_level(definition, tokens, types)
    elif tokenizer.spelling == "sentencepiece":
        made = _sentencepiece(definition, tokens, types)
    elif tokenizer.spelling == "wordpiece":
        made = _wordpiece(definition, tokens, types)
    else:
        raise ModelError(
            "llama.cpp has byte-level BPE, SentencePiece BPE and WordPiece; "
            f"this tokenizer is another ({definition['model'].get('type')})"
        )
    made.takes_space = _takes_space(definition, set(tokens))
    made.differences = [] if made.takes_space else _taking_space(definition)
    made.settings |= _special_ids(tokenizer) | _begins_and_ends(tokenizer, made)
    return made


def read_definition(tokenizer: Tokenizer) -> dict[str, Any]:
    """The tokenizer as the JSON of the ``tokenizers`` library, whatever files it came in."""
    found: dict[str, Any] = json.loads(tokenizer.to_json())
    return found


def _tokens(definition: dict[str, Any], size: int) -> tuple[list[str], list[int]]:
    """Every row's token and type; rows that no token has are called ``[PAD7]`` and never made."""
    vocabulary: dict[str, int] = definition["model"].get("vocab") or {}
    if not isinstance(vocabulary, dict):
        raise ModelError("a Unigram tokenizer (XLM-R's) is not written for llama.cpp here")
    named = {index: token for token, index in vocabulary.items()}
    types = dict.fromkeys(named, NORMAL)
    for added in definition.get("added_tokens", []):
        named[added["id"]] = added["content"]
        types[added["id"]] = CONTROL if added["special"] else USER_DEFINED
    highest = max(named, default=-1)
    if highest >= size:
        raise ModelError(
            f"the tokenizer has {highest + 1} tokens but the model only {size}; "
            "they do not belong together"
        )
    tokens = [named.get(index, f"[PAD{index}]") for index in range(size)]
    if len(set(tokens)) != size:
        raise ModelError("two tokens of the vocabulary are spelt alike, which llama.cpp refuses")
    return tokens, [types.get(index, UNUSED) for index in range(size)]


def names_phi3(name: str, tokens: set[str]) -> bool:
    """Whether llama.cpp takes a model of this name for Phi-3, whose tokens take in spaces."""
    return bool(_PHI3.search(name)) and tokens >= _PHI3_TOKENS


def takes_space_after(token: str) -> bool:
    """Whether a special token of Phi-3's takes in the white space after it."""
    return token not in _PHI3_WITHOUT_SPACE


def _takes_space(definition: dict[str, Any], tokens: set[str]) -> bool:
    """Whether llama.cpp's rule for Phi-3 is the tokenizer's."""
    return tokens >= _PHI3_TOKENS and all(
        bool(added["rstrip"]) == (added["content"] not in _PHI3_WITHOUT_SPACE)
        for added in definition.get("added_tokens", [])
    )


def _taking_space(definition: dict[str, Any]) -> list[str]:
    """What llama.cpp does otherwise with the white space beside special tokens, in a sentence."""
    names = [
        added["content"]
        for added in definition.get("added_tokens", [])
        if added.get("rstrip") or added.get("lstrip")
    ]
    if not names:
        return []
    return [
        f"the tokenizer takes white space into {', '.join(names[:4])}"
        f"{' and others' if len(names) > 4 else ''}, which llama.cpp does for Phi-3 alone; "
        "chats may be cut otherwise there"
    ]


def _byte_level(definition: dict[str, Any], tokens: list[str], types: list[int]) -> Vocabulary:
    model = definition["model"]
    _require_plain_bpe(model)
    normalizer = definition.get("normalizer")
    if normalizer is not None and _steps(normalizer, "normalizers") != [{"type": "NFC"}]:
        raise ModelError(
            f"the tokenizer normalises text ({normalizer['type']}), which llama.cpp does not do "
            "for byte-level BPE"
        )
    pre = tag_of(definition.get("pre_tokenizer"), ignore_merges=bool(model.get("ignore_merges")))
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    made = Vocabulary("gpt2", pre, tokens, types, merges=merges or [_no_merge(tokens, types)])
    made.settings[COMPOSES] = normalizer is not None
    return made


def _no_merge(tokens: list[str], types: list[int]) -> str:
    """A merge of what never meets, for a vocabulary without any: llama.cpp demands one."""
    for token, kind in zip(tokens, types, strict=True):
        if kind == CONTROL and len(token) > 1 and not any(map(str.isspace, token)):
            return f"{token} {token}"
    raise ModelError("llama.cpp needs a tokenizer with merges, and this one has none")


def _sentencepiece(definition: dict[str, Any], tokens: list[str], types: list[int]) -> Vocabulary:
    """llama.cpp joins the neighbours whose union has the best score, as SentencePiece does."""
    model = definition["model"]
    _require_plain_bpe(model)
    for index, token in enumerate(tokens):
        if len(token) == 6 and token.startswith("<0x") and types[index] != CONTROL:
            types[index] = BYTE
        elif types[index] == USER_DEFINED:
            tokens[index] = token.replace(SENTENCEPIECE_SPACE, " ")
    if types.count(BYTE) != 256 or not model.get("byte_fallback"):
        raise ModelError("llama.cpp needs a SentencePiece vocabulary with byte fallback")
    unknown = model.get("unk_token")
    if unknown in model["vocab"]:
        types[model["vocab"][unknown]] = UNKNOWN
    scores = [0.0 if kind in (CONTROL, BYTE, UNKNOWN) else _NEVER_SCORE for kind in types]
    for token, rank in _ranks(model).items():
        scores[model["vocab"][token]] = -float(rank)
    settings = {"add_space_prefix": _puts_space_first(definition)}
    return Vocabulary("llama", "default", tokens, types, scores=scores, settings=settings)


def _ranks(model: dict[str, Any]) -> dict[str, int]:
    """How early each token is made, from the merges, if those are all there are.

    Runs of spaces have the same score in the vocabularies of Llama, and so their merges mix.
    Raises ModelError where merges do not follow from the tokens they make.
    """
    pairs = [tuple(m.split(" ", 1)) if isinstance(m, str) else tuple(m) for m in model["merges"]]
    ranks: dict[str, int] = {}
    last = ""
    for left, right in pairs:
        made = left + right
        if made.strip(SENTENCEPIECE_SPACE) == "" and last.strip(SENTENCEPIECE_SPACE) == "" != last:
            ranks.setdefault(made, ranks[last])
        elif made != last and made in ranks:
            raise ModelError(
                "the tokenizer's merges are in an order that no scores give, so llama.cpp would "
                f"cut text in another way (see '{made}')"
            )
        ranks.setdefault(made, len(ranks))
        last = made
    vocabulary, known = model["vocab"], set(pairs)
    for token in ranks:
        for middle in range(1, len(token)):
            halves = (token[:middle], token[middle:])
            possible = all(h in vocabulary and (h in ranks or len(h) == 1) for h in halves)
            if possible and halves not in known:
                raise ModelError(
                    f"the tokenizer does not merge '{halves[0]}' and '{halves[1]}' although it "
                    "has their union, which llama.cpp would"
                )
    return ranks


def _puts_space_first(definition: dict[str, Any]) -> bool:
    """Whether a space is put before text. Raises ModelError for any other change to it."""
    first = False
    steps = _steps(definition.get("normalizer"), "normalizers")
    for step in steps:
        replaces = step["type"] == "Replace" and step["content"] == SENTENCEPIECE_SPACE
        if step["type"] == "Prepend" and step["prepend"] == SENTENCEPIECE_SPACE:
            first = True
        elif not (replaces and step["pattern"] == {"String": " "}):
            raise ModelError(
                f"the tokenizer normalises text ({step['type']}), which llama.cpp does not do "
                "for SentencePiece BPE"
            )
    spaced = any(step["type"] == "Replace" for step in steps)
    for step in _steps(definition.get("pre_tokenizer"), "pretokenizers"):
        if step["type"] == "Metaspace" and not step.get("split", True):
            first = first or step.get("prepend_scheme", "always") != "never"
        elif not (step["type"] == "Split" and step["pattern"] == {"String": " "} and spaced):
            raise ModelError(
                f"the tokenizer cuts text into words ({step['type']}), which llama.cpp does not "
                "do for SentencePiece BPE"
            )
    return first


def _wordpiece(definition: dict[str, Any], tokens: list[str], types: list[int]) -> Vocabulary:
    """llama.cpp marks where words begin, where WordPiece marks where they go on."""
    normalizer = definition.get("normalizer") or {}
    pre_tokenizer = definition.get("pre_tokenizer") or {}
    if (normalizer.get("type"), pre_tokenizer.get("type")) != (
        "BertNormalizer",
        "BertPreTokenizer",
    ):
        raise ModelError("llama.cpp reads WordPiece only with BERT's normalizer and pre-tokenizer")
    if definition["model"].get("continuing_subword_prefix") != "##":
        raise ModelError("llama.cpp reads WordPiece only where words go on with '##'")
    if not normalizer.get("handle_chinese_chars", True):
        raise ModelError(
            "llama.cpp always cuts between Chinese characters; this tokenizer does not"
        )
    spelt = [
        token
        if kind in (CONTROL, UNUSED)
        else token[2:] or token
        if token.startswith("##")
        else SENTENCEPIECE_SPACE + token
        for token, kind in zip(tokens, types, strict=True)
    ]
    lower = bool(normalizer.get("lowercase", True))
    stripped = normalizer.get("strip_accents")
    settings = {
        "normalizer.lowercase": lower,
        "normalizer.strip_accents": lower if stripped is None else bool(stripped),
    }
    return Vocabulary("bert", "default", spelt, types, settings=settings)


def _require_plain_bpe(model: dict[str, Any]) -> None:
    if model.get("type") != "BPE":
        raise ModelError(f"expected a BPE tokenizer for llama.cpp. Got {model.get('type')}")
    for setting in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(setting):
            raise ModelError(f"llama.cpp's BPE has no {setting}; this tokenizer uses it")


def _special_ids(tokenizer: Tokenizer) -> dict[str, int]:
    """The ids of the tokens with a role, as far as the tokenizer names them."""
    found: dict[str, int] = {}
    for role, key in IDS.items():
        value = tokenizer.config.get(role)
        name = value.get("content") if isinstance(value, dict) else value
        index = tokenizer.token_id(name) if isinstance(name, str) else None
        if index is not None:
            found[key] = index
    found.setdefault("eos_token_id", tokenizer.end_of_text)
    return found


def _begins_and_ends(tokenizer: Tokenizer, made: Vocabulary) -> dict[str, Any]:
    """Which tokens stand around every text, as the post-processor has it."""
    before, after = tokenizer.start, tokenizer.finish
    if len(before) > 1 or len(after) > 1:
        raise ModelError(
            "llama.cpp puts at most one token before and one after a text; this tokenizer puts "
            f"{len(before)} and {len(after)}"
        )
    settings: dict[str, Any] = {"add_bos_token": bool(before)}
    if before:
        settings["bos_token_id"] = before[0]
    if made.model == "bert":
        settings["add_sep_token"] = bool(after)
        return settings | ({"seperator_token_id": after[0]} if after else {})
    settings["add_eos_token"] = bool(after)
    return settings | ({"eos_token_id": after[0]} if after else {})


def _steps(component: dict[str, Any] | None, nested: str) -> list[dict[str, Any]]:
    if component is None:
        return []
    steps: list[dict[str, Any]] = component.get(nested, [component])
    return steps
