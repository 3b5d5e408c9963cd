"""Stop strings against a brute force over whole texts, cut into pieces in every way."""

from hypothesis import given
from hypothesis import strategies as st

from linnet.generate.stopping import StopStrings

letters = st.text("ab", max_size=12)
stops = st.lists(st.text("ab", min_size=1, max_size=4), max_size=3)


def brute_force(text: str, strings: list[str]) -> tuple[str, str | None]:
    """Read on until the text ends with a stop string; the longest of those counts."""
    for end in range(len(text) + 1):
        ending = [s for s in strings if text[:end].endswith(s)]
        if ending:
            longest = max(ending, key=len)
            return text[: end - len(longest)], longest
    return text, None


@given(st.lists(letters, max_size=6), stops)
def test_agrees_with_brute_force(pieces: list[str], strings: list[str]) -> None:
    stopping = StopStrings(strings)
    shown = ""
    expected, found = brute_force("".join(pieces), strings)
    for piece in pieces:
        shown += stopping.push(piece)
        assert expected.startswith(shown)
        if stopping.found:
            break
    assert stopping.found == found
    assert shown + stopping.finish() == expected


def test_holds_back_no_more_than_it_must() -> None:
    stopping = StopStrings(["\n\nEND"])
    assert stopping.push("one\n") == "one"
    assert stopping.push("two") == "\ntwo"
    assert stopping.push("\n\nEN") == ""
    assert stopping.push("D and more") == ""
    assert stopping.found == "\n\nEND"
    assert stopping.finish() == ""
