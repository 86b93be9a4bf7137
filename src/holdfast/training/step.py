"""One training step: adversary, objective, update."""

from dataclasses import replace

from torch import Tensor, nn, optim

from holdfast import attack
from holdfast.engine import Engine
from holdfast.model import lent
from holdfast.training.recipe import Recipe
from holdfast.types import Attack, Batch, Labels, Logits, PerImage, State


def attacked(
    model: nn.Module, batch: Batch, recipe: Recipe, share: float, visit: Labels, state: State
) -> Batch:
    """The batch with its adversarial twins, at `share` of the adversary's radius.

    visit: a number per image that differs in every epoch; keys the adversary's noise.
    The attack runs on the bare model, which is as it was afterwards.
    """
    if recipe.adversary is None or share == 0:
        return batch
    adversary: Attack = recipe.adversary
    if share < 1:
        adversary = attack.resized(adversary, radius=share * getattr(adversary, "radius", 0.0))
    if recipe.adversarial.loss == "objective":
        adversary = attack.resized(adversary, loss=_trained_loss(recipe, batch, state))
    with lent(model, recipe.adversarial.mode):
        adv = attack.run(adversary, model, batch.x, batch.y, visit)
    return replace(batch, adv=adv.detach())


def _trained_loss(recipe: Recipe, batch: Batch, state: State):
    """The objective as a loss of logits: it is handed a model that already knows them."""

    def loss(logits: Logits, y: Labels) -> PerImage:
        return recipe.objective(lambda _: logits, replace(batch, y=y), state)[0]

    return loss


def objective(
    model: nn.Module, batch: Batch, recipe: Recipe, state: State
) -> tuple[PerImage, State]:
    """The loss per image of a batch whose adversarial twins are made."""
    if batch.adv is None:
        return recipe.objective(model, batch, state)
    on_adv = replace(batch, x=batch.adv)
    if recipe.adversarial.mix == "adv":
        return recipe.objective(model, on_adv, state)
    clean, state = recipe.objective(model, batch, state)
    hard, state = recipe.objective(model, on_adv, state)
    return clean + recipe.adversarial.rate * hard, state


def update(
    model: nn.Module, loss: PerImage, optimizer: optim.Optimizer, clip: float | None
) -> Tensor:
    """One step down the mean loss; gives the norm of its gradient, before clipping."""
    optimizer.zero_grad(set_to_none=True)
    loss.mean().backward()
    gradients = [w.grad for w in model.parameters() if w.grad is not None]
    norm = nn.utils.get_total_norm(gradients, foreach=True)
    if clip is not None:
        nn.utils.clip_grads_with_norm_(model.parameters(), clip, norm, foreach=True)
    optimizer.step()
    return norm


def step(
    model: nn.Module,
    batch: Batch,
    recipe: Recipe,
    engine: Engine,
    optimizer: optim.Optimizer,
    share: float,
    visit: Labels,
    state: State,
) -> tuple[PerImage, Tensor, State]:
    """One whole step: `(loss per image, gradient norm, objective's state)`."""
    with engine.autocast():
        batch = attacked(model, batch, recipe, share, visit, state)
        loss, state = objective(model, batch, recipe, state)
    return loss.detach(), update(model, loss, optimizer, recipe.clip), state
