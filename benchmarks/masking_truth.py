"""What `diagnose` says of models whose truth is known: ill ones, and their healthy twins.

    python benchmarks/masking_truth.py [--seed 1] [--only resized noisy]

The models are those of tests/ill_worlds.py. The thresholds of the signs were set on dense networks
with seed 0; here the networks are convolutional ones (but for `linear` and `winners`) with other
seeds. One row per model goes to results/masking-truth.jsonl.
"""

import argparse
import importlib
import sys
from pathlib import Path

import torch

from holdfast import diagnosis, record
from holdfast.attack import PGD

HERE = Path(__file__).parents[1]
sys.path.insert(0, str(HERE / "tests"))

worlds = importlib.import_module("ill_worlds")
RADIUS, Ill, trained = worlds.RADIUS, worlds.Ill, worlds.trained

HEALTHY = ("plain", "robust", "linear")
ILL = ("winners", *worlds.BEFORE, *worlds.AFTER, "small steps")
IMAGES = 100


def row(kind: str, seed: int) -> record.Row:
    """The diagnosis of one model, in short."""
    healthy, x, y = trained("plain", seed, conv=True), *worlds.some(IMAGES)
    claim = None
    if kind in ("linear", "winners"):
        model = trained(kind, seed)
    elif kind in HEALTHY:
        model = trained(kind, seed, conv=True)
    elif kind == "small steps":
        model, claim = healthy, PGD(radius=RADIUS, steps=20, stride=0.01, start="clean")
    else:
        model = Ill(healthy, kind)
    found = diagnosis.diagnose(
        model, x, y, radius=RADIUS, claim=claim, seed=seed, depth=diagnosis.QUICK
    )
    return {
        "world": kind, "healthy": kind in HEALTHY, "network_seed": seed, "images": len(x),
        "clean": found.clean.accuracy, "claimed": found.claimed.accuracy,
        "left": found.left.accuracy, "verdict": found.verdict.split(":")[0],
        "findings": [finding.name for finding in found.findings],
        "passes": found.passes, "seconds": found.seconds,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="the diagnosis of models whose truth is known")
    parser.add_argument("--seed", type=int, default=1, help="of the networks and the attacks")
    parser.add_argument("--only", nargs="*", default=(*HEALTHY, *ILL), help="names of models")
    o = parser.parse_args()
    seed = o.seed
    torch.manual_seed(seed)
    for kind in o.only:
        made = row(kind, seed)
        record.append(HERE / "results" / "masking-truth.jsonl", made | record.provenance())
        print(kind, made["verdict"], made["claimed"], made["left"], made["findings"], flush=True)


if __name__ == "__main__":
    main()
