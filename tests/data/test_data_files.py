"""Finding, checking and fetching files; loading what they hold."""

import dataclasses
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_files import FILES, TEST, TRAIN, labels, mnist_files, pictures

from holdfast import data
from holdfast.data import files, sources
from holdfast.errors import BadInput

IMAGES = Path("MNIST/raw/train-images-idx3-ubyte")
PACKED = IMAGES.with_name(IMAGES.name + ".gz")


def refused(*args, **options) -> str:
    with pytest.raises(BadInput) as caught:
        data.load(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def whole(loaded: data.Dataset) -> tuple[torch.Tensor, torch.Tensor]:
    """The published train split, put together again by index."""
    index = torch.cat([loaded.train.index, loaded.validation.index])
    order = index.argsort()
    assert torch.equal(index[order], torch.arange(TRAIN))
    pixels = torch.cat([loaded.train.pixels, loaded.validation.pixels])
    return pixels[order], torch.cat([loaded.train.y, loaded.validation.y])[order]


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_mnist_packed_or_not(tiny, suffix):
    for name in mnist_files():
        if name.endswith(".gz") != (suffix == ".gz"):
            (tiny / "MNIST/raw" / name).unlink()
    loaded = data.load("mnist", root=tiny, download=False)
    pixels, y = whole(loaded)
    assert torch.equal(pixels[:, 0], torch.from_numpy(pictures(TRAIN, 28, 28)))
    assert torch.equal(y, torch.from_numpy(labels(TRAIN)))
    assert torch.equal(loaded.test.pixels[:, 0], torch.from_numpy(pictures(TEST, 28, 28)))
    assert loaded.image == (1, 28, 28) and loaded.classes == 10
    stamps = sources.SOURCES["mnist"].files
    assert loaded.digests == {
        n: s.md5 for n, s in stamps.items() if n.endswith("gz") == bool(suffix)
    }


def test_cifar10_batches_are_joined_in_order(tiny):
    loaded = data.load("cifar10", root=str(tiny), download=False)
    pixels, y = whole(loaded)
    assert torch.equal(pixels, torch.from_numpy(pictures(TRAIN, 3, 32, 32)))
    assert torch.equal(y, torch.from_numpy(labels(TRAIN)))
    assert loaded.class_names == tuple(f"class {k}" for k in range(10))


def test_mean_and_std_are_those_of_the_train_split(tiny):
    loaded = data.load("cifar10", root=tiny, download=False)
    x = loaded.train.pixels.double() / 255
    assert loaded.mean == pytest.approx(x.mean((0, 2, 3)).tolist(), rel=1e-12)
    assert loaded.std == pytest.approx(x.std((0, 2, 3), correction=0).tolist(), rel=1e-12)
    assert torch.equal(loaded.train.x, loaded.train.pixels / 255)


def break_file(path: Path, how: str) -> None:
    raw = bytearray(path.read_bytes())
    if how == "changed":
        raw[len(raw) // 2] ^= 1
    path.write_bytes(raw if how == "changed" else raw[: len(raw) // 2])


@pytest.mark.parametrize(
    ("how", "says"), [("changed", "expected MD5 "), ("truncated", " bytes in ")]
)
def test_damaged_file_is_named_and_left_alone(tiny, how, says):
    (tiny / PACKED).unlink()
    break_file(tiny / IMAGES, how)
    before = (tiny / IMAGES).read_bytes()
    line = refused("mnist", root=tiny)
    assert says in line and str(tiny / IMAGES) in line and "delete the file" in line
    assert (tiny / IMAGES).read_bytes() == before


@pytest.mark.parametrize("bad", [IMAGES, PACKED], ids=["plain", "gz"])
@pytest.mark.parametrize("how", ["changed", "truncated"])
def test_the_good_one_of_two_copies_is_used(tiny, bad, how):
    break_file(tiny / bad, how)
    pixels, _ = whole(data.load("mnist", root=tiny, download=False))
    assert torch.equal(pixels[:, 0], torch.from_numpy(pictures(TRAIN, 28, 28)))


def without_digest(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Know the tiny mnist by its present sizes only, as Fashion-MNIST's unpacked files are."""
    source = sources.SOURCES["mnist"]
    found = {n: (tiny / source.folder / n) for n in source.files}
    stamps = {
        n: sources.Stamp(md5=None, size=p.stat().st_size) for n, p in found.items() if p.exists()
    }
    monkeypatch.setitem(sources.SOURCES, "mnist", dataclasses.replace(source, files=stamps))


def test_truncated_gz_is_seen_without_a_digest(tiny, monkeypatch):
    (tiny / IMAGES).unlink()
    break_file(tiny / PACKED, "truncated")
    without_digest(tiny, monkeypatch)
    assert "a whole gzip file" in refused("mnist", root=tiny)


def test_wrong_structure_is_seen_without_a_digest(tiny, monkeypatch):
    (tiny / PACKED).unlink()
    break_file(tiny / IMAGES, "truncated")
    without_digest(tiny, monkeypatch)
    assert "train-images-idx3-ubyte, got" in refused("mnist", root=tiny)


def test_label_outside_the_classes_is_seen_without_a_digest(tiny, monkeypatch):
    path = tiny / "MNIST/raw/t10k-labels-idx1-ubyte"
    raw = bytearray(path.read_bytes())
    raw[8 + 13] = 10
    path.write_bytes(raw)
    without_digest(tiny, monkeypatch)
    assert "labels 0 to 9 in mnist's test file, got 10 for image 13" in refused("mnist", root=tiny)


def test_a_folder_in_place_of_a_file(tiny):
    (tiny / PACKED).unlink()
    (tiny / IMAGES).unlink()
    (tiny / IMAGES).mkdir()
    assert "expected a readable file" in refused("mnist", root=tiny)


def test_unknown_name_suggests_the_nearest():
    assert "did you mean 'fashion_mnist'?" in refused("fashion-mnist")


def test_root_is_argument_then_variable_then_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HOLDFAST_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    (tmp_path / "other").mkdir()
    assert files.root_of(tmp_path / "other") == tmp_path / "other"
    assert files.root_of() == tmp_path
    monkeypatch.setenv("HOLDFAST_DATA", "")
    assert files.root_of() == Path("/cache/holdfast")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert files.root_of() == Path("/home/me/.cache/holdfast")


def test_root_that_is_no_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOLDFAST_DATA", str(tmp_path / "gone"))
    assert "expected a folder in HOLDFAST_DATA, got nothing there" in refused("mnist")
    (tmp_path / "gone").touch()
    assert "expected a folder in HOLDFAST_DATA, got a file" in refused("mnist")
    assert "expected a folder as the data root" in refused("mnist", root=tmp_path / "nowhere")
    assert len(data.load("digits").test) == 359, "the digits need no folder"


def pretend_torchvision(monkeypatch: pytest.MonkeyPatch, download) -> None:
    module = types.ModuleType("torchvision.datasets")
    monkeypatch.setattr(module, "MNIST", download, raising=False)
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", module)


def test_missing_without_torchvision(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    (tiny / IMAGES).unlink()
    (tiny / PACKED).unlink()
    for download, says in {True: "no torchvision to download it", False: "nothing there;"}.items():
        line = refused("mnist", root=tiny, download=download)
        assert says in line
        for word in (str(tiny / "MNIST/raw"), IMAGES.name, "--data-root", "holdfast[vision]"):
            assert word in line


def test_failed_download_is_one_line(tiny, monkeypatch, capfd):
    def fail(root, download):
        print("Downloading", file=sys.stderr)
        raise RuntimeError("Error downloading:\nTried a mirror, got:\nno network")

    pretend_torchvision(monkeypatch, fail)
    (tiny / IMAGES).unlink()
    (tiny / PACKED).unlink()
    line = refused("mnist", root=tiny)
    assert "torchvision's download failed (RuntimeError: Error downloading: Tried" in line
    assert capfd.readouterr() == ("", "")
    assert sorted(p.name for p in tiny.iterdir()) == ["MNIST", "cifar-10-batches-py"]


def test_download_brings_only_what_is_missing(tiny, monkeypatch, capfd):
    def fetch(root, download):
        print("Downloading")
        folder = Path(root, "MNIST/raw")
        folder.mkdir(parents=True)
        for name, raw in FILES["mnist"].items():
            (folder / name).write_bytes(raw if "train-images" in name else b"other")

    pretend_torchvision(monkeypatch, fetch)
    (tiny / IMAGES).unlink()
    (tiny / PACKED).unlink()
    assert len(data.load("mnist", root=tiny).test) == TEST
    for name, raw in FILES["mnist"].items():
        assert (tiny / "MNIST/raw" / name).read_bytes() == raw
    assert capfd.readouterr() == ("", "")


def test_survey_tells_ready_missing_and_damaged(tiny):
    break_file(tiny / "cifar-10-batches-py/data_batch_3", "changed")
    found = {status.name: status for status in data.survey(tiny)}
    assert {name: status.state for name, status in found.items()} == {
        "digits": "bundled",
        "mnist": "ready",
        "fashion_mnist": "missing",
        "cifar10": "damaged",
        "cifar100": "missing",
        "imagenet100": "missing",
    }
    assert found["cifar10"].detail.count("MD5") == 1 and "data_batch_3" in found["cifar10"].detail
    assert found["cifar100"].detail == "no train, test, meta"
    assert found["cifar100"].folder == tiny / "cifar-100-python"
    assert found["digits"].folder is None


def test_survey_accepts_one_good_copy_of_two(tiny):
    break_file(tiny / PACKED, "changed")
    (tiny / "MNIST/raw/t10k-labels-idx1-ubyte").unlink()
    assert {s.name: s.state for s in data.survey(tiny)}["mnist"] == "ready"


def test_sources_describe_what_the_readers_return():
    for source in sources.SOURCES.values():
        assert len(source.parts()) == (4 if "mnist" in source.name else len(source.files))
        known = [stamp.md5 for stamp in source.files.values() if stamp.md5]
        assert len(set(known)) == len(known) and all(len(md5) == 32 for md5 in known)
    assert np.prod(sources.MNIST.image) * 60_000 + 16 == 47_040_016
