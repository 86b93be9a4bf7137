"""Splits: fixed for ever, stratified, disjoint."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from holdfast import data
from holdfast.data.dataset import held_out
from holdfast.errors import BadInput

DIGITS = data.load("digits")
PARTS = (DIGITS.train, DIGITS.validation, DIGITS.test)


def test_digits_are_scikit_learns_in_three_disjoint_splits():
    values, y = load_digits(return_X_y=True)
    index = torch.cat([part.index for part in PARTS])
    assert torch.equal(index.sort().values, torch.arange(1797))
    for part in PARTS:
        expected = np.round(values[part.index] * 255 / 16).reshape(-1, 1, 8, 8)
        assert torch.equal(part.pixels.double(), torch.from_numpy(expected))
        assert torch.equal(part.y, torch.from_numpy(y[part.index]))
    assert DIGITS.image == (1, 8, 8) and DIGITS.classes == 10


def test_digits_are_the_same_without_scikit_learns_file_layout(monkeypatch):
    monkeypatch.setattr("holdfast.data.digits.Path.exists", lambda self: False)
    assert torch.equal(data.load("digits").test.pixels, DIGITS.test.pixels)


def test_changed_digits_are_refused(monkeypatch):
    monkeypatch.setattr("holdfast.data.digits._table", lambda: np.zeros((1797, 65)))
    with pytest.raises(BadInput, match="reinstall scikit-learn"):
        data.load("digits")


def test_stratification_is_exact():
    count = np.bincount(np.concatenate([part.y for part in PARTS]))
    test = (2 * count + 5) // 10
    assert np.bincount(DIGITS.test.y).tolist() == test.tolist()
    assert np.bincount(DIGITS.validation.y).tolist() == ((count - test + 5) // 10).tolist()


def test_the_split_is_the_same_for_ever():
    assert DIGITS.validation.index[:8].tolist() == [0, 8, 10, 25, 33, 36, 37, 38]
    assert DIGITS.test.index[:8].tolist() == [18, 21, 30, 32, 40, 46, 50, 52]
    again = data.load("digits")
    assert torch.equal(again.validation.index, DIGITS.validation.index)
    assert torch.equal(again.test.pixels, DIGITS.test.pixels)


def test_a_small_class_still_gets_a_validation_image():
    y = np.array([0] * 30 + [1] * 2 + [2])
    held = held_out(y, np.arange(len(y)), tenths=1)
    assert np.bincount(y[held], minlength=3).tolist() == [3, 1, 0]


def test_whom_the_hold_out_takes_depends_on_the_index_and_not_on_the_order():
    y, index = np.repeat(np.arange(3), 40), np.arange(120)
    order = np.random.default_rng(0).permutation(120)
    assert np.array_equal(
        np.sort(order[held_out(y[order], index[order], 1)]), index[held_out(y, index, 1)]
    )
    assert not np.array_equal(held_out(y, index, 1), held_out(y, index + 120, 1))


@pytest.mark.parametrize("n", [1, 10, 25, 100, 358])
def test_sample_is_stratified_nested_and_in_order(n):
    part = DIGITS.test.sample(n)
    assert len(part) == n
    assert torch.equal(part.index, part.index.sort().values)
    assert torch.equal(part.index, DIGITS.test.sample(n).index)
    share = np.bincount(DIGITS.test.y) * n / len(DIGITS.test)
    assert (np.abs(np.bincount(part.y, minlength=10) - share) <= 1).all()
    assert set(part.index.tolist()) <= set(DIGITS.test.sample(n + 1).index.tolist())
    place = torch.searchsorted(DIGITS.test.index, part.index)
    assert torch.equal(part.pixels, DIGITS.test.pixels[place])
    assert torch.equal(part.y, DIGITS.test.y[place])


def test_sample_keeps_the_proportions_of_unequal_classes():
    y = torch.tensor([0] * 80 + [1] * 20)
    split = data.Split(pixels=torch.zeros(100, 1, 1, 1).byte(), y=y, index=torch.arange(100))
    assert torch.bincount(split.sample(10).y).tolist() == [8, 2]
    assert torch.bincount(split.sample(50).y).tolist() == [40, 10]


def test_sample_of_everything_is_the_split_itself():
    assert DIGITS.test.sample(359) is DIGITS.test
    with pytest.raises(BadInput, match="at least 1 image, got 0"):
        DIGITS.test.sample(0)


def test_to_moves_every_tensor():
    moved = DIGITS.to("meta")
    for part in (moved.train, moved.validation, moved.test):
        assert {part.pixels.device.type, part.y.device.type, part.index.device.type} == {"meta"}
    assert moved.name == "digits" and len(moved.test) == 359


def test_pixels_too_large_for_the_device_stay_and_come_over_by_batches(monkeypatch):
    monkeypatch.setattr("holdfast.data.dataset._memory", lambda device: 4 * 359 * 64)
    moved = DIGITS.to("meta")
    assert moved.test.pixels.device.type == "meta", "a quarter of the memory, to the byte"
    part = moved.train
    assert part.pixels.data_ptr() == DIGITS.train.pixels.data_ptr()
    assert {part.y.device.type, part.index.device.type, part.x.device.type} == {"meta"}
    for batch in data.batches(part, 500, epoch=0, seed=0):
        assert {batch.x.device.type, batch.y.device.type, batch.index.device.type} == {"meta"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_and_samples_are_the_same_wherever_the_pixels_are(monkeypatch):
    there = DIGITS.to("cuda").train
    monkeypatch.setattr("holdfast.data.dataset._memory", lambda device: 4 * 200 * 64)
    stayed = DIGITS.to("cuda").train
    assert (there.pixels.device.type, stayed.pixels.device.type) == ("cuda", "cpu")
    assert stayed.sample(100).pixels.device.type == "cuda"
    assert torch.equal(stayed.sample(100).x, there.sample(100).x)
    assert torch.equal(stayed.x, there.x)
    parts = [list(data.batches(split, 300, epoch=1, seed=2)) for split in (there, stayed)]
    for one, other in zip(*parts, strict=True):
        assert torch.equal(one.x, other.x) and torch.equal(one.index, other.index)
