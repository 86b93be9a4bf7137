"""Static indicators: what the loss looks like at an image and around it.

Zou et al. 2026 (arXiv 2606.12251) name static gradient indicators and define none; these are ours.
"""

from dataclasses import dataclass
from functools import partial

import torch

from holdfast import noise
from holdfast.diagnosis.slope import DUAL, along, bent, climb, reach
from holdfast.diagnosis.spread import Spread, spread, spread_table
from holdfast.errors import name_of
from holdfast.evaluation import require_settings
from holdfast.geometry import ascent, confine, length, sample, steepest
from holdfast.limits import AT_LEAST_0, COUNT, WHOLE, require_range
from holdfast.loss import Loss, LossName, at_least_fp32, gradient, resolve_loss
from holdfast.loss import margin as margin_of
from holdfast.model import batches_of, check_inputs, eval_mode, predict
from holdfast.record import Row
from holdfast.result import Flags, fraction, wilson
from holdfast.types import Classifier, Images, Labels, Norm, PerImage

FLOOR = 1e-6  # l2 length of a gradient under which its direction is rounding


@dataclass(frozen=True, eq=False, kw_only=True)
class Static:
    """One loss around each image; every field but the first two is a number per image.

    loss: which; `floor`: l2 length of the gradient under which directions are not looked at.
    height: the loss. size: l2 length of its gradient, per pixel unit.
    lipschitz: largest dual-norm gradient at the image and at random points of the ball, a lower
    bound of the local Lipschitz constant in the norm of the ball.
    curvature, eigenvalue: second derivative along the gradient, and the largest by size that power
    iteration finds, per squared pixel unit; NaN where the gradient is under the floor.
    gap: loss one radius along the steepest direction, less its linear prediction; NaN likewise.
    margin: true logit less the largest other. scale: largest logit less the mean logit.
    """

    loss: str
    floor: float
    height: PerImage
    size: PerImage
    lipschitz: PerImage
    curvature: PerImage
    eigenvalue: PerImage
    gap: PerImage
    margin: PerImage
    scale: PerImage

    @property
    def zero(self) -> Flags:
        """Images whose gradient is zero in every pixel."""
        return self.size == 0

    @property
    def vanishing(self) -> Flags:
        """Images whose gradient is under the floor, zero or not."""
        return self.size < self.floor

    @property
    def indicators(self) -> dict[str, PerImage]:
        """Each indicator by name."""
        return {name: getattr(self, name) for name in INDICATORS}

    def spreads(self) -> dict[str, Spread]:
        """Each indicator over all images that have it."""
        return {name: spread(values) for name, values in self.indicators.items()}

    def __repr__(self) -> str:
        return f"Static of {len(self.size)} images ({self.loss})\n{spread_table(self.spreads())}"

    def as_dict(self) -> Row:
        shares = {"zero": self.zero, "vanishing": self.vanishing}
        found: Row = {"loss": self.loss, "floor": self.floor, "images": len(self.size)}
        for name, flags in shares.items():
            near = wilson(int(flags.sum()), len(flags))
            mean = fraction(flags)
            found[name] = {"mean": mean, "low": near.low, "high": near.high}
        return found | {name: vars(one) for name, one in self.spreads().items()}


INDICATORS = (
    "height", "size", "lipschitz", "curvature", "eigenvalue", "gap", "margin", "scale",
)  # fmt: skip


def static(
    model: Classifier,
    x: Images,
    y: Labels,
    loss: LossName | Loss = "ce",
    *,
    radius: float = 8 / 255,
    norm: Norm = "linf",
    floor: float = FLOOR,
    probes: int = 4,
    rounds: int = 5,
    batch_size: int | None = None,
    index: Labels | None = None,
    seed: int = 0,
) -> Static:
    """The indicators of every image; none depends on its batch mates.

    Args:
        model: left as it was.
        x, y: images in [0, 1] and labels, on the model's device and in its dtype.
        loss: ce, margin, dlr, or a function of logits and labels.
        radius, norm: of the ball around each image, pixel units of [0, 1].
        floor: l2 length of a gradient under which directions are not looked at.
        probes: random points of the ball at which the gradient is measured too.
        rounds: of power iteration; each costs a gradient.
        batch_size: images measured together; None: 100 on a CPU, 1,000 elsewhere.
        index: position of each image in its data set, which keys the noise; None: 0, 1, 2, ...
        seed: of the random points and of the first direction of power iteration.

    Raises BadInput: images and labels that do not fit each other, settings out of range.
    """
    require_settings(radius, norm, batch_size)
    require_range("rounds", rounds, COUNT)
    require_range("probes", probes, WHOLE)
    require_range("floor", floor, AT_LEAST_0)
    x, y, index = check_inputs(model, x, y, index)
    measure = partial(
        _measured, model, loss=resolve_loss(loss), radius=radius, norm=norm, floor=floor,
        probes=probes, rounds=rounds, seed=seed,
    )  # fmt: skip
    with eval_mode(model):
        parts = [measure(*rows) for rows in batches_of(batch_size, x, y, index)]
    joined = {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}
    logits = predict(model, x, batch_size).cpu()
    return Static(
        loss=loss if isinstance(loss, str) else name_of(loss),
        floor=floor, margin=-margin_of(logits, y.cpu()), scale=logits.amax(1) - logits.mean(1),
        **joined,
    )  # fmt: skip


def _measured(
    model: Classifier, x: Images, y: Labels, index: Labels, *, loss: Loss, radius: float,
    norm: Norm, floor: float, probes: int, rounds: int, seed: int,
) -> dict[str, PerImage]:  # fmt: skip
    """All indicators of one batch that ask for gradients."""
    height, slope, _ = climb(model, x, y, loss)
    size, far = length(slope, "l2"), reach(x, radius, norm)
    steep = length(slope, DUAL[norm])
    for probe in range(probes):
        change = sample(x, radius, norm, index, seed, noise.Stream.STATIC, probe)
        near, _ = gradient(model, confine(x, x + change, radius, norm), y, loss)
        steep = torch.maximum(steep, length(near, DUAL[norm]))
    step = partial(bent, model, x, y, loss, slope, far=far)
    way = steepest(slope, "l2")
    curvature = along(way, step(way))
    way = steepest(
        noise.normal(index, tuple(x.shape[1:]), seed, noise.Stream.STATIC, probes).to(x), "l2"
    )
    eigenvalue = torch.zeros_like(height)
    for _ in range(rounds):
        bend = step(way)
        eigenvalue, way = along(way, bend), steepest(bend, "l2")
    ahead = x + ascent(x, slope, radius, norm)
    with torch.no_grad():
        gap = loss(at_least_fp32(model(ahead)), y) - height - along(slope, ahead - x)
    seen = size >= floor
    found = {"curvature": curvature, "eigenvalue": eigenvalue, "gap": gap}
    return {"height": height, "size": size, "lipschitz": steep} | {
        name: value.where(seen, torch.nan) for name, value in found.items()
    }
