"""From one objective to another while training goes on: by a switch or along a ramp."""

from dataclasses import dataclass, field
from typing import ClassVar

from holdfast.errors import BadInput
from holdfast.feedback.objective import CrossEntropy
from holdfast.feedback.policy import PolicyGradient
from holdfast.feedback.protocol import needs_pairs, updates_per_batch, with_scope
from holdfast.limits import AT_LEAST_0, require_ranges
from holdfast.types import Batch, Classifier, Objective, PerImage, State


@dataclass(frozen=True, kw_only=True)
class Handover:
    """One objective for the first epochs, another for the rest: the hybrid schedules that Zou et
    al. 2026 leave to future work.

    Along a ramp the loss is a mixture of both; they share one forward pass, so that a handover
    costs no more passes than its dearer part. Each part keeps a state of its own.
    Raises BadInput for settings out of range, and for a ramp between objectives that want more
    than one pass over the images.

    Attributes:
        first: objective of the epochs before `at`.
        second: objective afterwards.
        at: epochs before the handover begins.
        ramp: epochs during which the second one's weight grows, in equal steps; 0: a switch.
    """

    name: ClassVar[str] = "handover"
    first: Objective = field(default_factory=CrossEntropy)
    second: Objective = field(default_factory=PolicyGradient)
    at: int = 1
    ramp: int = 0

    def __post_init__(self) -> None:
        require_ranges(self, at=AT_LEAST_0, ramp=AT_LEAST_0)
        if self.ramp and any(
            updates_per_batch(part) > 1 or needs_pairs(part) for part in leaves(self)
        ):
            raise BadInput("expected ramp=0 with ppo, trades or mart, got a ramp; switch at once")

    def weight(self, epoch: int) -> float:
        """The second objective's share of the loss, after so many epochs."""
        if epoch < self.at:
            return 0.0
        return min((epoch - self.at + 1) / (self.ramp + 1), 1.0)

    def now(self, epoch: int) -> Objective:
        """The part that is alone in this epoch; the handover itself while both count."""
        weight = self.weight(epoch)
        return self.first if weight == 0 else self.second if weight == 1 else self

    def __call__(self, model: Classifier, batch: Batch, state: State) -> tuple[PerImage, State]:
        weight = self.weight(batch.epoch)
        if weight == 1:
            return with_scope("second", self.second, model, batch, state)
        if weight == 0:
            return with_scope("first", self.first, model, batch, state)
        logits = model(batch.x)
        first, state = with_scope("first", self.first, lambda _: logits, batch, state)
        second, state = with_scope("second", self.second, lambda _: logits, batch, state)
        return (1 - weight) * first + weight * second, state


def active_objective(objective: Objective, epoch: int) -> Objective:
    """The objective that is at work in an epoch: a handover's part, at any depth."""
    while isinstance(objective, Handover) and objective.now(epoch) is not objective:
        objective = objective.now(epoch)
    return objective


def leaves(objective: Objective) -> list[Objective]:
    """The objectives that take their turns in a run."""
    if isinstance(objective, Handover):
        return [*leaves(objective.first), *leaves(objective.second)]
    return [objective]
