"""Folders of images: which files are read, and how they are split."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_folders import fill, load, picture, refused

from holdfast import data
from holdfast.data import imagenet
from holdfast.errors import BadInput

LAYOUTS = {  # folders beside train -> images in (train, validation, test)
    "train val test": (60, 9, 12),
    "train test": (54, 6, 12),
    "train val": (54, 6, 9),
    "train": (48, 6, 6),
}


@pytest.mark.parametrize("kept", LAYOUTS)
def test_splits(pets, kept):
    for part in {"train", "val", "test"} - set(kept.split()):
        shutil.rmtree(pets / part)
    check_splits(load(pets), LAYOUTS[kept], held=len(kept.split()) < 3)


def test_splits_of_class_folders_alone(pets):
    check_splits(load(pets / "train"), (48, 6, 6), held=True)


def check_splits(found: data.Dataset, sizes: tuple[int, int, int], held: bool) -> None:
    splits = (found.train, found.validation, found.test)
    assert tuple(map(len, splits)) == sizes and found.class_names == ("a", "b", "c")
    for split in splits:
        assert torch.bincount(split.y).unique().numel() == 1, "the same share of every class"
    if held:
        assert not set(found.train.index.tolist()) & set(found.validation.index.tolist())
    if sizes == (48, 6, 6):
        index = torch.cat([split.index for split in splits])
        assert torch.equal(index.sort().values, torch.arange(60))


def test_whom_the_hold_out_takes_is_the_same_for_ever(pets):
    assert load(pets / "train").test.index.tolist() == [0, 18, 21, 30, 46, 54]
    shutil.rmtree(pets / "val")
    assert load(pets).validation.index.tolist() == [0, 18, 21, 30, 46, 54]


def test_hidden_and_other_files_are_passed_over_and_endings_may_be_upper_case(pets):
    before = load(pets)
    (pets / "train/a/.hidden.png").write_bytes(b"none")
    (pets / "train/a/Thumbs.db").write_bytes(b"none")
    (pets / "train/.git").mkdir()
    (pets / "train/notes.txt").touch()
    assert load(pets).digests == before.digests
    picture(9).save(pets / "train/c/ZZ.JPEG")
    assert len(load(pets).train) == 61


def unknown_class(pets: Path) -> None:
    (pets / "val/b").rename(pets / "val/bb")


def empty_class(pets: Path) -> None:
    (pets / "train/d").mkdir()


def no_train(pets: Path) -> None:
    (pets / "train").rename(pets / "training")


def no_classes(pets: Path) -> None:
    shutil.rmtree(pets)
    pets.mkdir()


def no_test_images(pets: Path) -> None:
    for file in (pets / "test").glob("*/*"):
        file.unlink()


def one_image_each(pets: Path) -> None:
    shutil.rmtree(pets)
    fill(pets, "ab", 1)


def link_to_nothing(pets: Path) -> None:
    (pets / "train/a/99.png").symlink_to("moved.png")


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing there": (shutil.rmtree, "No such file"),
    "a class that train lacks": (unknown_class, "val only the classes of train, got 'bb'"),
    "an empty class": (empty_class, "train/d, got none"),
    "no train": (no_train, "a folder train beside val"),
    "no classes": (no_classes, "two or more, got 0"),
    "no test images": (no_test_images, "expected images for test"),
    "a link to nothing": (link_to_nothing, "behind the link"),
    "too few to hold out": (one_image_each, "expected images for test"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_folders_are_refused_in_one_line(pets, kind):
    spoil, says = BAD[kind]
    spoil(pets)
    assert says in refused(pets)


def test_sizes(pets):
    assert load(pets, size=None).image == (3, 64, 64)
    assert "size of 8 or more, got 0" in refused(pets, size=0)
    assert data.load("digits", size=8).image == (1, 8, 8)
    with pytest.raises(BadInput, match="its images, 8x8, got 64"):
        data.load("digits", size=64)


@pytest.fixture
def ours(tmp_path, cache) -> Path:
    """A root with ImageNet's layout: two images and one for each of the hundred, and strangers."""
    for part, images in {"train": 2, "val": 1}.items():
        for name in [*imagenet.synsets(), "n99999999"]:
            (tmp_path / "imagenet" / part / name).mkdir(parents=True)
            for k in range(images):
                file = tmp_path / "imagenet" / part / name / f"{k}.JPEG"
                picture(k, int(name[1:]), width=9, height=9).save(file)
    (tmp_path / "imagenet/test").mkdir()  # published without labels
    return tmp_path


def test_imagenet100_is_a_hundred_classes_of_a_folder(ours):
    found = data.load("imagenet100", root=ours, size=8)
    assert found.class_names == imagenet.synsets() and found.classes == len(set(found.class_names))
    assert [len(s) for s in (found.train, found.validation, found.test)] == [100, 100, 100]
    assert found.test.y.tolist() == [*range(100)] and found.name == "imagenet100"
    within = data.load("imagenet100", root=ours / "imagenet", size=8)
    assert within.digests == found.digests
    status = {s.name: s for s in data.survey(ours)}["imagenet100"]
    assert (status.state, status.images, status.classes) == ("ready", 300, 100)


def test_imagenet100_says_what_is_missing(ours):
    gone = imagenet.synsets()[3]
    shutil.rmtree(ours / "imagenet/val" / gone)
    with pytest.raises(BadInput, match=f"got 1 of 200 missing, first val/{gone}"):
        data.load("imagenet100", root=ours)
    status = {s.name: s for s in data.survey(ours)}["imagenet100"]
    assert (status.state, status.detail) == ("missing", "1 of 200 folders missing")


def test_an_empty_class_of_imagenet_is_listed_as_damage(ours):
    for file in (ours / "imagenet" / "train" / imagenet.synsets()[3]).iterdir():
        file.unlink()
    state = {one.name: one for one in data.survey(ours)}["imagenet100"]
    assert state.state == "damaged" and imagenet.synsets()[3] in state.detail


def test_what_is_passed_over_is_said(pets, caplog):
    fill(pets / "validation", "abc", 1)
    fill(pets / "train" / "a" / "more", "x", 1)
    picture(1).save(pets / "train" / "b" / "scan.tif")
    load(pets)
    beside, within = caplog.messages
    assert "passed over" in beside and "validation; its parts are train, val, test" in beside
    assert "2 folders and images of other kinds" in within and "train/a/more" in within


def test_classes_keep_their_places_among_others(pets, caplog):
    found = load(pets)
    assert found.labelled_as(found.class_names).class_names == found.class_names
    among = found.labelled_as(["z", "c", "b", "a"])
    assert among.classes == 4 and among.class_names == ("z", "c", "b", "a")
    for part in ("train", "validation", "test"):
        before, after = (getattr(one, part) for one in (found, among))
        assert torch.equal(after.y, 3 - before.y) and after.pixels is before.pixels
    assert found.labelled_as("012") is found and not caplog.messages
    numbered = dataclasses.replace(found, class_names=("0", "1", "2"))
    assert numbered.labelled_as("210") is numbered.labelled_as("abc") is numbered
    assert found.labelled_as(["a", "b", "see"]) is found and "has a class 'c'" in caplog.text
    with pytest.raises(BadInput, match=r"expected the classes b, a, d in .*, got 'c'"):
        found.labelled_as(["b", "a", "d"])


def test_files_are_the_same_unpacked_and_others_are_not(pets):
    found = dataclasses.replace(load(pets), digests={"x": "1", "y": "2"})
    assert found.changed({"x": "1", "y": "2"}) is None
    assert found.changed({"x.gz": "7", "y": "2"}) is None
    assert found.changed({"x": "2", "y": "1"}) == "x"
    assert found.changed({"moved": "2", "also": "1"}) is None and found.changed({"moved": "3"})
    assert found.changed({"x": "1"}) == "y" and found.changed({**found.digests, "z": "3"}) == "z"
