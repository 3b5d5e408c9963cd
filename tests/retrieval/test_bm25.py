"""BM25 against the formula written out, and the terms that it counts."""

import math
import random
from collections import Counter

import pytest

from linnet.retrieval import BM25, terms

K1, B = 1.2, 0.75


def by_the_formula(texts: list[str], query: str, language: str = "") -> list[tuple[int, float]]:
    documents = [Counter(terms(text, language)) for text in texts]
    average = sum(sum(document.values()) for document in documents) / len(documents)
    scores = []
    for document in documents:
        score, length = 0.0, sum(document.values())
        for term in terms(query, language):
            frequency = sum(term in other for other in documents)
            idf = math.log(1 + (len(documents) - frequency + 0.5) / (frequency + 0.5))
            tf = document[term]
            score += idf * tf * (K1 + 1) / (tf + K1 * (1 - B + B * length / average))
        scores.append(score)
    found = sorted(range(len(texts)), key=lambda number: (-scores[number], number))
    return [(number, scores[number]) for number in found if scores[number] > 0]


def test_scores_are_those_of_the_formula() -> None:
    words = random.Random(1)
    vocabulary = [f"w{int(words.paretovariate(0.6)) % 400}" for _ in range(400)]
    texts = [" ".join(words.choices(vocabulary, k=words.randint(0, 60))) for _ in range(120)]
    index = BM25()
    for text in texts:
        index.add(text)
    for _ in range(40):
        query = " ".join(words.choices([*vocabulary, "unheard"], k=words.randint(1, 8)))
        wanted = by_the_formula(texts, query)
        found = index.search(query, k=len(texts))
        assert {hit.number for hit in found} == {number for number, _ in wanted}
        scores = dict(wanted)
        assert [hit.score for hit in found] == pytest.approx(
            [scores[hit.number] for hit in found], rel=1e-4
        )
        assert found == sorted(found, key=lambda hit: (-hit.score, hit.number))
        assert index.search(query, k=7) == found[:7]


def test_passages_with_terms() -> None:
    index = BM25()
    for text in ("red fox", "red hen", "the red fox and the hen", ""):
        index.add(text)
    assert index.passages_with("fox").tolist() == [0, 2]
    assert index.passages_with_all(["red", "hen"]).tolist() == [1, 2]
    assert index.passages_with_all(["red", "wolf"]).tolist() == []
    assert index.passages_with_all([]).tolist() == []
    assert index.idf("wolf") > index.idf("hen") > 0


@pytest.mark.parametrize("texts", [[], [""], ["", "..."]])
def test_an_index_of_nothing_finds_nothing(texts: list[str]) -> None:
    index = BM25()
    for text in texts:
        index.add(text)
    assert index.search("anything") == []
    assert index.search("") == []


def test_what_is_added_after_a_search_is_found() -> None:
    index = BM25()
    index.add("red fox")
    assert index.search("hen") == []
    index.add("red hen")
    assert [hit.number for hit in index.search("hen")] == [1]


@pytest.mark.parametrize(
    ("language", "text", "wanted"),
    [
        ("", "The Queries don't use os.path", "the queries don t use os path"),
        ("en", "queries houses glasses virus bus", "query house glasse virus bus"),
        ("de", "Häuser Freundinnen Kindes", "haus freundin kind"),
        ("fr", "chevaux chanteuses rapides", "cheval chanteus rapid"),
        ("es", "luces casas intereses", "luz casa interes"),
        (
            "ru",
            "договоры договоров договора новая новые книгу аренды",
            "договор договор договор нов нов книг аренд",
        ),
        ("", "ﬁne ＡＢＣ", "fine abc"),
    ],
)
def test_terms(language: str, text: str, wanted: str) -> None:
    assert terms(text, language) == wanted.split()


def test_scripts_without_blanks_are_found_by_pairs_of_characters() -> None:
    assert terms("東京都 ok 京") == ["東京", "京都", "ok", "京"]
    index = BM25()
    for text in ("東京都に住んでいます。", "京都に行きました。", "大阪は大きい。"):
        index.add(text)
    assert index.search("大阪")[0].number == 2
    assert index.search("東京都")[0].number == 0
