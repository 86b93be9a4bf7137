"""Reinforcement learners on MNIST: ours and Stable-Baselines3's, one network, as many images.

    python recipes/rl_mnist.py --data-root DATA
    python recipes/rl_mnist.py --data-root DATA --cut 0.05 --learners reward ppo
    python recipes/rl_mnist.py --data-root DATA --cut 0.05 --learners reward ppo --weighted

Every learner sees --steps images through the same vector environment, one pick for each, and
trains Madry's network (PPO, A2C and DQN with the policy's own layer as its last, PPO and A2C with a
value beside it). `reward` hears only what its pick was told; `expected` and `maxrl` see the labels
that the environment tells afterwards. With --cut the digits 3 and 8 keep that share of their
images; --weighted multiplies rewards by balanced class weights (Gupta 2020, section 5). A row per
learner and seed goes to results/rl-mnist.jsonl: accuracy and recall of every digit on the whole
test split, FGSM and PGD-20 (on cross-entropy, and on the margin, since DQN's values make a flat
softmax) at radius 0.1 on --test-images. On one slow core 100,000 images take our learners some 5
minutes each and PPO, which sees each four times, a quarter of an hour.
"""

import argparse
import dataclasses
import time
from pathlib import Path
from typing import Any

import torch
from stable_baselines3 import A2C, DQN, PPO

import holdfast as hf
from holdfast import record
from holdfast.attack import FGSM, PGD
from holdfast.environment import VectorClassification, learn, sb3
from holdfast.feedback import Expected, MaxRL, Signed, Weighted

RATE, RARE, RADIUS = 5e-4, (3, 8), 0.1
OURS = {"reward": None, "expected": Expected(entropy=0.1), "maxrl": MaxRL(entropy=0.1)}
THEIRS: dict[str, tuple[Any, dict[str, Any]]] = {
    "ppo": (PPO, {"n_steps": 8, "batch_size": 128, "n_epochs": 4, "ent_coef": 0.01}),
    "a2c": (A2C, {"n_steps": 4, "ent_coef": 0.01}),
    "dqn": (DQN, {"buffer_size": 20_000, "learning_starts": 1000, "batch_size": 128,
                  "train_freq": 1, "gradient_steps": 1, "exploration_fraction": 0.3}),
}  # fmt: skip

parser = argparse.ArgumentParser(description="Reinforcement learners on MNIST")
parser.add_argument("--data-root")
parser.add_argument("--learners", nargs="+", default=[*OURS, *THEIRS])
parser.add_argument("--steps", type=int, default=100_000, help="images shown to each")
parser.add_argument("--envs", type=int, default=64)
parser.add_argument("--cut", type=float, default=1.0, help="share kept of the digits 3 and 8")
parser.add_argument("--weighted", action="store_true")
parser.add_argument("--seeds", type=int, default=3)
parser.add_argument("--test-images", type=int, default=1000)
parser.add_argument("--out", type=Path, help="folder that each network becomes a run in")
parser.add_argument("--threads", type=int, default=torch.get_num_threads())
parser.add_argument("--results", type=Path, default=Path("results"))
options = parser.parse_args()

torch.set_num_threads(options.threads)
data = hf.data.load("mnist", root=options.data_root)
kept = torch.ones(len(data.train), dtype=torch.bool)
for digit in RARE:
    places = (data.train.y == digit).nonzero().flatten()
    kept[places[round(options.cut * len(places)) :]] = False
data = dataclasses.replace(data, train=data.train.only(kept.nonzero().flatten()))
test = data.test.sample(options.test_images)
reward = Weighted() if options.weighted else Signed()


def trained(name: str, seed: int) -> hf.model.Network:
    """The classifier that this learner makes of the environment's images."""
    env = VectorClassification(options.envs, data=data, reward=reward)
    if name in OURS:
        model = hf.model.create("madry_mnist", image=data.image, classes=data.classes, seed=seed)
        optimizer = torch.optim.AdamW(model.parameters(), RATE)
        learn(model, env, steps=options.steps // options.envs, optimizer=optimizer,
              objective=OURS[name], clip=1.0, seed=seed)  # fmt: skip
        return model
    make, settings = THEIRS[name]
    policy = {
        "features_extractor_class": sb3.Features, "net_arch": [],
        "features_extractor_kwargs": {"network": "madry_mnist", "seed": seed},
    }  # fmt: skip
    learner = make(
        "CnnPolicy", sb3.LaneVecEnv(env), policy_kwargs=policy, learning_rate=RATE, gamma=0.0,
        seed=seed, device="cpu", **settings,
    )  # fmt: skip
    learner.learn(options.steps)
    return sb3.network(learner)


for seed in range(options.seeds):
    for name in options.learners:
        start = time.perf_counter()
        model = trained(name, seed)
        seconds = time.perf_counter() - start
        if options.out:
            kind = f"{name}-{options.cut:g}{'-weighted' * options.weighted}-{seed}"
            hf.model.save_run(model, options.out / kind, data="mnist")
        right = hf.model.predict(model, data.test.x).argmax(1) == data.test.y
        recall = [right[data.test.y == digit].float().mean().item() for digit in range(10)]
        attacked = hf.evaluate(
            model, test.x, test.y, index=test.index, radius=RADIUS,
            attacks={
                "fgsm": FGSM(radius=RADIUS), "pgd-20": PGD(radius=RADIUS, steps=20),
                "pgd-20-margin": PGD(radius=RADIUS, steps=20, loss="margin"),
            },
        )  # fmt: skip
        found = {
            "learner": name, "seed": seed, "steps": options.steps, "envs": options.envs,
            "cut": options.cut, "weighted": options.weighted, "seconds": seconds, "recall": recall,
            "test_clean": right.float().mean().item(), "test": attacked.as_dict(),
        }  # fmt: skip
        record.append(options.results / "rl-mnist.jsonl", record.provenance(**found))
        print(name, seed, f"{found['test_clean']:.4f}", f"{seconds:.0f} s", flush=True)
