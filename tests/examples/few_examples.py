"""A corpus of a few documents, and examples out of it, made as a generator would."""

import hashlib
from pathlib import Path

from linnet import artifact
from linnet.artifact import Artifact, Draft
from linnet.data import DataConfig, kept_texts, prepare
from linnet.examples import Example, write_examples
from linnet.examples.record import EXAMPLES_FILE
from reading_here import ReadingHere

NAMES = ("Alder", "Birch", "Cedar", "Dogwood", "Elm", "Fir", "Gingko", "Hazel")
_HABITS = ("likes wet ground", "sheds its bark", "was planted by monks", "burns without sparks")


def text(number: int) -> str:
    """A document about one tree: a fact with a number, and more than enough beside it."""
    name, habit = NAMES[number], _HABITS[number % len(_HABITS)]
    rest = " ".join(
        f"Foresters from valley {number * 31 + n} tell that the {name.lower()} {habit}  and often "
        f"outlives {n + 3} of its neighbours."
        for n in range(5)
    )
    return f"# {name}\n\nThe {name.lower()} grows to {20 + number} metres. {rest}\n"


def small_corpus(place: Path) -> Path:
    folder = place / "trees"
    folder.mkdir(parents=True)
    for number, name in enumerate(NAMES):
        (folder / f"{name}.md").write_text(text(number), encoding="utf-8")
    config = DataConfig(split_by="document")
    here = ReadingHere(1, timeout=60, memory_mb=2000)
    prepare([folder], place / "corpus", config, executor=here)
    return place / "corpus"


def examples_of(corpus: Path) -> list[Example]:
    """Of each document a question, and one whose passage was taken out."""
    found = []
    for number, kept in enumerate(kept_texts(corpus)):
        name = kept.text.split()[0] if kept.text[0] != "#" else kept.text.split()[1]
        start = kept.text.index("grows to")
        end = kept.text.index(".", start) + 1
        split = kept.splits[0][2]
        values = {"source": kept.source, "split": split, "language": "en", "headings": (name,)}
        quote, passage = kept.text[start:end], (start - len(f"The {name} "), end)
        answer = quote.removeprefix("grows to ").removesuffix(" metres.")
        question = f"How many metres does the {name.lower()} grow to?"
        found.append(
            Example(
                identity(question), "question", question, answer, quote, start=start, end=end,
                generator="heights", passage=passage, **values,
            )
        )  # fmt: skip
        question = f"How heavy does the {name.lower()} get?"
        refused = ("de", "") if number == 0 else ("en", "I don't know.")
        values["language"] = refused[0]
        found.append(
            Example(
                identity(question), "unanswerable", question, refused[1], None, start=None,
                end=None, generator="withheld", passage=passage, **values,
            )
        )  # fmt: skip
    return found


def identity(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def write(place: Path, examples: list[Example], corpus: Path) -> Artifact:
    """The directory of these examples, made anew whatever is there."""

    def fill(draft: Draft) -> None:
        write_examples(draft.path / EXAMPLES_FILE, examples)

    return artifact.make(
        place, fill, kind="examples", format=1, config={},
        inputs={"corpus": artifact.read(corpus)}, reuse=False,
    )  # fmt: skip
