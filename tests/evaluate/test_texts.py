"""Answers compared, refusals known, repetition counted."""

from collections import Counter

import pytest

from linnet.evaluate.answers import answer_in
from linnet.evaluate.refusals import LANGUAGES, is_refusal
from linnet.evaluate.repetition import distinct_shares, self_overlaps, seq_rep
from linnet.scoring.matching import contains, exact_match, normalise, token_f1


def squad_normalise(text: str) -> str:
    """The published script's (evaluate-v2.0.py), word for word."""
    import re
    import string

    text = "".join(ch for ch in text.lower() if ch not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def squad_f1(gold: str, answer: str) -> float:
    """The published script's compute_f1."""
    golds, answers = squad_normalise(gold).split(), squad_normalise(answer).split()
    same = sum((Counter(golds) & Counter(answers)).values())
    if not golds or not answers:
        return float(golds == answers)
    if same == 0:
        return 0.0
    precision, recall = same / len(answers), same / len(golds)
    return 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("The Norman's", "norman"), ("a cat, an owl and the dog.", "Cat and Dog"), ("", ""),
        ("the", ""), ("in 1066", "1066"), ("$5 million", "5 million"), ("U.S.A.", "USA"),
        ("theatre of a", "the theatre"), ("one two two", "two two three"), ("x", "y"),
    ],
)  # fmt: skip
def test_english_is_compared_as_squad_does(answer: str, gold: str) -> None:
    assert normalise(answer) == squad_normalise(answer)
    assert exact_match(answer, [gold]) == float(squad_normalise(answer) == squad_normalise(gold))
    assert token_f1(answer, [gold]) == pytest.approx(squad_f1(gold, answer))


@pytest.mark.parametrize(
    ("language", "answer", "gold"),
    [
        ("de", "Der Dreißigjährige Krieg!", "dreißigjährige krieg"),
        ("de", "„Die Elbe“", "Elbe"), ("fr", "L’eau", "eau"), ("fr", "l'été.", "Été"),
        ("es", "¿El Quijote?", "quijote"), ("zh", "北京。", "北京"), ("ja", "「東京」", "東京"),
        ("en", "café", "cafe\u0301"), ("ru", "«Москва».", "москва"), ("it", "L'acqua", "acqua"),
    ],
)  # fmt: skip
def test_other_languages_lose_their_own_articles_and_marks(
    language: str, answer: str, gold: str
) -> None:
    assert exact_match(answer, [gold], language) == 1
    assert token_f1(answer, [gold], language) == 1


def test_scripts_without_spaces_are_compared_by_characters() -> None:
    assert token_f1("首都是北京", ["北京"], "zh") == pytest.approx(2 * (2 / 5) / (2 / 5 + 1))
    assert contains("首都是北京。", ["北京"], "zh") == 1
    assert contains("first 10 weeks", ["1"]) == 0


@pytest.mark.parametrize(
    ("format", "text", "taken"),
    [
        ("any", "  x y ", "x y"), ("any", " \n", None), ("line", "a\nb", "a"),
        ("number", "It is 1,234.50 euros", "1234.5"), ("number", "3 of 12", "12"),
        ("number", "none", None), ("number", "-0.0", "-0"), ("yes_no", "Yes, it is.", "yes"),
        ("yes_no", "Nothing", None), ("choice", "New York City.", "new york"),
        ("choice", "Yorkshire", None), ("json", '{"b": 1, "a": 2}', '{"a": 2, "b": 1}'),
        ("json", "{", None), ("number", "9" * 200, None),
    ],
)  # fmt: skip
def test_an_answer_is_taken_in_its_format_or_not_at_all(
    format: str, text: str, taken: str | None
) -> None:
    assert answer_in(text, format, choices=("york", "new york")) == taken


def test_an_answer_begins_after_its_mark() -> None:
    text = "4 + 4. Answer: 7. No. Answer: 8"
    assert answer_in(text, "number", after="Answer:") == "8"
    assert answer_in("8", "number", after="Answer:") is None
    assert answer_in("ja!", "yes_no", language="de") == "yes"


@pytest.mark.parametrize(
    ("language", "text", "refuses"),
    [
        ("en", "I don’t know.", True), ("en", "I do not know the answer to that.", True),
        ("en", "I know.", False), ("en", "The passage does not say who did.", True),
        ("en", "The passage does.", False), ("en", "Paris. I don't know more.", False),
        ("en", "Unknown", True), ("en", "Unknowns are x and y", False), ("en", "", False),
        ("de", "Das weiß ich nicht.", True), ("de", "Der Text sagt dazu nichts.", True),
        ("de", "Der Text sagt, es sei rot.", False), ("de", "I don't know.", True),
        ("fr", "Je ne sais pas", True), ("es", "No lo sé, lo siento", True),
        ("es", "No.", False), ("xx", "I don't know", True),
    ],
)  # fmt: skip
def test_a_refusal_says_so_in_its_first_sentence(language: str, text: str, refuses: bool) -> None:
    assert is_refusal(text, language) == refuses


def test_what_a_model_is_told_to_say_is_a_refusal() -> None:
    for code, language in LANGUAGES.items():
        assert is_refusal(language.refusal, code)
        assert language.refusal.rstrip(".") in language.open
    assert is_refusal("Out of scope, sorry", "en", ["Out of scope"])


def test_repetition_against_counting_by_hand() -> None:
    assert seq_rep("abcabc", 3) == 1 - 3 / 4
    assert seq_rep("aaaaa", 4) == 1 - 1 / 2
    assert seq_rep("abc", 4) is None
    assert seq_rep("abcd", 4) == 0


@pytest.mark.parametrize("length", [1, 2, 3])
def test_contributions_add_up_to_the_different_ones(length: int) -> None:
    texts = ["abcab", "bcd", "a", "xyxyxy", ""]
    every = [text[i : i + length] for text in texts for i in range(len(text) - length + 1)]
    shares = distinct_shares(texts, length)
    assert sum(share for share, _ in shares) == pytest.approx(len(set(every)))
    assert sum(number for _, number in shares) == len(every)
    for text, overlap in zip(texts, self_overlaps(texts, length), strict=True):
        own = [text[i : i + length] for i in range(len(text) - length + 1)]
        others = {o[i : i + length] for o in texts if o is not text for i in range(len(o))}
        assert overlap == (sum(each in others for each in own) / len(own) if own else None)
