"""The user's own arrays: what is accepted, and one line for everything that is not."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from holdfast import data, feedback, training
from holdfast.errors import BadInput

RNG = np.random.default_rng(0)
GOOD = {
    "train_x": RNG.integers(0, 256, (30, 3, 6, 5), dtype=np.uint8),
    "train_y": np.arange(30) % 3,
    "test_x": RNG.integers(0, 256, (9, 3, 6, 5), dtype=np.uint8),
    "test_y": np.arange(9) % 3,
}


def save(path: Path, **change) -> str:
    np.savez(path, **{k: v for k, v in (GOOD | change).items() if v is not None})
    return f"npz:{path}"


def arrays(**change) -> data.Dataset:
    a = GOOD | change
    return data.from_arrays(
        train=(a["train_x"], a["train_y"]),
        test=(a["test_x"], a["test_y"]),
        validation=a.get("validation"),
        name="mine",
    )


def with_pixel(value: float) -> np.ndarray:
    x = GOOD["test_x"] / 255
    x[4, 1, 2, 3] = x[7, 0, 0, 0] = value
    return x


def with_label(value: int) -> np.ndarray:
    y = GOOD["test_y"].copy()
    y[6] = value
    return y


def test_bytes_that_look_like_few_levels_are_doubted(caplog):
    x, y = np.ones((4, 1, 2, 2), dtype=np.uint8), np.array([0, 0, 1, 1])
    data.from_arrays(train=(x, y), test=(255 * x, y))
    assert caplog.messages == [
        "the largest byte of train_x is 1: bytes are read as shares of 255; scale them where they "
        "are levels from 0 to 1"
    ]


def test_npz_round_trip(tmp_path):
    path = tmp_path / "own.npz"
    found = data.load(save(path))
    assert torch.equal(found.test.pixels, torch.from_numpy(GOOD["test_x"]))
    assert torch.equal(found.test.y, torch.from_numpy(GOOD["test_y"]))
    assert torch.equal(found.train.pixels, torch.from_numpy(GOOD["train_x"])[found.train.index])
    assert sorted([*found.train.index.tolist(), *found.validation.index.tolist()]) == [*range(30)]
    assert torch.bincount(found.validation.y).tolist() == [1, 1, 1]
    assert found.digests == {"own.npz": hashlib.md5(path.read_bytes()).hexdigest()}
    assert found.class_names == ("0", "1", "2") and found.image == (3, 6, 5)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_floats_in_0_to_1_come_back_as_the_bytes_they_stand_for(dtype):
    found = arrays(test_x=(GOOD["test_x"] / 255).astype(dtype))
    assert torch.equal(found.test.pixels, torch.from_numpy(GOOD["test_x"]))


def test_other_floats_are_rounded_to_the_nearest_byte():
    x = np.broadcast_to((GOOD["test_x"] // 2 + 0.6) / 255, (9, 3, 6, 5))
    assert torch.equal(arrays(test_x=x).test.pixels, torch.from_numpy(GOOD["test_x"] // 2 + 1))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16])
def test_torch_tensors_are_taken(dtype):
    x = torch.arange(0, 256, 5, dtype=torch.uint8).reshape(-1, 1, 2, 2)
    given = x if dtype == torch.uint8 else (x / 255).to(dtype)
    y = torch.arange(len(x)) % 2
    found = data.from_arrays(train=(given, y), test=(given, y), class_names=["cat", "dog"])
    assert (found.test.pixels.int() - x.int()).abs().max() <= (1 if dtype == torch.bfloat16 else 0)
    assert found.class_names == ("cat", "dog") and found.name == "arrays"
    assert set(found.digests) == set(GOOD)


def test_images_without_a_channel_axis_have_one_channel():
    found = arrays(train_x=GOOD["train_x"][:, 0], test_x=GOOD["test_x"][:, 0])
    assert found.image == (1, 6, 5)
    assert torch.equal(found.test.pixels[:, 0], torch.from_numpy(GOOD["test_x"][:, 0]))


BAD = {
    "no labels of train": ({"train_y": None}, "got train_x, test_x, test_y; add train_y"),
    "missing": ({"test_y": None}, "got train_x, train_y, test_x; add test_y"),
    "lengths": ({"test_y": np.arange(8) % 3}, "got 9 images in test_x and 8 labels in test_y"),
    "no images": ({"train_x": np.zeros((0, 3, 6, 5), np.uint8)}, "got shape [0, 3, 6, 5]"),
    "flat": ({"test_x": GOOD["test_x"].reshape(9, -1)}, "in test_x, got shape [9, 90]; reshape"),
    "last": ({"test_x": np.zeros((9, 6, 5, 3), np.uint8)}, "x.transpose(0, 3, 1, 2)"),
    "size": ({"test_x": np.zeros((9, 3, 5, 5), np.uint8)}, "[3, 6, 5] and [3, 5, 5]"),
    "nan": ({"test_x": with_pixel(np.nan)}, "finite pixels in test_x, got nan in image 4"),
    "inf": ({"test_x": with_pixel(np.inf)}, "finite pixels in test_x, got inf in image 4"),
    "above": ({"test_x": with_pixel(1.5)}, "[0, 1] in test_x, got 1.5 in image 4"),
    "below": ({"test_x": with_pixel(-0.5)}, "[0, 1] in test_x, got -0.5 in image 4"),
    "ints": ({"test_x": GOOD["test_x"].astype(int)}, "uint8 or float pixels in test_x, got int64"),
    "bools": ({"test_x": GOOD["test_x"] > 9}, "uint8 or float pixels in test_x, got bool"),
    "negative": ({"test_y": with_label(-1)}, "labels 0 to 2 in test_y, got -1 for image 6"),
    "beyond": ({"test_y": with_label(3)}, "labels 0 to 2 in test_y, got 3 for image 6"),
    "huge": ({"train_y": np.full(30, 10**12)}, "in train_y, got 1000000000000 for image 0"),
    "unsigned": ({"test_y": np.full(9, 2**64 - 1, np.uint64)}, "got 18446744073709551615"),
    "float labels": ({"test_y": GOOD["test_y"] * 1.0}, "integer labels in test_y, got float64"),
    "one-hot": ({"test_y": np.eye(3, dtype=int)[GOOD["test_y"]]}, "with y.argmax(1)"),
    "one each": ({"train_x": GOOD["train_x"][:3], "train_y": np.arange(3)}, "at least two train"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_arrays_are_refused_in_one_line(kind, tmp_path):
    change, says = BAD[kind]
    with pytest.raises(BadInput) as caught:
        data.load(save(tmp_path / "own.npz", **change))
    line = str(caught.value)
    assert line.startswith("expected ") and says in line and "\n" not in line and "; " in line


def test_names_decide_the_number_of_classes():
    pair = (GOOD["train_x"], GOOD["train_y"])
    assert data.from_arrays(train=pair, test=pair, class_names=list("abcd")).classes == 4
    with pytest.raises(BadInput, match="labels 0 to 1 in train_y, got 2 for image 2"):
        data.from_arrays(train=pair, test=pair, class_names=["a", "b"])


@pytest.mark.parametrize("way", ["arrays", "npz"])
def test_images_for_validation_are_used_as_they_are(way, tmp_path, caplog):
    """And nothing is held out of train for it."""
    own = {"validation_x": GOOD["test_x"][:4] + 1, "validation_y": GOOD["test_y"][:4]}
    pair = (own["validation_x"], own["validation_y"])
    made = {
        "arrays": lambda: arrays(validation=pair),
        "npz": lambda: data.load(save(tmp_path / "own.npz", **own, val_x=GOOD["test_x"])),
    }
    found = made[way]()
    assert len(found.train) == len(GOOD["train_y"]) and len(found.test) == len(GOOD["test_y"])
    assert np.array_equal(found.validation.pixels.numpy(), own["validation_x"])
    assert found.validation.y.tolist() == own["validation_y"].tolist()
    assert found.validation.index.tolist() == [30, 31, 32, 33]  # none of train's
    assert ("passed over in" in caplog.text and "val_x" in caplog.text) == (way == "npz")
    assert way == "npz" or {*own} < {*found.digests}


@pytest.mark.parametrize("way", ["arrays", "npz"])
def test_images_for_test_alone_can_judge(way, tmp_path):
    pair = (GOOD["test_x"][:2], np.array([1, 1]))
    np.savez(tmp_path / "own.npz", test_x=pair[0], test_y=pair[1])
    found = data.from_arrays(test=pair) if way == "arrays" else data.load(f"npz:{tmp_path}/own.npz")
    assert (len(found.train), len(found.validation), len(found.test)) == (0, 0, 2)
    assert found.image == (3, 6, 5) and found.classes == 2
    with pytest.raises(BadInput, match=r"expected images to train on in .*, got none"):
        found.mean  # noqa: B018
    balanced = feedback.CrossEntropy(weights="balanced")
    flat = nn.Sequential(nn.Flatten(), nn.Linear(90, 2))
    with pytest.raises(BadInput, match="images in the train split, got none"):
        training.train(flat, found, objective=balanced)


def test_images_for_validation_are_checked_like_others(tmp_path):
    few = (GOOD["test_x"][:4], GOOD["test_y"][:4] + 1)
    with pytest.raises(BadInput, match="labels 0 to 2 in validation_y, got 3"):
        arrays(validation=few)
    with pytest.raises(BadInput, match=r"train and validation images of one shape, got \[3, 6, 5"):
        arrays(validation=(few[0][:, :, :5], GOOD["test_y"][:4]))
    with pytest.raises(BadInput, match="add validation_y"):
        data.load(save(tmp_path / "own.npz", validation_x=few[0]))


def write_single_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, GOOD["train_x"])


def write_truncated(path: Path) -> None:
    save(path)
    path.write_bytes(path.read_bytes()[:-100])


def write_changed(path: Path) -> None:
    save(path)
    raw = bytearray(path.read_bytes())
    raw[1000] ^= 1
    path.write_bytes(raw)


def write_pickled(path: Path) -> None:
    save(path, train_y=np.array([object()] * 30))


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (lambda path: None, "No such file"),
        (Path.mkdir, "Is a directory"),
        (Path.touch, "expected an .npz archive of plain arrays"),
        (lambda path: path.write_text("x,y\n1,2\n"), "expected an .npz archive of plain arrays"),
        (write_single_array, "got a single array"),
        (write_truncated, "expected an .npz archive of plain arrays"),
        (write_changed, "Bad CRC-32"),
        (write_pickled, "Object arrays cannot be loaded when allow_pickle=False"),
    ],
    ids=["gone", "folder", "empty", "text", "npy", "truncated", "changed", "pickled"],
)
def test_bad_files_are_refused_in_one_line(write, says, tmp_path):
    path = tmp_path / "own.npz"
    write(path)
    with pytest.raises(BadInput) as caught:
        data.load(f"npz:{path}")
    assert says in str(caught.value) and str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_labels_from_one_and_columns_of_labels(caplog):
    x, y = np.zeros((40, 8, 8), np.uint8), np.arange(40) % 3
    data.from_arrays(train=(x, y), test=(x, y))
    assert "no training image" not in caplog.text
    data.from_arrays(train=(x, y + 1), test=(x, y + 1))
    assert "1 of 4 classes have no training image, 0 among them" in caplog.text
    with pytest.raises(BadInput, match=r"take y\[:, 0\]"):
        data.from_arrays(train=(x, y[:, None]), test=(x, y))
