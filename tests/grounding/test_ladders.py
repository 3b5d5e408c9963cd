"""Ladders: faithful above corrupted, corrupted above off-topic, in every language with rules."""

from functools import cache

import pytest

from linnet.grounding import check
from linnet.grounding.ladders import Document, Ladder, ladders, pairs
from linnet.grounding.rungs import CORRUPTED, FAITHFUL, KINDS

SENTENCES = {
    "en": [
        "In {year}, {count} people in {city} were treated with {amount} mg of {drug}.",
        "The disease is caused by mutations in the {code} gene, which sits on chromosome {small}.",
        "{drug} helps the liver to remove copper, because it binds the metal in the blood.",
        "Doctor {name} found on {day} {month} {year} that the treatment of {city} is not harmful.",
        "The {code} protein regulates the growth of many different cells in the body.",
    ],
    "de": [
        "Im Jahr {year} wurden {count} Menschen in {city} mit {amount} mg {drug} behandelt.",
        "Das Gen {code} verursacht die Krankheit, wenn es auf Chromosom {small} verändert ist.",
        "Am {day}. {month} {year} war die Behandlung in {city} nicht mehr schädlich.",
        "Die Leber enthält oft das Protein {code}, das viele verschiedene Zellen schützt.",
    ],
    "fr": [
        "En {year}, {count} personnes de {city} ont pris {amount} mg de {drug} chaque jour.",
        "Le gène {code} cause souvent la maladie, parce que le foie est fragile.",
        "Le {day} {month} {year}, le médecin {name} a montré que le remède est utile.",
    ],
    "es": [
        "En {year}, {count} personas de {city} tomaron {amount} mg de {drug} cada día.",
        "El gen {code} causa la enfermedad, porque el hígado es muy frágil.",
        "El {day} de {month} de {year} el médico {name} mostró que el remedio es útil.",
    ],
}
MONTHS = {"en": "March", "de": "März", "fr": "mars", "es": "marzo"}
CITIES = ("Berlin", "Paris", "Madrid", "Vienna", "Oslo", "Rome", "Lisbon", "Dublin")
DRUGS = ("Zorbamin", "Cupritol", "Hepadin", "Lorvax", "Metanil", "Pentoral", "Quinsol", "Ravidex")
OTHER = {
    "en": "Trains near the coast often stop early because heavy storms break old wooden bridges.",
    "de": "Züge an der Küste halten oft früh, weil schwere Stürme alte Brücken zerstören.",
    "fr": "Les trains de la côte sont souvent arrêtés, car les orages cassent les vieux ponts.",
    "es": "Los trenes de la costa paran pronto, porque las tormentas rompen los viejos puentes.",
}


def documents(language: str) -> list[Document]:
    made = []
    for n in range(12):
        values = {
            "year": 1980 + 3 * n, "count": 1234 + 877 * n, "city": CITIES[n % 8],
            "amount": 15 + 10 * n, "drug": DRUGS[n % 8], "code": f"ATP{n}B{n + 1}",
            "small": 13 + n, "name": ("Miller", "Dupont", "Keller", "Gomez")[n % 4],
            "day": 13 + n, "month": MONTHS[language],
        }  # fmt: skip
        text = " ".join(sentence.format(**values) for sentence in SENTENCES[language])
        made.append(Document(f"{language}{n}", text))
    made += [Document(f"{language} other {n}", " ".join([OTHER[language]] * 3)) for n in range(2)]
    return made


@cache
def made(language: str) -> tuple[Ladder, ...]:
    return tuple(ladders(documents(language), count=30, seed=3))


@pytest.mark.parametrize("language", SENTENCES)
def test_rungs_are_in_order_wherever_a_rule_decides(language: str) -> None:
    found = made(language)
    kinds = {rung.kind for ladder in found for rung in ladder.rungs}
    assert kinds >= {"verbatim", "number", "negation", "name", "addition", "off_topic"}
    assert {ladder.language for ladder in found} == {language}
    compared = 0
    for ladder in found:
        scored = [(rung, check(rung.text, ladder.passage)) for rung in ladder.rungs]
        for higher, lower in (
            (FAITHFUL, CORRUPTED), (CORRUPTED, ("off_topic",)), (FAITHFUL, ("off_topic",))
        ):  # fmt: skip
            for one, above in scored:
                for other, below in scored:
                    if one.kind in higher and other.kind in lower and above.by_rule:
                        compared += 1
                        assert above.score > below.score, (one, above, other, below)
    assert compared > 100


def test_what_a_rule_says_of_a_claim_is_true_of_it() -> None:
    for language in SENTENCES:
        for ladder in made(language):
            for rung in ladder.rungs:
                verdict = check(rung.text, ladder.passage)
                if rung.kind in FAITHFUL:
                    assert verdict.status in ("supported", "undecided"), (rung, verdict)
                else:
                    assert verdict.status != "supported", (rung, verdict)


def test_the_same_seed_makes_the_same_ladders() -> None:
    short = [tuple(ladders(documents("en"), count=6, seed=seed)) for seed in (3, 3, 4)]
    assert short[0] == short[1] != short[2]


def test_pairs_are_balanced_and_no_rule_contradicts_them() -> None:
    found = pairs(documents("en"), count=60, seed=1)
    assert sum(pair.supported for pair in found) * 2 == len(found) == 60
    assert {pair.kind for pair in found} <= set(KINDS)
    for pair in found:
        status = check(pair.claim, pair.passage).status
        assert status in (("supported", "undecided") if pair.supported else
                          ("contradicted", "unsupported", "undecided"))  # fmt: skip
        assert pair.supported == (pair.kind in FAITHFUL)
