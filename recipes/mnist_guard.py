"""Catastrophic overfitting of single-step training on MNIST, and what the guard makes of it.

    python recipes/mnist_guard.py --data-root DATA

Madry's network behind normalisation, 6,000 training images, FGSM at radius 0.2 (Linf) without a
random start, after one clean epoch and a radius ramp of two; AdamW 1e-3, batch 64, 8 epochs.
Accuracy under PGD (10 steps, 500 validation images) rises with that under FGSM, then falls while
FGSM's goes on rising. Each epoch is a row of results/mnist-guard.jsonl; a last row per variant
holds FGSM and PGD-40 on test images.
"""

import argparse
import dataclasses
from pathlib import Path

import torch

import holdfast as hf
from holdfast import record
from holdfast.attack import FGSM, PGD
from holdfast.training import Guard

RADIUS = 0.2
VARIANTS = {name: Guard(catastrophe=name) for name in ("ignore", "stop", "rollback")}

parser = argparse.ArgumentParser(description="The guard against catastrophic overfitting")
parser.add_argument("--data-root")
parser.add_argument("--seeds", type=int, default=3)
parser.add_argument("--epochs", type=int, default=8)
parser.add_argument("--images", type=int, default=6000)
parser.add_argument("--threads", type=int, default=torch.get_num_threads())
parser.add_argument("--results", type=Path, default=Path("results"))
options = parser.parse_args()

torch.set_num_threads(options.threads)
data = hf.data.load("mnist", root=options.data_root)
data = dataclasses.replace(data, train=data.train.sample(options.images))
test = data.test.sample(1000)
rows = options.results / "mnist-guard.jsonl"

for seed in range(options.seeds):
    for name, guard in VARIANTS.items():
        network = hf.model.create(
            "madry_mnist", image=data.image, classes=data.classes, mean=data.mean, std=data.std,
            seed=seed,
        )  # fmt: skip
        about = record.provenance(variant=name, guard=guard, seed=seed, radius=RADIUS)

        def on_epoch(row: record.Row, about: record.Row = about) -> None:
            record.append(rows, about | row)
            print(about["variant"], row["epoch"], row["validation_fgsm"], row["validation_pgd"],
                  flush=True)  # fmt: skip

        trained = hf.train(
            network, data, adversary=FGSM(radius=RADIUS), guard=guard, epochs=options.epochs,
            adversarial=hf.training.Adversarial(start=1, ramp=2), batch_size=64, seed=seed,
            optimizer=hf.training.AdamW(lr=1e-3), watch=hf.training.Watch(images=500),
            on_epoch=on_epoch,
        )  # fmt: skip
        found = hf.evaluate(
            network, test.x, test.y, index=test.index, radius=RADIUS,
            attacks={
                "fgsm": FGSM(radius=RADIUS),
                "pgd-40": PGD(radius=RADIUS, steps=40, rel_stepsize=0.05),
            },
        )  # fmt: skip
        end = {
            "epochs": len(trained.history),
            "stopped": trained.stopped,
            "seconds": trained.seconds,
        }
        record.append(rows, about | end | {"test": found.as_dict()})
        print(name, seed, trained.stopped, found.table(), sep="\n", flush=True)
