"""Images shared out over processes, and their results put together again."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from holdfast.errors import BadInput
from holdfast.result import IF_ASKED, PER_IMAGE, AttackResult, Evaluation, Standing
from holdfast.team import Team


def share(rows: Tensor, team: Team) -> Tensor:
    """This process's rows: every `team.size`-th, from `team.rank` on. Raises BadInput where there
    are fewer rows than processes."""
    if len(rows) < team.size:
        raise BadInput(f"expected an image for each of {team.size} processes, got {len(rows)}")
    return rows[team.rank :: team.size]


def joined(parts: Sequence[Evaluation]) -> Evaluation:
    """The evaluations of all processes, in the order of their ranks, as one."""
    first = parts[0]
    if len(parts) == 1:
        return first
    weights = torch.tensor([len(part.adv) for part in parts], dtype=torch.float64)
    bits = torch.tensor([part.entropy for part in parts], dtype=torch.float64)
    attacks = [part.attacks for part in parts]
    named = {finding.name: finding for part in reversed(parts) for finding in part.findings}
    return Evaluation(
        clean=Standing(correct=_woven([part.clean.correct for part in parts])),
        attacks=tuple(_whole(some) for some in zip(*attacks, strict=True)),
        entropy=float((weights * bits).sum() / weights.sum()),
        adv=_woven([part.adv for part in parts]),
        marks=_woven_if_there([part.marks for part in parts]),
        findings=tuple(named.values()),
        cascade=first.cascade,
        norm=first.norm,
        radius=first.radius,
    )


def _whole(parts: Sequence[AttackResult]) -> AttackResult:
    """One attack's results over all images; seconds are those of the slowest process."""
    sums = {
        name: sum(getattr(part, name) for part in parts)
        for name in ("refused", "forward", "backward")
    }
    tensors = {
        name: _woven_if_there([getattr(part, name) for part in parts])
        for name in (*PER_IMAGE, *IF_ASKED)
    }
    return replace(
        parts[0],
        faults=sum((Counter(part.faults) for part in parts), Counter()),
        seconds=max(part.seconds for part in parts),
        **sums, **tensors,
    )  # fmt: skip


def _woven_if_there(parts: Sequence[Tensor | None]) -> Tensor | None:
    """What all processes have, or none does."""
    held = [part for part in parts if part is not None]
    return _woven(held) if held else None


def _woven(parts: Sequence[Tensor]) -> Tensor:
    """Rows 0, n, 2n, ... from the first of n parts, 1, n + 1, ... from the second, and so on."""
    whole = parts[0].new_empty((sum(map(len, parts)), *parts[0].shape[1:]))
    for rank, some in enumerate(parts):
        whole[rank :: len(parts)] = some
    return whole
