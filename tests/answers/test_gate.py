"""The gate: what it looks at, what it learns, what it promises, and that it keeps it."""

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from linnet import artifact
from linnet.answers import Assistant, Citation, Draft, Evidence, Question
from linnet.answers.cases import Case, Span, Without, from_example, is_right, read_cases
from linnet.answers.current import CurrentAssistant
from linnet.answers.evidence import Search
from linnet.answers.feedback import Feedback
from linnet.answers.feedback import Span as Cited
from linnet.answers.gate import GateConfig, open_gate
from linnet.answers.gate.features import FEATURES, observe
from linnet.answers.gate.fitting import Fitted, fit_trials
from linnet.answers.gate.gate import FORMAT, KIND, write_gate
from linnet.answers.gate.model import MonotoneModel, fit, recalibration, rescaled
from linnet.answers.gate.reference import measure
from linnet.answers.gate.results import resplits, results
from linnet.answers.gate.trials import Trial, put_rated, verdict_on
from linnet.config import from_mapping
from linnet.errors import ArtifactError, DamagedError, DataError
from linnet.examples.record import Example
from linnet.retrieval import Found, Passage, PassagesInMemory, Place, make_index
from linnet.retrieval.config import IndexConfig
from linnet.scoring.bounds import binomial_tail, certify

TEXT = "The library opens at nine. It closes at six on Fridays."


def passage(text: str = TEXT, *, title: str = "Hours", **place: object) -> Passage:
    where = {"source": "hours.txt", "start": 0, "end": len(text), **place}
    return Passage(text, (Place(**where),), title=title, language="en")  # type: ignore[arg-type]


def citation(start: int, end: int, source: str = "hours.txt") -> Citation:
    return Citation(source, start, end, None, TEXT[start:end])


OPENS = Case("q", "When does it open?", "answerable", ((Span("hours.txt", 0, 26),),), (("nine",),))


# What is right


@pytest.mark.parametrize(
    ("case", "cited", "right"),
    [
        (OPENS, [citation(0, 26)], True),
        (OPENS, [citation(27, 55)], False),  # another place
        (OPENS, [citation(0, 17)], False),  # the place, without the value
        (OPENS, [citation(27, 55), citation(0, 26)], True),
        (OPENS, [citation(0, 26, "other.txt")], False),
        (OPENS, [], False),
        (OPENS.withheld(), [citation(0, 26)], False),
    ],
)
def test_right_is_a_cited_span_on_gold_that_has_the_value(
    case: Case, cited: list[Citation], right: bool
) -> None:
    assert is_right(case, cited, [Found(passage(), 1.0)]) == right


def test_an_answer_of_many_words_is_right_where_it_stands() -> None:
    long = Case("q", "?", "answerable", ((Span("hours.txt", 0, 26),),), (("w " * 20,),))
    assert is_right(long, [citation(4, 11)], [])
    both = Case("q", "?", "answerable", ((Span("hours.txt", 0, 26),), (Span("hours.txt", 27, 55),)))
    assert not is_right(both, [citation(0, 26)], [])
    assert is_right(both, [citation(0, 26), citation(30, 40)], [])


def test_the_expected_sentence_is_right_wherever_it_stands() -> None:
    gold = ((Span("copy.txt", 500, 555),),)
    case = Case("q", "?", "answerable", gold, (("It closes at six on Fridays.",),))
    assert is_right(case, [citation(27, 55)], [])
    assert not is_right(case, [citation(0, 26)], [])
    assert not is_right(case.withheld(), [citation(27, 55)], [])


def test_a_quote_that_names_its_value_is_right_wherever_it_stands(tmp_path: Path) -> None:
    row = {
        "id": "1", "kind": "question", "question": "What is OD short for?", "answer": "opening day",
        "generator": "abbreviations", "source": "copy.txt", "start": 500, "end": 516,
        "quote": "opening day (OD)", "passage": [400, 600], "split": "train", "language": "en",
    }  # fmt: skip
    case = from_example(from_mapping(Example, row, where="row"))
    assert case is not None
    said = "The opening day (OD) is Monday."
    cited = Citation("hours.txt", 0, len(said), None, said)
    assert is_right(case, [cited], [])
    other = "The opening day is Monday."
    assert not is_right(case, [Citation("hours.txt", 0, len(other), None, other)], [])
    # A row of a table says more than one value and its name.
    row |= {"quote": "OD | opening day | Monday | nine | six", "end": 538}
    case = from_example(from_mapping(Example, row, where="row"))
    assert case is not None
    assert case.quotes == ((),)


def test_what_is_cited_counts_wherever_its_passage_stands() -> None:
    twice = Passage(TEXT, (Place("copy.txt", 100, 155), Place("hours.txt", 0, 55)), language="en")
    cited = Citation("copy.txt", 100, 126, None, TEXT[:26])
    assert is_right(OPENS, [cited], [Found(twice, 1.0)])
    assert not is_right(OPENS, [cited], [])


def test_withheld_passages_are_not_found_and_others_take_their_places() -> None:
    index = PassagesInMemory(
        [passage(f"The library of {n} opens.", source=f"{n}.txt") for n in range(40)]
    )
    every = index.search("library", 40)
    without = Without(index, [Span(one.passage.place.source) for one in every[:30]])
    assert [one.passage for one in without.search("library", 5)] == [
        one.passage for one in every[30:35]
    ]
    assert len(without.search("library", 20)) == 10
    assert Without(index, [Span("0.txt", 1000)]).search("library", 40) == every


def test_questions_of_people_are_read_with_their_places(tmp_path: Path) -> None:
    rows = [
        {"question": "A?", "answer": "x", "source": "a.txt", "start": 3, "end": 9},
        {"id": 7, "question": "B?", "gold": [{"source": "a.txt"}, {"source": "b.txt"}]},
        {"question": "C?"},
        {"question": "D?", "kind": "off_topic", "document": "elsewhere"},
    ]
    file = tmp_path / "people.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    one, two, three, four = read_cases(file)
    assert (one.gold, one.answers, one.document) == (((Span("a.txt", 3, 9),),), (("x",),), "a.txt")
    assert (two.id, two.gold) == ("7", ((Span("a.txt"), Span("b.txt")),))
    assert (three.kind, three.gold, four.kind) == ("unanswerable", (), "off_topic")
    assert four.document == "elsewhere"


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("{", "expected an object in JSON"),
        ('{"answer": "x"}', "expected a 'question'"),
        ('{"question": "A?", "kind": "odd"}', "kind must be one of"),
        ('{"question": "A?", "kind": "answerable"}', "expected a 'source' or 'gold'"),
        ('{"question": "A?", "source": "a", "start": 5, "end": 5}', "'start' before 'end'"),
        ('{"question": "A?", "source": "a", "quote": "x"}', "no corpus is named"),
        ('{"question": "A?", "source": "a", "answer": 5}', "expected an 'answer'"),
        ('{"question": "A?", "gold": "a"}', "expected 'gold' to be a list"),
    ],
)
def test_a_row_with_a_mistake_is_refused_by_line(tmp_path: Path, line: str, wrong: str) -> None:
    file = tmp_path / "people.jsonl"
    file.write_text(f'{{"question": "fine?"}}\n{line}\n')
    with pytest.raises(DataError, match=f"line 2: .*{wrong}"):
        read_cases(file)


# The model


def made_rows(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    values = generator.random((count, 3))
    logit = 5 * values[:, 0] - 4 * values[:, 1] - 1  # the third says nothing
    return values, generator.random(count) < 1 / (1 + np.exp(-logit))


def test_more_of_a_feature_never_makes_it_less_sure() -> None:
    values, right = made_rows(600)
    model = fit(values, right, ["a", "b", "c"], pairs=[("a", "b")])
    levels = np.linspace(-0.5, 1.5, 9)
    grid = np.array(list(itertools.product(levels, repeat=3)))
    found = model.probabilities(grid, ["a", "b", "c"]).reshape(9, 9, 9)
    for axis in range(3):
        assert (np.diff(found, axis=axis) >= 0).all()
    assert np.ptp(found[:, 4, 4]) > 0.5
    assert np.ptp(found[4, :, 4]) < 1e-6  # it speaks against, so it may not speak at all
    assert model.probability({"b": 1.0, "c": 1.0}) == pytest.approx(
        model.probability({"a": -9.0, "b": 1.0, "c": 1.0})
    )
    assert MonotoneModel.from_json(json.loads(json.dumps(model.to_json()))) == model


def test_the_model_is_the_best_there_is() -> None:
    """At the optimum no weight can move without loss: Karush, Kuhn and Tucker's conditions."""
    values, right = made_rows(400)
    penalty = 3.0
    model = fit(values, right, ["a", "b", "c"], penalty=penalty)

    def loss(weights: dict[str, tuple[float, ...]], intercept: float) -> float:
        own = MonotoneModel(model.knots, weights, (), (), intercept)
        p = own.probabilities(values, ["a", "b", "c"])
        square = sum(w * w for each in weights.values() for w in each)
        return float(-np.log(np.where(right, p, 1 - p)).sum() + penalty / 2 * square)

    least = loss(dict(model.weights), model.intercept)
    step = 1e-3
    for name, own in model.weights.items():
        for place, weight in enumerate(own):
            for moved in (weight + step, weight - step):
                if moved >= 0:
                    other = (*own[:place], moved, *own[place + 1 :])
                    assert loss({**model.weights, name: other}, model.intercept) >= least - 1e-6
    assert loss(dict(model.weights), model.intercept + step) >= least - 1e-6
    assert loss(dict(model.weights), model.intercept - step) >= least - 1e-6


def test_probabilities_become_those_of_the_questions_that_are_asked() -> None:
    """Learned where half is wrong that is not asked, they would be too low."""
    generator = np.random.default_rng(2)
    logit = generator.normal(0, 2, 4000)
    right = generator.random(4000) < 1 / (1 + np.exp(-(1.5 * logit + 0.7)))
    before = 1 / (1 + np.exp(-logit))
    slope, shift = recalibration(before, right)
    assert (slope, shift) == (pytest.approx(1.5, abs=0.15), pytest.approx(0.7, abs=0.15))
    after = rescaled(before, slope, shift)
    assert after.mean() == pytest.approx(right.mean(), abs=0.005)
    values, right = made_rows(400)
    model = fit(values, right, ["a", "b", "c"], pairs=[("a", "b")])
    own = model.probabilities(values, ["a", "b", "c"])
    other = model.rescaled(slope, shift).probabilities(values, ["a", "b", "c"])
    assert other == pytest.approx(rescaled(own, slope, shift))


def test_a_feature_that_does_not_vary_is_left_out() -> None:
    values = np.array([[1.0, math.nan, n / 40] for n in range(40)])
    model = fit(values, np.arange(40) > 20, ["a", "b", "c"])
    assert list(model.knots) == ["c"]
    assert model.probability({"c": 0.9}) > 0.7 > 0.3 > model.probability({})


# What it looks at


def test_features_are_what_they_say() -> None:
    index = PassagesInMemory(
        [
            passage(),
            passage("Soup is served in the café on Mondays.", title="Food", source="food.txt"),
            passage("The library has a café.", title="Rooms", source="rooms.txt"),
        ]
    )
    reference = measure(index, seed=1)
    assert (reference.passages, reference.frequency("library"), reference.frequency("café")) == (
        3, 2, 2,
    )  # fmt: skip
    assert reference.frequency("soup") == 0  # one passage alone has it: not kept
    assert reference.weight("soup") > reference.weight("library")
    question = "When does the Hours library open at 9 Fridays?"
    found = tuple(index.search(question, 3))
    draft = Draft("It closes.", (citation(27, 55),))
    evidence = Evidence(Question(question, question, language="en"), (Search("", found),), found)
    seen = observe(evidence, draft, reference)
    assert list(seen) == list(FEATURES)
    # (Words such as "when" and "the" say nothing of what it is about.)
    weights = {w: reference.weight(w) for w in ("9",)}
    covered = {w: reference.weight(w) for w in ("hour", "library", "open", "friday")}
    whole = sum(weights.values()) + sum(covered.values())
    assert seen["words_covered"] == pytest.approx(sum(covered.values()) / whole)
    names = {w: reference.weight(w) for w in ("hour", "9", "friday")}
    assert seen["names_covered"] == pytest.approx(1 - names["9"] / sum(names.values()))
    assert seen["title_asked"] == 1
    assert seen["first"] == 1
    best = max(one.score for one in found)
    other = max(one.score for one in found if one.passage.place.source != "hours.txt")
    assert seen["lexical_margin"] == pytest.approx((best - other) / best)
    assert all(math.isnan(seen[name]) for name in ("dense_level", "reranked", "certainty"))
    assert (seen["asks_more"], seen["asks_reason"], seen["nothing_missing"]) == (1, 0, 0)
    lacking = replace(draft, measures={"missing": 2.0})
    assert observe(evidence, lacking, reference)["nothing_missing"] == -2
    both = replace(
        evidence, each=(evidence, evidence),
        question=replace(evidence.question, each=(
            evidence.question, Question("Why?", "Why?", language="en"),
        )),
    )  # fmt: skip
    seen = observe(both, replace(draft, measures={"answered": 1.0}), reference)
    assert (seen["parts_answered"], seen["asks_more"], seen["asks_reason"]) == (0.5, 0, 0)
    nothing = Evidence(evidence.question, (), ())
    assert observe(nothing, Draft(""), reference)["words_covered"] == 0


def test_random_questions_of_more_words_score_higher_and_a_real_one_above_them() -> None:
    index = made_index(60)
    levels = measure(index).levels["lexical"]
    assert levels.lengths[0] == 1
    assert levels.means[-1] > levels.means[4] > levels.means[0]
    question = "What is the altitude of Brinova7?"
    best = index.search(question, 1)[0].score
    assert levels.above(best, 6) > 0.5
    assert levels.above(best, 1000) == levels.above(best, 24)


# Fitting


def made_index(count: int) -> PassagesInMemory:
    """Towns, of which some things are said."""
    passages = []
    for n in range(count):
        for about, value in (("altitude", f"{n * 7 % 900} metres"), ("founder", f"Duke Ar{n}o")):
            text = f"The {about} of Brinova{n} is {value}. Many visitors come to see it each year."
            passages.append(
                passage(text, title=f"Brinova{n}", source=f"{n}.txt", start=1000 * len(about),
                        end=1000 * len(about) + len(text))
            )  # fmt: skip
    return PassagesInMemory(passages)


def made_cases(count: int) -> list[Case]:
    found = []
    for n in range(count):
        for about, value in (("altitude", f"{n * 7 % 900} metres"), ("founder", f"Duke Ar{n}o")):
            start = 1000 * len(about)
            gold = ((Span(f"{n}.txt", start, start + 50),),)
            found.append(
                Case(f"{n}{about}", f"What is the {about} of Brinova{n}?", "answerable", gold,
                     ((value,),), document=f"{n}.txt", language="en")
            )  # fmt: skip
        found.append(Case(f"{n}near", f"What is the altitude of Zelt{n}?", "near_miss",
                          document=f"{n}.txt"))  # fmt: skip
        found.append(
            Case(f"{n}off", f"How do I bake {n} loaves?", "off_topic", document=f"off {n}")
        )
    return found


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    index = made_index(120)
    return fit_trials(Assistant, index, made_cases(120), GateConfig())


def test_a_fitted_gate_answers_what_it_may_and_refuses_the_rest(fitted: Fitted) -> None:
    certificate = fitted.gate.certificate
    assert certificate.kept
    assert certificate.answered >= 59
    index = made_index(120)
    assistant = Assistant(index, gate=fitted.gate)
    good = assistant.ask("What is the founder of Brinova5?")
    assert (good.refused, good.citations[0].source) == (False, "5.txt")
    assert good.probability is not None
    assert good.probability >= (certificate.threshold or 1)
    bad = assistant.ask("How do I bake sourdough?")
    assert bad.refused
    assert bad.answer.startswith("I don't know")
    assert bad.probability is not None
    assert bad.in_scope is not None
    assert bad.in_scope < 0.5 < (good.in_scope or 0)
    withheld = Assistant(Without(index, [Span("5.txt")]), gate=fitted.gate)
    assert withheld.ask("What is the founder of Brinova5?").refused
    learned = {trial.document for trial in fitted.trials if trial.part == "learn"}
    assert not learned & {t.document for t in fitted.trials if t.part == "calibrate"}
    assert any(trial.kind == "withheld" for trial in fitted.trials)


def test_what_is_reported_is_what_came_of_the_questions(fitted: Fitted) -> None:
    found = results(fitted, GateConfig())
    apart = [trial for trial in fitted.trials if trial.part == "calibrate"]
    threshold = fitted.gate.certificate.threshold
    assert threshold is not None
    answered = [trial for trial in apart if trial.probability >= threshold]
    own = found["questions"]["generated"]
    assert own["error"]["whole"] == len(answered) == found["promise"]["answered"]
    assert own["error"]["part"] == sum(not trial.right for trial in answered)
    assert own["coverage"]["whole"] == sum(trial.kind == "answerable" for trial in apart)
    assert own["auroc_in_scope"] > 0.98
    assert found["resplits"]["times"] == 200
    json.dumps(found, allow_nan=False)


def test_a_gate_is_read_as_it_was_written(fitted: Fitted, tmp_path: Path) -> None:
    place = tmp_path / "index" / "gate"
    with artifact.create(place, kind=KIND, format=FORMAT, config={}, inputs={}) as draft:
        write_gate(fitted.gate, draft.path)
    again = open_gate(tmp_path / "index")
    trial = fitted.trials[0]
    assert again.right.probability(trial.features) == pytest.approx(trial.probability)
    assert again.certificate == fitted.gate.certificate
    assert again.reference.frequency("founder") == 120
    text = (place / "gate.json").read_text()
    (place / "gate.json").write_text(text.replace('"right"', '"wrong"'))
    with pytest.raises(DamagedError, match=r"linnet gate fit .*index again"):
        open_gate(tmp_path / "index")
    (place / "gate.json").write_text(text)
    terms = bytearray((place / "terms.npz").read_bytes())
    for at in (60, len(terms) - 30):  # in what is packed, and in the list of what is there
        broken = terms.copy()
        broken[at : at + 20] = bytes(20)
        (place / "terms.npz").write_bytes(broken)
        with pytest.raises(DamagedError, match="cannot be read"):
            open_gate(tmp_path / "index")


@pytest.mark.usefixtures("reading_here")
def test_a_gate_that_cannot_be_read_keeps_nobody_from_an_answer_while_another_is_made(
    fitted: Fitted, tmp_path: Path
) -> None:
    (tmp_path / "hours.txt").write_text(TEXT)
    make_index(tmp_path / "hours.txt", tmp_path / "index", IndexConfig(encoder="lexical"))
    place = tmp_path / "index" / "gate"
    with artifact.create(place, kind=KIND, format=FORMAT - 1, config={}, inputs={}) as draft:
        write_gate(fitted.gate, draft.path)
    with pytest.raises(ArtifactError, match=f"format {FORMAT}. Got {FORMAT - 1}; run"):
        Assistant.open(tmp_path / "index")
    current = CurrentAssistant(tmp_path / "index")
    current.renew()
    assert (current.is_ready, current.gate) == (True, None)
    assert f"expected a gate of format {FORMAT}" in current.gate_problem
    with artifact.create(place, kind=KIND, format=FORMAT, config={}, inputs={}) as draft:
        write_gate(fitted.gate, draft.path)
    current.renew()
    assert current.gate is not None
    assert current.gate_problem == ""


def test_a_gate_that_promises_nothing_is_read_as_it_was_written(
    fitted: Fitted, tmp_path: Path
) -> None:
    nothing = replace(fitted.gate, certificate=certify(np.zeros(0), np.zeros(0, bool), [], 0.05))
    with artifact.create(
        tmp_path / "gate", kind=KIND, format=FORMAT, config={}, inputs={}
    ) as draft:
        write_gate(nothing, draft.path)
    assert open_gate(tmp_path).certificate == nothing.certificate
    file = tmp_path / "gate" / "gate.json"  # as some were written, without what is None
    file.write_text(file.read_text().replace('"threshold": null,', " " * 18))
    assert open_gate(tmp_path).certificate.threshold is None


def test_where_nothing_can_be_promised_everything_is_refused() -> None:
    index = made_index(25)
    few = fit_trials(Assistant, index, made_cases(25), GateConfig(rate=0.001))
    assert not few.gate.certificate.kept
    assert few.gate.certificate.rate > 0.001
    with pytest.raises(DataError, match="to learn from"):
        fit_trials(Assistant, index, made_cases(3), GateConfig())
    with pytest.raises(DataError, match=r"set the threshold on \(people\).* Got none among 0"):
        fit_trials(Assistant, index, made_cases(25), GateConfig(promise="people"))


def test_over_resplits_the_promise_is_broken_no_more_often_than_it_says() -> None:
    """Scores of many documents, whose answers are the more often right the higher they are."""
    generator = np.random.default_rng(3)
    trials = []
    for n in range(6000):
        score = float(generator.random())
        right = bool(generator.random() < 0.6 + 0.4 * score**0.5)
        trials.append(Trial(str(n), "answerable", "generated", str(n), "", right, "calibrate", {},
                            probability=score))  # fmt: skip
    thresholds = [float(level) for level in np.linspace(0.9, 0, 40)]
    found = resplits(trials, thresholds, GateConfig(), share=0.3)
    assert found["kept"] > 100
    assert binomial_tail(found["broken"] - 1, found["kept"], 0.05) < 0.999
    assert found["mean_error"] < 0.05


# Feedback


def test_feedback_tells_what_cites_the_same_place() -> None:
    good = Feedback("a", "?", True, citations=(Cited("hours.txt", 0, 26),))
    bad = Feedback("a", "?", False, citations=(Cited("hours.txt", 0, 26),))
    same, other = Span("hours.txt", 4, 9), Span("hours.txt", 27, 55)
    assert verdict_on(good, [same, other]) is True
    assert verdict_on(good, [other]) is None
    assert verdict_on(bad, [same]) is False
    assert verdict_on(bad, [same, other]) is None
    assert verdict_on(bad, []) is None


def test_of_several_verdicts_on_an_answer_the_last_counts() -> None:
    index = made_index(5)
    question = "What is the founder of Brinova3?"
    place = index.search(question, 1)[0].passage.place
    cited = (Cited(place.source, place.start, place.end),)
    said = [Feedback("a", question, True, citations=cited),
            Feedback("a", question, False, citations=cited),
            Feedback("b", question, True)]  # fmt: skip
    asked = put_rated(Assistant, index, said, measure(index))
    assert [trial.right for trial in asked.trials] == [False]
    assert (asked.trials[0].origin, asked.trials[0].part, asked.undecided) == (
        "feedback", "calibrate", 1,
    )  # fmt: skip
