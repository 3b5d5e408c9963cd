"""Encoders beside BERT against transformers: states, scores and labels, both ways."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from linnet.errors import ModelError
from linnet.generate.embedding import load_encoder
from linnet.model import Transformer, load_model, save_checkpoint
from linnet.model.families import family

transformers = pytest.importorskip("transformers")

SMALL = {
    "vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
    "intermediate_size": 56, "max_position_embeddings": 200,
}  # fmt: skip
NAMES = {"id2label": {0: "bad", 1: "good", 2: "none"}, "label2id": {"bad": 0, "good": 1, "none": 2}}
DISTIL = {
    "vocab_size": 97, "dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 56,
    "max_position_embeddings": 200,
}  # fmt: skip
MODERN = SMALL | {
    "num_hidden_layers": 5, "local_attention": 16, "pad_token_id": 1, "eos_token_id": 2,
    "bos_token_id": 0, "cls_token_id": 0, "sep_token_id": 2,
}  # fmt: skip
PLAIN = {
    "Roberta": SMALL | {"type_vocab_size": 1, "layer_norm_eps": 1e-5},
    "XLMRoberta": SMALL | {"type_vocab_size": 1, "pad_token_id": 3},
    "MPNet": SMALL,
    "DistilBert": DISTIL,
    "ModernBert": MODERN,
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{f"{name}Model": (name, values) for name, values in PLAIN.items()},
    **{f"{name}ForMaskedLM": (name, values) for name, values in PLAIN.items()},
    **{
        f"{name}{head}": (name, values | NAMES)
        for name, values in PLAIN.items()
        for head in ("ForSequenceClassification", "ForTokenClassification")
    },
    "RobertaForMaskedLM untied": ("Roberta", SMALL | {"tie_word_embeddings": False}),
    "RobertaModel types": ("Roberta", SMALL | {"type_vocab_size": 3}),
    "MPNetForMaskedLM eps": ("MPNet", SMALL | {"layer_norm_eps": 0.1}),
    "DistilBertForMaskedLM tanh": ("DistilBert", DISTIL | {"activation": "gelu_new"}),
    "ModernBertForSequenceClassification mean": (
        "ModernBert", MODERN | NAMES | {"classifier_pooling": "mean", "norm_eps": 0.1},
    ),
    "ModernBertModel bases": (
        "ModernBert",
        MODERN | {
            "num_hidden_layers": 4, "local_attention": 7, "norm_eps": 0.1,
            "layer_types": ["sliding_attention"] * 3 + ["full_attention"],
            "rope_parameters": {
                "full_attention": {"rope_type": "default", "rope_theta": 500.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 20.0},
            },
        },
    ),
}  # fmt: skip
LENGTHS = (150, 31)  # MPNet's buckets end at a distance of 128


def reference(case: str) -> Any:
    """A transformers model with weights large enough that a wrong detail shows."""
    name, values = CASES[case]
    torch.manual_seed(1)
    config = getattr(transformers, f"{name}Config")(**values)
    model = getattr(transformers, case.split()[0])(config).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.2)
    return model


def tokens(pad: int) -> torch.Tensor:
    """Two texts, with padding behind the second."""
    ids = torch.randint(4, 97, (2, LENGTHS[0]), generator=torch.Generator().manual_seed(3))
    ids[1, LENGTHS[1] :] = pad
    return ids


def seen() -> torch.Tensor:
    return torch.arange(LENGTHS[0]) < torch.tensor(LENGTHS)[:, None]


def close(ours: Transformer, model: Any) -> None:
    ids = tokens(model.config.pad_token_id)
    given = model(ids, attention_mask=seen().long())
    wanted = next(given[key] for key in ("logits", "last_hidden_state") if key in given)
    compute = ours.hidden if ours.config.head == "none" else ours
    found = compute(ids, segment_ids=(~seen()).long())
    if found.dim() == 3:
        found, wanted = found[seen()], wanted[seen()]
    torch.testing.assert_close(found, wanted, atol=2e-4, rtol=2e-4)


@torch.inference_mode()
@pytest.mark.parametrize("case", CASES)
def test_encoders_are_those_of_transformers_both_ways(case: str, tmp_path: Path) -> None:
    first, second = tmp_path / "theirs", tmp_path / "ours"
    second.mkdir()
    theirs = reference(case)
    theirs.save_pretrained(first)
    ours = load_model(first)
    assert ours.config.parameters == sum(p.numel() for p in ours.parameters())
    close(ours, theirs)
    save_checkpoint(ours, second, base=first)
    again, info = type(theirs).from_pretrained(second, output_loading_info=True)
    missing = {name for name in info["missing_keys"] if not name.startswith("pooler.")}
    assert not missing
    assert not info["unexpected_keys"]
    close(ours, again.eval())
    assert load_model(second).config == ours.config


@torch.inference_mode()
@pytest.mark.parametrize("name", PLAIN)
def test_texts_that_share_a_row_are_computed_as_if_alone(name: str, tmp_path: Path) -> None:
    """By text as on a CPU, and by one mask as on a GPU."""
    theirs = reference(f"{name}Model")
    theirs.save_pretrained(tmp_path)
    ours = load_model(tmp_path)
    row = torch.randint(4, 97, (1, 240), generator=torch.Generator().manual_seed(4))
    parts = [150, 3, 87]  # together longer than the context
    segments = torch.repeat_interleave(torch.tensor(parts))[None]
    alone = [theirs(part).last_hidden_state for part in torch.split(row, parts, dim=1)]
    found = ours.hidden(row, segment_ids=segments)
    torch.testing.assert_close(found, torch.cat(alone, 1), atol=2e-4, rtol=2e-4)
    places = torch.arange(240)
    by_mask = ours._limits(places, places, segments, windowed=True)
    assert by_mask is not None
    assert by_mask.shape[-2:] == (240, 240)


@torch.inference_mode()
@pytest.mark.parametrize("name", PLAIN)
def test_one_mask_is_what_text_by_text_is(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference(f"{name}Model").save_pretrained(tmp_path)
    ours = load_model(tmp_path)
    row = torch.randint(4, 97, (2, 60), generator=torch.Generator().manual_seed(4))
    segments = torch.repeat_interleave(torch.tensor([20, 1, 39])).expand(2, -1)
    expected = ours.hidden(row, segment_ids=segments)
    monkeypatch.setattr(
        Transformer,
        "_mask",
        lambda self, places, start, segments, windowed: self._limits(
            places, places, segments, windowed
        ),
    )
    torch.testing.assert_close(
        ours.hidden(row, segment_ids=segments), expected, atol=2e-4, rtol=2e-4
    )


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("Roberta", {"hidden_act": "relu"}, "hidden_act"),
        ("Roberta", {"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ("MPNet", {"relative_attention_num_buckets": 16}, "relative_attention_num_buckets"),
        ("DistilBert", {"activation": "relu"}, "hidden_act"),
        ("ModernBert", {"norm_bias": True}, "norm_bias"),
        ("ModernBert", {"classifier_bias": True}, "classifier_bias"),
        ("ModernBert", {"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling"),
        ("ModernBert", {"something_new": 1}, "something_new"),
    ],
)
def test_what_is_not_computed_is_refused_by_name(
    name: str, change: dict[str, Any], said: str
) -> None:
    values = getattr(transformers, f"{name}Config")(**PLAIN[name]).to_dict() | change
    with pytest.raises(ModelError, match=said):
        family(values["model_type"]).read(values)


TEXTS = ["the dog barks at night", "a cat", "über café <unseen> 12, naïve", ""]
TOKENIZERS = {
    "Roberta": "bytes",
    "XLMRoberta": "unigram",
    "MPNet": "words",
    "DistilBert": "words",
    "ModernBert": "bytes",
}
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def tokenizer_of(kind: str) -> Any:
    """A tokenizer as these families have it, trained on a few words."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from tokenizers.processors import TemplateProcessing

    given = {"special_tokens": SPECIAL, "show_progress": False}
    if kind == "bytes":
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, **given)
    elif kind == "unigram":
        made = Tokenizer(models.Unigram())
        made.normalizer = normalizers.NFKC()
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        made.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=60, unk_token="<unk>", **given)
    else:
        made = Tokenizer(models.WordPiece(unk_token="<unk>"))
        made.normalizer = normalizers.BertNormalizer()
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        made.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(vocab_size=90, **given)
    made.train_from_iterator(TEXTS * 9, trainer)
    ends = [("<s>", 0), ("</s>", 2)]
    made.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    names = ("bos_token", "pad_token", "eos_token", "unk_token", "mask_token")
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        cls_token="<s>",
        sep_token="</s>",
        **dict(zip(names, SPECIAL, strict=True)),
    )


@torch.inference_mode()
@pytest.mark.parametrize("name", PLAIN)
def test_embeddings_are_the_mean_of_the_states(name: str, tmp_path: Path) -> None:
    """From text to vector with the family's own kind of tokenizer, as transformers reads it."""
    tokenizer_of(TOKENIZERS[name]).save_pretrained(tmp_path)
    file = tmp_path / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    if name != "ModernBert":  # which has a class of no family
        settings["tokenizer_class"] = f"{name}Tokenizer"
    file.write_text(json.dumps(settings))
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    values = PLAIN[name] | {"vocab_size": len(tokenizer), "pad_token_id": 1}
    torch.manual_seed(1)
    model = getattr(transformers, f"{name}Model")(
        getattr(transformers, f"{name}Config")(**values)
    ).eval()
    for parameter in model.parameters():
        parameter.add_(torch.randn(parameter.shape) * 0.2)
    model.save_pretrained(tmp_path)
    found = torch.from_numpy(load_encoder(tmp_path).embed(TEXTS))
    expected = [
        model(tokenizer(text, return_tensors="pt").input_ids).last_hidden_state[0].mean(0)
        for text in TEXTS
    ]
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-4, rtol=1e-4)
