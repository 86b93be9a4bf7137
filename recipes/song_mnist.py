"""Song, Wang and Li 2019 (arXiv 1909.05443) on MNIST: four networks, their margins, their accuracy.

    python recipes/song_mnist.py --data-root DATA --out runs/song-mnist
    python recipes/song_mnist.py --data-root DATA --out runs/song-mnist --images 300 --seeds 1

`ori` is Madry's network trained on labels; `adv` the same against PGD at Linf 0.3; `fl` is `ori`
retrained by boundary feedback with the paper's numbers, `reduced` the same without regard to class.
Rows go to results/song-mnist.jsonl: for each network the measures of its margins (Tables I and IV,
equation 2, the matrix of Figure 4), the mean margins of class centre images (Table II), accuracy
under FGSM, uniform and Gaussian noise from 0 to 0.5 (Figure 3). Trained networks and finished
searches are kept in --out: called again, the recipe goes on behind them.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch

import holdfast as hf
from holdfast import record, retraining
from holdfast.attack import FGSM, PGD, GaussianNoise, UniformNoise
from holdfast.margin import Margins, Orthonormal
from holdfast.training import AdamW, Adversarial, Cosine, Watch

RADIUS, RADII = 0.3, [i / 20 for i in range(11)]
NOISES = {"fgsm": FGSM, "uniform-noise": UniformNoise, "gaussian-noise": GaussianNoise}

parser = argparse.ArgumentParser(description="Boundary feedback on MNIST")
parser.add_argument("--data-root")
parser.add_argument("--out", type=Path, required=True)
parser.add_argument("--networks", nargs="+", default=["ori", "adv", "fl", "reduced"])
parser.add_argument("--images", type=int, default=1500, help="searched, of the training set")
parser.add_argument("--directions", type=int, default=784)
parser.add_argument("--judges", type=int, default=100, help="validation images that judge a round")
parser.add_argument("--epochs", type=int, default=5, help="of ori, and of each retraining")
parser.add_argument("--adv-epochs", type=int, default=9)
parser.add_argument("--adv-steps", type=int, default=5)
parser.add_argument("--test-images", type=int, default=2000)
parser.add_argument("--seeds", type=int, nargs="+", default=[0])
parser.add_argument("--margins", action=argparse.BooleanOptionalAction, default=True)
parser.add_argument("--threads", type=int, default=torch.get_num_threads())
parser.add_argument("--results", type=Path, default=Path("results"))
options = parser.parse_args()

torch.set_num_threads(options.threads)
data = hf.data.load("mnist", root=options.data_root)
rows = options.results / "song-mnist.jsonl"
probe = retraining.Probe(
    images=options.images, directions=Orthonormal(count=options.directions), reach=0.5, step=0.02
)
judge = retraining.Probe(images=options.judges, directions=Orthonormal(count=50))
common = {
    "batch_size": 128, "optimizer": AdamW(rate=1e-3), "schedule": Cosine(),
    "watch": Watch(images=500, every=options.epochs), "precision": "fp32",
}  # fmt: skip


def ori(run: Path, seed: int) -> hf.model.Network:
    network = hf.model.create("madry_mnist", image=data.image, classes=data.classes, seed=seed)
    hf.train(network, data, epochs=options.epochs, seed=seed, out=run, force=True, **common)
    return network


def adv(run: Path, seed: int) -> hf.model.Network:
    network = hf.model.create("madry_mnist", image=data.image, classes=data.classes, seed=seed)
    adversary = PGD(radius=RADIUS, steps=options.adv_steps, stride=1.5 / options.adv_steps)
    hf.train(
        network, data, adversary=adversary, adversarial=Adversarial(start=1, ramp=3), clip=1.0,
        epochs=options.adv_epochs, seed=seed, out=run, force=True, **common,
    )  # fmt: skip
    return network


def retrained(run: Path, seed: int, weighted: bool) -> hf.model.Network:
    """`ori`, trained further; the round is kept whatever it costs, as in the paper."""
    network = hf.model.load(run.parent / "ori" / "checkpoints" / "last")
    found = retraining.retrain(
        network, data, feedback=hf.feedback.Boundary(weighted=weighted, seed=seed), probe=probe,
        judge=judge, loss=1.0, seed=seed, out=run, force=True, epochs=options.epochs, **common,
    )  # fmt: skip
    row = found.rounds[0].as_row()
    record.append(rows, about(run.name, seed) | {"retraining": row})
    return hf.model.load(run / "round-1" / "checkpoints" / "last")


def about(name: str, seed: int) -> record.Row:
    return record.provenance(
        network=name,
        seed=seed,
        images=options.images,
        directions=options.directions,
        epochs=options.adv_epochs if name == "adv" else options.epochs,
    )


def made(name: str, seed: int) -> hf.model.Network:
    """The network of this name, read where it is there already."""
    run = options.out / f"seed-{seed}" / name
    place = run / "round-1" if name in ("fl", "reduced") else run
    if (place / "checkpoints" / "last").exists():
        return hf.model.load(place / "checkpoints" / "last")
    makers: dict[str, Callable[[], hf.model.Network]] = {
        "ori": lambda: ori(run, seed), "adv": lambda: adv(run, seed),
        "fl": lambda: retrained(run, seed, True), "reduced": lambda: retrained(run, seed, False),
    }  # fmt: skip
    return makers[name]().eval()


def accuracies(network: hf.model.Network, seed: int) -> record.Row:
    """Accuracy under each noise at each radius (Figure 3), and clean on all test images."""
    test = data.test.sample(options.test_images)
    found = {}
    for name, kind in NOISES.items():
        own = {"seed": seed} if name != "fgsm" else {}
        attacks = {f"{r:.2f}": kind(radius=r, **own) for r in RADII}
        done = hf.evaluate(network, test.x, test.y, index=test.index, attacks=attacks, radius=0.5)
        found[name] = [attack.accuracy for attack in done.attacks]
        found["clean"] = done.clean.accuracy
    return {"radii": RADII, "accuracy": found, "test_images": len(test)}


def searched(network: hf.model.Network, split: hf.data.Split, run: Path, reach: float) -> Margins:
    """Margins along the directions that all networks of a seed share."""
    return hf.margin.search(
        network, split.x, split.y, index=split.index, directions=probe.directions,
        reference="label", reach=reach, step=0.02, seed=seed, folder=run,
    )  # fmt: skip


for seed in options.seeds:
    networks = {name: made(name, seed) for name in options.networks}
    for name, network in networks.items():
        row = about(name, seed) | accuracies(network, seed)
        record.append(rows, row)
        print(name, seed, {k: row["accuracy"][k] for k in ("clean",)}, flush=True)
    if not options.margins:
        continue
    images, centres = probe.sample(data.train), {}
    drafts = options.out / f"seed-{seed}" / "search"
    for name, network in networks.items():
        found = searched(network, images, drafts / name, 0.5)
        record.append(rows, about(name, seed) | {"margins": found.as_dict()})
        print(name, found.table(), f"R = {found.robustness():.2f}", sep="\n", flush=True)
        centres[name] = found.centres()
    for whose in ("ori", "fl"):  # Table II, twice the range as in the paper
        if whose not in centres:
            continue
        places = centres[whose]
        some = images.only(places[places >= 0])
        for name, network in networks.items():
            far = searched(network, some, drafts / f"{name}-{whose}", 1.0)
            measured = {"centres_of": whose, "labels": some.y.tolist(), "far": far.mean().tolist()}
            record.append(rows, about(name, seed) | measured)
            print(f"centres of {whose} under {name}: {far.mean_margin():.4f}", flush=True)
