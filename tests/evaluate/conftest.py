"""A tiny model of random weights and stand-ins for its corpus and its generator."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from compared import Say, Server

from linnet import artifact
from linnet.generate.engine import Chunk, Deliver, Request, Start
from linnet.generate.torch_engine import TorchEngine
from linnet.model import ModelConfig, Transformer, save_checkpoint
from linnet.tokenizer import TokenizerConfig, load
from linnet.tokenizer import train as train_tokenizer

STORIES = (
    "Tale 0: the fox and the hen met.",
    "Tale 1: the fox and the cat met.",
    "Tale 2: the fox and the naïf met.",
)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level model that a corpus stands behind."""
    project = tmp_path_factory.mktemp("tiny")
    corpus = project / "corpus"
    with artifact.create(corpus, kind="corpus", format=1, config={}, inputs={}) as draft:
        (draft.path / "train.txt").write_text("in place of Parquet", encoding="utf-8")
    train_tokenizer(
        STORIES, project / "tokenizer", TokenizerConfig(kind="bytes"),
        inputs={"corpus": artifact.read(corpus)},
    )  # fmt: skip
    vocab_size = load(project / "tokenizer").vocab_size
    torch.manual_seed(0)
    shape = ModelConfig(
        family="llama", vocab_size=vocab_size, context=16, width=16, depth=1, heads=2, kv_heads=2,
        head_width=8, mlp_width=32,
    )  # fmt: skip
    inputs = {"tokenizer": artifact.read(project / "tokenizer")}
    out = project / "model"
    with artifact.create(out, kind="model", format=1, config={}, inputs=inputs) as draft:
        save_checkpoint(Transformer(shape), draft.path, tokenizer=project / "tokenizer")
    return out


@pytest.fixture(autouse=True)
def corpus_and_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins, so that these tests are about evaluation only."""
    documents = [SimpleNamespace(text="the fox and the hound"), SimpleNamespace(text="Tale of")]
    monkeypatch.setattr("linnet.data.read_documents", lambda path, split, columns: documents)

    def submit(engine: TorchEngine, request: Request, deliver: Deliver) -> Callable[[], None]:
        sampling = request.sampling
        text = f" the fox {sampling.seed}" + "." * sampling.max_tokens
        deliver(Chunk(text, (1,), "stop", start=Start(1, 0, 0.0)))
        return lambda: None

    monkeypatch.setattr(TorchEngine, "submit", submit)


@pytest.fixture
def texts() -> tuple[str, ...]:
    return STORIES


@pytest.fixture
def stories(tmp_path: Path) -> Path:
    file = tmp_path / "stories.txt"
    file.write_text("\n<|endoftext|>\n".join(STORIES), encoding="utf-8")
    return file


@pytest.fixture
def serve() -> Iterator[Callable[[Say], Server]]:
    """Servers that say what a function says."""
    servers = []

    def make(say: Say) -> Server:
        servers.append(Server(say))
        return servers[-1]

    yield make
    for server in servers:
        server.http.shutdown()
        server.http.server_close()
