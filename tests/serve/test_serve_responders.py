"""Responders behind the server: around an engine, at another address, and without an engine."""

import contextlib
import json
import time
from typing import Any

import openai
import pytest
from scripted import Running, ScriptedEngine, serving
from test_serve_running import PATIENCE, leave, open_stream, wait_until

from linnet import respond
from linnet.errors import ModelError
from linnet.respond import (
    Abilities,
    Batches,
    Citation,
    Context,
    Conversation,
    Decision,
    EngineResponder,
    Finish,
    Passage,
    Refusal,
    RemoteResponder,
    Text,
    conversation,
)
from linnet.serve import Catalog, ServeConfig, Served

ASKED: list[Any] = [{"role": "user", "content": "hello"}]
PASSAGE = Passage("a.txt", 0, 5, "hello", page=2, tags=frozenset({"local-only"}))


class Cited:
    """Decides, retrieves and cites around another responder, and refuses what is secret."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.abilities = inner, inner.abilities

    async def respond(self, asked: Conversation, context: Context) -> Batches:
        if "secret" in asked.messages[-1].text:
            yield [Refusal("No.", "policy"), Finish("refusal")]
            return
        yield [Decision("model", "small", "simple"), PASSAGE]
        async with contextlib.aclosing(self.inner.respond(asked, context)) as batches:
            async for batch in batches:
                for piece in batch:
                    if isinstance(piece, Finish):
                        yield [Citation("a.txt", 0, 5, "hello")]
                    yield [piece]


@contextlib.contextmanager
def served(*models: Served, **settings: Any) -> Any:
    running = Running(Catalog(models), ServeConfig(port=0, log="off", **settings))
    try:
        yield running, openai.OpenAI(base_url=f"{running.url}/v1", api_key="x", max_retries=0)
    finally:
        running.stop()


def test_pieces_of_wrappers_reach_the_client() -> None:
    cited = Cited(EngineResponder(ScriptedEngine(), name="tiny"))
    with served(Served("cited", answering=cited)) as (_, client):
        whole = client.chat.completions.create(model="cited", messages=ASKED)
        message: Any = whole.choices[0].message
        assert message.content == "olleh >resu<"
        assert message.linnet == [
            {"type": "decision", "subject": "model", "outcome": "small", "reason": "simple"},
            {"type": "passage", "source": "a.txt", "start": 0, "end": 5, "text": "hello",
             "page": 2, "tags": ["local-only"]},
            {"type": "citation", "source": "a.txt", "start": 0, "end": 5, "text": "hello"},
        ]  # fmt: skip
        kinds, text = [], ""
        for chunk in client.chat.completions.create(model="cited", messages=ASKED, stream=True):
            delta: Any = chunk.choices[0].delta
            kinds += [piece["type"] for piece in getattr(delta, "linnet", None) or ()]
            text += delta.content or ""
        assert (kinds, text) == (["decision", "passage", "citation"], "olleh >resu<")
        refused = client.chat.completions.create(
            model="cited", messages=[{"role": "user", "content": "a secret"}]
        )
        assert refused.choices[0].message.refusal == "No."
        assert refused.choices[0].finish_reason == "stop"
        assert [model.id for model in client.models.list()] == ["cited"]
        with pytest.raises(openai.BadRequestError, match="answers conversations only"):
            client.completions.create(model="cited", prompt="a")


def test_a_server_behind_a_server() -> None:
    """Linnet's own server as the model at an address."""
    tool: Any = {"type": "function", "function": {"name": "f"}}
    call = '<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>'
    engine = ScriptedEngine(lambda prompt, request: call if "<tools>" in prompt else prompt)
    with serving(engine) as near:
        far = RemoteResponder(f"{near.url}/v1", "tiny")
        context = Context()
        (answer,) = respond.run(far, conversation(ASKED, logprobs=True, top_logprobs=1), context)
        assert answer.text == "<user> hello"
        assert [score.spelling for score in answer.scores][:3] == [b"<", b"u", b"s"]
        assert context.record.tokens.prompt == len("<user> hello")
        (answer,) = respond.run(far, conversation(ASKED, [tool]))
        assert [(c.name, c.arguments) for c in answer.tool_calls] == [("f", '{"a": 1}')]
        with served(Served("far", answering=far)) as (running, client):
            answers = client.chat.completions.create(model="far", messages=ASKED, n=2)
            assert [c.message.content for c in answers.choices] == ["<user> hello"] * 2
            assert answers.usage is not None
            assert answers.usage.prompt_tokens == len("<user> hello")
            with pytest.raises(openai.APIStatusError, match="status 400") as raised:
                client.chat.completions.create(
                    model="far", messages=[{"role": "user", "content": "refuse"}]
                )
            assert raised.value.status_code == 502
            # Leaving the one reaches the engine of the other.
            stream: Any = open_stream(running, "slow " * 200, model="far")
            stream.read(200)
            leave(stream)
            wait_until(lambda: engine.running == 0)
            wait_until(lambda: not near.server.service.busy)


def test_a_template_that_is_stopped_says_so() -> None:
    class Stopped(ScriptedEngine):
        def chat_prompt(self, *given: Any, **more: Any) -> tuple[int, ...]:
            raise ModelError("/secret/tokenizer.json: the chat template is stopped: it takes long")

    with serving(Stopped()) as running:
        client = openai.OpenAI(base_url=f"{running.url}/v1", api_key="x", max_retries=0)
        with pytest.raises(openai.BadRequestError) as raised:
            client.chat.completions.create(model="tiny", messages=ASKED)
        assert raised.value.code == "no_chat_template"
        assert "it takes long" in raised.value.message
        assert "/secret" not in raised.value.message
        assert not client.models.retrieve("tiny").linnet["chat"]  # type: ignore[attr-defined]


def test_an_answer_that_takes_too_long_and_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    class Limited:
        abilities = Abilities("limited", 0)

        async def respond(self, asked: Conversation, context: Context) -> Batches:
            if "late" in asked.messages[-1].text:
                raise respond.DeadlineError("the answer took longer than it may")
            if "costly" in asked.messages[-1].text:
                raise respond.ConversationError("no money is left", code="budget_exceeded")
            yield [Text("a"), Finish("stop")]

    with served(Served("limited", answering=Limited())) as (_, client):
        for words, status in (("late", 504), ("costly", 429)):
            with pytest.raises(openai.APIStatusError) as raised:
                client.chat.completions.create(
                    model="limited", messages=[{"role": "user", "content": words}]
                )
            assert raised.value.status_code == status
        assert client.chat.completions.create(model="limited", messages=ASKED).choices


def test_a_large_text_is_turned_to_tokens_beside_others() -> None:
    """Others are answered while two megabytes are tokenized, at every kind of tokenizing."""
    import threading

    class Slow(ScriptedEngine):
        def tokenize(self, text: str, *, special: bool = False) -> list[int]:
            if len(text) > 1000:
                self.gate.wait(PATIENCE)
            return super().tokenize(text, special=special)

    engine = Slow()
    with served(Served("tiny", engine)) as (running, client):
        body = json.dumps({"content": "a" * 1_900_000})
        asking = threading.Thread(
            target=lambda: client.post(
                f"{running.url}/tokenize", body=json.loads(body), cast_to=object
            )
        )
        asking.start()
        wait_until(lambda: running.server.service.busy)
        started = time.monotonic()
        assert client.chat.completions.create(model="tiny", messages=ASKED).choices
        assert time.monotonic() - started < PATIENCE
        engine.gate.set()
        asking.join(PATIENCE)


def test_work_after_an_answer_is_not_waited_for() -> None:
    worked: list[str] = []

    class Thorough(Cited):
        async def respond(self, asked: Conversation, context: Context) -> Batches:
            yield [Text("a"), Finish("stop")]
            answered.wait(PATIENCE)  # in the loop: the client has all before it
            worked.append("done")
            if "broken" in asked.messages[-1].text:
                raise ModelError("too late")

    import threading

    answered = threading.Event()
    inner = EngineResponder(ScriptedEngine(), name="tiny")
    with served(Served("thorough", answering=Thorough(inner))) as (running, _):
        for words in ("hello", "broken"):
            answered.clear()
            text = open_stream(running, words, model="thorough").read().decode()
            assert text.endswith("data: [DONE]\n\n")
            assert '"error"' not in text
            answered.set()
            wait_until(lambda: not running.server.service.busy)
        assert worked == ["done", "done"]
