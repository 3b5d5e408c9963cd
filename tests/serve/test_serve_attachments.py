"""Files of messages: what becomes of them, and what is refused."""

import http.client
import io
import json
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from scripted import Running

from linnet.data.attachments import read_attachment
from linnet.errors import DataError
from linnet.serve.uploads import Uploads


def packed() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", "The linnet\u200b is a finch; write to info@example.org.\n" * 4)
        archive.writestr("b.csv", "bird,eggs\nlinnet,5\n")
        archive.writestr("c.png", b"\x89PNG")
        archive.writestr("d/e.zip", b"PK\x03\x04 broken")
    return buffer.getvalue()


def test_a_file_becomes_a_text_and_what_it_lacks_is_told(tmp_path: Path) -> None:
    file = tmp_path / "x.zip"
    file.write_bytes(packed())
    read = read_attachment(file, "birds.zip", most=230)
    assert read.text.startswith("[a.txt]\nThe linnet is a finch; write to info@example.org.\n")
    assert "[b.csv]\nbird" in read.text
    assert (len(read.text), read.characters) == (230, 239)
    reasons = {each.part: each.reason for each in read.left_out}
    assert set(reasons) == {"c.png", "d/e.zip"}
    assert all(reasons.values())
    assert read.more_left_out == 0


@pytest.mark.parametrize("name", ["photo.png", "talk.mp3"])
def test_what_is_no_text_is_refused_by_its_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=f"{name} cannot be read: "):
        read_attachment(tmp_path / "not there", name)


def send(running: Running, body: bytes, **query: str) -> tuple[int, dict[str, Any]]:
    url = f"{running.url}/v1/linnet/attachments?{urlencode(query)}"
    request = urllib.request.Request(url, body, {"Content-Type": "application/octet-stream"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["error"]


def test_the_server_reads_it_and_keeps_nothing(tiny_server: Running) -> None:
    page = b"<html><body><h1>Birds</h1><p>The linnet is a finch.</p></body></html>"
    status, read = send(tiny_server, page, name="../../etc/birds.html")
    assert (status, read["name"], read["kind"]) == (200, "birds.html", "html")
    assert read["text"] == "Birds\n\nThe linnet is a finch."
    assert (read["characters"], read["left_out"]) == (len(read["text"]), [])


@pytest.mark.parametrize(
    ("name", "body", "status", "said"),
    [
        ("photo.png", b"x", 400, "photo.png cannot be read: "),
        ("blank.txt", b" \n ", 400, "blank.txt cannot be read: it has no text"),
        ("", b"x", 400, "'name' must be the file's name"),
        ("x" * 256, b"x", 400, "'name' must be the file's name"),
    ],
)
def test_what_cannot_be_attached(
    tiny_server: Running, name: str, body: bytes, status: int, said: str
) -> None:
    found, error = send(tiny_server, body, name=name)
    assert (found, said in error["message"]) == (status, True), error


def test_a_file_that_is_too_large_is_not_waited_for(tiny_server: Running) -> None:
    place = urlsplit(tiny_server.url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=20)
    connection.putrequest("POST", "/v1/linnet/attachments?name=large.txt")
    connection.putheader("Content-Length", "32000001")
    connection.endheaders()
    answer = connection.getresponse()
    assert (answer.status, b"at most 32,000,000 bytes" in answer.read()) == (413, True)


def test_only_so_many_are_read_at_once(
    tiny_server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = tiny_server.server.service
    monkeypatch.setattr(service, "attachments", Uploads(most=0))
    assert send(tiny_server, b"x", name="x.txt")[0] == 429
