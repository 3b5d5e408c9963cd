"""From a question to an answer with citations, over passages in memory."""

from linnet.answers import Assistant
from linnet.respond.context import Context
from linnet.retrieval import Passage, PassagesInMemory, Place

TEXT = "Opening hours\nThe library opens at nine.\nIt closes at six on Fridays.\n"
OTHER = "The cafeteria serves soup on Mondays.\n"


def passages() -> PassagesInMemory:
    return PassagesInMemory(
        [
            Passage(TEXT, (Place("hours.txt", 10, 10 + len(TEXT)),), title="Hours", language="en"),
            Passage(OTHER, (Place("food.txt", 0, len(OTHER)),), language="en"),
        ]
    )


def test_the_line_that_answers_is_cited() -> None:
    answer = Assistant(passages()).ask("When does the library open?", id="q1")
    assert (answer.id, answer.refused) == ("q1", False)
    assert answer.answer == "The library opens at nine."
    (citation,) = answer.citations
    start = 10 + TEXT.index("The library")
    assert (citation.source, citation.start, citation.end) == ("hours.txt", start, start + 26)
    assert answer.to_json()["citations"][0]["text"] == citation.text


def test_nothing_found_is_refused() -> None:
    answer = Assistant(passages()).ask("Zxqv wombat?")
    assert (answer.refused, answer.citations, answer.nearest) == (True, (), ())
    assert [step.outcome for step in answer.steps] == ["nothing"]


def test_a_record_of_the_call_has_numbers_and_no_words() -> None:
    context = Context()
    Assistant(passages()).ask("When does the library open?", context=context)
    record = context.record
    assert record.retrieval_seconds > 0
    assert record.groundedness == 1.0
    assert record.features["words"] == 5
    assert record.features.keys() == {"words", "score"}  # no gate was fitted
    nothing = Context()
    Assistant(passages()).ask("Zxqv wombat?", context=nothing)
    assert nothing.record.groundedness is None
    assert nothing.record.features == {"words": 2}
