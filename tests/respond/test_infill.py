"""Prompts for filling in are token for token what the models' makers published."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import CodeLlamaTokenizer, PreTrainedTokenizerFast

from linnet.generate.tokenization import CheckpointTokenizer
from linnet.respond import ConversationError, EngineResponder
from linnet.respond.infill import find_infill
from linnet.tokenizer import load

BEFORE, AFTER = "def add(a, b):\n    return ", "\n\n\nprint(add(1, 2))  # <fim_middle> é\n"


def engine_of(directory: Path) -> Any:
    tokenization = CheckpointTokenizer(load(directory))
    return SimpleNamespace(tokenization=tokenization, tokenize=tokenization.encode, context=4000)


def byte_level(directory: Path, specials: Sequence[str], *, bos: str | None = None) -> Any:
    """A vocabulary of bytes and these special tokens; what transformers makes of it."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(
        models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[])
    )
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    names = ["<|endoftext|>", *([bos] if bos else ()), *specials]
    backend.add_special_tokens([AddedToken(n, normalized=False) for n in dict.fromkeys(names)])
    if bos:
        backend.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, backend.token_to_id(bos))]
        )
    reference = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|endoftext|>", bos_token=bos
    )
    reference.save_pretrained(directory)
    return reference


# As the model cards write them.
PUBLISHED = {
    "Qwen2.5-Coder": ("<|fim_prefix|>{p}<|fim_suffix|>{s}<|fim_middle|>", None,
                      ("<|fim_pad|>", "<|repo_name|>", "<|file_sep|>")),
    "CodeGemma": ("<|fim_prefix|>{p}<|fim_suffix|>{s}<|fim_middle|>", "<bos>",
                  ("<|file_separator|>",)),
    "StarCoder2": ("<fim_prefix>{p}<fim_suffix>{s}<fim_middle>", None,
                   ("<fim_pad>", "<repo_name>", "<file_sep>")),
    "SantaCoder": ("<fim-prefix>{p}<fim-suffix>{s}<fim-middle>", None, ("<fim-pad>",)),
    "DeepSeek-Coder": ("<｜fim▁begin｜>{p}<｜fim▁hole｜>{s}<｜fim▁end｜>",
                       "<｜begin▁of▁sentence｜>", ("<|EOT|>",)),
    "Codestral": ("[SUFFIX]{s}[PREFIX]{p}", "<s>", ()),
}  # fmt: skip


@pytest.mark.parametrize("family", PUBLISHED)
def test_the_published_format(family: str, tmp_path: Path) -> None:
    published, bos, more = PUBLISHED[family]
    marks = [
        part for part in published.replace("{p}", "\0").replace("{s}", "\0").split("\0") if part
    ]
    reference = byte_level(tmp_path, [*marks, *more], bos=bos)
    infill = find_infill(engine_of(tmp_path))
    assert infill is not None
    # The text itself holds the name of a special token, which it does not become.
    pieces = {"p": "\1", "s": "\2"}
    expected: list[int] = []
    for token in reference(published.format(**pieces)).input_ids:
        text = {"\1": BEFORE, "\2": AFTER}.get(reference.decode([token]))
        expected += [token] if text is None else bytes_of(reference, text)
    assert list(infill.prompt(BEFORE, AFTER)) == expected
    ends = [name for name in more if name != "<fim-pad>"]
    assert set(reference.convert_tokens_to_ids(ends)) <= set(infill.ends)


def bytes_of(reference: Any, text: str) -> list[int]:
    backend = Tokenizer.from_str(reference.backend_tokenizer.to_str())
    backend.encode_special_tokens = True
    found: list[int] = backend.encode(text, add_special_tokens=False).ids
    return found


def test_code_llama(tmp_path: Path) -> None:
    """A space is put before what comes first, as Meta's own code has it, and none before what
    follows, as transformers' does."""
    words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁"]
    letters = sorted(set("defreturnprintabcx(): ,12+") - {" "})
    vocabulary = {word: i for i, word in enumerate([*words, *letters, "▁a", "▁d", "de"])}
    vocabulary |= {
        n: len(vocabulary) + i for i, n in enumerate(("▁<PRE>", "▁<MID>", "▁<SUF>", "▁<EOT>"))
    }
    reference = CodeLlamaTokenizer(vocab=vocabulary, merges=[("▁", "a"), ("▁", "d"), ("d", "e")])
    reference.save_pretrained(tmp_path)
    before, after = "def a(x):", " a + b\n"
    ordinary = reference(before).input_ids
    marks = reference.convert_tokens_to_ids(["▁<PRE>", "▁<SUF>", "▁<MID>"])
    filled = reference(f"{before}<FILL_ME>{after}").input_ids
    theirs = filled[filled.index(marks[1]) :]
    infill = find_infill(engine_of(tmp_path))
    assert infill is not None
    found = list(infill.prompt(before, after))
    assert found == [ordinary[0], marks[0], *ordinary[1:], *theirs]
    assert infill.ends == (reference.convert_tokens_to_ids("▁<EOT>"),)


def test_files_of_a_repository(tmp_path: Path) -> None:
    """As Qwen2.5-Coder's card has it; a vocabulary without such tokens shows the texts alone."""
    reference = byte_level(
        tmp_path, ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|repo_name|>",
                   "<|file_sep|>"],
    )  # fmt: skip
    infill = find_infill(engine_of(tmp_path))
    assert infill is not None
    published = (
        "<|repo_name|>birds\n<|file_sep|>a.py\nA = 1\n<|file_sep|>b.py\n"
        "<|fim_prefix|>p<|fim_suffix|>s<|fim_middle|>"
    )
    found = infill.prompt("p", "s", repository="birds", files=[("a.py", "A = 1\n"), ("b.py", "")])
    assert list(found) == reference(published).input_ids


def test_no_tokens_for_it(tmp_path: Path) -> None:
    byte_level(tmp_path, ["<fim_prefix>", "<fim_suffix>"])  # no middle
    engine = engine_of(tmp_path)
    assert find_infill(engine) is None
    with pytest.raises(ConversationError, match="'suffix' needs a model that fills in") as raised:
        EngineResponder(engine, name="tiny").require_infill("suffix")
    assert raised.value.part == "suffix"


def test_what_is_unknown_is_no_token() -> None:
    """In a vocabulary of words all names are the same unknown one."""
    engine: Any = SimpleNamespace(
        tokenize=lambda text, special=False: [0], tokenization=SimpleNamespace(start=())
    )
    assert find_infill(engine) is None
