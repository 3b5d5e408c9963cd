"""The chunked cross-entropy against the plain one."""

import pytest
import torch
import torch.nn.functional as F

from linnet.train import objective
from linnet.train.objective import linear_cross_entropy


@pytest.mark.parametrize("chunk", [1, 300, 1 << 20])
def test_equals_the_plain_cross_entropy_and_its_gradients(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objective, "CHUNK_LOGITS", chunk)
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 11, (45,), generator=generator)
    pairs = []
    for compute in (
        lambda h, w: linear_cross_entropy(h, w, targets) / 45,
        lambda h, w: F.cross_entropy(F.linear(h, w), targets),
    ):
        hidden = torch.randn(45, 6, generator=torch.Generator().manual_seed(1), requires_grad=True)
        table = torch.randn(11, 6, generator=torch.Generator().manual_seed(2), requires_grad=True)
        loss = compute(hidden, table)
        loss.backward()
        pairs.append((loss.detach(), hidden.grad, table.grad))
    for ours, theirs in zip(*pairs, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_bf16_states_give_a_loss_and_a_table_gradient_in_fp32() -> None:
    hidden = torch.randn(9, 4, dtype=torch.bfloat16, requires_grad=True)
    table = torch.randn(20, 4, requires_grad=True)
    loss = linear_cross_entropy(hidden, table, torch.arange(9))
    loss.backward()
    assert loss.dtype == torch.float32
    assert hidden.grad is not None
    assert hidden.grad.dtype == torch.bfloat16
    assert table.grad is not None
    assert table.grad.dtype == torch.float32
    expected = F.cross_entropy(
        F.linear(hidden.float(), table.bfloat16().float()), torch.arange(9), reduction="sum"
    )
    torch.testing.assert_close(loss, expected, rtol=2e-2, atol=2e-2)
