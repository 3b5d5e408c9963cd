"""Rewards of what the model writes: what they say, how groups are sampled, and what is learned."""

import json
import math
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_align import SETTINGS, Listening, base, no_pictures  # noqa: F401 (fixtures)

from linnet.align.align import align
from linnet.align.config import AlignConfig
from linnet.align.learning import MOST_VALIDATED, _drawn, _held_apart, read_learning
from linnet.align.objectives import PolicyLoss, token_log_probs
from linnet.align.prompts import EncodedPrompt, Prompt, read_prompts
from linnet.align.rewards import REWARDS, Sample, choose_rewards, load_rewards
from linnet.align.rollouts import Policy, Rollouts
from linnet.align.validation import HELD_OUT_REWARDS, AlignmentGuard, is_below
from linnet.errors import ConfigError, DataError, StoppedError, TrainingError
from linnet.finetune.forgetting import ForgettingGuard
from linnet.model import load_checkpoint
from linnet.tokenizer import load
from linnet.train import loop as loop_module
from linnet.train.distributed import SingleProcess
from linnet.train.objectives import add_up
from linnet.train.stream import Context

GRPO = {"method": "grpo", "max_tokens": 12, "group": 4, "batch": 8, "held_out": 0.2}
OWN = """
def short(sample):
    return 1 / (1 + sample.tokens)

def _helper(sample):
    return 0
"""


def settings(**changes: object) -> AlignConfig:
    return AlignConfig(**(SETTINGS | GRPO | changes))  # type: ignore[arg-type]


SAID = Sample(
    "How high is it?", "It is 12 m, as it says: \"the tower is 12 m high\" [2]",
    passage="Of all, the tower is 12 m high, and red.", expected=("12 m",),
    row={"cites": [2, 3]},
)  # fmt: skip
REFUSED = Sample("Who?", "I don't know.", answerable=False, passage="The tower is red.")
TABLE = Sample("?", "", schema={"type": "object", "required": ["a"]})


@pytest.mark.parametrize(
    ("name", "sample", "value"),
    [
        ("quotes", SAID, 1.0),
        ("quotes", Sample("", '"a blue one" "the tower"', passage="the tower"), 0.5),
        ("quotes", Sample("", "none at all", passage="the tower"), 0.0),
        (
            "quotes",
            Sample(
                "",
                "„ein Turm” ”ett torn” »et tårn« 「高い塔」",
                passage=("ein\nTurm ett torn et  tårn 高い塔"),
            ),
            1.0,
        ),
        ("quotes", REFUSED, 1.0),
        ("cites", SAID, 2 / 3),
        ("refuses", SAID, 1.0),
        ("refuses", REFUSED, 1.0),
        ("refuses", Sample("", "Jane did.", answerable=False), 0.0),
        ("refuses", Sample("", "I don't know."), 0.0),
        ("refuses", Sample("", " "), 0.0),
        ("concise", Sample("", ""), 0.0),
        ("exact", Sample("", "The 12 m", expected=("12 m",)), 1.0),
        ("exact", Sample("", "13 m", expected=("12 m",)), 0.0),
        ("exact", REFUSED, 1.0),
        ("overlap", Sample("", "12 m high", expected=("12 m",)), 0.8),
        ("grounded", Sample("", "The tower is red.", passage="The tower is red."), 1.0),
        ("grounded", Sample("", "It is 13 m high.", passage="It is 12 m high."), 0.0),
        ("grounded", REFUSED, 1.0),
        ("ends", Sample("", "x", ended=False), 0.0),
        ("concise", Sample("", "one two", expected=("one",)), 1.0),
        ("concise", Sample("", "one two three four", expected=("one",)), 0.5),
        ("concise", Sample("", "a b c d e f g", expected=("one",)), 0.0),
        ("well_formed", Sample("", '{"a": 1}', schema=TABLE.schema), 1.0),
        ("well_formed", Sample("", '{"b": 1}', schema=TABLE.schema), 0.5),
        ("well_formed", Sample("", "{", schema=TABLE.schema), 0.0),
    ],
)
def test_rewards(name: str, sample: Sample, value: float) -> None:
    assert REWARDS[name](sample) == pytest.approx(value)


def test_rewards_are_added_up_by_weights_and_named_where_they_fail(tmp_path: Path) -> None:
    rewards = choose_rewards(["refuses", "ends=3"])
    each = rewards.of(Sample("", "Jane.", ended=False))
    assert each == {"refuses": 1.0, "ends": 0.0}
    assert rewards.total(each) == pytest.approx(0.25)
    for wrong in ("refuse", "ends=much", "ends=0"):
        with pytest.raises(ConfigError, match="rewards: "):
            choose_rewards([wrong])
    with pytest.raises(ConfigError, match="'ends' is there twice"):
        choose_rewards(["ends", "ends=2"])
    file = tmp_path / "own.py"
    file.write_text(OWN)
    own = load_rewards(file)
    assert (list(own.functions), own.files) == (["short"], (file,))
    assert choose_rewards(["short"], own.functions).of(Sample("", "", tokens=3)) == {"short": 0.25}
    file.write_text("def broken(sample):\n    return sample.nothing\n")
    broken = choose_rewards(["broken"], load_rewards(file).functions)
    with pytest.raises(
        TrainingError, match=r"'broken' failed on a\.jsonl:3, answered by \"x\" \(Att"
    ):
        broken.of(Sample("", "x"), source="a.jsonl:3")
    file.write_text(
        "from __future__ import annotations\nimport dataclasses, sys\n"
        "@dataclasses.dataclass\nclass Limits:\n    most: int = 3\n"
        "def leaves(sample):\n    sys.exit(0)\n"
    )
    with pytest.raises(TrainingError, match=r"'leaves' failed on .* \(SystemExit"):
        choose_rewards(["leaves"], load_rewards(file).functions).of(Sample("", "x"))
    for text in ("def", "x = 1", "exit(0)"):
        file.write_text(text)
        with pytest.raises(ConfigError, match=r"own\.py"):
            load_rewards(file)


@pytest.mark.parametrize(
    "given", [math.nan, math.inf, -0.1, 1.5, None, "1.0", [1.0], torch.tensor([0.1, 0.2])]
)
def test_a_reward_that_gives_no_number_from_0_to_1_is_named(given: Any) -> None:
    rewards = choose_rewards(["odd"], {"odd": lambda sample: given})
    with pytest.raises(
        TrainingError, match=r"'odd' must give a number from 0 to 1. Got .* for a\.j"
    ):
        rewards.of(Sample("", "x"), source="a.jsonl:3")


def test_what_is_a_number_is_taken() -> None:
    for given in (True, 1, np.float32(1), torch.tensor(1.0), 1 + 1e-9):
        rewards = choose_rewards(["one"], {"one": lambda sample, given=given: given})
        assert rewards.of(Sample("", "x"))["one"] == pytest.approx(1)


def test_a_reward_file_may_import_what_lies_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = set()
    for value in (0.25, 0.5, 0.25):
        for folder in ("one", "two"):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / "beside_it.py").write_text(f"VALUE = {value}\n")
            (tmp_path / folder / "own.py").write_text(
                "from beside_it import VALUE\ndef fixed(sample):\n    return VALUE\n"
            )
        monkeypatch.chdir(tmp_path)
        before = list(sys.path)
        own = load_rewards(Path("one/own.py"))
        load_rewards(tmp_path / "two" / "own.py")
        assert own.functions["fixed"](SAID) == value
        assert sys.path == before
        assert own.files[1:] == (tmp_path / "one" / "beside_it.py",)
        hashes.add(own.hash)
        (tmp_path / "one" / "__pycache__").exists() and shutil.rmtree(tmp_path / "one/__pycache__")
    assert len(hashes) == 2  # other code is another recipe
    assert "beside_it" not in sys.modules


def rollouts(directory: Path, **changes: Any) -> tuple[Rollouts, Context]:
    checkpoint = load_checkpoint(directory / "model")
    prompts = [
        EncodedPrompt(Prompt("", (), Sample(asked, "")), tuple(checkpoint.tokenizer.encode(asked)))
        for asked in ("What is 1 and 2?", "What is 3 and 4?", "What is 5?")
    ]
    given: dict[str, Any] = {
        "prompts": prompts, "policy": Policy(checkpoint, 8), "group": 4, "batch": 8, "seed": 1,
        "rewards": choose_rewards(["ends", "short"], {"short": lambda s: 1 / (1 + s.tokens)}),
        "masked": False,
    }  # fmt: skip
    return Rollouts(**(given | changes)), Context(checkpoint.model, step=0, progress=0.0)


def test_samples_have_the_log_probabilities_of_the_model_in_training(
    base: Path,  # noqa: F811
) -> None:
    stream, context = rollouts(base)
    batch = stream.next(context)
    with torch.no_grad():
        known = token_log_probs(context.model, batch)
    mask = batch.loss_mask
    assert mask is not None
    assert mask.any(1).all()
    torch.testing.assert_close(known[mask], batch["sampled"][mask], atol=1e-4, rtol=0)
    torch.testing.assert_close(batch["advantages"].view(2, 4).sum(1), torch.zeros(2))
    # At ratio one the gradient is that of the likelihood by advantage, and nothing is clipped.
    loss = PolicyLoss(8)(context.model, batch)
    assert float(loss.metrics["clip_ratio/region_mean"].sum) == 0  # type: ignore[union-attr]
    parameters = list(context.model.parameters())
    ours = torch.autograd.grad(loss.sum, parameters)
    plain = -(token_log_probs(context.model, batch) * batch["advantages"][:, None]).sum() / 8
    for one, other in zip(ours, torch.autograd.grad(plain, parameters), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-3)


def test_equal_rewards_give_no_gradient_and_are_said(base: Path) -> None:  # noqa: F811
    heard = Listening()
    stream, context = rollouts(
        base, progress=heard, rewards=choose_rewards(["same"], {"same": lambda s: 0.3})
    )
    for _ in range(6):
        batch = stream.next(context)
        loss = PolicyLoss(8)(context.model, batch)
        for each in torch.autograd.grad(loss.sum, list(context.model.parameters())):
            assert not each.any()
    assert len(heard.warnings) == 1
    assert "nothing can be learned" in heard.warnings[0]


def test_one_sampling_may_serve_several_updates_and_is_kept(base: Path) -> None:  # noqa: F811
    stream, context = rollouts(base, updates=2)
    first = stream.next(context)
    state = stream.state()
    again, _ = rollouts(base, updates=2)
    again.restore(state)
    repeated = again.next(context)
    assert all(torch.equal(repeated[name], first[name]) for name in ("tokens", "advantages"))
    assert torch.equal(stream.next(context).tokens, first.tokens)
    fresh = stream.next(context)
    assert fresh.tokens.shape != first.tokens.shape or not torch.equal(fresh.tokens, first.tokens)
    assert torch.equal(again.next(context).tokens, fresh.tokens)


def test_cut_completions_teach_nothing(base: Path) -> None:  # noqa: F811
    stream, context = rollouts(base, masked=True)
    batch = stream.next(context)
    assert batch.loss_mask is not None
    assert torch.equal(batch.loss_mask.any(1), batch["ended"].bool())
    loss = PolicyLoss(8)(context.model, batch)
    figure = loss.metrics["completions/mean_length"]
    assert float(figure) == float(batch["lengths"].mean())  # type: ignore[arg-type]
    assert batch["lengths"].max() <= 9
    # Of a batch without a token to learn from there is no such figure, rather than none that is
    # a number.
    nothing = batch.replaced({**batch.tensors, "loss_mask": torch.zeros_like(batch.loss_mask)})
    totals = add_up([PolicyLoss(8)(context.model, nothing).detached()], SingleProcess())
    assert "completions/mean_length" in totals.metrics
    assert "clip_ratio/region_mean" not in totals.metrics
    cut, ended = ([Sample("", "", ended=each)] * 8 for each in (False, True))
    for samples, warnings in (([cut] * 6, 1), ([cut, ended, *[cut] * 6], 0)):
        heard = Listening()
        stream, _ = rollouts(base, masked=True, progress=heard)
        for some in samples:
            stream._notice_cut(some)
        assert len(heard.warnings) == warnings


def test_a_run_learns_what_is_rewarded_and_goes_on_exactly(
    base: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [{"prompt": f"What is {a} and {b}?"} for a in range(4) for b in range(4)]
    data = tmp_path / "prompts.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "own.py").write_text(
        "def vowels(s):\n    return sum(c in 'aeiou' for c in s.text) / max(1, len(s.text))\n"
    )
    run = settings(
        reward_file=tmp_path / "own.py", steps=24, lr=0.02, weights="full", mask_cut=False,
        kl=0.01, batch=16, validation_interval=12, patience=0,
    )  # fmt: skip
    made = align(base / "model", data, tmp_path / "whole", run)
    log = [json.loads(x) for x in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    rewards = [entry["reward"] for entry in log if "reward" in entry]
    assert np.mean(rewards[-3:]) > np.mean(rewards[:3]) + 0.1
    # What was sampled was sampled from the weights of that very step.
    assert not any(entry.get("clip_ratio/region_mean") for entry in log)
    assert {"kl", "rewards/vowels/mean", "completions/mean_length"} <= log[1].keys() | log[0].keys()
    assert made.stats["validation_reward"] > made.stats["base_reward"]
    with monkeypatch.context() as patch:
        step = loop_module.Loop._step

        def stopped(self: Any, *args: Any) -> Any:
            if self.pace.step == 14:
                self._save()
                raise StoppedError("stopped")
            return step(self, *args)

        patch.setattr(loop_module.Loop, "_step", stopped)
        with pytest.raises(StoppedError):
            align(base / "model", data, tmp_path / "parts", run)
    align(base / "model", data, tmp_path / "parts", run)
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_patience_waits_for_more_than_chance() -> None:
    best = [0.5, 0.7, 0.2, 0.9]
    for now, counts in (([0.4, 0.8, 0.1, 0.9], False), ([0.3, 0.5, 0.0, 0.8], True), (best, False)):
        notes: dict[str, Any] = {}
        guard = AlignmentGuard(ForgettingGuard(), beta=0.0, tokens=0, notes=notes)
        notes[HELD_OUT_REWARDS] = best
        figures = {"loss": -float(np.mean(best)), "reward": float(np.mean(best))}
        assert guard.judge(figures, None).decision == "keep"
        notes[HELD_OUT_REWARDS] = now
        verdict = guard.judge(
            {"loss": -float(np.mean(now)), "reward": float(np.mean(now))}, figures
        )
        assert (verdict.decision, verdict.counts) == ("pass", counts)
    assert is_below([0.1], [0.2])
    assert not is_below([0.3], [0.2])


def test_prompts_for_validation_are_drawn_by_the_seed() -> None:
    prompts: Any = list(range(100))
    drawn = [_drawn(prompts, seed=seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0] == sorted(set(drawn[0]))
    assert len(drawn[0]) == MOST_VALIDATED
    assert _drawn(prompts[:5], seed=1) == prompts[:5]


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(ConfigError, match="multiple of group"):
        AlignConfig(method="grpo", batch=10)


@pytest.mark.parametrize(
    "known",
    [{"answerable": "false"}, {"schema": "object"}, {"cites": "one"}, {"cites": ["one"]},
     {"passage": ["a", "b"]}, {"language": 1}],
)  # fmt: skip
def test_what_rewards_would_read_wrongly_is_refused(known: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    good = {"prompt": "a", "answerable": False, "schema": {}, "cites": [1], "passage": "b"}
    file.write_text("\n".join(map(json.dumps, (good, good | {"cites": 2}, good | known))))
    with pytest.raises(DataError, match=rf"prompts\.jsonl:3: {next(iter(known))} must be"):
        list(read_prompts(file))


def test_prompts_in_the_forms_of_others(tmp_path: Path) -> None:
    ask, said = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes."}
    alike = [
        {"prompt": "Hi", "system": "S", "answer": "Yes."},
        {"prompt": [{"from": "human", "value": "Hi"}], "system": "S", "answers": ["Yes.", None]},
        {"question": "Hi", "system_prompt": "S", "completion": [said]},
        {"messages": [{"role": "system", "content": "S"}, ask, said]},
    ]
    file = tmp_path / "prompts.jsonl"
    file.write_text("\n".join(map(json.dumps, alike)))
    for prompt in read_prompts(file):
        assert [m["content"] for m in prompt.messages] == ["S", "Hi"]
        assert (prompt.known.asked, prompt.known.expected) == ("Hi", ("Yes.",))
    for row, message in (
        ({"prompt": [{"role": "usr", "content": "Hi"}]}, "unknown role"),
        ({"messages": [said]}, "expected an object with a prompt"),
        ({"question": "Hi", "answer": "1a", "good": True}, "expected prompts. Got thumbs"),
    ):
        file.write_text(json.dumps(row))
        with pytest.raises(DataError, match=message):
            list(read_prompts(file))


def test_a_reward_that_reads_what_rows_lack_is_named() -> None:
    rewards = choose_rewards(("exact", "grounded", "ends"))
    samples = [SAID, REFUSED, Sample("", ""), Sample("", "", expected=("a",))]
    assert rewards.unread(samples) == {"exact": ("answer", 1), "grounded": ("passage", 2)}
    assert choose_rewards(("exact",), {"exact": lambda sample: 0.5}).unread(samples) == {}


@pytest.mark.parametrize("method", ["dpo", "grpo"])
def test_what_data_holds_out_itself_is_held_out(base: Path, tmp_path: Path, method: Any) -> None:  # noqa: F811
    for split, numbers in (("train", range(20)), ("validation", range(16, 24)), ("test", [9])):
        rows = [{"prompt": f"What is {n}?", "chosen": "a", "rejected": "b"} for n in numbers]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    using: Any = SimpleNamespace(tokenizer=load(base / "model"), shape=SimpleNamespace(context=128))
    rewards = ("ends",) if method == "grpo" else ()
    config = AlignConfig(method=method, template="none", context=96, rewards=rewards)
    heard = Listening()
    found: Any = read_learning([tmp_path], using, config, {}, heard)
    assert (len(found.train), len(found.held_out)) == (16, 8)
    assert "test.jsonl is a test split" in heard.warnings[0]
    assert "4" in heard.warnings[1]
    assert "a row held out asks the same" in heard.warnings[1]
    units: Any = [SimpleNamespace(key=number << 59) for number in range(32)]
    train, held_out, alike = _held_apart(units, units[9:10], 0.2)  # one is too little to tell by
    assert held_out[0] == units[9]
    assert len(held_out) > 3
    assert (len(train), alike) == (32 - len(held_out), 1)
    assert _held_apart(units, units[:9], 0.0) == (units, [], 0)
