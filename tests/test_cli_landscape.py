"""`holdfast landscape`: what it prints, draws and keeps; kills; its errors."""

import json

import pytest
import torch
from safetensors.torch import load_file

from holdfast import model as models
from holdfast import record, report
from holdfast.cli import main
from holdfast.diagnosis import mapped


@pytest.fixture
def run(tmp_path):
    """A run folder with an untrained network for digits."""
    net = models.create("gupta_cnn", image=(1, 8, 8), classes=10, widths=(4,), dense=16, seed=1)
    models.save(net, tmp_path / "run" / "checkpoints" / "best", net.card)
    return tmp_path / "run"


def told(run, *words: str) -> int:
    return main(["landscape", str(run), "--data", "digits", "--size", "9", *words])


def test_maps_and_figures_are_written_and_said(run, capsys):
    assert told(run, "--radius", "25px") == 0
    out = capsys.readouterr().out
    assert "9 x 9 points, 2 linf radii of 0.09804" in out and "cross-entropy" in out
    held = load_file(run / "landscape" / "attack.safetensors")
    names = [f"attack-image-{place}-{kind}.png" for place in held["index"].tolist()
             for kind in ("contour", "surface")]  # fmt: skip
    there = {path.name for path in (run / "landscape").iterdir()}
    assert there == {"attack.json", "attack.safetensors", *names}
    assert told(run, "--images", "5", "--axes", "weights", "--span", "0.5", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {
        key: record.read_json(run / "landscape" / "weights.json")[key] for key in found
    }
    assert found["span"] == 0.5 and found["images"] == 5 and len(found["planes"]) == 1
    assert (run / "landscape" / "weights-contour.png").read_bytes().startswith(b"\x89PNG")
    assert told(run, "--radius", "0.2") == 0
    assert f"Earlier results are now in {run / 'landscape-001'}" in capsys.readouterr().out
    assert {path.name for path in (run / "landscape-001").iterdir()} == there
    assert record.read_json(run / "landscape-001" / "attack.json")["radius"] == 25 / 255
    assert (run / "landscape" / "weights.json").exists()


def test_a_killed_command_goes_on(run, capsys, monkeypatch):
    monkeypatch.setattr(mapped, "PIECE", 27)
    made, calls = mapped._piece, []

    def killed(surface, plane, places, rows, seed):
        calls.append(int(rows[0]))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return made(surface, plane, places, rows, seed)

    monkeypatch.setattr(mapped, "_piece", killed)
    assert told(run) == 130 and not (run / "landscape" / "attack.safetensors").exists()
    assert told(run) == 0 and calls == [0, 3, 6, 6]
    assert not (run / "landscape" / "drafts").exists()


def test_a_flat_plane_and_one_of_many_classes_are_drawn(tmp_path):
    places, flat = torch.linspace(-1, 1, 5), torch.ones(5, 5)
    report.surface(tmp_path / "flat.png", places, {"one": flat}, ("a", "b"), "title")
    many = torch.arange(25).view(5, 5)
    report.contour(tmp_path / "many.png", places, {"one": flat, "two": many.float()}, ("a", "b"),
                   "title", classes=many, outside=flat * places.abs())  # fmt: skip
    assert all((tmp_path / f"{name}.png").stat().st_size > 5000 for name in ("flat", "many"))


BAD = {
    "no run": (["nowhere"], "nowhere"),
    "axes": (["RUN", "--axes", "atack"], "did you mean 'attack'"),
    "size": (["RUN", "--size", "1"], "size as a whole number of 2 or more"),
    "span": (["RUN", "--span", "-1"], "expected span above 0"),
    "radius": (["RUN", "--radius", "0"], "expected radius above 0"),
    "norm": (["RUN", "--norm", "l7"], "l7"),
    "option": (["RUN", "--pan", "1"], "did you mean '--span'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_code_2(case, run, capsys):
    words, said = BAD[case]
    assert told(*[run if word == "RUN" else word for word in words]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1 and not (run / "landscape").exists()
