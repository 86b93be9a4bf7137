"""Folders of images: what is read, how it is split, and the map that is made of it once."""

import hashlib
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from holdfast import data
from holdfast.data import imagenet, maps
from holdfast.errors import BadInput

SIZE = 16


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """A cache of the test's own; its maps are in the folder given."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "holdfast" / "maps"


def picture(*key: int, width: int = 21, height: int = 18) -> Image.Image:
    noise = np.random.default_rng(key).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def fill(folder: Path, classes: str, images: int, ending: str = "png") -> None:
    """So many images, all different, for each class, named by a letter."""
    for name in classes:
        (folder / name).mkdir(parents=True)
        for k in range(images):
            key = sum(map(ord, folder.name)), ord(name), k
            picture(*key).save(folder / name / f"{k:02d}.{ending}")


@pytest.fixture
def pets(tmp_path) -> Path:
    """Three classes: 20 images each in train, 3 in val, 4 in test."""
    root = tmp_path / "pets"
    for part, images in {"train": 20, "val": 3, "test": 4}.items():
        fill(root / part, "abc", images)
    return root


def load(root: Path, **options) -> data.Dataset:
    return data.load(f"folder:{root}", **{"size": SIZE, **options})


def refused(root: Path, **options) -> str:
    with pytest.raises(BadInput) as caught:
        load(root, **options)
    line = str(caught.value)
    assert line.startswith("expected ") and "\n" not in line and "; " in line
    return line


def direct(file: Path, size: int = SIZE) -> np.ndarray:
    """The same image by Pillow alone, in steps of its own: crop, then resize."""
    image = Image.open(file).convert("RGB")
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    small = image.resize((size, size), Image.Resampling.BILINEAR, box)
    return np.asarray(small).transpose(2, 0, 1)


@pytest.mark.parametrize("size", [8, 16, 40])
def test_pixels_are_those_of_pillow(pets, size):
    found = load(pets, size=size)
    assert found.image == (3, size, size) and found.resized == size
    for part, split in {"train": found.train, "val": found.validation, "test": found.test}.items():
        files = sorted((pets / part).glob("*/*"))
        assert split.pixels.dtype == torch.uint8 and len(split) == len(files)
        for pixels, y, index in zip(split.pixels, split.y, split.index, strict=True):
            file = files[index]
            assert "abc"[y] == file.parent.name
            assert np.array_equal(pixels.numpy(), direct(file, size))


def test_an_image_of_the_size_asked_for_is_taken_byte_by_byte(tmp_path):
    picture(1, width=16, height=16).save(tmp_path / "a.png")
    exact = np.asarray(Image.open(tmp_path / "a.png")).transpose(2, 0, 1)
    assert np.array_equal(maps.decoded(tmp_path / "a.png", 16), exact)


def test_orientation_grey_transparency_and_kinds(tmp_path):
    tall = picture(1, width=20, height=30)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees to the right
    tall.save(tmp_path / "turned.jpg", exif=exif, quality=100)
    upright = ImageOps.fit(
        Image.open(tmp_path / "turned.jpg").rotate(-90, expand=True), (8, 8), Image.Resampling(2)
    )
    assert np.array_equal(
        maps.decoded(tmp_path / "turned.jpg", 8), np.asarray(upright).transpose(2, 0, 1)
    )
    tall.convert("L").save(tmp_path / "grey.bmp")
    grey = maps.decoded(tmp_path / "grey.bmp", 8)
    assert grey.shape == (3, 8, 8) and (grey == grey[:1]).all()
    clear = tall.copy()
    clear.putalpha(0)
    clear.save(tmp_path / "clear.png")
    tall.save(tmp_path / "solid.webp", lossless=True)
    assert np.array_equal(
        maps.decoded(tmp_path / "clear.png", 8), maps.decoded(tmp_path / "solid.webp", 8)
    )


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


def test_the_second_load_decodes_nothing(pets, monkeypatch):
    ticks: list[tuple[int, int]] = []
    first = load(pets, tick=lambda *done: ticks.append(done))
    assert ticks == [(81, 81)]
    monkeypatch.setattr(maps, "decoded", None)
    again = load(pets, tick=lambda *done: pytest.fail("decoded again"))
    assert torch.equal(again.train.pixels, first.train.pixels) and again.digests == first.digests


def test_many_images_are_written_in_order(pets, monkeypatch):
    whole = load(pets).digests
    monkeypatch.setattr(maps, "AT_ONCE", 7)
    monkeypatch.setattr(maps, "FORMAT", 0)
    ticks: list[tuple[int, int]] = []
    assert load(pets, tick=lambda *done: ticks.append(done)).digests == whole
    assert ticks[0] == (7, 81) and ticks[-1] == (81, 81) and len(ticks) == 12


def test_pixels_are_a_view_of_the_file(pets, cache):
    found = load(pets)
    (file,) = cache.glob("*/pixels")
    assert file.stat().st_size == 81 * 3 * SIZE**2
    assert found.digests["pixels"] == hashlib.md5(file.read_bytes()).hexdigest()
    with file.open("r+b") as opened:  # what stands in the file is what the tensors hold
        for at in (0, 60, 69):
            opened.seek(at * 3 * SIZE**2)
            opened.write(b"\x07" * 3 * SIZE**2)
    for split in (found.train, found.validation, found.test):
        assert (split.pixels[0] == 7).all() and not (split.pixels[1] == 7).all()
    assert found.to("cpu").train.pixels.data_ptr() == found.train.pixels.data_ptr()


def test_moments_of_several_parts_are_those_of_all_pixels(pets, monkeypatch):
    found = load(pets)
    monkeypatch.setattr("holdfast.data.dataset.COUNTED", 7)
    x = found.train.x.double()
    assert found.mean == pytest.approx(x.mean((0, 2, 3)).tolist(), abs=1e-7)
    assert found.std == pytest.approx(x.std((0, 2, 3), correction=0).tolist(), abs=1e-7)


def change(pets: Path) -> None:
    picture(99).save(pets / "train/b/03.png")


def touch(pets: Path) -> None:
    os.utime(pets / "train/b/03.png", (1, 1))


def rename(pets: Path) -> None:
    (pets / "train/b/03.png").rename(pets / "train/b/99.png")


def move(pets: Path) -> None:
    (pets / "train/b/03.png").rename(pets / "train/c/99.png")


@pytest.mark.parametrize("how", [change, touch, rename, move], ids=lambda how: how.__name__)
def test_a_changed_folder_makes_a_new_map(pets, cache, how):
    first = load(pets).digests
    how(pets)
    assert (load(pets).digests == first) == (how is touch)
    assert len(list(cache.iterdir())) == 2


def test_a_truncated_map_is_made_again(pets, cache):
    first = load(pets).digests
    (file,) = cache.glob("*/pixels")
    os.truncate(file, 1000)
    assert load(pets).digests == first and file.stat().st_size == 81 * 3 * SIZE**2


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_map_leaves_nothing(pets, cache, error):
    def stop(done: int, images: int) -> None:
        assert list(cache.glob(".*/pixels"))
        raise error

    with pytest.raises(error):
        load(pets, tick=stop)
    assert list(cache.iterdir()) == []
    assert len(load(pets).train) == 60


def test_what_a_killed_process_left_is_removed_with_the_next_try(pets, cache):
    first = load(pets).digests
    (place,) = cache.iterdir()
    place.rename(cache / f".{place.name}.1234")
    assert load(pets).digests == first
    assert [path.name for path in cache.iterdir()] == [place.name]


def test_of_two_at_the_same_time_one_decodes(pets, cache, monkeypatch):
    seen: list[Path] = []
    real = maps.decoded
    monkeypatch.setattr(maps, "decoded", lambda file, size: seen.append(file) or real(file, size))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(load, [pets] * 4))
    assert len(seen) == 81 and len({one.digests["pixels"] for one in found}) == 1
    assert len(list(cache.iterdir())) == 1


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:500])


def deep(file: Path) -> None:
    Image.fromarray(np.full((9, 9), 40_000, dtype=np.uint16)).save(file)


def disguised(file: Path) -> None:
    picture(1).save(file, "GIF")


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (truncated, "truncated"),
    "empty": (lambda file: file.write_bytes(b""), "cannot identify"),
    "text": (lambda file: file.write_text("no image"), "cannot identify"),
    "16 bits": (deep, "more than 8 bits"),
    "another kind": (disguised, "cannot identify"),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_damaged_image_is_named_and_nothing_is_left(pets, cache, how):
    spoil, says = SPOILT[how]
    file = pets / "train/b/07.png"
    spoil(file)
    line = refused(pets)
    assert str(file) in line and says in line
    assert list(cache.iterdir()) == []


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


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing there": (shutil.rmtree, "No such file"),
    "a class that train lacks": (unknown_class, "val only the classes of train, got 'bb'"),
    "an empty class": (empty_class, "train/d, got none"),
    "no train": (no_train, "a folder train beside val"),
    "no classes": (no_classes, "two or more, got 0"),
    "no test images": (no_test_images, "expected images for test"),
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


def test_a_full_disk_is_known_before_and_survived_after(pets, cache, monkeypatch):
    usage = shutil.disk_usage(pets)
    monkeypatch.setattr(maps.shutil, "disk_usage", lambda path: usage._replace(free=5))
    assert "room in" in refused(pets) and "XDG_CACHE_HOME" in refused(pets)
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parents[1]))

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(maps.os, "fsync", full)
    assert "No space left" in refused(pets)
    assert list(cache.iterdir()) == []


@pytest.fixture
def ours(tmp_path) -> Path:
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
