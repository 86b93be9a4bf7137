"""Images per second of training, ours against the loop a user would write today.

    python benchmarks/train.py [--threads 2] [--rounds 5] >> results/train-speed.jsonl

The peer is the plain loop around torchattacks (fp32, NCHW, mean cross-entropy, Adam). Both train
the same function on the same images at the same batch size; every contender takes one step in turn,
so that a busy moment hits all alike, and the median over the rounds is reported. bf16 is timed
where the processor can multiply in it (one without emulates it, dozens of times slower). The peer's
Gupta CNN is written with torch's own layers in the usual order; what `holdfast` on the command line
does for its memory (`engine.keep_memory`) is done for all of the process, so for the peer too.
One JSON row per network, method and contender; `ratio` is against the peer's row of the method.
"""

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable

import torch
import torchattacks
from torch import Tensor, nn

from holdfast import attack, feedback, model, record, training
from holdfast.data import Augment
from holdfast.engine import Engine, keep_memory, multiplies_bf16
from holdfast.training.recipe import Recipe
from holdfast.training.step import StepContext, step
from holdfast.types import Batch

RADIUS, IMAGE, CLASSES = 8 / 255, (3, 32, 32), 10
ADVERSARIES = {
    "plain": None,
    "fgsm": attack.FGSM(radius=RADIUS),
    "pgd10": attack.PGD(radius=RADIUS),
}
Step = Callable[[], object]


def usual(name: str, network: nn.Module) -> nn.Module:
    """The network as it is usually written, with the weights of ours."""
    if name != "gupta_cnn":
        return copy.deepcopy(network)
    layers: list[nn.Module] = []
    for before, wide in ((3, 32), (32, 64)):
        layers += [nn.Conv2d(before, wide, 3, padding=1), nn.ReLU()]
        layers += [
            nn.Conv2d(wide, wide, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Dropout(0.25),
        ]
    layers += [nn.Flatten(), nn.Linear(4096, 512), nn.ReLU(), nn.Dropout(0.5)]
    made = nn.Sequential(*layers, nn.Linear(512, CLASSES), nn.LayerNorm(CLASSES))
    made.load_state_dict({k.removeprefix("body."): v for k, v in network.state_dict().items()})
    return made.to(next(network.parameters()).device)


def peer(network: nn.Module, x: Tensor, y: Tensor, method: str) -> Step:
    """The loop of torchattacks' own demonstrations."""
    network.train()
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    made = {
        "plain": lambda: None,
        "fgsm": lambda: torchattacks.FGSM(network, eps=RADIUS),
        "pgd10": lambda: torchattacks.PGD(network, eps=RADIUS, alpha=RADIUS / 4, steps=10),
    }[method]()

    def one() -> None:
        seen = made(x, y) if made else x
        loss = nn.functional.cross_entropy(network(seen), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return one


def ours(network: nn.Module, x: Tensor, y: Tensor, method: str, precision: str) -> Step:
    """A step of `holdfast.train`, objective `ce`."""
    engine = Engine(device=x.device, precision="bf16" if precision == "bf16" else "fp32")
    network = engine.place(network).train()
    recipe = Recipe(
        objective=feedback.CrossEntropy(), adversary=ADVERSARIES[method],
        adversarial=training.Adversarial(), epochs=1, batch_size=len(x),
        optimizer=training.AdamW(), schedule=training.Constant(), augment=Augment(),
        clip=None, ema=None, awp=training.AWP(), guard=training.Guard(),
        watch=training.Watch(), best="clean", keep_every=0,
        precision=engine.precision, device="cpu", seed=0,
    )  # fmt: skip
    optimizer = recipe.optimizer.build(network.parameters())
    index = torch.arange(len(x), device=x.device)
    batch = Batch(x=x.contiguous(memory_format=engine.memory_format), y=y, index=index)
    bench = StepContext(
        model=network, optimizer=optimizer, recipe=recipe, engine=engine,
        adversary=recipe.adversary,
    )  # fmt: skip
    return lambda: step(bench, batch, 1.0, {})


def timed(steps: dict[str, Step], rounds: int) -> dict[str, list[float]]:
    """Seconds of each step in each round, after one round to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 1):
        for name, one in steps.items():
            start = time.perf_counter()
            one()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description="Images per second of training")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--networks", nargs="+", default=["gupta_cnn", "resnet18"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_memory()
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precisions = ["fp32", "bf16"] if multiplies_bf16(device) else ["fp32"]
    x = torch.rand(options.batch, *IMAGE, device=device)
    y = torch.randint(CLASSES, (options.batch,), device=device)
    for name in options.networks:
        network = model.create(name, image=IMAGE, classes=CLASSES, seed=0).to(device)
        steps = {}
        for method in ADVERSARIES:
            steps[f"{method} peer"] = peer(usual(name, network), x, y, method)
            for precision in precisions:
                twin = copy.deepcopy(network)
                steps[f"{method} {precision}"] = ours(twin, x, y, method, precision)
        report(name, timed(steps, options.rounds), options.batch, multiplies_bf16(device))


def report(network: str, seconds: dict[str, list[float]], batch: int, bf16: bool) -> None:
    middle = {name: statistics.median(times) for name, times in seconds.items()}
    for name, times in seconds.items():
        method, contender = name.split()
        row = {
            "benchmark": "train", "network": network, "method": method, "contender": contender,
            "images_per_second": batch / middle[name], "batch": batch, "rounds": len(times),
            "bf16": bf16,
            "spread": (max(times) - min(times)) / middle[name],
            "ratio": middle[f"{method} peer"] / middle[name],
            "times_plain": middle[name] / middle[f"plain {contender}"],
        }  # fmt: skip
        print(json.dumps(row | record.provenance()), flush=True)


if __name__ == "__main__":
    main()
