"""An epoch of batches as a function of (seed, epoch): nothing to save for a resume."""

from collections.abc import Iterator

import torch
from torch import Tensor

from holdfast import noise
from holdfast.data.augment import Augment
from holdfast.data.dataset import Split
from holdfast.errors import BadInput
from holdfast.types import Batch

NO_CHANGE = Augment()


def batches(
    split: Split,
    size: int,
    *,
    epoch: int,
    seed: int,
    augment: Augment = NO_CHANGE,
    shuffle: bool = True,
    drop_last: bool = False,
    channels_last: bool = False,
    dtype: torch.dtype = torch.float32,
    part: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """Each image of the split once, in batches of `size`, on the device of its labels.

    `x` is in [0, 1] and of `dtype`; `index` is the split's, which also keys the augmentation.
    part: this process's rank and the number of processes, which share each batch.
    The last batch may be smaller unless `drop_last`. Raises BadInput, at once, where size < 1 or
    not a single batch would come.
    """
    least = size if drop_last else 1
    if size < 1 or len(split) < least:
        raise BadInput(
            f"expected a batch size from 1 to {len(split)} (the images there are), got {size}; "
            "change the batch size"
        )
    order = noise.permutation(len(split), seed, epoch) if shuffle else torch.arange(len(split))
    near, far = order.to(split.y.device), order.to(split.pixels.device)
    end = len(split) // size * size if drop_last else len(split)
    layout = torch.channels_last if channels_last else torch.contiguous_format

    def batch(rows: Tensor, places: Tensor) -> Batch:
        whole, (rank, team) = len(rows), part
        rows, places = rows[rank::team], places[rank::team]
        index = split.index.index_select(0, rows)
        found = split.pixels.index_select(0, places).to(rows.device)
        x = augment(found, index, seed, epoch).to(dtype, memory_format=layout).div_(255)
        return Batch(x=x, y=split.y.index_select(0, rows), index=index, epoch=epoch, whole=whole)

    return map(batch, near[:end].split(size), far[:end].split(size))
