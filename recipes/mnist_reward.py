"""Reward training on the whole of MNIST with Madry's network: clean, or against PGD at radius 0.3.

    python recipes/mnist_reward.py clean --data-root DATA --rate 1e-3 --epochs 3
    python recipes/mnist_reward.py pgd --data-root DATA --rate 1e-3

`reward` draws 8 actions per image with a leave-one-out baseline and an entropy bonus of 0.1
(results/mnist-start.jsonl says why). Against PGD: one clean epoch, a radius ramp, then PGD with 3
steps of half the radius. Each epoch is a row of results/mnist-reward.jsonl; a last row holds
test accuracies: clean on all 10,000 images; FGSM and PGD-40 with a step of 0.025, on cross-entropy
and on the margin, on --test-images.
"""

import argparse
from pathlib import Path

import torch

import holdfast as hf
from holdfast import record
from holdfast.attack import FGSM, PGD
from holdfast.feedback import PolicyGradient

RADIUS = 0.3
REWARD = PolicyGradient(samples=8, baseline="leave_one_out", entropy=0.1)

parser = argparse.ArgumentParser(description="Reward on MNIST")
parser.add_argument("run", choices=["clean", "pgd"])
parser.add_argument("--data-root")
parser.add_argument("--epochs", type=int, default=0, help="default: 5 clean, 9 against PGD")
parser.add_argument("--rate", type=float, default=5e-4)
parser.add_argument("--steps", type=int, default=3)
parser.add_argument("--start", type=int, default=1, help="clean epochs first")
parser.add_argument("--ramp", type=float, default=3, help="epochs until the full radius")
parser.add_argument("--out", help="run folder to keep, and to go on in; default: none")
parser.add_argument("--test-images", type=int, default=1000)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--threads", type=int, default=torch.get_num_threads())
parser.add_argument("--results", type=Path, default=Path("results"))
options = parser.parse_args()

torch.set_num_threads(options.threads)
data = hf.data.load("mnist", root=options.data_root)
network = hf.model.create("madry_mnist", image=data.image, classes=data.classes, seed=options.seed)
hard = options.run == "pgd"
epochs = options.epochs or (9 if hard else 5)
adversary = (
    PGD(radius=RADIUS, steps=options.steps, rel_stepsize=1.5 / options.steps) if hard else None
)
adversarial = hf.training.Adversarial(start=options.start, ramp=options.ramp)
about = record.provenance(
    run=options.run, seed=options.seed, epochs=epochs, objective=REWARD, adversary=adversary,
    adversarial=adversarial, rate=options.rate,
)  # fmt: skip
rows = options.results / "mnist-reward.jsonl"


def on_epoch(row: record.Row) -> None:
    record.append(rows, about | row)
    print(row["epoch"], f"{row['validation_clean']:.4f}", row.get("validation_pgd"), flush=True)


hf.train(
    network, data, objective=REWARD, adversary=adversary, adversarial=adversarial, epochs=epochs,
    batch_size=128, optimizer=hf.training.AdamW(lr=options.rate), schedule=hf.training.Cosine(),
    watch=hf.training.Watch(images=500), clip=1.0, seed=options.seed,
    out=options.out, resume="auto" if options.out else False, on_epoch=on_epoch,
)  # fmt: skip

whole = hf.evaluate(
    network, data.test.x, data.test.y, radius=RADIUS, attacks={"fgsm": FGSM(radius=RADIUS)}
)
print(f"clean, all {len(data.test)} test images: {whole.clean.accuracy:.4f}", flush=True)
test = data.test.sample(options.test_images)
found = hf.evaluate(
    network, test.x, test.y, index=test.index, radius=RADIUS,
    attacks={
        "fgsm": FGSM(radius=RADIUS),
        "pgd-40": PGD(radius=RADIUS, steps=40, rel_stepsize=1 / 12),
        "pgd-40-margin": PGD(radius=RADIUS, steps=40, rel_stepsize=1 / 12, loss="margin"),
    },
)  # fmt: skip
record.append(rows, about | {"test_clean_all": whole.as_dict(), "test": found.as_dict()})
print(found.table())
