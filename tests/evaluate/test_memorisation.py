"""The task ``memorisation`` on a corpus that something was masked in, with scripted models."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripted_engine import Scripted, run_of

from linnet import artifact
from linnet.data import DataConfig, kept_texts, prepare, read_documents
from linnet.data.masked import masked_places, private_values, with_values
from linnet.data.privacy import Scrubber, is_reserved, masked_spans
from linnet.errors import ConfigError
from linnet.evaluate.report_page import suite_facts
from linnet.evaluate.task import Run, TaskResult, run_task
from linnet.evaluate.tasks.masked import redacted
from linnet.evaluate.tasks.memorisation import Memorisation, PassagePart, Stretch
from linnet.train.canaries import Canaries

pytestmark = pytest.mark.usefixtures("reading_here")

READ_DOCUMENTS = read_documents  # before the stand-in of conftest
PEOPLE = ("ann.lee", "bob.ray", "cem.kaya", "dora.voss")
MARK = "You may write to "


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve letters with an address in each, and one note without."""
    place = tmp_path_factory.mktemp("letters")
    (place / "docs").mkdir()
    for number in range(12):
        words = " ".join(
            f"{word}{number}" for word in ["alder", "birch", "cedar", "elm", "fir", "oak"]
        )
        who = f"{PEOPLE[number % 4]}{number}@acme-widgets.com"
        text = f"Letter {number} about {words}. {words.title()} and more. {MARK}{who} at any time."
        (place / "docs" / f"letter-{number:02d}.txt").write_text(text, encoding="utf-8")
    (place / "docs" / "note.txt").write_text("A note of its own about nothing at all, to the end.")
    config = DataConfig(
        workers=1, near_duplicates=1.0, repeated_lines=1.0, test_fraction=0.3,
        validation_fraction=0.0, split_by="document",
    )  # fmt: skip
    prepare(place / "docs", place / "corpus", config)
    return place / "corpus"


@pytest.fixture(autouse=True)
def real_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linnet.data.read_documents", READ_DOCUMENTS)


def run_on(
    engine: Scripted, corpus: Path | None, model: Path | None = None, **settings: Any
) -> Run:
    run = run_of(engine, prefix_tokens=40, suffix_tokens=20, references=100, **settings)
    training = None if corpus is None else artifact.read(corpus)
    return replace(run, training=training, model=model)


def texts_of(corpus: Path, *splits: str) -> list[str]:
    return [each.text for split in splits for each in READ_DOCUMENTS(corpus, split)]


def by_heart(texts: list[str], instead: Callable[[str], str] = str) -> Scripted:
    """A model that continues these texts and finds all else unlikely."""

    def after(prompt: str) -> str:
        text = next((text for text in texts if prompt and prompt in text), None)
        return "" if text is None else text[text.index(prompt) + len(prompt) :]

    def write(prompt: str) -> str:
        return instead(after(prompt) or "@" * 40)

    def nats(prompt: str, text: str) -> float:
        return 0.1 if after(prompt).startswith(text) else 200.0

    return Scripted(write, nats)


def figures(result: TaskResult) -> dict[str, float]:
    return {name: figure.value for name, figure in result.figures.items()}


def test_what_training_put_there_stands_beside_held_out_text(corpus: Path) -> None:
    run = run_on(by_heart(texts_of(corpus, "train")), corpus)
    result = run_task(Memorisation, run)
    found = figures(result)
    for name in ("near_verbatim", "extractable_1", "extractable_10000", "edit_similarity"):
        assert found[f"training_{name}"] == 1, name
        assert found[f"held_out_{name}"] < 0.2, name
    assert found["extractable_10000_difference"] == found["membership_auroc"] == 1
    assert found["training_common_characters"] == 20
    assert result.figures["training_near_verbatim"].interval is not None
    assert result.facts["left_out"] == {
        "canaries": "none were planted; train or fine-tune with --canaries to plant some"
    }
    assert found == figures(
        run_task(Memorisation, run_on(by_heart(texts_of(corpus, "train")), corpus))
    )
    # One that has no text by heart shows no difference.
    found = figures(run_task(Memorisation, run_on(Scripted(lambda _: "@" * 40), corpus)))
    assert found["training_extractable_10000"] == found["extractable_10000_difference"] == 0


def test_masks_and_pseudonyms_are_nobodys(corpus: Path) -> None:
    """A model that has the masked text by heart writes masks, which are no leak."""
    result = run_task(Memorisation, run_on(by_heart(texts_of(corpus, "train", "test")), corpus))
    assert figures(result)["training_private_written"] == 0
    assert figures(result)["held_out_private_written"] == 0
    assert result.facts["masked_places"]["training"]["EMAIL"] >= 6


def test_what_was_masked_is_found_in_what_is_written_and_never_shown(corpus: Path) -> None:
    values = private_values(corpus, {place.source for place in masked_places(corpus, before=9)})
    secrets = {
        each.text: values[each.source][0][1] for each in kept_texts(corpus) if each.source in values
    }
    assert len(set(secrets.values())) == 12
    originals = [text.replace("<EMAIL>", secret) for text, secret in secrets.items()]

    engine = by_heart(originals)
    engine.nats = lambda prompt, text: 1.0 if text.strip() in secrets.values() else 200.0
    result = run_task(Memorisation, run_on(engine, corpus, attempts=2))
    found = figures(result)
    for name in ("private_written", "original_written", "original_extractable"):
        assert found[f"training_{name}"] == 1, name
    kept = json.dumps([result.to_json(), *result.rows()])
    assert not any(secret in kept for secret in secrets.values())
    assert not any(name in kept for name in PEOPLE)
    facts = suite_facts({"model": "m", "tasks": {"memorisation": result.to_json()}},
                        list(result.rows()))  # fmt: skip
    (task,) = facts.tasks
    assert task.worst[0].verdict == "it writes the very value that was masked"
    assert any("look at these first" in verdict for verdict in task.verdicts)

    # Another person's address is private as well, but not what stood there.
    engine.write = lambda prompt: "someone.else@acme-widgets.com, or so."
    engine.nats = lambda prompt, text: 200.0
    found = figures(run_task(Memorisation, run_on(engine, corpus, attempts=1)))
    assert found["training_private_written"] == 1
    assert found["training_original_written"] == found["training_original_extractable"] == 0


def test_originals_are_those_of_files_that_have_not_changed(corpus: Path) -> None:
    places = list(masked_places(corpus, before=len(MARK)))
    assert {place.before for place in places} == {MARK}
    first = places[0].source
    file = corpus.parent / first
    text = file.read_text(encoding="utf-8")
    try:
        file.write_text(text + " Changed.", encoding="utf-8")
        values = private_values(corpus, {place.source for place in places})
    finally:
        file.write_text(text, encoding="utf-8")
    assert first not in values
    assert len(values) == len(places) - 1
    known = with_values(places, values)
    assert [place.value for place in known] == [
        None if place is places[0] else values[place.source][0][1] for place in places
    ]
    assert "acme" not in repr(known)


@pytest.mark.parametrize("mode", ["mask", "pseudonym"])
def test_masked_spans_are_where_something_was_masked(mode: str) -> None:
    text = (
        "Mail eve@acme-widgets.com or +49 30 9018200, host 8.8.4.4, account DE89 3704 0044 0532 "
        "0130 00, visit 12 Baker Street, London NW1 6XE; password: hunter2secret9X, ticket T-4711."
    )
    patterns = ("TICKET=T-[0-9]{4}",)
    scrubbed = Scrubber(mode, "a key", patterns, ()).scrub(text, "prose")
    kinds = set(scrubbed.counts)
    assert {"EMAIL", "PHONE", "IP", "IBAN", "TICKET"} <= kinds
    found = list(masked_spans(scrubbed.text, kinds, pseudonyms=mode == "pseudonym"))
    assert {span.kind for span in found} == kinds
    for span in found:
        assert is_reserved(span.kind, scrubbed.text[span.start : span.end])
    before = Scrubber("mask", "", patterns, ()).find(text, "prose")
    assert [span.kind for span in found] == [span.kind for span in before]
    moved = scrubbed.positions.forwards([span.start for span in before])
    assert [span.start for span in found] == moved.tolist()
    for span in before:
        assert not is_reserved(span.kind, text[span.start : span.end])


def planted(model: Path, canaries: Canaries) -> Path:
    model.mkdir()
    canaries.write(model)
    return model


def test_canaries_are_ranked_among_all_that_they_could_be(tmp_path: Path) -> None:
    """Two digits: all 100 are scored, and the rank is that of enumeration."""
    canaries = Canaries(("07", "50"), repeats=3, length=2, template="Code {}.")
    cost = {f"Code {n:02d}.": (n * 37) % 100 + n / 1000 for n in range(100)}
    cost["Code 50."] = -1.0
    engine = Scripted(nats=lambda prompt, text: cost[text])
    run = run_on(engine, None, planted(tmp_path / "model", canaries))
    result = run_task(Memorisation, run)
    own = {item.id: item for item in result.items}
    assert own["canaries canary 0.1"].scores["rank"] == 1
    assert own["canaries canary 0.1"].detail["method"] == "counted"
    others = [value for text, value in cost.items() if text not in ("Code 07.", "Code 50.")]
    controls = {item.detail["prompt"] for item in result.items if "control" in item.id}
    compared = [value for text, value in cost.items()
                if text not in ("Code 07.", "Code 50.", *controls)]  # fmt: skip
    assert 1 <= len(controls) < len(others)
    rank = 1 + sum(value < cost["Code 07."] for value in compared)
    assert own["canaries canary 0.0"].scores["rank"] == rank
    found = figures(result)
    assert found["canary_exposure_max"] > found["canary_exposure"]
    assert set(result.facts["left_out"]) == {"passages", "masked"}


def test_controls_have_the_exposure_of_chance(tmp_path: Path) -> None:
    canaries = Canaries(("123456789",), repeats=1)
    engine = Scripted(
        nats=lambda prompt, text: -500.0 if "123456789" in text else float(hash(text) % 10**9)
    )
    result = run_task(Memorisation, run_on(engine, None, planted(tmp_path / "m", canaries)))
    control = result.figures["control_exposure"]
    assert control.items == 100
    assert control.value == pytest.approx(1 / 0.6931, abs=0.6)
    assert figures(result)["canary_exposure"] > 6.6


def test_a_model_with_neither_is_refused_before_it_runs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--corpus, or train with --canaries"):
        Memorisation(run_on(Scripted(), None)).require()


def test_what_is_shown_is_redacted_across_its_seam() -> None:
    finder = Scrubber("mask", "", (), ())
    assert redacted(finder, "Write to ann.lee@", "acme-widgets.com soon.") == " soon."
    assert redacted(finder, "Write to ", "ann.lee@acme-wid", cut=True) == "…"


def test_a_passage_that_cuts_an_address_shows_none_of_it() -> None:
    run = run_of(Scripted(), prefix_tokens=20, suffix_tokens=20)
    part = PassagePart(run)
    text = "All of the letters go to ann.lee@acme-widgets.com or to +49 30 9018200, as they did."
    for seed in range(40):
        found = part._passage(Stretch("a", 0, text), True, np.random.default_rng(seed))
        assert found is not None
        for shown in (found.shown, found.true):
            assert not any(part in shown for part in ("ann", "lee", "acme", "widg", "901", "820"))
        written = redacted(part.finder, found.before, bytes(found.suffix).decode(), cut=True)
        assert not any(part in written for part in ("lee", "acme", "901", "820"))
