"""Rewards designed for hard cases on MNIST: weights for rare classes, and a punishment that grows
with repeated mistakes (both proposed in Gupta 2020).

    python recipes/mnist_feedback.py --data-root DATA              # digits 3 and 8 cut to 5 %
    python recipes/mnist_feedback.py --data-root DATA --cut 1      # all digits alike

Madry's network on 10,000 training images (less what is cut), 5 epochs, AdamW 5e-4, batch 64, no
adversary. One row per variant and seed goes to results/mnist-feedback.jsonl: accuracy and recall of
every digit on the whole test split.
"""

import argparse
import dataclasses
import logging
from pathlib import Path

import torch

import holdfast as hf
from holdfast import record
from holdfast.feedback import (
    CrossEntropy,
    EpsilonGreedy,
    PolicyGradient,
    Repeated,
    Signed,
    Weighted,
)

RARE = (3, 8)
REWARD = PolicyGradient(samples=8, baseline="leave_one_out", entropy=0.1)
BANDIT = PolicyGradient(
    samples=8, reward=Signed(correct=1, wrong=0), exploration=EpsilonGreedy(epsilon=0.1)
)
VARIANTS = {
    "ce": CrossEntropy(),
    "ce, weighted": CrossEntropy(weights="balanced"),
    "reward": REWARD,
    "reward, weighted": dataclasses.replace(REWARD, reward=Weighted()),
    "reward, repeated": dataclasses.replace(REWARD, repeated=Repeated(growth=0.5)),
    "0/1, epsilon 0.1": BANDIT,
    "0/1, epsilon 0.1, weighted": dataclasses.replace(BANDIT, reward=Weighted(correct=1, wrong=0)),
}

parser = argparse.ArgumentParser(description="Reward design on MNIST")
parser.add_argument("--data-root")
parser.add_argument("--variants", nargs="+", default=list(VARIANTS))
parser.add_argument("--cut", type=float, default=0.05, help="share kept of the digits 3 and 8")
parser.add_argument("--seeds", type=int, default=3)
parser.add_argument("--images", type=int, default=10_000)
parser.add_argument("--epochs", type=int, default=5)
parser.add_argument("--threads", type=int, default=torch.get_num_threads())
parser.add_argument("--results", type=Path, default=Path("results"))
options = parser.parse_args()

torch.set_num_threads(options.threads)
logging.getLogger("holdfast").setLevel(logging.ERROR)
data = hf.data.load("mnist", root=options.data_root)
train = data.train.sample(options.images)
kept = torch.ones(len(train), dtype=torch.bool)
for digit in RARE:
    places = (train.y == digit).nonzero().flatten()
    kept[places[round(options.cut * len(places)) :]] = False
data = dataclasses.replace(data, train=train.only(kept.nonzero().flatten()))

for seed in range(options.seeds):
    for name in options.variants:
        objective = VARIANTS[name]
        network = hf.model.create("madry_mnist", image=data.image, classes=data.classes, seed=seed)
        trained = hf.train(
            network, data, objective=objective, epochs=options.epochs, batch_size=64, seed=seed,
            optimizer=hf.training.AdamW(lr=5e-4), watch=hf.training.Watch(images=100),
        )  # fmt: skip
        right = hf.model.predict(network, data.test.x).argmax(1) == data.test.y
        recall = [right[data.test.y == digit].float().mean().item() for digit in range(10)]
        found = {
            "variant": name, "seed": seed, "cut": options.cut, "images": len(data.train),
            "epochs": options.epochs, "test_clean": right.float().mean().item(),
            "recall": recall, "rare_recall": sum(recall[digit] for digit in RARE) / len(RARE),
            "seconds": trained.seconds,
        }  # fmt: skip
        record.append(options.results / "mnist-feedback.jsonl", record.provenance(**found))
        print({k: found[k] for k in ("variant", "seed", "test_clean", "rare_recall")}, flush=True)
