"""Many environments in one: the native twin of `SyncVectorEnv` over `Classification`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from holdfast import noise
from holdfast.environment.lanes import Answer, Lanes, picks
from holdfast.environment.picture import picture
from holdfast.environment.single import (
    RENDER_MODES,
    require_no_options,
    require_render_mode,
    require_seeds,
    spaces,
)
from holdfast.environment.task import task
from holdfast.errors import BadInput
from holdfast.types import Classifier

MODES = (AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP)


class VectorClassification(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """So many environments that step together; the one numbered i is `Classification` with the
    seed plus i, step by step.

    `info` is that of `SyncVectorEnv`, but that `label`, `correct`, `regret` and `index` of what was
    just answered stand at its top in SAME_STEP mode too, where an episode ended as well, and in a
    step in which all begin anew, none of them marked as there.

    Args:
        num_envs: how many.
        autoreset_mode: a finished episode is followed by a new one in the same step, its last
            image and info in `final_obs` and `final_info`; or in the next step, whose action is
            not looked at.
        policy: classifier of the images in [0, 1], unpadded, that the adversary attacks; may be
            set later and changed at any time.
        render_mode: `rgb_array` or None.
        options: those of `Task`.

    Raises BadInput for options, actions and seeds that cannot be.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        "render_modes": list(RENDER_MODES), "render_fps": 4,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }  # fmt: skip

    def __init__(
        self,
        num_envs: int = 1,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        policy: Classifier | None = None,
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        if num_envs < 1:
            raise BadInput(f"expected num_envs of 1 or more, got {num_envs}; raise it")
        self.mode = require_autoreset_mode(autoreset_mode)
        self.metadata = self.metadata | {"autoreset_mode": self.mode}
        self.lanes = Lanes(task(options), num_envs)
        self.num_envs, self.policy = num_envs, policy
        self.render_mode = require_render_mode(render_mode)
        self.seeded = False
        self.single_observation_space, self.single_action_space = spaces(self.lanes)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """The first images of episodes. Without a seed the streams of images go on; where several
        are given, None stands for any."""
        require_no_options(options)
        seeds = self._seeds(seed)
        require_seeds(seeds)
        super().reset(seed=None if seed is None else int(seeds[0]))
        if seed is None and not self.seeded:
            seeds = self.np_random.integers(noise.SEEDS, size=self.num_envs).tolist()
        if seeds:
            self.lanes.seed(seeds)
            self.seeded = True
        self.lanes.reset(self.policy)
        return self.lanes.seen.copy(), {}

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """What the picks were told, and the next images."""
        if not self.seeded:
            raise BadInput("expected reset() to begin episodes, got step(); call reset()")
        waiting = self.lanes.over
        picked = picks(actions, len(self.lanes.told), self.num_envs, ~waiting)
        answer = self.lanes.answer(picked, ~waiting)
        ended = self.lanes.over & ~waiting
        info = masked_info(answer, ~waiting)
        if self.mode is AutoresetMode.SAME_STEP:
            info |= final_info(self.lanes.seen, answer, ended)
            self.lanes.go_on(ended, self.lanes.all, self.policy)
        else:
            self.lanes.go_on(waiting, ~ended, self.policy)
        return self.lanes.seen.copy(), answer.reward, ended, np.zeros_like(ended), info

    def render(self) -> tuple[np.ndarray, ...] | None:
        """A frame of each environment; None without a render mode."""
        if self.render_mode is None:
            return None
        return tuple(picture(self.lanes, lane) for lane in range(self.num_envs))

    def _seeds(self, seed: int | Sequence[int | None] | None) -> list[int]:
        """One for each environment. Raises BadInput for another number of them."""
        if seed is None:
            return []
        if isinstance(seed, int | np.integer):
            return [int(seed) + lane for lane in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise BadInput(f"expected {self.num_envs} seeds, got {len(seed)}; give one for each")
        drawn = np.random.default_rng().integers(noise.SEEDS, size=self.num_envs)
        return [int(new) if own is None else own for own, new in zip(seed, drawn, strict=True)]


def require_autoreset_mode(mode: AutoresetMode | str) -> AutoresetMode:
    """The autoreset mode. Raises BadInput for one that there is not."""
    names = {name: found for found in MODES for name in (found, found.value, found.name)}
    if mode not in names:
        raise BadInput(f"expected autoreset_mode SAME_STEP or NEXT_STEP, got {mode!r:.60}")
    return names[mode]


def masked_info(answer: Answer, lanes: np.ndarray) -> dict[str, Any]:
    """The answer as Gymnasium's vector environments tell it: each entry, and where it holds."""
    info = answer.info()
    return info | {f"_{name}": lanes.copy() for name in info}


def final_info(seen: np.ndarray, answer: Answer, ended: np.ndarray) -> dict[str, Any]:
    """The last images and infos of the episodes that ended; nothing where none did."""
    if not ended.any():
        return {}
    images = np.full(len(ended), None, dtype=object)
    images[ended] = np.fromiter(seen[ended], dtype=object, count=int(ended.sum()))
    info = {name: value * ended for name, value in answer.info().items()}
    masks = {f"_{name}": ended.copy() for name in info}
    return {
        "final_obs": images, "_final_obs": ended.copy(),
        "final_info": info | masks, "_final_info": ended.copy(),
    }  # fmt: skip
