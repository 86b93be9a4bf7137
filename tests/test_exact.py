"""Judges ask a model in exact fp32: on a GPU, TF32 would have attacks and judge disagree."""

from typing import Any

import pytest
import torch

import holdfast as hf
from holdfast import diagnosis, evaluation, margin
from holdfast.attack import APGD, FGSM, PGD, BoundaryAttack, Square, Transfer

CUDNN: Any = torch.backends.cudnn


class Asked(torch.nn.Module):
    """Notes, at each call, how precise a GPU's convolutions would be."""

    def __init__(self):
        super().__init__()
        self.flatten, self.linear, self.seen = torch.nn.Flatten(), torch.nn.Linear(16, 4), set()

    def forward(self, x):
        self.seen.add(CUDNN.conv.fp32_precision)
        return self.linear(self.flatten(x))


JUDGES = {
    "evaluate": lambda m, x, y: hf.evaluate(
        m, x, y, attacks={
            "pgd": PGD(radius=0.1, steps=2), "apgd": APGD(radius=0.1, steps=3),
            "boundary": BoundaryAttack(queries=40), "square": Square(radius=0.1, queries=5),
            "transfer": Transfer(source=m, attack=FGSM(radius=0.1)),
        },
    ),
    "reference": lambda m, x, y: hf.evaluate(
        m, x, y, attacks={"reference": evaluation.Reference(radius=0.1)}
    ),
    "transfer": lambda m, x, y: evaluation.transfer_matrix(
        {"a": m}, x, y, attack=FGSM(radius=0.1)
    ),
    "margins": lambda m, x, y: margin.search(m, x, y, directions=margin.Gradient(count=2)),
    "diagnosis": lambda m, x, y: diagnosis.diagnose(m, x, y, radius=0.1),
    "static": diagnosis.static,
    "dynamic": diagnosis.dynamic,
    "entropy": diagnosis.entropy,
    "landscape": lambda m, x, y: diagnosis.landscape(m, x, y, size=3),
}  # fmt: skip


@pytest.mark.parametrize("judge", JUDGES)
def test_what_judges_asks_in_exact_fp32(judge):
    torch.manual_seed(0)
    model, x = Asked(), torch.rand(6, 1, 4, 4)
    JUDGES[judge](model, x, torch.arange(6) % 4)
    assert model.seen == {"ieee"}
