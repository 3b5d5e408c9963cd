"""Memory and time told beforehand: against what a process really takes, and by arithmetic."""

import ctypes
import dataclasses
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from linnet.errors import BudgetError
from linnet.finetune import memory
from linnet.finetune.budget import Length, announce, fastest, step_seconds
from linnet.finetune.memory import (
    Demand,
    Fit,
    Memory,
    estimate,
    fit,
)
from linnet.model import ModelConfig, Transformer
from linnet.model.lora import add_adapter
from linnet.model.lora_config import LoRAConfig
from linnet.progress import Progress
from linnet.runtime import available_memory, memory_bytes

SHAPE = ModelConfig(
    family="llama", vocab_size=8000, context=1024, width=192, depth=4, heads=6, kv_heads=3,
    head_width=32, mlp_width=512,
)  # fmt: skip
LARGER = dataclasses.replace(
    SHAPE, family="apertus", vocab_size=32_000, width=384, depth=2, heads=12, kv_heads=12,
    mlp_width=1536, activation="relu2", qk_norm=True, tied=False,
)  # fmt: skip

MEASURE = """
import ctypes, json, sys
import torch
from linnet.model import ModelConfig, Transformer
from linnet.model.lora import add_adapter
from linnet.model.lora_config import LoRAConfig
from linnet.shards.batches import Batch
from linnet.train.objectives import next_token
from linnet.train.optimizers import finetuning_optimizer
from linnet.train.execution import recompute_blocks

values = json.loads(sys.argv[1])
torch.set_num_threads(1)
dtype = getattr(torch, values["dtype"])


def highest():
    with open("/proc/self/status") as file:
        return [int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM")][0]


def train(shape, rows, length, pieces):
    torch.set_default_dtype(dtype if values["lora"] else torch.float32)
    model = Transformer(shape)
    torch.set_default_dtype(torch.float32)
    if values["lora"]:
        add_adapter(model, config=LoRAConfig(rank=16))
    model.compute_dtype = dtype
    if values["recompute"]:
        recompute_blocks(model.train(), compiled=False)
    optimizer = finetuning_optimizer(model, lr=1e-3)
    ids = torch.randint(shape.vocab_size, (rows, length))
    trained = torch.ones_like(ids, dtype=torch.bool)
    batch = Batch(ids, ids.roll(-1, 1), trained, torch.ones_like(ids))
    for _ in range(2):
        for _ in range(pieces):
            next_token(model, batch).mean.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


tiny = ModelConfig("llama", 16, 16, 8, 1, 1, 1, 8, 8)
train(tiny, 1, 16, 1)  # what torch itself takes is not the model's
ctypes.CDLL(None).malloc_trim(0)
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
before = highest()
train(ModelConfig(**values["shape"]), values["rows"], values["length"], values["pieces"])
print(highest() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the peak")
@pytest.mark.parametrize(
    ("shape", "lora", "dtype", "pieces", "recompute"),
    [
        pytest.param(SHAPE, False, "float32", 1, False, marks=pytest.mark.slow),
        (SHAPE, True, "float32", 2, False),
        pytest.param(SHAPE, False, "float32", 1, True, marks=pytest.mark.slow),
        pytest.param(SHAPE, True, "bfloat16", 2, False, marks=pytest.mark.slow),
        pytest.param(LARGER, False, "float32", 2, False, marks=pytest.mark.slow),
        pytest.param(LARGER, True, "float32", 1, False, marks=pytest.mark.slow),
    ],
)
def test_memory_is_within_a_quarter_of_what_a_process_takes(
    shape: ModelConfig, lora: bool, dtype: str, pieces: int, recompute: bool
) -> None:
    values = {
        "shape": dataclasses.asdict(shape), "lora": lora, "dtype": dtype, "rows": 4,
        "length": 512, "pieces": pieces, "recompute": recompute,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, json.dumps(values)],
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    measured = int(done.stdout)
    adapter = LoRAConfig(rank=16) if lora else None
    demand = Demand(shape, adapter, 4, 512, getattr(torch, dtype), pieces, recompute)
    assert 0.75 < estimate(demand).total / measured < 1.25


@pytest.mark.parametrize("adapter", [None, LoRAConfig(rank=4), LoRAConfig(targets=("q_proj",))])
def test_what_is_certain_is_exact(adapter: LoRAConfig | None) -> None:
    model = Transformer(SHAPE)
    if adapter is not None:
        add_adapter(model, config=adapter)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    found = estimate(Demand(SHAPE, adapter, 1, 64, torch.float32))
    assert found.gradients == 4 * trained
    assert found.optimizer == 8 * trained
    assert found.weights == 4 * sum(p.numel() for p in model.parameters())


def test_activations_are_those_that_torch_says_it_keeps() -> None:
    """For the whole model at once, against blocks that were counted at another length."""
    model = Transformer(SHAPE).train()
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    tokens = torch.zeros(3, 160, dtype=torch.long)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model.hidden(tokens, segment_ids=torch.ones_like(tokens))
    exact = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    guessed = estimate(Demand(SHAPE, None, 3, 160, torch.float32)).activations
    assert guessed == pytest.approx(exact, rel=0.1)


def test_it_fits_by_fewer_rows_then_by_computing_again() -> None:
    demand = Demand(SHAPE, None, 1, 512, torch.float32)

    def at(rows: int, *, again: bool = False) -> int:
        wanted = dataclasses.replace(demand, rows=rows, pieces=8 // rows, recompute=again)
        return int(estimate(wanted).total / memory.USED_SHARE) + 1

    assert at(8) > at(4) > at(2) > at(1) > at(1, again=True)
    for room, expected in (
        (None, (8, False)), (at(8), (8, False)), (at(8) - 10, (4, False)), (at(2), (2, False)),
        (at(1), (1, False)), (at(1, again=True), (1, True)),
    ):  # fmt: skip
        found = fit(demand, rows=8, limit=8, available=room)
        assert (found.micro_rows, found.recompute) == expected
        assert room is None or found.memory.total <= memory.USED_SHARE * room
    assert fit(demand, rows=8, limit=3, available=None).micro_rows == 2
    assert fit(demand, rows=8, limit=8, available=at(8), recompute="yes").recompute


def test_what_does_not_fit_is_refused_with_what_would() -> None:
    demand = Demand(LARGER, None, 1, 512, torch.float32)
    with pytest.raises(BudgetError, match=r"full fine-tuning of \d+ M parameters needs about"):
        fit(demand, rows=4, limit=4, available=100 << 20)
    with pytest.raises(BudgetError, match=r"--method lora needs [\d.]+ MB"):
        fit(demand, rows=4, limit=4, available=500 << 20)
    adapted = dataclasses.replace(demand, adapter=LoRAConfig(rank=64))
    with pytest.raises(BudgetError, match="LoRA of"):
        fit(adapted, rows=4, limit=4, available=100 << 20)
    deep = Demand(SHAPE, None, 1, 512, torch.float32, pieces=4)
    room = int(estimate(deep).total / memory.USED_SHARE) - 10
    with pytest.raises(BudgetError, match="checkpoint-activations yes needs"):
        fit(deep, rows=4, limit=4, available=room, recompute="no")


def test_a_decision_is_kept_for_a_resumed_run(tmp_path: Path) -> None:
    found = fit(Demand(SHAPE, None, 1, 64, torch.float32), rows=4, limit=4, available=1 << 40)
    found.save(tmp_path / "state" / "fit.json")
    assert Fit.read(tmp_path / "state" / "fit.json") == found


def test_measuring_leaves_the_model_as_it_was() -> None:
    model = Transformer(dataclasses.replace(SHAPE, depth=1)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    assert step_seconds(model, rows=1, length=16, times=1) > 0
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_fastest_size_is_taken_where_looking_pays() -> None:
    measured: list[int] = []

    def measure(model: object, *, rows: int, length: int) -> float:
        measured.append(rows)
        return {1: 1.4, 2: 2.0, 4: 3.0, 8: 7.0}[rows]

    model = Transformer(dataclasses.replace(SHAPE, depth=1))
    found = fastest(model, 2, length=16, others=(4, 8, 1), row_count=100_000, measure=measure)
    assert found == (4, 0.75)
    assert measured == [2, 4, 8, 1]
    measured.clear()
    assert fastest(model, 2, length=16, others=(4,), row_count=50, measure=measure) == (2, 1.0)
    assert measured == [2]


def test_a_gpu_that_is_full_gets_half() -> None:
    def measure(model: object, *, rows: int, length: int) -> float:
        if rows > 2:
            raise torch.OutOfMemoryError
        return 2.0

    model = Transformer(dataclasses.replace(SHAPE, depth=1))
    assert fastest(model, 8, length=16, others=(4,), row_count=10**6, measure=measure) == (2, 1.0)


def test_time_and_memory_are_told() -> None:
    said: list[str] = []

    class Listening(Progress):
        def message(self, text: str) -> None:
            said.append(text)

    fitted = Fit(2, False, Memory(1, 1, 1, 1, 1, 1, 3_100_000_000), 14_000_000_000)
    whole = announce(
        fitted, seconds_per_row=0.5, rows=4, planned=Length(340, 8.5, 340, 76), patience=3,
        seconds=0, validation_seconds=10, progress=Listening(),
    )  # fmt: skip
    assert whole == pytest.approx(340 * 4 * 0.5 * 1.05 + 10)
    assert said == [
        "about 12 min 4 s: 340 steps of 2.1 s, 40 passes over 76 examples, fewer if held-out ones "
        "stop improving; 3.1 GB of memory, 14.0 GB are free"
    ]
    by_time = Length(0, 8.5, 340, 76)
    timed = {"seconds_per_row": 0.5, "rows": 4, "planned": by_time, "patience": 0}
    assert announce(fitted, **timed, seconds=100) == 100  # type: ignore[arg-type]
    with pytest.raises(BudgetError, match=r"a step takes about 2.1 s, but the run may take 2.0 s"):
        announce(fitted, **timed, seconds=2)  # type: ignore[arg-type]


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text, encoding="utf-8")


def test_the_tightest_limit_on_memory_counts(tmp_path: Path) -> None:
    write(tmp_path, "proc/meminfo", "MemTotal: 9000 kB\nMemAvailable: 8000 kB\n")
    assert available_memory(root=tmp_path) == 8000 * 1024
    # Version 2: the group around it is the tighter one.
    write(tmp_path, "proc/self/cgroup", "0::/outer/inner\n")
    write(tmp_path, "sys/fs/cgroup/outer/inner/memory.max", "max\n")
    write(tmp_path, "sys/fs/cgroup/outer/memory.max", "5000000\n")
    write(tmp_path, "sys/fs/cgroup/outer/memory.current", "1000000\n")
    assert available_memory(root=tmp_path) == 4_000_000
    # Version 1.
    write(tmp_path, "proc/self/cgroup", "4:cpu,memory:/box\n1:cpu:/\n")
    write(tmp_path, "sys/fs/cgroup/memory/box/memory.limit_in_bytes", "3000000\n")
    write(tmp_path, "sys/fs/cgroup/memory/box/memory.usage_in_bytes", "500000\n")
    write(tmp_path, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    assert available_memory(root=tmp_path) == 2_500_000


def test_a_limit_on_addresses_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "proc/meminfo", "MemAvailable: 8000000 kB\n")
    write(tmp_path, "proc/self/statm", "1000 500 0 0 0 0 0\n")
    limit = 100 << 20
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, limit))
    assert available_memory(root=tmp_path) == limit - 1000 * resource.getpagesize()


def test_this_machine_says_what_is_free() -> None:
    found = available_memory()
    assert found is not None
    assert 1 << 20 < found < 1 << 50


def test_memory_as_windows_tells_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def tell(status: Any) -> int:
        assert status[0] == ctypes.sizeof(status)
        status[1], status[2] = 16 << 30, 6 << 30
        return 1

    kernel = SimpleNamespace(GlobalMemoryStatusEx=tell)
    monkeypatch.setattr(ctypes, "windll", SimpleNamespace(kernel32=kernel), raising=False)
    monkeypatch.delattr(os, "sysconf")
    assert memory_bytes() == 16 << 30
    assert available_memory(root=tmp_path) == 6 << 30
