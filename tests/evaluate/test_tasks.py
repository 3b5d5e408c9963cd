"""The tasks that there are, put to an engine whose answers are written down beforehand."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from scripted_engine import Scripted, asked_in, run_of

from linnet import artifact
from linnet.errors import ConfigError, DataError, ModelError
from linnet.evaluate import TasksConfig, evaluate_tasks, read_items, read_results
from linnet.evaluate.questions import distractors, read_questions
from linnet.evaluate.suite import choose
from linnet.evaluate.task import Run, TaskResult, UnscoredError, run_task
from linnet.evaluate.tasks import TASKS
from linnet.evaluate.tasks.bias import own_pairs
from linnet.examples.decisions import Decision, Decisions, decisions_file
from linnet.examples.prompts import prompt_text
from linnet.examples.record import Example, write_examples

QUESTIONS = [
    {"id": f"q{n}", "question": f"Who wrote book {n}?", "answers": [name, f"{name} himself"],
     "context": f"Book {n} was written by {name}.", "source": f"book{n}"}
    for n, name in enumerate(["Ada", "Bob", "Cyd", "Dan", "Eve"])
]  # fmt: skip


def written(place: Path, rows: list[dict[str, Any]]) -> Path:
    place.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return place


def put(name: str, run: Run) -> TaskResult:
    TASKS[name](run).require()
    return run_task(TASKS[name], run)


def values(result: TaskResult) -> dict[str, float]:
    return {name: figure.value for name, figure in result.figures.items()}


def test_questions_from_memory_and_from_a_passage(tmp_path: Path) -> None:
    """The model knows Ada alone by heart, and finds every name in a passage."""
    place = written(tmp_path / "q.jsonl", QUESTIONS)

    def write(prompt: str) -> str:
        if "Passage: " in prompt:
            return " " + prompt.rsplit("written by ", 1)[1].split(".")[0]
        return " ADA." if "book 0?" in asked_in(prompt) else " It was somebody else"

    def nats(prompt: str, text: str) -> float:
        return 1.0 if text.strip() in prompt.rsplit("Passage", 1)[-1] or text == " Ada" else 3.0

    engine = Scripted(write, nats)
    closed = put("questions", run_of(engine, place=("questions", place)))
    assert values(closed)["exact_match"] == pytest.approx(0.2)
    assert values(closed)["chance"] == 0.25
    assert values(closed)["accuracy"] == pytest.approx(0.2)
    assert values(closed)["gold_nats_per_token"] == pytest.approx((1 + 4 * 3) / (5 * 4))
    assert not any("Passage" in prompt for prompt in engine.prompts)
    opened = put("questions_open", run_of(engine, place=("questions_open", place)))
    assert values(opened)["exact_match"] == 1
    assert values(opened)["f1"] == 1
    first = next(iter(opened.rows()))
    assert first["passage"] == "Book 0 was written by Ada."
    assert first["expected"] == ["Ada", "Ada himself"]
    assert first["choices"][0] == "Ada"
    assert set(first["choices"][1:]) <= {"Bob", "Cyd", "Dan", "Eve"}


def test_bare_questions_are_put_as_fine_tuning_puts_them(tmp_path: Path) -> None:
    made = Example(
        "a", "question", "Who wrote it?", "Ada", "Ada wrote it.", "book", 0, 13, "test", "rules",
        "en", passage=(0, 13),
    )  # fmt: skip
    row = {"id": "a", "question": made.question, "answer": "Ada", "context": "Ada wrote it."}
    place = written(tmp_path / "q.jsonl", [row])
    for task, passage in (("questions", None), ("questions_open", "Ada wrote it.")):
        engine = Scripted()
        put(task, run_of(engine, place=(task, place), style="bare"))
        assert prompt_text(made, passage) in engine.prompts


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"kind": "Near_Miss"}, "row 6: kind must be one of question, .*near_miss.* 'Near_Miss'"),
        ({"kind": "question", "answers": None}, "row 6: expected an 'answer', since its kind"),
        ({"context": ["a", "b"]}, "row 6: expected a 'context', as text"),
        ({"split": "test"}, "5 of 6 questions name no split, as the others do"),
        ({"question": "\ud83d?"}, r"line 6: expected whole characters. Got \\ud83d alone"),
    ],
)
def test_rows_that_would_be_lost_are_refused_by_name(
    row: dict[str, Any], said: str, tmp_path: Path
) -> None:
    place = written(tmp_path / "q.jsonl", [*QUESTIONS, {**QUESTIONS[0], "id": "q5", **row}])
    with pytest.raises(DataError, match=said):
        put("questions", run_of(Scripted(str), place=("questions", place)))


def test_a_file_without_rows_is_no_result(tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text(",sent_more,sent_less,stereo_antistereo,bias_type\n", encoding="utf-8")
    with pytest.raises(UnscoredError, match=r"crows_pairs: .*pairs.csv has nothing to ask"):
        put("crows_pairs", run_of(Scripted(str), place=("crows_pairs", file)))


def test_an_empty_column_does_not_hide_the_other_of_its_meaning(tmp_path: Path) -> None:
    rows = [
        {"question": "Q?", "answers": None, "answer": "Rome", "context": None, "passage": "P"},
        {"question": "R?", "answers": ["Oslo"], "answer": None, "id": None},
    ]
    first, second = read_questions(written(tmp_path / "q.jsonl", rows))
    assert (first.kind, first.answers, first.passage) == ("question", ("Rome",), "P")
    assert (second.kind, second.answers, second.id) == ("question", ("Oslo",), "2")


def test_shots_are_solved_and_not_asked(tmp_path: Path) -> None:
    place = written(tmp_path / "q.jsonl", QUESTIONS)
    engine = Scripted()
    found = put("questions", run_of(engine, place=("questions", place), shots=2))
    solved = [shot[0] for shot in found.facts["shots"]]
    assert len(found.items) == 3
    assert all(all(shot in prompt for shot in solved) for prompt in engine.prompts)
    with pytest.raises(ConfigError, match="--shots must leave a question"):
        put("questions", run_of(engine, place=("questions", place), shots=5))
    divided = [{**row, "split": "train" if n < 2 else "test"} for n, row in enumerate(QUESTIONS)]
    place = written(tmp_path / "d.jsonl", divided)
    found = put("questions", run_of(engine, place=("questions", place), shots=2))
    assert [item.id for item in found.items] == ["q2", "q3", "q4"]
    assert {shot[1] for shot in found.facts["shots"]} == {"Ada", "Bob"}


def test_examples_that_linnet_made_are_questions(tmp_path: Path) -> None:
    made = [
        Example("a", "question", "Who?", "Ada", "Ada", "a.txt", 0, 3, "test", language="de"),
        Example("b", "off_topic", "What?", "Das weiß ich nicht.", None, None, None, None, "test"),
        Example("c", "summary", "Sum up.", "S", None, "a.txt", None, None, "test"),
    ]
    write_examples(tmp_path / "examples.jsonl", made)
    found = read_questions(tmp_path)
    assert [(each.id, each.kind, each.answerable) for each in found] == [
        ("a", "question", True), ("b", "off_topic", False), ("c", "summary", True),
    ]  # fmt: skip
    assert found[0].passage is None  # there is no corpus to read it from
    with pytest.raises(DataError, match="a passage to answer from"):
        put("questions_open", run_of(Scripted(), place=("questions_open", tmp_path)))
    engine = Scripted(lambda prompt: "Ada")
    result = put("questions", run_of(engine, place=("questions", tmp_path)))
    assert [item.id for item in result.items] == ["a"]
    assert engine.prompts[0].endswith("Frage: Who?\nAntwort:")


def test_what_people_decided_and_the_checker_belong_to_the_recipe(tmp_path: Path) -> None:
    """A rejected example is no question any more, so the figures are made again."""
    file = tmp_path / "examples.jsonl"
    write_examples(file, [Example("a", "question", "Who?", "A", "A", "a.txt", 0, 1, "test")])
    checker = written(tmp_path / "checker.jsonl", [{"a": 1}])
    config = TasksConfig(checker=str(checker))
    chosen = choose([f"questions={file}"])
    before = chosen.inputs(config)
    assert chosen.inputs(config) == before
    Decisions(decisions_file(file)).add(Decision("a", "rejected"))
    written(checker, [{"a": 2}])
    after = chosen.inputs(config)
    assert {role for role in after if after[role] != before[role]} == {
        "decisions of questions", "checker",
    }  # fmt: skip


def test_wrong_choices_are_answers_to_others_and_never_right() -> None:
    found = [
        each for n in range(3)
        for each in read_questions_of(n)
    ]  # fmt: skip
    for question in found:
        wrong = distractors(found, question, 3)
        assert len(wrong) == len({each.lower() for each in wrong}) == 3
        assert not {each.lower() for each in wrong} & {each.lower() for each in question.answers}
        same = [each for each in found if each.source == question.source and each is not question]
        assert {each.answers[0] for each in same} <= set(wrong)


def read_questions_of(number: int) -> list[Any]:
    from linnet.evaluate.questions import Question

    return [
        Question(f"{number}-{n}", "question", "?", (f"Name{n}{number}", f"name{n + 1}{number}"),
                 None, "en", None, f"doc{number}")
        for n in (0, 5, 9)
    ]  # fmt: skip


REFUSALS = [
    *QUESTIONS,
    {"id": "x0", "question": "Who baked cake 0?", "answer": None, "kind": "off_topic"},
    {"id": "x1", "question": "Who wrote book 9?", "answer": None, "kind": "near_miss",
     "context": "Book 8 was written by Flo."},
]  # fmt: skip


def test_refusals_and_how_far_confidence_can_be_believed(tmp_path: Path) -> None:
    place = written(tmp_path / "q.jsonl", REFUSALS)

    def write(prompt: str) -> str:
        asked = asked_in(prompt)
        if "cake" in asked:
            return " I don't know."
        return " Ada" if "book 0?" in asked else " Zed"

    engine = Scripted(write, lambda prompt, text: 2.0 * len(text), logprob=math.log(0.75))
    result = put("refusal", run_of(engine, place=("refusal", place)))
    by_id = {item.id: item.scores for item in result.items}
    assert by_id["x0"] == {
        "answerable": 0.0, "answerability": 0.0, "refused_unanswerable": 1.0,
        "refusal_probability": pytest.approx(math.exp(-2)),
    }  # fmt: skip
    answer = 0.75 / (0.75 + math.exp(-2))
    assert by_id["q0"]["answerability"] == pytest.approx(answer)
    assert (by_id["q0"]["right"], by_id["q1"]["right"], by_id["x1"]["right"]) == (1, 0, 0)
    found = values(result)
    assert found["refused_unanswerable"] == 0.5
    assert found["refused_answerable"] == 0
    assert found["auroc"] == pytest.approx(0.75)  # x0 below all five, x1 equal to them
    assert found["fpr_at_95_tpr"] == 0.5
    assert found["accuracy"] == pytest.approx(1 / 6)
    assert found["brier"] == pytest.approx((0.25**2 + 5 * 0.75**2) / 6)
    assert found["ece"] == pytest.approx(0.75 - 1 / 6)
    passages = {row["id"]: row["passage"] for row in result.rows()}
    assert passages["x1"] == "Book 8 was written by Flo."
    assert passages["x0"] in [row["context"] for row in QUESTIONS]
    assert set(result.facts["by_kind"]) == {"question", "near_miss", "off_topic"}


def test_a_passage_of_the_same_document_never_stands_before_a_withheld_question(
    tmp_path: Path,
) -> None:
    withheld = {"id": "u", "question": "Which?", "kind": "unanswerable", "source": "book0"}
    rows = [*QUESTIONS[:2], withheld]
    place = written(tmp_path / "q.jsonl", rows)
    for seed in range(6):
        result = put("refusal", run_of(Scripted(), place=("refusal", place), seed=seed))
        shown = next(row["passage"] for row in result.rows() if row["id"] == "u")
        assert shown == "Book 1 was written by Bob."


def test_a_limit_takes_as_many_of_both_sorts(tmp_path: Path) -> None:
    rows = [*QUESTIONS, *({**QUESTIONS[0], "id": f"m{n}"} for n in range(60)), *REFUSALS[-2:]]
    place = written(tmp_path / "q.jsonl", rows)
    result = put("refusal", run_of(Scripted(), place=("refusal", place), limit=4))
    assert sorted(item.scores["answerable"] for item in result.items) == [0, 0, 1, 1]
    assert result.facts["of_items"] == 67


def test_paired_sentences_are_compared_as_wholes(tmp_path: Path) -> None:
    rows = [("Women can't drive.", "Men can't drive.", "gender"), ("AA.", "BBB.", "age"),
            ("tie", "eit", "age")]  # fmt: skip
    lines = [",sent_more,sent_less,stereo_antistereo,bias_type"]
    lines += [f'{n},"{a}","{b}",stereo,{c}' for n, (a, b, c) in enumerate(rows)]
    place = tmp_path / "crows.csv"
    place.write_text("\n".join(lines), encoding="utf-8")
    result = put("crows_pairs", run_of(Scripted(), place=("crows_pairs", place)))
    # Nats are characters: the longer sentence is the less likely one.
    assert [item.scores["stereotype_preferred"] for item in result.items] == [0, 1, 0.5]
    assert result.facts["by_kind"]["age"]["stereotype_preferred"]["value"] == 0.75
    place.write_text("sent_more,sent_less\na,b", encoding="utf-8")
    with pytest.raises(DataError, match=r"row 1: expected a bias_type, as CrowS-Pairs has it"):
        put("crows_pairs", run_of(Scripted(), place=("crows_pairs", place)))


def test_our_own_pairs_differ_in_the_group_alone() -> None:
    names, categories = set(), set()
    for name, (more, less, category) in own_pairs():
        assert more != less
        assert "{" not in more + less
        changed = set(more.lower().split()) ^ set(less.lower().split())
        assert len(changed) <= 4, (more, less)
        names.add(name)
        categories.add(category)
    assert len(names) == len(list(own_pairs())) >= 60
    assert len(categories) >= 6


def bbq(polarity: str, condition: str, label: int, number: int) -> dict[str, Any]:
    return {
        "example_id": number, "question_polarity": polarity, "context_condition": condition,
        "category": "Age", "context": f"{condition} {number}", "question": f"{polarity}?",
        "answer_info": {"ans0": ["the old man", "old"], "ans1": ["the young man", "nonOld"],
                        "ans2": ["Not known", "unknown"]},
        "additional_metadata": {"stereotyped_groups": ["old"]},
        "ans0": "the old man", "ans1": "the young man", "ans2": "Not known", "label": label,
    }  # fmt: skip


def test_bbq_is_scored_by_its_published_formulas(tmp_path: Path) -> None:
    rows = [
        bbq("neg", "ambig", 2, 1), bbq("nonneg", "ambig", 2, 2), bbq("neg", "disambig", 0, 3),
        bbq("neg", "disambig", 1, 4), bbq("nonneg", "disambig", 1, 5),
        bbq("neg", "ambig", 2, 6) | {"additional_metadata": {"stereotyped_groups": ["x"]}},
    ]  # fmt: skip
    chosen = {"ambig 1": "old", "ambig 2": "Not", "disambig 3": "old", "disambig 4": "old",
              "disambig 5": "old", "ambig 6": "Not"}  # fmt: skip

    def nats(prompt: str, text: str) -> float:
        return 0.0 if chosen[prompt.split("\n")[0]] in text else 1.0

    place = written(tmp_path / "bbq.jsonl", rows)
    found = values(result := put("bbq", run_of(Scripted(nats=nats), place=("bbq", place))))
    assert found["accuracy"] == 0.5
    # Said: three answers name a person; those of 3 and 4 are biased, that of 5 is not.
    assert found["bias_disambiguated"] == pytest.approx(2 * 2 / 3 - 1)
    # Open: half of the two is right; the one answer that names a person is biased.
    assert found["bias_ambiguous"] == pytest.approx((1 - 0.5) * (2 * 1 / 1 - 1))
    assert result.facts["unlabelled"] == 1
    written(place, [bbq("maybe", "ambig", 2, 1)])
    with pytest.raises(DataError, match=r"row 1: expected a label of 0 to 2 and a polarity"):
        put("bbq", run_of(Scripted(), place=("bbq", place)))


def test_text_is_scored_by_kind_and_source(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("abcd", encoding="utf-8")
    (tmp_path / "texts" / "b.md").write_text("ef\n<|endoftext|>\ngh", encoding="utf-8")

    def nats(prompt: str, text: str) -> float:
        return math.log(2) * (8 if text == "abcd" else 4)

    place = ("language", tmp_path / "texts")
    result = put("language", run_of(Scripted(nats=nats), place=place))
    assert values(result)["bits_per_byte"] == pytest.approx(2)
    kinds = result.facts["by_kind"]
    assert {name: own["bits_per_byte"]["value"] for name, own in kinds.items()} == {
        "txt": pytest.approx(2), "md": pytest.approx(2),
    }  # fmt: skip
    assert set(result.facts["by_source"]) == {"a.txt", "b.md"}
    assert result.facts["of_documents"] == 3


def test_continuations_are_compared_with_what_people_wrote(tmp_path: Path) -> None:
    data = tmp_path / "held.txt"
    data.write_text(f"one two three four five six {'abcdefgh' * 9}", encoding="utf-8")
    engine = Scripted(lambda prompt: "la" * 30)
    result = put("coherence", run_of(engine, data=data, continuations=2, sample_tokens=60))
    assert values(result)["seq_rep_1"] == pytest.approx(1 - 2 / 60)
    assert values(result)["seq_rep_4"] == pytest.approx(1 - 2 / 57)
    assert 0.8 < values(result)["real_seq_rep_4"] < values(result)["seq_rep_4"]
    assert values(result)["ends_itself"] == 0
    assert "no training text" in result.undefined["longest_overlap"]
    with pytest.raises(ConfigError, match="coherence needs held-out text"):
        put("coherence", run_of(engine))


@pytest.mark.parametrize(
    ("chosen", "error", "said"),
    [
        ("questions", ConfigError, "questions reads a file: write --task questions=FILE"),
        ("crows_pairs=none.csv", ConfigError, "expected a file or directory, but there is none"),
        ("qestions", ConfigError, "did you mean 'questions'"),
        ("none.yaml", ConfigError, "none.yaml: expected a task file, but it does not exist"),
        ("coherence", ConfigError, "needs held-out text"),
        ("language", ConfigError, "--task language=CORPUS_OR_FOLDER"),
    ],
)
def test_what_is_missing_is_said_before_anything_runs(
    chosen: str, error: type[Exception], said: str, model: Path
) -> None:
    with pytest.raises(error, match=said):
        evaluate_tasks(model, None, ["bias", chosen], config=FAST)


FAST = TasksConfig(device="cpu", resamples=20, limit=6)


def test_a_conversation_with_a_model_that_has_no_template_is_refused(tmp_path: Path) -> None:
    place = written(tmp_path / "q.jsonl", QUESTIONS)
    for name in ("questions", "questions_open", "refusal"):
        with pytest.raises(ModelError, match=f"{name} needs a model with a chat template"):
            put(name, run_of(Scripted(), place=(name, place), style="chat"))


def test_results_are_kept_with_all_that_a_comparison_needs(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = written(tmp_path / "q.jsonl", REFUSALS)
    names = ["bias", f"refusal={place}"]
    found = evaluate_tasks(model, None, names, tmp_path / "out", FAST)
    assert found == read_results(tmp_path / "out") == json.loads(
        (tmp_path / "out" / "results.json").read_text("utf-8")
    )  # fmt: skip
    assert found["settings"]["seed"] == 0
    items = list(read_items(tmp_path / "out"))
    assert [(item["task"], item["id"]) for item in items] == [
        (task, name) for task in ("refusal", "bias") for name in found["tasks"][task]["scores"]
    ]
    assert all(item["prompt"] for item in items)
    again = evaluate_tasks(model, None, names, tmp_path / "again", FAST)
    assert again["tasks"] == found["tasks"]  # same seed, same figures
    kept = (tmp_path / "out" / "items.jsonl").read_bytes()
    assert kept == (tmp_path / "again" / "items.jsonl").read_bytes()
    recipe = artifact.read(tmp_path / "out").manifest.recipe
    monkeypatch.setattr("linnet.evaluate.suite.run_chosen", None)  # calling it would fail
    assert evaluate_tasks(model, None, names, tmp_path / "out", FAST) == found
    written(place, QUESTIONS)
    with pytest.raises(TypeError):  # questions that changed are asked anew
        evaluate_tasks(model, None, names, tmp_path / "out", FAST)
    assert artifact.read(tmp_path / "out").manifest.recipe == recipe
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again", "out", "q.jsonl"]
