"""How many names of people are found, and what else is.

    pip install faker
    python benchmarks/names.py [--per-template 40] [--list FILE]

Recall: names that Faker draws for a locale, in sentences of five languages; those of ``TUNED``
were looked at while the detector was written, those of ``HELD_OUT`` were not. A name counts as
found when every word of it is covered, and as found in part when some are. ``--without LOCALES``
of ``scripts/name_lists.py`` makes a list that has not seen a locale (``--list``). Spans in ordinary
text: how many in 10,000 words.
Needs ``../shared/data``.
"""

from __future__ import annotations

import argparse
import json
import pydoc_data.topics
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from linnet.data.privacy import name_lists
from linnet.data.privacy.names import names_of_people

SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
Find = Callable[[str], list[tuple[int, int]]]

LOCALES = {
    "en": ("en_US", "en_GB", "en_IN", "en_NZ", "en_IE"), "de": ("de_DE", "de_AT", "de_CH"),
    "fr": ("fr_FR", "fr_BE", "fr_CA"), "es": ("es_ES", "es_MX", "es_CO"), "ru": ("ru_RU",),
    "other": ("it_IT", "nl_NL", "tr_TR", "sv_SE", "pl_PL", "ro_RO", "pt_BR", "uk_UA", "cs_CZ"),
}  # fmt: skip
# {g} given name, {f} family name, {i} the initial of the given name.
TUNED = {
    "en": (
        "Please answer {g} {f} politely.", "I was contacted by {g} {f} yesterday. What now?",
        "My colleague {g} gave me this.", "Dear Mr. {f},\nthank you for your letter.",
        "From: {g} {f} <someone@firm.example>\nTo: sales", "Best regards,\n{g} {f}",
        "The report was written by {i}. {f} in May.", "Patient: {f}, {g}\nBorn: 1970",
        "{g} said that the meeting is on Friday.", "{g} {f}'s invoice was paid.",
    ),
    "de": (
        "Bitte antworten Sie {g} {f} noch heute.", "Sehr geehrte Frau {f},\nvielen Dank.",
        "Der Bericht wurde von {g} {f} geschrieben.", "Kunde: {g} {f}\nBetrag: 30 Euro",
        "Gestern hat {g} die Rechnung bezahlt.", "Mit freundlichen Grüßen\n{g} {f}",
    ),
    "fr": (
        "Veuillez répondre à {g} {f} aujourd'hui.", "Chère Madame {f},\nmerci de votre lettre.",
        "Le rapport a été écrit par {g} {f}.", "Cordialement,\n{g} {f}",
    ),
    "es": (
        "Por favor responda a {g} {f} hoy.", "Estimado Sr. {f}:\ngracias por su carta.",
        "El informe fue escrito por {g} {f}.", "Saludos,\n{g} {f}",
    ),
    "ru": (
        "Ответьте, пожалуйста, сегодня: {g} {f} ждёт.", "Уважаемый г-н {f},\nспасибо за письмо.",
        "Отчёт написал {g} {f} в мае.", "С уважением,\n{g} {f}",
    ),
}  # fmt: skip
HELD_OUT = {
    "en": (
        "Yesterday we visited {g} {f} at the new office near the station.",
        "Could you forward this to {g} before noon?", "Attendees: {g} {f}, the board, two guests",
        "I think Dr {f} will see you after lunch.",
        "{f}, {g} (2019). On the growth of plants.",
        "Hi {g},\n\nhere is the file you wanted.",
        "The contract between the bank and {g} {f} ends.",
        "{i}. {f} signed the form in 2004.", "Ms {g} {f} lives next door; {g} is very kind.",
        "\"I disagree,\" {g} {f} replied.", "Prepared by: {g} {f}", "Thanks,\n{g}",
        "{g} {f} was born in 1975 and works as a nurse.", "Is {g} {f} still the tenant?",
    ),
    "de": (
        "Wir haben {g} {f} am Montag im Büro getroffen.", "Hallo {g},\n\nanbei die Datei.",
        "Herr {f} ist umgezogen.", "Ansprechpartner: {g} {f}", "Kannst du {g} bitte anrufen?",
        "{g} {f} wurde 1975 geboren.", "Das Paket ist für {g} {f} bestimmt.", "Viele Grüße\n{g}",
    ),
    "fr": (
        "Nous avons rencontré {g} {f} lundi au bureau.", "Bonjour {g},\n\nvoici le fichier.",
        "M. {f} a déménagé.", "Client : {g} {f}", "{g} {f} est née en 1975.",
        "Le colis est pour {g} {f}.",
    ),
    "es": (
        "El lunes vimos a {g} {f} en la oficina.", "Hola {g}:\n\naquí está el archivo.",
        "La señora {f} se ha mudado.", "Cliente: {g} {f}", "{g} {f} nació en 1975.",
        "El paquete es para {g} {f}.",
    ),
    "ru": (
        "В понедельник приходил {g} {f}, и мы говорили.", "Привет, {g}!\n\nвот файл.",
        "Госпожа {f} переехала.", "Клиент: {g} {f}", "{f} {g} родился в 1975 году.",
        "Эту книгу перевёл {g} {f}.",
    ),
}  # fmt: skip


class Made(NamedTuple):
    """A sentence, and where its names stand."""

    text: str
    spans: list[tuple[int, int]]


def sentences(locale: str, templates: tuple[str, ...], count: int) -> Iterator[Made]:
    """Templates with names of a locale."""
    from faker import Faker  # type: ignore[import-not-found]

    fake = Faker(locale)
    fake.seed_instance(17)
    for template in templates:
        for _ in range(count):
            given, family = _first(fake.first_name()), fake.last_name()
            yield _filled(template, given, family)


def _first(name: str) -> str:
    return name.split()[0]


def _filled(template: str, given: str, family: str) -> Made:
    """A template with a name; what stands beside one another is one."""
    spans: list[tuple[int, int]] = []
    pieces, at = "", 0
    values = {"{g}": given, "{f}": family, "{i}": given[0]}
    while at < len(template):
        value = values.get(template[at : at + 3])
        if value is None:
            pieces += template[at]
            at += 1
            continue
        start = len(pieces)
        pieces += value
        at += 3
        gap = pieces[spans[-1][1] : start] if spans else "no"
        if spans and gap in (" ", ". ", ", "):
            spans[-1] = (spans[-1][0], len(pieces))
        else:
            spans.append((start, len(pieces)))
    return Made(pieces, spans)


def measure(find: Find, templates: dict[str, tuple[str, ...]], count: int) -> dict[str, list[int]]:
    """By language and locale: names, those found, those found in part, and spans elsewhere."""
    found: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for language, locales in LOCALES.items():
        for locale in locales:
            for made in sentences(locale, templates.get(language, templates["en"]), count):
                hits = find(made.text)
                letters = {place for start, end in hits for place in range(start, end)}
                for start, end in made.spans:
                    own = [n for n in range(start, end) if made.text[n].isalpha()]
                    covered = sum(place in letters for place in own)
                    row = found[f"{language} {locale}"]
                    row[0] += 1
                    row[1] += covered == len(own)
                    row[2] += 0 < covered < len(own)
                inside = {n for start, end in made.spans for n in range(start, end)}
                found[f"{language} {locale}"][3] += sum(
                    not inside & set(range(start, end)) for start, end in hits
                )
    return found


def linnet(text: str) -> list[tuple[int, int]]:
    """What Linnet finds."""
    return [(span.start, span.end) for span in names_of_people(text, "prose")]


def show(title: str, found: dict[str, list[int]]) -> None:
    print(title)
    total: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for name, row in found.items():
        _line(f"  {name}", row)
        for group in (name.split()[0], "all"):
            total[group] = [a + b for a, b in zip(total[group], row, strict=True)]
    for name, row in total.items():
        _line(f" {name}", row)


def _line(name: str, row: list[int]) -> None:
    whole, part = row[1] / row[0], row[2] / row[0]
    print(f"{name:12} {row[0]:6,} names, found {whole:.1%}, in part {part:.1%}, "
          f"other spans {row[3]}")  # fmt: skip


def texts() -> dict[str, str]:
    """Ordinary text, in which names are rare or common."""
    answers = [json.loads(line)["answer"] for line in
               (SHARED / "medquad" / "medquad.jsonl").read_text("utf-8").splitlines()]  # fmt: skip
    random.Random(5).shuffle(answers)
    return {
        "TinyStories": (SHARED / "tinystories" / "val.txt").read_text("utf-8"),
        "MedQuAD": "\n\n".join(answers[:3000]),
        "WikiText-2": (SHARED / "wikitext-2" / "valid.txt").read_text("utf-8"),
        "Python's documentation": "\n\n".join(pydoc_data.topics.topics.values()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--per-template", type=int, default=40)
    parser.add_argument("--tuned", action="store_true")
    parser.add_argument("--list", type=Path, help="another list of names")
    given = parser.parse_args()
    if given.list:
        name_lists.FILE = given.list
    show("templates that were tuned on", measure(linnet, TUNED, given.per_template))
    if not given.tuned:
        show("held out", measure(linnet, HELD_OUT, given.per_template))
    for title, text in texts().items():
        began = time.process_time()
        count = len(linnet(text))
        seconds, size = time.process_time() - began, len(text.split())
        print(f"{title}: {count:,} spans in {size:,} words, {count / size * 10_000:.1f} in 10,000; "
              f"{len(text) / 1e6 / seconds:.2f} MB/s")  # fmt: skip


if __name__ == "__main__":
    main()
