"""Named data sets as tensors on a device; augmentation, splits, and checks of the files."""

from holdfast.data.arrays import from_arrays
from holdfast.data.augment import Augment
from holdfast.data.batches import batches
from holdfast.data.dataset import Dataset, Split
from holdfast.data.files import root_of
from holdfast.data.listing import FileStatus, survey
from holdfast.data.loading import load

__all__ = [
    "Augment",
    "Dataset",
    "FileStatus",
    "Split",
    "batches",
    "from_arrays",
    "load",
    "root_of",
    "survey",
]
