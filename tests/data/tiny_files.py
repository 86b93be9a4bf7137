"""Tiny data sets in the published formats, written here byte by byte."""

import gzip
import hashlib
import itertools
import struct

import numpy as np

from holdfast.data import sources

TRAIN, TEST, CLASSES = 60, 20, 10


def idx_bytes(array: np.ndarray) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def python2_pickle(record: dict) -> bytes:
    """What Python 2's cPickle wrote for CIFAR: byte strings, small numbers, lists, one array."""
    memo = itertools.count(1)

    def put(raw: bytes) -> bytes:
        return raw + b"r" + struct.pack("<I", next(memo))

    def write(value) -> bytes:
        if isinstance(value, bytes):
            return put(b"U" + bytes([len(value)]) + value)
        if isinstance(value, int):
            return b"M" + struct.pack("<H", value)
        if isinstance(value, list):
            return put(b"]") + b"(" + b"".join(write(item) for item in value) + b"e"
        return (
            put(b"cnumpy.core.multiarray\n_reconstruct\n")
            + put(b"cnumpy\nndarray\n")
            + b"K\x00\x85U\x01b\x87R(K\x01"
            + b"".join(write(length) for length in value.shape)
            + b"\x86"
            + put(b"cnumpy\ndtype\n")
            + b"U\x02u1K\x00K\x01\x87R(K\x03U\x01|NNN"
            + 2 * b"J\xff\xff\xff\xff"
            + b"K\x00tb\x89T"
            + struct.pack("<I", value.nbytes)
            + value.tobytes()
            + b"tb"
        )

    items = b"".join(write(key) + write(value) for key, value in record.items())
    return b"\x80\x02" + put(b"}") + b"(" + items + b"u."


def labels(n: int) -> np.ndarray:
    return np.arange(n) % CLASSES


def pictures(n: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (n, *shape), dtype=np.uint8)


def mnist_files() -> dict[str, bytes]:
    plain = {
        "train-images-idx3-ubyte": idx_bytes(pictures(TRAIN, 28, 28)),
        "train-labels-idx1-ubyte": idx_bytes(labels(TRAIN)),
        "t10k-images-idx3-ubyte": idx_bytes(pictures(TEST, 28, 28)),
        "t10k-labels-idx1-ubyte": idx_bytes(labels(TEST)),
    }
    return plain | {f"{name}.gz": gzip.compress(raw, mtime=0) for name, raw in plain.items()}


def cifar10_files() -> dict[str, bytes]:
    def batch(k: int) -> bytes:
        rows = slice(k * TRAIN // 5, (k + 1) * TRAIN // 5)
        return cifar_batch(pictures(TRAIN, 3072)[rows], labels(TRAIN)[rows])

    names = [b"class %d" % k for k in range(CLASSES)]
    return {f"data_batch_{k + 1}": batch(k) for k in range(5)} | {
        "test_batch": cifar_batch(pictures(TEST, 3072), labels(TEST)),
        "batches.meta": python2_pickle({b"label_names": names}),
    }


def cifar_batch(data: np.ndarray, y: np.ndarray) -> bytes:
    return python2_pickle({b"labels": y.tolist(), b"data": data})


FILES = {"mnist": mnist_files(), "cifar10": cifar10_files()}


def stamp(raw: bytes) -> sources.Stamp:
    return sources.Stamp(md5=hashlib.md5(raw).hexdigest(), size=len(raw))
