"""What attacks share that see the predicted class and nothing else."""

import torch
from torch import Tensor

from holdfast import noise
from holdfast.geometry import length
from holdfast.loss import at_least_fp32, is_clearly_wrong
from holdfast.types import Classifier, Images, Labels, Norm, Note

TRIES = 100  # noise images tried for a start


def is_wrong(model: Classifier, x: Images, y: Labels) -> Tensor:
    """`[batch]` flags: predicted as another class, and by more than rounding can undo."""
    return is_clearly_wrong(at_least_fp32(model(x)), y)


def noise_start(
    model: Classifier, x: Images, y: Labels, index: Labels, queries: int, *key: int
) -> tuple[Images, Labels]:
    """A misclassified image each, uniform noise of this key, and the queries used; x itself where
    it is misclassified already, or where no start is found, with all queries spent."""
    done = is_wrong(model, x, y)
    start, used = x.clone(), torch.where(done, queries, torch.ones_like(y))
    rows = (~done).nonzero().flatten()
    for turn in range(min(TRIES, queries - 1)):
        if not len(rows):
            break
        drawn = noise.uniform(index[rows], tuple(x.shape[1:]), *key, turn).to(x)
        done = is_wrong(model, drawn, y[rows])
        used[rows] += 1
        start[rows[done]] = drawn[done]
        rows = rows[~done]
    used[rows] = queries
    return start, used


def note_start(note: Note, x: Images, start: Images, used: Labels, norm: Norm) -> None:
    """Tell of each start that was found, and after how many queries."""
    rows = (start != x).flatten(1).any(1).nonzero().flatten()
    note(rows, used[rows], length(start[rows] - x[rows], norm))
