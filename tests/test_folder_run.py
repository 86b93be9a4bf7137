"""A folder of images from training to evaluation, as a user meets it on the command line."""

import errno
import fcntl
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from holdfast import record
from holdfast.cli import main
from holdfast.data import folders, maps

SMALL = ["--model.widths", "[4]", "--model.dense", "8", "--epochs", "1", "--precision", "fp32",
         "--watch.images", "10", "--image-size", "32", "--device", "cpu"]  # fmt: skip


@pytest.fixture(autouse=True)
def shades(tmp_path, monkeypatch) -> None:
    """The current folder, with `shades`: ten dark and ten light images of 40 x 36."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, least in {"dark": 0, "light": 128}.items():
        folder = tmp_path / "shades" / name
        folder.mkdir(parents=True)
        for k in range(10):
            noise = np.random.default_rng((least, k)).integers(least, least + 128, (36, 40, 3))
            Image.fromarray(noise.astype(np.uint8)).save(folder / f"{k}.jpg")


def test_train_resume_repeat_and_evaluate(capsys, monkeypatch):
    assert main(["train", "--data", "folder:shades", *SMALL]) == 0
    run = Path("runs/shades-gupta_cnn-ce")
    assert record.read_yaml(run / "config.yaml")["image_size"] == 32
    monkeypatch.setattr(maps, "decoded", None)  # from here on the map is there
    assert main(["train", "--resume", str(run), "--epochs", "2"]) == 0
    assert [row["epoch"] for row in record.rows(run / "metrics.jsonl")] == [1, 2]
    assert main(["train", "--config", str(run / "config.yaml"), "--out", "again"]) == 0
    weights = "checkpoints/last/model.safetensors"
    assert (run / weights).read_bytes() == (Path("again") / weights).read_bytes()
    capsys.readouterr()
    assert main(["evaluate", str(run), "--images", "0", "--json", "--device", "cpu"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 2


def test_classes_are_those_of_training_by_name(capsys):
    assert main(["train", "--data", "folder:shades", *SMALL, "--out", "run"]) == 0
    card = json.loads(Path("run/checkpoints/last/card.json").read_text())
    assert card["class_names"] == ["dark", "light"]
    Path("others").mkdir()
    shutil.copytree("shades/light", "others/light")
    shutil.copytree("shades/dark", "others/zebra")
    capsys.readouterr()
    assert main(["evaluate", "run", "--data", "folder:others"]) == 2
    assert "expected the classes dark, light" in capsys.readouterr().err
    assert main(["train", "--data", "folder:others", *SMALL, "--out", "another"]) == 0
    assert main(["transfer", "run", "another"]) == 2
    assert "got 'light' at another place in another" in capsys.readouterr().err


def test_another_size_or_changed_images_cannot_resume(capsys):
    assert main(["train", "--data", "folder:shades", *SMALL, "--out", "run"]) == 0
    assert main(["train", "--resume", "run", "--image-size", "16"]) == 2
    assert "got image_size 16 instead of 32" in capsys.readouterr().err
    Image.new("RGB", (40, 36)).save("shades/dark/0.jpg")
    assert main(["train", "--resume", "run", "--epochs", "2"]) == 2
    assert "got other files" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--data", "folder:shaeds"], "No such file"),
        (["--data", "folder:shades", "--image-size", "4"], "size of 8 or more"),
        (["--data", "digits", "--image-size", "32"], "8x8, got 32"),
        (["--data", "imagenet100", "--data-root", "."], "200 of 200 missing"),
        (["--data", "imagenet10"], "did you mean 'imagenet100'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(capsys, words, says):
    assert main(["train", *words]) == 2
    line = capsys.readouterr().err
    assert says in line and len(line.strip().splitlines()) == 1
    assert [path.name for path in Path().iterdir()] == ["shades"]


def test_a_damaged_image_leaves_neither_run_nor_map(capsys):
    Path("shades/light/3.jpg").write_bytes(b"none")
    assert main(["train", "--data", "folder:shades"]) == 2
    assert "shades/light/3.jpg" in capsys.readouterr().err
    assert not Path("runs").exists() and not list(Path("cache/holdfast/maps").iterdir())


@pytest.mark.parametrize("locks", [True, False])
def test_only_a_process_that_is_alone_removes_drafts(monkeypatch, locks):
    def refused(file, how):
        raise OSError(errno.ENOSYS, "no locks here")

    if not locks:
        monkeypatch.setattr(fcntl, "flock", refused)
    tree, cache = folders.read_tree(Path("shades")), Path("cache")
    place = cache / "maps" / maps._key(tree, 32)
    draft = place.parent / f".{place.name}.other"
    draft.mkdir(parents=True)
    pixels, _ = maps.mapped(tree, 32, cache)
    assert len(pixels) == 20 and draft.exists() is not locks
