"""Which images made against one model fool which other: the whole matrix."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from holdfast import attack as attacks_of
from holdfast import record
from holdfast.errors import BadInput
from holdfast.evaluation.inputs import as_attack, default_radius, require_settings
from holdfast.evaluation.judge import acceptable, budget, described, images_of, reach
from holdfast.geometry import per_image
from holdfast.loss import at_least_fp32, is_correct
from holdfast.model import (
    check_inputs,
    clean_logits,
    eval_mode,
    map_batches,
    predict,
    resolve_batch_size,
)
from holdfast.record import Row
from holdfast.result import Table, fraction, refusals, transfer_table
from holdfast.types import Attack, Classifier, Images, Labels, Norm, Progress


@dataclass(frozen=True, eq=False, kw_only=True)
class TransferMatrix:
    """What each model makes of images that were attacked on each source.

    sources, targets: their names. clean: which images each target classifies right.
    correct: which of the attacked ones it still does; one that was not finite, or outside the
    pixel box or the budget, counts as the clean one; `refused` is their share by source. The
    diagonal of a square matrix is the attack on the model itself.
    norm, radius: the budget, pixel units of [0, 1]; settings: the attack's.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    clean: Bool[Tensor, "target images"]
    correct: Bool[Tensor, "source target images"]
    refused: tuple[float, ...]
    norm: Norm
    radius: float
    settings: Row

    @property
    def accuracy(self) -> Float[Tensor, "source target"]:
        """Share of images that stand: an upper bound on what each target would keep."""
        return self.correct.double().mean(2)

    def as_dict(self) -> Row:
        """Names, accuracies on clean images and, a list for each source, on attacked ones."""
        return {
            "sources": list(self.sources), "targets": list(self.targets),
            "clean_accuracy": self.clean.double().mean(1).tolist(),
            "accuracy": self.accuracy.tolist(), "images": self.clean.shape[1],
            "refused": list(self.refused), "norm": self.norm, "radius": self.radius,
            "settings": self.settings,
        }  # fmt: skip

    def as_table(self) -> Table:
        """Accuracies and their 95 % intervals over images, clean images first, then a row for each
        source."""
        return transfer_table(self.as_dict())

    def table(self) -> str:
        """The same as aligned text, and what casts doubt on it."""
        doubts = [f"warning: {line}" for line in refusals(self.as_dict())]
        return "\n".join([str(self.as_table()), *doubts])

    def save(self, folder: Path | str, about: Mapping[str, object] | None = None) -> Row:
        """Add a row to `transfer.jsonl` in the folder, a run's or another. about: what else it
        says, such as `checkpoint`, `split` and `seed`. Gives the row."""
        row = self.as_dict() | record.provenance(**(about or {}))
        record.append(Path(folder) / record.TRANSFERS, row)
        return row

    def __repr__(self) -> str:
        return (
            f"Transfers of {self.clean.shape[1]} images by {self.settings['name']}, {self.norm} "
            f"radius {self.radius:.4g}\n{self.table()}"
        )


def transfer_matrix(
    models: Mapping[str, Classifier],
    x: Images,
    y: Labels,
    attack: Attack,
    *,
    sources: Mapping[str, Classifier] | None = None,
    radius: float | None = None,
    norm: Norm | None = None,
    batch_size: int | None = None,
    index: Labels | None = None,
    progress: Progress | None = None,
) -> TransferMatrix:
    """Attack each source once and show the images to every model.

    Args:
        models: targets by name, each with its weights where it likes.
        x, y: images in [0, 1] and labels, the same for all.
        attack: run against each source. One that takes all its steps transfers best.
        sources: what is attacked, by name; None: the models themselves.
        radius, norm: the budget of an attack that does not state its own, pixel units of [0, 1];
            None: 8/255 within linf. An image of a minimum-norm attack beyond it fools nobody.
        batch_size: images attacked together, None: 100 on a CPU, 1,000 elsewhere; results depend
            on it by rounding alone.
        index: position of each image in its data set, which keys the noise; None: 0, 1, 2, ...
        progress: called after each source with (`sources`, sources done, sources).

    Raises BadInput: no models, another budget than the attack's own, and as `evaluate` does for a
    model that images and labels do not fit, or settings out of range.
    """
    for name, given in (("models", models), ("sources", sources or {})):
        if not isinstance(given, Mapping):
            raise BadInput(f"expected {name} by name, {{name: model}}, got {type(given).__name__}")
    if not models or (sources is not None and not sources):
        raise BadInput("expected at least 1 model to attack and 1 to show the images to, got none")
    check_inputs(next(iter(models.values())), x, y, index)
    attack = as_attack("attack", attack)
    radius, norm = _budget(attack, radius, norm)
    require_settings(radius, norm, batch_size)
    sources, x = models if sources is None else sources, at_least_fp32(x)
    clean = torch.stack([_right(model, x, y, batch_size) for model in models.values()])
    correct, refused = [], []
    for done, source in enumerate(sources.values(), 1):
        taken = check_inputs(source, x, y, index)
        clean_logits(source, *taken[:2], batch_size)
        adv = _made(source, *taken, attack, resolve_batch_size(batch_size, x))
        valid = acceptable(taken[0], adv, radius, norm)  # as the source saw them
        refused.append(fraction(~acceptable(taken[0], adv, reach(attack, radius), norm)))
        adv = torch.where(per_image(valid, adv), adv, taken[0]).to(x)
        stands = [_stands(model, adv, y, batch_size) for model in models.values()]
        correct.append(torch.stack(stands) & clean)
        if progress:
            progress("sources", done, len(sources))
    return TransferMatrix(
        sources=tuple(sources), targets=tuple(models), clean=clean,
        correct=torch.stack(correct), refused=tuple(refused), norm=norm, radius=radius,
        settings=described(attack),
    )  # fmt: skip


def _budget(attack: Attack, radius: float | None, norm: Norm | None) -> tuple[float, Norm]:
    """The attack's, else the one that was asked for. Raises BadInput where they differ."""
    wanted = math.nan if radius is None else radius, norm or "linf"
    held = budget(attack, *wanted)
    if math.isnan(held[0]):
        held = default_radius(held[1]), held[1]
    if (radius is not None and held[0] != radius) or (norm is not None and held[1] != norm):
        raise BadInput(
            f"expected an attack within {wanted[1]} {wanted[0]:g}, got one within {held[1]} "
            f"{held[0]:g}; give both the same radius and norm, or the attack alone"
        )
    return held


def _made(
    source: Classifier, x: Images, y: Labels, index: Labels, attack: Attack, size: int
) -> Images:
    """What the attack makes of the images, batch by batch, all its steps taken: another model may
    fall to what this one has fallen to long ago."""

    def batch(x: Images, y: Labels, index: Labels) -> Images:
        return images_of("the attack", attacks_of.run(attack, source, x, y, index), x)

    with eval_mode(source):
        return map_batches(batch, size, x, y, index)


def _right(model: Classifier, x: Images, y: Labels, size: int | None) -> Bool[Tensor, " images"]:
    """Which clean images the model classifies right."""
    x, y, _ = check_inputs(model, x, y)
    return is_correct(clean_logits(model, x, y, size), y).cpu()


def _stands(model: Classifier, adv: Images, y: Labels, size: int | None) -> Bool[Tensor, " images"]:
    """Which attacked images it classifies right; logits that are no numbers are no prediction."""
    adv, y, _ = check_inputs(model, adv, y)
    return is_correct(predict(model, adv, size), y).cpu()
