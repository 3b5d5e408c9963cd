"""Overlaps against the quadratic definition."""

from hypothesis import given, settings
from hypothesis import strategies as st

from linnet.evaluate.overlap import longest_overlaps


def longest_common(text: str, documents: list[str]) -> int:
    """By dynamic programming: the longest common substring with any document."""
    best = 0
    for document in documents:
        previous = [0] * (len(document) + 1)
        for character in text:
            current = [0] * (len(document) + 1)
            for place, other in enumerate(document, start=1):
                if character == other:
                    current[place] = previous[place - 1] + 1
            best = max(best, *current)
            previous = current
    return best


few_letters = st.text(alphabet="abé\U0001f426", max_size=40)


@settings(max_examples=150, deadline=None)
@given(
    texts=st.lists(few_letters, min_size=1, max_size=3),
    documents=st.lists(few_letters, max_size=5),
    block=st.integers(1, 50),
)
def test_length_equals_dynamic_programming(
    texts: list[str], documents: list[str], block: int
) -> None:
    for text, overlap in zip(texts, longest_overlaps(texts, documents, block=block), strict=True):
        assert overlap.characters == len(overlap.text) == longest_common(text, documents)
        assert overlap.text in text
        assert not overlap.text or any(overlap.text in document for document in documents)


def test_long_passages_are_found_across_blocks() -> None:
    passage = "It was a dark and stormy night; the rain fell in torrents. " * 5
    document = "x" * 997 + passage + "y" * 500
    (overlap,) = longest_overlaps(["she said: " + passage + "!"], ["none", document], block=100)
    assert overlap.text == passage
    assert overlap.words == 60


def test_a_passage_does_not_join_two_documents() -> None:
    (overlap,) = longest_overlaps(["abcdef"], ["abc", "def"])
    assert overlap.characters == 3


def test_highly_repetitive_text_is_counted_exactly() -> None:
    # Thue-Morse words are the known weakness of polynomial hashes modulo 2**64.
    word, other = "a", "b"
    for _ in range(12):
        word, other = word + other, other + word
    (overlap,) = longest_overlaps([word], [other + "c" + word])
    assert overlap.characters == len(word)
    (overlap,) = longest_overlaps([word[:3000]], [other])
    assert overlap.text in other


def test_nothing_in_nothing() -> None:
    assert longest_overlaps([], ["text"]) == []
    assert longest_overlaps([""], ["text"])[0].characters == 0
    assert longest_overlaps(["text"], [])[0].characters == 0
