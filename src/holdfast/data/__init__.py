"""Named data sets as tensors, in memory or over a file; augmentation, splits, checked files."""

from holdfast.data.arrays import from_arrays
from holdfast.data.augment import Augment
from holdfast.data.batches import batches
from holdfast.data.dataset import Dataset, Split, in_turn
from holdfast.data.files import root_of
from holdfast.data.listing import FileStatus, survey
from holdfast.data.loading import load, loadable, resizable

__all__ = [
    "Augment",
    "Dataset",
    "FileStatus",
    "Split",
    "batches",
    "from_arrays",
    "in_turn",
    "load",
    "loadable",
    "resizable",
    "root_of",
    "survey",
]
