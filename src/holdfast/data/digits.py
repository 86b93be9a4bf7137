"""The 1,797 digits that come with scikit-learn."""

import importlib.util
from pathlib import Path

import numpy as np

from holdfast.data.arrays import assemble, md5
from holdfast.data.dataset import Dataset, held_out
from holdfast.data.sources import DIGITS
from holdfast.errors import BadInput

MD5 = {  # of the arrays as read here: scikit-learn publishes no digest
    "pixels": "3882073453642be58b6586ccbbbf7eb2",
    "labels": "1041ea9b393a866c07fc3ca1c2bb06cd",
}


def digits() -> Dataset:
    """1,797 images of 8x8 in ten classes, a fixed fifth of each class as test.

    They have no published split: every index is the position in the one published file. Raises
    BadInput where scikit-learn is not installed or its digits are not the known ones.
    """
    x, y = _bundled()
    index = np.arange(len(y))
    test = held_out(y, index, tenths=2)
    return assemble(
        name="digits",
        train=(x[~test], y[~test]),
        test=(x[test], y[test]),
        index=(index[~test], index[test]),
        class_names=DIGITS,
        digests=MD5,
    )


def _bundled() -> tuple[np.ndarray, np.ndarray]:
    """Images `[n, 1, 8, 8]` in uint8 and labels `[n]`, checked."""
    table = _table()
    x = np.rint(table[:, :64] * 255 / 16).astype(np.uint8).reshape(-1, 1, 8, 8)  # were 0 to 16
    y = table[:, 64].astype(np.int64)
    if {"pixels": md5(x), "labels": md5(y)} != MD5:
        raise BadInput(
            f"expected scikit-learn's 1,797 digits, got {len(x)} others; reinstall scikit-learn"
        )
    return x, y


def _table() -> np.ndarray:
    """Rows of 64 pixels and a label, from scikit-learn's file.

    Without importing scikit-learn, which takes seconds, as long as the file is where it has been.
    """
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise BadInput(
            "expected scikit-learn, which holds the digits, got no such module; "
            "pip install scikit-learn"
        )
    file = Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if file.exists():
        return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return np.column_stack([x, y])
