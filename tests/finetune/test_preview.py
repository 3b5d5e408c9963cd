"""The preview: what is trained is marked, and a stranger's text moves no cursor."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from small_tokenizer import CHATML, WORDS, tokenizer

from linnet.finetune import preview
from linnet.finetune.config import ExamplesConfig
from linnet.finetune.examples import Examples, load_examples
from linnet.finetune.preview import Preview, spread


def given(place: Path, rows: list[Any], config: ExamplesConfig) -> Examples:
    file = place / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return load_examples([file], tokenizer(CHATML), config)


def shown(place: Path, rows: list[Any], *, colour: bool = False, **settings: Any) -> str:
    config = ExamplesConfig(**{"context": 200, "held_out": 0.0, **settings})
    stream = io.StringIO()
    console = Console(
        file=stream, soft_wrap=True, width=1000, force_terminal=colour,
        color_system="truecolor" if colour else None,
    )  # fmt: skip
    console.print(Preview(given(place, rows, config), tokenizer(CHATML), config))
    return stream.getvalue()


def test_trained_tokens_are_marked_and_special_ones_named(tmp_path: Path) -> None:
    text = shown(tmp_path, [{"prompt": "What?", "completion": "Paris é 🙂\nby the sea"}])
    assert (
        "<|im_start|>user↵\nWhat?<|im_end|>↵\n<|im_start|>assistant↵\n"
        "⟦Paris é 🙂↵\nby the sea<|im_end|>⟧\n" in text
    )


def test_trained_tokens_are_green_and_others_are_not(tmp_path: Path) -> None:
    text = shown(tmp_path, [{"prompt": "What", "completion": "Paris"}], colour=True)
    assert "⟦" not in text
    pieces = [part.partition("m") for part in text.split("\x1b[")[1:]]
    green = [(piece, code) for code, _, piece in pieces if {"32", "92"} & set(code.split(";"))]
    assert "".join(piece for piece, _ in green) == "Paris<|im_end|>"
    assert [code[0] for piece, code in green if piece == "<|im_end|>"] == ["1"]  # bold
    assert len({code for piece, code in green if piece != "<|im_end|>"}) == 2  # neighbours differ


def test_counts_and_losses_are_told(tmp_path: Path) -> None:
    rows = [
        {"prompt": "a", "completion": WORDS},
        {"text": " "},
        *({"text": f"{n} by the sea"} for n in range(40)),
    ]
    text = shown(tmp_path, rows, context=40, held_out=0.1)
    assert "42 (1 prompt, 41 text)" in text
    assert "to train on, " in text
    assert "are trained" in text
    assert "1 of 42 rows left out: the text is empty" in text
    assert "1 of 42 rows are longer than the context of 40 tokens" in text


@pytest.mark.parametrize("colour", [True, False])
def test_control_characters_are_shown_and_not_obeyed(tmp_path: Path, colour: bool) -> None:
    hostile = "a\x1b[2Jb\x07\x9b\u202ec\ud800\r[bold]d[/bold]\x00\u2066"
    text = shown(tmp_path, [{"prompt": hostile, "completion": hostile}], colour=colour)
    for character in "\x07\x9b\u202e\r\x00\u2066":
        assert character not in text
    assert "\x1b[2J" not in text
    if not colour:
        assert "\x1b" not in text
        assert r"a\x1b[2Jb\x07\x9b\u202ec" in text
        assert r"\r[bold]d[/bold]\x00\u2066" in text


def test_of_a_long_example_the_beginning_and_the_end_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "MOST_TOKENS", 12)
    text = shown(tmp_path, [{"prompt": "What?", "completion": WORDS}], context=2000)
    assert "<|im_start|>user↵" in text
    assert " tokens … " in text
    assert "nobody goes there.<|im_end|>⟧" in text
    assert "Paris" not in text


def test_examples_are_spread_over_all(tmp_path: Path) -> None:
    rows = [{"text": f"{n}"} for n in range(9)]
    found = given(tmp_path, rows, ExamplesConfig(context=20, held_out=0.0)).train
    assert [e.source.rpartition(":")[2] for e in spread(found, 3)] == ["1", "5", "9"]
    assert len(spread(found, 20)) == 9
