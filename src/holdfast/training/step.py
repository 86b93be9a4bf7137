"""One training step: adversary, objective, updates."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn, optim

from holdfast import attack
from holdfast.engine import Engine
from holdfast.errors import BadInput
from holdfast.feedback import (
    active_objective,
    adversary_loss,
    needs_pairs,
    persistent,
    substate,
    updates_per_batch,
    with_scope,
)
from holdfast.loss import Loss, at_least_fp32, kl_divergence
from holdfast.model import Metered, frozen
from holdfast.team import Team
from holdfast.training.perturb import perturbed
from holdfast.training.recipe import Recipe
from holdfast.types import Attack, Batch, Classifier, PerImage, State

Losses = Callable[[], tuple[PerImage, State]]


@dataclass(frozen=True, eq=False, kw_only=True)
class StepContext:
    """What a step works with.

    adversary: the recipe's, or what a guard has made of it, with the seed of this epoch.
    """

    model: nn.Module
    optimizer: optim.Optimizer
    recipe: Recipe
    engine: Engine
    adversary: Attack | None
    team: Team = Team()  # noqa: RUF009


@dataclass(frozen=True, eq=False, kw_only=True)
class StepResult:
    """loss: of each image, at the last update; norm: of the gradient, before clipping, a mean over
    the updates; state: the objective's; forward, backward: passes, one for each image that went
    through."""

    loss: PerImage
    norm: Tensor
    state: State
    forward: int
    backward: int


@dataclass(eq=False, kw_only=True)
class Tally:
    """Sums over the steps of an epoch, on the device until they are asked for."""

    loss: Tensor
    norm: Tensor
    forward: int = 0
    backward: int = 0

    def add(self, found: StepResult) -> None:
        self.loss, self.norm = self.loss + found.loss.sum(), self.norm + found.norm
        self.forward, self.backward = self.forward + found.forward, self.backward + found.backward

    def means(self, images: int, updates: int, team: Team) -> dict[str, float]:
        """Over the images of all processes, and over updates."""
        passes = torch.tensor([self.forward, self.backward], device=self.loss.device)
        sums = torch.cat([self.loss[None].double(), passes.double()])
        team.all_reduce([sums])
        loss, forward, backward = (sums / images).tolist()  # waits for the GPU
        return {
            "loss": loss, "gradient_norm": (self.norm / updates).item(),
            "forward_passes": forward, "backward_passes": backward,
        }  # fmt: skip


def step(context: StepContext, batch: Batch, share: float, state: State) -> StepResult:
    """Make the batch's adversarial twins, then take as many updates as the objective wants.

    share: of the adversary's radius.
    """
    meter = Metered(context.model)
    with context.engine.autocast():
        batch = with_adversarial(context, meter, batch, share, state)

    current, norms, loss = state, [], batch.x.new_zeros(len(batch.y))
    for _ in range(
        max(1, updates_per_batch(active_objective(context.recipe.objective, batch.epoch)))
    ):
        losses = partial(_losses, context, meter, batch, current)
        loss, norm, current = update(context, losses, batch)
        norms.append(norm)
    share_of_batch = len(batch.y) / (batch.whole or len(batch.y))
    merged = context.team.merge(state, persistent(current), share_of_batch)
    return StepResult(
        loss=loss, norm=torch.stack(norms).mean(), state=merged,
        forward=meter.forward, backward=meter.backward,
    )  # fmt: skip


def _losses(
    context: StepContext, meter: Classifier, batch: Batch, state: State
) -> tuple[PerImage, State]:
    with context.engine.autocast():
        return objective(meter, batch, context.recipe, state)


def with_adversarial(
    context: StepContext, meter: Classifier, batch: Batch, share: float, state: State
) -> Batch:
    """The batch with its adversarial twins; the attack runs on the bare model, frozen."""
    if context.adversary is None or share == 0:
        return batch
    adversary: Attack = context.adversary
    if share < 1:
        adversary = attack.with_settings(
            adversary, radius=share * getattr(adversary, "radius", 0.0)
        )
    with frozen(context.model, context.recipe.adversarial.mode):
        loss = _climbed(context.recipe, meter, batch, state)
        if loss is not None:
            adversary = attack.with_settings(adversary, loss=loss)
        adv: Any = attack.run(adversary, meter, batch.x.clone(), batch.y.clone(), batch.index)
    if not isinstance(adv, Tensor) or adv.shape != batch.x.shape:
        got = tuple(adv.shape) if isinstance(adv, Tensor) else type(adv).__name__
        raise BadInput(
            f"expected the adversary to return images {tuple(batch.x.shape)}, got {got}; return "
            "a tensor of as many"
        )
    return replace(batch, adv=adv.detach().to(batch.x))


def _climbed(recipe: Recipe, model: Classifier, batch: Batch, state: State) -> Loss | None:
    """The loss that the adversary climbs; None: its own."""
    wanted = recipe.adversarial.loss
    if wanted == "auto":
        wanted = adversary_loss(active_objective(recipe.objective, batch.epoch))
    if wanted == "kl":
        reference = at_least_fp32(model(batch.x)).detach()
        return lambda logits, _: kl_divergence(logits, reference)
    if wanted == "objective" and recipe.adversarial.mix == "both":
        state = substate(state, "adv")
    if wanted == "objective":
        return lambda logits, y: recipe.objective(lambda _: logits, replace(batch, y=y), state)[0]
    return None


def objective(
    model: Classifier, batch: Batch, recipe: Recipe, state: State
) -> tuple[PerImage, State]:
    """The loss per image of a batch whose adversarial twins are made."""
    minimised, clean = recipe.objective, replace(batch, adv=None)
    if recipe.adversary is None or needs_pairs(active_objective(minimised, batch.epoch)):
        return minimised(model, batch, state)
    hard = clean if batch.adv is None else replace(clean, x=batch.adv)
    if recipe.adversarial.mix == "adv":
        return minimised(model, hard, state)
    loss, state = with_scope("clean", minimised, model, clean, state)
    if batch.adv is None:
        return loss, state
    extra, state = with_scope("adv", minimised, model, hard, state)
    return loss + recipe.adversarial.weight * extra, state


def update(context: StepContext, losses: Losses, batch: Batch) -> tuple[PerImage, Tensor, State]:
    """One step down the mean loss over the whole batch, on all processes together."""
    model, recipe, team = context.model, context.recipe, context.team
    images = batch.whole or len(batch.y)
    near, gamma = nullcontext(), recipe.awp.at(batch.epoch)
    if gamma:
        near = perturbed(model, lambda: losses()[0].sum() / images, gamma, team)
    with near:
        loss, state = losses()
        context.optimizer.zero_grad(set_to_none=True)
        (loss.sum() / images).backward()
    trained = [w for w in model.parameters() if w.requires_grad and w.grad is not None]
    gradients = [w.grad for w in trained if w.grad is not None]
    team.all_reduce(gradients)
    norm = nn.utils.get_total_norm(gradients, foreach=True)
    if recipe.clip is not None:
        nn.utils.clip_grads_with_norm_(trained, recipe.clip, norm, foreach=True)
    context.optimizer.step()
    team.average(list(model.buffers()))
    return loss.detach(), norm, state
