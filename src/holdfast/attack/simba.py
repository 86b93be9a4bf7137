"""The simple black-box attack: one pixel after the other, kept where it helps."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from holdfast import noise
from holdfast.attack._common import positions
from holdfast.attack._run import unheard
from holdfast.geometry import length
from holdfast.limits import ABOVE_0, AT_LEAST_1, require_ranges
from holdfast.loss import at_least_fp32, is_clearly_wrong
from holdfast.types import Classifier, Images, Labels, Logits, Norm, Note, PerImage


@dataclass(frozen=True, kw_only=True)
class SimBA:
    """Pixels in a random order, each moved up or else down by `step_size`, and left there where the
    true class's probability falls (Guo et al., arXiv 1905.07121, Algorithm 1, pixel basis).

    It ends for an image that is misclassified, whose pixels have all been tried, or whose queries
    are spent; it has no budget but those, so that its distance is what counts. Probabilities are
    compared as logits less their log-sum, which do not saturate.
    Raises BadInput for settings out of range.

    Attributes:
        norm: in which the change is measured; the walk is the same in each.
        step_size: how far a pixel is moved, in pixel units of [0, 1].
        queries: most predictions asked for per image.
        seed: of the order of pixels.
    """

    name: ClassVar[str] = "simba"
    minimal: ClassVar[bool] = True
    norm: Norm = "l2"
    step_size: float = 0.2
    queries: int = 5000
    seed: int = 0

    def __post_init__(self) -> None:
        require_ranges(self, step_size=ABOVE_0, queries=AT_LEAST_1)

    @torch.no_grad()
    def __call__(
        self, model: Classifier, x: Images, y: Labels, index: Labels | None = None,
        note: Note = unheard,
    ) -> Images:  # fmt: skip
        pixels = x.shape[1:].numel()
        order = noise.uniform(
            positions(x, index), (pixels,), self.seed, noise.Stream.SIMBA
        ).argsort(1)
        logits = at_least_fp32(model(x))
        adv, used, sure = x.clone(), torch.ones_like(y), _sureness(logits, y)
        live = ~is_clearly_wrong(logits, y)
        for turn in range(2 * pixels):
            live = live & (used < self.queries)
            rows = live.nonzero().flatten()
            if not len(rows):
                break
            place, way = turn // 2, 1 - 2 * (turn % 2)
            tried = adv[rows].flatten(1)
            pixel = order[rows, place][:, None]
            here = tried.gather(1, pixel)
            fresh = here == x[rows].flatten(1).gather(1, pixel)  # its first way did not help
            moved = torch.where(fresh, (here + way * self.step_size).clamp(0, 1), here)
            ask = (moved != here).flatten()
            rows, tried = rows[ask], tried.scatter(1, pixel, moved)[ask].view(-1, *x.shape[1:])
            if not len(rows):
                continue
            logits = at_least_fp32(model(tried))
            used[rows] += 1
            now = _sureness(logits, y[rows])
            better = now < sure[rows]
            adv[rows[better]], sure[rows[better]] = tried[better], now[better]
            fell = rows[better & is_clearly_wrong(logits, y[rows])]
            live[fell] = False
            note(fell, used[fell], length(adv[fell] - x[fell], self.norm))
        return adv


def _sureness(logits: Logits, y: Labels) -> PerImage:
    """Log-probability of the true class."""
    return logits.log_softmax(1).gather(1, y[:, None]).squeeze(1)
