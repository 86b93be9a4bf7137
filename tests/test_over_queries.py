"""Accuracy over queries: what smaller budgets find, whatever the batch, after a kill, in shares."""

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from worlds import linear_world

from holdfast import evaluation
from holdfast.attack import FGSM, BoundaryAttack, HopSkipJump, SimBA, Square, with_settings
from holdfast.errors import BadInput
from holdfast.evaluation import evaluate
from holdfast.evaluation.shares import joined, share
from holdfast.result import AttackResult
from holdfast.team import Team

WORLD = linear_world()
MODEL, X, Y = WORLD.model.float(), WORLD.x.float(), WORLD.y.clone()
Y[3] = 1 - Y[3]  # one that is wrong before the first query
FAR = 1.5 * WORLD.margin["l2"].median().item()
ATTACKS = {
    "square": Square(radius=0.012, queries=60, share=0.3),
    "square-l2": Square(radius=FAR, norm="l2", queries=60),
    "simba": SimBA(step_size=0.02, queries=60),
    "hop-skip-jump": HopSkipJump(queries=60, probes=6),
    "boundary": BoundaryAttack(queries=60),
}


def judged(attack, x=X, y=Y, **settings):
    reach = 3 * FAR if isinstance(attack, SimBA) else FAR
    chosen = {"attacks": {"it": attack}, "radius": reach, "norm": "l2"} | settings
    return evaluate(MODEL, x, y, **chosen).attacks[0]


def asked(found: AttackResult) -> Tensor:
    assert found.queries is not None
    return found.queries


@pytest.mark.parametrize("name", ATTACKS)
def test_the_curve_is_what_smaller_budgets_leave(name):
    """Square's look at the clean image comes on top of its budget."""
    whole, more = judged(ATTACKS[name]), int(name.startswith("square"))
    counts = [2, 9, 20, 37, 60]
    small = [judged(with_settings(ATTACKS[name], queries=count)) for count in counts]
    assert whole.over_queries([count + more for count in counts]) == [a.accuracy for a in small]
    for count, one in zip(counts, small, strict=True):
        fell = (asked(whole) >= 0) & (asked(whole) <= count + more)
        assert torch.equal(fell, ~one.correct)
    assert whole.correct.any() and len(set(asked(whole).tolist())) > 4


@pytest.mark.parametrize("name", ATTACKS)
def test_the_curve_falls_from_clean_accuracy_to_what_is_left(name):
    found = judged(ATTACKS[name])
    curve = found.over_queries(range(62))
    assert curve == sorted(curve, reverse=True)
    assert (curve[0], curve[-1]) == (31 / 32, found.accuracy)
    assert asked(found)[3] == 0 and (asked(found) >= 0).equal(~found.correct)
    assert found.as_dict()["over_queries"] == {"10": curve[10], "30": curve[30]}


@pytest.mark.parametrize("name", ATTACKS)
def test_the_count_of_an_image_knows_no_batch(name):
    whole, rows = judged(ATTACKS[name]), torch.tensor([20, 3, 7, 11, 0])
    some = judged(ATTACKS[name], X[rows], Y[rows], index=rows, batch_size=2)
    assert torch.equal(asked(some), asked(whole)[rows])


def test_a_restart_goes_on_counting():
    once = judged(Square(radius=0.012, queries=5, share=0.3))
    twice = judged(Square(radius=0.012, queries=5, share=0.3, restarts=2))
    assert torch.equal(asked(twice)[~once.correct], asked(once)[~once.correct])
    later = asked(twice)[once.correct & ~twice.correct]
    assert len(later) and ((later > 6) & (later <= 11)).all()


def test_the_boundary_attack_walks_alone_as_in_company():
    """With one query left when its eleventh step would ask for two."""
    for queries in (24, 25):
        attack, some = BoundaryAttack(queries=queries), slice(0, 6)
        together = attack(MODEL, X[some], Y[some])
        alone = [attack(MODEL, X[k : k + 1], Y[k : k + 1], torch.tensor([k])) for k in range(6)]
        torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-5)


def liar(model, x, y, note):
    """Says that every image fell at once, and brings back the images themselves."""
    note(torch.arange(len(x)), torch.full((len(x),), 2), torch.zeros(len(x)))
    return x


def test_what_the_evaluator_does_not_see_fall_did_not_fall():
    found = judged(liar)
    assert asked(found).tolist() == [0 if row == 3 else -1 for row in range(32)]
    assert found.as_dict()["over_queries"] == {}
    plain = judged(FGSM(radius=0.01), norm="linf")
    assert plain.queries is None and "over_queries" not in plain.as_dict()
    with pytest.raises(BadInput, match="expected an attack that counts queries, got it"):
        plain.over_queries([10])


class Mortal:
    """SimBA that may be killed, or must not be called: the same attack to a draft."""

    fate: BaseException | None = None

    def __repr__(self) -> str:
        return "mortal"

    def __call__(self, model, x, y, index, note):
        if self.fate:
            raise self.fate
        return ATTACKS["simba"](model, x, y, index, note)


def test_counts_survive_a_kill_and_reach_the_file(tmp_path):
    first, last = Mortal(), Mortal()
    chosen = {"attacks": {"first": first, "last": last}, "radius": 3 * FAR, "norm": "l2"}
    whole = evaluate(MODEL, X, Y, **chosen)
    last.fate = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        evaluate(MODEL, X, Y, folder=tmp_path, **chosen)
    first.fate, last.fate = AssertionError("it had finished"), None
    again = evaluate(MODEL, X, Y, folder=tmp_path, **chosen)
    for one, other in zip(whole.attacks, again.attacks, strict=True):
        assert torch.equal(asked(one), asked(other)) and (asked(one) > 0).any()
    held = load_file(evaluation.save(again, tmp_path, Y))
    assert torch.equal(held["last.queries"], asked(whole.attacks[1]))


def test_in_a_cascade_what_had_fallen_asks_nothing():
    square = with_settings(ATTACKS["square"], queries=8, norm="l2", radius=3 * FAR)
    attacks = {"square": square, "simba": ATTACKS["simba"]}
    found = evaluate(MODEL, X, Y, attacks=attacks, cascade=True, radius=3 * FAR, norm="l2")
    first, second = found.attacks
    assert (asked(second)[~first.correct] == 0).all() and (~first.correct).sum() > 1
    assert asked(second)[first.correct].abs().min() > 0
    assert second.over_queries([0]) == [first.accuracy]


def test_shares_of_the_images_make_the_whole():
    attacks, whole = {"it": ATTACKS["simba"], "other": FGSM()}, judged(ATTACKS["simba"])
    parts = []
    for rank in range(3):
        x, y, index = (share(t, Team(rank=rank, size=3)) for t in (X, Y, torch.arange(32)))
        parts.append(evaluate(MODEL, x, y, attacks=attacks, index=index, radius=3 * FAR, norm="l2"))
    found = joined(parts)
    assert torch.equal(asked(found.attacks[0]), asked(whole))
    assert found.attacks[1].queries is None


def test_the_short_curve_reaches_over_all_restarts():
    one = AttackResult(
        correct=torch.tensor([True, False]), name="square", norm="linf", radius=0.1, refused=0,
        settings={"queries": 20, "restarts": 3}, distance=torch.tensor([torch.inf, 0.1]),
        forward=1, backward=0, seconds=1.0, queries=torch.tensor([-1, 35]),
        prediction=torch.tensor([0, 1]), target=torch.tensor([-1, -1]),
    )  # fmt: skip
    assert one.as_dict()["over_queries"] == {"10": 1.0, "30": 1.0}
