"""One environment: an image in, a class out, a reward back."""

from collections.abc import Iterable
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

from holdfast import noise
from holdfast.environment.lanes import Lanes, picks
from holdfast.environment.picture import picture
from holdfast.environment.task import task
from holdfast.errors import BadInput
from holdfast.types import Classifier

RENDER_MODES = ("rgb_array",)


class Classification(gymnasium.Env[np.ndarray, np.integer | int]):
    """Classification as an environment (Gupta 2020, arXiv 2012.04353, section 2).

    Observations are uint8 images `[channel, height, width]`, actions classes. `step` tells the
    `label`, whether the pick was `correct`, the `regret` and the image's `index` in `info`. The
    observation after an episode's last pick is the image once more.

    Args:
        policy: classifier of the images in [0, 1], unpadded, that the adversary attacks; may be
            set later and changed at any time.
        render_mode: `rgb_array` or None.
        options: those of `Task`.

    Raises BadInput for options, actions and seeds that cannot be.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        "render_modes": list(RENDER_MODES), "render_fps": 4,
    }  # fmt: skip

    def __init__(
        self,
        *,
        policy: Classifier | None = None,
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        self.lanes = Lanes(task(options), 1)
        self.policy = policy
        self.render_mode = require_render_mode(render_mode)
        self.seeded = False
        self.observation_space, self.action_space = spaces(self.lanes)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """The first image of an episode. Without a seed the stream of images goes on."""
        require_no_options(options)
        require_seeds([] if seed is None else [seed])
        super().reset(seed=seed)
        if seed is not None or not self.seeded:
            self.lanes.seed([int(self.np_random.integers(noise.SEEDS)) if seed is None else seed])
            self.seeded = True
        self.lanes.reset(self.policy)
        return self.lanes.seen[0].copy(), {}

    def step(
        self, action: np.integer | int
    ) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """What the pick was told, and the next image."""
        if self.lanes.over[0]:
            raise BadInput("expected reset() to begin an episode, got step(); call reset()")
        picked = picks(np.asarray(action)[None], len(self.lanes.told), 1)
        answer = self.lanes.answer(picked, self.lanes.all)
        over = bool(self.lanes.over[0])
        if not over:
            self.lanes.go_on(self.lanes.over, self.lanes.all, self.policy)
        info = {name: value[0].item() for name, value in answer.info().items()}
        return self.lanes.seen[0].copy(), float(answer.reward[0]), over, False, info

    def render(self) -> np.ndarray | None:
        """The image answered last with label, pick and reward; None without a render mode."""
        return picture(self.lanes, 0) if self.render_mode else None


def spaces(lanes: Lanes) -> tuple[Box, Discrete]:
    """What one environment shows, and what it can be told."""
    return Box(0, 255, lanes.task.shape, np.uint8), Discrete(len(lanes.told))


def require_render_mode(mode: str | None) -> str | None:
    """The render mode. Raises BadInput for one that there is not."""
    if mode not in (None, *RENDER_MODES):
        raise BadInput(f"expected render_mode rgb_array or None, got {mode!r:.60}")
    return mode


def require_seeds(seeds: Iterable[int]) -> None:
    """Raises BadInput for a seed below 0."""
    if (least := min(seeds, default=0)) < 0:
        raise BadInput(f"expected a seed of 0 or more, got {least}")


def require_no_options(options: dict[str, Any] | None) -> None:
    """Raises BadInput for options of a reset: there are none."""
    if options:
        raise BadInput(
            f"expected no options to reset, got {', '.join(options)}; give them to the environment"
        )
