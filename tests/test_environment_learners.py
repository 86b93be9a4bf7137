"""Learners on the environment: our own, and Stable-Baselines3 with its checker and vectors."""

import copy
import json
import time
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from small import blobs, network
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

import holdfast as hf
from holdfast import environment
from holdfast.attack import FGSM
from holdfast.cli import main
from holdfast.environment import Classification, VectorClassification, learn, sb3
from holdfast.errors import BadInput
from holdfast.feedback import Expected

DATA = blobs()
LEARNERS: dict[str, tuple[type, int, dict[str, Any]]] = {
    "a2c": (A2C, 16_384, {"n_steps": 4, "learning_rate": 3e-3}),
    "dqn": (DQN, 8192, {"learning_starts": 256, "buffer_size": 4096, "gradient_steps": 4,
                        "exploration_fraction": 0.3, "learning_rate": 3e-3}),
}  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small are several times slower with more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def lanes(count: int, **options: Any) -> sb3.LaneVecEnv:
    made: dict[str, Any] = {"data": DATA} | options
    return sb3.LaneVecEnv(VectorClassification(count, **made))


def accuracy(model: torch.nn.Module, split: hf.data.Split) -> float:
    return (hf.model.predict(model, split.x).argmax(1) == split.y).float().mean().item()


def small_ppo(env: Any, **options: Any) -> PPO:
    return PPO("MlpPolicy", env, n_steps=8, batch_size=64, seed=0, device="cpu", **options)


def test_their_checker_has_nothing_to_say(recwarn):
    env = gymnasium.make(
        environment.NAME, data="digits", pad_to=36, length=2, render_mode="rgb_array"
    )
    check_env(env.unwrapped, skip_render_check=False)
    assert not recwarn.list


def test_lanes_are_their_own_vector_environment_of_singles():
    options = {"data": DATA, "length": 3, "fatal": (2,)}
    theirs = DummyVecEnv([lambda: Classification(**options) for _ in range(5)])
    ours = lanes(5, **options)
    for env in (theirs, ours):
        env.seed(11)
    np.testing.assert_array_equal(theirs.reset(), ours.reset())
    actions = np.random.default_rng(0)
    for _ in range(40):
        action = actions.integers(3, size=5)
        mine, other = ours.step(action), theirs.step(action)
        for a, b in zip(mine[:3], other[:3], strict=True):
            np.testing.assert_array_equal(a, b)
            assert np.asarray(a).dtype == np.asarray(b).dtype
        for a, b in zip(mine[3], other[3], strict=True):
            assert set(b) - set(a) == {"TimeLimit.truncated"}
            assert all(np.array_equal(value, b[name]) for name, value in a.items())
    np.testing.assert_array_equal(ours.reset(), theirs.reset())


def test_their_statistics_and_frames():
    env = VecMonitor(lanes(4, length=2, render_mode="rgb_array"))
    env.reset()
    env.step(np.zeros(4, int))
    episodes = [info["episode"] for info in env.step(np.zeros(4, int))[3]]
    assert [episode["l"] for episode in episodes] == [2] * 4
    frame = env.render()
    assert frame is not None and frame.shape == (2 * 236, 2 * 192, 3)
    env.close()
    env.close()


@pytest.mark.parametrize("name", LEARNERS)
def test_learners_learn_and_become_classifiers(name):
    make, steps, options = LEARNERS[name]
    learner = make("MlpPolicy", lanes(64), seed=0, gamma=0.0, device="cpu", **options)
    model = sb3.classifier(learner)
    before = copy.deepcopy(model)
    learner.learn(steps)
    assert accuracy(model, DATA.test) > 0.9, "the classifier is the learner's current policy"
    assert accuracy(before, DATA.test) < 0.7, "a copy stays as it is"
    picked, _ = learner.predict(DATA.test.pixels.numpy(), deterministic=True)
    np.testing.assert_array_equal(picked, hf.model.predict(model, DATA.test.x).argmax(1))


@pytest.fixture(scope="module")
def digits() -> tuple[PPO, hf.data.Dataset, float]:
    """PPO on digits, and the seconds that it took."""
    torch.set_num_threads(1)
    data, start = hf.data.load("digits"), time.perf_counter()
    learner = PPO(
        "MlpPolicy", lanes(256, data=data), n_steps=8, batch_size=512, n_epochs=6, seed=0,
        learning_rate=2e-3, gamma=0.0, policy_kwargs={"net_arch": [256]}, device="cpu",
    )  # fmt: skip
    learner.learn(24_576)
    return learner, data, time.perf_counter() - start


def test_ppo_reaches_95_percent_on_digits_within_a_minute(digits):
    learner, data, seconds = digits
    assert accuracy(sb3.classifier(learner), data.test) >= 0.95
    assert seconds < 60


def test_a_policy_is_evaluated_and_its_margins_searched_like_any_classifier(digits):
    learner, data, _ = digits
    model, test = sb3.classifier(learner), data.test.sample(60)
    found = hf.evaluate(model, test.x, test.y, attacks={"fgsm": FGSM(radius=0.1)}, radius=0.1)
    assert found.worst_case.accuracy < found.clean.accuracy - 0.1, "the gradient leads somewhere"
    margins = hf.margin.search(model, test.x[:3], test.y[:3])
    assert 0 < float((margins.entered >= 0).float().mean()) < 1


def test_the_adversary_follows_the_learner(digits):
    learner, data, _ = digits
    rates = {}
    for name, adversary in {"clean": None, "attacked": FGSM(radius=0.2)}.items():
        env = VectorClassification(
            200, data=data, split="test", adversary=adversary, policy=sb3.classifier(learner)
        )
        shown, _ = env.reset(seed=0)
        picked, _ = learner.predict(shown, deterministic=True)
        rates[name] = env.step(picked)[4]["correct"].mean()
    assert rates["attacked"] < rates["clean"] - 0.2


def test_learning_under_attack():
    env = lanes(32, adversary=FGSM(radius=0.1))
    learner = small_ppo(env)
    with pytest.raises(BadInput, match="a policy for the adversary"):
        learner.learn(256)
    env.set_attr("policy", sb3.classifier(learner))
    learner.learn(256)


def test_their_cnn_sees_padded_images_and_its_classifier_pads_itself():
    learner = PPO("CnnPolicy", lanes(4, pad_to=36), n_steps=2, batch_size=8, device="cpu")
    shown = learner.env.reset() if learner.env else None
    assert isinstance(shown, np.ndarray) and shown.shape == (4, 1, 36, 36)
    x = torch.from_numpy(shown[:, :, 14:22, 14:22].copy()).float() / 255
    expected, _ = learner.predict(shown, deterministic=True)
    np.testing.assert_array_equal(hf.model.predict(sb3.classifier(learner), x).argmax(1), expected)


OURS: dict[str, Any] = {
    "features_extractor_class": sb3.Features, "net_arch": [],
    "features_extractor_kwargs": {
        "network": "gupta_cnn", "widths": (4,), "dense": 16, "logit_norm": False,
        "mean": (0.4,), "std": (0.2,),
    },
}  # fmt: skip


def test_a_network_of_ours_less_its_last_layer():
    learner = small_ppo(lanes(32), policy_kwargs=OURS)
    ours = hf.model.create(
        "gupta_cnn", image=DATA.image, classes=3, widths=(4,), dense=16, logit_norm=False
    )
    count = sum(w.numel() for w in learner.policy.parameters())
    assert count - 17 == sum(w.numel() for w in ours.parameters()), "17: the value of an image"
    learner.learn(256)
    bad = OURS | {"features_extractor_kwargs": {"network": "gupta_cnn"}}
    with pytest.raises(BadInput, match="ends in a linear one, got gupta_cnn"):
        small_ppo(lanes(32), policy_kwargs=bad)


@pytest.mark.parametrize("kind", [PPO, A2C, DQN])
def test_a_policy_becomes_a_run_for_every_command(kind, tmp_path, capsys):
    env = lanes(8, data="digits")
    short: dict[str, Any] = {"buffer_size": 100} if kind is DQN else {"n_steps": 8}
    learner = kind("CnnPolicy", env, policy_kwargs=OURS, seed=0, device="cpu", **short)
    learner.learn(64)
    made, split = sb3.network(learner), hf.data.load("digits").test.sample(30)
    theirs, ours = (hf.model.predict(model, split.x) for model in (sb3.classifier(learner), made))
    if kind is not DQN:  # theirs are log-probabilities
        ours = ours.log_softmax(1)
    torch.testing.assert_close(ours, theirs)
    run = hf.model.save_run(made, tmp_path / "run", data="digits")
    assert main(["evaluate", str(run), "--images", "30", "--json"]) == 0
    right = (theirs.argmax(1) == split.y).double().mean().item()
    assert json.loads(capsys.readouterr().out)["clean_accuracy"] == right
    with pytest.raises(BadInput, match="a new folder for a run"):
        hf.model.save_run(made, run)
    with pytest.raises(BadInput, match="got FlattenExtractor and 4 layers behind it"):
        sb3.network(small_ppo(lanes(8)))


def test_what_cannot_be_is_refused_in_one_line():
    with pytest.raises(BadInput, match="SAME_STEP mode, got NEXT_STEP"):
        lanes(2, autoreset_mode="NextStep")
    env = lanes(2)
    assert env.env_is_wrapped(DummyVecEnv) == [False, False]
    with pytest.raises(BadInput, match="all lanes"):
        env.set_attr("policy", None, indices=[0])
    with pytest.raises(BadInput, match="no method of single lanes, got render"):
        env.env_method("render")
    poles = PPO("MlpPolicy", gymnasium.make("CartPole-v1"), device="cpu")
    with pytest.raises(BadInput, match="PPO, A2C or DQN on images, got PPO on Box"):
        sb3.classifier(poles)


@pytest.mark.parametrize("objective", [None, Expected(entropy=0.1)], ids=["told", "expected"])
def test_our_own_trainer_learns_through_the_environment(objective):
    model = network(DATA, dropout=(0.0, 0.0))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    env = VectorClassification(64, data=DATA)
    rewards = learn(model, env, steps=80, optimizer=optimizer, objective=objective, clip=1.0)
    assert len(rewards) == 80
    assert np.mean(rewards[:5]) < 0 < 0.8 < np.mean(rewards[-5:])
    with pytest.raises(BadInput, match="SAME_STEP mode, got NEXT_STEP"):
        learn(model, VectorClassification(2, data=DATA, autoreset_mode="NextStep"), steps=1,
              optimizer=optimizer)  # fmt: skip


@pytest.mark.parametrize(
    "objective",
    [
        hf.feedback.Handover(at=1),
        hf.feedback.PPO(passes=2),
        hf.feedback.Trades(),
        hf.feedback.GCE(final=1),
        Expected(repeated=hf.feedback.Repeated(growth=1)),
        hf.feedback.PolicyGradient(
            exploration=hf.feedback.EpsilonGreedy(epsilon=1, final=0), correction="importance"
        ),
    ],
    ids=lambda o: o.name,
)
def test_objectives_that_need_more_than_an_environment_has_are_refused(objective):
    data = blobs()
    env, model = VectorClassification(2, data=data), network(data)
    with pytest.raises(BadInput, match="an objective without"):
        learn(model, env, steps=1, optimizer=torch.optim.Adam(model.parameters()),
              objective=objective)  # fmt: skip
    with pytest.raises(BadInput, match="a seed of 0 or more, got -1"):
        env.reset(seed=-1)


def test_the_policy_under_attack_may_have_batch_normalisation():
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Flatten(),
        torch.nn.Linear(144, 3),
    )  # fmt: skip
    env = VectorClassification(8, data=DATA, adversary=FGSM(radius=0.1), policy=model)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    assert len(learn(model, env, steps=3, optimizer=optimizer)) == 3
