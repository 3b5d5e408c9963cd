"""Old formats: the programs that convert them, real ones and ones that misbehave."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pypdfium2
import pytest
from office import read, text_of
from test_pdf import shown, write_pdf

from linnet.config import to_mapping
from linnet.data import kinds
from linnet.data.config import DataConfig
from linnet.data.document import Extracted, UnreadableError
from linnet.data.executor import ProcessPool
from linnet.data.sources.scan import Scan

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504)
DOC = OLE + "WordDocument\0".encode("utf-16-le") + bytes(2000)
FAVOURITES = "These are a few of my favorite things"

pytestmark = pytest.mark.skipif(os.name != "posix", reason="programs are shell scripts here")


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs: of those that convert, the only ones there are."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in ("sh", "sleep", "setsid", "cat", "head", "env"):
        if found := kinds.program(name):
            (folder / name).symlink_to(os.path.realpath(found))
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(kinds, "_PLACES", {})
    return folder


def install(programs: Path, name: str, script: str) -> None:
    (programs / name).write_text(f"#!/bin/sh\n{script}\n")
    (programs / name).chmod(0o755)


def document(tmp_path: Path, name: str = "a.doc") -> Path:
    folder = tmp_path / "documents"
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(DOC)
    return folder / name


def running(mark: str) -> list[int]:
    """Processes whose command line holds ``mark``."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in entry.read_bytes():
                found.append(int(entry.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize(
    ("program", "source", "expected"),
    [
        ("soffice", "simple.doc", f"{FAVOURITES}:\n\n- Parrots\n- Hockey\n\nAnalysis\n\nThis is"),
        ("soffice", "fake-power-point.ppt", "- Find the bullet slide layout\n  - Use _TextFrame"),
        ("antiword", "fake-doc-emphasized-text.doc", "I am a normal text."),
        ("catdoc", "simple.doc", FAVOURITES),
    ],
)
def test_real_programs_in_confined_processes(
    test_data: Path, tmp_path: Path, request: pytest.FixtureRequest, program: str,
    source: str, expected: str,
) -> None:  # fmt: skip
    found = kinds.program(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    (request.getfixturevalue("programs") / program).symlink_to(os.path.realpath(found))
    path = test_data / "documents" / source
    spools = tmp_path / "spools"
    spools.mkdir()
    pool = ProcessPool(1, timeout=120, memory_mb=2000)
    item = {"path": str(path), "kind": kinds.kind_of(source), "group": source}
    settings = to_mapping(DataConfig(min_characters=1))
    answers = pool.map("linnet.data.reading:read", [(0, item)], settings=settings, spools=spools)
    messages = []
    for answer in answers:
        assert (answer.reason, answer.detail) == ("", "")
        messages += answer.messages
    (message,) = messages
    assert message["kind"] == path.suffix[1:]
    name, offset, size = message["place"]
    assert expected in (spools / name).read_bytes()[offset : offset + size].decode()
    assert [path.name for path in tmp_path.iterdir()] == ["programs", "spools"]


def scanned(path: Path, *pages: str, dpi: int = 150) -> Path:
    """A PDF of images of these lines, one a page, as a scanner writes it."""
    contents = []
    for line in pages:
        written = write_pdf(path.with_name("written.pdf"), shown([(60, 740, line)]))
        with pypdfium2.PdfDocument(written) as document:
            pixels = document[0].render(scale=dpi / 72, grayscale=True).to_numpy()
        written.unlink()
        height, width = pixels.shape[:2]
        image = f"BI /W {width} /H {height} /CS /G /BPC 8 /F [/AHx /Fl] ID "
        data = zlib.compress(pixels.tobytes()).hex()
        contents.append(f"q 600 0 0 800 0 0 cm {image}{data}> EI Q")
    return write_pdf(path, *contents)


def test_tesseract_reads_scanned_pages(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    found = kinds.program(kinds.OCR)
    if found is None:
        pytest.skip("tesseract is not installed")
    (request.getfixturevalue("programs") / kinds.OCR).symlink_to(os.path.realpath(found))
    (tmp_path / "documents").mkdir()
    path = scanned(tmp_path / "documents" / "a.pdf", "The lease began in March 1987.", "", "Pets.")
    pool = ProcessPool(1, timeout=120, memory_mb=2000)
    item = {"path": str(path), "kind": "pdf", "group": "a.pdf"}
    settings = to_mapping(DataConfig(min_characters=1, ocr="tesseract"))
    (tmp_path / "spools").mkdir()
    answers = [*pool.map(
        "linnet.data.reading:read", [(0, item)], settings=settings, spools=tmp_path / "spools"
    )]  # fmt: skip
    assert [(answer.reason, answer.detail) for answer in answers] == [("", "")] * len(answers)
    (message,) = [message for answer in answers for message in answer.messages]
    name, offset, size = message["place"]
    text = (tmp_path / "spools" / name).read_bytes()[offset : offset + size].decode()
    assert text == "The lease began in March 1987.\n\nPets."
    assert message["changes"]["pages without text"] == 1


LISTED = 'if [ "$1" = --list-langs ]; then printf "List of 3:\\nosd\\ndeu\\neng\\n"; exit; fi\n'


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (
            'printf "%s %s\\nof a mis-\\ntake\\n\\nB\\n\\f" "$3" "$4"',
            "-l eng+deu of a mistake\n\nB",
        ),
        ("exit 3", "needs OCR: tesseract failed (tesseract: exit status 3)"),
        ("sleep 616.5", "needs OCR: tesseract took longer than half of file_timeout ()"),
        ("exit 0", "no text in it ()"),
        ("", "needs OCR: install tesseract (on Debian: apt install tesseract-ocr) ()"),
    ],
)
def test_what_tesseract_says_and_what_it_cannot(
    tmp_path: Path, programs: Path, script: str, said: str
) -> None:
    if script:
        install(programs, "tesseract", LISTED + script)
    path = write_pdf(tmp_path / "a.pdf", "0 0 500 700 re f")
    try:
        (found,) = read(path, ocr="tesseract", file_timeout=3 if "sleep" in script else 60)
        got = str(found.text)
    except UnreadableError as error:
        got = f"{error.reason} ({error.detail})"
    assert got == said
    assert not running("616.5") or sys.platform != "linux"


IMAGE = "q 600 0 0 800 0 0 cm BI /W 1 /H 1 /CS /G /BPC 8 /F /AHx ID 80> EI Q\n"
SMALL = "q 60 0 0 80 0 0 cm BI /W 1 /H 1 /CS /G /BPC 8 /F /AHx ID 80> EI Q\n"


def test_scanned_pages_beside_others_are_read_where_they_stand(
    tmp_path: Path, programs: Path
) -> None:
    stamped = IMAGE + shown([(50, 20, "Scan 17")])
    lines = shown([(50, 700 - 20 * n, f"Line {n} of a page that has text.") for n in range(9)])
    contents = (
        shown([(50, 600, "Some text.")]), IMAGE, stamped, SMALL + shown([(50, 600, "A logo.")]),
        IMAGE + lines, "",
    )  # fmt: skip
    path = write_pdf(tmp_path / "a.pdf", *contents)
    own = "Line 0 of a page"
    (found,) = read(path)  # without OCR each page that lacks it is counted
    assert found.changes == {"pages without text": 2, "pages that need OCR": 2}
    assert own in str(found.text)
    install(programs, "tesseract", LISTED + 'printf "Read by machine, and clearly so.\\n"')
    (found,) = read(path, ocr="tesseract")
    text = str(found.text)
    assert text.count("Read by machine, and clearly so.") == 2
    assert "Scan 17" not in text  # OCR reads the stamp with the rest
    assert [text.index(part) for part in ("Some text", "Read by", "A logo", own)] == sorted(
        text.index(part) for part in ("Some text", "Read by", "A logo", own)
    )
    assert found.changes == {"pages without text": 1}
    install(programs, "tesseract", LISTED + "exit 3")
    (found,) = read(path, ocr="tesseract")
    assert "Scan 17" in str(found.text)
    assert found.changes == {"pages without text": 2, "pages that OCR failed on": 2}


@pytest.mark.parametrize("name", ["a.png", "a.JPG", "a b.tiff"])
def test_images_are_read_by_tesseract(tmp_path: Path, programs: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"\x89PNG")
    with pytest.raises(UnreadableError, match="not a text format"):
        read(path)
    with pytest.raises(UnreadableError, match="install tesseract"):
        read(path, ocr="tesseract")
    install(programs, "tesseract", LISTED + 'printf "One.\\n\\nTwo.\\n"')
    (found,) = read(path, ocr="tesseract")
    assert str(found.text) == "One.\n\nTwo."
    install(programs, "tesseract", LISTED + "exit 1")
    with pytest.raises(UnreadableError, match="tesseract failed"):
        read(path, ocr="tesseract")


def test_a_program_that_hangs_is_ended_with_all_it_started(tmp_path: Path, programs: Path) -> None:
    install(programs, "antiword", "sleep 616.25 & setsid sleep 616.25 & sleep 616.25")
    with pytest.raises(UnreadableError, match="doc cannot be converted") as caught:
        read(document(tmp_path), file_timeout=2)
    assert "antiword took longer than 1 s" in caught.value.detail
    assert not running("616.25") or sys.platform != "linux"


def test_the_next_program_takes_its_place(tmp_path: Path, programs: Path) -> None:
    install(programs, "antiword", "exit 3")
    install(programs, "catdoc", "printf 'One paragraph.\\nAnother.\\n'")
    assert text_of(document(tmp_path)) == "One paragraph.\n\nAnother."
    (programs / "catdoc").unlink()
    with pytest.raises(UnreadableError, match="cannot be converted") as caught:
        read(document(tmp_path))
    assert caught.value.detail == "antiword: exit status 3"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 0", "antiword found no text"),
        ("printf ' \\n\\n'", "no text in it"),
        ("exec cat /dev/zero", "antiword: exit status -25"),  # SIGXFSZ
        ("head -c 200000 /dev/zero", "larger than max_document_bytes"),
        ("kill -9 $$", "antiword: exit status -9"),
    ],
)
def test_what_it_gives_is_not_trusted(
    tmp_path: Path, programs: Path, script: str, reason: str
) -> None:
    install(programs, "antiword", script)
    limits = {"max_document_bytes": 100_000, "max_expanded_bytes": 1_000_000}
    with pytest.raises(UnreadableError) as caught:
        read(document(tmp_path), **limits)
    assert reason in f"{caught.value.reason} {caught.value.detail}"


def test_bytes_that_are_no_text_are_replaced(tmp_path: Path, programs: Path) -> None:
    install(programs, "antiword", "printf 'caf\\303\\251 \\377.'")
    assert text_of(document(tmp_path)) == "café \ufffd."


@pytest.mark.skipif(sys.platform != "linux", reason="filters of Linux")
def test_it_reads_and_writes_nothing_else(tmp_path: Path, programs: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    try_all = f"""
    cat {secret} || echo unread
    (echo changed > {secret}) || echo unwritten
    {sys.executable} -c 'print(1)' || echo unstarted
    echo here > made.txt && cat made.txt"""
    install(programs, "antiword", try_all)
    assert text_of(document(tmp_path)).split() == ["unread", "unwritten", "unstarted", "here"]
    assert secret.read_text() == "secret"


def test_its_end_is_that_of_its_reader(tmp_path: Path, programs: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("processes are listed in /proc")
    install(programs, "antiword", "sleep 617.5")
    code = (
        "import sys; from pathlib import Path; from linnet.data.converter import running\n"
        "with running(Path(sys.argv[1]), memory_mb=500) as one:\n"
        "    one.convert(Path(sys.argv[2]), 'doc', seconds=60, limit=1000)"
    )
    reader = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), str(document(tmp_path))],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    wait_for(lambda: running("617.5"))
    reader.send_signal(signal.SIGKILL)
    reader.wait()
    wait_for(lambda: not running("617.5"))


def wait_for(condition: object) -> None:
    end = time.monotonic() + 50
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.05)


def test_what_is_lacking_is_said_and_looked_for_again(tmp_path: Path, programs: Path) -> None:
    path = document(tmp_path)
    with pytest.raises(UnreadableError, match="doc needs LibreOffice or antiword or catdoc: inst"):
        read(path)
    scan = Scan()
    scan.add(str(path), "a.doc", "a.doc")
    assert [file.reason[:21] for file in scan.skipped] == ["doc needs LibreOffice"]
    install(programs, "catdoc", "exit 1")
    scan = Scan()
    scan.add(str(path), "a.doc", "a.doc")
    assert [file.kind for file in scan.files] == ["doc"]


def test_what_is_not_what_its_name_says_needs_no_program(tmp_path: Path, programs: Path) -> None:
    (tmp_path / "a.doc").write_bytes(b"{\\rtf1 Rich text.}")
    scan = Scan()
    scan.add(str(tmp_path / "a.doc"), "a.doc", "a.doc")
    assert not scan.skipped
    (found,) = read(tmp_path / "a.doc")
    assert isinstance(found, Extracted)
    assert (found.kind, found.text) == ("rtf", "Rich text.")


def test_documents_that_need_a_key_are_told(tmp_path: Path, programs: Path) -> None:
    import olefile

    install(programs, "antiword", "echo text")
    source = tmp_path / "a.doc"
    write_ole(source, "WordDocument", (0x0100 << 80).to_bytes(16, "little"))
    assert olefile.OleFileIO(source).exists("WordDocument")
    with pytest.raises(UnreadableError, match="encrypted"):
        read(source)
    write_ole(source, "WordDocument", bytes(16))
    assert text_of(source) == "text"


def write_ole(path: Path, name: str, content: bytes) -> None:
    """A compound file ([MS-CFB]) with one stream: header, table, directory, the stream."""
    sector, end, free = 512, 0xFFFFFFFE, 0xFFFFFFFF
    content = content.ljust(4096, b"\0")  # shorter ones lie elsewhere
    count = len(content) // sector
    header = OLE[:8] + bytes(16) + b"\x3e\0\x03\0\xfe\xff\x09\0\x06\0" + bytes(6)
    numbers = [0, 1, 1, 0, 4096, end, 0, end, 0, 0, *[free] * 108]
    header += b"".join(number.to_bytes(4, "little") for number in numbers)
    chain = [0xFFFFFFFD, end, *range(3, 2 + count), end]
    table = b"".join(n.to_bytes(4, "little") for n in chain).ljust(sector, b"\xff")

    def entry(name: str, kind: int, child: int, start: int, size: int) -> bytes:
        raw = f"{name}\0".encode("utf-16-le")
        head = raw.ljust(64, b"\0") + len(raw).to_bytes(2, "little") + bytes([kind, 1])
        links = b"".join(n.to_bytes(4, "little") for n in (free, free, child))
        tail = start.to_bytes(4, "little") + size.to_bytes(8, "little")
        return head + links + bytes(36) + tail

    directory = entry("Root Entry", 5, 1, end, 0) + entry(name, 2, free, 2, len(content))
    path.write_bytes(header + table + directory.ljust(sector, b"\0") + content)
