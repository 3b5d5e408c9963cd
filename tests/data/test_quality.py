"""Signals against brute force and datatrove; verdicts on what should stay and what should go."""

from __future__ import annotations

import base64
import json
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from declaration import DECLARATION

from linnet.data.clean import clean
from linnet.data.kinds import FAMILIES, Family
from linnet.data.quality import rules, signals, verdict
from linnet.errors import ConfigError


def judged(text: str, family: Family, *settings: str, language: str = "") -> str:
    return verdict(signals(text, family, language), family, rules(settings))


@pytest.fixture
def english(test_data: Path) -> list[str]:
    """100 stories and 200 answers on health."""
    stories = (test_data / "tinystories" / "val.txt").read_text("utf-8").split("<|endoftext|>")
    with (test_data / "medquad" / "medquad.jsonl").open(encoding="utf-8") as file:
        answers = [json.loads(line)["answer"] for line in file]
    chosen = random.Random(0).sample([answer for answer in answers if answer], 200)
    return [clean(text, "web").text for text in (*stories[:100], *chosen)]


# ---- published rules


def brute_force_n_grams(text: str) -> dict[str, float]:
    """Gopher's definitions, word by word."""
    words = text.split()
    found = {}
    for n in range(2, 11):
        runs = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
        if n < 5:
            run, count = Counter(runs).most_common(1)[0] if runs else ((), 0)
            length = len(" ".join(run)) * count if count > 1 else 0
            found[f"top_{n}_gram"] = length / len(text)
            continue
        seen: set[tuple[str, ...]] = set()
        covered: set[int] = set()
        for i, run in enumerate(runs):
            if run in seen:
                covered.update(range(i, i + n))
            seen.add(run)
        found[f"duplicate_{n}_grams"] = sum(len(words[i]) for i in covered) / len(text)
    return {name: round(value, 4) for name, value in found.items()}


def test_runs_of_words_are_counted_as_by_hand(english: list[str]) -> None:
    rng = random.Random(1)
    made_up = [" ".join(rng.choices("abc", k=rng.randrange(1, 60))) for _ in range(200)]
    loops = ["a a a a a a a a a a a a a", "one two three " * 9, "x", "x y z " * 2]
    for text in [*made_up, *loops, *english[::3]]:
        found = signals(text, "web")
        assert {name: found[name] for name in found if "gram" in name} == brute_force_n_grams(text)


def datatrove_verdict(text: str, filters: list[Any]) -> str:
    from datatrove.data import Document

    for filter in filters:
        found = filter.filter(Document(text=text, id="0"))
        if found is not True:
            return str(found[1])
    return ""


def test_verdicts_agree_with_datatrove(english: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datatrove")
    pytest.importorskip("spacy")
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
        gopher_quality_filter,
        gopher_repetition_filter,
    )

    # The same words. datatrove's own tokenizer takes punctuation for words, so that it finds too
    # few words with a letter in text with many commas.
    for module in (gopher_quality_filter, gopher_repetition_filter):
        monkeypatch.setattr(module, "split_into_words", lambda text, _: text.split())
    filters = [
        GopherQualityFilter(),
        GopherRepetitionFilter(),
        # No line goes for its end or its length, as for FineWeb, and sentences are not counted.
        C4QualityFilter(
            filter_no_terminal_punct=False, min_num_sentences=-1, min_words_per_line=-1
        ),
        # The paper's share of repeated lines; newlines a word is not in the paper.
        FineWebQualityFilter(char_duplicates_ratio=0.1, new_line_ratio=10**9),
    ]
    broken = [
        "\n".join(english[number].split(". ")[:3] * 4) + "\n" + english[number + 1]
        for number in range(0, 60, 2)
    ] + [text.replace(" ", " # ", 40) for text in english[60:70]] + [
        text.replace(".", "...") + "\nlorem ipsum {" * (number % 2)
        for number, text in enumerate(english[70:90])
    ]  # fmt: skip
    pairs = [
        (
            datatrove_verdict(text, filters),
            judged(text, "web", "web.max_curly_brackets=0", language="en"),
        )
        for text in [*english, *broken]
    ]
    kept = sum(not theirs for theirs, _ in pairs)
    assert 0.3 < kept / len(pairs) < 0.9
    # datatrove goes on behind a repeated run, and so misses the words up to the end of a longer
    # one; Gopher counts all of them, once.
    for theirs, ours in pairs:
        assert bool(theirs) == bool(ours) or (not theirs and "said before" in ours), (theirs, ours)
    assert sum(bool(theirs) != bool(ours) for theirs, ours in pairs) < 0.05 * len(pairs)


@pytest.mark.parametrize("code", DECLARATION)
def test_good_pages_stay_in_any_language(code: str) -> None:
    page = "\n\n".join(DECLARATION[code])
    assert judged(page, "web", language=code) == ""
    assert judged(page, "prose") == ""
    repeated = "\n".join([DECLARATION[code][0]] * 9)
    assert judged(repeated, "web", language=code).startswith("web: more than")
    assert judged(repeated, "prose") == "prose: one line makes up more than 50%"


def test_stop_words_are_asked_of_english_alone() -> None:
    words = [f"{a}{b}{c}" for a in "bdfg" for b in ("ami", "ero", "ilu", "osa") for c in "klmn"]
    text = " ".join(words) + "."
    assert judged(text, "web", language="en") == "web: fewer than 2 of the commonest words"
    assert judged(text, "web", language="fi") == judged(text, "web") == ""


# ---- rules of our own


def encoded() -> dict[str, str]:
    data = random.Random(0).randbytes(6000)
    lines = base64.encodebytes(data).decode()
    dump = "\n".join(
        f"{offset:08x}: {data[offset : offset + 16].hex(' ', 2)}  ................"
        for offset in range(0, len(data), 16)
    )
    array = ", ".join(f"0x{byte:02x}" for byte in data)
    return {"base64": lines, "base64 in one line": lines.replace("\n", ""), "hex": data.hex(),
            "dump": dump, "array": array}  # fmt: skip


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "symbols"])
@pytest.mark.parametrize("form", encoded())
def test_encoded_data_goes_from_any_family(form: str, family: Family) -> None:
    text = encoded()[form]
    assert judged(text, family) == f"{family}: more than 50% is base64 or hexadecimal"
    assert judged(text[: len(text) // 3] + "\n" + "Words around the data. " * 400, family) != (
        f"{family}: more than 50% is base64 or hexadecimal"
    )


def test_what_looks_like_encoded_data_stays() -> None:
    rng = random.Random(0)
    protein = "\n".join("".join(rng.choices("ACDEFGHIKLMNPQRSTVWY", k=60)) for _ in range(50))
    numbers = "\n".join(" | ".join(str(rng.randrange(10**6)) for _ in range(6)) for _ in range(50))
    for text in (protein, numbers, "=" * 600, "-" * 60 + "\n" + "0" * 70):
        assert signals(text, "table")["encoded"] == 0
        assert judged(text, "log") == ""


def test_each_family_has_its_own_rules() -> None:
    code = "def f(x):\n    return {x: [x] * 2}\n" * 30
    rows = "name | size | unit\nbolt | 12 | mm\n7 | 8 | 9"
    menu = "Home\nAbout\nContact\n" * 30
    assert judged(code, "code") == judged(rows, "table") == judged(menu, "log") == ""
    assert judged("CCO\n" * 500, "symbols") == judged("ok\n" * 500, "log") == ""
    assert judged("var a=1;" * 500, "code") == "code: lines of more than 1000 characters on average"
    assert judged("{1: [2, 3], 4: (5,)},\n" * 9, "code").startswith("code: fewer than 25%")
    assert judged("- | - | -\n" * 9, "table") == "table: rows without a letter or digit"
    assert judged("1 234 567 | 89 -- (10)\n11 12 13", "mail").startswith("mail: fewer than 40%")
    assert judged("x" * 900 + " y.", "prose").startswith("prose: words of more than 20 characters")
    assert judged(menu, "web") == "web: more than 30% of the lines stood before"
    assert judged("Short but good.", "prose") == judged("Short but good.", "mail") == ""


def test_limits_are_changed_by_name() -> None:
    text = "A page of a few good words, which is far too short for the web at large."
    assert judged(text, "web") == "web: fewer than 50 words"
    assert judged(text, "web", "web.min_words=10") == ""
    assert judged(text, "web", "web.min_words=20") == "web: fewer than 20 words"
    assert judged(text, "web", "off") == ""
    assert judged(text, "web", "off", "web.min_words=20") == "web: fewer than 20 words"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("web.min_word=20", r"unknown rule 'web.min_word'; did you mean 'web.min_words'\?"),
        ("of", "did you mean 'off'"),
        ("web.min_words", "NAME=NUMBER"),
        ("web.min_words=many", "NAME=NUMBER"),
        ("web.min_words=nan", "NAME=NUMBER"),
        ("xyz", "known: prose.max_encoded"),
    ],
)
def test_a_wrong_setting_is_named(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        rules((setting,))


@pytest.mark.parametrize(
    "text",
    [
        *("", "\n \n", "a", "a " * 200_000, "a\n" * 200_000, "x" * 400_000, "字" * 200_000),
        *(("Ab1" * 19 + ":") * 7000, "0a:" * 130_000),
    ],
)
def test_any_text_has_signals_in_linear_time(text: str) -> None:
    started = time.process_time()
    for family in FAMILIES:
        found = signals(text, family, "en")
        assert json.loads(json.dumps(found)) == found
        verdict(found, family, rules(()))
    assert time.process_time() - started < 15
