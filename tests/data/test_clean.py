"""Texts reach one form, and plain damage is repaired."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnet.data.clean import clean
from linnet.data.kinds import FAMILIES

# Bytes that no encoding uses may stand in the way of a repair, until they are gone.
LATIN_CONTROLS = "".join(map(chr, range(0x80, 0xA0)))
CHARACTERS = st.characters(exclude_characters=LATIN_CONTROLS)


@settings(deadline=None)
@given(st.text(alphabet=CHARACTERS, max_size=200), st.sampled_from(["prose", "table"]))
def test_prose_and_tables_reach_one_form(text: str, family: str) -> None:
    once = clean(text, family).text
    assert clean(once, family).text == once
    assert unicodedata.is_normalized("NFC", once)
    assert "\r" not in once
    assert "\n\n\n" not in once
    assert not any(line.endswith((" ", "\t")) for line in once.split("\n"))
    once.encode("utf-8")


def test_prose_loses_only_what_cannot_be_seen() -> None:
    text = "\ufeffcafe\u0301 \u00a0x\u00ad\r\nline\u2028next \t\r\n\r\n\r\n\r\nend\x00\x1b"
    cleaned = clean(text, "table")
    assert cleaned.text == "café  x\nline\nnext\n\nend"
    assert cleaned.changes == {"control characters": 2}
    assert clean("می\u200cخواهم 👨\u200d👩", "prose").text == "می\u200cخواهم 👨\u200d👩"


@pytest.mark.parametrize("family", ["code", "symbols"])
def test_code_and_notations_keep_their_characters(family: str) -> None:
    source = "\ufeff\r\n  def f():\r\n\tx = 'e\u0301ﬁÃ©'  \r\n\r\n\r\n\r\n\f\ny-\r\nz\r\n"
    cleaned = clean(source, family)
    assert cleaned.text == "  def f():\n\tx = 'e\u0301ﬁÃ©'  \n\n\n\n\f\ny-\nz"
    assert cleaned.changes == {}
    assert clean("a\ud800b", family).changes == {"broken characters": 1}


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_mojibake_is_repaired_and_correct_text_is_not_touched(encoding: str) -> None:
    right = [
        "L'été, les élèves vont à la mer.",
        "Übergrößenträger fahren nach Zürich.",
        "Naïve cafés in São Paulo, £5 a cup.",
    ]
    wrong = [line.encode("utf-8").decode(encoding, errors="replace") for line in right]
    assert not any("\ufffd" in line for line in wrong)
    cleaned = clean("\n".join([right[0], *wrong, "plain"]), "prose")
    assert cleaned.text == "\n".join([right[0], *right, "plain"])
    assert cleaned.changes == {"mojibake": 3}
    assert clean("\n".join(right), "prose").changes == {}


@pytest.mark.parametrize(
    ("broken", "joined"),
    [
        ("for exam-\nple this", "for example\nthis"),
        ("for exam\u00ad\n  ple, this", "for example,\nthis"),
        ("for exam\u00adple", "for example"),
        ("a Bei-\nspiel.\n\nNext", "a Beispiel.\n\nNext"),
        ("inter-\nnatio-\nnally known", "internationally\nknown"),
        # The document itself tells whose hyphen it is.
        ("a well-known man, a well-\nknown woman", "a well-known man, a well-known\nwoman"),
        ("coordinate this; co-\nordinate that", "coordinate this; coordinate\nthat"),
        (
            "no tamper; it is tamper-\nresistant and resistant",
            "no tamper; it is tamper-resistant\nand resistant",
        ),
        ("a cost-free, cost-\nfree and new-\nfangled", "a cost-free, cost-free\nand new-fangled"),
        # Word by word: one compound does not make typesetting out to be none.
        (
            "It was dis-\ncussed in the pro-\nposal. A long-\nterm plan, the long-term costs, the "
            "engi-\nneers, put to-\ngether with the short-\nlist. To get her was esti-\nmated.",
            "It was discussed\nin the proposal.\nA long-term\nplan, the long-term costs, the "
            "engineers,\nput together\nwith the shortlist.\nTo get her was estimated.",
        ),
        # A part of a compound, a list, a conjunction, names, numbers, a dash.
        ("state-of-\nthe-art work", "state-of-the-art\nwork"),
        ("pre-\nand post-war", "pre-\nand post-war"),
        ("Baden-\nWürttemberg", "Baden-\nWürttemberg"),
        ("pages 10-\n20 of", "pages 10-\n20 of"),
        ("- \nand so on -\nlike this", "-\nand so on -\nlike this"),
    ],
)
def test_words_hyphenated_at_a_line_end_are_joined(broken: str, joined: str) -> None:
    cleaned = clean(broken, "prose")
    assert cleaned.text == joined
    assert clean(joined, "prose").text == joined
    assert clean(broken.replace("\u00ad", "-"), "table").text.count("\n") == broken.count("\n")


def test_ligatures_and_terminal_colours_are_taken_apart() -> None:
    cleaned = clean("the ﬁrst oﬃce ﬂoor", "prose")
    assert cleaned.text == "the first office floor"
    assert cleaned.changes == {"ligatures": 3}
    log = clean("\x1b[1;31mERROR\x1b[0m disk \x1b]0;title\x07full", "log")
    assert log.text == "ERROR disk full"
    assert log.changes == {"control characters": 3}


@pytest.mark.parametrize(
    "hostile",
    [
        " " * 75_000 + "x",
        "a" * 75_000 + "-\n" + "b" * 75_000,
        "aa-\n" * 18_750,
        "\u00ad \t" * 25_000,
        "\x1b]" * 37_500,
        "\x1b[" + ";" * 75_000,
        "Ã" * 75_000,
        "Ã\u0083Â\u0083" * 12_500,
    ],
    ids=["blanks", "long word", "hyphens", "soft hyphens", "osc", "csi", "bad", "layers"],
)
def test_hostile_text_takes_linear_time(hostile: str) -> None:
    started = time.process_time()
    for family in FAMILIES:
        clean(hostile, family)
    assert time.process_time() - started < 10
