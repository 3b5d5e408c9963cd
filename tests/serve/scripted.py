"""An engine that says what it is told to, and a server around it on a free port."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from linnet.errors import ConfigError, DataError, LinnetError, ModelError
from linnet.generate.engine import (
    Chunk,
    Continuation,
    Deliver,
    Engine,
    Likelihood,
    Request,
    Score,
    Start,
)
from linnet.serve import Catalog, ServeConfig, Served, Server
from linnet.tokenizer.chat import joined_text

HELD_SECONDS = 20.0

Answer = Callable[[str, Request], str]


def echo(prompt: str, request: Request) -> str:
    """The last line of what was asked, backwards."""
    return prompt.rstrip().splitlines()[-1][::-1] if prompt.strip() else "nothing"


class Characters:
    """Of its texts: tokens are characters, and those beyond Unicode are special."""

    start = (0x110000,)

    def continuation(self, text: str) -> list[int]:
        return [ord(character) for character in text]


class ScriptedEngine(Engine):
    """Tokens are characters, and each request has a thread of its own.

    Words in a prompt change what happens: ``slow`` waits between tokens, ``late`` before the first
    and ``held`` after it until ``gate`` is set, ``broken`` fails in the middle, ``unfit`` is
    refused once it is begun, ``bug`` fails in a way that no engine should.
    """

    tokenization: Any = Characters()

    def __init__(self, answer: Answer = echo, *, context: int = 4000, chat: bool = True) -> None:
        self.answer = answer
        self._context = context
        self.chat = chat
        self.requests: list[Request] = []
        self.running = 0
        self.closed = False
        self.gate = threading.Event()

    @property
    def context(self) -> int:
        return self._context

    @property
    def precision(self) -> str:
        return ""

    @property
    def adapters(self) -> Sequence[str]:
        return ("loud",)

    @property
    def tokenizer(self) -> Any:
        raise ModelError("there is none")

    def tokenize(self, text: str, *, special: bool = False) -> list[int]:
        return [ord(character) for character in text]

    def detokenize(self, tokens: Sequence[int]) -> str:
        return "".join(chr(token) if token < 0x110000 else "?" for token in tokens)

    def token_bytes(self, token: int) -> bytes:
        return chr(token).encode()

    def chat_prompt(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        **variables: Any,
    ) -> tuple[int, ...]:
        if not self.chat:
            raise ModelError("the tokenizer has no chat template")
        if any(message["content"] == "refuse" for message in messages):
            raise DataError("/secret/place/tokenizer_config.json: the chat template refuses: no")
        lines = [f"<{m['role']}> {joined_text(m['content'])}" for m in messages]
        if variables:
            lines.insert(0, json.dumps(variables))
        return tuple(map(ord, "\n".join(lines)))

    def score(self, texts: Sequence[str]) -> list[Score]:
        raise NotImplementedError

    def likelihoods(self, continuations: Iterable[Continuation]) -> Iterator[Likelihood]:
        raise NotImplementedError

    def close(self) -> None:
        self.closed = True

    def submit(self, request: Request, deliver: Deliver) -> Callable[[], None]:
        chunks = self.begin(request)
        cancelled = threading.Event()

        def run() -> None:
            try:
                for chunk in chunks:
                    if cancelled.is_set():
                        return
                    deliver(chunk)
                    if chunk.finish_reason is not None:
                        return
                deliver(ModelError("the engine stopped before the text was finished"))
            except LinnetError as error:
                deliver(error)
            except Exception:  # as the scheduler does
                deliver(ModelError("computing failed (RuntimeError: a secret)"))
            finally:
                chunks.close()

        threading.Thread(target=run, daemon=True).start()
        return cancelled.set

    def begin(self, request: Request) -> Generator[Chunk]:
        self.requests.append(request)
        prompt = request.prompt if isinstance(request.prompt, str) else None
        text = prompt if prompt is not None else self.detokenize(request.prompt)  # type: ignore[arg-type]
        if len(text) >= self.context:
            raise ModelError(f"/secret/x: the prompt has {len(text)} tokens: too many")
        return self._write(text, request)

    def _write(self, prompt: str, request: Request) -> Generator[Chunk]:
        answer = self.answer(prompt, request)
        if request.adapter == "loud":
            answer = answer.upper()
        most = request.sampling.max_tokens
        tokens = [ord(character) for character in answer][:most]
        finish = "length" if len(answer) > most else "stop"
        self.running += 1
        try:
            if "late" in prompt:
                self.gate.wait(HELD_SECONDS)
            for place, token in enumerate(tokens):
                if "slow" in prompt:
                    time.sleep(0.05)
                if "broken" in prompt and place == 3:
                    raise ModelError("/secret/place/model.gguf: the engine died")
                if "unfit" in prompt:
                    raise ConfigError("the constraint cannot be followed")
                if "bug" in prompt:
                    raise RuntimeError("a secret of the implementation")
                chunk = Chunk(chr(token), (token,))
                if request.logprobs:
                    top = ((token, -0.5), (token + 1, float("-inf")))[: request.top_logprobs]
                    chunk = replace(chunk, logprobs=(-0.5,), top_logprobs=(top,))
                if place == 0:
                    chunk = replace(chunk, start=Start(len(prompt), 2, 0.001))
                yield chunk
                if "held" in prompt and place == 0:
                    self.gate.wait(HELD_SECONDS)
            start = None if tokens else Start(len(prompt), 0, 0.0)
            yield Chunk("", (), "length" if finish == "length" else "stop", start=start)
        finally:
            self.running -= 1


class Running:
    """A server that answers on a port of this machine."""

    def __init__(self, catalog: Catalog, config: ServeConfig) -> None:
        self.server = Server(catalog, config)
        self.url = self.server.url
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        assert self.server.ready.wait(20)

    def stop(self) -> None:
        self.server.stop()
        self.thread.join(20)
        assert not self.thread.is_alive()


@contextlib.contextmanager
def serving(engine: Any = None, **settings: Any) -> Iterator[Running]:
    """A server with one model, ``tiny``, and its adapter ``loud``."""
    own = engine or ScriptedEngine()
    models = [Served("tiny", own), Served("loud", own, adapter="loud", parent="tiny")]
    running = Running(Catalog(models), ServeConfig(port=0, log="off", **settings))
    try:
        yield running
    finally:
        running.stop()
