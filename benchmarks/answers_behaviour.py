"""How answers without a model behave: lists, follow-ups, parts, languages, extraction, speed.

    python benchmarks/answers_behaviour.py made                      # made documents alone
    python benchmarks/answers_behaviour.py medquad --index INDEX --examples EXAMPLES \\
        --questions medquad.jsonl                                     # on a corpus of MedQuAD
    python benchmarks/answers_behaviour.py speed --passages 100000    # processor time

``INDEX`` is from ``linnet index CORPUS``, ``EXAMPLES`` from ``linnet examples CORPUS``; documents
of the corpus are named after the questions' ids. Everything is drawn by ``--seed``. Prints one JSON
object for each figure. Times are processor seconds, since machines are busy.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from linnet.answers import Answer, Assistant, Turn
from linnet.examples import read_examples
from linnet.retrieval import Index, Passage, PassagesInMemory, Place

CITIES = ("Berlin", "Munich", "Hamburg", "Cologne", "Leipzig", "Bremen")
ROLES = ("Engineer", "Designer", "Manager", "Clerk", "Analyst")
MODULES = ("auth", "billing", "search", "export", "mail")
LEVELS = ("ERROR", "WARNING", "INFO", "DEBUG")
MESSAGES = ("login failed for user {n}", "invoice {n} sent", "query {n} took too long",
            "token expired for user {n}", "retrying job {n}", "connection {n} closed",
            "module reloaded after {n} ms")  # fmt: skip


def emit(name: str, **figures: Any) -> None:
    """Print a figure."""
    shown = {key: round(value, 4) if isinstance(value, float) else value
             for key, value in figures.items()}  # fmt: skip
    print(json.dumps({"figure": name, **shown}, ensure_ascii=False), flush=True)


def passages_of(source: str, lines: Sequence[str], *, header: str = "") -> Iterator[Passage]:
    """Lines in passages of about 900 characters, as an index cuts them; a table's header goes
    with each."""
    text = "\n".join(([header] if header else []) + list(lines))
    start = 0
    while start < len(text):
        end = text.rfind("\n", start, start + 900) if start + 900 < len(text) else len(text)
        end = end if end > start else len(text)
        yield Passage(
            text[start:end], (Place(source, start, end),), source,
            kind="table" if header else "paragraph", language="en" if header else "",
            context=header if start else "",
        )  # fmt: skip
        start = end + 1


def lists(seed: int) -> None:
    """List-all and counting on tables and logs of which the right lines are known."""
    draw = random.Random(seed)
    recalls, precisions, counts = [], [], []
    for number in range(12):
        rows = [f"Person {n} {draw.randrange(10**6)} | {draw.choice(CITIES)} | "
                f"{draw.choice(ROLES)} | {draw.randrange(1000, 9000)}"
                for n in range(150)]  # fmt: skip
        log = [f"2024-{draw.randrange(1, 13):02d}-{draw.randrange(1, 29):02d} "
               f"10:{draw.randrange(60):02d}:{draw.randrange(60):02d} {draw.choice(LEVELS)} "
               f"{draw.choice(MODULES)}: {draw.choice(MESSAGES).format(n=draw.randrange(10**5))}"
               for _ in range(300)]  # fmt: skip
        prose = ["Employees in Berlin may work from home.", "Errors are logged in the module."]
        index = PassagesInMemory([
            *passages_of(f"staff{number}.csv", rows, header="Name | City | Role | Salary"),
            *passages_of(f"app{number}.log", log), *passages_of("handbook.txt", prose),
        ])  # fmt: skip
        assistant = Assistant(index)
        city, role = draw.choice(CITIES), draw.choice(ROLES)
        level, module, other = draw.choice(LEVELS[:2]), *draw.sample(MODULES, 2)
        least = draw.randrange(4000, 7000)
        in_city = [row for row in rows if f"| {city} |" in row]
        cases = [
            (f"List all employees in {city}", in_city),
            (f"Which {role.lower()}s are there? List all of them", None),
            (f"Show me all {role.lower()}s in {city}", [r for r in in_city if role in r]),
            (f"List all employees with a salary over {least}",
             [row for row in rows if int(row.rsplit(" ", 1)[1]) > least]),
            (f"How many {role.lower()}s are there in {city}?", [r for r in in_city if role in r]),
            (f"List all {level.lower()}s in the {module} module",
             [line for line in log if f"{level} {module}:" in line]),
            (f"List all {level} lines of {module} and {other}",
             [line for line in log if f"{level} {module}:" in line or f"{level} {other}:" in line]),
            (f"How many {level.lower()}s are there in {module}?",
             [line for line in log if f"{level} {module}:" in line]),
        ]  # fmt: skip
        for question, right in cases:
            if not right:
                continue
            answer = assistant.ask(question)
            cited = {citation.text for citation in answer.citations}
            recalls.append(len(cited & set(right)) / len(set(right)))
            precisions.append(len(cited & set(right)) / max(len(cited), 1))
            if question.startswith("How many"):
                counts.append(answer.answer.split()[0] == str(len(right)))
            if recalls[-1] < 0.9 or precisions[-1] < 0.9:
                print(f"# {question}: {recalls[-1]:.2f} {precisions[-1]:.2f} "
                      f"{answer.answer[:80]!r}", file=sys.stderr)  # fmt: skip
    emit(
        "list-all",
        questions=len(recalls),
        recall=sum(recalls) / len(recalls),
        precision=sum(precisions) / len(precisions),
        counts_right=sum(counts) / len(counts),
    )


# By language: documents, and questions with the words that have to be in what is cited.
LANGUAGES: dict[str, tuple[dict[str, str], list[tuple[str, str]], list[tuple[str, str, str]]]] = {
    "en": (
        {"Kestrel X200 router": "The Kestrel X200 was introduced in March 2021. It costs 49 euros "
         "in Germany and 52 euros in Spain. The router was designed by Ada Lindqvist because older "
         "models overheated. To reset the router, hold the button for ten seconds.",
         "Lease of the flat": "The lease ends on 30 June 2027. The rent is 870 euros a month. The "
         "landlord is Jonas Becker. Pets are allowed in the flat. The deposit is 2,610 euros.",
         "Harvest festival": "The harvest festival takes place in Oberau. It was first held in "
         "1952. About 4,000 visitors come every year. It is organised by Martha Stein."},
        [("When was the Kestrel X200 introduced?", "March 2021"),
         ("How much does the router cost in Spain?", "52 euros"),
         ("Who designed the router?", "Ada Lindqvist"),
         ("How do I reset the router?", "ten seconds"),
         ("When does the lease end?", "30 June 2027"), ("How high is the rent?", "870 euros"),
         ("Who is the landlord?", "Jonas Becker"), ("How much is the deposit?", "2,610"),
         ("Where does the harvest festival take place?", "Oberau"),
         ("How many visitors come to the festival?", "4,000"),
         ("Who organises the harvest festival?", "Martha Stein")],
        [("When was the Kestrel X200 introduced?", "Who designed it?", "Ada Lindqvist"),
         ("How much does the router cost in Germany?", "And in Spain?", "52 euros"),
         ("When does the lease end?", "Who is the landlord?", "Jonas Becker"),
         ("Where does the harvest festival take place?", "Who organises it?", "Martha Stein")],
    ),
    "de": (
        {"Router Kestrel X200": "Der Kestrel X200 wurde im März 2021 eingeführt. Er kostet in "
         "Deutschland 49 Euro und in Spanien 52 Euro. Der Router wurde von Ada Lindqvist "
         "entworfen, weil ältere Modelle zu heiß wurden. Um den Router zurückzusetzen, halten Sie "
         "den Knopf "
         "zehn Sekunden lang gedrückt.",
         "Mietvertrag": "Der Mietvertrag endet am 30. Juni 2027. Die Miete beträgt 870 Euro im "
         "Monat. Vermieter ist Jonas Becker. Haustiere sind in der Wohnung erlaubt. Die Kaution "
         "beträgt 2.610 Euro.",
         "Erntefest": "Das Erntefest findet in Oberau statt. Es wurde 1952 zum ersten Mal "
         "gefeiert. Jedes Jahr kommen etwa 4.000 Besucher. Es wird von Martha Stein organisiert."},
        [("Wann wurde der Kestrel X200 eingeführt?", "März 2021"),
         ("Wie viel kostet der Router in Spanien?", "52 Euro"),
         ("Wer hat den Router entworfen?", "Ada Lindqvist"),
         ("Wie setze ich den Router zurück?", "zehn Sekunden"),
         ("Wann endet der Mietvertrag?", "30. Juni 2027"), ("Wie hoch ist die Miete?", "870 Euro"),
         ("Wer ist der Vermieter?", "Jonas Becker"), ("Wie hoch ist die Kaution?", "2.610"),
         ("Wo findet das Erntefest statt?", "Oberau"),
         ("Wie viele Besucher kommen zum Erntefest?", "4.000"),
         ("Wer organisiert das Erntefest?", "Martha Stein")],
        [("Wann wurde der Kestrel X200 eingeführt?", "Wer hat ihn entworfen?", "Ada Lindqvist"),
         ("Wie viel kostet der Router in Deutschland?", "Und in Spanien?", "52 Euro"),
         ("Wann endet der Mietvertrag?", "Wer ist der Vermieter?", "Jonas Becker"),
         ("Wo findet das Erntefest statt?", "Wer organisiert es?", "Martha Stein")],
    ),
    "es": (
        {"Enrutador Kestrel X200": "El Kestrel X200 se presentó en marzo de 2021. Cuesta 49 euros "
         "en Alemania y 52 euros en España. El enrutador fue diseñado por Ada Lindqvist porque los "
         "modelos anteriores se calentaban. Para reiniciar el enrutador, mantenga pulsado el "
         "botón durante diez segundos.",
         "Contrato de alquiler": "El contrato termina el 30 de junio de 2027. El alquiler es de "
         "870 euros al mes. El propietario es Jonas Becker. Se permiten mascotas en el piso. La "
         "fianza "
         "es de 2.610 euros.",
         "Fiesta de la cosecha": "La fiesta de la cosecha se celebra en Oberau. Se celebró por "
         "primera vez en 1952. Cada año vienen unos 4.000 visitantes. La organiza Martha Stein."},
        [("¿Cuándo se presentó el Kestrel X200?", "marzo de 2021"),
         ("¿Cuánto cuesta el enrutador en España?", "52 euros"),
         ("¿Quién diseñó el enrutador?", "Ada Lindqvist"),
         ("¿Cómo reinicio el enrutador?", "diez segundos"),
         ("¿Cuándo termina el contrato?", "30 de junio"), ("¿Cuánto es el alquiler?", "870 euros"),
         ("¿Quién es el propietario?", "Jonas Becker"), ("¿De cuánto es la fianza?", "2.610"),
         ("¿Dónde se celebra la fiesta de la cosecha?", "Oberau"),
         ("¿Cuántos visitantes vienen a la fiesta?", "4.000"),
         ("¿Quién organiza la fiesta de la cosecha?", "Martha Stein")],
        [("¿Cuándo se presentó el Kestrel X200?", "¿Quién lo diseñó?", "Ada Lindqvist"),
         ("¿Cuánto cuesta el enrutador en Alemania?", "¿Y en España?", "52 euros"),
         ("¿Cuándo termina el contrato?", "¿Quién es el propietario?", "Jonas Becker"),
         ("¿Dónde se celebra la fiesta de la cosecha?", "¿Quién la organiza?", "Martha Stein")],
    ),
    "ru": (
        {"Роутер Kestrel X200": "Kestrel X200 был представлен в марте 2021 года. Он стоит 49 евро "
         "в Германии и 52 евро в Испании. Роутер разработала Ада Линдквист, потому что прежние "
         "модели перегревались. Чтобы сбросить роутер, удерживайте кнопку десять секунд.",
         "Договор аренды": "Договор аренды заканчивается 30 июня 2027 года. Арендная плата "
         "составляет 870 евро в месяц. Владелец квартиры — Йонас Беккер. Животные разрешены. Залог "
         "составляет 2610 евро.",
         "Праздник урожая": "Праздник урожая проходит в Оберау. Впервые его провели в 1952 году. "
         "Каждый год приезжает около 4000 гостей. Праздник организует Марта Штайн."},
        [("Когда был представлен Kestrel X200?", "марте 2021"),
         ("Сколько стоит роутер в Испании?", "52 евро"),
         ("Кто разработал роутер?", "Ада Линдквист"), ("Как сбросить роутер?", "десять секунд"),
         ("Когда заканчивается договор аренды?", "30 июня"),
         ("Какова арендная плата?", "870 евро"), ("Кто владелец квартиры?", "Йонас Беккер"),
         ("Сколько составляет залог?", "2610"), ("Где проходит праздник урожая?", "Оберау"),
         ("Сколько гостей приезжает на праздник?", "4000"),
         ("Кто организует праздник урожая?", "Марта Штайн")],
        [("Когда был представлен Kestrel X200?", "Кто его разработал?", "Ада Линдквист"),
         ("Сколько стоит роутер в Германии?", "А в Испании?", "52 евро"),
         ("Когда заканчивается договор аренды?", "Кто владелец?", "Йонас Беккер"),
         ("Где проходит праздник урожая?", "Кто его организует?", "Марта Штайн")],
    ),
}  # fmt: skip


def languages() -> None:
    """Questions in a language on documents in it, among those of all languages."""
    index = PassagesInMemory([
        Passage(text, (Place(f"{code}/{number}", 0, len(text)),), title, (title,), language=code)
        for code, (documents, _, _) in LANGUAGES.items()
        for number, (title, text) in enumerate(documents.items())
    ])  # fmt: skip
    assistant = Assistant(index)
    for code, (_, questions, follow_ups) in LANGUAGES.items():
        right = [_cites(assistant.ask(question), wanted) for question, wanted in questions]
        after = [_cites(assistant.ask(question, (Turn(first, ""),)), wanted)
                 for first, question, wanted in follow_ups]  # fmt: skip
        both = []
        for (one, first), (two, second) in zip(questions[:3], questions[4:7], strict=True):
            answer = assistant.ask(f"{one} {two}")
            both.append(_cites(answer, first) and _cites(answer, second))
        emit("language", language=code, questions=len(right), right=sum(right) / len(right),
             follow_ups=sum(after) / len(after), both_parts=sum(both) / len(both))  # fmt: skip
        for (question, wanted), good in zip(questions, right, strict=True):
            if not good:
                print(
                    f"# {question}: {wanted}: {assistant.ask(question).answer!r}", file=sys.stderr
                )
        for (first, question, wanted), good in zip(follow_ups, after, strict=True):
            if not good:
                said = assistant.understand(question, (Turn(first, ""),)).alone
                print(f"# {question} -> {said}: {wanted}", file=sys.stderr)


def _cites(answer: Answer, wanted: str) -> bool:
    return any(wanted in citation.text for citation in answer.citations)


def _overlaps(answer: Answer, source: str, start: int, end: int) -> bool:
    return any(c.source.endswith(source) and c.start < end and c.end > start
               for c in answer.citations)  # fmt: skip


def medquad(place: Path, examples: Path, questions: Path, count: int, seed: int) -> None:
    """Made examples, and people's questions."""
    index = Index.open(place)
    assistant = Assistant(index)
    draw = random.Random(seed)
    by_kind: dict[str, list[Any]] = {}
    for example in read_examples(examples):
        by_kind.setdefault(example.kind, []).append(example)
    for kind in ("question", "multi_part", "follow_up"):
        rows = by_kind.get(kind, [])
        rows = draw.sample(rows, min(count, len(rows)))
        _made(assistant, kind, rows)
    _follow_ups(assistant, draw.sample(by_kind["follow_up"], min(count, len(by_kind["follow_up"]))))
    with questions.open(encoding="utf-8") as lines:
        _people(assistant, draw.sample([json.loads(line) for line in lines], count))


def _made(assistant: Assistant, kind: str, rows: Sequence[Any]) -> None:
    overlap = value = found = both = cited = 0
    began = time.process_time()
    for row in rows:
        turns = tuple(Turn(turn.question, turn.answer) for turn in row.turns)
        understood = assistant.understand(row.question, turns)
        evidence = assistant.gather(understood)
        draft = assistant.draft(evidence)
        answer = assistant.ask(row.question, turns)
        wanted = row.quotes or (row,)
        hits = [_overlaps(answer, row.source, q.start, q.end) for q in wanted]
        overlap += hits[0]
        both += all(hits)
        said = row.answer.split("\n")[0].strip(" .")
        value += any(said in " ".join(c.text.split()) for c in draft.citations)
        found += any(
            place.source.endswith(row.source) and place.start < row.end and place.end > row.start
            for each in evidence.passages[:5] for place in each.passage.places
        )  # fmt: skip
        cited += not answer.refused
    emit(
        f"made {kind}",
        questions=len(rows),
        found_in_5=found / len(rows),
        cited_overlaps=overlap / len(rows),
        all_parts=both / len(rows),
        value=value / len(rows),
        answered=cited / len(rows),
        seconds=(time.process_time() - began) / len(rows) / 2,
    )


def _follow_ups(assistant: Assistant, rows: Sequence[Any]) -> None:
    """Follow-ups beside the same question with its subject: the heading above it."""
    asked = full = 0
    for row in rows:
        turns = tuple(Turn(turn.question, turn.answer) for turn in row.turns)
        alone = assistant.understand(row.question, turns)
        complete = f"{row.question} ({row.headings[-1]})" if row.headings else row.question
        for query, is_full in ((alone.alone, False), (complete, True)):
            hit = any(
                place.source.endswith(row.source) and place.start < row.end
                and place.end > row.start
                for each in assistant.index.search(query, 5) for place in each.passage.places
            )  # fmt: skip
            full += is_full and hit
            asked += not is_full and hit
    emit("follow-ups", questions=len(rows), hit_5=asked / len(rows), asked_in_full=full / len(rows))


def _people(assistant: Assistant, rows: Sequence[dict[str, Any]]) -> None:
    inside = answered = exact = 0
    for row in rows:
        answer = assistant.ask(row["question"])
        answered += not answer.refused
        gold = " ".join(row["answer"].split())
        inside += any(f"{row['id']}.md" in c.source for c in answer.citations)
        exact += any(" ".join(c.text.split()) in gold for c in answer.citations)
    emit("people's questions", questions=len(rows), answered=answered / len(rows),
         cites_gold_document=inside / len(rows), cited_text_in_gold=exact / len(rows))  # fmt: skip


def speed(count: int, seed: int) -> None:
    """Processor time of an answer from passages over many of them."""
    draw = random.Random(seed)
    words = [f"{first}{second}{third}"
             for first in ("ba", "ke", "lo", "mi", "nu", "ra", "so", "ti", "vo", "ze")
             for second in ("l", "n", "r", "s", "t")
             for third in ("ar", "en", "is", "on", "um", "ax")]  # fmt: skip
    weights = [1 / (rank + 1) for rank in range(len(words))]

    def sentence() -> str:
        return " ".join(draw.choices(words, weights, k=12)).capitalize() + "."

    def passages() -> Iterator[Passage]:
        for number in range(count):
            text = f"Unit {number} was built in {1900 + number % 120}. " + " ".join(
                sentence() for _ in range(8)
            )
            yield Passage(text, (Place(f"d{number}", 0, len(text)),), f"Unit {number}",
                          language="en")  # fmt: skip

    assistant = Assistant(PassagesInMemory(passages()))
    assistant.ask("warm up")
    times = []
    for _ in range(100):
        number = draw.randrange(count)
        began = time.process_time()
        answer = assistant.ask(f"When was unit {number} {draw.choice(words)} built?")
        times.append(time.process_time() - began)
        assert answer.citations or answer.refused
    times.sort()
    emit("first answer", passages=count, median_ms=1000 * times[50], p95_ms=1000 * times[95])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("made", "medquad", "speed"))
    parser.add_argument("--index", type=Path)
    parser.add_argument("--examples", type=Path)
    parser.add_argument("--questions", type=Path)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.what == "made":
        lists(given.seed)
        languages()
    elif given.what == "speed":
        speed(given.passages, given.seed)
    else:
        medquad(given.index, given.examples, given.questions, given.count, given.seed)


if __name__ == "__main__":
    main()
