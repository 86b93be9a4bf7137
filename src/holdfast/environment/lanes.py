"""Streams of images beside each other, each answered and judged for itself.

Which image a lane shows is a function of its seed and of how many it has shown before, so a lane
is the same alone and among others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from holdfast import attack, noise
from holdfast.environment.task import Task
from holdfast.errors import BadInput
from holdfast.model import frozen
from holdfast.types import Attack, Classifier, Labels, device_of

AHEAD = 64  # visits whose random numbers are made together
TOLD: tuple[str, ...] = ("label", "correct", "regret", "index")  # what `info` holds of an answer
EDGE = 1e-3  # of a level: what float32 loses where an attack uses the whole of its budget


@dataclass(frozen=True, eq=False, kw_only=True)
class Answer:
    """What the picks of one step brought, `[lanes]`; zeros where a lane was not asked.

    reward: as told, float64. regret: what the best pick would have been told less what this one
    should have been (feedback that lies does not change it). index: position in the data set.
    """

    reward: np.ndarray
    label: np.ndarray
    correct: np.ndarray
    regret: np.ndarray
    index: np.ndarray

    def info(self) -> dict[str, np.ndarray]:
        """What a learner may know afterwards."""
        return {name: getattr(self, name) for name in TOLD}


class Lanes:
    """The state of `count` environments.

    seen: what each lane shows, uint8 `[count, channel, height, width]`; made anew, never changed.
    over: which lanes' episodes have ended. all: every lane.
    before, picked, last: the images answered last, the picks (-1: none yet) and the answer.
    """

    def __init__(self, task: Task, count: int) -> None:
        self.task, self.count = task, count
        self.pixels = task.images.pixels.numpy()
        self.y, self.index = task.images.y.numpy(), task.images.index.numpy()
        self.told = task.told
        self.fatal = np.isin(np.arange(len(self.told)), task.fatal)
        self.key, self.drawn, self.row, self.taken = np.zeros((4, count), dtype=np.int64)
        self.ahead, self.chance = np.zeros((count, AHEAD, 3)), np.zeros((count, 2))
        self.all = np.ones(count, dtype=bool)
        self.over = self.all
        self.seen = np.zeros((count, *task.shape), dtype=np.uint8)
        self.before, self.picked = self.seen, np.full(count, -1)
        self.last: Answer | None = None

    def seed(self, seeds: Sequence[int]) -> None:
        """Start every lane's stream anew. Raises BadInput for a seed out of range."""
        for seed in seeds:
            noise.require_seed(seed)
        self.key = np.array([noise.scramble(int(seed), noise.Stream.LANES) for seed in seeds])
        self.drawn = np.zeros_like(self.key)

    def reset(self, policy: Classifier | None) -> None:
        """New episodes in all lanes, as if nothing had been picked yet."""
        self.picked = np.full(self.count, -1)
        self.go_on(self.all, self.all, policy)

    def go_on(self, begun: np.ndarray, drawn: np.ndarray, policy: Classifier | None) -> None:
        """New episodes in the first lanes, new images in the second, which contain them."""
        self.taken[begun] = 0
        self.over = self.over & ~begun
        self._draw(drawn, policy)

    def _draw(self, lanes: np.ndarray, policy: Classifier | None) -> None:
        """A new image in each of these lanes."""
        at = np.flatnonzero(lanes)
        number = self._numbers(at)
        self.row[at] = number[:, 0] * len(self.y)
        self.chance[at] = number[:, 1:]
        visit = torch.from_numpy(self.key[at] + self.drawn[at])
        self.drawn[at] += 1
        shown = self._shown(self.row[at], visit, policy)
        if len(at) < self.count:
            shown, some = self.seen.copy(), shown
            shown[at] = some
        self.seen = shown

    def _numbers(self, at: np.ndarray) -> np.ndarray:
        """Three numbers in [0, 1) for the next visit in these lanes, made for many visits at once:
        which image it is, whether its feedback lies, and how."""
        place = self.drawn[at] % AHEAD
        empty = at[place == 0]
        if len(empty):
            first = (self.key + self.drawn)[empty, None]
            visits = torch.from_numpy((first + np.arange(AHEAD)).ravel())
            made = noise.uniform(visits, (3,), noise.Stream.LANES).double().numpy()
            self.ahead[empty] = made.reshape(len(empty), AHEAD, 3)
        return self.ahead[at, place]

    def answer(self, picked: np.ndarray, asked: np.ndarray) -> Answer:
        """Judge the picks in the lanes that are asked; where an episode ends, `over` says so."""
        label = self.y[self.row]
        right, told = picked == label, self.told[label, picked]
        heard = np.where(self.chance[:, 0] < self.task.flip, self._lie(label, right), told)
        self.taken += asked
        ends = (self.taken >= self.task.length) | (~right & self.fatal[label])
        self.over = self.over | (ends & asked)
        self.before, self.picked = self.seen, np.where(asked, picked, -1)
        self.last = Answer(
            reward=heard * asked, label=label * asked, correct=right & asked,
            regret=(self.told.max(1)[label] - told) * asked, index=self.index[self.row] * asked,
        )  # fmt: skip
        return self.last

    def _lie(self, label: np.ndarray, right: np.ndarray) -> np.ndarray:
        """What a pick is told in place of the truth."""
        classes = len(self.told)
        other = (label + 1 + (self.chance[:, 1] * (classes - 1)).astype(np.int64)) % classes
        return self.told[label, np.where(right, other, label)]

    def _shown(self, row: np.ndarray, visit: torch.Tensor, policy: Classifier | None) -> np.ndarray:
        """The images in these rows as they are shown: attacked and padded."""
        pixels = self.pixels[row]
        if self.task.adversary is not None:
            y = torch.from_numpy(self.y[row])
            pixels = attacked(self.task.adversary, policy, pixels, y, visit)
        return padded(pixels, self.task.shape)


def attacked(
    adversary: Attack, policy: Classifier | None, pixels: np.ndarray, y: Labels, visit: Labels
) -> np.ndarray:
    """Adversarial images in whole levels, rounded towards the image: the budget is kept.

    Raises BadInput without a policy.
    """
    if policy is None:
        raise BadInput(
            "expected a policy for the adversary to attack, got none; set the environment's "
            "`policy` to a classifier before the first reset"
        )
    device = device_of(policy, torch.device("cpu"))
    x = torch.from_numpy(pixels).to(device).float() / 255
    with torch.enable_grad(), frozen(policy):
        adv = attack.run(adversary, policy, x, y.to(device), visit.to(device))
    change = (adv.detach() - x) * 255
    levels = change.sign() * (change.abs() + EDGE).floor()
    return (pixels + levels.cpu().numpy()).clip(0, 255).astype(np.uint8)


def pad(x: Tensor, image: tuple[int, int, int]) -> Tensor:
    """The images in the middle of black ones of this shape."""
    down, across = image[1] - x.shape[2], image[2] - x.shape[3]
    top, left = down // 2, across // 2
    return F.pad(x, (left, across - left, top, down - top))


def padded(pixels: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """The images in the middle of black ones of this shape; themselves where it is their own."""
    if pixels.shape[1:] == shape:
        return pixels
    return pad(torch.from_numpy(pixels), shape).numpy()


def picks(
    actions: object, classes: int, count: int, heard: np.ndarray | bool = True
) -> np.ndarray:  # fmt: skip
    """The actions as `[count]` classes. heard: which of them count. Raises BadInput for what is
    none."""
    found = np.asarray(actions)
    if found.shape != (count,) or not np.issubdtype(found.dtype, np.integer):
        raise BadInput(
            f"expected {count} actions as integers, got {found.dtype} of shape {found.shape}; "
            "give each environment the class that is picked"
        )
    outside = (found < 0) | (found >= classes)
    if (wrong := outside & heard).any():
        raise BadInput(
            f"expected an action from 0 to {classes - 1}, got {found[wrong][0]}; pick a class"
        )
    return np.where(outside, 0, found).astype(np.int64)
