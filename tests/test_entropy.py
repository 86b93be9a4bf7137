"""Entropy, histogram and calibration error of policies that are written down."""

import math

import pytest
import torch

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
    assert means["wrong"] == pytest.approx(nine) and found.spreads()["correct"].count == 3
