"""Song, Wang and Li 2019 (arXiv 1909.05443): four networks, their margins, their accuracy.

    python recipes/song.py --data-root DATA --out runs/song-mnist
    python recipes/song.py --data-root DATA --out runs/song-mnist --images 300 --seeds 1
    python recipes/song.py --data-root DATA --out runs/song-cifar10 --data cifar10

`ori` is trained on labels; `adv` the same against PGD at Linf 0.3 (CIFAR-10: 8/255); `fl` is `ori`
retrained by boundary feedback with the paper's numbers, `reduced` the same without regard to class.
`longer` is not in the paper: `ori` trained as much longer as those, without their examples, which
tells what the examples do from what the epochs do.
MNIST has Madry's network and the paper's search of 1,500 images along 784 directions. CIFAR-10 is
cut down to some hours on one slow core: a ResNet-18 of width 16, 20,000 training images, a search
of 300 images along 100 directions (the paper: 1,500 and 1,000), in the paper's steps of 2/255 up to
a half; each class gives examples in proportion to the images that are searched.

Rows go to results/song-DATA.jsonl: for each network the measures of its margins (Tables I and IV,
equation 2, the matrix of Figure 4), the mean margins of class centre images (Table II), accuracy
under FGSM, uniform and Gaussian noise (Figure 3). Trained networks and finished searches are kept
in --out: called again, the recipe goes on behind them. docs/song2019.md shows what came out.
"""

import argparse
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import holdfast as hf
from holdfast import record, retraining
from holdfast.attack import FGSM, PGD, GaussianNoise, UniformNoise
from holdfast.data import Augment
from holdfast.margin import Orthonormal
from holdfast.training import AdamW, Adversarial, Cosine, Watch

NOISES = {"fgsm": FGSM, "uniform-noise": UniformNoise, "gaussian-noise": GaussianNoise}
OPTIONS = ("images", "training_images", "directions", "epochs")  # that decide a network
SEARCHED = 1500  # images of the paper, of which a class gives 150, 100 or 20


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What differs between the data sets. radius: of the adversary, Linf. radii: of Figure 3.
    step: of the search, rms. width: of a ResNet, normalised inside; None: Madry's network, bare.
    defaults: of the options."""

    radius: float
    radii: list[float]
    step: float
    width: int | None
    augment: Augment
    defaults: dict[str, int]


SETTINGS = {
    "mnist": Setting(
        radius=0.3, radii=[i / 20 for i in range(11)], step=0.02, width=None, augment=Augment(),
        defaults={"images": SEARCHED, "directions": 784, "epochs": 5, "adv_epochs": 9,
                  "adv_steps": 5, "test_images": 2000, "train_images": 0},
    ),
    "cifar10": Setting(
        radius=8 / 255, radii=[i / 50 for i in range(11)], step=2 / 255, width=16,
        augment=Augment(flip=True, crop=4),
        defaults={"images": 300, "directions": 100, "epochs": 8, "adv_epochs": 6,
                  "adv_steps": 3, "test_images": 1000, "train_images": 20_000},
    ),
}  # fmt: skip

parser = argparse.ArgumentParser(description="Boundary feedback on MNIST or CIFAR-10")
parser.add_argument("--data", choices=list(SETTINGS), default="mnist")
parser.add_argument("--data-root")
parser.add_argument("--out", type=Path, required=True)
parser.add_argument("--networks", nargs="+", default=["ori", "adv", "longer", "fl", "reduced"])
parser.add_argument("--images", type=int, help="searched, of the training set")
parser.add_argument("--directions", type=int)
parser.add_argument("--epochs", type=int, help="of ori, and of each retraining")
parser.add_argument("--adv-epochs", type=int)
parser.add_argument("--adv-steps", type=int)
parser.add_argument("--train-images", type=int, help="trained on; 0: all")
parser.add_argument("--test-images", type=int)
parser.add_argument("--seeds", type=int, nargs="+", default=[0])
parser.add_argument("--margins", action=argparse.BooleanOptionalAction, default=True)
parser.add_argument("--threads", type=int, default=torch.get_num_threads())
parser.add_argument("--results", type=Path, default=Path("results"))
setting = SETTINGS[parser.parse_known_args()[0].data]
parser.set_defaults(**setting.defaults)
options = parser.parse_args()

torch.set_num_threads(options.threads)
data = hf.data.load(options.data, root=options.data_root)
if options.train_images:
    data = dataclasses.replace(data, train=data.train.sample(options.train_images))
rows = options.results / f"song-{options.data}.jsonl"
probe = retraining.Probe(
    images=options.images, directions=Orthonormal(count=options.directions), reach=0.5,
    step=setting.step,
)  # fmt: skip
common = {
    "batch_size": 128, "optimizer": AdamW(lr=1e-3), "schedule": Cosine(),
    "watch": Watch(images=500, every=options.epochs), "precision": "fp32",
    "augment": setting.augment,
}  # fmt: skip


def untrained(seed: int) -> hf.model.Network:
    shape = {"image": data.image, "classes": data.classes, "seed": seed}
    if setting.width is None:
        return hf.model.create("madry_mnist", **shape)
    return hf.model.create("resnet18", mean=data.mean, std=data.std, width=setting.width, **shape)


def trained(
    run: Path, network: hf.model.Network, images: hf.data.Dataset, seed: int, epochs: int,
    **more: Any,
) -> hf.model.Network:  # fmt: skip
    """The network trained, on from where a kill left it."""
    begun = (run / "checkpoints" / "last").exists()
    hf.train(
        network, images, epochs=epochs, seed=seed, out=run, resume=begun, force=not begun, **common,
        **more,
    )  # fmt: skip
    return network


def attacked(run: Path, seed: int) -> hf.model.Network:
    adversary = PGD(
        radius=setting.radius, steps=options.adv_steps, rel_stepsize=1.5 / options.adv_steps
    )
    return trained(
        run, untrained(seed), data, seed, options.adv_epochs, adversary=adversary,
        adversarial=Adversarial(start=1, ramp=3), clip=1.0,
    )  # fmt: skip


def retrained(run: Path, seed: int, weighted: bool) -> hf.model.Network:
    """`ori`, trained further with examples from its margins; kept whatever it costs, as in the
    paper."""
    network, images = made("ori", seed), probe.sample(data.train)
    measured = probe(network, images, seed, options.out / f"seed-{seed}" / "search" / "ori")
    high, medium, low = (round(n * options.images / SEARCHED) for n in (20, 100, 150))
    feedback = hf.feedback.Boundary(high=high, medium=medium, low=low, weighted=weighted, seed=seed)
    more = retraining.examples(network, images, measured, probe.directions, feedback, seed)
    record.append(rows, about(run.name, seed) | {"examples": more.counts(data.classes)})
    return trained(run, network, retraining.mixed(data, more), seed, options.epochs)


def require_same(name: str, seed: int) -> None:
    """Rows of a network that is kept must not claim options that it was not made with."""
    asked = {key: value for key, value in about(name, seed).items() if key in OPTIONS}
    for row in record.rows(rows):
        made = {key: row.get(key) for key in OPTIONS}
        if (row["network"], row["seed"]) == (name, seed) and made != asked:
            raise SystemExit(f"{name} of seed {seed} has rows made with {made}, got {asked}: "
                             "take another --out and --results")  # fmt: skip


def about(name: str, seed: int) -> record.Row:
    return record.provenance(
        network=name,
        seed=seed,
        images=options.images,
        training_images=len(data.train),
        directions=options.directions,
        epochs=options.adv_epochs if name == "adv" else options.epochs,
    )


def made(name: str, seed: int) -> hf.model.Network:
    """The network of this name, made unless it is finished already, and read from its run: the one
    that was just trained, laid out otherwise, differs by rounding, and knows no kept search."""
    run = options.out / f"seed-{seed}" / name
    require_same(name, seed)
    makers: dict[str, Callable[[], hf.model.Network]] = {
        "ori": lambda: trained(run, untrained(seed), data, seed, options.epochs),
        "adv": lambda: attacked(run, seed),
        "longer": lambda: trained(run, made("ori", seed), data, seed, options.epochs),
        "fl": lambda: retrained(run, seed, True), "reduced": lambda: retrained(run, seed, False),
    }  # fmt: skip
    if len(record.rows(run / "metrics.jsonl")) < about(name, seed)["epochs"]:
        makers[name]()
    return hf.model.load(run / "checkpoints" / "last")


def accuracies(network: hf.model.Network, seed: int) -> record.Row:
    """Accuracy under each noise at each radius (Figure 3), and clean on all test images."""
    test = data.test.sample(options.test_images)
    found = {}
    for name, kind in NOISES.items():
        own = {"seed": seed} if name != "fgsm" else {}
        attacks = {f"{r:.2f}": kind(radius=r, **own) for r in setting.radii}
        done = hf.evaluate(
            network, test.x, test.y, index=test.index, attacks=attacks, radius=setting.radii[-1]
        )
        found[name] = [attack.accuracy for attack in done.attacks]
        found["clean"] = done.clean.accuracy
    return {"radii": setting.radii, "accuracy": found, "test_images": len(test)}


for seed in options.seeds:
    networks = {name: made(name, seed) for name in options.networks}
    for name, network in networks.items():
        row = about(name, seed) | accuracies(network, seed)
        record.append(rows, row)
        print(name, seed, row["accuracy"]["clean"], flush=True)
    if not options.margins:
        continue
    images, centres = probe.sample(data.train), {}
    drafts = options.out / f"seed-{seed}" / "search"
    for name, network in networks.items():
        found = probe(network, images, seed, drafts / name)
        record.append(rows, about(name, seed) | {"margins": found.as_dict()})
        print(name, found.table(), f"R = {found.robustness():.2f}", sep="\n", flush=True)
        centres[name] = found.centres()
    further = dataclasses.replace(probe, reach=1.0)  # Table II: twice the range, as in the paper
    for whose in ("ori", "fl"):
        if whose not in centres:
            continue
        places = centres[whose]
        some = images.only(places[places >= 0])
        for name, network in networks.items():
            far = further(network, some, seed, drafts / f"{name}-{whose}")
            measured = {"centres_of": whose, "labels": some.y.tolist(), "far": far.mean().tolist()}
            record.append(rows, about(name, seed) | measured)
            print(f"centres of {whose} under {name}: {far.mean_margin():.4f}", flush=True)
