"""Two processes find the margins that one finds, bit for bit, and each goes on behind the other."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small import blobs, network
from test_margin_search import X, Y, bumpy

from holdfast import record
from holdfast.feedback import Boundary
from holdfast.margin import Margins, Orthonormal, pieces, search
from holdfast.retraining import Probe, retrain

SCRIPT = """
import os, sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from test_margin_processes import SETTINGS, X, Y, bumpy, pieces, retrained, search

torch.set_num_threads(1)
out = Path(sys.argv[1])
found = search(bumpy(), X, Y, processes=2, folder=out / "whole", **SETTINGS)
rank = torch.distributed.get_rank()
if rank == 0:
    save_file({name: getattr(found, name) for name in pieces.TENSORS}, out / "found")
retrained(out / "run", processes=2)
original = pieces.write
def stumbles(file, piece):
    original(file, piece)
    if rank == 1:
        os.kill(os.getpid(), 9)
pieces.write = stumbles
search(bumpy(seed=1), X, Y, processes=2, folder=out / "killed", **SETTINGS)
"""
SETTINGS: dict[str, Any] = {"piece": 72, "tolerance": 1e-3}  # a piece for each of five images


def retrained(out: Path, processes: int) -> record.Row:
    """The row of one round on a network of blobs."""
    data = blobs()
    probe = Probe(images=30, directions=Orthonormal(count=8), reach=1.0, step=0.05)
    retrain(
        network(data), data, feedback=Boundary(low=6, medium=4, high=2, rays=5), probe=probe,
        judge=probe, epochs=1, batch_size=60, precision="fp32", loss=1.0, out=out,
        processes=processes,
    )  # fmt: skip
    (row,) = record.rows(out / "retraining.jsonl")
    return row


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left, of which one was killed in its last search."""
    pytest.importorskip("lightning_fabric")
    out = tmp_path_factory.mktemp("left")
    (out / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(out / "script.py"), str(out)], capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        timeout=300,
    )  # fmt: skip
    assert done.returncode != 0 and (out / "killed").exists(), done.stderr
    return out


def same(found: Margins, held: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(getattr(found, name), held[name]) for name in pieces.TENSORS)


def test_two_processes_find_the_bits_of_one(left: Path):
    assert same(search(bumpy(), X, Y, **SETTINGS), load_file(left / "found"))
    assert len(list(left.glob("whole/*/*"))) == len(X)


def test_one_process_goes_on_behind_what_two_left(left: Path):
    files = {path: path.stat().st_mtime_ns for path in left.glob("killed/*/*")}
    assert "images-1-1.safetensors" in {path.name for path in files} and len(files) < len(X)
    found = search(bumpy(seed=1), X, Y, folder=left / "killed", **SETTINGS)
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert len(list(left.glob("killed/*/*"))) == len(X)
    alone = search(bumpy(seed=1), X, Y, **SETTINGS)
    assert same(found, {name: getattr(alone, name) for name in pieces.TENSORS})


def test_two_processes_retrain_on_the_examples_of_one(left: Path, tmp_path: Path):
    (row,) = record.rows(left / "run" / "retraining.jsonl")
    alone = retrained(tmp_path / "alone", 1)
    assert row["examples"] == alone["examples"]
    for when in ("measured", "before"):
        drop = {"seconds", "forward"}
        held, own = ({k: v for k, v in r[when].items() if k not in drop} for r in (row, alone))
        assert held == own
    assert (left / "run" / "round-1" / "checkpoints" / "last").exists()
    assert not (left / "run" / "drafts").exists()
