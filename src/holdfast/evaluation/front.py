"""Where an evaluation stands between two attacks, image by image."""

from dataclasses import dataclass, replace

import torch

from holdfast.evaluation.judge import Case, Outcome
from holdfast.geometry import length, per_image
from holdfast.loss import is_correct, margin
from holdfast.result import SLACK, AttackResult, Flags
from holdfast.types import Images, PerImage


@dataclass(frozen=True, eq=False, kw_only=True)
class Front:
    """standing: images that nothing has fooled so far within the budget.

    adv, distance: the nearest image of another class found so far, within the budget or not; x and
    inf where there is none, x and 0 where x is one.
    lead, height: the image of largest margin within the budget that any attack offered so far, and
    that margin: where the next attack may set out.
    """

    standing: Flags
    adv: Images
    distance: PerImage
    lead: Images
    height: PerImage


def initial_front(case: Case) -> Front:
    """Before the first attack."""
    stands = is_correct(case.clean, case.y)
    return Front(
        standing=stands, adv=case.x,
        distance=torch.zeros_like(case.clean[:, 0]).masked_fill(stands, torch.inf),
        lead=case.x, height=margin(case.clean, case.y),
    )  # fmt: skip


def advanced(front: Front, case: Case, shown: torch.Tensor, outcome: Outcome) -> Front:
    """After an attack on the images of the rows `shown`."""
    offered, result = outcome.offered, outcome.result
    fooled = result.fooled(case.norm, case.radius).to(shown.device)
    found = result.distance.to(shown.device).isfinite()
    size = length(offered - case.x[shown], case.norm)
    far = size.where(found, torch.inf)
    nearer = far < front.distance[shown]
    higher = (outcome.height > front.height[shown]) & (size <= case.radius + SLACK)
    keep = {
        "standing": front.standing[shown] & ~fooled,
        "adv": torch.where(per_image(nearer, offered), offered, front.adv[shown]),
        "distance": torch.where(nearer, far, front.distance[shown]),
        "lead": torch.where(per_image(higher, offered), offered, front.lead[shown]),
        "height": torch.where(higher, outcome.height, front.height[shown]),
    }
    return Front(**{name: _put(getattr(front, name), shown, some) for name, some in keep.items()})


def expanded(
    outcome: Outcome, case: Case, shown: torch.Tensor, standing: Flags, keep: bool = False
) -> AttackResult:
    """The result of an attack that saw some images, as one over all of them. Images that it was
    not shown keep their status; their distance is NaN, their queries 0 if they had fallen, else -1.
    keep: with the images that it returned.
    """
    result, rows = outcome.result, shown.cpu()
    unseen = torch.full((len(case.x),), torch.nan, dtype=result.distance.dtype)
    nowhere = torch.full_like(case.y, -1, device="cpu")
    queries = result.queries
    if queries is not None:
        queries = _put(standing.cpu().long().neg(), rows, queries)
    return replace(
        result,
        correct=_put(standing.cpu(), rows, result.correct),
        distance=_put(unseen, rows, result.distance),
        prediction=_put(nowhere, rows, result.prediction),
        target=_put(nowhere, rows, result.target),
        queries=queries,
        adv=_put(case.x.cpu(), rows, outcome.offered) if keep else None,
    )


def _put(whole: torch.Tensor, rows: torch.Tensor, some: torch.Tensor) -> torch.Tensor:
    whole = whole.clone()
    whole[rows] = some.to(whole)
    return whole
