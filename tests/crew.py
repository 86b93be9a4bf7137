"""What two processes do together for test_processes.py: `crew.py FOLDER first`, then `second`.

Each starts the other process itself, writes to the folder, and loses that process in the end."""

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from small import blobs, network
from test_margin_search import X, Y, bumpy
from torch import nn
from worlds import linear_world

from holdfast import feedback, kept, model, record
from holdfast.attack import FGSM, PGD
from holdfast.cli import main
from holdfast.evaluation import evaluate
from holdfast.margin import Orthonormal, search
from holdfast.margin.job import TENSORS
from holdfast.retraining import Probe, retrain
from holdfast.training import AWP, SGD, epoch, train

SEARCH: dict[str, Any] = {"piece": 72, "tolerance": 1e-3}  # a piece for each of five images
REWARD = feedback.PolicyGradient(
    samples=4, baseline="running", repeated=feedback.Repeated(growth=0.2)
)


class Wide(nn.Module):
    """Images in fp64."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.double()


def exact(out: Path, rank: int, processes: int) -> None:
    """Training without anything that rounds, draws or averages differently in several processes."""
    layers = [Wide(), nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(108, 3)]
    body = nn.Sequential(*layers).double()
    with torch.no_grad():
        for i, weight in enumerate(body.parameters()):
            line = torch.linspace(-0.3, 0.3, weight.numel()).cos() / (i + 3)
            weight.copy_(line.view(weight.shape))
    trained = train(
        body, blobs(), objective=REWARD, adversary=PGD(radius=0.05, steps=2),
        awp=AWP(gamma=0.01), epochs=2, batch_size=33, optimizer=SGD(lr=0.05), precision="fp32",
        clip=0.5, seed=3, processes=processes,
    )  # fmt: skip
    if rank == 0:
        weights = {k: v.tolist() for k, v in body.state_dict().items()}
        rows = [{k: r[k] for k in r if "second" not in k} for r in trained.history]
        (out / f"{processes}.json").write_text(json.dumps({"weights": weights, "rows": rows}))


def replicas(out: Path, rank: int) -> None:
    """A digest of weights and state after every step of a network that begins unlike."""
    data, original = blobs(), epoch.step
    body = model.create("resnet18", image=data.image, classes=3, width=8, seed=rank)

    def spied(bench: Any, *rest: Any) -> Any:
        found = original(bench, *rest)
        state = [*bench.model.state_dict().values(), *found.state.values()]
        digest = hashlib.md5(b"".join(t.numpy().tobytes() for t in state)).hexdigest()
        with (out / f"replica-{rank}").open("a") as file:
            print(digest, file=file)
        return found

    epoch.step = spied
    train(
        body, data, objective=REWARD, adversary=FGSM(radius=0.05), epochs=2, batch_size=50,
        precision="fp32", processes=2,
    )  # fmt: skip
    epoch.step = original


def retrained(out: Path, processes: int) -> record.Row:
    """The row of one round on a network of blobs."""
    data = blobs()
    probe = Probe(images=30, directions=Orthonormal(count=8), reach=1.0, step=0.05)
    retrain(
        network(data), data, feedback=feedback.Boundary(low=6, medium=4, high=2, rays=5),
        probe=probe, judge=probe, epochs=1, batch_size=60, precision="fp32", max_drop=1.0, out=out,
        processes=processes,
    )  # fmt: skip
    (row,) = record.rows(out / "retraining.jsonl")
    return row


def trains(out: Path, resume: bool = False) -> None:
    data = blobs()
    train(
        network(data), data, adversary=FGSM(radius=0.05), epochs=3, batch_size=50,
        precision="fp32", processes=2, out=out, resume=resume,
    )  # fmt: skip


def first(out: Path, rank: int) -> None:
    """Everything at once; in the end a process is killed in its second epoch of training."""
    if rank == 0:
        exact(out, rank, 1)
    exact(out, rank, 2)
    replicas(out, rank)
    world = linear_world()
    judged = evaluate(world.model.float(), world.x.float(), world.y, radius=0.01, processes=2)
    found = search(bumpy(), X, Y, processes=2, folder=out / "searched", **SEARCH)
    if rank == 0:
        held = {attack.name: attack.distance for attack in judged.attacks}
        save_file(held | {"adv": judged.adv, "marks": judged.marks}, out / "judged")
        save_file({name: getattr(found, name) for name in TENSORS}, out / "found")
    retrained(out / "retrained", processes=2)
    words = "train --data digits --epochs 1 --processes 2 --precision fp32 --batch_size 256 --out"
    assert main([*words.split(), str(out / "by-command")]) == 0
    original, steps = epoch.step, []

    def stumbles(*rest: Any) -> Any:
        steps.append(1)
        if rank == 1 and len(steps) == 8:  # an epoch has five steps
            os.kill(os.getpid(), 9)
        return original(*rest)

    epoch.step = stumbles
    trains(out / "killed")


def second(out: Path, rank: int) -> None:
    """What was killed is trained to its end; then a process is killed after a piece of a search."""
    if rank:
        record.link = record.remove = record.replacing = None  # only the process that leads writes
    trains(out / "killed", resume=True)
    trains(out / "twin")
    original = kept.write

    def stumbles(file: Path | None, piece: dict) -> None:
        original(file, piece)
        if rank == 1:
            os.kill(os.getpid(), 9)

    kept.write = stumbles
    search(bumpy(seed=1), X, Y, processes=2, folder=out / "begun", **SEARCH)


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"first": first, "second": second}[sys.argv[2]](
        Path(sys.argv[1]), int(os.environ.get("LOCAL_RANK", 0))
    )
