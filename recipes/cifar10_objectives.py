"""Adversarial training on CIFAR-10 with `ce`, `reward` and `expected`, side by side.

    python recipes/cifar10_objectives.py --data-root DATA     # ten epochs, all of CIFAR-10
    python recipes/cifar10_objectives.py --data-root DATA --epochs 220 --objectives ce reward \\
        --rate 1e-4 --start 0 --ramp 0 --batch 32             # the paper's length, for a GPU

One recipe for all: the Gupta CNN, FGSM 8/255 (Linf) after one clean epoch and a radius ramp of two,
RMSprop 5e-4, random flips. `reward` draws 8 actions per image, compares each with the mean of the
others, and has an entropy bonus of 0.1 (docs/adversarial-training.md says why). Each epoch is a row
of results/cifar10-objectives.jsonl, with accuracies on 500 held-out validation images; a last row
per objective holds FGSM and PGD-20 on test images. docs/figures.py draws them.

With --out a killed study goes on when it is called again, and Ctrl-C ends a training: what it has
reached is tested, and its row says which epoch that was.
"""

import argparse
import dataclasses
from pathlib import Path

import torch

import holdfast as hf
from holdfast import record
from holdfast.attack import FGSM, PGD
from holdfast.feedback import CrossEntropy, Expected, PolicyGradient

RADIUS = 8 / 255
OBJECTIVES = {
    "ce": CrossEntropy(),
    "reward": PolicyGradient(samples=8, baseline="leave_one_out", entropy=0.1),
    "reward-0": PolicyGradient(samples=8, baseline="leave_one_out"),
    "reward-1": PolicyGradient(),
    "expected": Expected(),
}

parser = argparse.ArgumentParser(description="Objectives on CIFAR-10")
parser.add_argument("--data-root")
parser.add_argument("--objectives", nargs="+", default=["ce", "reward", "expected"])
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--batch", type=int, default=128)
parser.add_argument("--rate", type=float, default=5e-4)
parser.add_argument("--start", type=int, default=1, help="clean epochs first")
parser.add_argument("--ramp", type=float, default=2, help="epochs until the full radius")
parser.add_argument("--images", type=int, default=0, help="training images; 0: all")
parser.add_argument("--test-images", type=int, default=1000)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--threads", type=int, default=torch.get_num_threads())
parser.add_argument("--study", default="cifar10-objectives")
parser.add_argument("--out", type=Path, help="folder for the run folders (kept only if given)")
parser.add_argument("--results", type=Path, default=Path("results"))
options = parser.parse_args()

torch.set_num_threads(options.threads)
data = hf.data.load("cifar10", root=options.data_root)
if options.images:
    data = dataclasses.replace(data, train=data.train.sample(options.images))
rows = options.results / f"{options.study}.jsonl"

for name in options.objectives:
    network = hf.model.create(
        "gupta_cnn", image=data.image, classes=data.classes, mean=data.mean, std=data.std,
        seed=options.seed,
    )  # fmt: skip
    adversarial = hf.training.Adversarial(start=options.start, ramp=options.ramp)
    about = record.provenance(
        objective_name=name, objective=OBJECTIVES[name], adversarial=adversarial, radius=RADIUS,
        seed=options.seed, epochs=options.epochs, batch_size=options.batch, images=len(data.train),
    )  # fmt: skip

    def on_epoch(row: record.Row, about: record.Row = about) -> None:
        record.append(rows, about | row)
        print(about["objective_name"], row["epoch"], f"{row['validation_clean']:.3f}", flush=True)

    run = options.out and options.out / f"{name}-{len(data.train)}-seed-{options.seed}"
    try:
        reached = hf.train(
            network, data, objective=OBJECTIVES[name], adversary=FGSM(radius=RADIUS),
            adversarial=adversarial, epochs=options.epochs, batch_size=options.batch,
            optimizer=hf.training.RMSprop(lr=options.rate),
            augment=hf.data.Augment(flip=True), watch=hf.training.Watch(images=500),
            seed=options.seed, on_epoch=on_epoch, out=run, resume="auto" if run else False,
        ).history[-1]["epoch"]  # fmt: skip
    except KeyboardInterrupt:
        if run is None or not (run / "checkpoints" / "last").exists():
            raise
        network = hf.model.load(run / "checkpoints" / "last")
        reached = record.rows(run / "metrics.jsonl")[-1]["epoch"]
    test = data.test.sample(options.test_images)
    found = hf.evaluate(
        network, test.x, test.y, index=test.index, radius=RADIUS,
        attacks={"fgsm": FGSM(radius=RADIUS), "pgd-20": PGD(radius=RADIUS, steps=20)},
    )  # fmt: skip
    record.append(rows, about | {"reached": reached, "test": found.as_dict()})
    print(name, found.table(), sep="\n", flush=True)
