"""Who answers: by request, rule and attempt, within policy and budget; and who when one fails."""

import dataclasses
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from linnet import respond
from linnet.answers import Assistant
from linnet.answers.evidence import Draft
from linnet.answers.responder import DocumentsResponder
from linnet.errors import ModelError
from linnet.respond import (
    Abilities,
    Attribution,
    Batches,
    BudgetExceededError,
    Context,
    ContextFullError,
    Conversation,
    ConversationError,
    Decision,
    Failure,
    Finish,
    Outcome,
    Passage,
    Refusal,
    RemoteError,
    Status,
    Text,
    ToolCallDelta,
    Usage,
    conversation,
)
from linnet.respond.pieces import Piece, TokenScore
from linnet.retrieval import Passage as PlacedPassage
from linnet.retrieval import PassagesInMemory
from linnet.retrieval import Place as PlaceIn
from linnet.routing.beyond import BeyondDocuments
from linnet.routing.policy import PolicyError, Verdict
from linnet.routing.responder import Fixed, RoutingResponder
from linnet.routing.router import LOCAL, Route, Router, RouterConfig, Rule
from linnet.routing.settings import read_routing

ASKED = conversation([{"role": "user", "content": "Is it raining?"}])
FINISH = Finish("stop")


class Scripted:
    """Gives batches, raises what is among them, and remembers what it was asked."""

    def __init__(self, name: str, *script: Any, place: Any = "elsewhere", **abilities: Any) -> None:
        self.abilities = Abilities(name, 4096, place, **abilities)
        self.script = script
        self.asked: list[Conversation] = []
        self.cost = 0

    async def respond(self, asked: Conversation, context: Context) -> Batches:
        self.asked.append(asked)
        try:
            for step in self.script:
                if isinstance(step, Exception):
                    raise step
                found = step(asked) if callable(step) else step
                yield [found] if isinstance(found, Piece) else found
                context.record.choices = context.record.choices or asked.choices
        finally:
            # What was used is known when all is over.
            context.record.cost += self.cost
            context.record.tokens.written += 3
            context.record.model = "its own name"


def says(text: str) -> list[Any]:
    return [[Status("writing"), Text(text)], [Usage(2, 0, 3), FINISH]]


class Chosen:
    """A router whose decisions are given."""

    def __init__(self, first: Route, then: Route | None = None, *, scores: bool = False) -> None:
        self.first, self.then, self.needs_scores = first, then, scores
        self.attempts: list[Any] = []

    def choose(self, asked: Conversation, *, requested: str | None = None) -> Route:
        return Route(requested, "asked for", "request") if requested else self.first

    def judge(self, asked: Conversation, attempt: Any) -> Route:
        self.attempts.append(attempt)
        assert self.then is not None
        return self.then


HERE = Route(LOCAL, "simple", "rule")
CLOUD = Route("cloud", "hard", "router", score=0.3, threshold=0.2)
ATTEMPT = Route(LOCAL, "first here", judges_attempt=True)
REJECTED = Route("cloud", "not sure enough", "attempt", score=0.8, threshold=0.5)


def routed(
    router: Any, remote: Sequence[Scripted], local: Scripted | None = None, **more: Any
) -> RoutingResponder:
    local = local or Scripted("small", *says("yes"), place="here")
    return RoutingResponder(
        local, {each.abilities.name: each for each in remote}, router, name="auto",
        currency="EUR", **more,
    )  # fmt: skip


def pieces_of(responder: Any, asked: Conversation = ASKED, **context: Any) -> list[Piece]:
    made = Context(**context)
    found = list(respond.stream(responder, asked, made))
    for choice in range(asked.choices):
        own = [piece for piece in found if piece.choice == choice]
        assert [isinstance(piece, Finish) for piece in own].count(True) == 1
        assert isinstance(own[-1], Finish)
    return found


def text_of(found: list[Piece]) -> str:
    return "".join(piece.text for piece in found if isinstance(piece, Text))


def decisions(found: list[Piece]) -> list[tuple[str, str]]:
    return [
        (piece.outcome, piece.reason)
        for piece in found
        if isinstance(piece, Decision) and piece.subject == "route"
    ]


def wrote(found: list[Piece]) -> Attribution:
    (piece,) = (piece for piece in found if isinstance(piece, Attribution))
    assert (
        found.index(piece)
        == min(place for place, each in enumerate(found) if isinstance(each, Finish)) - 1
    )
    return piece


def test_the_answer_says_who_wrote_it_why_and_what_it_cost() -> None:
    cloud = Scripted("cloud", *says("no"))
    cloud.cost = 1_500_000
    context = Context()
    found = list(respond.stream(routed(Chosen(CLOUD), [cloud]), ASKED, context))
    route = {"decided_by": "router", "reason": "hard", "score": 0.3, "threshold": 0.2}
    assert wrote(found).as_json() == {
        "type": "attribution", "model": "cloud", "place": "elsewhere", "route": route,
        "cost": 0.0000015, "currency": "EUR", "id": context.record.id,
    }  # fmt: skip
    assert (text_of(found), decisions(found)) == ("no", [("cloud", "hard")])
    record = context.record
    assert (record.model, record.cost, record.choices) == ("cloud", 1_500_000, 1)
    assert record.facts["route"] == {"model": "cloud", "place": "elsewhere", **route}
    assert record.first_at is not None

    found = pieces_of(routed(Chosen(HERE), [cloud]))
    assert (wrote(found).model, wrote(found).place, wrote(found).cost) == ("small", "here", 0.0)
    assert (text_of(found), decisions(found)) == ("yes", [(LOCAL, "simple")])
    assert len(cloud.asked) == 1


def test_a_request_decides_and_a_name_that_is_none_is_refused() -> None:
    cloud = Scripted("cloud", *says("no"))
    responder = routed(Router(models={"cloud": cloud.abilities}), [cloud], tells=False)
    assert wrote(pieces_of(responder, route="cloud")).model == "cloud"
    assert wrote(pieces_of(responder, route="local")).route["decided_by"] == "request"
    assert wrote(pieces_of(responder)).model == "small"
    with pytest.raises(ConversationError, match="there is no model 'sky'"):
        pieces_of(responder, route="sky")


@pytest.mark.parametrize(
    ("asked", "fills", "sent"), [(1 << 20, True, 4096), (300, True, 300), (9000, False, 9000)]
)
def test_an_answer_elsewhere_that_nobody_limits_is_limited(
    asked: int, fills: bool, sent: int
) -> None:
    wanted = ASKED.replace(
        sampling=dataclasses.replace(ASKED.sampling, max_tokens=asked), fill_context=fills
    )
    cloud, local = Scripted("cloud", *says("no")), Scripted("small", *says("yes"), place="here")
    assert text_of(pieces_of(routed(Chosen(CLOUD), [cloud]), wanted)) == "no"
    assert text_of(pieces_of(routed(Chosen(HERE), [cloud], local), wanted)) == "yes"
    assert [each.asked[0].sampling.max_tokens for each in (cloud, local)] == [sent, asked]


def test_a_local_attempt_is_held_back_until_it_is_judged() -> None:
    outcome = Outcome("1", False, 0.4, 0.9, "passages")
    local = Scripted(
        "docs", Status("search", "2 passages"), [Passage("a", 0, 1, "x"), Text("maybe")],
        [outcome, FINISH], place="here",
    )  # fmt: skip
    cloud = Scripted("cloud", *says("no"))
    router = Chosen(ATTEMPT, REJECTED)
    context = Context()
    found = list(respond.stream(routed(router, [cloud], local), ASKED, context))
    assert router.attempts[0].probability == 0.4
    assert router.attempts[0].text == "maybe"
    assert [piece.state for piece in found if isinstance(piece, Status)] == [
        "attempt", "search", "writing"
    ]  # fmt: skip
    assert (text_of(found), wrote(found).route["decided_by"]) == ("no", "attempt")
    assert not any(isinstance(piece, Passage) for piece in found)
    assert context.record.tokens.written == 3  # of the answer, not of the attempt
    assert context.record.facts["attempt"]["tokens"] == 3

    accepted = Chosen(ATTEMPT, Route(LOCAL, "sure enough", "attempt"))
    context = Context()
    found = list(respond.stream(routed(accepted, [cloud], local), ASKED, context))
    kinds = [type(piece) for piece in found if not isinstance(piece, Status)]
    assert kinds == [Decision, Passage, Text, Outcome, Attribution, Finish]
    assert (wrote(found).model, context.record.choices) == ("docs", 1)
    assert context.record.tokens.written == 3
    assert len(cloud.asked) == 1


def test_an_attempt_tells_by_its_tokens_which_nobody_asked_for() -> None:
    def scored(asked: Conversation) -> list[Piece]:
        assert asked.logprobs
        return [Text("yes", (1,), (TokenScore(b"yes", -0.2),))]

    local = Scripted("small", scored, FINISH, place="here")
    router = Chosen(ATTEMPT, Route(LOCAL, "sure", "attempt"), scores=True)
    found = pieces_of(routed(router, [Scripted("cloud")], local, tells=False))
    assert router.attempts[0].logprob == -0.2
    assert [piece.scores for piece in found if isinstance(piece, Text)] == [()]
    # A router that learned to judge answers needs nothing beside their text.
    learned = Chosen(Route(LOCAL, "judged", "router", judges_attempt=True), REJECTED)
    found = pieces_of(routed(learned, [Scripted("cloud", *says("no"))], tells=False))
    assert (text_of(found), learned.attempts[0].text) == ("no", "yes")
    # Without a way to tell there is none: the answer streams.
    plain = routed(Chosen(ATTEMPT), [Scripted("cloud")], tells=False)
    assert decisions(pieces_of(plain)) == [
        (LOCAL, "nothing tells how good an answer of the local model is")
    ]


class Allows:
    """A policy that lets a conversation go to some places."""

    def __init__(self, *places: str) -> None:
        self.places = places

    def check(self, asked: Conversation, context: Context, place: str, *, model: str) -> Verdict:
        return Verdict(place in self.places, (f"nothing goes {place}",))


def test_no_attempt_is_made_where_nobody_else_may_answer() -> None:
    router = Chosen(ATTEMPT, REJECTED)
    found = pieces_of(routed(router, [Scripted("cloud", *says("no"))], policy=Allows()))
    assert decisions(found) == [(LOCAL, "nothing goes elsewhere")]
    assert wrote(found).route["decided_by"] == "policy"
    assert not router.attempts
    found = pieces_of(routed(router, [Scripted("cloud", *says("no"))], policy=Allows("elsewhere")))
    assert text_of(found) == "no"


REFUSALS: list[tuple[Exception, str]] = [
    (PolicyError(("hr/** stays here",)), "policy"),
    (BudgetExceededError("the budget of today is spent"), "budget"),
    (RemoteError("cloud: status 500"), "failure"),
    (ConversationError("a regex is for models here"), "failure"),
]


@pytest.mark.parametrize(("error", "cause"), REFUSALS)
@pytest.mark.parametrize("attempted", [False, True])
def test_the_local_answer_stands_where_no_other_one_comes(
    error: Exception, cause: str, attempted: bool
) -> None:
    # What was held back of a model that fails before its first word is gone, but what it decided.
    masked = Decision("mask", "2 names")
    cloud = Scripted("cloud", [masked, Status("writing"), Passage("a", 0, 1, "x")], error)
    router = Chosen(ATTEMPT, REJECTED) if attempted else Chosen(CLOUD)
    context = Context()
    found = list(respond.stream(routed(router, [cloud]), ASKED, context))
    assert text_of(found) == "yes"
    assert decisions(found)[-1] == (LOCAL, str(error))
    assert wrote(found).route["decided_by"] == cause
    assert (wrote(found).model, context.record.choices) == ("small", 1)
    assert masked in found
    assert not any(isinstance(piece, Passage) for piece in found)
    assert [type(piece) for piece in found].count(Failure) == (cause == "failure")


@pytest.mark.parametrize(
    ("error", "logged"),
    [
        (RemoteError("cloud: status 400: 'Rex' has sk-12", quoted="'Rex' has sk-12"),
         "cloud: status 400"),
        (RemoteError("cloud: no connection"), "cloud: no connection"),
        (ConversationError("cloud: too long: Rex is", code="context_length_exceeded"),
         "the conversation is too long for the model there"),
    ],
)  # fmt: skip
def test_the_words_of_another_server_are_for_the_asker_and_not_for_the_log(
    error: Exception, logged: str
) -> None:
    context = Context()
    found = list(respond.stream(routed(Chosen(CLOUD), [Scripted("cloud", error)]), ASKED, context))
    assert [piece.text for piece in found if isinstance(piece, Failure)] == [str(error)]
    assert decisions(found)[-1] == (LOCAL, logged)
    assert context.record.facts["route"]["reason"] == logged


def test_a_question_to_documents_is_looked_for_once() -> None:
    looked: list[str] = []

    class Looking(Assistant):
        def gather(self, question: Any, **more: Any) -> Any:
            looked.append(question.text)
            return super().gather(question, **more)

    text = "The library opens at nine."
    index = PassagesInMemory([PlacedPassage(text, (PlaceIn("a.txt", 0, len(text)),))])
    assistant = Looking(index)
    local = DocumentsResponder(assistant, name="notes")
    cloud = DocumentsResponder(assistant, name="notes")
    router = Chosen(ATTEMPT, REJECTED)
    routing = RoutingResponder(local, {"cloud": cloud}, router, name="auto")
    asked = conversation([{"role": "user", "content": "When does the library open?"}])
    assert text_of(list(respond.stream(routing, asked, Context()))) == text
    assert router.attempts
    assert len(looked) == 1
    list(respond.stream(routing, asked, Context()))  # another call looks again
    assert len(looked) == 2
    routing.close()


class Astray:
    """Writes what has nothing to do with the question, which is not shown."""

    def draft(self, evidence: Any, **more: Any) -> Draft:
        return Draft("Rex is a dog.", written_by="model", measures={"coverage": 0.0})


@pytest.mark.parametrize(
    ("first", "asked", "route", "given", "wrote_it"),
    [
        (ATTEMPT, "When does the library open?", None, "The library opens at nine.", "notes"),
        (CLOUD, "When does the library open?", None, "The library opens at nine.", "notes"),
        # Nobody finds it in the documents; or whoever asks wants to hear that model.
        (ATTEMPT, "Who won the cup in 2031?", None, "no idea", "cloud"),
        (CLOUD, "Who won the cup in 2031?", None, "no idea", "cloud"),
        (HERE, "When does the library open?", "cloud", "no idea", "cloud"),
    ],
)
@pytest.mark.parametrize("knows", [True, False])
def test_an_answer_of_the_documents_comes_before_what_a_model_knows(
    first: Route, asked: str, route: str | None, given: str, wrote_it: str, knows: bool
) -> None:
    text = "The library opens at nine."
    assistant = Assistant(
        PassagesInMemory([PlacedPassage(text, (PlaceIn("a.txt", 0, len(text)),))])
    )
    local = DocumentsResponder(assistant, name="notes")
    alone = Scripted("cloud", *says("no idea"))
    drafting = {"name": "notes", "writer": Astray()}
    cloud = BeyondDocuments(assistant, beyond=alone, **drafting) if knows else (
        DocumentsResponder(assistant, **drafting)
    )  # fmt: skip
    routing = RoutingResponder(local, {"cloud": cloud}, Chosen(first, REJECTED), name="auto")
    context = Context(route=route)
    question = conversation([{"role": "user", "content": asked}])
    found = list(respond.stream(routing, question, context))
    if not knows and wrote_it == "cloud":  # then it is the documents' answer, or refusal
        given, wrote_it = text if "library" in asked else "", "notes"
    assert (text_of(found), wrote(found).model) == (given, wrote_it)
    assert any(isinstance(piece, Refusal) for piece in found) == (not given)
    assert len(alone.asked) == (wrote_it == "cloud")
    about = [piece for piece in found if isinstance(piece, Decision)]
    assert any(piece.subject == "documents" for piece in about) == (wrote_it == "cloud")
    assert context.record.choices == 1
    if given == text:  # it can be judged as the answer that it is
        said = assistant.given.judged(context.record.id, "", good=True)
        assert said is not None
        assert not said.refused
        assert said.citations
    routing.close()


def test_models_are_tried_in_order_and_the_first_refusal_is_the_reason() -> None:
    down = Scripted("down", RemoteError("down: no connection"))
    spent = Scripted("spent", BudgetExceededError("nothing is left"))
    up = Scripted("up", *says("no"))
    found = pieces_of(routed(Chosen(Route("down", "hard", "rule")), [down, spent, up]))
    assert (text_of(found), wrote(found).model) == ("no", "up")
    assert decisions(found) == [
        ("down", "hard"), ("spent", "down: no connection"), ("up", "nothing is left"),
    ]  # fmt: skip
    found = pieces_of(routed(Chosen(Route("spent", "hard", "rule")), [down, spent]))
    assert decisions(found) == [
        ("spent", "hard"), ("down", "nothing is left"), (LOCAL, "nothing is left"),
    ]  # fmt: skip
    assert wrote(found).route["decided_by"] == "budget"
    only = RoutingResponder(None, {"down": down}, Fixed("down"), name="down")
    with pytest.raises(RemoteError, match="no connection"):
        pieces_of(only)
    # A local model that cannot take the conversation either: what kept the chosen one says more.
    unable = Scripted("small", ConversationError("no tools here"), place="here")
    with pytest.raises(BudgetExceededError, match="nothing is left"):
        pieces_of(routed(Chosen(Route("spent", "hard")), [spent], unable))


def test_what_was_given_out_ends_in_order_where_the_model_fails() -> None:
    """A call of which half was streamed is told as far as it came; each choice ends."""
    cloud = Scripted(
        "cloud", [Text("It is r")], [Finish("stop")],
        [ToolCallDelta("c", "f", '{"a"', choice=1)], [ToolCallDelta("c", "f", ": ", choice=1)],
        RemoteError("cloud: the answer broke off"),
    )  # fmt: skip
    asked = ASKED.replace(choices=2)
    found = pieces_of(routed(Chosen(CLOUD), [cloud]), asked)
    (failure,) = (piece for piece in found if isinstance(piece, Failure))
    assert (failure.text, failure.code) == ("cloud: the answer broke off", "malformed")
    answers = [respond.Answer(), respond.Answer()]
    for piece in found:
        answers[piece.choice].add(piece)
    assert (answers[0].text, answers[0].finish_reason) == ("It is r", "stop")
    assert [call.arguments for call in answers[1].tool_calls] == ['{"a": ']
    assert answers[1].finish_reason == "length"
    assert wrote(found).model == "cloud"


def test_a_local_model_that_fails_or_is_too_small() -> None:
    cloud = Scripted("cloud", *says("no"))
    full = Scripted("small", ContextFullError(9000, 4096, part="messages"), place="here")
    found = pieces_of(routed(Chosen(HERE), [cloud], full))
    assert (text_of(found), wrote(found).route["decided_by"]) == ("no", "ability")
    for options in ({"route": LOCAL}, {"remote": False}):
        with pytest.raises(ContextFullError):
            pieces_of(routed(Chosen(HERE), [cloud], full), **options)
    down = Scripted("cloud", RemoteError("cloud: down"))
    with pytest.raises(ContextFullError):
        pieces_of(routed(Chosen(HERE), [down], full))
    # An attempt that fails tells nothing of where the files are.
    broken = Scripted("small", ModelError("/secret/model.gguf: damaged"), place="here")
    found = pieces_of(routed(Chosen(ATTEMPT), [cloud], broken))
    assert (text_of(found), wrote(found).route["reason"]) == ("no", "the local model failed")
    with pytest.raises(ModelError):
        pieces_of(routed(Chosen(ATTEMPT), [down], broken))
    with pytest.raises(ModelError):
        pieces_of(routed(Chosen(HERE), [cloud], broken))


def test_who_may_not_use_models_beyond_this_machine() -> None:
    cloud = Scripted("cloud", *says("no"))
    for router in (Chosen(CLOUD), Chosen(ATTEMPT, REJECTED)):
        found = pieces_of(routed(router, [cloud]), remote=False)
        assert (text_of(found), wrote(found).route["decided_by"]) == ("yes", "policy")
    with pytest.raises(ConversationError, match="for keys made with --remote") as raised:
        pieces_of(
            RoutingResponder(None, {"cloud": cloud}, Fixed("cloud"), name="cloud"), remote=False
        )
    assert raised.value.code == "not_allowed"
    assert not cloud.asked


def test_long_conversations_and_slow_routers_hold_nobody_up() -> None:
    places = []

    class Noting(Chosen):
        def choose(self, asked: Conversation, *, requested: str | None = None) -> Route:
            places.append(threading.current_thread().name)
            return super().choose(asked, requested=requested)

    cloud = Scripted("cloud", *says("no"))
    long = conversation([{"role": "user", "content": "x" * 10_000}])
    assert text_of(pieces_of(routed(Noting(CLOUD), [cloud]), ASKED)) == "no"
    assert text_of(pieces_of(routed(Noting(CLOUD), [cloud]), long)) == "no"
    assert text_of(pieces_of(routed(Noting(CLOUD), [cloud], is_slow=True), ASKED)) == "no"
    here = threading.current_thread().name
    assert [place == here for place in places] == [True, False, False]


def test_cancelling_and_an_answer_without_a_word() -> None:
    cloud = Scripted("cloud", Refusal("No.", "policy"), Finish("refusal"))
    assert [type(p) for p in pieces_of(routed(Chosen(CLOUD), [cloud]))] == [
        Decision, Refusal, Attribution, Finish,
    ]  # fmt: skip
    empty = Scripted("cloud", [Usage(1, 0, 0), FINISH])
    found = pieces_of(routed(Chosen(CLOUD), [empty]))
    assert (text_of(found), wrote(found).model) == ("", "cloud")

    context = Context()

    def cancel(asked: Conversation) -> Piece:
        context.cancel()
        raise RemoteError("the connection was closed")

    with pytest.raises((respond.CancelledCallError, RemoteError)):
        list(respond.stream(routed(Chosen(CLOUD), [Scripted("cloud", cancel)]), ASKED, context))


def test_what_all_of_them_can_do() -> None:
    cloud = Scripted("cloud", place="network", tools=True)
    local = Scripted("docs", place="here", tools=False, constraints=False, logprobs=False)
    found = routed(Chosen(HERE), [cloud], local).abilities
    assert (found.name, found.place, found.tools, found.context) == ("auto", "network", True, 4096)


def test_rules_come_before_everything_that_is_learned() -> None:
    cloud = Scripted("cloud", *says("no"))
    rules = (Rule(model="cloud", matches="rain"), Rule(model=LOCAL, name="rest"))
    router = Router(RouterConfig(), rules, {"cloud": cloud.abilities})
    assert wrote(pieces_of(routed(router, [cloud]))).route["decided_by"] == "rule"
    other = conversation([{"role": "user", "content": "Is it sunny?"}])
    assert "rest" in wrote(pieces_of(routed(router, [cloud]), other)).route["reason"]


def test_the_settings_that_the_documentation_shows(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "routing.md").read_text("utf-8")
    file = tmp_path / "routing.toml"
    file.write_text(text.partition("```toml\n")[2].partition("```")[0], "utf-8")
    assert list(read_routing(file).models) == ["cloud", "workstation"]
