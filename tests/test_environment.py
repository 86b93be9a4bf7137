"""The environment: what an answer earns, twins step by step, and the checkers of others."""

import copy
import importlib
import os
import pickle
import re
import sys
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from small import blobs, network

import holdfast.environment as environment
from holdfast.attack import PGD
from holdfast.environment import Classification, VectorClassification, learn
from holdfast.environment.lanes import padded
from holdfast.environment.task import Task
from holdfast.errors import BadInput
from holdfast.feedback import Matrix, Signed, Weighted

DATA = blobs()
MODES = [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP]
TASKS: dict[str, dict[str, Any]] = {
    "one image": {},
    "five images": {"length": 5},
    "a fatal class": {"length": 5, "fatal": (0,)},
    "lies": {"flip": 0.4, "reward": Signed(correct=2, wrong=-0.5)},
    "padded": {"pad_to": 11, "length": 2},
    "weights": {"reward": Weighted(weights=(1.0, 2.0, 3.0))},
}


def answers(env: Classification, seed: int, count: int, pick: int | None = None) -> list[Any]:
    """What `count` picks bring, a new episode after each that ends."""
    found, actions = [], np.random.default_rng(seed)
    env.reset(seed=seed)
    for _ in range(count):
        action = int(actions.integers(3)) if pick is None else pick
        found.append((action, *env.step(action)))
        if found[-1][3]:
            env.reset()
    return found


@pytest.mark.parametrize("options", TASKS.values(), ids=TASKS)
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_the_vector_twin_is_singles_side_by_side(options, mode):
    options = options | {"data": DATA}
    ours = gymnasium.make_vec(environment.NAME, num_envs=4, autoreset_mode=mode, **options)
    theirs = gymnasium.make_vec(
        environment.NAME, num_envs=4, vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": mode}, **options,
    )  # fmt: skip
    assert ours.metadata["autoreset_mode"] is mode
    assert isinstance(ours.unwrapped, VectorClassification)
    actions = np.random.default_rng(0)
    np.testing.assert_array_equal(ours.reset(seed=7)[0], theirs.reset(seed=7)[0])
    for turn in range(150):
        if turn == 70:  # a reset without a seed goes on with the streams
            np.testing.assert_array_equal(ours.reset()[0], theirs.reset()[0])
        action = actions.integers(3, size=4)
        mine, other = ours.step(action), theirs.step(action)
        for a, b in zip(mine[:4], other[:4], strict=True):
            np.testing.assert_array_equal(a, b)
        same_infos(mine[4], other[4], mine[2])


def same_infos(mine: dict[str, Any], other: dict[str, Any], ended: np.ndarray) -> None:
    """Ours tells of the answer at the top as well where an episode ended."""
    assert ("final_obs" in mine) == ("final_obs" in other)
    if "final_obs" in other:
        np.testing.assert_array_equal(mine["_final_obs"], other["_final_obs"])
        for lane in np.flatnonzero(ended):
            np.testing.assert_array_equal(mine["final_obs"][lane], other["final_obs"][lane])
        for name, value in other["final_info"].items():
            np.testing.assert_array_equal(mine["final_info"][name], value)
    for name, value in other.items():
        if "final" not in name and not name.startswith("_"):
            there = other[f"_{name}"]
            np.testing.assert_array_equal(mine[name][there], value[there])
    assert (mine["_label"] | ~ended).all()


def test_an_answer_earns_what_the_reward_says():
    reward = Matrix(values=((1.0, -1.0, 0.0), (-2.0, 2.0, -3.0), (0.0, 0.5, 4.0)))
    env = Classification(data=DATA, reward=reward)
    for action, _, told, over, cut, info in answers(env, 3, 60):
        assert (over, cut) == (True, False)
        assert told == reward.values[info["label"]][action]
        assert info["correct"] == (action == info["label"])
        assert info["regret"] == max(reward.values[info["label"]]) - told


def test_what_is_shown_is_the_image_of_that_index():
    env = Classification(data=DATA, length=2)
    row = {int(index): i for i, index in enumerate(DATA.train.index)}
    shown, _ = env.reset(seed=0)
    for _ in range(50):
        after, _, over, _, info = env.step(0)
        i = row[info["index"]]
        np.testing.assert_array_equal(shown, DATA.train.pixels[i].numpy())
        assert info["label"] == DATA.train.y[i]
        shown = env.reset()[0] if over else after


def test_images_are_drawn_evenly():
    env = VectorClassification(64, data=DATA)
    env.reset(seed=0)
    seen = np.concatenate([env.step(np.zeros(64, int))[4]["index"] for _ in range(150)])
    counts = np.unique(seen, return_counts=True)[1]
    assert len(counts) == len(DATA.train)
    expected = len(seen) / len(counts)
    chi = ((counts - expected) ** 2 / expected).sum() / (len(counts) - 1)
    assert 0.7 < chi < 1.3  # three standard deviations of chi-squared with 215 degrees


def test_balanced_weights_are_counted_on_the_training_split():
    rows = torch.cat([(DATA.train.y == c).nonzero().flatten()[: 10 * (c + 1)] for c in range(3)])
    few = copy.copy(DATA)
    object.__setattr__(few, "train", DATA.train.only(rows))
    env = Classification(data=few, split="test", reward=Weighted(), flip=0.0)
    told = {info["label"]: reward for _, _, reward, _, _, info in answers(env, 0, 40, pick=0)}
    assert told == pytest.approx({0: 2.0, 1: -1.0, 2: -2 / 3})


def test_feedback_lies_as_often_as_asked_and_regret_does_not():
    reward = Signed(correct=2, wrong=-0.5)
    env = Classification(data=DATA, flip=0.25, reward=reward)
    found = answers(env, 5, 800)
    lied = [told != (2 if info["correct"] else -0.5) for _, _, told, _, _, info in found]
    assert abs(np.mean(lied) - 0.25) < 0.05
    assert all(info["regret"] == (0 if info["correct"] else 2.5) for *_, info in found)


def test_a_lie_about_a_right_pick_is_any_wrong_class():
    values = ((9.0, 1.0, 2.0), (3.0, 9.0, 4.0), (5.0, 6.0, 9.0))
    env = Classification(data=DATA, flip=1.0, reward=Matrix(values=values))
    told = {(info["label"], reward) for a, _, reward, _, _, info in answers(env, 0, 200)
            if a == info["label"]}  # fmt: skip
    assert told == {(0, 1.0), (0, 2.0), (1, 3.0), (1, 4.0), (2, 5.0), (2, 6.0)}


def test_episodes_end_after_their_length_or_a_fatal_mistake():
    env = Classification(data=DATA, length=6, fatal=(1,))
    taken = 0
    for action, _, _, over, _, info in answers(env, 2, 300):
        taken += 1
        fatal = info["label"] == 1 and action != 1
        assert over == (fatal or taken == 6)
        taken = 0 if over else taken


def test_padding_puts_the_image_in_the_middle():
    pixels = np.arange(1, 7, dtype=np.uint8).reshape(1, 1, 2, 3)
    found = padded(pixels, (1, 5, 5))
    np.testing.assert_array_equal(found[0, 0, 1:3, 1:4], pixels[0, 0])
    assert found.sum() == pixels.sum()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_adversary_attacks_the_policy_within_its_budget(norm):
    model = network(DATA, dropout=(0.0, 0.0))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    learn(model, VectorClassification(64, data=DATA), steps=30, optimizer=optimizer)
    radius = 0.25 if norm == "linf" else 1.5
    attack = PGD(radius=radius, norm=norm, steps=3)
    env = VectorClassification(8, data=DATA, adversary=attack, policy=model, pad_to=10)
    single = Classification(data=DATA, adversary=attack, policy=model, pad_to=10)
    plain = VectorClassification(8, data=DATA, pad_to=10)
    hard, easy = env.reset(seed=1)[0], plain.reset(seed=1)[0]
    np.testing.assert_array_equal(single.reset(seed=1)[0], hard[0])
    change = (hard.astype(float) - easy.astype(float)).reshape(8, -1) / 255
    size = np.abs(change).max(1) if norm == "linf" else np.linalg.norm(change, axis=1)
    assert (size <= radius + 1e-9).all() and (size > 0.9 * radius).any()
    assert (np.abs(change).reshape(8, 10, 10)[:, [0, 9]] == 0).all(), "the frame is no image"
    assert all(weight.requires_grad for weight in model.parameters())
    y = plain.step(np.zeros(8, int))[4]["label"]
    worse = [loss_of(model, shown[:, :, 1:9, 1:9], y) for shown in (easy, hard)]
    assert worse[1] > worse[0] + 0.1


def loss_of(model, shown, y) -> float:
    x = torch.from_numpy(shown.astype(np.float32)) / 255
    return torch.nn.functional.cross_entropy(model(x), torch.from_numpy(y)).item()


def test_gymnasiums_checker_has_nothing_to_say(recwarn):
    env = gymnasium.make(environment.NAME, data="digits", length=2)
    check_env(env.unwrapped)
    assert not recwarn.list


def test_a_frame_shows_the_image_and_what_was_told():
    env = Classification(data=DATA, render_mode="rgb_array")
    shown, _ = env.reset(seed=0)
    before, middle = env.render(), 96
    env.step(1)
    after = env.render()
    assert before is not None and after is not None
    assert before.shape == after.shape == (236, 192, 3)
    np.testing.assert_array_equal(before[:192], after[:192])
    assert before[middle, middle, 0] == shown[0, 4, 4]
    assert (before[192:] != after[192:]).any(), "the text"
    many = VectorClassification(3, data=DATA, render_mode="rgb_array")
    many.reset(seed=0)
    many.step(np.array([1, 1, 1]))
    frames = many.render()
    assert frames is not None and len(frames) == 3
    np.testing.assert_array_equal(frames[0], after)
    assert Classification(data=DATA).render() is None


@pytest.mark.parametrize("make", [Classification, lambda **o: VectorClassification(2, **o)])
def test_a_pickled_environment_goes_on_where_it_was(make):
    env = make(data=DATA, length=3, flip=0.5)
    env.reset(seed=4)
    action: Any = 1 if isinstance(env, Classification) else np.array([1, 2])
    env.step(action)
    twin = pickle.loads(pickle.dumps(env))
    for _ in range(2):
        for a, b in zip(env.step(action)[:3], twin.step(action)[:3], strict=True):
            np.testing.assert_array_equal(a, b)


def test_two_environments_share_no_state_and_close_twice():
    one, other = Classification(data="digits"), Classification(data="digits")
    expected = answers(Classification(data="digits"), 0, 5)
    one.reset(seed=0)
    shown, _ = other.reset(seed=9)
    shown[:] = 0  # belongs to the caller
    found = answers(one, 0, 5)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a[1], b[1])
    for env in (one, VectorClassification(2, data=DATA)):
        env.close()
        env.close()


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "option": ({"lenght": 3}, "did you mean 'length'"),
    "data": ({"data": "digit"}, "did you mean 'digits'"),
    "flip": ({"flip": 1.5}, "flip in [0, 1], got 1.5"),
    "length": ({"length": 0}, "length of 1 image or more, got 0"),
    "fatal": ({"fatal": (3,)}, "fatal classes from 0 to 2"),
    "pad": ({"pad_to": 7}, "pad_to of 8 or more"),
    "render": ({"render_mode": "human"}, "rgb_array or None, got 'human'"),
    "weights": ({"reward": Weighted(weights=(1.0, 2.0))}, "3 classes, got one for 2"),
}


@pytest.mark.parametrize(("options", "words"), BAD.values(), ids=BAD)
def test_bad_options_are_refused_in_one_line(options, words):
    for make in (Classification, VectorClassification):
        with pytest.raises(BadInput) as caught:
            make(**{"data": DATA} | options)
        assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [("length", 2.5, "length as a whole number, got 2.5"), ("fatal", 1, "as a tuple, got 1"),
     ("reward", "signed", "Signed(), got 'signed'"), ("split", "tset", "test; got 'tset'")],
)  # fmt: skip
def test_options_of_another_kind_are_refused(name, value, words):
    """Set afterwards: the types of what is given are checked in tests, and only there."""
    made = Task(data=DATA)
    object.__setattr__(made, name, value)
    with pytest.raises(BadInput, match=re.escape(words)):
        made.__post_init__()


def test_bad_steps_are_refused_in_one_line():
    one, many = Classification(data=DATA), VectorClassification(2, data=DATA)
    with pytest.raises(BadInput, match=r"call reset\(\)"):
        one.step(0)
    with pytest.raises(BadInput, match=r"call reset\(\)"):
        many.step(np.array([0, 0]))
    one.reset(seed=0)
    many.reset(seed=[5, 6])
    with pytest.raises(BadInput, match="from 0 to 2, got 3"):
        one.step(3)
    for action, words in (([0, -1], "got -1"), ([0], "2 actions"), ([0.0, 1.0], "integers")):
        with pytest.raises(BadInput, match=words):
            many.step(np.array(action))
    many.reset(seed=[5, None])
    with pytest.raises(BadInput, match="2 seeds, got 3"):
        many.reset(seed=[1, 2, 3])
    with pytest.raises(BadInput, match="no options to reset, got image"):
        one.reset(options={"image": 3})
    one.step(0)
    with pytest.raises(BadInput, match=r"call reset\(\)"):
        one.step(0)
    with pytest.raises(BadInput, match="num_envs of 1"):
        VectorClassification(0, data=DATA)
    with pytest.raises(BadInput, match="SAME_STEP or NEXT_STEP, got 'Disabled'"):
        VectorClassification(2, data=DATA, autoreset_mode="Disabled")
    with pytest.raises(BadInput, match="a policy for the adversary"):
        Classification(data=DATA, adversary=PGD(radius=0.1)).reset(seed=0)


def test_the_action_of_a_lane_that_waits_is_not_looked_at():
    many = VectorClassification(2, data=DATA, length=1, autoreset_mode=AutoresetMode.NEXT_STEP)
    many.reset(seed=[5, 6])
    assert many.step(np.array([0, 1]))[2].all()
    assert many.step(np.array([-1, 99]))[1].tolist() == [0, 0]
    with pytest.raises(BadInput, match="got 99"):
        many.step(np.array([0, 99]))


def test_without_gymnasium_one_line_names_the_extra(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("holdfast.environment")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(BadInput, match=r"pip install 'holdfast\[rl\]'"):
        importlib.import_module("holdfast.environment")


def test_a_file_that_has_changed_is_read_anew(tmp_path):
    for level in (50, 200):
        x, y = np.full((20, 1, 4, 4), level, np.uint8), np.arange(20) % 2
        np.savez(tmp_path / "own.npz", train_x=x, train_y=y, test_x=x, test_y=y)
        os.utime(tmp_path / "own.npz", ns=(level, level))
        tasks = [Task(data=f"npz:{tmp_path}/own.npz") for _ in range(2)]
        assert (tasks[0].images.pixels == level).all()
        assert tasks[0].dataset is tasks[1].dataset
