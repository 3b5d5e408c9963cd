"""Alignment from rows to a result: what is read, what is minimised, exact resume, what loads it."""

import dataclasses
import json
import math
import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from linnet.align import align as align_module
from linnet.align.align import align
from linnet.align.config import METHODS, METHODS_OF, AlignConfig
from linnet.align.encoding import Completion, Unit, UnitsReport, encode_units, pad, remedies_for
from linnet.align.judge import Judge
from linnet.align.learning import read_learning
from linnet.align.objectives import (
    DesirabilityLoss,
    PreferenceLoss,
    completion_log_probs,
    token_log_probs,
)
from linnet.align.preferences import Judged, read_judged, read_pairs
from linnet.align.rewards import Sample
from linnet.align.streams import DivergingBatches, judged_batch, mismatched
from linnet.align.validation import AlignmentGuard, HeldOutUnits
from linnet.cli.align import app
from linnet.config import from_mapping
from linnet.errors import ConfigError, DataError, StoppedError
from linnet.examples.prompts import BETWEEN
from linnet.finetune.config import ExamplesConfig
from linnet.finetune.encoding import Example
from linnet.finetune.forgetting import ForgettingGuard
from linnet.finetune.packing import make_batch
from linnet.finetune.row_schema import ChatRow, PromptRow
from linnet.model import ModelConfig, Transformer, load_model
from linnet.progress import Progress
from linnet.tokenizer import TokenizerConfig, load
from linnet.tokenizer import train as train_tokenizer
from linnet.tokenizer.special_tokens import with_chat
from linnet.train import loop as loop_module
from linnet.train.stream import Context

ASKED = [f"What is {a} and {b}?" for a in range(6) for b in range(6)]
SETTINGS: dict[str, Any] = {
    "threads": 1, "dtype": "fp32", "template": "none", "general_tokens": 0, "steps": 6, "batch": 6,
    "validation_interval": 3, "micro_tokens": 64, "context": 64,
}  # fmt: skip

OTHER_VALUES: dict[str, Any] = {
    "loss": "ipo", "rewards": ("ends",), "reward_file": Path("own.py"), "group": 4,
    "reward_model": Path("judge"),
    "max_tokens": 8, "updates": 2, "mask_cut": False, "scale_rewards": True, "too_long": "drop",
}  # fmt: skip


def rows(kind: str) -> list[dict[str, Any]]:
    """Right sums are preferred to wrong ones."""
    found: list[dict[str, Any]] = []
    for place, asked in enumerate(ASKED):
        right, wrong = f" It is {place // 6 + place % 6}.", " I am afraid nobody knows."
        if kind == "pairs":
            found.append({"prompt": asked, "chosen": right, "rejected": wrong})
        else:
            found.append({"prompt": asked, "completion": right, "label": True})
            found.append({"prompt": asked, "completion": wrong, "label": False})
    return found


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama, written by transformers, with a tokenizer and rows."""
    transformers = pytest.importorskip("transformers")
    directory = tmp_path_factory.mktemp("base")
    for kind in ("pairs", "judged"):
        (directory / f"{kind}.jsonl").write_text("\n".join(map(json.dumps, rows(kind))))
    texts = [" ".join(map(str, row.values())) for row in rows("pairs")]
    train_tokenizer(
        texts, directory / "tokenizer", TokenizerConfig(kind="bpe", vocab_size=300), inputs={}
    )
    tokenizer = load(directory / "tokenizer")
    torch.manual_seed(0)
    shape = transformers.LlamaConfig(
        vocab_size=tokenizer.vocab_size, hidden_size=32, intermediate_size=48,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=128, tie_word_embeddings=True,
        bos_token_id=tokenizer.end_of_text, eos_token_id=tokenizer.end_of_text,
    )  # fmt: skip
    transformers.LlamaForCausalLM(shape).save_pretrained(directory / "model")
    tokenizer.save(directory / "model")
    return directory


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than these runs."""
    monkeypatch.setattr(align_module, "plot_curves", lambda metrics, out, **how: [])


def settings(**changes: object) -> AlignConfig:
    return AlignConfig(**(SETTINGS | changes))


def model(**changes: Any) -> Transformer:
    shape: dict[str, Any] = {
        "family": "llama", "vocab_size": 50, "width": 16, "depth": 2, "heads": 2, "kv_heads": 1,
        "head_width": 8, "mlp_width": 24, "context": 32,
    }  # fmt: skip
    found = Transformer(ModelConfig(**(shape | changes)))
    found.initialise(torch.Generator().manual_seed(1))
    with torch.no_grad():
        for value in found.parameters():
            value.add_(0.3 * torch.randn(value.shape, generator=torch.Generator().manual_seed(2)))
    return found


def completion(*tokens: int, start: int) -> Completion:
    import numpy as np

    return Completion(np.array(tokens, np.uint32), np.arange(len(tokens)) >= start)


SOME = [
    completion(1, 2, 3, 4, 5, start=2), completion(1, 2, 9, start=2),
    completion(7, 8, 9, 10, 11, 12, 13, start=4), completion(7, 8, 9, 10, 3, start=4),
]  # fmt: skip


# --- rows ----------------------------------------------------------------------------------------

ASK = {"role": "user", "content": "Hi"}
GOOD, BAD = ({"role": "assistant", "content": text} for text in ("Good day.", "What?"))
ALIKE: list[dict[str, Any]] = [
    {"prompt": "Hi", "chosen": "Good day.", "rejected": "What?"},
    {"prompt": [{"role": "user", "content": "Hi"}],
     "chosen": [{"role": "assistant", "content": "Good day."}],
     "rejected": [{"role": "assistant", "content": "What?"}]},
    {"chosen": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Good day."}],
     "rejected": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "What?"}]},
    {"conversations": [{"from": "human", "value": "Hi"}],
     "chosen": {"from": "gpt", "value": "Good day."},
     "rejected": {"from": "gpt", "value": "What?"}},
    {"instruction": "Hi", "input": "", "chosen": "Good day.", "rejected": "What?"},
    # As in UltraFeedback: the prompt once more, and the chosen conversation as messages.
    {"prompt": "Hi", "messages": [ASK, GOOD], "chosen": [ASK, GOOD], "rejected": [ASK, BAD]},
    {"prompt": [ASK], "chosen": [ASK, GOOD], "rejected": [ASK, BAD]},
    {"messages": json.dumps([ASK]), "chosen": "Good day.", "rejected": [BAD], "margin": "0.5"},
]  # fmt: skip


@pytest.mark.parametrize("row", ALIKE)
def test_pairs_in_the_forms_of_others(row: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text(json.dumps(row))
    (pair,) = read_pairs(file)
    said = []
    for part in (pair.chosen, pair.rejected):
        messages = part.as_chat().messages if hasattr(part, "as_chat") else part.messages
        said.append([(m["role"], m["content"]) for m in messages])
    assert said[0] == [("user", "Hi"), ("assistant", "Good day.")]
    assert said[1] == [("user", "Hi"), ("assistant", "What?")]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "Hi", "chosen": "Yes", "rejected": "Yes"}, "are equal"),
        ({"prompt": "Hi", "chosen": "Yes"}, "there is no rejected"),
        ({"prompt": "Hi", "completion": "Yes", "label": True}, "are for --method kto"),
        ({"chosen": "Yes", "rejected": "No"}, "expected a prompt"),
        ({"chosen": [{"role": "user", "content": "A"}, {"role": "assistant", "content": "x"}],
          "rejected": [{"role": "user", "content": "B"}, {"role": "assistant", "content": "y"}]},
         "begin with different prompts"),
        ({"prompt": "Hi", "chosen": "Yes", "rejected": " "}, "rejected is empty"),
        ({"messages": [ASK, GOOD], "chosen": GOOD, "rejected": BAD}, "ends with a completion"),
        ({"conversations": [{"from": "human", "value": "<image>Hi"}], "images": ["a.png"],
          "chosen": GOOD, "rejected": BAD}, "it has 'images'"),
        ({"prompt": "Hi", "chosen": "Yes", "rejected": "No", "margin": math.nan}, "be a number"),
        ({"prompt": "Hi", "chosen": "Yes", "rejected": "No", "margin": "much"}, "must be a number"),
        (["Hi"], "expected an object"),
    ],
)  # fmt: skip
def test_pairs_that_teach_nothing_are_named(row: Any, message: str, tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text(
        json.dumps({"prompt": "a", "chosen": "b", "rejected": "c"}) + "\n" + json.dumps(row)
    )
    with pytest.raises(DataError, match=rf"pairs\.jsonl:2: .*{message}"):
        list(read_pairs(file))


def test_what_stands_beside_a_prompt_is_read_in_every_form(tmp_path: Path) -> None:
    call = {"name": "add", "arguments": {"a": 1}}
    turns = [("human", "Hi"), ("function_call", json.dumps(call)), ("observation", "3")]
    rows = [
        {"prompt": "Hi", "history": [["a", "b"]], "system": "S", "chosen": [GOOD], "rejected": BAD},
        {"prompt": [ASK], "system_prompt": "S", "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": "Hi", "tools": [{"name": "add"}], "chosen": "Good day.", "rejected": "What?"},
        {"conversations": [{"from": role, "value": text} for role, text in turns],
         "tools": json.dumps([{"name": "add"}]), "chosen": {"from": "gpt", "value": "Good day."},
         "rejected": {"from": "gpt", "value": "What?"}},
    ]  # fmt: skip
    file = tmp_path / "pairs.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    found = [pair.chosen for pair in read_pairs(file)]
    assert all(isinstance(row, ChatRow) for row in found)
    assert [[m["role"] for m in row.messages] for row in found] == [  # type: ignore[union-attr]
        ["system", "user", "assistant", "user", "assistant"], ["system", "user", "assistant"],
        ["user", "assistant"], ["user", "assistant", "tool", "assistant"],
    ]  # fmt: skip
    assert [row.trained_turns for row in found] == [  # type: ignore[union-attr]
        (False, True), (True,), (True,), (False, True),
    ]  # fmt: skip
    assert [bool(row.tools) for row in found] == [False, False, True, True]  # type: ignore[union-attr]
    file.write_text(json.dumps({"instruction": "Hi", "chosen": "a", "rejected": "b"}))
    (pair,) = read_pairs(file)
    assert pair.chosen.as_text() == "Hi\n\n"  # type: ignore[union-attr]


def test_all_that_a_completion_says_is_trained(base: Path) -> None:
    file = base / "turns.jsonl"
    more = [{"role": "user", "content": "And 2?"}, {"role": "assistant", "content": "Four."}]
    file.write_text(json.dumps({"prompt": [ASK], "chosen": [GOOD, *more], "rejected": [BAD]}))
    tokenizer = with_chat(load(base / "model")).tokenizer
    (unit,) = encode_units(read_pairs(file), tokenizer, ExamplesConfig(context=128))
    chosen = unit.completions[0]
    said = tokenizer.decode(chosen.tokens[chosen.trained].tolist())
    assert all(part in said for part in ("Good day.", "Four."))
    assert "And 2?" not in said
    assert unit.completions[1].start == chosen.start


def test_judged_completions(tmp_path: Path) -> None:
    file = tmp_path / "judged.jsonl"
    alike = [
        {"prompt": "Hi", "completion": "Good day.", "label": True},
        {"messages": [{"role": "user", "content": "Hi"},
                      {"role": "assistant", "content": "Good day."}], "label": False},
        {"messages": [{"role": "user", "content": "Hi"},
                      {"role": "assistant", "content": "Good day."}], "kto_tag": 1},
        {"prompt": "Hi", "messages": [ASK, GOOD], "label": "False"},
        {"prompt": "Hi", "completion": [ASK, GOOD], "label": "true"},
    ]  # fmt: skip
    file.write_text("\n".join(map(json.dumps, alike)))
    judged = list(read_judged(file))
    assert [each.desirable for each in judged] == [True, False, True, False, True]
    assert {each.row.key for each in judged} == {"Hi"}
    assert [len(each.row.messages) for each in judged[1:]] == [2] * 4  # type: ignore[union-attr]
    file.write_text(json.dumps({"messages": [ASK, GOOD, ASK], "label": True}))
    with pytest.raises(DataError, match="end with the assistant"):
        list(read_judged(file))
    file.write_text("{")
    with pytest.raises(DataError, match="not valid JSON"):
        list(read_judged(file))
    file.write_text(json.dumps({"prompt": "Hi", "completion": "Yes", "label": "good"}))
    with pytest.raises(DataError, match="true or false"):
        list(read_judged(file))


def test_a_long_prompt_is_cut_alike_for_both(base: Path) -> None:
    tokenizer = load(base / "model")
    file = base / "long.jsonl"
    asked = " ".join(f"Number {n}?" for n in range(40))
    file.write_text(json.dumps({"prompt": asked, "chosen": " It is 4.", "rejected": " No."}))
    config = ExamplesConfig(context=48, template="none")
    report = UnitsReport()
    (unit,) = encode_units(read_pairs(file), tokenizer, config, report=report)
    one, other = unit.completions
    assert unit.places == 48
    assert one.tokens[: one.start].tolist() == other.tokens[: other.start].tolist()
    assert tokenizer.decode(one.tokens[one.start : -1].tolist()) == " It is 4."
    whole = tokenizer.encode(asked)
    assert tokenizer.decode(one.tokens[:10].tolist()) == tokenizer.decode(whole[:10])
    assert (report.cut, report.unseen) == (1, len(whole) - one.start)
    dropped = UnitsReport()
    assert encode_units(read_pairs(file), tokenizer, config, too_long="drop", report=dropped) == []
    assert dropped.dropped == {"longer than the context": 1}
    assert "1 of 1 rows left out" in dropped.losses(48)[0]


def test_few_rows_are_in_memory_at_a_time(base: Path) -> None:
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most = 0

    def watched() -> Iterator[Any]:
        nonlocal most
        for number in range(600):
            row = PromptRow(f"a:{number}", f"What is {number}?", " It is 4.")
            alive.add(row)
            most = max(most, len(alive))
            yield Judged(row.source, row, True)

    units = encode_units(watched(), load(base / "model"), ExamplesConfig(template="none"))
    assert len(units) == 600
    assert most < 200


# --- log-probabilities do not depend on how they are computed ------------------------------------


def test_log_probabilities_are_the_models_own() -> None:
    network = model()
    found, lengths = completion_log_probs(network, pad(SOME))
    for place, each in enumerate(SOME):
        ids = torch.tensor([each.tokens.astype(int).tolist()])
        all_of_it = network(ids[:, :-1])[0].log_softmax(-1)
        own = all_of_it.gather(1, ids[0, 1:, None])[:, 0]
        torch.testing.assert_close(found[place], own[each.start - 1 :].sum())
        assert lengths[place] == len(each.tokens) - each.start


def test_they_do_not_depend_on_padding_packing_and_order() -> None:
    network = model()
    found, _ = completion_log_probs(network, pad(SOME))
    alone = [completion_log_probs(network, pad([each]))[0][0] for each in SOME]
    torch.testing.assert_close(found, torch.stack(alone))
    turned, _ = completion_log_probs(network, pad(SOME[::-1]))
    torch.testing.assert_close(found, turned.flip(0))
    examples = [Example(each.tokens, each.trained, "") for each in SOME]
    packed = make_batch([examples], length=20)
    each = token_log_probs(network, packed)[0]
    assert packed.segment_ids is not None
    sums = [each[packed.segment_ids[0] == number].sum() for number in range(1, 5)]
    torch.testing.assert_close(found, torch.stack(sums))


@pytest.mark.parametrize("kind", ["preference", "with_likelihood", "desirability"])
def test_the_gradient_does_not_depend_on_accumulation(kind: str) -> None:
    network = model()
    reference = torch.tensor([[-3.0, -2.5], [-4.0, -3.5]])
    objective: Any
    if kind != "desirability":
        objective = PreferenceLoss(sft_weight=0.5 if kind == "with_likelihood" else 0.0)
        batch = pad(SOME, units=2, reference=reference.flatten())
    else:
        objective = DesirabilityLoss()
        batch = pad(
            SOME, reference=reference.flatten(), divergence=torch.full((4,), 0.3),
            desirable=torch.tensor([True, False, True, True]),
        )  # fmt: skip
    gradients = []
    for size in (batch.units, 1):
        losses = [objective(network, piece) for piece in batch.split(size)]
        total = sum(loss.sum for loss in losses) / sum(loss.weight for loss in losses)
        gradients.append(torch.autograd.grad(total, list(network.parameters())))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_at_the_first_step_the_model_is_its_reference() -> None:
    network = model().eval()
    with torch.no_grad():
        reference, _ = completion_log_probs(network, pad(SOME))
        loss = PreferenceLoss()(network, pad(SOME, units=2, reference=reference))
    assert float(loss.mean) == pytest.approx(math.log(2))
    assert float(loss.metrics["rewards/margins"]) == 0  # type: ignore[arg-type]


def test_what_is_held_out_may_be_all_that_is_not_good(tmp_path: Path, base: Path) -> None:
    apart, trained = "abcdefgh", range(20)
    rows = [{"prompt": f"Is it {n}?", "completion": "yes", "label": True} for n in trained]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    rows = [{"prompt": f"Is it {n}?", "completion": "no", "label": False} for n in apart]
    (tmp_path / "validation.jsonl").write_text("\n".join(map(json.dumps, rows)))
    using: Any = SimpleNamespace(tokenizer=load(base / "model"), shape=SimpleNamespace(context=64))
    with pytest.raises(DataError, match="All 20 are good, as the others are held out"):
        read_learning([tmp_path], using, settings(method="kto"), {}, Listening())


def test_a_validation_where_all_are_good_counts() -> None:
    batch = judged_batch([Unit("", 1, (SOME[0],))], torch.zeros(1, 1), 0.0)
    found = HeldOutUnits(DesirabilityLoss(), [batch], "cpu")(model().eval())
    assert "rewards/chosen" in found
    assert "rewards/rejected" not in found
    assert all(map(math.isfinite, found.values()))


def test_divergence_is_that_of_completions_to_other_prompts(base: Path) -> None:
    network = model().eval()
    units = encode_units(
        read_judged(base / "judged.jsonl"), load(base / "model"), ExamplesConfig(template="none")
    )[:4]
    network = model(vocab_size=300, context=128).eval()
    others = mismatched(units, seed=3, context=128)
    assert all(
        (other.tokens[: other.start] == unit.completions[0].tokens[: other.start]).all()
        for other, unit in zip(others, units, strict=True)
    )
    long = [Unit("", n, (completion(*range(20), start=start),)) for n, start in enumerate((3, 17))]
    both = [other.tokens.tolist() for other in mismatched(long, seed=1, context=19)]
    assert both == [[0, 1, 2, 17, 18, 19], [0, 1, 16, *range(3, 20)]]  # no longer than others
    said = sorted(tuple(each.tokens[each.start :]) for each in others)
    assert said == sorted(tuple(u.completions[0].tokens[u.completions[0].start :]) for u in units)
    with torch.no_grad():
        known, _ = completion_log_probs(network, pad(others))
    zeros = torch.zeros(4, 1)
    for shift, expected in ((0.5, 0.5), (-0.5, 0.0)):
        stream = DivergingBatches(units, zeros, others, known - shift, tokens=64, batch=4, seed=1)
        batch = stream.next(Context(network, step=0, progress=0.0))
        torch.testing.assert_close(
            batch["divergence"], torch.full((4,), expected), atol=1e-5, rtol=0
        )
        assert not stream.next()["divergence"].any()  # without a run


# --- runs ----------------------------------------------------------------------------------------


def test_a_run_learns_what_is_preferred(base: Path, tmp_path: Path) -> None:
    made = align(base / "model", base / "pairs.jsonl", tmp_path / "a", settings(steps=30, lr=0.01))
    stats = made.stats
    assert stats["base_loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert stats["validation_loss"] < 0.5
    assert stats["validation_rewards/accuracies"] == 1.0
    first = json.loads((tmp_path / "a" / "metrics.jsonl").read_text().splitlines()[0])
    assert "rewards/margins" in str(first)
    assert (tmp_path / "a" / "adapter_config.json").is_file()


def test_a_reward_model_is_read_by_transformers(base: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    align(
        base / "model", base / "pairs.jsonl", tmp_path / "r",
        settings(method="reward", steps=20, lr=0.01),
    )  # fmt: skip
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "r")
    tokenizer = load(tmp_path / "r")
    assert theirs.config.num_labels == 1
    texts = [ASKED[7] + answer for answer in (" It is 2.", " I am afraid nobody knows.")]
    ours = load_model(tmp_path / "r")
    for text in texts:
        ids = torch.tensor([[*tokenizer.encode(text), tokenizer.end_of_text]])
        with torch.no_grad():
            torch.testing.assert_close(theirs(ids).logits, ours(ids), atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        right, wrong = (
            float(ours(torch.tensor([[*tokenizer.encode(text), tokenizer.end_of_text]])))
            for text in texts
        )
    assert right > wrong
    with pytest.raises(ConfigError, match=r"a model that gives one score .* the head 'output'"):
        Judge(base / "model")


@pytest.mark.parametrize("template", ["auto", "none"])
def test_a_reward_is_what_transformers_says_of_what_was_trained(
    template: str, base: Path, tmp_path: Path
) -> None:
    """A conversation by the chat template, or plain text: then there is no template any more, by
    which it would be given what it never learned to score."""
    transformers = pytest.importorskip("transformers")
    directory, place = tmp_path / "chat", tmp_path / "judge"
    shutil.copytree(base / "model", directory)
    (directory / "chat_template.jinja").write_text(  # transformers' own place for it
        json.loads((directory / "tokenizer_config.json").read_text())["chat_template"]
    )
    run = settings(method="reward", steps=1, template=template)
    align(directory, base / "pairs.jsonl", place, run)
    asked, answer = {"role": "user", "content": ASKED[7]}, "It is 2."
    own = transformers.AutoTokenizer.from_pretrained(place)
    if template == "auto":
        chat = [asked, {"role": "assistant", "content": answer}]
        ids = own.apply_chat_template(chat, return_dict=True)["input_ids"]
    else:
        assert own.chat_template is None
        ids = [*own(f"{ASKED[7]}{BETWEEN}{answer}")["input_ids"], own.eos_token_id]
    sample = Sample(ASKED[7], answer, messages=(asked,))
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(place)
    with torch.no_grad():
        score = float(theirs(torch.tensor([ids])).logits.sigmoid())
    judge = Judge(place)
    assert judge(sample) == pytest.approx(score, abs=1e-5)
    long = dataclasses.replace(sample, text="so " * 500)
    assert 0 <= judge(long) <= 1  # without its middle
    call = {"type": "function", "function": {"name": "add", "arguments": {}}}
    calling = {"role": "assistant", "content": None, "tool_calls": [call]}
    tool = {"role": "tool", "content": "2"}
    assert 0 <= judge(dataclasses.replace(sample, messages=(asked, calling, tool))) <= 1


def test_a_reward_model_reads_what_transformers_gives_it(base: Path, tmp_path: Path) -> None:
    """To the last token that the chat template writes, as that is the one that is scored."""
    transformers = pytest.importorskip("transformers")
    tokenizer = with_chat(load(base / "model")).tokenizer
    tokenizer.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    rows = [{"prompt": "Say it." * n, "chosen": "yes", "rejected": "no"} for n in (1, 2, 40)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    using: Any = SimpleNamespace(tokenizer=tokenizer, shape=SimpleNamespace(context=64))
    config = settings(method="reward", context=64, template="auto", held_out=0.0)
    found: Any = read_learning([tmp_path / "rows.jsonl"], using, config, {}, Listening())
    *short, long = [unit.completions[0].tokens.tolist() for unit in found.train]
    for ids, row in zip(short, rows, strict=False):
        ask, said = {"content": row["prompt"]}, {"content": row["chosen"]}
        messages = [{"role": "user", **ask}, {"role": "assistant", **said}]
        assert ids == theirs.apply_chat_template(messages, return_dict=True)["input_ids"]
    assert len(long) == 64  # no more than a model has positions


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_an_interrupted_run_ends_as_one_that_was_not(
    method: str, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = base / ("pairs.jsonl" if method == "dpo" else "judged.jsonl")
    run = settings(method=method)
    align(base / "model", data, tmp_path / "whole", run)
    with monkeypatch.context() as patch:
        made = loop_module.Loop._step

        def stopped(self: Any, *args: Any) -> Any:
            if self.pace.step == 4:
                self._save()
                raise StoppedError("stopped")
            return made(self, *args)

        patch.setattr(loop_module.Loop, "_step", stopped)
        with pytest.raises(StoppedError):
            align(base / "model", data, tmp_path / "parts", run)
    align(base / "model", data, tmp_path / "parts", run)
    one, other = (
        load_file(tmp_path / name / "adapter_model.safetensors") for name in ("whole", "parts")
    )
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


class Listening(Progress):
    """Keeps warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def test_the_usual_loss_keeps_what_was_chosen_likely() -> None:
    """A step with it makes what was chosen likelier than one without."""
    moved = []
    for weight in (0.0, 2.0):
        network = model()
        with torch.no_grad():
            reference, _ = completion_log_probs(network, pad(SOME))
        batch = pad(SOME, units=2, reference=reference)
        PreferenceLoss(sft_weight=weight)(network, batch).mean.backward()
        with torch.no_grad():
            for value in network.parameters():
                if value.grad is not None:
                    value -= 0.01 * value.grad
            after, _ = completion_log_probs(network, pad(SOME))
        moved.append(float((after - reference)[0::2].sum()))
    assert moved[1] > moved[0]


@pytest.mark.parametrize(
    ("figures", "step", "said"),
    [
        (None, 0, None), ({"loss": 0.5}, 4, None), ({"loss": 0.7}, 0, "is kept as it was"),
        ({"loss": 0.5, "forgetting": 0.3}, 4, "kept step 4, which forgot 0.300"),
    ],
)  # fmt: skip
def test_what_was_kept_is_said_where_it_is_no_gain(
    figures: dict[str, float] | None, step: int, said: str | None
) -> None:
    remark = align_module._remark(settings(max_forgetting=0.1, general_tokens=64), figures, step)
    assert (said or "") in (remark or "")
    assert bool(said) == bool(remark)


def test_what_was_chosen_becoming_unlikely_is_said_once() -> None:
    heard = Listening()
    guard = AlignmentGuard(ForgettingGuard(), beta=0.1, tokens=10, progress=heard)
    for reward in (0.0, -0.05, -0.2, -0.3):
        guard.judge({"loss": 0.6, "rewards/chosen": reward}, {"loss": 0.7})
    assert len(heard.warnings) == 1
    assert "0.20 nats per token" in heard.warnings[0]


def test_what_cannot_work_is_refused(base: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke(
        app, [str(base / "model"), str(base / "rows.jsonl"), "--out", str(tmp_path / "x")]
    )
    assert isinstance(run.exception, DataError)
    good = tmp_path / "good.jsonl"
    good.write_text("\n".join(json.dumps(row) for row in rows("judged") if row["label"]))
    with pytest.raises(DataError, match=r"All .* are good"):
        align(base / "model", good, tmp_path / "y", settings(method="kto"))


@pytest.mark.parametrize("name", METHODS_OF)
def test_settings_of_other_methods_are_refused_by_name(name: str, tmp_path: Path) -> None:
    default = next(f.default for f in dataclasses.fields(AlignConfig) if f.name == name)
    other = OTHER_VALUES.get(name, 0.25)
    for method in METHODS:
        if method in METHODS_OF[name]:
            assert name in AlignConfig(method=method).recipe() or default in (None, 0.0)
            continue
        assert name not in AlignConfig(method=method).recipe()
        refusal = rf"{name} is for --method .*{METHODS_OF[name][0]}.*Got it with {method}"
        with pytest.raises(ConfigError, match=refusal):
            AlignConfig(**{"method": method, name: other})
        plain = [str(default)] if isinstance(default, tuple) else default
        if default is not None:  # what is given is refused, even where it is the default
            with pytest.raises(ConfigError, match=refusal):
                from_mapping(AlignConfig, {"method": method, name: plain}, where="here")


@pytest.mark.parametrize(
    ("given", "refusal"),
    [
        ({"loss": "ipo", "smoothing": 0.1}, "smoothing is for --loss sigmoid, sigmoid_norm or"),
        ({"loss": "robust"}, "--loss robust needs --smoothing"),
        ({"weights": "full", "rank": 16}, "rank is for --weights lora"),
        ({"method": "reward", "max_forgetting": 0.1}, "max_forgetting is for a model that"),
        ({"held_out": 0, "max_forgetting": 0.1}, "max_forgetting needs validations"),
        ({"compile": "yes"}, "compile is not for alignment"),
        ({"sample_interval": 5}, "sample_interval is not for alignment"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(given: dict[str, Any], refusal: str) -> None:
    with pytest.raises(ConfigError, match=refusal):
        from_mapping(AlignConfig, given, where="here")


def test_a_recipe_and_the_command_line_are_one(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[align]\nmethod = "grpo"\ngroup = 4\n')
    command = ["model", "rows.jsonl", "--out", "x", "--config", str(recipe)]
    run = CliRunner().invoke(app, [*command, "--beta", "0.1"])
    assert isinstance(run.exception, ConfigError)
    where = f"{recipe} [align] and the command line"
    assert str(run.exception) == f"{where}: beta is for --method dpo or kto. Got it with grpo"
    run = CliRunner().invoke(app, [*command, "--batch", "6"])
    assert str(run.exception) == "batch must be a multiple of group, 4. Got 6"
    recipe.write_text("[finetune]\n")
    run = CliRunner().invoke(app, command)
    assert "expected a table [align]. Got [finetune]" in str(run.exception)


def test_what_is_too_long_says_which_settings_help(base: Path, tmp_path: Path) -> None:
    long = tmp_path / "long.jsonl"
    asked = " ".join(f"Number {n}?" for n in range(60))
    said = " ".join(f"It is {n}." for n in range(60))
    alike = [{"prompt": asked + end, "chosen": said, "rejected": " No."} for end in "ab"]
    long.write_text("\n".join(map(json.dumps, alike)))
    with pytest.raises(DataError, match=r"2 longer than the context; .*raise --context \(64\)"):
        align(base / "model", long, tmp_path / "x", settings())
    with pytest.raises(DataError, match=r"--too-long cut, or 128 tokens are all that the model"):
        align(base / "model", long, tmp_path / "x", settings(context=512, too_long="drop"))
    cut = UnitsReport(rows=3, cut=1, unseen=5).losses(
        64, remedies=remedies_for(64, "cut", longest=128)
    )
    assert "raise --context (64), up to 128, or leave them out (--too-long drop)" in cut[0]
