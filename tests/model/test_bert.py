"""BERT against transformers: equal states and scores, both ways, in every spelling."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from linnet.errors import ModelError
from linnet.model import load_model, save_checkpoint

transformers = pytest.importorskip("transformers")

SMALL = {
    "vocab_size": 97,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 56,
    "max_position_embeddings": 64,
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "encoder": ("BertModel", SMALL),
    "encoder-wide-eps": ("BertModel", SMALL | {"layer_norm_eps": 0.1, "type_vocab_size": 3}),
    "encoder-tanh": ("BertModel", SMALL | {"hidden_act": "gelu_new", "num_attention_heads": 2}),
    "masked": ("BertForMaskedLM", SMALL),
    "masked-tanh": ("BertForMaskedLM", SMALL | {"hidden_act": "gelu_new", "type_vocab_size": 1}),
    "masked-untied": ("BertForMaskedLM", SMALL | {"tie_word_embeddings": False}),
    "pretraining": ("BertForPreTraining", SMALL),
}


def reference(case: str) -> Any:
    """A transformers model with weights large enough that a wrong detail shows."""
    name, values = CASES[case]
    torch.manual_seed(1)
    model = getattr(transformers, name)(transformers.BertConfig(**values)).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model


def tokens(rows: int = 2, length: int = 48) -> torch.Tensor:
    return torch.randint(0, 97, (rows, length), generator=torch.Generator().manual_seed(3))


def types(case: str) -> torch.Tensor:
    kinds = CASES[case][1].get("type_vocab_size", 2)
    return torch.arange(96).reshape(2, 48) // 20 % int(kinds)


def result(model: Any, case: str, **given: Any) -> Any:
    """What transformers gives: scores, or states where there is no head."""
    found = model(tokens(), token_type_ids=types(case), **given)
    for name in ("logits", "prediction_logits", "last_hidden_state"):
        if name in found:
            return found[name]
    raise AssertionError(f"neither scores nor states in {list(found)}")


def ours_for(model: Any, case: str, **given: Any) -> Any:
    encoder = model.config.head == "none"
    return (model.hidden if encoder else model)(tokens(), token_types=types(case), **given)


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("case", CASES)
def test_loads_what_transformers_saves(case: str, tmp_path: Path) -> None:
    theirs = reference(case)
    theirs.save_pretrained(tmp_path)
    ours = load_model(tmp_path)
    close(ours_for(ours, case), result(theirs, case))
    assert ours.config.parameters == sum(p.numel() for p in ours.parameters())


@torch.inference_mode()
@pytest.mark.parametrize("case", CASES)
def test_transformers_loads_what_we_save(case: str, tmp_path: Path) -> None:
    first, second = tmp_path / "theirs", tmp_path / "ours"
    second.mkdir()
    reference(case).save_pretrained(first)
    ours = load_model(first)
    save_checkpoint(ours, second, base=first)
    name = "BertModel" if ours.config.head == "none" else "BertForMaskedLM"
    assert json.loads((second / "config.json").read_text())["architectures"] == [name]
    again, info = getattr(transformers, name).from_pretrained(second, output_loading_info=True)
    # The pooler is not ours to keep, and the states do not depend on it.
    assert set(info["missing_keys"]) <= {"pooler.dense.weight", "pooler.dense.bias"}
    assert not info["unexpected_keys"]
    close(ours_for(ours, case), result(again.eval(), case))
    torch.testing.assert_close(
        ours_for(ours, case), ours_for(load_model(second), case), atol=0, rtol=0
    )


@torch.inference_mode()
def test_token_types_are_seen(tmp_path: Path) -> None:
    reference("encoder").save_pretrained(tmp_path)
    ours = load_model(tmp_path)
    assert (ours.hidden(tokens()) - ours_for(ours, "encoder")).abs().max() > 0.1


@torch.inference_mode()
@pytest.mark.parametrize("case", ["encoder", "masked"])
def test_padding_as_a_segment_is_their_attention_mask(case: str, tmp_path: Path) -> None:
    theirs = reference(case)
    theirs.save_pretrained(tmp_path)
    mask = torch.arange(48) < torch.tensor([[48], [17]])
    found = ours_for(load_model(tmp_path), case, segment_ids=(~mask).long())
    close(found[mask], result(theirs, case, attention_mask=mask.long())[mask])


@torch.inference_mode()
def test_texts_that_share_a_row_are_computed_as_if_alone(tmp_path: Path) -> None:
    theirs = reference("encoder")
    theirs.save_pretrained(tmp_path)
    row = tokens(1, 90)  # longer than the context, which each text fits into
    segments = torch.tensor([[0] * 40 + [1] * 3 + [2] * 47])
    found = load_model(tmp_path).hidden(row, segment_ids=segments)
    alone = [theirs(part).last_hidden_state for part in torch.split(row, [40, 3, 47], dim=1)]
    close(found, torch.cat(alone, 1))


def rewrite(path: Path, change: Any) -> None:
    file = path / "model.safetensors"
    weights = load_file(file)
    changed = change({name: tensor.clone() for name, tensor in weights.items()})
    save_file(changed, file, metadata={"format": "pt"})


def old_names(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As in the first releases: other names of norms, stored positions, all that is tied twice."""
    renamed = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in weights.items()
    }
    table = weights["bert.embeddings.word_embeddings.weight"]
    return renamed | {
        "bert.embeddings.position_ids": torch.arange(64)[None],
        "cls.predictions.decoder.weight": table.clone(),
        "cls.predictions.decoder.bias": weights["cls.predictions.bias"].clone(),
        "bert.pooler.dense.weight": torch.zeros(32, 32),
        "cls.seq_relationship.weight": torch.zeros(2, 32),
    }


def only_the_decoder(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What is tied, stored under the decoder's names alone."""
    weights["cls.predictions.decoder.bias"] = weights.pop("cls.predictions.bias")
    table = weights.pop("bert.embeddings.word_embeddings.weight")
    return weights | {"cls.predictions.decoder.weight": table}


@torch.inference_mode()
@pytest.mark.parametrize("change", [old_names, only_the_decoder])
def test_reads_other_spellings_of_the_masked_head(change: Any, tmp_path: Path) -> None:
    theirs = reference("masked")
    theirs.save_pretrained(tmp_path)
    rewrite(tmp_path, change)
    again = transformers.BertForMaskedLM.from_pretrained(tmp_path).eval()
    close(result(again, "masked"), result(theirs, "masked"))  # or the spelling is not theirs
    ours = load_model(tmp_path)
    assert ours.config.tied
    close(ours_for(ours, "masked"), result(theirs, "masked"))


def with_prefix(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"bert.{name}": tensor for name, tensor in weights.items()}


def classifier(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return with_prefix(weights) | {"classifier.weight": torch.ones(2, 32)}


@torch.inference_mode()
@pytest.mark.parametrize("change", [with_prefix, classifier])
def test_reads_an_encoder_by_its_long_names(change: Any, tmp_path: Path) -> None:
    theirs = reference("encoder")
    theirs.save_pretrained(tmp_path)
    rewrite(tmp_path, change)
    close(ours_for(load_model(tmp_path), "encoder"), result(theirs, "encoder"))


@torch.inference_mode()
def test_reads_the_configuration_of_transformers_4(tmp_path: Path) -> None:
    theirs = reference("encoder")
    theirs.save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    values = json.loads(file.read_text())
    for name in ("dtype", "tie_word_embeddings", "is_decoder", "pad_token_id"):
        values.pop(name, None)
    old = {"torch_dtype": "float32", "position_embedding_type": "absolute", "use_cache": True}
    file.write_text(json.dumps(values | old))
    ours = load_model(tmp_path)
    assert ours.config.pad_id == 0  # the default there
    close(ours_for(ours, "encoder"), result(theirs, "encoder"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"position_embedding_type": "relative_key"}, "position_embedding_type must be 'absolute'"),
        ({"is_decoder": True}, "is_decoder must be False"),
        ({"hidden_act": "relu"}, "hidden_act must be 'gelu'"),
        ({"architectures": ["BertForMaskedLM"]}, "'cls.predictions.transform.dense.weight' is mis"),
    ],
)
def test_names_what_it_cannot_do(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    reference("encoder").save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ModelError, match=said):
        load_model(tmp_path)


@torch.inference_mode()
def test_an_encoder_has_no_scores(tmp_path: Path) -> None:
    reference("encoder").save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="no output layer"):
        load_model(tmp_path)(tokens())
