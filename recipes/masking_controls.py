"""Where does a reward-trained network's accuracy under attack come from? Controls on CIFAR-10.

    python recipes/masking_controls.py --data-root DATA --out runs/controls
    python recipes/masking_controls.py --data-root DATA --out runs/controls --seeds 0 --networks \\
        ce reward --images 2000 --epochs 3 --diagnosed 100

Zou et al. 2026 say that reward training makes input gradients small and unstable. Four trainings
of the Gupta CNN tell "noise of the reward" from "shape of the loss" from "length of the training":

    ce           cross-entropy with AdamW 1e-3, half the epochs
    reward       8 sampled actions, leave-one-out baseline, entropy 0.1, RMSprop 5e-4
    expected     the noise-free loss with the same mean gradient, everything else as `reward`
    ce-budget    cross-entropy, everything else as `reward`

each without and with FGSM training at 8/255 (`-fgsm`). Of every network results/
masking-controls.jsonl gets a row: its diagnosis (indicators, signs, what PGD-20 claims and what the
strongest attack leaves; images of the undefended `ce` network of the same seed are tried on it),
accuracy under the suite `reliable`, and PGD-20 on cross-entropy at test-time temperatures; another
row holds its loss landscape: cross-entropy along the attack, mean over 20 images, and over the
whole plane of the first image. Trained networks and finished attacks are kept in --out: called
again, the recipe goes on behind them, and leaves out what has its row.
"""

import argparse
import dataclasses
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

import holdfast as hf
from holdfast import diagnosis, evaluation, record
from holdfast.attack import FGSM, PGD
from holdfast.feedback import CrossEntropy, Expected, PolicyGradient
from holdfast.training import AdamW, Adversarial, RMSprop, Watch

RADIUS, TEMPERATURES = 8 / 255, (0.01, 0.1, 1.0, 10.0, 100.0)
OWN, REWARDS = AdamW(lr=1e-3), RMSprop(lr=5e-4)
CONTROLS = {
    "ce": (CrossEntropy(), OWN),
    "reward": (PolicyGradient(samples=8, baseline="leave_one_out", entropy=0.1), REWARDS),
    "expected": (Expected(entropy=0.1), REWARDS),
    "ce-budget": (CrossEntropy(), REWARDS),
}

parser = argparse.ArgumentParser(description="Controls for robustness by reward")
parser.add_argument("--data-root")
parser.add_argument("--out", type=Path, required=True)
parser.add_argument(
    "--networks", nargs="+", default=[n + a for a in ("", "-fgsm") for n in CONTROLS]
)
parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
parser.add_argument("--images", type=int, default=10_000, help="training images; 0: all")
parser.add_argument("--widths", type=int, nargs="+", default=[32, 64], help="of the convolutions")
parser.add_argument("--dense", type=int, default=512, help="width of the dense layer")
parser.add_argument("--epochs", type=int, default=10, help="of all but ce, which has half of them")
parser.add_argument("--diagnosed", type=int, default=200, help="test images")
parser.add_argument("--quick", action=argparse.BooleanOptionalAction, default=True)
parser.add_argument("--threads", type=int, default=torch.get_num_threads())
parser.add_argument("--results", type=Path, default=Path("results"))
options = parser.parse_args()

torch.set_num_threads(options.threads)
data = hf.data.load("cifar10", root=options.data_root)
if options.images:
    data = dataclasses.replace(data, train=data.train.sample(options.images))
test = data.test.sample(options.diagnosed)
rows = options.results / "masking-controls.jsonl"


class Tempered(nn.Module):
    """The same classifier with its logits divided by a temperature."""

    def __init__(self, body: nn.Module, temperature: float) -> None:
        super().__init__()
        self.body, self.temperature = body, temperature

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) / self.temperature


def epochs(name: str) -> int:
    return max(1, options.epochs // 2) if name in ("ce", "ce-fgsm") else options.epochs


def made(name: str, seed: int) -> hf.model.Network:
    """The trained network of this name, read or trained on where it is there already."""
    run = options.out / f"seed-{seed}" / name
    network = hf.model.create(
        "gupta_cnn", image=data.image, classes=data.classes, mean=data.mean, std=data.std,
        seed=seed, widths=options.widths, dense=options.dense, logit_norm=True,
    )  # fmt: skip
    objective, optimizer = CONTROLS[name.removesuffix("-fgsm")]
    adversary = FGSM(radius=RADIUS) if name.endswith("-fgsm") else None
    hf.train(
        network, data, objective=objective, optimizer=optimizer, adversary=adversary,
        adversarial=Adversarial(start=1, ramp=2), epochs=epochs(name), batch_size=64,
        augment=hf.data.Augment(flip=True), watch=Watch(images=200, every=epochs(name)),
        precision="fp32", seed=seed, out=run, resume=(run / "checkpoints" / "last").exists(),
        force=True,
    )  # fmt: skip
    return network.eval()


def attacked(model: nn.Module, seed: int) -> float:
    """Accuracy under PGD-20 on cross-entropy."""
    attacks = {"pgd": PGD(radius=RADIUS, steps=20, seed=seed)}
    found = evaluation.evaluate(
        model, test.x, test.y, index=test.index, attacks=attacks, radius=RADIUS
    )
    return found.worst_case.accuracy


def examined(name: str, seed: int, network: nn.Module, twin: nn.Module | None) -> record.Row:
    """What the row of one network holds."""
    drafts = options.out / f"seed-{seed}" / "drafts" / name
    found = diagnosis.diagnose(
        network, test.x, test.y, index=test.index, radius=RADIUS, twin=twin, seed=seed,
        depth=diagnosis.QUICK if options.quick else diagnosis.DEFAULT, folder=drafts / "diagnosis",
    )  # fmt: skip
    reliable = evaluation.evaluate(
        network, test.x, test.y, "reliable", index=test.index, radius=RADIUS, seed=seed,
        folder=drafts / "reliable",
    )  # fmt: skip
    print(name, seed, found.verdict, sep="\n", flush=True)
    return {
        "diagnosis": found.as_dict(), "reliable": reliable.worst_case.accuracy,
        "temperatures": TEMPERATURES,
        "pgd_at": [attacked(Tempered(network, each), seed) for each in TEMPERATURES],
    }  # fmt: skip


def mapped(network: nn.Module, seed: int) -> record.Row:
    """Cross-entropy over planes through images; 1 is one radius along either axis."""
    found = diagnosis.landscape(
        network, test.x[:20], test.y[:20], index=test.index[:20], radius=RADIUS, size=25, seed=seed
    )
    middle = len(found.places) // 2
    lists = {"along": found.ce[:, middle].mean(0), "plane": found.ce[0], "places": found.places}
    return {"landscape": {name: rounded(values) for name, values in lists.items()}}


def rounded(values: Tensor) -> list[float]:
    return values.double().mul(1e4).round().div(1e4).tolist()


for seed in options.seeds:
    undefended = made("ce", seed)
    for name in options.networks:
        network = undefended if name == "ce" else made(name, seed)
        twin = None if name == "ce" else undefended
        about = {
            "network": name, "seed": seed, "epochs": epochs(name), "images": len(data.train),
            "widths": options.widths, "dense": options.dense, "radius": RADIUS,
            "diagnosed": len(test), "quick": options.quick,
        }  # fmt: skip
        parts = {
            "diagnosis": partial(examined, name, seed, network, twin),
            "landscape": partial(mapped, network, seed),
        }
        held = [row for row in record.rows(rows) if about.items() <= row.items()]
        for part, look in parts.items():
            if not any(part in row for row in held):
                record.append(rows, record.plain(record.provenance(**about) | look()))
