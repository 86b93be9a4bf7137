"""CIFAR's batches: dictionaries that Python 2 pickled, read without running what a pickle names."""

import io
import pickle
import warnings
from typing import Any

import numpy as np

from holdfast.errors import BadInput, cause

# All that rebuilding an array takes. The first is reached by way of an array because numpy moved
# it from numpy.core to numpy._core.
REBUILD = np.empty(0).__reduce__()[0]
ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): REBUILD,
    ("numpy._core.multiarray", "_reconstruct"): REBUILD,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that knows plain values and arrays, and refuses every other name."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if (module_name, global_name) not in ALLOWED:
            raise BadInput(f"the name {module_name}.{global_name}")
        return ALLOWED[module_name, global_name]


def unpickle(content: bytes, name: str) -> dict[bytes, Any]:
    """The dictionary in one of CIFAR's files; its keys and strings are bytes.

    Raises BadInput where the pickle is broken or names anything but numpy arrays.
    """
    try:
        with warnings.catch_warnings():
            # numpy 2.4.0 to 2.4.4 warn about the 0 that these pickles give as dtype's `align`
            # (numpy pull requests 29301 and 31177).
            warnings.simplefilter("ignore")
            record = _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
    except BadInput as refused:
        raise _broken(name, "a pickle of arrays only", str(refused)) from None
    except Exception as error:  # a damaged pickle may raise anything
        raise _broken(name, "a pickled dictionary", cause(error)) from None
    if not isinstance(record, dict):
        raise _broken(name, "a pickled dictionary", type(record).__name__)
    return record


def batch(content: bytes, labels: bytes, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Images `[n, 3, 32, 32]` in uint8 and labels `[n]` in int64; `labels` is their key."""
    record = unpickle(content, name)
    rows, y = record.get(b"data"), record.get(labels)
    side = 32
    if not (isinstance(rows, np.ndarray) and rows.dtype == np.uint8 and rows.ndim == 2):
        raise _broken(name, "rows of uint8 pixels under b'data'", _kind(rows))
    if rows.shape[1] != 3 * side**2:
        raise _broken(name, f"{3 * side**2} pixels a row", f"{rows.shape[1]}")
    if not (isinstance(y, list) and all(type(label) is int for label in y)):
        raise _broken(name, f"a list of whole numbers under {labels!r}", _kind(y))
    if len(y) != len(rows):
        raise _broken(name, f"{len(rows)} labels", f"{len(y)}")
    return rows.reshape(-1, 3, side, side), np.array(y, dtype=np.int64)


def class_names(content: bytes, key: bytes, name: str) -> tuple[str, ...]:
    """The names of the classes in order, from CIFAR's meta file."""
    names = unpickle(content, name).get(key)
    if not (isinstance(names, list) and all(isinstance(each, bytes) for each in names)):
        raise _broken(name, f"a list of names under {key!r}", _kind(names))
    return tuple(each.decode() for each in names)


def _kind(value: object) -> str:
    return "nothing" if value is None else type(value).__name__


def _broken(name: str, expected: str, got: str) -> BadInput:
    return BadInput(f"expected {expected} in {name}, got {got}; delete the file and fetch it again")
