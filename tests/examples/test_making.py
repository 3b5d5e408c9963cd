"""Examples out of documents: what generators make of them, what checks reject, and the command."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, ModuleType

import jsonschema
import pytest
from typer.testing import CliRunner

from linnet import artifact
from linnet.cli import app
from linnet.data import DataConfig, kept_texts, prepare
from linnet.errors import ConfigError, DataError
from linnet.examples import (
    CHECKS,
    Case,
    Context,
    Example,
    ExamplesConfig,
    Generator,
    example,
    make_examples,
    read_examples,
)
from linnet.examples.balance import Row, balanced, shares
from linnet.examples.checks import Seen
from linnet.examples.generation import REJECTED_FILE
from linnet.examples.generators import entries, headings, lists, sentences
from linnet.examples.generators.abbreviations import long_form
from linnet.examples.generators.clozes import gaps
from linnet.examples.generators.entries import is_signature
from linnet.examples.languages import CODES, language_of
from linnet.examples.record import KINDS, REFUSED
from linnet.examples.source import Shared, Source, read_source
from linnet.retrieval import BM25

pytestmark = pytest.mark.usefixtures("reading_here")

MANUAL = """# Harbour manual

The Wexford harbour crane is a machine that lifts containers of up to 40 tons from ships.
The Wexford harbour crane is named after the town of Wexford. The Wexford crane was built in 1987.
It was painted green by the first crew, who liked that colour better than all the others.

## What does a permit cost?

A permit costs 120 euros a year. It is valid from the first of January.

## Safety

Signs of overload include a loud alarm, a red lamp and a tilted boom. Overload is caused by wet
cargo. The crane stops on its own when the wind exceeds 72 kilometres an hour. The harbour master
decides when work on the Wexford crane goes on. The emergency stop unit (ESU) and the boom angle
meter (BAM) are tested every morning by the crew that starts the first shift of the day.

The crew may carry the following:

- A helmet with a lamp.
- A rope of twelve metres.
- A signal whistle.

## Fees

Vessel | Fee | Season
trawler | 300 euros | summer
yacht | 150 euros | all year
ferry | 900 euros | winter
"""
REFERENCE = """# crane module

crane.lift(load, height=2)

Move a load to the given height in metres.

New in version 3.4.

crane.lower(load)

Return the time that lowering the load took.

# Glossary

boom

The long arm of a crane that carries the hook and the load.
"""
FAQ = """Questions from visitors

Q: How do I reach the harbour museum by bus?
A: Take line 12 to the last stop. The museum is behind the old lighthouse.
"""
GERMAN = """# Hafenordnung

Der Hafenkran ist eine Maschine, die Container von Schiffen auf das Land hebt. Der Leuchtturm wurde
im Jahr 1897 gebaut. Die Liegegebühr beträgt 35 Euro. Eine Genehmigung kostet 120 Euro im Jahr.
Der Fischmarkt befindet sich in der alten Halle. Das Tor besteht aus zwei Flügeln aus Eichenholz.
"""
FRENCH = """# Règlement du port

La grue de Wexford est une machine qui soulève des conteneurs. Le phare a été construit en 1897 par
la ville. Le permis coûte 120 euros par an. La halle se trouve dans la vieille ville du port.
Les gens du port aiment beaucoup cette grue et la montrent volontiers à tous les visiteurs.
"""
SPANISH = """# Reglamento del puerto

La grúa de Wexford es una máquina que levanta contenedores. El faro fue construido en 1897 por la
ciudad. El permiso cuesta 120 euros al año. El mercado se encuentra en la parte vieja del puerto.
La gente del puerto quiere mucho esta grúa y la enseña con gusto a todos los visitantes que llegan.
"""
RUSSIAN = """# Порт

Маяк построили в 1897 году на высоком берегу, и он до сих пор показывает путь кораблям в море.
Жители города очень любят этот старый маяк и часто приходят к нему вечером со своими детьми.
"""
ALL = ExamplesConfig(per_passage=50)
DOCUMENTS = MappingProxyType({
    "manual.md": MANUAL, "reference.md": REFERENCE, "faq.txt": FAQ, "hafen.md": GERMAN,
    "port.md": FRENCH, "puerto.md": SPANISH, "порт – ü'x.md": RUSSIAN,
})  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("harbour")
    (root / "docs").mkdir()
    for name, text in DOCUMENTS.items():
        (root / "docs" / name).write_text(text, encoding="utf-8")
    config = DataConfig(workers=1, quality=("off",), split_by="document")
    return prepare([root / "docs"], root / "corpus", config).path


@pytest.fixture(scope="module")
def made(corpus: Path) -> Path:
    return make_examples(corpus, corpus.parent / "examples", ALL).path


@pytest.fixture(scope="module")
def examples(made: Path) -> list[Example]:
    return list(read_examples(made))


def of(examples: list[Example], name: str, *kinds: str) -> dict[str, str]:
    return {
        one.question: one.answer
        for one in examples
        if one.source is not None and one.source.endswith(name) and (one.kind in kinds or not kinds)
    }


def asked(found: dict[str, str], pattern: str) -> str:
    """The answer to the one question that matches."""
    answers = [answer for question, answer in found.items() if re.search(pattern, question)]
    assert len(answers) == 1, (pattern, list(found))
    return answers[0]


def test_sentences_tables_lists_and_headings_are_asked_about(examples: list[Example]) -> None:
    found = of(examples, "manual.md", "question")
    rejected: dict[str, str] = {}
    assert asked(found, r"^What is the Wexford harbour crane\?$").startswith("The Wexford harbour")
    assert asked(found, r"^What does a permit cost\?$").startswith("A permit costs 120 euros")
    fees = {"trawler": "300 euros", "yacht": "150 euros", "ferry": "900 euros"}
    for question, answer in found.items():
        if "table" in question and "Fee" in question.partition("column")[2]:
            assert answer in fees.values()
    assert not any(question.startswith("What is it") for question in found), rejected
    instructions = of(examples, "manual.md", "instruction")
    assert "A signal whistle." in asked(instructions, "The crew may carry")


def test_reference_glossary_and_answered_questions(examples: list[Example]) -> None:
    found = of(examples, "reference.md", "question")
    assert asked(found, r"crane\.lift\(\) do") == "Move a load to the given height in metres."
    assert asked(found, r"crane\.lower\(\) return").startswith("Return the time")
    assert asked(found, r"version.*crane\.lift\(\)") == "3.4"
    assert asked(found, '"boom"').startswith("The long arm")
    answer = asked(of(examples, "faq.txt", "question"), "harbour museum by bus")
    assert answer == "Take line 12 to the last stop. The museum is behind the old lighthouse."


@pytest.mark.parametrize(
    ("name", "questions"),
    [
        ("hafen.md", ["Was ist der Hafenkran?", "Wie viel kostet eine Genehmigung?"]),
        ("port.md", ["Qu’est-ce que la grue de Wexford ?", "Combien coûte le permis ?"]),
        ("puerto.md", ["¿Qué es la grúa de Wexford?", "¿Cuánto cuesta el permiso?"]),
    ],
)
def test_other_languages_have_templates_of_their_own(
    examples: list[Example], name: str, questions: list[str]
) -> None:
    found = of(examples, name, "question")
    small = " ".join(found).lower()
    for question in questions:
        assert question.lower() in small, found


def test_a_language_without_templates_gets_what_needs_no_words(examples: list[Example]) -> None:
    found = [one for one in examples if one.source and one.source.endswith("ü'x.md")]
    assert [(one.kind, one.language, one.answer) for one in found] == [("cloze", "", "1897")]
    assert "____" in found[0].question


def test_every_row_holds_what_its_kind_promises(examples: list[Example], corpus: Path) -> None:
    texts = {kept.source: kept for kept in kept_texts(corpus)}
    for one in examples:
        assert one.kind in KINDS
        if one.source is not None:
            kept = texts[one.source]
            assert one.split == kept.splits[0][2]
            for quote in one.quotes:
                assert kept.text[quote.start : quote.end] == quote.text
        if one.quote is not None:
            assert kept.text[one.start : one.end] == one.quote
        assert (one.quote is None) == (one.kind in REFUSED)
        if one.schema is not None:
            jsonschema.validate(json.loads(one.answer), one.schema)
        if one.kind == "cloze":
            assert one.answer in (one.quote or "")
            assert one.answer not in one.question
    assert len({one.id for one in examples}) == len(examples)
    assert {"question", "cloze", "instruction", "multi_part", "off_topic"} <= {
        one.kind for one in examples
    }


def test_near_misses_ask_for_what_stands_nowhere(examples: list[Example], corpus: Path) -> None:
    words = set(re.findall(r"\w+", " ".join(kept.text for kept in kept_texts(corpus)).lower()))
    for one in examples:
        if one.kind == "near_miss" and "____" not in one.question:
            assert set(re.findall(r"\w+", one.question.lower())) - words


def test_the_same_again_changes_nothing_and_another_seed_does(
    corpus: Path, made: Path, tmp_path: Path
) -> None:
    before = artifact.read(made).manifest
    assert make_examples(corpus, made, ALL).manifest.created == before.created
    again = make_examples(corpus, tmp_path / "again", ALL)
    assert again.content == artifact.read(made).content
    other = make_examples(corpus, tmp_path / "other", replace(ALL, seed=1))
    assert other.content != again.content


def test_a_killed_run_carries_on_where_it_was(
    corpus: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "killed"
    with monkeypatch.context() as patch:
        patch.setattr("linnet.examples.generation.balanced", killed)
        with pytest.raises(KeyboardInterrupt):
            make_examples(corpus, out, ALL)
    spool = tmp_path / ".killed.partial" / "work" / "documents.jsonl"
    lines = spool.read_bytes().splitlines(keepends=True)
    spool.write_bytes(b"".join(lines[:3]) + lines[3][: len(lines[3]) // 2])
    assert make_examples(corpus, out, ALL).content == artifact.read(made).content


def test_what_is_rejected_stands_with_its_reason(made: Path, corpus: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (made / REJECTED_FILE).read_text("utf-8").splitlines()]
    assert all(row["check"] and row["reason"] and row["question"] for row in rows)
    stats = artifact.read(made).stats
    assert sum(sum(reasons.values()) for reasons in stats["rejected"].values()) == len(rows)
    assert (made / "report.html").read_text("utf-8").count("<h3>") > 3


def a_source(text: str = MANUAL, language: str = "en") -> tuple[Source, Context]:
    from linnet.data.blocks import numbered
    from linnet.data.locating import KeptText

    whole = numbered(text, "prose")
    kept = KeptText(
        "a.md", "0", str(whole), whole.structure, "prose", language,
        ((0, len(whole), "train"),),
    )  # fmt: skip
    source = read_source(kept, first=0, characters=1200, shared=Shared())
    context = Context(ExamplesConfig(), BM25())
    for passage in source.passages:
        context.index.add(passage.text, language)
    return source, context


def test_each_check_finds_its_fault() -> None:
    source, context = a_source()
    start = MANUAL.index("A permit costs")
    place = (start, start + len("A permit costs 120 euros a year."))
    passage = source.passage_at(*place)
    assert passage is not None
    good = example(source, passage, "question", "How much is a permit?", "120 euros", place)
    cases = {
        "": good,
        "length": replace(good, answer=" "),
        "quote": replace(good, start=place[0] + 1),
        "private": replace(good, question="Who has the address <EMAIL>?"),
        "supported": replace(good, answer="It costs 130 euros a year."),
        "needs passage": replace(good, question="Are 120 euros the price of a permit?"),
        "round trip": replace(good, question="Wer zahlt?"),
    }

    def first_fault(one: Example, seen: Seen) -> str:
        case = Case(one, source, context, seen)
        return next((check.name for check in CHECKS if check.fault(case)), "")

    for name, one in cases.items():
        assert first_fault(one, Seen()) == name
    from linnet.examples.checks import accept

    seen = Seen()
    accept(good, seen)
    assert first_fault(replace(good, answer="a price"), seen) == "repeated"


def test_the_balance_keeps_the_shares_where_that_costs_little() -> None:
    config = ExamplesConfig()
    counts, exceeded = shares({"question": 800, "cloze": 700, "summary": 500}, config)
    total = sum(counts.values())
    assert not exceeded
    assert max(counts.values()) <= config.largest_share * total
    assert counts["question"] >= config.question_share * total
    assert total > 1950
    few, exceeded = shares({"question": 3, "cloze": 900}, config)
    assert exceeded
    assert sum(few.values()) == 903  # rather than six
    limited, _ = shares({"question": 800, "cloze": 700, "summary": 500}, ExamplesConfig(limit=100))
    assert sum(limited.values()) == 100
    rows = [Row(f"{kind}{n}", kind, f"d{n % 7}") for kind in ("question", "cloze", "summary")
            for n in range(70)]  # fmt: skip
    kept = balanced(rows, ExamplesConfig(limit=21)).kept
    per_source = Counter(row.source for row in rows if row.id in kept)
    assert len(per_source) == 7  # each document gives its first before any gives its second
    assert kept == balanced(reversed(rows), ExamplesConfig(limit=21)).kept or len(kept) == 21


def test_every_language_has_every_template_and_patterns_that_compile() -> None:
    english = language_of("en")
    assert english is not None
    for code in CODES:
        words = language_of(code)
        assert words is not None
        assert set(words.templates) == set(english.templates)
        assert set(words.sets) == set(english.sets)
        assert words.patterns
        assert words.leads
        for name in ("refusal", "cloze", "context", "multi_part", "follow_up"):
            assert words.template(name)
        assert all(words.lists[name] for name in words.general)


def test_patterns_end_quickly_on_hostile_sentences() -> None:
    words = language_of("en")
    assert words is not None
    for text in ("a (b) " * 60 + "is", "is " * 130, "the " * 90 + "(" * 40, "x, or y" * 50):
        for pattern in words.patterns:
            pattern.match.fullmatch(text[:400])
    assert not is_signature("double " * 40 + "(")
    assert not is_signature("a." * 140 + "(")


@pytest.mark.parametrize(
    ("text", "short", "long"),
    [
        ("the emergency stop unit (ESU)", "ESU", "emergency stop unit"),
        ("an end-stage renal disease (ESRD)", "ESRD", "end-stage renal disease"),
        ("department of motor vehicles (DMV)", "DMV", "department of motor vehicles"),
        ("it was raining (ESU)", "ESU", None),
        ("unit. Stop emergency (ESU)", "ESU", None),
    ],
)
def test_long_forms_of_abbreviations(text: str, short: str, long: str | None) -> None:
    at = text.index(" (")
    start = long_form(text, at, short)
    assert (None if start is None else text[start:at]) == long


def test_gaps_are_numbers_names_and_code_that_stand_once() -> None:
    def found(sentence: str) -> list[str]:
        return [sentence[gap.start : gap.end] for gap in gaps(sentence)]

    assert found("The lighthouse of the town was built in 1897 on a hill.") == ["1897"]
    assert found("See section 3 of the book, it has a good text on this.") == []
    assert found("There were 12 ships and 12 boats in the harbour then.") == []
    assert found("We call the old function read_all() in this very case.")[0] == "read_all()"
    assert found("The case is detected by Python’s compiler in the end.") == []
    assert found("The crane lifts loads of 10 to 40 tons from 20-30 ships.") == []
    assert found("In order to use the Distutils, you need a script.") == []
    assert found("The first of the items is args[0], and others follow.") == []


@pytest.mark.parametrize(
    ("documents", "said"),
    [
        ({"a.py": "def f(x):\n    return x + 1\n" * 30}, "no example could be made"),
        ({"a.txt": "word " * 300}, "no example could be made"),
    ],
)
def test_documents_that_give_nothing(documents: dict[str, str], said: str, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for name, text in documents.items():
        (tmp_path / "docs" / name).write_text(text, encoding="utf-8")
    config = DataConfig(workers=1, quality=("off",))
    corpus = prepare([tmp_path / "docs"], tmp_path / "corpus", config).path
    stats = make_examples(
        corpus, tmp_path / "out", ExamplesConfig(kinds=("question", "near_miss"))
    ).stats
    assert stats["examples"] == 0
    assert said in stats["warnings"][0]


def test_wrong_settings_are_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"kinds are question, cloze.*Got 'quizz'"):
        ExamplesConfig(kinds=("quizz",))
    with pytest.raises(ConfigError, match=r"question_share must be at most largest_share"):
        ExamplesConfig(question_share=0.5)
    with pytest.raises(ConfigError, match=r"generators are .*sentences"):
        make_examples(corpus, tmp_path / "out", ExamplesConfig(generators=("oracle",)))


def test_a_generator_of_ones_own_is_checked_like_the_others(corpus: Path, tmp_path: Path) -> None:
    def generate(source: Source, context: Context) -> Iterator[Example]:
        passage = source.passages[0]
        yield example(source, passage, "question", "Who?", "nobody", (0, 1))

    own = Generator("own", ("question",), generate=generate)
    made = make_examples(corpus, tmp_path / "out", generators=[own])
    assert made.stats["examples"] == 0
    assert set(made.stats["rejected"]) <= {"round trip", "repeated", "supported"}


def test_the_command_makes_them(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "questions"
    done = CliRunner().invoke(app, ["examples", str(corpus), "--out", str(out), "--limit", "30"])
    assert done.exit_code == 0, done.output
    assert "30 examples" in done.output
    done = CliRunner().invoke(app, ["examples", "--out", str(out), str(corpus), "--json"])
    assert json.loads(done.output)["examples"] > 30
    assert "make" in CliRunner().invoke(app, ["examples", "--help"]).output


def test_a_corpus_without_documents_is_refused(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("linnet.examples.generation.kept_texts", lambda _: iter(()))
    with pytest.raises(DataError, match="has no passage"):
        make_examples(corpus, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "sentence",
    [
        "Myelin insulates nerve fibers and promotes the transmission of impulses.",
        "Compares fromlines and tolines and returns a Wexford table of them.",
        "The returned string is a copy of the Wexford permit.",
        "The abnormal balance of molecules can raise the pH of the blood.",
        "The Wexford crane represents the milder form of the disorder.",
        "Wexford tolls are an equivalent feature for harbours.",
        "Wexford tolls are also used to pay for the new lighthouse.",
        "The cause of Wexford rust is unclear in most of the harbours.",
        "Optional load is a weight that the Wexford crane lifts.",
        "Lifting the Wexford load is a decision that involves the whole crew.",
        "Tests are used to find cracks before they grow.",
        "The Wexford Wexford pump is a machine that lifts water.",  # a name within a short form
    ],
)
def test_what_does_not_stand_alone_is_not_asked_about(sentence: str) -> None:
    source, context = a_source(f"# Harbour\n\nWhat came before is not told here. {sentence}\n")
    assert [one.question for one in of_generator(sentences, source, context)] == []


def test_items_on_one_line_are_asked_about_without_their_marks() -> None:
    items = "The Wexford pump is a machine that lifts water.", "Wexford rust is a stain on ropes."
    source, context = a_source(f"# Harbour\n\n- {items[0]}  - {items[1]}\n")
    made = of_generator(sentences, source, context)
    assert [one.quote for one in made if one.kind == "question"] == list(items)
    assert not any(" - " in one.question for one in made)


def test_what_stands_for_the_title_may_point_back() -> None:
    told = "This condition is inherited in an autosomal recessive pattern, which means both copies."
    made = of_generator(sentences, *a_source(f"# Wexford syndrome\n\n{told}\n"))
    assert "Wexford syndrome" in made[0].question
    assert made[0].answer == told
    for text in (f"{'Of rust is told here. ' * 12}{told}", "This condition involves old ropes."):
        assert not of_generator(sentences, *a_source(f"# Wexford syndrome\n\n{text}\n"))


TOLD = {
    ("en", "Harbour rust fever"): {
        "Summary: The harbour rust fever (HRF) is a fever that sailors get.":
            r"What is the harbour rust fever\?",
        "Pain in type 2 affects 30 people a year.": r".*\"Harbour rust fever\".*",
        "HRF is a rare condition; fewer than 30 cases have been reported.":
            r"How (common is|many people are affected by) harbour rust fever\?",
        "The harbour rust fever is inherited, which is enough to cause the disorder.": None,
        "The harbour rust fever is inherited in a dominant pattern, so that one copy of the gene "
        "causes the disorder.": r"(How is|Is) the harbour rust fever inherited\?",
        "Most cases of harbour rust fever are caused by mutations in the HRF1 gene.":
            r"(What causes|Which genetic changes cause) most cases of harbour rust fever\?",
        "The prevalence of harbour rust fever is unknown.":
            r"What is the prevalence of harbour rust fever\?",
        "The harbour rust fever is not contagious.": r"Is the harbour rust fever contagious\?",
        "The harbour rust fever is the most common cause of rust.": None,
    },
    ("de", "Hafenrostfieber"): {
        "Das Hafenrostfieber, auch Kranfieber genannt, ist ein Fieber, das Matrosen haben.":
            r"(Unter welchem Namen|Wie) ist das Hafenrostfieber (auch|noch) bekannt\?",
        "Das Hafenrostfieber wird rezessiv vererbt.": r"Wie wird das Hafenrostfieber vererbt\?",
        "Das Hafenrostfieber ist nicht ansteckend.": r"Ist das Hafenrostfieber ansteckend\?",
        "Die meisten Fälle von Hafenrostfieber werden durch Mutationen verursacht.":
            r"Wodurch werden die meisten Fälle von Hafenrostfieber verursacht\?",
        "Es gibt drei Formen von Hafenrostfieber.":
            r"Wie viele Formen von Hafenrostfieber gibt es\?",
        "Die Hafenordnung trat am 1. Mai 1998 in Kraft.":
            r".*Wann trat die Hafenordnung in Kraft\?.*",
        "Das Hafenrostfieber ist ebenfalls ein Fieber der Matrosen.": None,
    },
    ("fr", "Fièvre de Wexford"): {
        "La fièvre de Wexford touche environ 1 personne sur 20 000.":
            r"Combien de personnes touche la fièvre de Wexford \?",
        "La fièvre de Wexford se transmet sur un mode récessif.":
            r"Comment se transmet la fièvre de Wexford \?",
        "La fièvre de Wexford n’est pas contagieuse.":
            r"Est-ce que la fièvre de Wexford est contagieuse \?",
        "La cause de la fièvre de Wexford est inconnue.":
            r"Quelle est la cause de la fièvre de Wexford \?",
        "L’hôpital Polar de Berne compte 420 lits.":
            r"Combien de lits compte l’hôpital Polar de Berne \?",
        "La fièvre de Wexford est également une maladie rare.": None,
    },
    ("es", "Fiebre de Wexford"): {
        "La fiebre de Wexford afecta a 1 de cada 20.000 personas.":
            r"¿A cuántas personas afecta la fiebre de Wexford\?",
        "La fiebre de Wexford se hereda de forma recesiva.":
            r"¿Cómo se hereda la fiebre de Wexford\?",
        "La fiebre de Wexford no es contagiosa.": r"¿Es contagiosa la fiebre de Wexford\?",
        "La causa de la fiebre de Wexford es desconocida.":
            r"¿Cuál es la causa de la fiebre de Wexford\?",
        "Hay tres formas de la fiebre de Wexford.":
            r"¿Cuántas formas de la fiebre de Wexford hay\?",
        "La fiebre de Wexford es además una enfermedad rara.": None,
    },
}  # fmt: skip
"""Sentences about the title of their document with the questions that they answer, if any."""


@pytest.mark.parametrize("code", CODES)
def test_what_is_said_of_the_title_answers_what_people_ask(code: str) -> None:
    (_, title), told = next(item for item in TOLD.items() if item[0][0] == code)
    source, context = a_source(f"# {title}\n\n{' '.join(told)}\n", code)
    made = [one for one in of_generator(sentences, source, context) if one.kind == "question"]
    asked = {one.quote: one.question for one in made}
    for sentence, question in told.items():
        found = asked.get(sentence.removeprefix("Summary: "))
        if question is None:
            assert found is None
        else:
            assert found is not None, (sentence, asked)
            assert re.fullmatch(question, found)


def test_lists_are_asked_about_by_what_leads_to_them() -> None:
    lead = "Symptoms of Wexford fever may include"
    for text in (lead, f"{lead}:", f"{lead} the following:"):
        made = of_generator(lists, *a_source(f"# Wexford fever\n\n{text}\n\n- rust\n- salt\n"))
        assert made[0].question.lower() == "what may symptoms of wexford fever include?"
        assert made[0].answer == "- rust\n- salt"
    text = f"# Wexford fever\n\n{lead} rust.\n\n- rust\n- salt\n"
    assert not of_generator(lists, *a_source(text))


def of_generator(module: ModuleType, source: Source, context: Context) -> list[Example]:
    return list(module.GENERATOR.generate(source, context))


def test_a_verb_that_other_sentences_have_too_is_not_asked_about() -> None:
    one = "The Wexford crane damages old quay walls."
    assert of_generator(sentences, *a_source(f"# Harbour\n\n{one}\n"))
    for more in ("It damages ropes.", "Storms and the Wexford crane damage ships."):
        assert not of_generator(sentences, *a_source(f"# Harbour\n\n{one} {more}\n"))
    assert not of_generator(sentences, *a_source(f"# The Wexford crane\n\n{one}\n"))


def test_entries_quote_what_names_them_and_describe() -> None:
    note = "New in version 3.8."
    far = "Some more of it. " * 80
    text = f"# harbour module\n\nharbour.near(a)\n\nLift a load.\n\n{note}\n\nharbour.far(b)\n\n"
    text += f"Lift a load.\n\n{far}\n\n{note}\n\n"
    text += "PyObject *PyHarbour_New(int a)\nReturn value: New reference.\n"
    made = of_generator(entries, *a_source(text))
    assert [one.answer for one in made].count("3.8") == 1
    assert all("harbour." in (one.quote or "") for one in made if one.answer == "3.8")
    assert not any("New reference" in one.answer for one in made)
    assert not any("?," in one.question or ".," in one.question for one in made)


def test_only_short_texts_are_summed_up_by_their_lead() -> None:
    lead = (
        "The Wexford crane is a crane that lifts containers from ships. "
        "A crew of four keeps containers and ships apart. "
    )
    rest = "Ships with many containers wait for the crane. "
    source, context = a_source(f"# Wexford crane\n\n{lead}{rest}\n")
    made = [one for one in of_generator(headings, source, context) if one.kind == "summary"]
    assert [one.answer for one in made] == [lead.strip()]
    more = "Gulls nest on lamps, and lamps attract gulls. Lamps blind gulls. "
    for text in (lead + rest * 3, lead + more):
        source, context = a_source(f"# Wexford crane\n\n{text}\n")
        assert "summary" not in {one.kind for one in of_generator(headings, source, context)}


def test_near_misses_are_made_of_questions_only(examples: list[Example]) -> None:
    missed = [one for one in examples if one.kind == "near_miss"]
    assert missed
    assert not any("____" in one.question for one in missed)


def test_where_there_are_no_examples_the_command_that_makes_them_is_named(tmp_path: Path) -> None:
    place = tmp_path / "my index"
    place.mkdir()
    command = f"run linnet examples '{place}' --out '{place / 'examples'}'"
    with pytest.raises(DataError, match=re.escape(command)):
        list(read_examples(place))
