"""Steps per second of the vector environment, and its share of PPO's wall time.

    python benchmarks/environment.py [--data mnist] [--envs 256] >> results/environment-speed.jsonl

Contenders: our vector environment; Gymnasium's `SyncVectorEnv` over our single environments
(`single`, as `make_vec` builds it) and over the plain environment that a user would write
(`plain`, below). They step in turn, and the median over the rounds is reported; `ratio` is our
speed over theirs. The PPO row is Stable-Baselines3's defaults for images of this size
(`MlpPolicy`) but for rollouts of 8 steps and batches of one step of all environments.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from stable_baselines3 import PPO

from holdfast import data, environment, record
from holdfast.environment import VectorClassification
from holdfast.environment.sb3 import LaneVecEnv


class Plain(gymnasium.Env):
    """An image at random, +1 or -1: the least that such an environment does."""

    def __init__(self, pixels: np.ndarray, y: np.ndarray) -> None:
        self.pixels, self.y = pixels, y
        self.observation_space = gymnasium.spaces.Box(0, 255, pixels.shape[1:], np.uint8)
        self.action_space = gymnasium.spaces.Discrete(int(y.max()) + 1)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.row = self.np_random.integers(len(self.y))
        return self.pixels[self.row].copy(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        right = bool(action == self.y[self.row])
        info = {"label": int(self.y[self.row]), "correct": right}
        return self.pixels[self.row].copy(), 1.0 if right else -1.0, True, False, info


class TimedVecEnv(LaneVecEnv):
    """Adds up what stepping takes, in `seconds`."""

    seconds = 0.0

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        start = time.perf_counter()
        found = super().step_wait()
        self.seconds += time.perf_counter() - start
        return found


def contenders(dataset: data.Dataset, envs: int) -> dict[str, VectorEnv]:
    pixels, y = dataset.train.pixels.numpy(), dataset.train.y.numpy()
    mode = AutoresetMode.SAME_STEP
    single = gymnasium.make_vec(
        environment.NAME, num_envs=envs, vectorization_mode="sync", data=dataset,
        vector_kwargs={"autoreset_mode": mode},
    )  # fmt: skip
    plain = SyncVectorEnv([lambda: Plain(pixels, y)] * envs, autoreset_mode=mode)
    return {"vector": VectorClassification(envs, data=dataset), "single": single, "plain": plain}


def stepping(env: VectorEnv, classes: int, steps: int) -> Callable[[], object]:
    """So many steps with random actions."""
    actions = np.random.default_rng(0).integers(classes, size=(steps, env.num_envs))
    env.reset(seed=0)
    return lambda: [env.step(action) for action in actions]


def timed(work: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each in each round, after one round to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(rounds + 1):
        for name, one in work.items():
            start = time.perf_counter()
            one()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def ppo(dataset: data.Dataset, envs: int, rollouts: int) -> dict[str, Any]:
    """Share of the environment in the seconds that PPO takes, after one rollout to warm up."""
    env = TimedVecEnv(VectorClassification(envs, data=dataset))
    learner = PPO("MlpPolicy", env, n_steps=8, batch_size=envs, seed=0, device="cpu")
    learner.learn(8 * envs)
    env.seconds, start = 0.0, time.perf_counter()
    learner.learn(rollouts * 8 * envs)
    seconds = time.perf_counter() - start
    return {"contender": "ppo", "steps_per_second": rollouts * 8 * envs / seconds,
            "share": env.seconds / seconds}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Steps per second of the environment")
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--data-root")
    parser.add_argument("--envs", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rollouts", type=int, default=5, help="of PPO")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    dataset = data.load(options.data, root=options.data_root)
    about = {"benchmark": "environment", "data": options.data, "envs": options.envs}
    work = {
        name: stepping(env, dataset.classes, options.steps)
        for name, env in contenders(dataset, options.envs).items()
    }
    seconds = timed(work, options.rounds)
    ours = statistics.median(seconds["vector"])
    for name, times in seconds.items():
        middle = statistics.median(times)
        row = about | {
            "contender": name, "steps_per_second": options.steps * options.envs / middle,
            "ratio": middle / ours, "rounds": len(times),
            "spread": (max(times) - min(times)) / middle,
        }  # fmt: skip
        print(json.dumps(row | record.provenance()), flush=True)
    print(json.dumps(about | ppo(dataset, options.envs, options.rollouts) | record.provenance()))


if __name__ == "__main__":
    main()
