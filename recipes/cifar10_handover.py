"""From labels to reward and back: handovers between objectives on CIFAR-10, at equal passes.

    python recipes/cifar10_handover.py --data-root DATA

The Gupta CNN, FGSM 8/255 (Linf) after one clean epoch and a radius ramp of two, RMSprop 5e-4,
batch 64, random flips: the same for all, so that every variant spends the same forward and backward
passes (which the rows count). Each epoch is a row of results/cifar10-handover.jsonl; a last row per
variant and seed holds FGSM and PGD-20 on test images.
"""

import argparse
import dataclasses
from pathlib import Path

import torch

import holdfast as hf
from holdfast import record
from holdfast.attack import FGSM, PGD
from holdfast.feedback import CrossEntropy, Handover, PolicyGradient

RADIUS = 8 / 255

parser = argparse.ArgumentParser(description="Handovers on CIFAR-10")
parser.add_argument("--data-root")
parser.add_argument("--variants", nargs="+", default=["ce", "reward", "ce-reward", "reward-ce",
                                                      "ce-reward-ramp"])  # fmt: skip
parser.add_argument("--epochs", type=int, default=8)
parser.add_argument("--images", type=int, default=10_000, help="training images; 0: all")
parser.add_argument("--test-images", type=int, default=1000)
parser.add_argument("--seeds", type=int, default=1)
parser.add_argument("--threads", type=int, default=torch.get_num_threads())
parser.add_argument("--results", type=Path, default=Path("results"))
options = parser.parse_args()

torch.set_num_threads(options.threads)
ce, reward = CrossEntropy(), PolicyGradient(samples=8, baseline="leave_one_out", entropy=0.1)
half = options.epochs // 2
VARIANTS = {
    "ce": ce,
    "reward": reward,
    "ce-reward": Handover(first=ce, second=reward, at=half),
    "reward-ce": Handover(first=reward, second=ce, at=half),
    "ce-reward-ramp": Handover(first=ce, second=reward, at=2, ramp=options.epochs - 4),
}
data = hf.data.load("cifar10", root=options.data_root)
if options.images:
    data = dataclasses.replace(data, train=data.train.sample(options.images))
rows = options.results / "cifar10-handover.jsonl"

for seed, name in ((seed, name) for seed in range(options.seeds) for name in options.variants):
    network = hf.model.create(
        "gupta_cnn", image=data.image, classes=data.classes, mean=data.mean, std=data.std, seed=seed
    )
    about = record.provenance(
        variant=name, objective=VARIANTS[name], radius=RADIUS, seed=seed, epochs=options.epochs,
        images=len(data.train),
    )  # fmt: skip

    def on_epoch(row: record.Row, about: record.Row = about) -> None:
        record.append(rows, about | row)
        print(about["variant"], row["epoch"], f"{row['validation_clean']:.3f}", flush=True)

    hf.train(
        network, data, objective=VARIANTS[name], adversary=FGSM(radius=RADIUS),
        adversarial=hf.training.Adversarial(start=1, ramp=2), epochs=options.epochs,
        batch_size=64, optimizer=hf.training.RMSprop(lr=5e-4),
        augment=hf.data.Augment(flip=True), watch=hf.training.Watch(images=500), seed=seed,
        on_epoch=on_epoch,
    )  # fmt: skip
    test = data.test.sample(options.test_images)
    found = hf.evaluate(
        network, test.x, test.y, index=test.index, radius=RADIUS,
        attacks={"fgsm": FGSM(radius=RADIUS), "pgd-20": PGD(radius=RADIUS, steps=20)},
    )  # fmt: skip
    record.append(rows, about | {"test": found.as_dict()})
    print(name, found.table(), sep="\n", flush=True)
