"""Models that are compared: servers that say what a function says, and questions to them."""

import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from linnet.evaluate import compare_models, compare_questions
from linnet.evaluate.compare_config import ModelsConfig

Say = Callable[[dict[str, Any]], Any]
"""What a server answers to a request: a text, or a status."""


class Server:
    """An OpenAI-compatible server that says what a function says."""

    def __init__(self, say: Say) -> None:
        self.bodies: list[dict[str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.bodies.append(body)
                said = say(body)
                answer: dict[str, Any] = {"error": {"message": f"status {said}"}}
                if isinstance(said, str):
                    message = {"role": "assistant", "content": said}
                    answer = {
                        "model": body["model"],
                        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                        "usage": {"prompt_tokens": 100, "completion_tokens": 10},
                    }
                content = json.dumps(answer).encode()
                self.send_response(200 if isinstance(said, str) else said)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def asked(self) -> list[str]:
        """The last message of each request."""
        return [text_of(body) for body in self.bodies]


def text_of(body: dict[str, Any]) -> str:
    content = body["messages"][-1]["content"]
    if isinstance(content, list):
        return "\n".join(part["text"] for part in content)
    return str(content)


ROWS = [{"id": f"q{n}", "question": f"What is {n} and 1?", "answer": str(n + 1)} for n in range(24)]


def made(**values: Any) -> dict[str, Any]:
    return values


def write(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def routing(directory: Path, *, more: str = "", **servers: Server) -> Path:
    """``routing.toml`` with these models, at 1 and 10 for a million tokens."""
    text = 'currency = "EUR"\n'
    for name, server in servers.items():
        text += f'[models.{name}]\naddress = "{server.url}"\nmodel = "{name}-1"\nretries = 0\n'
        text += "" if "input" in more else "input = 1.0\noutput = 10.0\n"
    file = directory / "routing.toml"
    file.write_text(text + more, encoding="utf-8")
    return file


def knows(*right: int) -> Say:
    """Answers what these and 1 are, and 0 to the rest."""

    def say(body: dict[str, Any]) -> str:
        found = re.search(r"What is (\d+) and 1", text_of(body))
        assert found is not None
        number = int(found[1])
        return f"It is {number + 1}." if number in right else "It is 0."

    return say


def compare(*names: str, **settings: Any) -> compare_models.ModelsComparison:
    own = ("routing", "judge", "decide", "progress", "writer", "questions", "out")
    config = ModelsConfig(
        resamples=200, **{name: value for name, value in settings.items() if name not in own}
    )
    more = {name: settings[name] for name in own[:5] if name in settings}
    return compare_models.compare_models(
        names, settings["questions"], settings.get("out"), config, **more
    )


def asked_as(question: str, **more: Any) -> compare_questions.Asked:
    usual = {"id": question, "plain": question, "stop": (), "max_tokens": 8, "bare": (),
             "messages": (), "question": question}  # fmt: skip
    return compare_questions.Asked(**{**usual, **more})


def verdict(better: str, one: bool = True, two: bool = True) -> str:
    """What a judge writes."""
    return json.dumps({"answer_1_solves": one, "answer_2_solves": two, "better": better})
