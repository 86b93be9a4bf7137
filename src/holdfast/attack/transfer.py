"""Transfer: the images that an attack makes against one model, shown to another."""

from dataclasses import dataclass, field
from typing import ClassVar

from holdfast.attack._common import positions
from holdfast.attack._run import aimed_at, inner_setting, run
from holdfast.model import Metered, check_inputs, frozen
from holdfast.types import Attack, Classifier, Images, Labels


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """An attack on `source` whose images are meant for the model it is called with (Papernot et
    al., arXiv 1605.07277). That model is asked for nothing, neither gradients nor predictions.

    It has the budget of the attack within. Passes through the source count as passes through the
    model where those are counted (`model.Metered`). Attacks that climb take all
    their steps: images that rest as soon as they fool the source transfer badly.

    Attributes:
        attack: what is run against the source.
        source: the model that stands in; `model.ensemble` makes one of several.
        origin: what a record calls the source, whose weights it does not hold.
    """

    name: ClassVar[str] = "transfer"
    attack: Attack
    source: Classifier = field(repr=False)
    origin: str = ""

    def __getattr__(self, name: str) -> object:
        return inner_setting(self, name)

    def __call__(
        self, model: Classifier, x: Images, y: Labels, index: Labels | None = None
    ) -> Images:
        meter = Metered(self.source)
        seen = check_inputs(
            self.source, x, y, positions(x, index)
        )  # it may be elsewhere, or of fp64
        with frozen(self.source):
            adv = run(self.attack, meter, *seen)
        if isinstance(model, Metered):
            model.forward += meter.forward
            model.backward += meter.backward
        return adv.to(x)

    def aimed_at(self, model: Classifier, x: Images, y: Labels, index: Labels) -> Labels | None:
        """The class to which the attack within leads each image on the source, if any."""
        seen = check_inputs(self.source, x, y, index)
        with frozen(self.source):
            target = aimed_at(self.attack, self.source, *seen)
        return target if target is None else target.to(y)
