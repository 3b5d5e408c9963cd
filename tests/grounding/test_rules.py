"""What the rules decide, what they leave open, and that they err on the safe side."""

import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

from linnet.cli.grounding import app
from linnet.grounding import Passage, check, prepared

ENGLISH = (
    "Wilson disease is caused by mutations in the ATP7B gene. The drug was approved by the FDA on "
    "5 March 2024, and costs $3.50 per day. In 2010, about 1,234 people (12.5%) took 5 to 10 mg "
    "daily. It does not affect children under the age of 5. Aspirin treats headaches. Critics deny "
    "that, the earth is flat. The World Health Organization calls it “a neglected disease of the "
    "poor”. Is ginger a cure? Marie Curie was born in Warsaw. The plant is 12 m "
    "tall and 3 feet wide."
)
GERMAN = (
    "Das Medikament wurde am 5. März 2024 zugelassen. Es kostet 1.234,50 Euro. Die Krankheit ist "
    "nicht ansteckend. Etwa 3,5 Mio. Menschen nahmen 20 mg ein. Das Gerät hat die Nummer XR-500. "
    "Wenn es regnet, bleibt der Weg gesperrt."
)
FRENCH = (
    "Le médicament a été approuvé le 5 mars 2024. La maladie n'est pas contagieuse. Il coûte "
    "1 234,50 euros. Marie Curie est née à Varsovie. Environ 97 personnes ont pris 20 mg."
)
SPANISH = (
    "El medicamento fue aprobado el 5 de marzo de 2024. La enfermedad no es contagiosa. Cuesta "
    "35 euros. Marie Curie nació en Varsovia. Unas 97 personas tomaron 20 mg."
)
PASSAGES = {"en": ENGLISH, "de": GERMAN, "fr": FRENCH, "es": SPANISH}

DECIDED = [
    # Word for word, values in another notation.
    ("en", "Wilson disease is caused by mutations in the ATP7B gene.", "supported", "verbatim"),
    ("en", "wilson disease is caused by mutations in the ATP7B gene", "supported", "verbatim"),
    ("en", "The drug was approved by the FDA on March 5th, 2024.", "supported", "verbatim"),
    ("en", "It doesn't affect children under the age of five.", "supported", "verbatim"),
    ("en", "About 1234 people took five to 10 mg daily.", "undecided", ""),
    ("en", "In 2010, about 1234 people took five to 10 mg daily.", "supported", "verbatim"),
    ("de", "Das Medikament wurde am 05.03.2024 zugelassen.", "supported", "verbatim"),
    ("de", "Es kostet 1234,5 €.", "supported", "verbatim"),
    ("de", "Etwa 3.500.000 Menschen nahmen 20 mg ein.", "supported", "verbatim"),
    ("fr", "Le médicament a été approuvé le 2024-03-05.", "supported", "verbatim"),
    ("fr", "Environ quatre-vingt-dix-sept personnes ont pris 20 mg.", "supported", "verbatim"),
    ("es", "Cuesta treinta y cinco euros.", "supported", "verbatim"),
    # The same but for one thing.
    ("en", "Wilson disease is caused by mutations in the ATP7A gene.", "unsupported", "name"),
    ("en", "The drug was approved by the FDA on 6 March 2024, and costs $3.50 per day.",
     "contradicted", "date"),
    ("en", "In 2011, about 1,234 people (12.5%) took 5 to 10 mg daily.", "contradicted", "number"),
    ("en", "In 2010, about 1,234 people (12.5%) took 5 to 10 g daily.", "contradicted", "unit"),
    ("en", "It affects children under the age of five.", "contradicted", "negation"),
    ("en", "Aspirin does not treat headaches.", "contradicted", "negation"),
    ("en", "Aspirin never treats headaches.", "contradicted", "negation"),
    ("de", "Die Krankheit ist ansteckend.", "contradicted", "negation"),
    ("de", "Etwa 3,5 Mio. Menschen nahmen 20 g ein.", "contradicted", "unit"),
    ("de", "Das Medikament wurde am 5. Mai 2024 zugelassen.", "contradicted", "date"),
    ("fr", "La maladie est contagieuse.", "contradicted", "negation"),
    ("fr", "Environ 98 personnes ont pris 20 mg.", "contradicted", "number"),
    ("es", "La enfermedad es contagiosa.", "contradicted", "negation"),
    ("es", "El medicamento fue aprobado el 5 de mayo de 2024.", "contradicted", "date"),
    ("es", "Cuesta 36 euros.", "contradicted", "number"),
    ("de", "Es kostet 1.300 Euro.", "contradicted", "number"),
    ("en", "The drug was approved by the FDA on 7 July 2019.", "contradicted", "date"),  # a clause
    # What is in no passage.
    ("en", "It was made by Pfizer in Berlin.", "unsupported", "name"),
    ("en", "Around the world, 57,000 patients were given the drug.", "undecided", ""),
    ("en", "The trial had 57,341 patients.", "unsupported", "number"),
    ("en", "The plant grows to 12 km.", "unsupported", "unit"),
    ("en", "The drug came out on 7 July 2019.", "unsupported", "date"),
    ("en", 'Doctors call it "a very common disease".', "unsupported", "quote"),
    ("en", 'It is called "a neglected disease of the poor".', "undecided", ""),
    ("de", "Die Nummer lautet XR-700.", "unsupported", "name"),
    ("fr", "Il fut inventé par Pierre Dupont.", "unsupported", "name"),
    ("es", "Lo inventó Juan Gómez.", "unsupported", "name"),
    # What words alone do not tell.
    ("en", "Headaches treat aspirin.", "undecided", ""),
    ("en", "The earth is flat.", "undecided", ""),
    ("en", "Ginger is a cure.", "undecided", ""),
    ("en", "Is aspirin good?", "undecided", "question"),
    ("en", "Mutations in ATP7B lead to the illness.", "undecided", ""),
    ("en", "The WHO calls it neglected.", "undecided", ""),
    ("en", "The plant is about 4 yards high.", "undecided", ""),
    ("en", "The plant has two parts.", "undecided", ""),
    ("de", "Der Weg bleibt gesperrt.", "undecided", ""),
    ("de", "Der Arzt verschreibt das Mittel oft.", "undecided", ""),
    ("en", "", "undecided", ""),
]  # fmt: skip


def test_what_the_rules_decide() -> None:
    wrong = [
        (claim, verdict.status, verdict.rule, verdict.missing)
        for language, claim, status, rule in DECIDED
        if (verdict := check(claim, PASSAGES[language])) and (status, rule)
        != (verdict.status, verdict.rule)
    ]  # fmt: skip
    assert wrong == []


def test_the_language_is_told_from_the_passage() -> None:
    assert {code: prepared(text).language for code, text in PASSAGES.items()} == {
        code: code for code in PASSAGES
    }


def test_a_verdict_names_what_is_missing_and_where_the_evidence_stands() -> None:
    verdict = check("The drug was approved by the FDA on 6 March 2024, and costs $4.50 per day.",
                    [GERMAN, ENGLISH], language="en")  # fmt: skip
    assert [(each.kind, each.text, each.found) for each in verdict.missing] == [
        ("date", "6 March 2024", "5 March 2024"),
        ("number", "$4.50", "$3.50"),
    ]
    assert verdict.evidence is not None
    assert verdict.evidence.passage == 1
    own = ENGLISH[verdict.evidence.start : verdict.evidence.end]
    assert own.startswith("The drug was approved")
    assert own.endswith("per day.")


def test_a_text_of_several_claims_is_as_good_as_the_worst() -> None:
    good, bad = "Aspirin treats headaches.", "It affects children under the age of 5."
    assert check(f"{good} Marie Curie was born in Warsaw.", ENGLISH).status == "supported"
    assert check(f"{good} {bad}", ENGLISH).status == "contradicted"


def test_nothing_is_decided_in_a_language_without_rules_but_what_is_there_word_for_word() -> None:
    passage = "Лекарство было одобрено 5 марта 2024 года. Болезнь не заразна, как известно."
    assert check("Болезнь заразна.", passage).rule == "language"
    assert check("Лекарство было одобрено 6 марта 2025 года.", passage).status == "undecided"
    same = check("Лекарство было одобрено 5 марта 2024 года.", passage)
    assert (same.status, same.rule) == ("supported", "verbatim")
    assert check("Aspirin treats headaches.", []).status == "undecided"


REVERSED = (
    "It is a myth that, aspirin cures cancer.", "Aspirin cures cancer, critics doubt.",
    "If you believe it, aspirin cures cancer.", "Not only that: aspirin cures cancer, but slowly.",
    "Aspirin cures cancer?", "Aspirin cures cancer in mice.", "He denied it: aspirin cures cancer.",
)  # fmt: skip


def test_a_clause_is_no_support_where_the_rest_takes_it_back() -> None:
    for sentence in REVERSED:
        passage = f"This text is about the drug and the people who take it. {sentence}"
        assert check("Aspirin cures cancer.", passage).status == "undecided", sentence
    assert check(
        "Aspirin cures cancer.", "In short, aspirin cures cancer; it is known."
    ).status == ("supported")


def test_no_text_is_too_odd() -> None:
    draw = random.Random(2)
    pieces = [*"aZ9.!?\"'()-,% \n", "not ", "5 mg ", "March 5 ", "one ", "1,000", "“", "”", "’",
              "ne ", "\u00a0", "FDA ", "n't ", "12/12/2012", "°C", "$", "²",
              "\U0001f600", "ß", "İ"]  # fmt: skip
    for number in range(240):
        claim, text = ("".join(draw.choice(pieces) for _ in range(draw.randint(0, 80)))
                       for _ in range(2))  # fmt: skip
        language = ("en", "de", "fr", "es", "xx")[number % 5]
        passage = Passage(text, language)
        assert 0 <= check(claim, passage, language=language).score <= 1
        same = check(text, passage, language=language)
        assert same.status in ("supported", "undecided"), (text, same)


@pytest.mark.parametrize(
    "piece", ["1,234 ", "Aa Bb ", "not ", "5 mg or ", "a, ", "FDA ", "“x ", ". A"]
)
def test_long_texts_cost_no_more_than_their_length(piece: str) -> None:
    """Counted in what is looked at, since time depends on the machine."""
    passage = Passage(piece * 1_000, "en")
    assert sum(len(sentence.tokens) for sentence in passage.sentences) <= len(passage.text)
    verdict = check(piece * 100, passage, language="en")
    assert verdict.status in ("supported", "undecided")


def test_the_command_reads_text_as_it_is_encoded_and_needs_some(tmp_path: Path) -> None:
    passage = tmp_path / "passage.txt"
    for encoding in ("utf-8", "utf-16"):
        passage.write_text("The machine costs 35 euros in every shop.", encoding=encoding)
        found = CliRunner().invoke(
            app, ["check", "The machine costs 35 euros in every shop.", str(passage)]
        )
        assert found.stdout.startswith("supported (verbatim)"), found.stdout
    empty = CliRunner().invoke(app, ["check", " ", str(passage)])
    assert "expected a sentence that claims something" in str(empty.exception)
    passage.write_bytes(b"")
    empty = CliRunner().invoke(app, ["check", "It costs 35 euros.", str(passage)])
    assert "but it is empty" in str(empty.exception)
