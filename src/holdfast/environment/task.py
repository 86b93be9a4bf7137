"""What an environment asks: which images, what an answer earns, when an episode ends."""

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from holdfast import data as datasets
from holdfast import feedback
from holdfast.data import Dataset, Split, root_of
from holdfast.errors import BadInput, choose, require_field_types
from holdfast.feedback import Signed
from holdfast.types import Attack, Reward


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """The options of an environment. Raises BadInput for one out of range.

    An image is shown, the action is the class picked for it, the reward is what that pick is told.
    Images are drawn with replacement, every image of the split as likely as any other.

    Attributes:
        data: the name of a data set, or one that is loaded.
        split: of it.
        reward: what each pick is told, the trainer's; `balanced` weights are counted on the
            training split.
        flip: probability that the feedback lies: a right pick is told what a wrong class, any
            with the same chance, would have been, and a wrong one what the true class would.
        length: images in an episode, after which it is terminated.
        fatal: classes of which one wrong pick terminates the episode at once, as for the minority
            class of Lin, Chen and Qi 2019 (arXiv 1901.01379, section 3). They go through the
            shuffled training set; here images are drawn.
        pad_to: side in pixels that the images are padded to with black, themselves in the middle;
            None: as they are.
        adversary: attack on every image shown, against the environment's `policy`.
        root: folder of the data set's files.
    """

    data: str | Dataset = "digits"
    split: Literal["train", "validation", "test"] = "train"
    reward: Reward = field(default_factory=Signed)
    flip: float = 0.0
    length: int = 1
    fatal: tuple[int, ...] = ()
    pad_to: int | None = None
    adversary: Attack | None = None
    root: Path | str | None = None

    def __post_init__(self) -> None:
        require_field_types(self)
        if not 0 <= self.flip <= 1:
            raise BadInput(f"expected a flip in [0, 1], got {self.flip}; it is a probability")
        if not isinstance(self.length, Integral) or self.length < 1:
            raise BadInput(f"expected a length of 1 image or more, got {self.length}; raise it")
        if not isinstance(self.fatal, tuple | list):
            raise BadInput(f"expected fatal classes as a tuple, got {self.fatal!r:.60}")
        if not callable(self.reward):
            raise BadInput(
                f"expected a reward such as holdfast.feedback.Signed(), got {self.reward!r:.60}"
            )
        classes, side = self.dataset.classes, max(self.dataset.image[1:])
        if classes < 2:
            raise BadInput(f"expected 2 classes or more, got {classes}; take other data")
        if not all(0 <= c < classes for c in self.fatal):
            raise BadInput(f"expected fatal classes from 0 to {classes - 1}, got {self.fatal}")
        if self.pad_to is not None and self.pad_to < side:
            raise BadInput(
                f"expected pad_to of {side} or more, the side of the images, got {self.pad_to}; "
                "raise it"
            )
        if len(self.images) == 0:
            raise BadInput(f"expected images in the split {self.split}, got none; take another")

    @functools.cached_property
    def dataset(self) -> Dataset:
        """The data set; one given by name is read once for all environments, a folder of images,
        which stay on disk, for each."""
        return _loaded(self.data, self.root) if isinstance(self.data, str) else self.data

    @functools.cached_property
    def images(self) -> Split:
        """The split that images are drawn from, on the CPU."""
        return getattr(self.dataset, self.split).to("cpu")

    @functools.cached_property
    def told(self) -> np.ndarray:
        """The reward of each pick (column) for each true class (row), float64."""
        counts = self.dataset.train.counts(self.dataset.classes)
        labels = torch.arange(self.dataset.classes)
        reward = feedback.suited(self.reward, counts)
        return feedback.table(reward, labels, self.dataset.classes).double().numpy()

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(channel, height, width)` of what is shown."""
        channels, height, width = self.dataset.image
        return channels, self.pad_to or height, self.pad_to or width


def task(options: Mapping[str, Any]) -> Task:
    """The task with these options. Raises BadInput for one that there is not."""
    known = {f.name: f.name for f in dataclasses.fields(Task)}
    return Task(**{choose(known, name, "option"): value for name, value in options.items()})


def _loaded(name: str, root: Path | str | None) -> Dataset:
    _, own, path = name.partition(":")
    file = Path(path).expanduser().resolve()
    if own and not file.is_file():
        return datasets.load(name, root=root)
    state = file.stat() if own else None
    return _kept(name, root_of(root), state and (file, state.st_mtime_ns, state.st_size))


@functools.lru_cache(maxsize=2)
def _kept(name: str, root: Path, state: tuple[Path, int, int] | None) -> Dataset:
    """The data set, read anew where a file of the user's own is in another state."""
    return datasets.load(name, root=root)
