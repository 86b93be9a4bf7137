"""What `diagnose` says of models whose truth is known: ill ones, and their healthy twins.

    python benchmarks/masking_truth.py [--seed 1] [--only resized noisy]
    python benchmarks/masking_truth.py --data cifar10 --data-root DATA

The models are those of tests/ill_worlds.py. The thresholds of the signs were set on dense networks
for digits with seed 0; here the networks are convolutional ones (but for `linear` and `winners`)
with other seeds, for digits or for CIFAR-10. There `threshold` is trained on images cut to black
and white, since few are recognised so by a network that never saw any; the others are trained on
the images as they are. One row per model goes to results/masking-truth.jsonl.
"""

import argparse
import dataclasses
import functools
import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

import holdfast as hf
from holdfast import diagnosis, record
from holdfast.attack import FGSM, PGD
from holdfast.data import Dataset, Split
from holdfast.training import AdamW, Adversarial, Cosine

HERE = Path(__file__).parents[1]
sys.path.insert(0, str(HERE / "tests"))

worlds = importlib.import_module("ill_worlds")
HEALTHY = ("plain", "robust", "linear")
ILL = ("winners", *worlds.BEFORE, *worlds.AFTER, "small steps")
IMAGES = 100


@dataclass(frozen=True, kw_only=True)
class Field:
    """Where models are tried. network: plain, robust, linear, winners or threshold, of a seed.
    fine: see Ill."""

    test: Split
    radius: float
    network: Callable[[str, int], nn.Module]
    fine: float = 1


def digits() -> Field:
    def network(kind: str, seed: int) -> nn.Module:
        kind = "plain" if kind == "threshold" else kind
        return worlds.trained(kind, seed, conv=kind in ("plain", "robust"))

    return Field(test=worlds.digits().test, radius=worlds.RADIUS, network=network)


def cifar10(root: str | None) -> Field:
    """A fifth of CIFAR-10, the Gupta CNN at half its width."""
    data, radius = hf.data.load("cifar10", root=root), 8 / 255
    data = dataclasses.replace(data, train=data.train.sample(10_000))
    binary = dataclasses.replace(data.train, pixels=(data.train.pixels > 127).byte() * 255)

    def network(kind: str, seed: int) -> nn.Module:
        adversary = FGSM(radius=radius) if kind == "robust" else None
        seen = dataclasses.replace(data, train=binary) if kind == "threshold" else data
        net = untrained(kind, seed, data)
        hf.train(
            net, seen, epochs=6, batch_size=64, seed=seed, optimizer=AdamW(lr=1e-3),
            schedule=Cosine(), adversary=adversary, adversarial=Adversarial(start=1, ramp=2),
            precision="fp32",
        )  # fmt: skip
        return net.eval()

    return Field(test=data.test, radius=radius, network=network, fine=4)


def untrained(kind: str, seed: int, data: Dataset) -> nn.Module:
    torch.manual_seed(seed)
    flat = torch.Size(data.image).numel()
    if kind == "linear":
        return nn.Sequential(nn.Flatten(), nn.Linear(flat, data.classes))
    if kind == "winners":
        return nn.Sequential(
            nn.Flatten(), nn.Linear(flat, 256), worlds.Winners(), nn.Linear(256, 256),
            worlds.Winners(), nn.Linear(256, data.classes),
        )  # fmt: skip
    return hf.model.create(
        "gupta_cnn", image=data.image, classes=data.classes, mean=data.mean, std=data.std,
        seed=seed, widths=(16, 32), dense=256,
    )  # fmt: skip


def row(kind: str, seed: int, field: Field, network: Callable[[str, int], nn.Module]) -> record.Row:
    """The diagnosis of one model, in short."""
    test, claim = field.test.sample(IMAGES), None
    if kind in (*HEALTHY, "winners"):
        model = network(kind, seed)
    elif kind == "small steps":
        model = network("plain", seed)
        claim = PGD(radius=field.radius, steps=20, rel_stepsize=0.01, start="clean")
    else:
        model = worlds.Ill(
            network(kind if kind == "threshold" else "plain", seed), kind, field.fine
        )
    found = diagnosis.diagnose(
        model, test.x, test.y, radius=field.radius, claim=claim, seed=seed, depth=diagnosis.QUICK
    )
    return {
        "world": kind, "healthy": kind in HEALTHY, "network_seed": seed, "images": len(test),
        "clean": found.clean.accuracy, "claimed": found.claimed.accuracy,
        "left": found.left.accuracy, "verdict": found.verdict.split(":")[0],
        "findings": [finding.name for finding in found.findings],
        "passes": found.passes, "seconds": found.seconds,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="the diagnosis of models whose truth is known")
    parser.add_argument("--data", choices=("digits", "cifar10"), default="digits")
    parser.add_argument("--data-root")
    parser.add_argument("--seed", type=int, default=1, help="of the networks and the attacks")
    parser.add_argument("--only", nargs="*", default=(*HEALTHY, *ILL), help="names of models")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    o = parser.parse_args()
    field = digits() if o.data == "digits" else cifar10(o.data_root)
    network = functools.cache(field.network)
    torch.manual_seed(o.seed)
    for kind in o.only:
        made = {"data": o.data} | row(kind, o.seed, field, network)
        record.append(o.results / "masking-truth.jsonl", made | record.provenance())
        print(kind, made["verdict"], made["claimed"], made["left"], made["findings"], flush=True)


if __name__ == "__main__":
    main()
