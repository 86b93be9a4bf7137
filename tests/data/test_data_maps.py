"""Decoded images and the map that is made of them once."""

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from tiny_folders import SIZE, load, picture, refused

from holdfast.data import maps


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


def test_the_second_load_decodes_nothing(pets, monkeypatch):
    told: list[tuple[str, int, int]] = []
    first = load(pets, progress=lambda *done: told.append(done))
    assert told == [("images", 81, 81)]
    monkeypatch.setattr(maps, "decoded", None)
    again = load(pets, progress=lambda *done: pytest.fail("decoded again"))
    assert torch.equal(again.train.pixels, first.train.pixels) and again.digests == first.digests


def test_many_images_are_written_in_order(pets, monkeypatch):
    whole = load(pets).digests
    monkeypatch.setattr(maps, "AT_ONCE", 7)
    monkeypatch.setattr(maps, "FORMAT", 0)
    told: list[tuple[str, int, int]] = []
    assert load(pets, progress=lambda *done: told.append(done)).digests == whole
    assert told[0] == ("images", 7, 81) and told[-1] == ("images", 81, 81) and len(told) == 12


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
    def stop(name: str, done: int, images: int) -> None:
        assert list(cache.glob(".*/pixels"))
        raise error

    with pytest.raises(error):
        load(pets, progress=stop)
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


def test_one_that_waited_and_one_that_came_later_are_not_both_alone(tmp_path):
    inside: list[int] = []
    most: list[int] = []

    def hold(seconds: float) -> None:
        with maps._alone(tmp_path / "map"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(seconds)
            inside.pop()

    waiting = [threading.Thread(target=hold, args=(0.3,)) for _ in range(2)]
    with maps._alone(tmp_path / "map"):
        waiting[0].start()
        time.sleep(0.2)  # it waits for the file that goes when this block ends
    waiting[1].start()
    for thread in waiting:
        thread.join()
    assert most == [1, 1] and not list(tmp_path.iterdir())
