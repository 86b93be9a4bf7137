"""A data set: its splits as bytes on a device or in a file, and the fixed rules that make them."""

import dataclasses
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from holdfast import noise
from holdfast.errors import BadInput, suggest
from holdfast.types import Images, Labels, Pixels, image_shape

# The keys of the choices below. A change would change every number measured so far.
HOLD_OUT = 20_240_601
SAMPLE = 20_240_602
RESIDENT = 0.25  # largest share of a GPU's memory for the pixels of one split
COUNTED = 1024  # images whose pixels are counted together
log = logging.getLogger("holdfast")


@dataclass(frozen=True, eq=False, kw_only=True)
class Split:
    """Images and labels of one split, kept as bytes.

    pixels: 0 to 255, `[n, channel, height, width]`; those of a memory map are read from disk
        when they are looked at, and must not be written to.
    y: labels, `[n]`.
    index: position of each image in the data set as published, `[n]`: for train and validation
        in the published training file, for test in the test file.
    """

    pixels: Pixels
    y: Labels
    index: Labels

    @property
    def x(self) -> Images:
        """All images in float32, in [0, 1]; four times the memory of `pixels`."""
        return self.pixels.to(self.y.device).to(torch.float32).div_(255)

    def __len__(self) -> int:
        return len(self.y)

    def __repr__(self) -> str:
        return f"Split of {len(self)} images {image_shape(self.pixels)} on {self.y.device}"

    def sample(self, n: int) -> "Split":
        """At most n images: the same ones every time, in index order, in the classes' proportions.

        Seats are given as in Webster's method: to within one image in sets whose classes are of
        like size; beside many tiny classes, whose turns come together, a large one can miss its
        share by more. A smaller sample is part of a larger one.
        Raises BadInput where n < 1; with n >= len this is the split itself.
        """
        if n < 1:
            raise BadInput(f"expected a sample of at least 1 image, got {n}; ask for more")
        if n >= len(self):
            return self
        chosen = in_turn(self.y, self.index)[:n]
        return self.only(chosen[self.index.cpu()[chosen].argsort()])

    def to(self, device: str | torch.device) -> "Split":
        """The same split on another device.

        Pixels that would take more than a quarter of a GPU's memory stay where they are; `x`,
        `sample` and `batches` bring over what they are asked for.
        """
        y, index = self.y.to(device), self.index.to(device)
        fits = self.pixels.nbytes <= RESIDENT * _memory(y.device)
        return Split(pixels=self.pixels.to(device) if fits else self.pixels, y=y, index=index)

    def relabelled(self, place: Labels) -> "Split":
        """The same images, those labelled k now with place[k]."""
        return dataclasses.replace(self, y=place.to(self.y.device)[self.y])

    def counts(self, classes: int) -> list[int]:
        """How many images there are of each class."""
        return torch.bincount(self.y, minlength=classes).tolist()

    def part(self, rank: int, size: int) -> "Split":
        """Every `size`-th image from the one numbered `rank`: one process's share."""
        return self if size == 1 else self.only(torch.arange(rank, len(self), size))

    def only(self, rows: Tensor) -> "Split":
        """The images in these rows, in this order."""
        near, far = rows.to(self.y.device), rows.to(self.pixels.device)
        found = Split(pixels=self.pixels[far], y=self.y[near], index=self.index[near])
        return found.to(self.y.device)


@dataclass(frozen=True, eq=False, kw_only=True)
class Dataset:
    """A named data set in three disjoint splits.

    class_names: one name for each label.
    digests: MD5 of each file read (of the arrays themselves where there was no file).
    resized: side of the images in pixels, where they were brought to one that was asked for.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...]
    digests: dict[str, str]
    resized: int | None = None

    def __repr__(self) -> str:
        splits = ", ".join(f"{len(getattr(self, n))} {n}" for n in ("train", "validation", "test"))
        return f"Dataset {self.name}: {splits}; images {self.image}, {self.classes} classes"

    @property
    def image(self) -> tuple[int, int, int]:
        """`(channels, height, width)` of every image."""
        return image_shape(self.train.pixels)

    @property
    def classes(self) -> int:
        return len(self.class_names)

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean of each channel over the train split, in units of [0, 1]. Raises BadInput where that
        is empty."""
        return self._moments[0]

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of each channel over the train split's pixels, in units of [0, 1].

        0 for a channel that never changes.
        """
        return self._moments[1]

    def to(self, device: str | torch.device) -> "Dataset":
        """The same data set on another device."""
        return self._each(lambda split: split.to(device))

    def labelled_as(self, names: Sequence[str]) -> "Dataset":
        """The same images, each with the place of its class among these names, of which some may
        have no images here. Classes without a namesake are taken in their order, with a warning
        where both have names; so are those that are numbered from 0, for want of names.

        Raises BadInput for those beside others whose namesakes are at another place.
        """
        here, known = self.class_names, {name: label for label, name in enumerate(names)}
        if _numbered(here):
            return self
        place = [known.get(name, -1) for name in here]
        if -1 not in place:
            moved = self._each(lambda split: split.relabelled(torch.tensor(place)))
            return dataclasses.replace(moved, class_names=tuple(names))
        other = here[place.index(-1)]
        if any(at not in (-1, label) for label, at in enumerate(place)):
            raise BadInput(
                f"expected the classes {', '.join(names)} in {self.name}, got '{other}'"
                f"{suggest(other, names)}; rename or remove it"
            )
        if not _numbered(names):
            log.warning("%s has a class '%s', which is none of %s; classes are taken in their "
                        "order", self.name, other, ", ".join(names))  # fmt: skip
        return self

    def changed(self, digests: Mapping[str, str]) -> str | None:
        """The first file, or array, whose digest differs or that only one side has; None: all
        match. Published files may have been unpacked since, and a user's file renamed."""
        here, there = ({k.removesuffix(".gz") for k in held} for held in (self.digests, digests))
        if here.isdisjoint(there) and {*self.digests.values()} == {*digests.values()}:
            return None
        other = [name for name, one in self.digests.items() if digests.get(name, one) != one]
        return next(iter([*other, *sorted(here ^ there)]), None)

    def _each(self, change: Callable[[Split], Split]) -> "Dataset":
        """The same with each of its splits changed."""
        splits = {name: change(getattr(self, name)) for name in ("train", "validation", "test")}
        return dataclasses.replace(self, **splits)

    @cached_property
    def _moments(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        if not len(self.train):
            raise BadInput(f"expected images to train on in {self.name}, got none")
        count = torch.zeros(self.image[0], 256, dtype=torch.float64)
        for part in self.train.pixels.split(COUNTED):
            count += _histograms(part)
        means, stds = zip(*map(_mean_and_std, count), strict=True)
        return means, stds


def _numbered(names: Sequence[str]) -> bool:
    return [*names] == [str(label) for label in range(len(names))]


def in_turn(y: Labels, index: Labels) -> Int[Tensor, " batch"]:
    """An order of images of which every beginning holds the classes in their proportions: the same
    for the same labels and positions. Classes of one size take turns."""
    where, place = y.cpu().numpy(), index.cpu().numpy()
    rank, count = rank_in_class(where, place, SAMPLE)
    return torch.from_numpy(np.lexsort((place, where, (rank + 0.5) / count[where])))


def rank_in_class(y: np.ndarray, index: np.ndarray, key: int) -> tuple[np.ndarray, np.ndarray]:
    """Each image's place `[n]` in a shuffle of its own class, and the sizes of the classes.

    It depends on the labels, the indices and the key alone: the same on every machine.
    """
    draw = noise.uniform(torch.from_numpy(index), (), key).numpy()
    order = np.lexsort((index, draw, y))
    count = np.bincount(y)
    start = np.cumsum(count) - count
    rank = np.empty(len(y), dtype=np.int64)
    rank[order] = np.arange(len(y)) - start[y[order]]
    return rank, count


def held_out(y: np.ndarray, index: np.ndarray, tenths: int) -> np.ndarray:
    """Which images `[n]` to hold out: so many tenths of each class, for ever the same ones.

    Rounded half up to whole images, and at least one of a class that has two or more.
    """
    rank, count = rank_in_class(y, index, HOLD_OUT)
    quota = np.maximum((count * tenths + 5) // 10, (count > 1).astype(np.int64))
    return rank < quota[y]


def split(pixels: np.ndarray, y: np.ndarray, index: np.ndarray, rows: np.ndarray) -> Split:
    """The chosen rows (a mask `[n]`) of arrays as a split; the arrays are copied."""
    return Split(
        pixels=torch.from_numpy(pixels[rows]),
        y=torch.from_numpy(y[rows]),
        index=torch.from_numpy(index[rows]),
    )


def _memory(device: torch.device) -> float:
    """Bytes that a device holds; without bound where it is no GPU."""
    cuda = device.type == "cuda"
    return torch.cuda.get_device_properties(device).total_memory if cuda else math.inf


def _histograms(pixels: Pixels) -> Float[Tensor, "channel 256"]:
    """How often each byte occurs; counting keeps the moments exact for any number of pixels."""
    channels = pixels.unbind(1)
    return (
        torch.stack([torch.bincount(c.flatten(), minlength=256) for c in channels]).double().cpu()
    )


def _mean_and_std(count: Float[Tensor, " 256"]) -> tuple[float, float]:
    value = torch.arange(256, dtype=torch.float64) / 255
    share = count / count.sum()
    mean = (share * value).sum()
    return mean.item(), (share * (value - mean).square()).sum().sqrt().item()
