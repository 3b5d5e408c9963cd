"""The server's own description, fuzzed: nothing that it allows or forbids breaks it."""

import http.client
import importlib.util
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from scripted import ScriptedEngine, serving

from linnet.serve.endpoints import ENDPOINTS
from linnet.serve.openapi import describe

CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance",
    "response_headers_conformance", "response_schema_conformance", "negative_data_rejection",
)  # fmt: skip

SETTINGS = """
[checks.negative_data_rejection]
expected-statuses = [400, 404, 413, 415]
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("schemathesis") is None, reason="no schemathesis")
def test_fuzzed(tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(SETTINGS, encoding="utf-8")
    program = Path(sys.executable).with_name("schemathesis")
    with serving(ScriptedEngine(lambda prompt, request: "ok", context=50_000)) as running:
        done = subprocess.run(
            [program, "run", f"{running.url}/openapi.json", "--checks", ",".join(CHECKS),
             "--max-examples", "40", "--workers", "1", "--seed", "1", "--generation-database",
             "none"],
            capture_output=True, text=True, cwd=tmp_path, timeout=600, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_every_path_is_described_and_answers_as_described() -> None:
    described = describe(ENDPOINTS)["paths"]
    with serving() as running:
        place = urlsplit(running.url)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=20)

        def ask(method: str, path: str) -> tuple[int, str | None]:
            connection.request(method, path)
            answer = connection.getresponse()
            answer.read()
            return answer.status, answer.headers["allow"]

        for path, operations in described.items():
            methods = [name.upper() for name in operations if name != "parameters"]
            shown = [*methods, *["HEAD"] * ("GET" in methods), "OPTIONS"]
            asked = path.replace("{model}", "some/model")
            assert ask("PATCH", asked) == (405, ", ".join(shown))
            # 415: what takes a form
            assert ask(methods[0], asked)[0] in (200, 400, 404, 415), path
            assert ask("GET", path.rstrip("}") + "/no/such")[0] in (404, 405)
    assert {"/v1/chat/completions", "/v1/models/{model}", "/health"} <= set(described)
    undescribed = {endpoint.path for endpoint in ENDPOINTS} - set(described)
    paths = {path for path in undescribed if "." not in path}  # else files of the page
    assert {path for path in paths if not path.startswith("/api/")} == {
        "/",
        "/dashboard",
        "/dashboard/",
    }
