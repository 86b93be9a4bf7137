"""How sure a classifier is, and whether it has a right to be."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from holdfast import loss
from holdfast.diagnosis.spread import Spread, spread
from holdfast.errors import BadInput
from holdfast.limits import COUNT, require_range
from holdfast.model import check_inputs, predict
from holdfast.record import Row
from holdfast.result import Flags
from holdfast.types import Classifier, Images, Labels, PerImage


@dataclass(frozen=True, eq=False, kw_only=True)
class Entropy:
    """Of the policy softmax(logits) on some images, clean, attacked or noisy.

    bits: entropy per image, from 0 (certain) to log2 of the number of classes (uniform).
    confidence: probability of the predicted class. correct: whether it is the label.
    classes: their number.
    """

    bits: PerImage
    confidence: PerImage
    correct: Flags
    classes: int

    def spreads(self) -> dict[str, Spread]:
        """Mean bits overall, and of images that are classified right and wrong."""
        parts = {"overall": self.bits, "correct": self.bits[self.correct],
                 "wrong": self.bits[~self.correct]}  # fmt: skip
        return {name: spread(values) for name, values in parts.items()}

    def histogram(self, bins: int = 20) -> Int[Tensor, " bins"]:
        """How many images lie in each of so many equal ranges from 0 to the most bits."""
        return self._counts(self.bits, bins)

    def histograms(self, bins: int = 20) -> dict[str, Int[Tensor, " bins"]]:
        """The histogram of images that are classified right, and of those that are not."""
        parts = {"correct": self.correct, "wrong": ~self.correct}
        return {name: self._counts(self.bits[flags], bins) for name, flags in parts.items()}

    def _counts(self, bits: PerImage, bins: int) -> Int[Tensor, " bins"]:
        known = bits[bits.isfinite()]
        place = (known / math.log2(self.classes) * bins).long().clamp(0, bins - 1)
        return torch.bincount(place, minlength=bins)

    def calibration_error(self, bins: int = 15) -> float:
        """Mean distance of confidence and accuracy over equal ranges of confidence, each weighted
        by its images (ECE; Guo et al., arXiv 1706.04599, equation 3). A prediction that is no
        number is wrong with confidence 0. Raises BadInput for none."""
        if bins < 1 or not len(self.bits):
            raise BadInput(f"expected 1 bin and 1 image or more, got {bins}, {len(self.bits)}")
        sure = self.confidence.nan_to_num(0)
        place = (sure * bins).long().clamp(0, bins - 1)
        apart = sure.double() - self.correct.double()
        sums = torch.zeros(bins, dtype=torch.float64).index_add(0, place, apart)
        return (sums.abs().sum() / len(place)).item()

    def __str__(self) -> str:
        mean = {name: f"{one.mean:.2f}" if one.count else "-" for name, one in
                self.spreads().items()}  # fmt: skip
        return (
            f"{mean['overall']} of {math.log2(self.classes):.2f} bits (correct {mean['correct']}, "
            f"wrong {mean['wrong']}), calibration error {self.calibration_error():.1%}"
        )

    def __repr__(self) -> str:
        return f"Entropy of {len(self.bits)} images: {self}"

    def as_dict(self) -> Row:
        """Mean bits with their intervals (null for no image), histograms, calibration error."""
        bits = {name: vars(one) for name, one in self.spreads().items()}
        counts = {name: count.tolist() for name, count in self.histograms().items()}
        return {
            "images": len(self.bits), "classes": self.classes, "bits": bits,
            "histogram": {"overall": self.histogram().tolist(), **counts},
            "calibration_error": self.calibration_error(),
        }  # fmt: skip


def entropy(model: Classifier, x: Images, y: Labels, batch_size: int | None = None) -> Entropy:
    """Entropy, confidence and correctness of every image; the model is left as it was.

    Raises BadInput: images and labels that do not fit each other, a batch_size below 1."""
    require_range("batch_size", batch_size, COUNT)
    x, y, _ = check_inputs(model, x, y)
    logits = predict(model, x, batch_size)
    return Entropy(
        bits=(loss.entropy(logits) / math.log(2)).cpu(),
        confidence=logits.softmax(1).amax(1).cpu(), correct=loss.is_correct(logits, y).cpu(),
        classes=logits.shape[1],
    )  # fmt: skip
