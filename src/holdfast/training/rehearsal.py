"""A model and an update on two images, before anything is written: what cannot work fails here."""

import copy
import logging
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from holdfast import noise
from holdfast.data import Dataset
from holdfast.errors import BadInput, cause
from holdfast.feedback import leaves, needs_pairs
from holdfast.geometry import length
from holdfast.loss import are_probabilities
from holdfast.model import Network, frozen
from holdfast.result import SLACK
from holdfast.training.step import StepContext, objective, with_adversarial
from holdfast.types import Batch, Images, Norm, device_of

log = logging.getLogger("holdfast")


def rehearse_model(network: Network, data: Dataset) -> None:
    """Two images all the way to their logits. Raises BadInput where that fails, where the answer
    is not `[batch, classes]`, and where there is nothing to train."""
    if not any(weight.requires_grad for weight in network.parameters()):
        raise BadInput("expected a model with weights to train, got none that asks for a gradient")
    x = data.train.only(torch.arange(min(2, len(data.train)))).x
    try:
        with torch.no_grad(), frozen(network):
            logits = network(x.to(device_of(network, x.device)))
    except Exception as error:
        raise BadInput(
            f"expected a model that takes images {tuple(x.shape)}, got: {cause(error)}"
        ) from error
    wanted = (len(x), data.classes)
    if not isinstance(logits, Tensor) or tuple(logits.shape) != wanted:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise BadInput(f"expected logits of shape {wanted} from the model, got {got}")
    if are_probabilities(logits):
        log.warning("the model gives probabilities where logits are meant, which flattens what it "
                    "learns from; leave out its last softmax")  # fmt: skip


def rehearse_update(context: StepContext, batch: Batch) -> None:
    """Loss and gradient of a copy on two images, attacked, for each objective that takes its turn.
    Of a model that cannot be copied it is the loss alone, in evaluation mode.

    Raises BadInput for an objective that gives something else than a loss for each image, and for
    an adversary that gives something else than images.
    """
    few = replace(batch, x=batch.x[:2], y=batch.y[:2], index=batch.index[:2])
    try:
        twin, mode = copy.deepcopy(context.model).train(), nullcontext()
    except (RuntimeError, TypeError):  # as for tensors with a history, or locks
        twin, mode = context.model, frozen(context.model)
    with noise.forked(context.engine.device), context.engine.autocast(), mode:
        for one in leaves(context.recipe.objective):
            recipe = replace(context.recipe, objective=one)
            twins = with_adversarial(
                replace(context, model=twin, recipe=recipe), twin, few, 1.0, {}
            )
            if twins.adv is not None:
                _require_pixels(twins.adv)
                _require_budget(twins.adv - few.x, context.adversary)
            seen = twins if needs_pairs(one) else replace(twins, adv=None)
            try:
                answer = one(twin, seen, {})
            except (TypeError, AttributeError) as error:  # as of a loss of logits and labels
                raise BadInput(
                    f"expected an objective for (model, batch, state), got: {cause(error)}"
                ) from error
            _require_losses(answer, few)
            losses, _ = objective(twin, twins, recipe, {})
            if twin is not context.model:
                _require_gradient(losses)
                losses.mean().backward()


def _require_pixels(adv: Images) -> None:
    """Raises BadInput for adversarial images outside the pixel box."""
    if not ((adv >= -SLACK) & (adv <= 1 + SLACK)).all():
        raise BadInput(
            f"expected the adversary's pixels in [0, 1], got {adv.min():.3g} to {adv.max():.3g}; "
            "clip them"
        )


def _require_budget(change: Images, adversary: Any) -> None:
    """Raises BadInput for a change clearly beyond the radius that the adversary states, by more
    than rounding to half precision."""
    radius: float | None = getattr(adversary, "radius", None)
    norm: Norm = getattr(adversary, "norm", "linf")
    if radius is not None and (far := length(change, norm).max().item()) > 1.1 * radius + SLACK:
        raise BadInput(
            f"expected adversarial images within {norm} {radius:g}, got one at {far:.3g}; take an "
            "adversary that keeps to its radius, or pull its images back"
        )


def _require_gradient(losses: Tensor) -> None:
    """Raises BadInput for losses that no weight changes."""
    if not losses.requires_grad:
        raise BadInput(
            "expected the objective's losses to depend on the weights, got some without gradient; "
            "leave out detach, argmax, torch.no_grad and the like"
        )


def _require_losses(answer: object, batch: Batch) -> None:
    """Raises BadInput for an answer that is not a loss for each image and a state of tensors."""
    loss, state = answer if isinstance(answer, tuple) and len(answer) == 2 else (answer, None)
    if not (isinstance(loss, Tensor) and loss.shape == batch.y.shape and loss.is_floating_point()):
        tensor = isinstance(loss, Tensor)
        got = f"{loss.dtype} of shape {tuple(loss.shape)}" if tensor else repr(loss)
        raise BadInput(
            f"expected the objective to return a loss for each image, floats ({len(batch.y)},), "
            f"and a state; got {got:.60}; leave the mean to the trainer"
        )
    if not (isinstance(state, dict) and all(isinstance(one, Tensor) for one in state.values())):
        raise BadInput(
            "expected the objective to return (loss, state), the state a dictionary of tensors, "
            f"got {state!r:.60} for the state; return the one that it was given, if it has none"
        )
