"""Batches: every image once an epoch, and the same ones whenever they are asked for."""

import pytest
import torch

from holdfast.data import Augment, Split, batches, load
from holdfast.errors import BadInput

SPLIT = load("digits").train


def epoch_of(size: int, epoch: int = 0, seed: int = 3, **options):
    return list(batches(SPLIT, size, epoch=epoch, seed=seed, **options))


def indices(found) -> torch.Tensor:
    return torch.cat([batch.index for batch in found])


@pytest.mark.parametrize("size", [1, 100, 1293, 5000])
def test_each_image_comes_once_with_its_own_label(size):
    found = epoch_of(size)
    index = indices(found)
    assert torch.equal(index.sort().values, SPLIT.index)
    place = torch.searchsorted(SPLIT.index, index)
    assert torch.equal(torch.cat([batch.y for batch in found]), SPLIT.y[place])
    assert torch.equal(torch.cat([batch.x for batch in found]), SPLIT.x[place])
    assert all(len(batch.y) == size for batch in found[:-1])


def test_order_changes_with_epoch_and_seed_and_with_nothing_else():
    order = indices(epoch_of(100, epoch=4))
    torch.manual_seed(99)
    assert torch.equal(indices(epoch_of(64, epoch=4)), order)
    assert not torch.equal(indices(epoch_of(100, epoch=5)), order)
    assert not torch.equal(indices(epoch_of(100, epoch=4, seed=4)), order)
    assert torch.equal(indices(epoch_of(100, shuffle=False)), SPLIT.index)


def test_epoch_and_augmentation_reach_the_batch():
    augment = Augment(flip=True, crop=1)
    for batch in epoch_of(200, epoch=7, augment=augment):
        place = torch.searchsorted(SPLIT.index, batch.index)
        assert batch.epoch == 7 and batch.adv is None
        assert torch.equal(batch.x, augment(SPLIT.x[place], batch.index, 3, 7))
        assert not torch.equal(batch.x, SPLIT.x[place])


def test_drop_last_leaves_out_the_rest():
    found = epoch_of(100, drop_last=True)
    assert [len(batch.y) for batch in found] == [100] * 12
    assert torch.equal(indices(found), indices(epoch_of(100))[:1200])


def test_format_and_type():
    pixels = torch.arange(256, dtype=torch.uint8).repeat(6).reshape(8, 3, 8, 8)
    split = Split(pixels=pixels, y=torch.zeros(8).long(), index=torch.arange(8))
    (batch,) = batches(split, 8, epoch=0, seed=0, channels_last=True, dtype=torch.float64)
    assert batch.x.dtype == torch.float64
    assert batch.x.is_contiguous(memory_format=torch.channels_last)
    assert not batch.x.is_contiguous()
    assert torch.equal(batch.x, pixels[batch.index].double() / 255)


@pytest.mark.parametrize(("size", "drop_last"), [(0, False), (-1, False), (1294, True)])
def test_bad_sizes_are_refused_before_the_first_batch(size, drop_last):
    with pytest.raises(BadInput, match=f"batch size from 1 to 1293 .* got {size}"):
        batches(SPLIT, size, epoch=0, seed=0, drop_last=drop_last)
