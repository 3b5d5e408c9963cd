"""Texts that share a row are computed as if each were alone, for every family."""

import pytest
import torch
from test_families import CASES, reference

from linnet.model import load_model
from linnet.model.layers import attend, attend_packed, visible
from linnet.model.transformer import packed_texts

LENGTHS = (11, 1, 20, 9)


@torch.inference_mode()
@pytest.mark.parametrize("case", [case for case in CASES if "longrope-long" not in case])
def test_segments_are_as_alone(case: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("model")
    reference(case).save_pretrained(path)
    model = load_model(path)
    generator = torch.Generator().manual_seed(5)
    rows = [[torch.randint(0, 97, (n,), generator=generator) for n in LENGTHS] for _ in range(2)]
    rows[1] = rows[1][::-1]
    packed = torch.stack([torch.cat(row) for row in rows])
    ids = torch.stack(
        [
            torch.cat([torch.full((len(text),), 7 - 2 * k) for k, text in enumerate(row)])
            for row in rows
        ]
    )
    found = model(packed, segment_ids=ids)
    for row, texts in enumerate(rows):
        alone = torch.cat([model(text[None])[0] for text in texts])
        torch.testing.assert_close(found[row], alone, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_text_by_text_and_one_mask_are_the_same() -> None:
    generator = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(2, heads, 24, 8, generator=generator) for heads in (4, 2, 2))
    ids = torch.tensor([[1] * 5 + [2] * 19, [3] * 1 + [4] * 20 + [5] * 3])
    places = torch.arange(24)
    for causal in (True, False):
        mask = visible(places, places, causal=causal, window=None, segments=ids)
        expected = attend(q, k, v, mask, scale=0.3, causal=causal)
        found = attend_packed(q, k, v, packed_texts(ids), scale=0.3, causal=causal, dropout=0.0)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
