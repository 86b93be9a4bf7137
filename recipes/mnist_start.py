"""How reward training starts: which variants learn all ten digits of MNIST, and which forget some.

    python recipes/mnist_start.py --data-root DATA

Madry's network, 10,000 training images, 3 epochs, AdamW 5e-4, batch 128, no adversary. One row per
variant and seed goes to results/mnist-start.jsonl: accuracy on all validation images, and how many
of the ten digits are predicted for at least one image in a hundred.
"""

import argparse
import dataclasses
import logging
from pathlib import Path

import torch

import holdfast as hf
from holdfast import record
from holdfast.feedback import CrossEntropy, EpsilonGreedy, Expected, PolicyGradient, Signed

EPOCHS = 3
VARIANTS = {
    "ce": CrossEntropy(),
    "expected": Expected(),
    "expected, entropy 0.1": Expected(entropy=0.1),
    "1 action": PolicyGradient(),
    "8 actions": PolicyGradient(samples=8, baseline="leave_one_out"),
    "8 actions, entropy 0.1": PolicyGradient(samples=8, baseline="leave_one_out", entropy=0.1),
    "8 actions, 0/1, epsilon 0.1": PolicyGradient(
        samples=8, reward=Signed(correct=1, wrong=0), exploration=EpsilonGreedy(epsilon=0.1)
    ),
}

parser = argparse.ArgumentParser(description="How reward training starts")
parser.add_argument("--data-root")
parser.add_argument("--seeds", type=int, default=3)
parser.add_argument("--images", type=int, default=10_000)
parser.add_argument("--threads", type=int, default=torch.get_num_threads())
parser.add_argument("--results", type=Path, default=Path("results"))
options = parser.parse_args()

torch.set_num_threads(options.threads)
logging.getLogger("holdfast").setLevel(logging.ERROR)
data = hf.data.load("mnist", root=options.data_root)
data = dataclasses.replace(data, train=data.train.sample(options.images))

for seed in range(options.seeds):
    for name, objective in VARIANTS.items():
        objective = dataclasses.replace(objective, **({"seed": seed} if "action" in name else {}))
        network = hf.model.create("madry_mnist", image=data.image, classes=data.classes, seed=seed)
        trained = hf.train(
            network, data, objective=objective, epochs=EPOCHS, seed=seed,
            optimizer=hf.training.AdamW(lr=5e-4), watch=hf.training.Watch(images=100),
        )  # fmt: skip
        predicted = hf.model.predict(network, data.validation.x).argmax(1)
        shares = torch.bincount(predicted, minlength=data.classes) / len(predicted)
        found = {
            "variant": name, "seed": seed, "images": options.images, "epochs": EPOCHS,
            "validation_clean": (predicted == data.validation.y).float().mean().item(),
            "digits_known": int((shares > 0.01).sum()), "seconds": trained.seconds,
        }  # fmt: skip
        record.append(options.results / "mnist-start.jsonl", record.provenance(**found))
        print(found, flush=True)
