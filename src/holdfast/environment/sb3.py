"""Stable-Baselines3: its vector environment over ours, and its policies as classifiers."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box, Space
from gymnasium.vector import AutoresetMode
from torch import Tensor, nn

from holdfast import model as models
from holdfast.environment.lanes import TOLD, pad
from holdfast.environment.vector import VectorClassification
from holdfast.errors import BadInput
from holdfast.types import Images, Logits, image_shape

try:
    from stable_baselines3 import DQN
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.policies import ActorCriticPolicy
    from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
    from stable_baselines3.common.vec_env import VecEnv
except ModuleNotFoundError as error:
    raise BadInput(
        f"expected stable-baselines3 for holdfast.environment.sb3, got: {error}; "
        "pip install 'holdfast[rl]'"
    ) from None


class LaneVecEnv(VecEnv):
    """Our vector environment as Stable-Baselines3's; wrap it in their `VecMonitor` for statistics.

    The lanes are one object: what is set, is set for all of them.
    Raises BadInput for an environment in another mode than SAME_STEP, which is theirs.
    """

    def __init__(self, env: VectorClassification) -> None:
        if env.mode is not AutoresetMode.SAME_STEP:
            raise BadInput(f"expected an environment in SAME_STEP mode, got {env.mode.name}")
        self.env = env
        self.actions = np.zeros(env.num_envs, dtype=np.int64)
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> np.ndarray:
        """First images, with the seeds that `seed` left."""
        seeds = [seed for seed in self._seeds if seed is not None]
        shown, _ = self.env.reset(seed=seeds or None, options=self._options[0])
        self._reset_seeds()
        self._reset_options()
        return shown

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions for `step_wait`."""
        self.actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Next images, rewards in float32, which episodes ended, and a dictionary for each lane."""
        shown, reward, done, _, info = self.env.step(self.actions)
        columns = [info[name].tolist() for name in TOLD]
        infos = [dict(zip(TOLD, row, strict=True)) for row in zip(*columns, strict=True)]
        for lane in np.flatnonzero(done):
            infos[lane]["terminal_observation"] = info["final_obs"][lane]
        return shown, reward.astype(np.float32), done, infos

    def close(self) -> None:
        """Nothing is held open."""
        self.env.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        """A frame of each lane."""
        return self.env.render() or [None] * self.num_envs

    def get_attr(self, attr_name: str, indices: int | Iterable[int] | None = None) -> list[Any]:
        """An attribute of the environment, once for each lane asked for."""
        return [getattr(self.env, attr_name) for _ in self._get_indices(indices)]

    def set_attr(
        self, attr_name: str, value: Any, indices: int | Iterable[int] | None = None
    ) -> None:
        """Set an attribute, as `policy`, for all lanes. Raises BadInput for some of them."""
        if indices is not None:
            raise BadInput(f"expected {attr_name} to be set for all lanes, got indices; drop them")
        setattr(self.env, attr_name, value)

    def env_method(
        self,
        method_name: str,
        *method_args: Any,
        indices: int | Iterable[int] | None = None,
        **method_kwargs: Any,
    ) -> list[Any]:
        """Raises BadInput: the lanes have no methods of their own."""
        raise BadInput(f"expected no method of single lanes, got {method_name}; call it on .env")

    def env_is_wrapped(
        self, wrapper_class: type, indices: int | Iterable[int] | None = None
    ) -> list[bool]:
        """False for every lane."""
        return [False for _ in self._get_indices(indices)]


class Features(BaseFeaturesExtractor):
    """A network of holdfast less its last layer, for `policy_kwargs` of Stable-Baselines3.

    With `net_arch=[]` the policy's own last layer takes its place: the same network.
    Raises BadInput for a network that is no sequence of layers ending in a linear one.

    network: a name of `holdfast.model.NETWORKS`; options: its arguments, and those of
    `holdfast.model.create`: `seed`, `mean`, `std`.
    """

    def __init__(self, observation_space: Space, *, network: str, **options: Any) -> None:
        shape: Any = observation_space.shape
        made = models.create(network, image=shape, classes=3, **options)  # of any number
        body = made.body
        last = body[-1] if isinstance(body, nn.Sequential) else body
        if not isinstance(body, nn.Sequential) or not isinstance(last, nn.Linear):
            raise BadInput(
                f"expected a sequence of layers that ends in a linear one, got {network}"
            )
        super().__init__(observation_space, last.in_features)
        self.network = models.Network(nn.Sequential(*list(body)[:-1]), made.card)

    def forward(self, x: Tensor) -> Tensor:
        """Features `[batch, features]` of images in [0, 1]."""
        return self.network(x)


class PolicyClassifier(nn.Module):
    """What a policy of Stable-Baselines3 makes of images: see `classifier`."""

    def __init__(self, policy: Any, image: tuple[int, int, int]) -> None:
        super().__init__()
        self.policy, self.image = policy, image
        self.train(False)

    def forward(self, x: Images) -> Logits:
        """Images in [0, 1], padded here as the environment does, to logits."""
        shown = pad(x, self.image) * 255
        if isinstance(self.policy, ActorCriticPolicy):
            found: Any = self.policy.get_distribution(shown).distribution
            return found.logits
        return self.policy(shown)


def classifier(learner: BaseAlgorithm) -> PolicyClassifier:
    """The policy of a learner (PPO, A2C: its log-probabilities; DQN: its values) as a classifier.

    It shares the learner's weights, so while learning it is the current policy, fit for the
    environment's adversary; a copy (`copy.deepcopy`) stays as it is. The softmax of DQN's values
    is flat, for they are rewards; only their order is learned.
    Raises BadInput for a learner whose actions are no classes or whose observations no images.
    """
    space = learner.observation_space
    policy = learner.q_net if isinstance(learner, DQN) else learner.policy
    usable = isinstance(learner, DQN) or isinstance(policy, ActorCriticPolicy)
    if not usable or not isinstance(space, Box) or len(space.shape) != 3:
        raise BadInput(
            f"expected PPO, A2C or DQN on images, got {type(learner).__name__} on {space}; "
            "train one of them on holdfast/Classification-v0"
        )
    return PolicyClassifier(policy, image_shape(torch.empty(0, *space.shape)))


def network(learner: BaseAlgorithm) -> models.Network:
    """A copy of a policy whose features are `Features` and whose `net_arch` is empty, as the
    network of holdfast that it is: to be saved (`holdfast.model.save_run`), for every command.

    Raises BadInput for another policy, and as `classifier` does.
    """
    policy: Any = classifier(learner).policy
    acts = isinstance(policy, ActorCriticPolicy)
    hidden = policy.mlp_extractor.policy_net if acts else policy.q_net[:-1]
    last: Any = policy.action_net if acts else policy.q_net[-1]
    features = policy.pi_features_extractor if acts else policy.features_extractor
    if not isinstance(features, Features) or len(hidden):
        raise BadInput(
            "expected a policy of holdfast.environment.sb3.Features with net_arch=[], got "
            f"{type(features).__name__} and {len(hidden)} layers behind it; use its classifier"
        )
    card = features.network.card
    made = models.create(
        card.architecture, image=card.image, classes=last.out_features, mean=card.mean,
        std=card.std, **card.options,
    )  # fmt: skip
    *layers, end = made.body.children()
    nn.Sequential(*layers).load_state_dict(features.network.body.state_dict())
    end.load_state_dict(last.state_dict())
    return made.eval()
