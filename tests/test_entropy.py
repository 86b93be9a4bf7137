"""Entropy, histogram and calibration error of policies that are written down."""

import math

import pytest
import torch

from holdfast import record
from holdfast.diagnosis import entropy


def test_entropy_and_calibration_by_hand():
    policy = torch.tensor([[0.5, 0.5], [0.9, 0.1], [0.9, 0.1], [0.2, 0.8]])
    found = entropy(lambda x: policy.log(), torch.zeros(4, 1, 2, 2), torch.tensor([0, 0, 1, 1]))
    nine = -(0.9 * math.log2(0.9) + 0.1 * math.log2(0.1))
    assert found.bits[:2].tolist() == pytest.approx([1.0, nine])
    assert found.correct.tolist() == [True, True, False, True]
    # by confidence in tenths: one image at 0.5 that is right, one at 0.8, two at 0.9 of which one
    assert found.calibration_error(10) == pytest.approx((0.5 + 0.2 + abs(1.8 - 1)) / 4)
    assert found.histogram(2).tolist() == [2, 2]
    means = {name: one.mean for name, one in found.spreads().items()}
    parts = {name: counts.tolist() for name, counts in found.histograms(2).items()}
    assert parts == {"correct": [1, 2], "wrong": [1, 0]}
    assert means["wrong"] == pytest.approx(nine) and found.spreads()["correct"].count == 3


SIX = [0.55, 0.65, 0.72, 0.81, 0.88, 0.97]  # confidence, one class of two
RIGHT = [True, False, True, True, False, True]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_six_predictions_of_two_classes_by_hand(dtype):
    p = torch.tensor(SIX, dtype=dtype)
    policy = torch.stack([p, 1 - p], 1)
    y = torch.tensor([0 if right else 1 for right in RIGHT])
    found = entropy(lambda x: policy.log(), torch.zeros(6, 1, 2, 2, dtype=dtype), y)
    assert found.bits.dtype == dtype and found.correct.tolist() == RIGHT
    # by fifths: [0.4, 0.6) holds 0.55, right; [0.6, 0.8) 0.65 and 0.72, one right; the last three,
    # of which two are right
    fifths = abs(1 - 0.55) + abs(1 - (0.65 + 0.72)) + abs(2 - (0.81 + 0.88 + 0.97))
    assert found.calibration_error(5) == pytest.approx(fifths / 6, abs=1e-6)
    bits = [-(p * math.log2(p) + (1 - p) * math.log2(1 - p)) for p in SIX]
    row = found.as_dict()
    assert row["bits"]["overall"]["mean"] == pytest.approx(sum(bits) / 6, abs=1e-5)
    assert row["bits"]["wrong"]["mean"] == pytest.approx((bits[1] + bits[4]) / 2, abs=1e-5)
    assert row["images"] == 6 and row["classes"] == 2 and sum(row["histogram"]["correct"]) == 4
    assert str(found).startswith(f"{sum(bits) / 6:.2f} of 1.00 bits (correct")


def test_a_part_without_images_is_null_and_a_dash():
    found = entropy(
        lambda x: torch.tensor([[9.0, 0.0]]), torch.zeros(1, 1, 2, 2), torch.tensor([0])
    )
    row = found.as_dict()
    assert math.isnan(row["bits"]["wrong"]["mean"]) and row["bits"]["wrong"]["count"] == 0
    assert '"wrong": {"mean": null' in record.as_json(row)
    assert "wrong -" in str(found) and row["calibration_error"] < 0.001


def test_what_is_no_number_is_wrong():
    logits = torch.tensor([[torch.nan, 1.0], [9.0, 0.0]])
    found = entropy(lambda x: logits, torch.zeros(2, 1, 2, 2), torch.tensor([0, 0]))
    assert found.correct.tolist() == [False, True]
    assert found.histogram().sum() == 1 and found.calibration_error() < 0.001


def test_a_class_that_is_ruled_out_takes_no_part():
    logits = torch.tensor([[0.0, 0.0, -torch.inf], [3.0, -torch.inf, -torch.inf]])
    found = entropy(lambda x: logits, torch.zeros(2, 1, 2, 2), torch.tensor([0, 0]))
    assert found.bits.tolist() == [1.0, 0.0]
