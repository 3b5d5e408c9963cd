"""Names of people: what is found, what is left alone."""

from __future__ import annotations

import time

import pytest

from linnet.data import masked
from linnet.data.config import DataConfig
from linnet.data.privacy import Scrubber
from linnet.data.privacy.name_lists import FILE, folded, known
from linnet.data.privacy.names import called_in, names_of_people

MASK = Scrubber.of(DataConfig(privacy_names=True))

FOUND = (
    # English
    "⟦J. K. Rowling⟧ was asked by ⟦George W. Bush⟧; later that day ⟦Rowling⟧ left again.",
    "Dear Mr. ⟦Smith⟧, Dr ⟦Brown⟧ and Mrs. ⟦O'Brien-Lane⟧ agree.",
    "From: ⟦Jane Doe⟧ <jane@acme.com>\nTo: ⟦Okafor Ngozi⟧\nSubject: Rose Garden",
    "To: ⟦Mallori Harrell⟧ <mallori@acme.com>, '⟦Slava⟧' <s@acme.com>",
    "Patient: ⟦Zzyzx Qwerty⟧\nName: ⟦Xiulan Wang⟧",
    "Best regards,\n⟦Tim Novak⟧",
    "⟦Doe, John⟧\n⟦Kowalska, Anna M⟧.\nHowever, ⟦John⟧ left.",
    "⟦JOHN SMITH⟧ AND ⟦MARY JONES⟧ WENT HOME",
    "We met ⟦Ludwig van Beethoven⟧, ⟦Simón de la Cruz⟧ and ⟦Osama bin Laden⟧.",
    "⟦Anna⟧'s mother knows ⟦Jean-Pierre O'Neill⟧ and ⟦Will Smith⟧.",
    "My colleague ⟦Aylin Yilmaz⟧ asked ⟦Wei Zhang⟧.",
    # German
    "Sehr geehrte Frau ⟦Müller⟧, Herr Dr. med. ⟦Peter von der Heide⟧ hat ⟦Anna⟧ Brot gebracht.",
    "Kunde: ⟦Jürgen Weiß⟧\nMit freundlichen Grüßen\n⟦Sabine Maier⟧",
    # French
    "Monsieur ⟦Dupont⟧ et Mme ⟦Claire Lefèvre⟧ sont là. L'ami d'⟦Anne⟧ aussi.",
    # Spanish
    "La señora ⟦García López⟧ y don ⟦Miguel⟧ llegaron con ⟦José Hernández⟧.",
    # Russian, inflected
    "Уважаемый ⟦Иван Петрович⟧, г-н ⟦Петров⟧ позвонил ⟦Марии Ивановой⟧.",
    "Письмо ⟦Сидорову Алексею Николаевичу⟧ отправили вчера: ⟦Sergei Ivanovich Petrov⟧.",
)  # fmt: skip
NOT_FOUND = (
    "Johnson & Johnson, Ernst & Young and Barnes & Noble are firms.",
    "Parkinson's disease, Crohn's disease, Down syndrome and the Guillain-Barré syndrome.",
    "Morbus Crohn, la maladie de Crohn, la enfermedad de Chagas, синдром Дауна.",
    "Bayes' theorem, the Fourier transform, a Markov process and the Turing test.",
    "In May we will mark the rose. Will it rain? Grace is a virtue. Mark my words.",
    "They went to Paris, Florida, Virginia, Berlin and Santiago de Chile on Sunday in June.",
    "Johns Hopkins University, Lake Wilson, Fort Wayne, John Deere Company, St. Paul's Church",
    "Young People and the Golden Age of the Red Cross: an Early Introduction to Stone Walls",
    "from jack import Rose; Martin.foo(); self.Anna_x = Anna(3); https://x.org/Anna/Peter",
    "Dear Customer, Dear Sir or Madam, Hello World, Regards,\nSupport Team",
    "Der Koch kochte, die Richter und der Wolf sahen im Winter den Stein und den Berg.",
    "The German Bundesliga and the U.S. Marines. Vitamin C. Symptoms follow.",
    "Москва, Россия и Берлин в мае. Вера и надежда важны.",
)


@pytest.mark.parametrize("marked", FOUND)
def test_names_are_found_whole(marked: str) -> None:
    assert _marked(marked.replace("⟦", "").replace("⟧", "")) == marked


@pytest.mark.parametrize(
    "marked",
    [
        "⟦An\u200bna Sch\u00admidt⟧ and ⟦Anna\u200bSchmidt⟧ came.",
        "We met ⟦Anna  Schmidt⟧, ⟦Peter\u2003Schmidt⟧ and ⟦Eva \u200bSchmidt⟧.",
        "Tell ⟦Anna\u2028Schmidt⟧; ask ⟦Anna\x0bSchmidt⟧.",
        "Read _⟦Anna Schmidt⟧_ and __⟦Peter Maier⟧__.",
        "I spoke to Dr.\n⟦Xu⟧ and to Frau\n⟦Schmidt⟧; Frau\u2009⟦Maier⟧ left.",
        "See cv/2024_⟦Anna_Schmidt⟧_final.pdf and ⟦ANNA_SCHMIDT⟧.PDF in New_York_Times.",
        "⟦Rene\u0301 Mu\u0308ller⟧ left.",
    ],
)
def test_what_joins_the_words_of_a_name_may_be_written_otherwise(marked: str) -> None:
    assert _marked(marked.replace("⟦", "").replace("⟧", "")) == marked


@pytest.mark.parametrize(
    "marked",
    [
        "We met ⟦Anna Maier⟧, ⟦Peter Braun⟧ and ⟦Eva Schmidt⟧.",
        "⟦Anna Maier⟧, ⟦Peter Schmidt⟧ came.\n⟦Maier, Peter⟧\n⟦Schmidt, Eva⟧",
        "The hand ⟦Anna Maier⟧, ⟦Peter⟧ and ⟦Eva⟧ gave.",
    ],
)
def test_full_names_in_a_row_are_names_of_their_own(marked: str) -> None:
    assert _marked(marked.replace("⟦", "").replace("⟧", "")) == marked


def test_forms_code_and_paths_have_no_names_in_them() -> None:
    for text in (
        "Anrede: Frau\nOrt: Wien",
        "Title: Mr\nOffice: London",
        "City: Rome; we were in Venice",
        "see Anna_1 and self.Anna_Schmidt",
        "see self._Anna now",
        "x_Anna_ is set",
    ):
        assert _marked(text) == text


def test_whom_another_text_names_in_full_is_known_by_the_surname() -> None:
    assert MASK.find("Ask Schmidt again.", "prose") == []
    called = called_in("Anna Schmidt called.")
    assert [span.start for span in MASK.find("Ask Schmidt again.", "prose", called)] == [4]


@pytest.mark.parametrize("text", NOT_FOUND)
def test_what_only_looks_like_a_name_stays(text: str) -> None:
    assert _marked(text) == text


def _marked(text: str) -> str:
    pieces, at = [], 0
    for span in MASK.find(text, "prose"):
        if span.kind == "NAME":
            pieces += [text[at : span.start], "⟦", text[span.start : span.end], "⟧"]
            at = span.end
    return "".join((*pieces, text[at:]))


def test_names_are_masked_only_where_that_is_asked_for() -> None:
    text = "Anna Kowalska wrote to Peter Schmidt, anna@acme.com."
    assert Scrubber.of(DataConfig()).scrub(text, "prose").counts == {"EMAIL": 1}
    scrubbed = MASK.scrub(text, "prose")
    assert scrubbed.text == "<NAME> wrote to <NAME>, <EMAIL>."
    assert MASK.scrub(scrubbed.text, "prose").counts == {}
    allowed = DataConfig(privacy_names=True, privacy_allow=("Peter Schmidt",))
    assert "Peter Schmidt" in Scrubber.of(allowed).scrub(text, "prose").text
    own = DataConfig(privacy="pseudonym", privacy_key="k", privacy_names=True)
    made = [Scrubber.of(own).scrub(f"{name} came.", "prose").text
            for name in ("Anna Kowalska", "anna KOWALSKA".title(), "Peter Schmidt")]  # fmt: skip
    assert made[0] == made[1] != made[2]
    assert len({Scrubber.of(own).scrub(f"{name} came.", "prose").text for name in (
        "René Müller", "Rene\u0301 Mu\u0308ller", "Re\u200bné  Müller"
    )}) == 1  # fmt: skip
    assert Scrubber.of(own).scrub(made[0], "prose").text == made[0]


def test_corpora_without_names_keep_their_recipe() -> None:
    assert "privacy_names" not in DataConfig().recipe()
    settings = DataConfig(privacy_names=True).recipe()
    assert settings["privacy_names"] is True
    assert masked.scrubber_of(settings).find("Anna Kowalska came.", "prose")
    assert not masked.scrubber_of(DataConfig().recipe()).find("Anna Kowalska came.", "prose")


def test_in_code_only_fields_count() -> None:
    text = '"""Reads rows.\n\nAuthor: Jane Doe\n"""\nAnna = Peter  # Anna Kowalska said so\n'
    found = [text[span.start : span.end] for span in names_of_people(text, "code")]
    assert found == ["Jane Doe"]


def test_a_word_is_known_without_case_accents_and_the_ending_of_its_case() -> None:
    assert folded("Müller-Łódź") == "muller-lodz"
    for word in ("anna", "ивану", "марией", "анне", "ivanova", "kowalska"):
        assert known(folded(word)).given or known(folded(word)).family, word
    assert known("rose").doubtful
    assert not any(known("нормальный"))
    assert FILE.stat().st_size < 300_000


@pytest.mark.parametrize("part", [
    "A", "A ", ",", "A, ", "J. ", "Anna ", "Anna, ", "Anna van ", "Anna\n", "Mr. ", "O'", "A-", "É",
    "Name: ", "Regards,\n", "Xyz Smith said ", "syndrome de la Anna ", "Ааа Ббб ", "van der ", "(",
    "Anna <a", "Q\u0301", "Anna_", "Anna \u200b", "_A_",
])  # fmt: skip
def test_hostile_texts_take_no_longer_than_their_length(part: str) -> None:
    """Four times the text takes four times as long, not sixteen."""
    short, long = (part * (size // len(part)) for size in (4_000, 16_000))
    list(names_of_people(short, "prose"))  # what is loaded on first use
    times = [min(_seconds(text) for _ in range(2)) for text in (short, long)]
    assert times[1] < 10 * times[0] + 0.05


def _seconds(text: str) -> float:
    began = time.process_time()
    list(names_of_people(text, "prose"))
    return time.process_time() - began
