"""Where an address is, what is none, and the key for it."""

import os
import sys
from pathlib import Path

import pytest
from remote_asked import ASKED

from linnet import respond
from linnet.errors import ConfigError
from linnet.respond import RemoteResponder
from linnet.respond.address import Address, is_within, read_key, sent_away
from linnet.respond.remote_errors import RemoteError
from strangers import refusal, stranger


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("http://localhost:8080/v1", "here"),
        ("http://127.0.0.1", "here"),
        ("http://[::1]:80/v1", "here"),
        ("http://192.168.1.5:8000/v1", "network"),
        ("http://box.local/v1", "network"),
        ("https://api.example.com/v1", "elsewhere"),
        ("http://8.8.8.8/v1", "elsewhere"),
        ("http://127.0.0.1.example.com/v1", "elsewhere"),
    ],
)
def test_where_an_address_is(url: str, place: str) -> None:
    assert RemoteResponder(url, "m").abilities.place == place


@pytest.mark.parametrize(
    ("number", "here", "network"),
    [
        ("127.0.0.1", True, True), ("::1", True, True), ("::ffff:127.0.0.1", True, True),
        ("192.168.1.5", False, True), ("10.0.0.1", False, True), ("100.64.0.1", False, True),
        ("fe80::1%eth0", False, True), ("fd00::1", False, True), ("8.8.8.8", False, False),
        ("::ffff:8.8.8.8", False, False), ("2606:4700::1", False, False),
        ("box.lan", True, True),
    ],
)  # fmt: skip
def test_how_far_a_number_is(number: str, here: bool, network: bool) -> None:
    assert (is_within(number, "here"), is_within(number, "network")) == (here, network)
    assert is_within(number, "elsewhere")


def test_what_is_said_before_something_is_sent_that_no_policy_is_about() -> None:
    said = sent_away("https://api.example.com/v1", "passages")
    assert said is not None
    assert said.startswith("api.example.com:443 is outside this network: passages are sent there")
    assert "is in this network" in (sent_away("http://box.lan/v1", "passages") or "")
    assert sent_away("http://127.0.0.1:8080/v1", "passages") is None


def test_people_copy_all_of_an_address() -> None:
    assert (
        Address.parse("https://a/v1/chat/completions/").path == Address.parse("https://a/v1").path
    )
    with stranger(refusal("404 No")) as server, pytest.raises(RemoteError, match="end with /v1"):
        respond.run(RemoteResponder(server.url.removesuffix("/v1"), "m"), ASKED)


@pytest.mark.parametrize(
    "url",
    ["", "api.example.com", "ftp://a/b", "http://", "http://a:port/", "http://user:key@a/v1",
     "http://a/v1?key=b", "http://a b/", "http://a\r\nX: y/", "http://ä.de/v1", "http://a/ä", "file:///etc"],
)  # fmt: skip
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ConfigError):
        Address.parse(url)


def test_keys_are_read_where_nobody_else_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAR_KEY", " sk-1 ")
    assert read_key(variable="FAR_KEY") == "sk-1"
    assert read_key() is None
    with pytest.raises(ConfigError, match="It is empty"):
        read_key(variable="NO_SUCH_KEY")
    file = tmp_path / "key"
    with pytest.raises(ConfigError, match="expected a file with a key"):
        read_key(file=file)
    file.write_text("sk-2\n")
    file.chmod(0o600)
    assert read_key(file=file) == "sk-2"
    if sys.platform != "win32":
        file.chmod(0o640)
        with pytest.raises(ConfigError, match="chmod 600"):
            read_key(file=file)
        file.chmod(0o600)
    for wrong in ("", "a b", "ключ"):
        file.write_text(wrong, encoding="utf-8")
        with pytest.raises(ConfigError, match="printable characters"):
            read_key(file=file)
    with pytest.raises(ConfigError, match="unencrypted"):
        RemoteResponder("http://api.example.com/v1", "m", key="sk-1")
    assert "sk-1" not in repr(vars(RemoteResponder("https://api.example.com/v1", "m")))
    assert os.environ["FAR_KEY"]
