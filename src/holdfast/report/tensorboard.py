"""A run's metrics for TensorBoard, beside the run's own rows."""

import importlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

from holdfast.errors import BadInput
from holdfast.record import Row


def tensorboard(folder: Path) -> Callable[[Row], None]:
    """Writes each row's numbers as scalars into `folder`; `on_epoch` of `holdfast.train`.

    `validation_pgd` becomes `validation/pgd`, so that the splits are groups; the step is the
    epoch. Nothing is made before the first row. Raises BadInput where tensorboard is not installed.
    """
    try:
        library = importlib.import_module("torch.utils.tensorboard")
    except ImportError:
        raise BadInput(
            "expected tensorboard to write for it, got no such package; "
            "pip install 'holdfast[tensorboard]'"
        ) from None

    open_writer = cache(library.SummaryWriter)

    def on_epoch(row: Row) -> None:
        writer = open_writer(folder)
        for name, value in row.items():
            if isinstance(value, (int, float)) and name != "epoch":
                group, _, rest = name.partition("_")
                known = group in ("train", "validation", "raw")
                writer.add_scalar(f"{group}/{rest}" if known else name, value, row["epoch"])
        writer.flush()

    return on_epoch
