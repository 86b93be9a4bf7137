"""`holdfast diagnose`: what it prints and keeps, its exit codes, its errors."""

import json
import sys

import ill_worlds
import pytest
import torch

from holdfast import diagnosis, record
from holdfast import model as models
from holdfast.cli import main
from holdfast.diagnosis import Depth

SMALL = Depth(
    sample=40, few=4, points=100, hard=60, queries=20, steps=20, restarts=1, climb=5, targets=0,
    losses=("ce", "margin"), search=10,
)  # fmt: skip


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run with a checkpoint of a network for digits that was trained for a moment."""
    monkeypatch.setattr(diagnosis, "QUICK", SMALL)
    net = models.create("gupta_cnn", image=(1, 8, 8), classes=10, widths=(4,), dense=16, seed=1)
    x, y = ill_worlds.digits().train.x, ill_worlds.digits().train.y
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for rows in torch.randperm(4 * len(x)).remainder(len(x)).split(128):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
        optimizer.step()
    models.save(net, tmp_path / "run" / "checkpoints" / "best", net.card)
    return tmp_path / "run"


def told(run, *words: str) -> int:
    return main([
        "diagnose", str(run), "--quick", "--data", "digits", "--images", "50", "--radius", "0.05",
        *words,
    ])  # fmt: skip


def saturate(run) -> None:
    """Logits a hundred thousand times as large: the same predictions."""
    best = run / "checkpoints" / "best"
    net = models.load(best)
    with torch.no_grad():
        *_, weight, bias = net.parameters()
        weight.mul_(1e5)
        bias.mul_(1e5)
    models.save(net, best, net.card)


def test_a_healthy_run_passes_and_its_saturated_copy_fails_the_build(run, capsys):
    assert told(run, "--fail-on", "masking", "--json") == 0
    healthy = json.loads(capsys.readouterr().out)
    assert healthy["findings"] == [] and healthy["verdict"].startswith("no sign of masking")
    saturate(run)
    assert told(run, "--fail-on", "masking", "--twin", str(run), "--claim", "mim") == 3
    said = capsys.readouterr().out
    assert [f"entropy, {kind}: " in said for kind in ("clean", "attacked", "noisy")] == [True] * 3
    assert (run / "entropy.png").read_bytes().startswith(b"\x89PNG")
    assert "finding: saturated cross-entropy" in said and "transfer" in said
    assert "This run less the other" in said and "ce grad_norm" in said and "quick look" in said
    kept = record.read_json(run / "findings.json")
    assert kept["claim"] == "mim"
    assert kept["findings"][0]["name"] == "saturated cross-entropy" and kept["radius"] == 0.05
    assert len(record.rows(run / "diagnosis.jsonl")) == 2 and not (run / "drafts").exists()


def test_a_model_of_one_class_leaves_no_doubt_of_its_claim(run, capsys):
    best = run / "checkpoints" / "best"
    net = models.load(best)
    with torch.no_grad():
        *_, bias = net.parameters()
        bias[3] += 7
    models.save(net, best, net.card)
    assert told(run, "--fail-on", "doubt", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in found["findings"]] == ["one class for all images"]


def test_a_killed_diagnosis_repeats_no_attack_that_had_finished(run, capsys, monkeypatch):
    judge = sys.modules["holdfast.evaluation.evaluate"]
    attacked, calls = judge.run_checked, []

    def noted(name, *rest):
        if name == stop:
            raise KeyboardInterrupt
        calls.append(name)
        return attacked(name, *rest)

    stop = ""
    assert told(run, "--json") == 0
    whole = json.loads(capsys.readouterr().out)
    monkeypatch.setattr(judge, "run_checked", noted)
    stop = "momentum"
    assert told(run) == 130 and calls == ["pgd", "one step", "margin", "rescaled"]
    stop = ""
    assert told(run, "--fail-on", "doubt", "--json") == 0
    again = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert calls[4:6] == ["momentum", "smoothed"] and len(set(calls)) == len(calls)
    timed = {"seconds": 0, "time": "", "command": ""}
    assert again | timed == whole | timed and not (run / "drafts").exists()


def test_bad_input_is_one_line(run, capsys):
    assert told(run, "--norm", "l1") == 2
    assert told(run, "--twin", str(run / "none")) == 2
    assert told(run, "--fail-on", "anything") == 2
    assert told(run, "--claim", "mimm") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 and all("expected" in line and "got" in line for line in lines)
