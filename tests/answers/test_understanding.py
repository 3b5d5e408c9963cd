"""Questions in the light of a conversation: complete, in parts, and of which kind."""

from __future__ import annotations

import pytest

from linnet.answers import Question, Turn
from linnet.answers.understanding import LONGEST_QUESTION, MOST_PARTS, expected, understand

MARFAN = "What is Marfan syndrome?"
ROUTER = "What does the router cost in Germany?"


@pytest.mark.parametrize(
    ("before", "asked", "alone"),
    [
        (MARFAN, "What are its symptoms?", "What are the symptoms of Marfan syndrome?"),
        (MARFAN, "What are its causes and treatments?",
         "What are the causes and treatments of Marfan syndrome?"),
        (MARFAN, "What is its most common sign?",
         "What is the most common sign of Marfan syndrome?"),
        (MARFAN, "How is it treated?", "How is Marfan syndrome treated?"),
        (MARFAN, "And the treatment?", "the treatment of Marfan syndrome?"),
        (MARFAN, "What about Turner syndrome?", "What is Turner syndrome?"),
        (MARFAN, "What causes this condition?", "What causes Marfan syndrome?"),
        (MARFAN, "What are the symptoms?", "What are the symptoms of Marfan syndrome?"),
        (MARFAN, "Thanks. And what is it similar to?", "What is Marfan syndrome similar to?"),
        (MARFAN, "Is it possible to cure it?", "Is it possible to cure Marfan syndrome?"),
        (ROUTER, "And in Spain?", "What does the router cost in Spain?"),
        ("When does the lease end?", "And the loan?", "When does the loan end?"),
        ("Wann wird der Kessel gewartet?", "Und die Pumpe?", "Wann wird die Pumpe gewartet?"),
        (ROUTER, "Why?", "Why does the router cost in Germany?"),
        ('In "Rickets", what is phosphate?', "What does it cause?",
         'In "Rickets", what does phosphate cause?'),
        ("Was ist das Marfan-Syndrom?", "Wie wird es behandelt?",
         "Wie wird Marfan-Syndrom behandelt?"),
        ("Was kostet der Router in Deutschland?", "Und in Österreich?",
         "Was kostet der Router in Österreich?"),
        ("Qu'est-ce que le routeur X200 ?", "Combien coûte-t-il ?", "Combien coûte routeur X200 ?"),
        ("¿Qué es el X200?", "¿Cuánto cuesta?", "Cuánto cuesta X200?"),
        ("¿Cuándo se presentó el X200?", "¿Quién lo diseñó?", "Quién lo diseñó X200?"),
        ("Что такое роутер X200?", "Какова его цена?", "Какова цена роутер X200?"),
        ("Сколько стоит роутер в России?", "А в Германии?", "Сколько стоит роутер в Германии?"),
        # What is complete stays as it is, and so does what no rule knows.
        (MARFAN, "Where is the Eiffel Tower?", "Where is the Eiffel Tower?"),
        (MARFAN, "Is there a cure for flu?", "Is there a cure for flu?"),
        ("東京はどこですか", "人口は?", "東京はどこですか 人口は?"),
    ],
)  # fmt: skip
def test_follow_ups(before: str, asked: str, alone: str) -> None:
    assert understand(asked, [Turn(before, "")]).alone == alone


@pytest.mark.parametrize(
    ("asked", "each"),
    [
        ("Who leads in Lisbon and in Oslo?", ["Who leads in Lisbon?", "Who leads in Oslo?"]),
        ("What is the rent in Rome, Oslo and New York this year?",
         ["What is the rent in Rome this year?", "What is the rent in Oslo this year?",
          "What is the rent in New York this year?"]),
        ("Wer ist der Chef in Wien und in Oslo?",
         ["Wer ist der Chef in Wien?", "Wer ist der Chef in Oslo?"]),
        ("Wer isst mit Messer und Gabel?", []),
        ("What is the border between Spain and France?", []),
        ("What are the symptoms of Crohn's Disease and Colitis?", []),
        ("Quel est le prix en Espagne et en France ?",
         ["Quel est le prix en Espagne ?", "Quel est le prix en France ?"]),
        ("Кто директор в Москве и в Осло?", ["Кто директор в Москве?", "Кто директор в Осло?"]),
    ],
)  # fmt: skip
def test_each_of_several_names_is_asked_about(asked: str, each: list[str]) -> None:
    assert [part.alone for part in understand(asked).each] == each


@pytest.mark.parametrize(
    ("asked", "alone"),
    [
        ("Hi, I am new here. When does it open?", "When does it open?"),
        ("Hello! My name is Ana and I moved in last week. Who pays?", "Who pays?"),
        ("Can you help me? I have a quick question. Who pays? Thanks in advance!", "Who pays?"),
        ("Guten Tag. Ich bin neu im Team. Wer ist der Chef?", "Wer ist der Chef?"),
        ("Bonjour. Je m'appelle Ana. Quel est le prix ?", "Quel est le prix ?"),
        ("Hola. Soy nuevo aquí. ¿Cuál es el precio?", "Cuál es el precio?"),
        ("Здравствуйте! Меня зовут Анна. Какова цена?", "Какова цена?"),
        # What a question is about stays, and so does a greeting that is all there is.
        ("I am new to insulin. How do I keep it?", "I am new to insulin. How do I keep it?"),
        ("I have gout. What may I eat?", "I have gout. What may I eat?"),
        ("Hi there!", "there!"),
    ],
)  # fmt: skip
def test_introductions_are_left_out(asked: str, alone: str) -> None:
    assert understand(asked).alone == alone


def test_a_person_may_be_named_in_the_answer_alone() -> None:
    turn = Turn("Who founded the Red Cross?", "Henri Dunant founded it in 1863.")
    assert understand("When was he born?", [turn]).alone == "When was Henri Dunant born?"


def test_a_subject_is_carried_through_a_conversation() -> None:
    turns = [Turn(MARFAN, ""), Turn("How is it treated?", ""), Turn("And in children?", "")]
    asked = understand("What are its complications?", turns)
    assert asked.alone == "What are the complications of Marfan syndrome?"


@pytest.mark.parametrize(
    ("asked", "file"),
    [
        ("What does hr/terms.xlsx contain?", "hr/terms.xlsx"),
        ("What is stored in notes.txt?", "notes.txt"),
        ("Was steht in notes.txt?", "notes.txt"),
        ("Que contient notes.txt ?", "notes.txt"),
        ("¿Qué contiene notes.txt?", "notes.txt"),
        ("Что содержится в notes.txt?", "notes.txt"),
        # Something of it is asked for, or what a name means.
        ("What does notes.txt say about fees?", ""),
        ("What is os.path?", ""),
    ],
)
def test_a_file_is_asked_about_as_a_whole(asked: str, file: str) -> None:
    found = understand(asked)
    assert (found.document or "").endswith(file)
    assert (found.asks == "summary") == bool(file)


def test_a_fragment_may_ask_for_something_of_the_same() -> None:
    turns = [Turn("When does the lease end?", ""), Turn("And the rent?", "")]
    found = understand("And what about the deposit?", turns)
    assert found.alone == "When does the deposit end?"
    assert found.otherwise is not None
    assert found.otherwise.alone == "the deposit of lease?"  # and not of the rent
    for complete in ("And in Spain?", "And who signed it?", "And its end?", "Where is Oslo?"):
        assert understand(complete, turns).otherwise is None


def test_what_is_told_before_a_question_may_not_matter() -> None:
    told = "I like Python, but a friend said that odd things happen with lists; can you tell me "
    found = understand(f"{told}what happens when a default argument is a list?")
    assert found.alone.startswith("I like Python")
    assert found.otherwise is not None
    assert found.otherwise.alone == "what happens when a default argument is a list?"
    assert understand("The pump hums. Why is that?").otherwise is None  # it needs the pump


def test_a_title_tells_what_was_asked_about() -> None:
    turns = [Turn("How do people live with rapid-onset dystonia parkinsonism?", "")]
    titles = ["rapid-onset dystonia parkinsonism"]
    found = understand("What causes it?", turns, titles=lambda _: titles)
    assert found.alone == "What causes rapid-onset dystonia parkinsonism?"


@pytest.mark.parametrize(
    ("asked", "parts"),
    [
        ("What is gout and how is it treated?", ["What is gout", "how is gout treated?"]),
        ("What is gout? Who discovered it?", ["What is gout?", "Who discovered gout?"]),
        ("What are the causes and treatments of gout?",
         ["What are the causes of gout?", "What are the treatments of gout?"]),
        ("When and where was Goethe born?", ["When was Goethe born?", "where was Goethe born?"]),
        ("Who founded the Red Cross and when?",
         ["Who founded the Red Cross", "when founded the Red Cross?"]),
        ("Was ist Gicht und wie wird sie behandelt?",
         ["Was ist Gicht", "wie wird Gicht behandelt?"]),
        ("When does the lease end? When does the contract start?",
         ["When does the lease end?", "When does the contract start?"]),
    ],
)  # fmt: skip
def test_parts(asked: str, parts: list[str]) -> None:
    found = understand(asked)
    assert list(found.parts) == parts
    assert [each.alone for each in found.each] == parts


@pytest.mark.parametrize(
    ("asked", "asks", "of"),
    [
        ("What is the difference between TCP and UDP?", "comparison", ("TCP", "UDP")),
        ("Which is cheaper, the R100 or the R200?", "comparison", ("R100", "R200")),
        ("Is Berlin larger than Munich?", "comparison", ("Berlin", "Munich")),
        ("Was ist der Unterschied zwischen TCP und UDP?", "comparison", ("TCP", "UDP")),
        ("Quelle est la différence entre TCP et UDP ?", "comparison", ("TCP", "UDP")),
        ("¿Cuál es la diferencia entre TCP y UDP?", "comparison", ("TCP", "UDP")),
        ("Чем отличается TCP от UDP?", "comparison", ("TCP", "UDP")),
        ("List all employees in Berlin", "list", ()),
        ("Nenne alle Mitarbeiter in Berlin", "list", ()),
        ("Donne-moi toutes les erreurs", "list", ()),
        ("Dime todos los errores", "list", ()),
        ("Перечисли все ошибки", "list", ()),
        ("How many errors are there?", "count", ()),
        ("Wie viele Fehler gibt es?", "count", ()),
        ("Combien de lignes y a-t-il ?", "count", ()),
        ("¿Cuántos errores hay?", "count", ()),
        ("Сколько ошибок в журнале?", "count", ()),
        ("Сколько стоит роутер?", "fact", ()),
        ("What is this document about?", "summary", ()),
        ("Summarise the annual report.", "summary", ()),
        ("Worum geht es in diesem Dokument?", "summary", ()),
        ("De quoi parle ce document ?", "summary", ()),
        ("¿De qué trata este documento?", "summary", ()),
        ("О чём этот документ?", "summary", ()),
        ("What is insulin?", "fact", ()),
        ("日本の首都は?", "fact", ()),
    ],
)
def test_kinds(asked: str, asks: str, of: tuple[str, ...]) -> None:
    found = understand(asked)
    assert (found.asks, found.sides) == (asks, of)


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        ("Who wrote Faust?", "person"), ("When was it built?", "time"),
        ("How much is it?", "amount"), ("How common is gout?", "frequency"),
        ("What causes gout?", "reason"), ("How do I reset it?", "steps"),
        ("What is gout?", "definition"), ("Where is it?", "place"),
        ("Wann endet der Vertrag?", "time"), ("Qui a écrit Faust ?", "person"),
        ("¿Cómo puedo reiniciar el router?", "steps"), ("Почему он греется?", "reason"),
    ],
)  # fmt: skip
def test_what_answers(asked: str, kind: str) -> None:
    assert expected(understand(asked)) == kind


def test_what_is_left_out_is_said() -> None:
    long = understand("what " * LONGEST_QUESTION)
    assert len(long.alone) <= LONGEST_QUESTION
    assert "20,000 characters" in "".join(long.notes).replace(" of", "")
    many = understand(" ".join(f"What is number {n}?" for n in range(MOST_PARTS + 4)))
    assert len(many.each) == MOST_PARTS
    assert many.notes == ("of 10 questions the first 6 are answered",)


@pytest.mark.parametrize(
    "asked", ["", "   ", "?!", "\x00\x1b[31m", "\ud800", "its its its?", "и " * 50]
)
def test_anything_is_understood_somehow(asked: str) -> None:
    for turns in ((), (Turn(MARFAN, ""),), (Turn(asked, asked),)):
        found = understand(asked, turns)
        assert isinstance(found, Question)
        found.alone.encode()
        assert found.alone.isprintable()
