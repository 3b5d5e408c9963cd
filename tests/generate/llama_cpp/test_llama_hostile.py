"""Files and constraints from strangers: refused in a line, or ended in time."""

import json
import os
import random
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_models import MakeModel

from linnet.errors import ConfigError, LinnetError, ModelError
from linnet.export import ExportConfig, export_gguf, read_tensors
from linnet.generate import Request, Sampling
from linnet.generate.constraint import Constraint
from linnet.generate.constraints.compiler import Notation, compiled
from linnet.generate.engines import EngineConfig
from linnet.generate.llama_cpp import LlamaCppEngine, open_gguf
from linnet.generate.llama_cpp import engine as engine_module
from linnet.generate.llama_cpp.dispatcher import Watchdog
from linnet.gguf.header import read_header
from linnet.gguf.metadata import read_metadata
from linnet.llama_cpp.process import LlamaCppProcess, LlamaCppSettings
from odd_files import HEADERS

gguf = pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")

ENDLESS = "{% for a in range(9999) %}" * 4 + "{% endfor %}" * 4 + "x"
PATIENCE = 60.0
"""Seconds, for machines that have much else to do."""


def levels(count: int, base: str) -> str:
    """Rules that each are twice the next."""
    rules = [f"r{level} ::= r{level + 1} r{level + 1}" for level in range(count)]
    return "\n".join(["root ::= r0", *rules, f"r{count} ::= {base}"])


@pytest.fixture(scope="module")
def file(make_model: MakeModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("hostile") / "model.gguf"
    return export_gguf(make_model("qwen3", context=128), out, ExportConfig(type="f32"))


def rewritten(file: Path, out: Path, changes: dict[str, Any]) -> Path:
    """The same file with other settings."""
    reader = gguf.GGUFReader(file)
    writer = gguf.GGUFWriter(out, arch="qwen3")
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture" or key in changes:
            continue
        if field.types[0] == gguf.GGUFValueType.ARRAY:
            writer.add_array(key, field.contents())
        else:
            writer.add_key_value(key, field.contents(), field.types[0])
    for key, value in changes.items():
        if isinstance(value, str):
            writer.add_string(key, value)
        elif isinstance(value, list):
            writer.add_array(key, value)
        elif value is not None:
            writer.add_uint32(key, value)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


TOO_COSTLY = {
    "levels of an optional letter": levels(10, '"a"?'),
    "levels of a run": levels(10, "[a-z]+"),
    "as many ways as letters, doubled": 'root ::= s\ns ::= "a" s "b" | "a" s "c" | "a"',
    "begins with itself": 'root ::= root "a" | "a"',
    "begins with itself after nothing": 'root ::= x root "a" | "a"\nx ::= "b"?',
    "repeated within repeated": 'root ::= ([a-z]{0,300} ","?){0,1000}',
}


# Read in many ways as they are written, and in one as the automata that llama.cpp is given.
REGULAR = (
    levels(8, "[a-z]*"),
    "root ::= " + " ".join(["[a-z]?"] * 100),
    "root ::= " + "(" * 50 + "[a-z]" + ")*" * 50,
    'root ::= (""*)* "a"',
    'root ::= "x" "y" r\nr ::= ' + " ".join(["[a-z]?"] * 60),
)


@pytest.mark.parametrize("grammar", REGULAR)
def test_regular_grammars_are_read_in_one_way(grammar: str) -> None:
    written = compiled(Constraint("grammar", grammar)).write("gbnf_in_bytes")
    assert "together-0" in written
    assert len(written) < 20_000


@pytest.mark.parametrize("name", TOO_COSTLY)
def test_grammars_that_would_take_minutes_are_refused(name: str) -> None:
    notations: tuple[Notation, ...] = ("gbnf_in_bytes", "gbnf")
    for notation in notations:
        with pytest.raises(ConfigError, match="a grammar must") as refused:
            compiled(Constraint("grammar", TOO_COSTLY[name])).write(notation)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("grammar", levels(10, '"a"')),
        ("grammar", "root ::= [a-z]+"),
        ("grammar", 'root ::= "[" (root ("," root)*)? "]"'),
        ("regex", r"[a-z]{0,200}"),
        ("regex", r"(\w+ )*\w+"),
        ("regex", r"\w+@\w+\.(com|org)"),
        ("regex", r".*foo.*"),
        ("regex", r"(\s*\S+\s*)*"),
        ("choice", json.dumps([f"a{number}x" for number in range(4000)])),
        ("choice", json.dumps(["a" * length for length in range(1, 60)])),
        ("json_schema", "{}"),
        (
            "json_schema",
            json.dumps({"properties": {f"key{place}": {"type": "string"} for place in range(300)}}),
        ),
    ],
)
def test_those_that_cost_little_are_not(kind: Any, value: str) -> None:
    assert "root ::=" in compiled(Constraint(kind, value)).write("gbnf_in_bytes")


def test_a_stall_is_told_from_a_busy_machine() -> None:
    now, used = [0.0], [0.0]
    dog = Watchdog(lambda: used[0], clock=lambda: now[0])

    def later(seconds: float, cpu: float) -> bool:
        now[0] += seconds
        used[0] += cpu
        return dog.is_stalled(10)

    assert not later(0, 0)
    assert not later(9, 9)
    assert later(1, 1)  # nothing but computing for 10 seconds
    dog.progress()
    assert not later(0, 0)
    assert not later(50, 5)  # the machine did something else
    assert later(50, 0)  # but not for so long
    dog.progress()
    dog = Watchdog(lambda: None, clock=lambda: now[0])
    assert not later(9, 0)
    assert later(1, 0)  # where the system does not tell, the clock counts


@pytest.fixture
def unguarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Grammars go to llama.cpp as they are, as one might that nobody has thought of."""
    monkeypatch.setattr(engine_module, "written", lambda constraint, _: constraint.value)


@pytest.fixture
def hanging(file: Path, unguarded: None) -> Iterator[LlamaCppEngine]:
    opened = open_gguf(file, EngineConfig(threads=1, slots=4, stall_seconds=0.5))
    yield opened
    opened.close()


def outcome(engine: LlamaCppEngine, request: Request, found: dict[str, Any], name: str) -> None:
    try:
        found[name] = engine.generate([request])[0].finish_reason
    except LinnetError as error:
        found[name] = error


def test_who_hangs_llama_cpp_is_refused_and_the_others_are_not(hanging: LlamaCppEngine) -> None:
    bad = Constraint("grammar", levels(10, '"a"?'))
    other = Constraint("grammar", "root ::= [a-z]+")
    short = Sampling(max_tokens=5, temperature=0)
    requests = {
        "bad": Request("a", short, constraint=bad),
        "other": Request("a", short, constraint=other),
        "plain": Request("a", short),
    }
    found: dict[str, Any] = {}
    # The bad one first, so that nothing of the others is delivered before it hangs.
    threads = []
    for name, request in requests.items():
        threads.append(
            threading.Thread(target=outcome, args=(hanging, request, found, name), daemon=True)
        )
        threads[-1].start()
        time.sleep(0.05)
    for thread in threads:
        thread.join(PATIENCE)
    assert isinstance(found["bad"], ConfigError)
    assert "cannot follow this grammar" in str(found["bad"])
    assert found["other"] in ("stop", "length")
    assert found["plain"] in ("stop", "length") or "started again" in str(found["plain"])
    before = hanging.dispatcher.process().id
    with pytest.raises(ConfigError, match="cannot follow this grammar"):
        hanging.generate([requests["bad"]])
    assert hanging.dispatcher.process().id == before  # it was not tried again


def is_gone(process: int) -> bool:
    state = Path(f"/proc/{process}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"


def wait_until(works: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not works():
        assert time.monotonic() < until
        time.sleep(0.02)


needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

HANGS = """
import signal, sys, threading
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever the tests were started by
from pathlib import Path
from linnet.generate import Request, Sampling
from linnet.generate.constraint import Constraint
from linnet.generate.engines import EngineConfig
from linnet.generate.llama_cpp import engine, open_gguf
from linnet.serve import Catalog, ServeConfig, Served, Server
engine.written = lambda constraint, notation: constraint.value
opened = open_gguf(Path(sys.argv[1]), EngineConfig(threads=1, slots=1))
server = Server(Catalog([Served("a", opened)]), ServeConfig(port=0, log="off", grace=0.5))
request = Request("a", Sampling(), constraint=Constraint("grammar", sys.argv[2]))
opened.submit(request, lambda piece: None)

def tell():
    server.ready.wait()
    print(opened.dispatcher.process().id, opened.dispatcher.process().socket, flush=True)

threading.Thread(target=tell, daemon=True).start()
server.run()
"""


@needs_proc
@pytest.mark.parametrize(
    "how", [signal.SIGTERM, signal.SIGKILL, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)]
)
def test_a_server_that_ends_takes_native_code_along_that_hangs(
    file: Path, how: signal.Signals
) -> None:
    command = [sys.executable, "-c", HANGS, str(file), levels(10, '"a"?')]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        process, place = server.stdout.readline().split()
        time.sleep(0.3)  # it takes no time to begin to hang
        server.send_signal(how)
        assert server.wait(PATIENCE) == (-how if how == signal.SIGKILL else 0)
    wait_until(lambda: is_gone(int(process)) and not Path(place).parent.exists())


@needs_proc
def test_loading_has_a_deadline_and_ends_with_its_program(file: Path, tmp_path: Path) -> None:
    endless = rewritten(file, tmp_path / "endless.gguf", {"tokenizer.chat_template": ENDLESS})
    with pytest.raises(ModelError, match="did not load it within"):
        LlamaCppProcess(LlamaCppSettings(str(endless), own_template=True, stall_seconds=0.3))
    program = (
        "import sys; from linnet.llama_cpp.process import *;"
        "LlamaCppProcess(LlamaCppSettings(sys.argv[1], own_template=True))"
    )
    children = Path("/proc/self/task")
    assert children.exists()
    with subprocess.Popen([sys.executable, "-c", program, str(endless)]) as parent:
        below: list[int] = []

        def both() -> bool:
            below[:] = descendants(parent.pid)
            return len(below) == 2  # the one that waits, and the one that loads

        wait_until(both)
        parent.kill()
    wait_until(lambda: all(map(is_gone, below)))


def descendants(process: int) -> list[int]:
    found = []
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            found += [child, *descendants(child)]
    return found


def test_llama_cpp_gets_no_template_of_a_files_own(file: Path, tmp_path: Path) -> None:
    changes = {
        "tokenizer.chat_template": ENDLESS,
        "tokenizer.chat_template.tool_use": ENDLESS,
    }
    endless = rewritten(file, tmp_path / "endless.gguf", changes)
    opened = open_gguf(endless, EngineConfig(threads=1, slots=1))
    try:
        assert opened.generate([Request("The fox", Sampling(max_tokens=3, temperature=0))])
        with pytest.raises(LinnetError) as refused:
            opened.chat_prompt([{"role": "user", "content": "?"}])
        assert "\n" not in str(refused.value)
    finally:
        opened.close()


SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"qwen3.context_length": 4_294_967_295}, "context_length must be"),
    ({"qwen3.context_length": 0}, "context_length must be"),
    ({"qwen3.context_length": "long"}, "context_length must be"),
    ({"qwen3.context_length": None}, "context_length"),
    ({"qwen3.attention.head_count": 0}, "head_count must be"),
    ({"qwen3.attention.head_count": "4"}, "head_count must be"),
    ({"qwen3.attention.head_count": [0, 0]}, "head_count must be"),
    ({"qwen3.attention.head_count_kv": 0}, "head_count_kv must be"),
    ({"qwen3.block_count": 10_000}, "block_count must be"),
    ({"qwen3.embedding_length": 0}, "embedding_length must be"),
    ({"general.alignment": 33}, "alignment"),
    ({"tokenizer.ggml.token_type": [1, 2]}, "a type for each"),
    ({"tokenizer.ggml.tokens": "a"}, "tokens"),
]


@pytest.mark.parametrize(("changes", "reason"), SETTINGS)
def test_settings_that_no_model_has(
    file: Path, tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    out = rewritten(file, tmp_path / "odd.gguf", changes)
    with pytest.raises(ModelError, match=reason):
        read_metadata(out)


@pytest.mark.parametrize("name", HEADERS)
def test_headers_are_held_against_the_size_of_the_file(name: str, tmp_path: Path) -> None:
    data, reason = HEADERS[name]
    (tmp_path / "a.gguf").write_bytes(data)
    with pytest.raises(ModelError, match=reason) as refused:
        read_header(tmp_path / "a.gguf")
    assert "\n" not in str(refused.value)
    with pytest.raises(ModelError):
        read_metadata(tmp_path / "a.gguf")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such files")
def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.gguf")
    with pytest.raises(ModelError, match="no regular file"):
        read_header(tmp_path / "a.gguf")


def test_a_header_says_what_the_reference_reads(file: Path) -> None:
    reader = gguf.GGUFReader(file)
    found = read_header(file)
    wanted = {k: f.contents() for k, f in reader.fields.items() if not k.startswith("GGUF.")}
    assert found.values == wanted
    shapes = {str(t.name): tuple(map(int, t.shape)) for t in reader.tensors}
    assert found.tensors == shapes


def mutants(data: bytes, count: int, seed: int) -> Iterator[bytes]:
    """The file with some bytes of its header replaced, by what often does harm."""
    dice = random.Random(seed)
    odd = [b"\xff" * 8, b"\0" * 8, struct.pack("<Q", 1 << 60), struct.pack("<Q", 1 << 31), b"\x09"]
    end = min(len(data), 12_000)
    for _ in range(count):
        changed = bytearray(data)
        for _ in range(dice.randrange(1, 4)):
            place = dice.randrange(4, 400 if dice.random() < 0.5 else end)
            new = dice.choice(odd) if dice.random() < 0.7 else dice.randbytes(dice.randrange(1, 9))
            changed[place : place + len(new)] = new
        yield bytes(changed[: dice.randrange(len(data))] if dice.random() < 0.1 else changed)


def read_or_refuse(changed: Iterator[bytes], place: Path) -> tuple[int, int]:
    """How many were refused, each in a line, and how many read."""
    refused = read = 0
    for data in changed:
        place.write_bytes(data)
        try:
            metadata = read_metadata(place)
            assert metadata.token_bytes > 0
            assert all(0 <= stop < metadata.rows for stop in metadata.stop_ids)
            for _ in read_tensors(place):
                pass
            metadata.shape()
            read += 1
        except LinnetError as error:
            assert len(str(error).splitlines()) == 1, error  # noqa: PT017
            refused += 1
    return refused, read


def test_changed_files_are_read_or_refused_in_a_line(file: Path, tmp_path: Path) -> None:
    refused, read = read_or_refuse(mutants(file.read_bytes(), 100, 1), tmp_path / "a.gguf")
    assert refused > read > 0


LIMITED = """
import resource, sys
from pathlib import Path
from test_llama_hostile import mutants, read_or_refuse
taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + (256 << 20),) * 2)
print(read_or_refuse(mutants(Path(sys.argv[1]).read_bytes(), 5000, 2), Path(sys.argv[2])))
"""


@pytest.mark.slow
@needs_proc
def test_many_changed_files_in_little_memory(file: Path, tmp_path: Path) -> None:
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(file), str(tmp_path / "a.gguf")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parent)])},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
