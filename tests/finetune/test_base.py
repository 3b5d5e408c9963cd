"""The model that a run begins from: padding that ends nothing, markers for chats."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from linnet.errors import ConfigError, ModelError
from linnet.finetune.base import grow_vocabulary, read_base
from linnet.finetune.config import FinetuneConfig
from linnet.finetune.finetune import finetune
from linnet.hub import Located
from linnet.model import ModelConfig, Transformer
from linnet.progress import SILENT
from linnet.tokenizer import TokenizerConfig, load
from linnet.tokenizer import train as train_tokenizer

pytestmark = pytest.mark.usefixtures("undrawn")

QUICK = {
    "threads": 1,
    "compile": "no",
    "dtype": "fp32",
    "steps": 2,
    "batch_tokens": 256,
    "sweep": False,
    "general_tokens": 0,
}


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A small GPT-2 as it is published: no chat template, and padding is the end of a text."""
    transformers = pytest.importorskip("transformers")
    texts = ["who asks here? someone answers there."] * 30
    train_tokenizer(texts, tmp_path / "tokenizer", TokenizerConfig(vocab_size=300), inputs={})
    file = tmp_path / "tokenizer" / "tokenizer.json"
    values = json.loads(file.read_text())
    values["added_tokens"] = values["added_tokens"][:1]
    kept = values["added_tokens"][0]["content"]
    vocabulary = values["model"]["vocab"]
    for name in [n for n in vocabulary if n.startswith("<|") and n != kept]:
        vocabulary[f"unused-{name.strip('<|>')}"] = vocabulary.pop(name)
    model = tmp_path / "model"
    torch.manual_seed(0)
    shape = transformers.GPT2Config(
        vocab_size=len(vocabulary), n_positions=64, n_embd=32, n_layer=2, n_head=2, attn_pdrop=0.0,
        resid_pdrop=0.0, embd_pdrop=0.0, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    transformers.GPT2LMHeadModel(shape).save_pretrained(model)
    (model / "tokenizer.json").write_text(json.dumps(values))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": kept,
        "bos_token": kept,
        "pad_token": kept,
    }
    (model / "tokenizer_config.json").write_text(json.dumps(settings))
    (model / "special_tokens_map.json").write_text(json.dumps({"pad_token": kept}))
    return model


def rows_of(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def conversation(asked: str) -> dict[str, object]:
    turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": "someone"}]
    return {"messages": turns}


def test_conversations_give_a_model_without_template_one(plain: Path, tmp_path: Path) -> None:
    """The embedding grows by the markers; transformers loads and renders what comes out."""
    transformers = pytest.importorskip("transformers")
    rows = rows_of(tmp_path / "rows.jsonl", *[conversation(f"who {i}?") for i in range(8)])
    config = FinetuneConfig(**QUICK, method="full", lr=1e-2)
    found = finetune(plain, [rows], tmp_path / "out", config)
    before = load(plain)
    tokenizer = transformers.AutoTokenizer.from_pretrained(found.path)
    model = transformers.AutoModelForCausalLM.from_pretrained(found.path)
    assert len(model.get_input_embeddings().weight) >= before.vocab_size + 2
    text = tokenizer.apply_chat_template(conversation("who?")["messages"], tokenize=False)
    assert text == "<|im_start|>user\nwho?<|im_end|>\n<|im_start|>assistant\nsomeone<|im_end|>\n"
    ours = load(found.path)
    assert ours.end_of_turn == tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert tokenizer.pad_token_id not in (ours.end_of_turn, ours.end_of_text)
    assert model.config.pad_token_id not in (ours.end_of_turn, ours.end_of_text)
    generation = json.loads((found.path / "generation_config.json").read_text())
    assert ours.end_of_turn in generation["eos_token_id"]
    with pytest.raises(ConfigError, match=r"no chat template.*LoRA.*--method full"):
        finetune(plain, [rows], tmp_path / "adapter", FinetuneConfig(**QUICK))


def test_padding_that_ends_a_text_is_not_passed_on(plain: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    row = {"prompt": "who asks?", "completion": " someone"}
    rows = rows_of(tmp_path / "rows.jsonl", *[row | {"prompt": f"who {i}?"} for i in range(8)])
    found = finetune(plain, [rows], tmp_path / "out", FinetuneConfig(**QUICK))
    tokenizer = transformers.AutoTokenizer.from_pretrained(found.path)
    assert tokenizer.eos_token_id == 0
    assert tokenizer.pad_token_id != 0
    assert load(found.path).pad != 0
    weights = load_file(found.path / "adapter_model.safetensors")
    assert any("c_attn.lora_A" in name for name in weights)


def test_a_template_that_ends_no_turn_is_refused(plain: Path, tmp_path: Path) -> None:
    file = plain / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    settings["chat_template"] = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    file.write_text(json.dumps(settings))
    rows = rows_of(tmp_path / "rows.jsonl", conversation("who?"))
    with pytest.raises(ModelError, match="never learn to stop"):
        read_base(Located(plain), [rows], FinetuneConfig(**QUICK), SILENT)
    text = rows_of(tmp_path / "text.jsonl", {"text": "someone asks"})
    read_base(Located(plain), [text], FinetuneConfig(**QUICK), SILENT)


@pytest.mark.parametrize("tied", [True, False])
def test_new_rows_are_the_mean_and_change_no_old_logit(tied: bool) -> None:
    model = Transformer(
        ModelConfig(
            family="llama",
            vocab_size=20,
            context=16,
            width=16,
            depth=1,
            heads=2,
            kv_heads=2,
            head_width=8,
            mlp_width=32,
            tied=tied,
        )
    )
    ids = torch.tensor([[3, 7, 1]])
    with torch.no_grad():
        before = model(ids)
        grow_vocabulary(model, 23)
        after = model(ids)
    torch.testing.assert_close(after[..., :20], before)
    mean = model.embedding.weight[:20].mean(0)
    torch.testing.assert_close(model.embedding.weight[20:], mean.expand(3, -1))
    torch.testing.assert_close(after[..., 20], before.mean(-1))


def test_chatml_for_prompts_too_where_it_is_asked_for(plain: Path, tmp_path: Path) -> None:
    rows = rows_of(
        tmp_path / "rows.jsonl", *[{"prompt": f"who {i}?", "completion": "me"} for i in range(8)]
    )
    config = FinetuneConfig(**QUICK, method="full", template="chatml")
    made = load(finetune(plain, [rows], tmp_path / "out", config).path)
    assert made.chat_template is not None
    assert made.end_of_turn is not None
    asked = FinetuneConfig(**QUICK, method="full")
    assert load(finetune(plain, [rows], tmp_path / "no", asked).path).chat_template is None
