"""What is in ``deploy/``: it parses, names what there is, and proxies let streams through."""

import http.client
import json
import os
import plistlib
import re
import shutil
import socket
import ssl
import subprocess
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from packaging.requirements import Requirement
from prometheus_client.parser import text_string_to_metric_families
from scripted import Running, ScriptedEngine, serving
from typer.testing import CliRunner

from linnet.cli import app
from linnet.errors import ConfigError, LinnetError
from linnet.serve import ServeConfig
from linnet.serve.keys import KeyLimits, add_key

DEPLOY = Path(__file__).parents[2] / "deploy"
RUNNER = CliRunner()
OPTION = re.compile(r"--[a-z][a-z-]+")


def expressions() -> Iterator[str]:
    """What the dashboard and the alerts ask Prometheus for."""
    board = json.loads((DEPLOY / "grafana/dashboards/linnet.json").read_text("utf-8"))
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]
    for variable in board["templating"]["list"]:
        yield variable["query"]["query"] if variable["type"] == "query" else ""
    for group in yaml.safe_load((DEPLOY / "alerts.yml").read_text("utf-8"))["groups"]:
        for rule in group["rules"]:
            assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
            yield rule["expr"]


def test_every_metric_of_the_dashboard_is_exported(tiny_server: Running) -> None:
    place = urlsplit(tiny_server.url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=20)
    connection.request("GET", "/metrics")
    said = connection.getresponse().read().decode()
    families = {family.name: family.type for family in text_string_to_metric_families(said)}
    exported = set()
    for name, kind in families.items():
        ends = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(kind, ("",))
        exported |= {name + end for end in ends}
    named = {name for each in expressions() for name in re.findall(r"\blinnet_\w+", each)}
    assert len(named) > 30
    assert named - exported == set()


def test_panels_of_the_dashboard_do_not_overlap() -> None:
    board = json.loads((DEPLOY / "grafana/dashboards/linnet.json").read_text("utf-8"))
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        own = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not taken & own, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= own
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_files_parse_and_name_what_there_is() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    linnet = compose["services"]["linnet"]
    assert linnet["read_only"]
    assert linnet["cap_drop"] == ["ALL"]
    for service in compose["services"].values():
        for secret in service["secrets"]:
            assert secret in compose["secrets"]
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            mounted = source.startswith("./") and source not in ("./models",)
            assert (
                (DEPLOY / source).exists()
                if mounted
                else source in {*compose["volumes"], "./models"}
            )
    scrape = yaml.safe_load((DEPLOY / "prometheus.yml").read_text("utf-8"))["scrape_configs"][0]
    assert scrape["authorization"]["credentials_file"] == "/run/secrets/prometheus"
    for file in (DEPLOY / "grafana").rglob("*.yaml"):
        assert yaml.safe_load(file.read_text("utf-8"))["apiVersion"] == 1
    plist = plistlib.loads((DEPLOY / "org.linnet.serve.plist").read_bytes())
    unit = (DEPLOY / "linnet.service").read_text("utf-8")
    grace = ServeConfig.grace
    stops = re.search(r"TimeoutStopSec=(\d+)", unit)
    assert stops is not None
    assert grace < min(int(stops[1]), plist["ExitTimeOut"], int(linnet["stop_grace_period"][:-1]))
    known = set(OPTION.findall(RUNNER.invoke(app, ["serve", "--help"]).output))
    container = (DEPLOY / "Containerfile").read_text("utf-8")
    entry = next(line for line in container.splitlines() if line.startswith("ENTRYPOINT"))
    start = next(line for line in unit.splitlines() if line.startswith("ExecStart"))
    for words in (*plist["ProgramArguments"], *linnet["command"], *OPTION.findall(entry + start)):
        assert not words.startswith("--") or words in known, words


def test_what_is_pinned_fits_what_is_declared() -> None:
    lines = (DEPLOY / "constraints.txt").read_text("utf-8").splitlines()
    pinned = {}
    for line in lines:
        if not line.startswith("#"):
            name, _, version = line.partition("==")
            pinned[name] = version
    declared = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text("utf-8"))["project"]
    for text in declared["dependencies"]:
        wanted = Requirement(text)
        name = re.sub(r"[-_.]+", "-", wanted.name).lower()
        assert wanted.specifier.contains(pinned[name]), text


def test_health_from_the_command_line(tiny_server: Running) -> None:
    assert RUNNER.invoke(app, ["health", tiny_server.url]).exit_code == 0
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
    for url, kind, words in (
        (f"http://127.0.0.1:{port}", LinnetError, "does not answer"),
        (f"{tiny_server.url}/v1", LinnetError, "Got 404"),
        ("127.0.0.1:8080", ConfigError, "expected an address"),
        ("http://a:b", ConfigError, "expected an address"),
        ("http://[::1", ConfigError, "expected an address"),
        ("http://a b/", ConfigError, "expected an address"),
        ("http://é..x/", ConfigError, "expected an address"),
    ):
        done = RUNNER.invoke(app, ["health", url])
        assert isinstance(done.exception, kind), done.output
        assert words in str(done.exception)


@pytest.mark.slow
@pytest.mark.parametrize("program", ["nginx", "caddy"])
def test_a_stream_comes_through_a_proxy_as_it_is_written(program: str, tmp_path: Path) -> None:
    """With the files in ``deploy/``, but for the port and the certificate."""
    found = os.environ.get(program.upper()) or shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed; {program.upper()}=PATH names it")
    certificate, key = tmp_path / "own.pem", tmp_path / "own.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-subj", "/CN=chat.example.org", "-addext",
         "subjectAltName=DNS:chat.example.org", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    keys = tmp_path / "keys.json"
    secret = add_key(keys, "me", KeyLimits(documents=True))
    engine = ScriptedEngine(lambda prompt, request: "one answer")
    with serving(engine, keys=keys, allow_host=("chat.example.org",)) as running:
        upstream = urlsplit(running.url).netloc
        if program == "nginx":
            command = nginx(found, tmp_path, upstream, port, certificate, key)
        else:
            command = caddy(found, tmp_path, upstream, port, certificate, key)
        log = (tmp_path / "log").open("wb")
        proxy = subprocess.Popen(
            command, cwd=tmp_path, stdout=log, stderr=log,
            env={**os.environ, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)},
        )  # fmt: skip
        try:
            until = time.monotonic() + 20
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    assert proxy.poll() is None, (tmp_path / "log").read_text()
                    assert time.monotonic() < until
                    time.sleep(0.05)
            answer = asked(port, certificate, secret)
            assert answer.status == 200
            # The first token comes while the second is held, which the proxy must not wait for.
            assert b'"content":"o"' in answer.read1(400) + answer.read1(400)
            engine.gate.set()
            assert answer.read().decode().endswith("data: [DONE]\n\n")
            assert asked(port, certificate, "wrong-key").status == 401
        finally:
            proxy.terminate()
            proxy.wait(20)
            log.close()


def asked(port: int, certificate: Path, key: str) -> http.client.HTTPResponse:
    context = ssl.create_default_context(cafile=str(certificate))
    connection = http.client.HTTPSConnection("chat.example.org", port, timeout=20)
    raw = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.sock = context.wrap_socket(raw, server_hostname="chat.example.org")
    body = {"messages": [{"role": "user", "content": "held"}], "stream": True}
    headers = {
        "Host": "chat.example.org", "Origin": "https://chat.example.org",
        "Content-Type": "application/json", "Authorization": f"Bearer {key}",
    }  # fmt: skip
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    return connection.getresponse()


def nginx(
    program: str, place: Path, upstream: str, port: int, certificate: Path, key: Path
) -> list[str]:
    text = (DEPLOY / "nginx.conf").read_text("utf-8")
    text = text.replace("127.0.0.1:8080", upstream).replace("listen [::]:443 ssl http2;", "")
    text = text.replace("listen 443", f"listen 127.0.0.1:{port}")
    text = re.sub(r"ssl_certificate .*", f"ssl_certificate {certificate};", text)
    text = re.sub(r"ssl_certificate_key .*", f"ssl_certificate_key {key};", text)
    own = "".join(
        f"{kind}_temp_path {place / kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (place / "nginx.conf").write_text(
        f"daemon off; pid {place / 'pid'}; error_log stderr;\n"
        f"events {{}}\nhttp {{ access_log off; {own}\n{text}\n}}\n"
    )
    return [program, "-p", str(place), "-c", str(place / "nginx.conf"), "-e", "stderr"]


def caddy(
    program: str, place: Path, upstream: str, port: int, certificate: Path, key: Path
) -> list[str]:
    text = (DEPLOY / "Caddyfile").read_text("utf-8").replace("127.0.0.1:8080", upstream)
    text = text.replace(
        "chat.example.org {",
        "{\n\tadmin off\n\tauto_https disable_redirects\n}\n"
        f"https://chat.example.org:{port} {{\n\tbind 127.0.0.1\n\ttls {certificate} {key}",
    )
    (place / "Caddyfile").write_text(text)
    return [program, "run", "--config", str(place / "Caddyfile"), "--adapter", "caddyfile"]
