"""Dynamic indicators: what the gradient does along an attack's path.

The five that Zou et al. 2026 (arXiv 2606.12251) measure, by the names of their code, and the gain
of the loss over its linear prediction. Departures: each image's own gradient, not that of a batch
mean; all images, not the last batch; a gradient under the floor has no direction, so that neither
saturation passes for instability nor zero for a sign that stayed.
"""

from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from holdfast.diagnosis.slope import along, climb
from holdfast.diagnosis.spread import Spread, spread, spread_table
from holdfast.diagnosis.static import FLOOR
from holdfast.errors import name_of
from holdfast.evaluation import require_settings
from holdfast.geometry import ascent, confine, length, per_image, steepest
from holdfast.limits import ABOVE_0, AT_LEAST_0, COUNT, require_range
from holdfast.loss import Loss, LossName, at_least_fp32, margin, resolve_loss
from holdfast.model import batches_of, check_inputs, eval_mode
from holdfast.record import Row
from holdfast.types import Classifier, Images, Labels, Norm, PerImage


@dataclass(frozen=True, eq=False, kw_only=True)
class Dynamic:
    """The path of each image under one loss; every tensor has a row per image.

    loss: which; floor: l2 length of the gradient under which directions are not looked at.
    height, wrong: the loss, and whether the model errs, at the start and after each step.
    size: l2 length of the gradient before each step.
    cosine, sign: with the gradient one step before: cosine, and share of its coordinates (those
    that are zero both times left out) with the same sign; NaN where either is under the floor.
    gain, predicted: of the loss in each step, and what the gradient promised.
    dir_var_step, dir_var: of all images together, per step and over the path: 1 less the mean
    cosine to the mean direction, and 1 less the mean cosine of the mean directions of two steps.
    turn: 1 less the mean cosine of an image's own directions at two steps; NaN under two of them.
    """

    loss: str
    floor: float
    height: Float[Tensor, "batch points"]
    wrong: Bool[Tensor, "batch points"]
    size: Float[Tensor, "batch steps"]
    cosine: Float[Tensor, "batch steps"]
    sign: Float[Tensor, "batch steps"]
    gain: Float[Tensor, "batch steps"]
    predicted: Float[Tensor, "batch steps"]
    turn: PerImage
    dir_var_step: Float[Tensor, " steps"]
    dir_var: float

    @property
    def below(self) -> PerImage:
        """Share of each image's steps whose gradient is under the floor."""
        return (self.size < self.floor).double().mean(1)

    @property
    def indicators(self) -> dict[str, PerImage]:
        """Each indicator as a mean over the path of each image."""
        return {
            "grad_norm": self.size.mean(1),
            "below_floor": self.below,
            "cos_to_prev": self.cosine.nanmean(1),
            "sign_consistency": self.sign.nanmean(1),
            "turn": self.turn,
            "gain_over_linear": self.gain.sum(1) / self.predicted.sum(1),
        }

    def spreads(self) -> dict[str, Spread]:
        """Each indicator over images."""
        return {name: spread(values) for name, values in self.indicators.items()}

    def __repr__(self) -> str:
        return f"Dynamic of {len(self.size)} images ({self.loss})\n{spread_table(self.spreads())}"

    def as_dict(self) -> Row:
        about: Row = {"loss": self.loss, "floor": self.floor, "images": len(self.size)}
        steps = self.dir_var_step
        about |= {"dir_var": self.dir_var, "dir_var_step": steps.nanmean().item()}
        return about | {name: vars(one) for name, one in self.spreads().items()}


def dynamic(
    model: Classifier,
    x: Images,
    y: Labels,
    loss: LossName | Loss = "ce",
    *,
    radius: float = 8 / 255,
    norm: Norm = "linf",
    steps: int = 20,
    rel_stepsize: float = 0.25,
    floor: float = FLOOR,
    batch_size: int | None = None,
) -> Dynamic:
    """The path of PGD from each image, all steps taken, whether the model errs on the way or not.

    Args:
        model: left as it was.
        x, y: images in [0, 1] and labels, on the model's device and in its dtype.
        loss: ce, margin, dlr, or a function of logits and labels.
        radius, norm: of the ball around each image, pixel units of [0, 1].
        steps: of the path. rel_stepsize: length of a step as a share of the radius.
        floor: l2 length of a gradient under which directions are not looked at.
        batch_size: images measured together; None: 100 on a CPU, 1,000 elsewhere.

    Raises BadInput: images and labels that do not fit each other, settings out of range.
    """
    require_settings(radius, norm, batch_size)
    for name, value, allowed in (
        ("steps", steps, COUNT), ("rel_stepsize", rel_stepsize, ABOVE_0),
        ("floor", floor, AT_LEAST_0),
    ):  # fmt: skip
        require_range(name, value, allowed)
    x, y, _ = check_inputs(model, x, y)
    run = partial(_path, model, loss=resolve_loss(loss), radius=radius, norm=norm, steps=steps,
                  rel_stepsize=rel_stepsize, floor=floor)  # fmt: skip
    with eval_mode(model):
        found = [run(some, labels) for some, labels in batches_of(batch_size, x, y)]
    parts, sums, seen = zip(*found, strict=True)
    joined = {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}
    per_step, over_all = _variation(torch.stack(sums).sum(0).cpu(), torch.stack(seen).sum(0).cpu())
    return Dynamic(
        loss=loss if isinstance(loss, str) else name_of(loss),
        floor=floor, dir_var_step=per_step, dir_var=over_all, **joined,
    )  # fmt: skip


def _path(
    model: Classifier, x: Images, y: Labels, loss: Loss, radius: float, norm: Norm, steps: int,
    rel_stepsize: float, floor: float,
) -> tuple[dict[str, Tensor], Tensor, Tensor]:  # fmt: skip
    """One batch: its rows, and for each step the sum of directions and how many there are."""
    adv, before, own = x, torch.zeros_like(x), torch.zeros_like(x)
    was, count = torch.zeros_like(y, dtype=torch.bool), torch.zeros(len(x)).to(x)
    columns, sums, seen_at = [], [], []
    for _ in range(steps):
        height, slope, logits = climb(model, adv, y, loss)
        size = length(slope, "l2")
        seen = size >= floor
        way, both = steepest(slope, "l2") * per_image(seen, x), seen & was
        moved = confine(x, adv + ascent(adv, slope, rel_stepsize * radius, norm), radius, norm)
        columns.append({
            "height": height, "wrong": margin(logits, y) > 0, "size": size,
            "cosine": along(way, before).where(both, torch.nan),
            "sign": _same(way, before).where(both, torch.nan),
            "predicted": along(slope, moved - adv),
        })  # fmt: skip
        own, count = own + way, count + seen
        sums.append(way.flatten(1).double().sum(0))
        seen_at.append(seen.sum())
        adv, before, was = moved, way, seen
    rows = {name: torch.stack([column[name] for column in columns], 1) for name in columns[0]}
    rows |= _ends(model, adv, y, loss, rows)
    apart = 1 - (along(own, own) - count) / (count * (count - 1))
    rows["turn"] = apart.where(count > 1, torch.nan)
    return rows, torch.stack(sums), torch.stack(seen_at)


@torch.no_grad()
def _ends(
    model: Classifier, adv: Images, y: Labels, loss: Loss, rows: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Loss and error with the end of the path as the last column, and the gain of each step."""
    logits = at_least_fp32(model(adv))
    height = torch.cat([rows["height"], loss(logits, y)[:, None]], 1)
    wrong = torch.cat([rows["wrong"], (margin(logits, y) > 0)[:, None]], 1)
    return {"height": height, "wrong": wrong, "gain": height.diff(dim=1)}


def _same(way: Images, before: Images) -> PerImage:
    """Share of coordinates with the same sign, of those that are not zero both times."""
    counts = ((way != 0) | (before != 0)).flatten(1)
    same = (way.sign() == before.sign()).flatten(1) & counts
    return same.sum(1) / counts.sum(1).clamp_min(1).to(way)


def _variation(sums: Tensor, seen: Tensor) -> tuple[Tensor, float]:
    """From the sum of unit directions at each step: 1 less their mean cosine to their mean, which
    is the mean's length; and 1 less the mean cosine of the means of two steps."""
    means = sums / seen.clamp_min(1)[:, None]
    size = means.norm(dim=1)
    per_step = (1 - size).where(seen > 0, torch.nan)
    ways = means[size > 0] / size[size > 0][:, None]
    if len(ways) < 2:
        return per_step.float(), torch.nan
    cosines = ways @ ways.T
    pairs = len(ways) * (len(ways) - 1)
    return per_step.float(), 1 - ((cosines.sum() - len(ways)) / pairs).item()
