"""What an objective may say of itself beyond its loss, and states within states."""

from holdfast.types import OF_BATCH, Batch, Classifier, Objective, PerImage, State


def persistent(state: State) -> State:
    """The state less what belongs to one batch."""
    return {name: kept for name, kept in state.items() if OF_BATCH not in name}


def with_scope(
    scope: str, objective: Objective, model: Classifier, batch: Batch, state: State
) -> tuple[PerImage, State]:
    """The objective with a state of its own, kept in `state` under `scope/`."""
    mark = scope + "/"
    loss, own = objective(model, batch, substate(state, scope))
    others = {key: kept for key, kept in state.items() if not key.startswith(mark)}
    return loss, others | {mark + key: kept for key, kept in own.items()}


def substate(state: State, scope: str) -> State:
    """What `with_scope` keeps under this scope."""
    mark = scope + "/"
    return {key.removeprefix(mark): kept for key, kept in state.items() if key.startswith(mark)}


def updates_per_batch(objective: Objective) -> int:
    """Updates that the objective wants from each batch."""
    return getattr(objective, "passes", 1)


def adversary_loss(objective: Objective) -> str:
    """What an adversary climbs for this objective: its `own` loss, or the divergence, `kl`."""
    return getattr(objective, "climbs", "own")


def needs_pairs(objective: Objective) -> bool:
    """Whether the objective takes images and adversarial twins together."""
    return getattr(objective, "pairs", False)
