"""AutoAttack's published code as an attack, for those who must quote it."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from holdfast import noise
from holdfast.errors import BadInput
from holdfast.limits import AT_LEAST_0, require_ranges
from holdfast.loss import at_least_fp32
from holdfast.types import Classifier, Images, Labels, Norm

NORMS: dict[Norm, str] = {"linf": "Linf", "l2": "L2"}


@dataclass(frozen=True, kw_only=True)
class Reference:
    """pyautoattack 0.2.0 (Croce and Hein's code, packaged), as it comes.

    Its squares and starts are shared by the images of a batch, so that a result depends on the
    batch. With fewer than 10 classes it has as many targets as there are others, without which it
    fails. Torch's global generator and the tracer, which it resets, are put back.
    Raises BadInput where it is not installed, for another norm, and for fewer than 4 classes.

    Attributes:
        radius: budget in `norm`, pixel units of [0, 1].
        norm: linf or l2.
        version: its battery.
        seed: of its generators.
    """

    name: ClassVar[str] = "autoattack-reference"
    radius: float = 8 / 255
    norm: Norm = "linf"
    version: Literal["standard", "rand"] = "standard"
    seed: int = 0

    def __post_init__(self) -> None:
        require_ranges(self, radius=AT_LEAST_0)
        if self.norm not in NORMS:
            raise BadInput(f"expected norm linf or l2 for the reference, got {self.norm}")
        _package()

    def __call__(self, model: Classifier, x: Images, y: Labels) -> Images:
        with torch.no_grad():
            classes = at_least_fp32(model(x[:1])).shape[1]
        if classes < 4:
            raise BadInput(
                f"expected 4 classes or more for the reference, got {classes}; leave it out"
            )
        with _left_alone(x.device):
            battery = _package().AutoAttack(
                model, norm=NORMS[self.norm], eps=self.radius, version=self.version,
                seed=self.seed, device=x.device,
            )  # fmt: skip
            for part in (battery.apgd_targeted, battery.fab):
                part.n_target_classes = min(9, classes - 1)
            return battery.run_standard_evaluation(x, y, batch_size=len(x))[0]


@contextmanager
def _left_alone(device: torch.device) -> Iterator[None]:
    tracer = sys.gettrace()
    try:
        with noise.forked(device):
            yield
    finally:
        sys.settrace(tracer)


def _package() -> Any:
    try:
        return importlib.import_module("pyautoattack")
    except ImportError:
        raise BadInput(
            "expected pyautoattack for the reference, got no such package; pip install pyautoattack"
        ) from None
