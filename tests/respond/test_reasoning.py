"""Thoughts are told from answers, however the text is cut."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from linnet.respond.reasoning import ReasoningReader

TEXTS = {
    "<think>\nHm, 1 < 2.\n</think>\n\nYes.\n": ("Hm, 1 < 2.", "Yes.\n"),
    "\n<think>a</thin k></think>b</think>": ("a</thin k>", "b</think>"),
    "<think>\n\n</think>\n\nYes.": ("", "Yes."),
    "<think>it never ends \n": ("it never ends", ""),
    "<thinking> is no thought": ("", "<thinking> is no thought"),
    "<thi": ("", "<thi"),
    "No <think>thought</think>.": ("", "No <think>thought</think>."),
    "  spaced": ("", "  spaced"),
    "<think>only</think>\n": ("only", ""),
    "": ("", ""),
}


def read(pieces: list[str], *, within: bool = False) -> tuple[str, str]:
    reader = ReasoningReader(within=within)
    found = [*map(reader.push, pieces), reader.finish()]
    return "".join(thought for thought, _ in found), "".join(words for _, words in found)


@given(st.sampled_from(sorted(TEXTS)), st.lists(st.integers(0, 40), max_size=8))
def test_however_it_is_cut(text: str, cuts: list[int]) -> None:
    places = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    pieces = [text[a:b] for a, b in itertools.pairwise(places)]
    assert read(pieces) == TEXTS[text]
    if text.startswith("<think>"):  # the same where the prompt has begun it
        begun = text.removeprefix("<think>")
        assert read(list(begun), within=True) == TEXTS[text]


def test_it_comes_as_it_is_written() -> None:
    reader = ReasoningReader()
    assert reader.push("<think>One") == ("One", "")
    assert reader.push(" two ") == (" two", "")
    assert reader.push("three</th") == (" three", "")
    assert reader.push("ink>\n\nThe ") == ("", "The ")
    assert reader.push("end") == ("", "end")
