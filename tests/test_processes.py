"""Several processes: one model, the same bits in each, and what one process would have made."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from holdfast import record
from holdfast.cli import main

pytest.importorskip("lightning_fabric")
HERE = Path(__file__).parent
SCRIPT = """
import hashlib, json, os, sys
import torch
from small import blobs, network
from holdfast import feedback, attack, training
from holdfast import data as datasets
from holdfast.training import AWP, AdamW, SGD, Adversarial, Watch, train

torch.set_num_threads(1)
out, processes = sys.argv[1], int(sys.argv[2])
rank = int(os.environ.get("LOCAL_RANK", 0))
data = blobs()
seen = []
"""
EXACT = """
from torch import nn
class Wide(nn.Module):
    def forward(self, x):
        return x.double()
for count in (1, processes):
    layers = [Wide(), nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(108, 3)]
    model = nn.Sequential(*layers).double()
    with torch.no_grad():
        for i, weight in enumerate(model.parameters()):
            line = torch.linspace(-0.3, 0.3, weight.numel()).cos() / (i + 3)
            weight.copy_(line.view(weight.shape))
    objective = feedback.PolicyGradient(
        samples=4, baseline="running", repeated=feedback.Repeated(growth=0.2)
    )
    trained = train(
        model, data, objective=objective, adversary=attack.PGD(radius=0.05, steps=2),
        awp=AWP(gamma=0.01), epochs=2, batch_size=50, optimizer=SGD(rate=0.05), precision="fp32",
        clip=0.5, seed=3, processes=count,
    )
    if rank == 0:
        weights = {k: v.tolist() for k, v in model.state_dict().items()}
        rows = [{k: r[k] for k in r if "second" not in k} for r in trained.history]
        json.dump({"weights": weights, "rows": rows}, open(f"{out}/{count}.json", "w"))
"""
REPLICAS = """
from holdfast import model as models
from holdfast.training import loop
model = models.create("resnet18", image=data.image, classes=3, width=8, seed=rank)  # not alike
original = loop.step
def spied(bench, *rest):
    found = original(bench, *rest)
    state = [*bench.model.state_dict().values(), *found.state.values()]
    digest = hashlib.md5(b"".join(t.numpy().tobytes() for t in state)).hexdigest()
    with open(f"{out}/replica-{rank}", "a") as file:
        print(digest, file=file)
    return found
loop.step = spied
train(
    model, data, objective=feedback.PolicyGradient(samples=2, baseline="running",
    repeated=feedback.Repeated(growth=0.2)), adversary=attack.FGSM(radius=0.05), epochs=2,
    batch_size=50, precision="fp32", processes=processes,
)
"""


def run(body: str, *words: Any, fails: bool = False) -> None:
    path = os.pathsep.join([str(HERE), *sys.path])
    settings = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    folder = Path(words[0]).parent
    (folder / "script.py").write_text(SCRIPT + body)
    done = subprocess.run(
        [sys.executable, str(folder / "script.py"), *map(str, words)],
        env=settings, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert fails or done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that two processes, started once, wrote to."""
    folder = tmp_path_factory.mktemp("script") / "written"
    folder.mkdir()
    run(EXACT + REPLICAS, folder, 2)
    return folder


def test_two_processes_make_what_one_makes(written):
    """fp64, no batch normalisation, no dropout: weights, losses and measurements to 1e-9."""
    one, two = (json.loads((written / f"{count}.json").read_text()) for count in (1, 2))
    for name, weight in one["weights"].items():
        torch.testing.assert_close(
            torch.tensor(two["weights"][name], dtype=torch.float64),
            torch.tensor(weight, dtype=torch.float64), atol=1e-9, rtol=0,
        )  # fmt: skip
    for alone, shared in zip(one["rows"], two["rows"], strict=True):
        assert shared == pytest.approx(alone, abs=1e-6)


def test_replicas_are_equal_bit_for_bit_after_every_step(written):
    """Batch normalisation, per-image state and a running baseline; weights that began unlike."""
    first, second = [(written / f"replica-{rank}").read_text().split() for rank in (0, 1)]
    assert first == second
    assert len(set(first)) == 10  # two epochs of five steps, each of which changed something


KILLED = """
from small import network
def tick(epoch, done, steps):
    pass
from holdfast import record
from holdfast.training import loop
if rank:
    record.point = record.remove = record.clear = None  # only the process that leads writes
original, steps = loop.step, []
def stumbles(*rest):
    steps.append(1)
    if rank == 1 and len(steps) == 8:  # in the second epoch of five steps
        os.kill(os.getpid(), 9)
    return original(*rest)
whole = "--whole" in sys.argv
if not whole:
    loop.step = stumbles
for folder in [out, out + "-twin"] if whole else [out]:
    train(
        network(data), data, adversary=attack.FGSM(radius=0.05), epochs=3, batch_size=50,
        precision="fp32", processes=processes, out=folder, resume=whole and folder == out,
    )
"""


def test_a_killed_process_ends_the_run_which_can_be_resumed(tmp_path):
    folder = tmp_path / "run"
    run(KILLED, folder, 2, fails=True)
    assert [row["epoch"] for row in record.rows(folder / "metrics.jsonl")] == [1]
    run(KILLED, folder, 2, "--whole")
    last = [
        (where / "checkpoints" / "last" / "model.safetensors").read_bytes()
        for where in (folder, tmp_path / "run-twin")
    ]
    assert last[0] == last[1]


def test_the_command_line_speaks_once(tmp_path, capsys):
    words = ["train", "--data", "digits", "--epochs", "1", "--processes", "2", "--precision",
             "fp32", "--out", str(tmp_path / "run"), "--batch_size", "256"]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "holdfast", *words], capture_output=True, text=True, timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count("next: holdfast evaluate") == 1
    assert (done.stdout + done.stderr).count("epoch   1") == 1
    assert main(["train", "--processes", "0"]) == 2
    assert "at least 1 process" in capsys.readouterr().err
