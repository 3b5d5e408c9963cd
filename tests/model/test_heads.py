"""Classifiers and plain states against transformers' Auto classes: equal, both ways."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from test_families import CASES, IDS, SMALL

from linnet.errors import ConfigError, ModelError
from linnet.model import ModelConfig, Transformer, load_model, save_checkpoint
from linnet.model.families import FAMILIES, family
from linnet.model.heads import replace_head

transformers = pytest.importorskip("transformers")

NAMES = {"id2label": {0: "bad", 1: "good", 2: "none"}, "label2id": {"bad": 0, "good": 1, "none": 2}}
BERT = SMALL | {"pad_token_id": 1}
UNTIED = IDS | {"tie_word_embeddings": False}
AUTO = {
    "sequence": "AutoModelForSequenceClassification",
    "token": "AutoModelForTokenClassification",
    "none": "AutoModel",
}
HEADS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bert texts": ("sequence", "Bert", BERT | NAMES),
    "bert tokens": ("token", "Bert", BERT | NAMES | {"classifier_dropout": 0.3}),
    "bert score": ("sequence", "Bert", BERT | {"num_labels": 1, "problem_type": "regression"}),
    "llama texts": (
        "sequence", "Llama", SMALL | IDS | NAMES | {"problem_type": "multi_label_classification"},
    ),
    "llama tokens": ("token", "Llama", SMALL | IDS | NAMES),
    "llama score": ("sequence", "Llama", SMALL | IDS | {"num_labels": 1}),
    "llama states": ("none", "Llama", SMALL | UNTIED),
    "gpt2 texts": ("sequence", "GPT2", CASES["gpt2"][1] | NAMES),
    "gpt2 tokens": ("token", "GPT2", CASES["gpt2"][1] | NAMES),
    "gemma texts": ("sequence", "Gemma3Text", CASES["gemma3"][1] | NAMES),
}  # fmt: skip
LENGTHS = (48, 17)


def reference(case: str) -> Any:
    """A transformers model with weights large enough that a wrong detail shows."""
    head, name, values = HEADS[case]
    config = getattr(transformers, f"{name}Config")(**values)
    torch.manual_seed(1)
    model = getattr(transformers, AUTO[head]).from_config(config).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.2)
    return model


def tokens() -> torch.Tensor:
    """Two texts of their own length, with padding behind the second."""
    ids = torch.randint(2, 97, (2, 48), generator=torch.Generator().manual_seed(3))
    ids[1, LENGTHS[1] :] = 1
    return ids


def seen() -> torch.Tensor:
    return torch.arange(48) < torch.tensor(LENGTHS)[:, None]


def theirs_of(model: Any) -> torch.Tensor:
    found = model(tokens(), attention_mask=seen().long())
    return next(found[key] for key in ("logits", "last_hidden_state") if key in found)


def close(ours: Transformer, model: Any) -> None:
    segments = (~seen()).long()
    compute = ours.hidden if ours.config.head == "none" else ours
    found, wanted = compute(tokens(), segment_ids=segments), theirs_of(model)
    if found.dim() == 3:
        found, wanted = found[seen()], wanted[seen()]
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("case", HEADS)
def test_heads_are_those_of_transformers_both_ways(case: str, tmp_path: Path) -> None:
    head, _, values = HEADS[case]
    first, second = tmp_path / "theirs", tmp_path / "ours"
    second.mkdir()
    theirs = reference(case)
    theirs.save_pretrained(first)
    ours = load_model(first)
    assert ours.config.head == head
    assert ours.config.parameters == sum(p.numel() for p in ours.parameters())
    close(ours, theirs)
    save_checkpoint(ours, second)
    again, info = getattr(transformers, AUTO[head]).from_pretrained(
        second, output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    close(ours, again.eval())
    if head != "none":
        assert again.config.id2label == theirs.config.id2label
        assert again.config.label2id == theirs.config.label2id
        assert again.config.problem_type == values.get("problem_type")
        assert again.config.num_labels == len(ours.config.labels)
    torch.testing.assert_close(
        load_model(second)(tokens()), ours(tokens())
    ) if head != "none" else None


@torch.inference_mode()
@pytest.mark.parametrize("case", ["bert texts", "llama texts"])
def test_texts_that_share_a_row_are_judged_each_for_itself(case: str, tmp_path: Path) -> None:
    from linnet.model.heads import text_positions

    reference(case).save_pretrained(tmp_path)
    ours = load_model(tmp_path)
    row = tokens()[:1]
    segments = torch.tensor([[0] * 20 + [1] * 3 + [0] * 25])
    hidden = ours.hidden(row, segment_ids=segments).flatten(0, 1)
    found = ours.logits(hidden[text_positions(segments, causal=ours.config.causal)])
    alone = [ours(part) for part in row.split([20, 3, 25], dim=1)]
    torch.testing.assert_close(found, torch.cat(alone), atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", ["bert", "llama", "qwen3", "gpt2"])
def test_a_fresh_head_on_a_body_is_read_by_the_auto_classes(name: str, tmp_path: Path) -> None:
    shape: dict[str, Any] = {
        "vocab_size": 97, "context": 64, "width": 32, "depth": 2, "heads": 4, "kv_heads": 4,
        "head_width": 8, "mlp_width": 56, "pad_id": 1,
    }  # fmt: skip
    scratch = FAMILIES[name].scratch
    assert scratch is not None
    model = Transformer(ModelConfig(family=name, **{**shape, **scratch})).eval()
    model.initialise(torch.Generator().manual_seed(1))
    body = model.hidden(tokens()).clone()
    for head, labels in (("token", ("a", "b", "c")), ("sequence", ("score",))):
        replace_head(model, head, labels=labels, generator=torch.Generator().manual_seed(2))
        torch.testing.assert_close(model.hidden(tokens()), body, atol=0, rtol=0)
        out = tmp_path / head
        out.mkdir()
        save_checkpoint(model, out)
        theirs = getattr(transformers, AUTO[head]).from_pretrained(out).eval()
        close(model, theirs)
        assert tuple(theirs.config.id2label.values()) == labels


def test_a_head_that_is_not_there_is_refused_by_name() -> None:
    config = family("apertus").read(
        json.loads(transformers.ApertusConfig(**SMALL, **IDS).to_json_string(use_diff=False))
    )
    with pytest.raises(ModelError, match="apertus model has no sequence classification; it has"):
        family("apertus").with_head(config, "sequence", labels=("a",))
    with pytest.raises(ConfigError, match="a classifier must have labels"):
        family("apertus").with_head(config, "token")
    with pytest.raises(ModelError, match="is a classifier and continues no text"):
        family("apertus").with_head(config, "token", labels=("a",)).require_writes()


@pytest.mark.parametrize(
    "listed", [{}, [], {"1": "a"}, {"0": 3}, {"0": "a", "2": "b"}, "x", {"0": "a", "00": "b"}]
)
def test_labels_that_are_no_list_of_names_are_refused(listed: Any) -> None:
    values = json.loads(transformers.BertConfig(**BERT).to_json_string(use_diff=False))
    values |= {"architectures": ["BertForTokenClassification"], "id2label": listed}
    with pytest.raises(ModelError, match=r"config\.json: id2label must name 1 to"):
        family("bert").read(values)
