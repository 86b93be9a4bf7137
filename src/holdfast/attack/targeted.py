"""Attacks that lead to a class of the attacker's choice."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from holdfast.attack._common import positions
from holdfast.attack._run import inner_setting, run, settings_of, with_settings
from holdfast.errors import BadInput
from holdfast.geometry import per_image
from holdfast.loss import Loss, at_least_fp32, resolve_loss
from holdfast.types import Attack, Classifier, Images, Labels, Logits, PerImage


def _are_classes(target: object) -> bool:
    """Whether it is a tensor of integers, one to each image."""
    whole = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
    return isinstance(target, Tensor) and target.ndim == 1 and target.dtype in whole


@dataclass(frozen=True, kw_only=True, eq=False)
class Targeted:
    """An attack that climbs down the loss of a class, not up that of the true one (the targeted
    form of Kurakin et al., arXiv 1607.02533, section 2.3), so that it ends there.

    It works for every attack with a field `loss`; all steps are taken, also by images that are
    wrong already. The evaluator asks whether the prediction is wrong, and beside that whether it is
    the target (`AttackResult.reached`); where the target is the true class the image is given back.
    Raises BadInput for an attack without a loss, for `dlr`, which is flat towards a class behind
    the first three, and for a target that is no class.

    Attributes:
        attack: what climbs, and within which budget.
        target: a class; each image's least or most likely wrong class on the clean image; or a
            tensor of classes, of which each image takes the one at its position, its `index`.
    """

    name: ClassVar[str] = "targeted"
    attack: Attack
    target: int | Literal["least", "most"] | Tensor = "least"

    def __post_init__(self) -> None:
        word = isinstance(self.target, str) and self.target in ("least", "most")
        if not word and type(self.target) is not int and not _are_classes(self.target):
            raise BadInput(
                "expected target least, most or a class, or a tensor of classes, an integer for "
                f"each position; got {self.target!r:.60}"
            )
        if "loss" not in settings_of(self.attack) or self.attack.loss == "dlr":  # pyright: ignore
            raise BadInput(
                "expected an attack that climbs the loss ce, margin, reward or one of your own, "
                f"got {self.attack!r:.60}; take fgsm, bim, pgd, mim, transfer-mim or apgd"
            )

    def __getattr__(self, name: str) -> object:
        return inner_setting(self, name)

    @torch.no_grad()
    def __call__(
        self, model: Classifier, x: Images, y: Labels, index: Labels | None = None
    ) -> Images:
        index = positions(x, index)
        target = self.aimed_at(model, x, y, index)
        loss: Loss = resolve_loss(self.attack.loss)  # pyright: ignore

        def descent(logits: Logits, y: Labels) -> PerImage:
            return -loss(logits, y)

        adv = run(with_settings(self.attack, loss=descent), model, x, target, index)
        return torch.where(per_image(target == y, x), x, adv)

    @torch.no_grad()
    def aimed_at(self, model: Classifier, x: Images, y: Labels, index: Labels) -> Labels:
        """The class that each image is led to. Raises BadInput for one that is none."""
        logits = at_least_fp32(model(x))
        if isinstance(self.target, str):
            least = self.target == "least"
            others = logits.scatter(1, y[:, None], torch.inf if least else -torch.inf)
            return others.argmin(1) if least else others.argmax(1)
        target = torch.as_tensor(self.target, device=y.device)
        if target.ndim:
            target = self._of_each(target, index)
        classes = logits.shape[1]
        if len(none := target[(target < 0) | (target >= classes)].flatten()):
            raise BadInput(f"expected a target from 0 to {classes - 1}, got {int(none[0])}")
        return target.to(y).expand_as(y)

    @staticmethod
    def _of_each(targets: Tensor, index: Labels) -> Labels:
        if len(index) and int(index.min()) < 0:
            raise BadInput(f"expected positions of 0 or more, got {int(index.min())}")
        if len(index) and (last := int(index.max())) >= len(targets):
            raise BadInput(
                f"expected a target for each position in the data set (`split.index`), {last} "
                f"among them; got {len(targets)} targets"
            )
        return targets[index.to(targets.device)]
