"""A punishment that remembers: mistakes in a row on the same image."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from holdfast.limits import AT_LEAST_0, require_ranges
from holdfast.loss import is_correct
from holdfast.types import Batch, Labels, Logits, State

KEY = "mistakes"


@dataclass(frozen=True, kw_only=True)
class Repeated:
    """Wrong picks cost more on an image whose last predictions were wrong (proposed in Gupta 2020,
    arXiv 2012.04353, section 2: "higher negative rewards to those examples on which the network
    makes repeated wrong predictions").

    An image's count grows by 1 each time training sees its most likely class wrong, and is 0
    again once it is right. It is kept in the objective's state, so that a resumed run knows it.
    Raises BadInput for settings below 0.

    Attributes:
        growth: what a wrong pick costs more for each such mistake; 0 turns it off.
        most: mistakes that count.
    """

    growth: float = 0.0
    most: int = 5

    def __post_init__(self) -> None:
        require_ranges(self, growth=AT_LEAST_0, most=AT_LEAST_0)

    def punish(self, told: Logits, batch: Batch, state: State) -> Logits:
        """The rewards `[batch, classes]` less the punishment, for every class but the best told."""
        if self.growth == 0:
            return told
        count = _known(batch, state)[batch.index].clamp_max(self.most)
        wrong = told < told.amax(1, keepdim=True)
        return told - self.growth * count[:, None] * wrong

    def remember(self, logits: Logits, batch: Batch, state: State) -> State:
        """The state after these predictions: int32 counts by position in the data set."""
        if self.growth == 0:
            return state
        known = _known(batch, state)
        wrong = ~is_correct(logits, batch.y)
        count = torch.where(wrong, known[batch.index] + 1, 0).to(known.dtype)
        return state | {KEY: known.index_copy(0, batch.index, count)}


def _known(batch: Batch, state: State) -> Labels:
    """Mistakes so far, by position; 0 for images that were not seen yet."""
    none = torch.zeros(0, dtype=torch.int32, device=batch.y.device)
    known = state.get(KEY, none)
    positions = max(batch.positions or int(batch.index.max()) + 1, len(known))
    return F.pad(known, (0, positions - len(known)))
