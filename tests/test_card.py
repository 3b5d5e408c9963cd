"""Model cards: read by huggingface_hub, true to the manifests, and silent about this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from linnet import artifact
from linnet.artifact import Artifact
from linnet.card import CARD, refresh_evaluation, write_card

repocard = pytest.importorskip("huggingface_hub").ModelCard

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SECRET = "patient-records-of-jane"


def corpus(path: Path) -> Artifact:
    settings = {"privacy": "mask", "sources_note": SECRET}
    sources = {f"{SECRET}.txt": "a" * 64}
    with artifact.create(path, kind="corpus", format=1, config=settings, inputs=sources) as draft:
        counts = {"en": 90, "de": 30, "la": 1}
        report = {"documents": {"languages": counts, "by_source": {SECRET: 1}}}
        (draft.path / "report.json").write_text(json.dumps(report))
        draft.stats.update(documents={"train": 1200}, bytes={"train": 5_300_000})
    return artifact.read(path)


def model(
    path: Path,
    inputs: dict[str, Artifact | str],
    *,
    kind: str = "model",
    base: Path | None = None,
    template: str | None = None,
    figures: dict[str, object] | None = None,
    architecture: str = "LlamaForCausalLM",
    **settings: object,
) -> Artifact:
    config = {"method": "full", "lr": 1e-4, "rslora": False, "validation": f"{SECRET}.jsonl"}
    config |= settings
    volatile = (CARD,)
    with artifact.create(
        path, kind=kind, format=1, config=config, inputs=inputs, volatile=volatile
    ) as draft:
        (draft.path / "config.json").write_text(json.dumps({"architectures": [architecture]}))
        if template:
            text = json.dumps({"chat_template": template})
            (draft.path / "tokenizer_config.json").write_text(text)
        stats = {"parameters": 12_300_000, "steps": 400, "validation_bits_per_byte": 1.23456}
        draft.stats.update(stats, device="cpu", note=f"/home/{SECRET}", **(figures or {}))
        write_card(draft, base=base)
    return artifact.read(path)


def header(made: Artifact) -> dict[str, object]:
    """The card's header, as huggingface_hub reads it."""
    return repocard.load(made.path / CARD).data.to_dict()


def test_a_model_from_scratch(tmp_path: Path) -> None:
    documents = corpus(tmp_path / "corpus")
    with artifact.create(
        tmp_path / "shards", kind="shards", format=1, config={}, inputs={"corpus": documents}
    ) as draft:
        draft.stats["vocab_size"] = 4096
    shards = artifact.read(tmp_path / "shards")
    made = model(tmp_path / "model", {"shards": shards})
    assert header(made) == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "language": ["en", "de"],
        "tags": ["linnet"],
    }
    text = (made.path / CARD).read_text()
    for said in (
        "# A 12.3M-parameter language model\n",
        "from scratch on 5.3 MB of text",
        f"| corpus | `{documents.content}` | 1,200 training documents, 5.3 MB |",
        f"| shards | `{shards.content}` | 4,096 tokens in the vocabulary |",
        f"| file | `{'a' * 64}` |",
        "| bits per byte, validation | 1.2346 |",
        "| lr | 0.0001 |",
        "not trained to answer",
        "no safety training",
        "was masked",
        "Not known: neither for the training data.",
    ):
        assert said in text, said


@pytest.mark.parametrize(
    ("template", "said"),
    [("{{ messages }}", "expects its chat template"), (None, "has no chat te")],
)
def test_a_reward_model_writes_nothing(template: str | None, said: str, tmp_path: Path) -> None:
    base = model(tmp_path / "base", {})
    made = model(
        tmp_path / "model", {"base": base}, template=template,
        architecture="Qwen3ForSequenceClassification",
    )  # fmt: skip
    assert header(made)["pipeline_tag"] == "text-classification"
    assert header(made)["tags"] == ["linnet"]
    text = (made.path / CARD).read_text()
    assert "# A 12.3M-parameter reward model\n" in text
    assert f"It {said}" in text
    for untrue in ("Answering", "Completing", "word for word", "generate(", "language model"):
        assert untrue not in text, untrue


def test_a_pruned_model_says_so(tmp_path: Path) -> None:
    base = model(tmp_path / "base", {})
    figures: dict[str, object] = {"of_parameters": 25_000_000, "pruned_loss": 2.5}
    made = model(
        tmp_path / "model", {"base": base}, template="{{ messages }}", figures=figures,
        vocabulary="auto",
    )  # fmt: skip
    text = (made.path / CARD).read_text()
    for said in (
        "What is left of its base model without what mattered least, 12,300,000 of 25,000,000 "
        "parameters, trained to expect what that does.",
        "| vocabulary | auto |",
        "| loss per token after pruning, validation | 2.5000 |",
    ):
        assert said in text
    assert "All weights" not in text


def test_nothing_of_this_machine_is_in_it(tmp_path: Path) -> None:
    hidden = tmp_path / SECRET
    made = model(hidden / "model", {"data.1": corpus(hidden / "corpus"), SECRET: f"{SECRET} hash"})
    text = (made.path / CARD).read_text()
    assert SECRET not in text
    assert str(tmp_path) not in text
    assert "/home" not in text


def test_an_adapter_names_its_base_and_its_licence(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / "README.md").write_text(
        "---\nlicense: other\nlicense_name: own-terms\nlicense_link: https://example.org/terms\n"
        "tags:\n- license: fake\n---\n# Base\nlicense: none\n"
    )
    made = model(
        tmp_path / "adapter",
        {"base": f"org/tiny@{COMMIT}", "data.1": "b" * 64},
        kind="adapter",
        base=base,
        template="{{ messages }}",
        method="lora",
        targets=["q_proj", "v_proj"],
    )
    assert header(made) == {
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "license": "other",
        "license_name": "own-terms",
        "license_link": "https://example.org/terms",
        "base_model": "org/tiny",
        "base_model_relation": "adapter",
        "tags": ["linnet", "lora", "conversational"],
    }
    text = (made.path / CARD).read_text()
    assert "# An adapter for org/tiny" in text
    assert f"| base | `org/tiny@{COMMIT}` |" in text
    assert f"| data.1 | `{'b' * 64}` |" in text
    assert "| targets | q_proj, v_proj |" in text
    assert "expects its chat template" in text
    assert "names `other`" in text


def test_the_base_of_a_base_is_found(tmp_path: Path) -> None:
    pulled = {"source": "org/tiny", "revision": COMMIT}
    with artifact.create(tmp_path / "base", kind="model", format=1, config=pulled, inputs={}) as d:
        (d.path / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    first = model(tmp_path / "first", {"base": artifact.read(tmp_path / "base")})
    second = model(tmp_path / "second", {"base": first, "adapter": "c" * 64})
    assert header(second)["base_model"] == "org/tiny"
    assert header(second)["license"] == "apache-2.0"
    assert header(second)["tags"] == ["linnet", "lora"]
    assert (
        f"| model | `{first.content}` | 12,300,000 parameters |" in (second.path / CARD).read_text()
    )


@pytest.mark.parametrize(
    "hostile",
    ['mit"\ninjected: yes', "mit | x", "[x](javascript:x)", "{{ 7 * 7 }}", "a" * 999, "!!python/x"],
)
def test_a_base_cannot_write_into_the_card(hostile: str, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    card = f"---\nlicense: {hostile}\nbase_model: {hostile}\n---\n"
    (tmp_path / "base" / "README.md").write_text(card)
    made = model(tmp_path / "model", {"base": "d" * 64}, base=tmp_path / "base")
    found = header(made)
    assert "injected" not in found
    assert "base_model" not in found
    assert found.get("license") in (None, "mit")
    assert hostile not in (made.path / CARD).read_text()


def test_an_evaluation_renews_its_part_alone(tmp_path: Path) -> None:
    made = model(tmp_path / "model", {"base": "d" * 64})
    file = made.path / CARD
    file.write_text(file.read_text().replace("## Limits", "My own words.\n\n## Limits"))
    results = {
        "model": SECRET,
        "data": SECRET,
        "bits_per_byte": 1.5,
        "perplexity": 20.0,
        "confidence_interval": {"low": 1.4, "high": 1.6, "level": 0.95},
        "documents": 176,
        "bytes": 147_745,
        "split": "test",
        "baselines": {"bits_per_byte": {"gzip": 3.25}},
    }
    assert refresh_evaluation(made.path, results)
    assert refresh_evaluation(made.path, {**results, "bits_per_byte": 1.25})
    text = file.read_text()
    assert "| bits per byte | 1.2500 |" in text
    assert "1.5000" not in text
    for said in (
        "My own words.",
        "| 95% interval | 1.4000 to 1.6000 |",
        "176 documents, 147.7 KB, test",
    ):
        assert said in text
    assert SECRET not in text
    again = artifact.read(made.path, verify=True)
    assert again.content == made.content
    file.write_text("# Mine\n")
    assert not refresh_evaluation(made.path, results)
    assert file.read_text() == "# Mine\n"
    assert not refresh_evaluation(tmp_path / "absent", results)
