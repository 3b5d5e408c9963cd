"""The server's own description, fuzzed: nothing that it allows or forbids breaks it."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from scripted import ScriptedEngine, serving

from linnet.serve.openapi import document

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


def test_every_path_is_described() -> None:
    with serving() as running:
        gate = running.server._app
        paths = {path for path, route in gate._routes.items() if route.handler.__name__ != "answer"}
        paths |= {f"{prefix}{{model}}" for prefix in gate._prefixes}
    described = document()["paths"]
    assert set(described) == paths - {"/openapi.json"}
    for path, route in gate._routes.items():
        if path in described:
            assert list(described[path]) == [route.method.lower()]
