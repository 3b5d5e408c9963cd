"""Answers without a model: searched for, extracted, listed and summarised, over made passages."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from linnet.answers import Answer, Assistant, GatherConfig, Turn
from linnet.answers.cases import Without
from linnet.answers.evidence import Question
from linnet.answers.ranking import scored
from linnet.answers.summaries import Summaries
from linnet.answers.units import units
from linnet.errors import DamagedError
from linnet.retrieval import Found, Passage, PassagesInMemory, Place

STAFF = "Name | City | Salary\nAnna | Berlin | 5100\nBob | Munich | 4000\nCarla | Berlin | 3900"
LOG = "\n".join(
    [
        "2024-03-05 10:00:01 ERROR auth: login failed for user 17",
        "2024-03-05 10:00:02 INFO billing: invoice 991 sent",
        "2024-03-05 10:00:03 ERROR billing: card declined",
        "2024-03-05 10:00:04 ERROR auth: token expired",
    ]
)
GUIDE = (
    "The Kestrel router was introduced in March 2021. It costs 49 euros. It was designed by Ada "
    "Lindqvist because older models overheated.\n\nTo reset the router:\n\n1. Unplug it.\n"
    "2. Hold the button for ten seconds.\n3. Plug it in again."
)
LEASE = "The lease ends on 30 June 2027. The landlord is Jonas Becker. Pets are allowed."


def passage(
    text: str, source: str, title: str = "", *, start: int = 100, **rest: object
) -> Passage:
    headings = (title,) if title else ()
    return Passage(
        text, (Place(source, start, start + len(text)),), title, headings,
        language="en", **rest,  # type: ignore[arg-type]
    )  # fmt: skip


PASSAGES = [
    passage(GUIDE, "guide.md", "Router guide"),
    passage("router.reset(hard=True)", "guide.md", "Router guide", kind="code"),
    passage(LEASE, "lease.pdf", "Lease of the flat"),
    passage(STAFF, "staff.csv", kind="table"),
    # A part of a longer table, whose header stands before the first part.
    passage(
        "Dora | Berlin | 6200", "staff.csv", start=500, kind="table", context="Name | City | Salary"
    ),
    passage(LOG, "app.log"),
]


@pytest.fixture(scope="module")
def assistant() -> Assistant:
    return Assistant(PassagesInMemory(PASSAGES))


def check_citations(answer: Answer) -> None:
    """Every citation is stored text; every claim is a stretch of the answer, and rests on some."""
    stored = [(own.place.source, own.place.start, own.text) for own in PASSAGES]
    for citation in answer.citations:
        assert any(
            source == citation.source and citation.start >= start
            and text[citation.start - start : citation.end - start] == citation.text
            for source, start, text in stored
        )  # fmt: skip
    for claim in answer.claims:
        assert answer.answer[claim.start : claim.end] == claim.text
        assert claim.support == "supported"
        assert claim.citations
        assert max(claim.citations) < len(answer.citations)


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("When was the Kestrel router introduced?",
         "The Kestrel router was introduced in March 2021."),
        ("How much does the router cost?", "It costs 49 euros."),
        ("When does the lease end?", "The lease ends on 30 June 2027."),
        ("Who is the landlord?", "The landlord is Jonas Becker."),
        ("How do I reset the router?", "To reset the router:\n1. Unplug it.\n"
         "2. Hold the button for ten seconds.\n3. Plug it in again."),
        ("What is the salary of Bob?", "Name: Bob; Salary: 4000"),
        ("When does the lease end and who is the landlord?",
         "The lease ends on 30 June 2027.\n\nThe landlord is Jonas Becker."),
        ("List all employees in Berlin",
         "3 entries match:\nName: Anna; City: Berlin; Salary: 5100\n"
         "Name: Carla; City: Berlin; Salary: 3900\nName: Dora; City: Berlin; Salary: 6200"),
        ("List all employees with a salary over 5000",
         "2 entries match:\nName: Anna; City: Berlin; Salary: 5100\n"
         "Name: Dora; City: Berlin; Salary: 6200"),
        ("How many errors are there in the auth module?",
         "2 entries match:\n2024-03-05 10:00:01 ERROR auth: login failed for user 17\n"
         "2024-03-05 10:00:04 ERROR auth: token expired"),
        ("List all errors of billing and auth", "3 entries match:\n" + "\n".join(
            line for line in LOG.split("\n") if "ERROR" in line)),
        ("Compare Anna and Bob", "Name: Anna; City: Berlin; Salary: 5100\n\n"
         "Name: Bob; City: Munich; Salary: 4000"),
    ],
)  # fmt: skip
def test_what_answers_is_said_and_cited(assistant: Assistant, question: str, said: str) -> None:
    answer = assistant.ask(question)
    assert (answer.answer, answer.refused) == (said, False)
    check_citations(answer)


OFFICES = (
    "City | Office manager | Rent per month\nLisbon | Ana Ferro | 4,200 EUR\n"
    "Graz | Peter Holub | 2,950 EUR\nOslo | Liv Berg | 6,100 EUR"
)


@pytest.mark.parametrize(
    "question", ["Who is the office manager in Paris?", "Who is the office manager?"]
)
def test_neither_names_of_columns_nor_any_row_answer(question: str) -> None:
    answer = Assistant(PassagesInMemory([passage(OFFICES, "offices.md")])).ask(question)
    assert answer.refused
    assert answer.nearest


def test_a_row_goes_before_the_names_of_its_columns() -> None:
    offices = Assistant(PassagesInMemory([passage(OFFICES, "offices.md")]))
    answer = offices.ask("What is the rent per month of the lease in Graz?")
    assert answer.answer == "City: Graz; Rent per month: 2,950 EUR"


def test_rows_are_counted_by_the_name_of_their_column() -> None:
    """That a column is called as they are does not say how many there are."""
    offices = Assistant(PassagesInMemory([passage(OFFICES, "offices.md")]))
    assert offices.ask("How many cities are there?").answer.startswith("3 entries match:")
    many = offices.ask("How many offices have a rent over 4000?").answer
    assert many.startswith("2 entries match:")
    assert "Graz" not in many


def test_a_list_with_what_leads_to_it_is_one_citation(assistant: Assistant) -> None:
    (citation,) = assistant.ask("How do I reset the router?").citations
    assert citation.text == GUIDE[GUIDE.index("To reset") :]


def _mail(text: str, language: str, source: str, *, by: str, to: str, day: int) -> Passage:
    subject = text.split(".")[0]
    head = f"From: {by} <{by.lower()}@example.org>\nTo: {to} <{to.lower()}@example.org>\n"
    text = f"{head}Date: Tue, {day} Mar 2026 10:00:00 +0100\nSubject: {subject}\n\n{text}"
    return Passage(text, (Place(source, 0, len(text)),), subject, language=language)


@pytest.mark.parametrize(
    ("language", "texts", "who", "when", "whom"),
    [
        ("en", ["Water in the cellar. The pump is broken.", "New chairs. They come in May."],
         "Who wrote about the pump?", "When was the mail about the water in the cellar sent?",
         "Whom did Ada write to about the pump?"),
        ("de", ["Wasser im Keller. Die Pumpe ist kaputt.", "Neue Stühle. Sie kommen im Mai."],
         "Wer hat über die Pumpe geschrieben?",
         "Wann wurde die Mail über das Wasser im Keller geschickt?",
         "An wen hat Ada über die Pumpe geschrieben?"),
        ("fr", ["De l'eau dans la cave. La pompe est cassée.", "Des chaises. Elles arrivent."],
         "Qui a écrit sur la pompe ?", "Quand Ada a-t-elle écrit sur la pompe ?",
         "À qui Ada a écrit sur la pompe ?"),
        ("es", ["Agua en el sótano. La bomba está rota.", "Sillas nuevas. Llegan en mayo."],
         "¿Quién escribió sobre la bomba?", "¿Cuándo escribió Ada sobre la bomba?",
         "¿A quién escribió Ada sobre la bomba?"),
        ("ru", ["Вода в подвале. Насос сломан.", "Новые стулья. Привезут в мае."],
         "Кто написал про насос?", "Когда было отправлено письмо про насос?",
         "Кому написала Ada про насос?"),
    ],
)  # fmt: skip
def test_the_head_of_a_mail_answers(
    language: str, texts: list[str], who: str, when: str, whom: str
) -> None:
    index = PassagesInMemory([
        _mail(texts[0], language, "pump.eml", by="Ada", to="Ben", day=3),
        _mail(texts[1], language, "chairs.eml", by="Cleo", to="Dan", day=10),
    ])  # fmt: skip
    assistant = Assistant(index)
    for asked, said in (
        (who, "From: Ada <ada@example.org>"), (whom, "To: Ben <ben@example.org>"),
        (when, "Date: Tue, 3 Mar 2026 10:00:00 +0100"),
    ):  # fmt: skip
        assert assistant.ask(asked).answer == said
    again = assistant.ask("When was that mail sent?", [Turn("Who sent the mail on chairs?", "")])
    assert language != "en" or again.answer.startswith("Date: Tue, 10 Mar")


def test_whom_a_question_about_a_mail_names_is_not_its_answer() -> None:
    index = PassagesInMemory([
        _mail("Water in the cellar. The pump broke.", "en", "a.eml", by="Ada", to="Ben", day=3),
        _mail("New chairs. They come in May.", "en", "b.eml", by="Cleo", to="Ada", day=10),
    ])  # fmt: skip
    assistant = Assistant(index)
    for asked, said in (
        ("Who wrote to Ada?", "From: Cleo"), ("Who did Ada write to?", "To: Ben"),
        ("Who wrote to Ben?", "From: Ada"),
        ("Who wrote the mail of Ada about the pump?", "From: Ada"),
    ):  # fmt: skip
        assert assistant.ask(asked).answer.startswith(said), asked
    turn = Turn("When does the lease of the flat end?", "")
    again = assistant.ask("And who wrote the mail about the pump?", [turn])
    assert again.answer.startswith("From: Ada")


@pytest.mark.parametrize(
    ("language", "texts", "asked", "fragments", "said"),
    [
        ("en", ["Lease", "The lease ends on 3 May 2027.", "The rent is 900 euros.",
                "The loan ends in June 2030."],
         "When does the lease end?",
         ["and the rent?", "What about the rent?", "As for the rent?", "rent?"], "900"),
        ("en", ["Lease", "The lease ends on 3 May 2027.", "The rent is 900 euros.",
                "The loan ends in June 2030."],
         "When does the lease end?", ["and the loan?"], "2030"),
        ("de", ["Mietvertrag", "Der Mietvertrag endet am 3. Mai 2027.", "Die Miete ist 900 Euro."],
         "Wann endet der Mietvertrag?",
         ["Und die Miete?", "Was ist mit der Miete?", "Wie sieht es mit der Miete aus?"], "900"),
        ("es", ["Contrato", "El contrato termina el 3 de mayo de 2027.",
                "La renta es de 900 euros."],
         "¿Cuándo termina el contrato?",
         ["¿Y la renta?", "¿Qué hay de la renta?", "¿En cuanto a la renta?"], "900"),
        ("ru", ["Договор аренды", "Договор аренды заканчивается 3 мая 2027 года.",
                "Залог составляет 900 евро."],
         "Когда заканчивается договор аренды?",
         ["А залог?", "А что насчёт залога?", "Что с залогом?"], "900"),
        ("fr", ["Bail", "Le bail se termine le 3 mai 2027.", "Le loyer est de 900 euros."],
         "Quand se termine le bail ?",
         ["Et le loyer ?", "Qu'en est-il du loyer ?", "Quid du loyer ?"], "900"),
    ],
)  # fmt: skip
def test_something_of_the_same_is_answered(
    language: str, texts: list[str], asked: str, fragments: list[str], said: str
) -> None:
    title, *rest = texts
    index = PassagesInMemory([
        Passage(text, (Place("a.md", 100 * at, 100 * at + len(text)),), title, language=language)
        for at, text in enumerate(rest)
    ])  # fmt: skip
    assistant = Assistant(index)
    for fragment in fragments:
        answer = assistant.ask(fragment, [Turn(asked, "")])
        assert said in answer.answer, (fragment, answer.answer)


def test_a_follow_up_is_answered(assistant: Assistant) -> None:
    turns = [Turn("When was the Kestrel router introduced?", "In March 2021.")]
    answer = assistant.ask("Who designed it?", turns)
    assert "Ada Lindqvist" in answer.answer
    assert any("'Who designed Kestrel router?'" in step.text for step in answer.steps)


@pytest.mark.parametrize("question", ["What is the capital of Peru?", "", "?", "Zxqv wombat?"])
def test_what_is_not_there_is_refused(assistant: Assistant, question: str) -> None:
    answer = assistant.ask(question)
    assert (answer.refused, answer.citations) == (True, ())
    assert answer.answer.startswith("I don't know")


HARBOUR = [
    Passage("The manager in Lisbon is Anna Lopes. The lease ends on 30 June 2027.",
            (Place("staff.md", 0, 70),), "Handbook", language="en"),
    Passage("The rent of the office is 1,200 euros a month.", (Place("rent.md", 0, 46),),
            "Rent", language="en"),
    Passage("Mr. Otto Smith pays by 24 December. The AX-200 lasts 24 months.",
            (Place("ax.md", 0, 62),), "Devices", language="en"),
    Passage("办公室的租金是每月一千二百欧元。", (Place("zh.md", 0, 16),), language="zh"),
    Passage("Der Leiter in Wien heißt Otto Kern. Das Wasser wird am 1. April angestellt. "
            "Hecken dürfen höchstens 1,25 Meter hoch sein. Der Turnverein Wien e. V. wurde 1962 "
            "von Frau Müller gegründet.", (Place("de.md", 0, 190),), language="de"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("question", "said", "lacks"),
    [
        ("Who is the manager in Lisbon?", "The manager in Lisbon is Anna Lopes.", ""),
        ("Who is the manager in Porto?", "", "'Porto'"),
        ("When does the lease of 2031 end?", "", "'2031'"),
        ("When does the lease end on 3 June 2027?", "", "'3 June 2027'"),
        ("Does the lease end in 2027?", "The lease ends on 30 June 2027.", ""),
        ("Does the lease end in June 2027?", "The lease ends on 30 June 2027.", ""),
        ("Is the rent of the office 1200 euros?", "The rent of the office is 1,200 euros", ""),
        ("Is the rent of the office 1,300 euros?", "", "'1,300"),
        ('What is the rent of the "Harbour House" office?', "", "'Harbour House'"),
        ("What Is The Rent Of The Office?", "The rent of the office is", ""),
        ("办公室的租金是多少？", "办公室的租金是每月一千二百欧元。", ""),
        ("经理的工资是多少？", "", ""),
        ("Wie heißt der Leiter in Wien?", "Der Leiter in Wien heißt Otto Kern.", ""),
        ("Who is the manager in Lisbon and in Oslo?", "The manager in Lisbon is Anna Lopes.\n\n"
         "Nothing was found about: Who is the manager in Oslo?", "'Oslo'"),
        ("What is the rent of the office and what is the colour of the roof?",
         "The rent of the office is 1,200 euros a month.\n\nNothing was found about: ", ""),
        ("Compare the rent with the Falcon", "The rent of the office is 1,200 euros a month.\n\n"
         "Nothing was found about: Falcon", ""),
        ("List all managers of Oslo", "", "'Oslo'"),
        ("Who is Mr. Lopes, manager in Lisbon?", "The manager in Lisbon is Anna Lopes.", ""),
        ("What is the rent of the office in EUR?", "The rent of the office is 1,200", ""),
        ("Which office has a rent of 1.200 EUR?", "The rent of the office is 1,200", ""),
        ("Who pays by Dec 24?", "Mr. Otto Smith pays by 24 December.", ""),
        ("Who pays by 24 Nov?", "", "'24 Nov'"),
        ("How long does the AX200 last, in years?", "The AX-200 lasts 24 months.", ""),
        ("Does the AX-200 last 2 years?", "The AX-200 lasts 24 months.", ""),
        ("How long does the AX-500 last?", "", "'AX-500'"),
        ("Is Mr. Jones manager in Lisbon?", "", "'Jones'"),
        ("How many months does the AX-200 last?", "The AX-200 lasts 24 months.", ""),
        ("How many months did the AX-200 last in 1999?", "", "'1999'"),
        ("How many months did the AX-200 last in 1962?", "", "'1962'"),  # as old as the club
        ("Wird das Wasser am 1.4. angestellt?", "Das Wasser wird am 1. April", ""),
        ("Wird das Wasser am 2.4. angestellt?", "", "'2.4'"),
        ("Darf eine Hecke 2 Meter hoch sein?", "Hecken dürfen höchstens 1,25 Meter", ""),
        ("Wer gründete 1962 den Turnverein Wien?", "Der Turnverein Wien e. V. wurde 1962 von", ""),
    ],
)  # fmt: skip
def test_names_and_numbers_that_stand_nowhere_are_not_answered(
    question: str, said: str, lacks: str
) -> None:
    answer = Assistant(PassagesInMemory(HARBOUR)).ask(question)
    assert answer.refused == (not said), answer.answer
    assert answer.answer.startswith(said or "I don't know")
    checks = " ".join(step.text for step in answer.steps if step.name == "check")
    assert lacks in checks if lacks else not checks
    for claim in answer.claims:
        assert answer.answer[claim.start : claim.end] == claim.text


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("When did the lease begin?", "The lease began on 1 March 2021."),
        ("When does the lease begin?", "The lease begins on 1 March 2021."),
        ("When was the deposit paid?", "We pay the deposit in May."),
        ("Wann begann der Mietvertrag?", "Der Mietvertrag beginnt im Mai."),
        ("Hi, I am new here. When does the lease begin?", "The lease begins on 1 March 2021."),
    ],
)
def test_few_words_answer_in_another_form_and_after_an_introduction(
    question: str, said: str
) -> None:
    answer = Assistant(PassagesInMemory([passage(said, "own.txt")])).ask(question)
    assert (answer.answer, answer.refused) == (said, False)


def test_an_entry_that_is_not_shown_is_counted() -> None:
    config = GatherConfig(entries=2)
    answer = Assistant(PassagesInMemory(PASSAGES), config=config).ask(
        "List all employees in Berlin"
    )
    assert answer.answer.startswith("3 entries match:")
    assert len(answer.citations) == 2
    assert any("of which 2 are shown" in step.text for step in answer.steps)


class Searched:
    """Passages that a search for some words never finds, or fails for."""

    def __init__(self, *, never: str = "", fails: str = "") -> None:
        self.held = PassagesInMemory(PASSAGES)
        self.never, self.fails, self.released = never, fails, threading.Event()

    def __len__(self) -> int:
        return len(self.held)

    def search(
        self, query: str, k: int = 10, *, collections: Sequence[str] | None = None
    ) -> list[Found]:
        if self.never and self.never in query:
            self.released.wait(60)
        if self.fails and self.fails in query:
            raise DamagedError("the index is damaged")
        return self.held.search(query, k, collections=collections)

    def passages(self, *, collections: Sequence[str] | None = None) -> Iterable[Passage]:
        return self.held.passages(collections=collections)


def test_a_late_search_loses_only_itself() -> None:
    index = Searched(never="landlord")
    assistant = Assistant(index, config=GatherConfig(search_seconds=2))
    answer = assistant.ask("When does the lease end? Who is the landlord?")
    index.released.set()
    assert answer.answer == "The lease ends on 30 June 2027."
    assert [step.outcome for step in answer.steps] == ["done", "late"]
    assert "not done within 2 s" in answer.steps[1].text


def test_a_failed_search_loses_only_itself_but_all_of_them_raise() -> None:
    assistant = Assistant(Searched(fails="landlord"))
    answer = assistant.ask("Compare Anna and the landlord")
    assert "Anna" in answer.answer
    assert [step.outcome for step in answer.steps] == ["done", "failed", "failed"]
    with pytest.raises(DamagedError, match="the index is damaged"):
        assistant.ask("Who is the landlord?")


def long_document() -> list[Passage]:
    texts = [
        f"Chapter {number} deals with bridges over rivers. Bridges in region {number} carry trains "
        f"and cars over rivers. In {1900 + number} a storm came. The mayor had soup."
        for number in range(40)
    ]
    return [
        Passage(text, (Place("bridges.pdf", 500 * at, 500 * at + len(text)),), "Bridges",
                language="en")
        for at, text in enumerate(texts)
    ]  # fmt: skip


def test_a_document_is_summarised_in_its_own_sentences(tmp_path: Path) -> None:
    made = Summaries(tmp_path / "summaries")
    assistant = Assistant(PassagesInMemory([*long_document(), *PASSAGES]), summaries=made)
    answer = assistant.ask("What is the bridges document about?")
    assert {citation.source for citation in answer.citations} == {"bridges.pdf"}
    assert 3 <= len(answer.citations) <= 8
    assert all("ridges" in citation.text for citation in answer.citations)
    assert [c.start for c in answer.citations] == sorted(c.start for c in answer.citations)
    (kept,) = (tmp_path / "summaries").iterdir()
    assert "Bridges" not in kept.read_text()
    again = assistant.ask("Summarise the bridges document")
    assert again.citations == answer.citations
    kept.write_text('{"format": 1, "sentences": [[0, 3, 9]]}')  # no sentence stands there
    assert assistant.ask("Summarise bridges.pdf").citations == answer.citations


@pytest.mark.parametrize(
    ("asked", "source"),
    [
        ("What is a-1.md about?", "hr/a-1.md"),
        ("Summarise the file HR/A-1.md", "hr/a-1.md"),
        ("Worum geht es in x/a-1.md?", "x/a-1.md"),
        ("Summarise b.md", None),  # no file of this name, though of one that ends so
        ("Summarise hr/sub.b.md", "hr/sub.b.md"),
    ],
)
def test_a_document_is_known_by_the_name_of_its_file(asked: str, source: str | None) -> None:
    text = "The lease ends on 30 June 2027. The rent is 900 euros a month."
    passages = [
        Passage(text, (Place(source, 0, len(text)),), title="The flat", language="en")
        for source in ("hr/a-1.md", "x/a-1.md", "hr/sub.b.md")
    ]
    cited = Assistant(PassagesInMemory(passages)).ask(asked).citations
    assert {citation.source for citation in cited} == ({source} if source else set())


@pytest.mark.parametrize(
    ("asked", "amounts"),
    [
        ("List all expenses for Bosch", ["1.200,50", "99,90"]),
        ("List all expenses over 1000", ["1.200,50", "1.540,00"]),
        ("Which expenses are over 1,000 euros?", ["1.200,50", "1.540,00"]),
        ("Which suppliers got more than 1500?", ["1.540,00"]),  # the year is no amount
        ("Which expenses are under 100?", ["99,90"]),
        ("Welche Lieferanten bekamen weniger als 100?", ["99,90"]),
    ],
)
def test_rows_that_begin_with_a_day_are_rows(asked: str, amounts: list[str]) -> None:
    table = (
        "Date | Supplier | Lieferant | Amount\n2024-01-12 | Bosch | Bosch | 1.200,50\n"
        "2024-02-03 | Siemens | Siemens | 340,00\n2024-02-17 | Bosch | Bosch | 99,90\n"
        "2024-03-02 | IKEA | IKEA | 1.540,00"
    )
    place = Place("expenses.csv", 0, len(table))
    index = PassagesInMemory([Passage(table, (place,), "expenses", kind="table")])
    found = Assistant(index).ask(asked).answer
    rows = [row for row in found.splitlines() if "Amount: " in row]
    assert [row.rpartition("Amount: ")[2] for row in rows] == amounts
    assert all(row.startswith("Date: 2024-") for row in rows)


def test_a_document_without_sentences_is_shown_as_it_begins() -> None:
    index = PassagesInMemory([
        passage("Name | City\nAnna | Berlin", "staff.xlsx/Sheet 1", kind="table"),
        passage("The staff meets on Mondays.", "notes.txt"),
    ])  # fmt: skip
    answer = Assistant(index).ask("What does staff.xlsx contain?")
    assert answer.answer == "Name | City\nAnna | Berlin"
    assert {cited.source for cited in answer.citations} == {"staff.xlsx/Sheet 1"}


def test_the_document_of_the_conversation_is_meant_by_this_document() -> None:
    assistant = Assistant(PassagesInMemory([*long_document(), *PASSAGES]))
    turns = [Turn("When does the lease end?", "The lease ends on 30 June 2027.")]
    answer = assistant.ask("What is this document about?", turns)
    assert {citation.source for citation in answer.citations} == {"lease.pdf"}


# Several passages of one title each begin with its name; what is asked for tells them apart.
FEVER = (
    "Marsh fever is a disease that affects the lungs. Most people with Marsh fever are affected "
    "by a cough. Marsh fever causes fatigue.",
    "Marsh fever is the most common reason for the fatigue of people in the Delta.",
    "It is estimated that 1 in 40,000 people fall ill with this condition.",
    "A parasite causes Marsh fever. The parasites that cause Marsh fever live in water.",
    "Marsh fever is thought to be old. It is transmitted in the bite of a midge.",
    "Remedies against Marsh fever may include\n\n- quinine  - rest",
    "Patients get polymerase chain reaction (PCR) tests. PCR is done in hospitals.",
)


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("What is Marsh fever?", "Marsh fever is a disease that affects the lungs."),
        ("How many people are affected by Marsh fever?",
         "It is estimated that 1 in 40,000 people fall ill with this condition."),
        ("How common is Marsh fever?",
         "It is estimated that 1 in 40,000 people fall ill with this condition."),
        ("What causes Marsh fever?", "A parasite causes Marsh fever."),
        ("How is Marsh fever transmitted?", "It is transmitted in the bite of a midge."),
        ("What may remedies against Marsh fever include?",
         "Remedies against Marsh fever may include\n- quinine\n- rest"),
        ("What does PCR stand for?", "Patients get polymerase chain reaction (PCR) tests."),
    ],
)  # fmt: skip
def test_of_sentences_on_a_subject_the_one_answers_that_says_what_is_asked(
    question: str, said: str
) -> None:
    about = [passage(text, f"{n}.md", "Marsh fever") for n, text in enumerate(FEVER)]
    answer = Assistant(PassagesInMemory(about)).ask(question)
    assert said in answer.answer
    assert " ".join(answer.citations[0].text.split()) == " ".join(said.split())


class _Reads:
    """A re-ranker that knows what answers; it may be late."""

    def __init__(self, answers: str, *, late: bool = False) -> None:
        self.answers, self.late = answers, late

    def score(
        self, question: str, passages: Sequence[Passage], *, budget: float | None = None
    ) -> list[float]:
        found = [0.9 if self.answers in each.text else 0.1 for each in passages]
        return found[:1] if self.late else found


class _WithReranker(PassagesInMemory):
    def __init__(self, passages: Iterable[Passage], reranker: _Reads) -> None:
        super().__init__(passages)
        self.reranker = reranker


def test_a_re_ranker_has_a_say_in_which_sentence_answers() -> None:
    text = ("The Rosmir bridge is closed to lorries. The Rosmir bridge carries two lanes. "
            "Toll on the Rosmir bridge is paid by card.")  # fmt: skip
    passages = [passage(text, "bridge.txt", "Rosmir bridge")]
    question = "How wide is the Rosmir bridge?"
    lanes = "The Rosmir bridge carries two lanes."
    by_rules = Assistant(PassagesInMemory(passages)).ask(question)
    assert lanes not in by_rules.citations[0].text
    reads = _WithReranker(passages, _Reads("two lanes"))
    assert Assistant(reads).ask(question).citations[0].text == lanes
    evidence = Assistant(reads).find(question)
    assert Assistant(reads).draft(evidence).measures["likely"] == 0.9
    withheld = Without(reads, [])  # as a gate puts questions
    assert Assistant(withheld).ask(question).citations[0].text == lanes
    late = _WithReranker(passages, _Reads("two lanes", late=True))
    assert Assistant(late).ask(question).citations == by_rules.citations


def test_what_a_re_ranker_says_of_a_passage_counts_for_its_sentences() -> None:
    texts = ("The Rosmir bridge is closed.", "The Rosmir bridge is painted.")
    for answers in texts:
        found = [
            Found(
                passage(text, f"{n}.txt", "Rosmir bridge"), 1.0, {"rerank": 0.9 * (text == answers)}
            )
            for n, text in enumerate(texts)
        ]
        question = Question("Rosmir bridge?", "Rosmir bridge?", language="en")
        assert scored(question, found)[0].unit.text == answers


def test_a_question_in_parts_is_as_sure_as_its_least_sure_part(assistant: Assistant) -> None:
    parts = "When does the lease end?", "Who is the landlord?"
    drafts = [
        assistant.draft(assistant.gather(assistant.understand(question)))
        for question in (*parts, " ".join(parts))
    ]
    for name in ("score", "margin", "form"):
        each = [draft.measures[name] for draft in drafts]
        assert each[2] == min(each[:2])


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        (GUIDE, ["sentence"] * 4 + ["item"] * 3),
        (STAFF, ["row"] * 4),
        (LOG, ["line"] * 4),
        ("- one\n  goes on\n- two", ["item", "item"]),
        ("- one, and 2 - 1  - two  - three", ["item"] * 3),  # its lines have lost their ends
        ("A text  - not a list.", ["sentence"]),
        ("A sentence that is broken at its end for\nits length. Another one.", ["sentence"] * 2),
        ("", []), ("| | |", []), ("...", []),
    ],
)  # fmt: skip
def test_units_are_stretches_of_the_text(text: str, kinds: list[str]) -> None:
    found = units(passage(text, "x"))
    assert [unit.kind for unit in found] == kinds
    assert all(text[unit.start : unit.end] == unit.text == unit.text.strip() for unit in found)
