"""Stop strings against a brute force over whole texts, cut into pieces in every way."""

from hypothesis import given
from hypothesis import strategies as st

from linnet.generate import Request, Sampling
from linnet.generate.engine import ChosenToken
from linnet.generate.stopping import Output, StopStrings

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


class Letters:
    """A decoder whose tokens spell one of these pieces each."""

    def __init__(self, pieces: list[str]) -> None:
        self.pieces = pieces

    def push(self, token: int) -> str:
        return self.pieces[token]

    def finish(self) -> str:
        return ""


@given(st.lists(letters, max_size=6), stops, st.booleans())
def test_tokens_within_a_stop_string_go_with_it(
    pieces: list[str], strings: list[str], include: bool
) -> None:
    request = Request("", Sampling(stop=tuple(strings)), logprobs=True, include_stop=include)
    output = Output(request, Letters(pieces), lambda token: "")  # type: ignore[arg-type]
    text, tokens, taken = "", [], 0
    for token in range(len(pieces)):
        output.push(ChosenToken(token, -float(token)))
        taken += 1
        chunk = output.chunk(None, None)
        assert chunk.logprobs == tuple(-float(each) for each in chunk.tokens)
        text, tokens = text + chunk.text, [*tokens, *chunk.tokens]
        if output.found is not None:
            break
    if output.found is None:
        output.end()
    rest = output.chunk("stop", None)
    text, tokens = text + rest.text, [*tokens, *rest.tokens]
    shown, found = brute_force("".join(pieces), strings)
    assert text == shown + (found or "" if include else "")
    places = [len("".join(pieces[:token])) for token in range(taken)]
    kept = [token for token in range(taken) if found is None or places[token] < len(text)]
    assert tokens == kept
    assert rest.dropped == taken - len(kept)
