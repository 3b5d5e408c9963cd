"""The encoder's part: trained on a tiny scale, read by transformers, and after the rules."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_ladders import documents

from linnet import artifact
from linnet.errors import DataError, ModelError
from linnet.grounding import (
    Checker,
    CheckerConfig,
    Document,
    Missing,
    Verdict,
    check,
    train_checker,
)
from linnet.grounding.checker import LABELS, decided
from linnet.grounding.training import share, split_pairs
from linnet.model import ModelConfig, Transformer, save_checkpoint
from linnet.model.families import FAMILIES

WORDS = sorted({word for document in documents("en") for word in
                document.text.lower().replace(".", " .").replace(",", " ,").split()})  # fmt: skip
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "not", *WORDS]
CONFIG = CheckerConfig(pairs=48, epochs=8, batch=16, lr=3e-3, max_tokens=64, device="cpu",
                       dtype="fp32", threads=1)  # fmt: skip


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small BERT of random weights with a vocabulary of whole words."""
    transformers = pytest.importorskip("transformers")
    out = tmp_path_factory.mktemp("encoder")
    (out / "vocab.txt").write_text("\n".join(dict.fromkeys(VOCABULARY)), encoding="utf-8")
    tokenizer = transformers.BertTokenizerFast(vocab_file=str(out / "vocab.txt"))
    tokenizer.save_pretrained(out)
    scratch: Any = FAMILIES["bert"].scratch
    shape = {**scratch, "vocab_size": len(tokenizer), "context": 64, "width": 32, "depth": 2,
             "heads": 2, "kv_heads": 2, "head_width": 16, "mlp_width": 64, "pad_id": 0}  # fmt: skip
    model = Transformer(ModelConfig(family="bert", **shape))
    model.initialise(torch.Generator().manual_seed(1))
    save_checkpoint(model, out)
    return out


@pytest.fixture(scope="module")
def trained(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "checker"
    train_checker(documents("en"), encoder, out, CONFIG)
    return out


def test_training_lowers_the_loss_and_says_how_good_it_is(trained: Path) -> None:
    rows = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert min(losses[-3:]) < losses[0] - 0.02
    stats = artifact.read(trained, kind="checker").manifest.stats
    held_out = stats["held_out"]
    assert stats["pairs"] == 48
    assert held_out["documents"] > 0
    for name in ("precision", "recall"):
        assert 0 <= held_out[name]["low"] <= held_out[name]["value"] <= held_out[name]["high"] <= 1


def test_held_out_pairs_are_of_other_documents() -> None:
    own, held_out = split_pairs(documents("en"), CONFIG)
    assert not {pair.source for pair in own} & {pair.source for pair in held_out}
    with pytest.raises(DataError, match="at least 40 claims from several documents"):
        split_pairs([Document("one", "Nothing much.")], CONFIG)


@torch.inference_mode()
def test_transformers_reads_it_with_the_same_probabilities(trained: Path) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(trained).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(trained)
    assert [theirs.config.id2label[n] for n in range(2)] == list(LABELS)
    text = documents("en")[3].text
    asked = [("The disease is caused by copper.", text[:90]), ("not in Oslo", text[60:120])]
    for pair, found in zip(asked, Checker.open(trained).probabilities(asked), strict=True):
        wanted = theirs(**tokenizer(*pair, return_tensors="pt")).logits.softmax(-1)[0, 1]
        assert found == pytest.approx(float(wanted), abs=1e-5)


def test_the_encoder_is_asked_what_the_rules_leave_open(trained: Path) -> None:
    checker = Checker.open(trained)
    passage = documents("en")[2].text
    claims = [passage.split(". ")[0], "In 1999, 4 people were treated.", "Copper harms the liver."]
    by_rules = [check(claim, passage) for claim in claims]
    assert [verdict.by_rule for verdict in by_rules] == [True, True, False]
    found = checker.check(claims, passage)
    assert found[:2] == by_rules[:2]
    assert found[2].probability is not None
    assert found[2].score <= by_rules[2].score
    assert checker.check([], passage) == []


def test_likelihood_alone_supports_nothing_that_lacks_something_or_has_few_words_in_common() -> (
    None
):
    near = Verdict("undecided", "", 0.8)
    assert (decided(near, 0.9).status, decided(near, 0.9).rule) == ("supported", "encoder")
    assert decided(near, 0.1).status == "unsupported"
    for doubtful in (replace(near, score=0.1), replace(near, missing=(Missing("number", "4"),))):
        assert decided(doubtful, 0.9).status == "undecided"
        assert decided(doubtful, 0.9).probability == 0.9
        assert decided(doubtful, 0.1).status == "unsupported"
    assert near.score > decided(near, 0.9).score > decided(near, 0.1).score


def test_other_models_are_refused(encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="unsupported, supported"):
        Checker.open(encoder)
    with pytest.raises(DataError, match="expected a corpus, a file of text or JSONL"):
        train_checker(tmp_path / "none", encoder, tmp_path / "out")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "Fine."}\n{"body": 1}\n', encoding="utf-8")
    with pytest.raises(DataError, match="line 2: expected an object with text"):
        train_checker(rows, encoder, tmp_path / "out")


def test_intervals_are_those_of_wilson() -> None:
    """The values of statsmodels' proportion_confint(45, 50, method="wilson"), and its ends."""
    found = share(45, 50)
    assert (found.low, found.high) == pytest.approx((0.78640, 0.95652), abs=1e-4)
    assert share(0, 0).high == 1
    assert share(5, 5).high == 1
