"""Training through an environment's steps: by what it told, or by an objective of the trainer's."""

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor, nn

from holdfast import feedback
from holdfast.environment.vector import VectorClassification
from holdfast.errors import BadInput
from holdfast.feedback import EpsilonGreedy, persistent
from holdfast.loss import at_least_fp32, entropy
from holdfast.types import Batch, Objective, PerImage, State, device_of

MEMORY = 0.1  # weight of the newest step in the mean reward that is subtracted


def learn(
    model: nn.Module,
    env: VectorClassification,
    *,
    steps: int,
    optimizer: torch.optim.Optimizer,
    objective: Objective | None = None,
    entropy: float = 0.1,
    clip: float | None = None,
    seed: int = 0,
) -> list[float]:
    """Train a classifier in place on what the environment shows; the mean reward of each step.

    In each step every environment's image gets an action drawn from softmax(logits), and one
    update follows. Without an objective it is the policy gradient (Gupta 2020, arXiv 2012.04353,
    eq. 1) on that one action and what it was told, less a running mean, with an entropy bonus:
    labels are not looked at. An objective sees the labels that `info` tells; as its `index` it gets
    a number for every image shown.

    Args:
        model: from images `[batch, channel, height, width]` as shown, in [0, 1], to logits.
        env: in SAME_STEP mode; it is reset.
        steps: of the vector environment, each an update.
        optimizer: of the model's weights.
        objective: what is minimised instead.
        entropy: weight of the policy's entropy (in nats) without an objective.
        clip: largest norm of the gradient; None: not clipped.
        seed: of images and actions.

    Raises BadInput for fewer than one step, for another autoreset mode, and for an objective that
    needs epochs, the same image again, several passes or adversarial twins, which an environment
    does not have.
    """
    if steps < 1:
        raise BadInput(f"expected 1 step or more, got {steps}; raise it")
    if env.mode is not AutoresetMode.SAME_STEP:
        raise BadInput(f"expected an environment in SAME_STEP mode, got {env.mode.name}")
    if objective is not None:
        _require_alone(objective)
    model.train()
    device, state, rewards, mean = device_of(model, torch.device("cpu")), {}, [], 0.0
    shown, _ = env.reset(seed=seed)
    for step in range(steps):
        visit = torch.arange(step * env.num_envs, (step + 1) * env.num_envs, device=device)
        x = torch.from_numpy(shown).to(device).float() / 255
        logits = at_least_fp32(model(x))
        action = _drawn(logits, x, visit, seed)
        shown, told, _, _, info = env.step(action.cpu().numpy())
        reward = torch.from_numpy(told).to(logits)
        if objective is None:
            loss = _surrogate(logits, action, reward - mean, entropy)
        else:
            y = torch.from_numpy(info["label"]).to(device)
            loss, state = _judged(objective, logits, Batch(x=x, y=y, index=visit), state)
        _update(model, optimizer, loss.mean(), clip)
        rewards.append(float(np.mean(told)))
        mean += (MEMORY if step else 1.0) * (rewards[-1] - mean)
    return rewards


def _require_alone(objective: Objective) -> None:
    """Raises BadInput for an objective that asks for more than one look at a batch of images."""
    exploration = getattr(objective, "exploration", None)
    changes = [getattr(settings, "final", None) for settings in (objective, exploration)]
    repeated = getattr(objective, "repeated", feedback.Repeated())
    wants = {
        "epochs": isinstance(objective, feedback.Handover) or changes != [None, None],
        "mistakes on the same image": repeated.growth > 0,
        "several passes": feedback.updates_per_batch(objective) > 1,
        "adversarial twins": feedback.needs_pairs(objective),
    }
    for what, wanted in wants.items():
        if wanted:
            raise BadInput(f"expected an objective without {what}, got {objective!r:.60}; train it")


def _drawn(logits: Tensor, x: Tensor, visit: Tensor, seed: int) -> Tensor:
    """An action for each image out of the policy, `[batch]`."""
    policy = logits.detach().softmax(1)
    batch = Batch(x=x, y=visit, index=visit)
    return feedback.draw(policy, batch, 1, seed, EpsilonGreedy()).squeeze(1)


def _surrogate(logits: Tensor, action: Tensor, gain: PerImage, bonus: float) -> PerImage:
    """The loss whose gradient is the policy gradient of these actions."""
    picked = logits.log_softmax(1).gather(1, action[:, None]).squeeze(1)
    return -gain * picked - bonus * entropy(logits)


def _judged(
    objective: Objective, logits: Tensor, batch: Batch, state: State
) -> tuple[PerImage, State]:
    """The objective at logits that are there already."""
    loss, state = objective(lambda _: logits, batch, state)
    return loss, persistent(state)


def _update(
    model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, clip: float | None
) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if clip is not None:
        nn.utils.clip_grad_norm_([w for w in model.parameters() if w.requires_grad], clip)
    optimizer.step()
