"""Each sign on a model that is ill in just that way, and none on its healthy twin."""

import pytest
import torch
from torch import nn
from worlds import linear_world

from holdfast.attack import DDN, PGD, Square, Targeted, Transfer, UniformNoise
from holdfast.evaluation import SUITES, Task, evaluate
from holdfast.evaluation.flags import output_spread
from holdfast.result import Evaluation
from holdfast.types import Attack

WORLD = linear_world(classes=4)
MODEL, X, Y = WORLD.model.float(), WORLD.x.float(), WORLD.y


class Ill(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.net = kind, MODEL

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.kind == "random":
            x = x + 0.01 * torch.randn_like(x)
        if self.kind == "rounded":
            x = (x * 255).round() / 255
        if self.kind == "detached":
            x = x.detach()
        if self.kind == "dynamic":
            with torch.enable_grad():
                leaf = x.detach().requires_grad_()
                (slope,) = torch.autograd.grad(self.net(leaf).amax(1).sum(), leaf)
            x = x + 0.0001 * slope
        logits = self.net(x)
        if self.kind == "softmax":
            return logits.softmax(1)
        return logits * 1e5 if self.kind == "saturated" else logits


SIGNS = {
    "healthy": [], "random": ["random outputs"], "rounded": ["zero gradients"],
    "detached": ["zero gradients"], "dynamic": ["gradients inside the forward pass"],
    "softmax": ["probabilities for logits"], "saturated": ["saturated cross-entropy"],
}  # fmt: skip


@pytest.mark.parametrize("kind", SIGNS)
def test_each_illness_has_its_sign_and_health_has_none(kind):
    gentle = {"pgd": PGD(radius=0.001, steps=2)}
    found = evaluate(Ill(kind), X, Y, attacks=gentle, radius=0.001)
    assert [finding.name for finding in found.findings] == SIGNS[kind]
    for finding in found.findings:
        assert "\n" not in str(finding) and finding.evidence
        assert found.as_dict()["findings"][0]["name"] == finding.name


def names(found: Evaluation) -> list[str]:
    return [finding.name for finding in found.findings]


def test_a_random_model_is_seen_to_be_one_where_a_class_is_masked():
    ill = Ill("random")

    def masked(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([ill(x), torch.full((len(x), 1), -torch.inf)], 1)

    assert output_spread(masked, X, None)[1].all()
    ill.kind = "healthy"
    assert not output_spread(masked, X, None)[1].any()


def test_budgets_of_attacks_that_are_not_the_one_asked_for_are_said():
    ours = {"pgd": PGD(radius=0.03)}
    assert names(evaluate(MODEL, X, Y, attacks=ours)) == []
    assert evaluate(MODEL, X, Y, attacks=ours).attacks[0].radius == 0.03
    found = evaluate(MODEL, X, Y, attacks=ours, radius=0.1)
    assert names(found) == ["no attack of the budget"]
    assert "warning: no attack of the budget" in found.table() and found.table() in repr(found)
    far: dict[str, Attack] = {"ddn": DDN()}  # which is bounded in l2
    assert names(evaluate(MODEL, X, Y, attacks=far, radius=0.1)) == []
    said = evaluate(MODEL, X, Y, attacks=far, radius=0.1)
    assert (said.norm, said.as_dict()["norm"]) == ("l2", "l2") and "l2 radius 0.1" in repr(said)
    other = evaluate(MODEL, X, Y, attacks=far, radius=0.1, norm="linf")
    assert names(other) == ["no attack of the budget"] and "ddn (l2 0.1)" in other.table()
    unasked = evaluate(MODEL, X, Y, attacks={"l2": PGD(radius=0.5, norm="l2")}, norm="linf")
    assert names(unasked) == ["no attack of the budget"]
    free: dict[str, Attack] = {"l2": PGD(norm="l2"), "free": lambda model, x, y: x}
    assert evaluate(MODEL, X, Y, attacks=free).norm == "l2"
    both = ours | {"l2": PGD(radius=0.1, norm="l2")}
    assert names(evaluate(MODEL, X, Y, attacks=both)) == ["several norms"]
    assert names(evaluate(MODEL, X, Y, attacks=ours | {"far": PGD(radius=0.1)}, radius=0.1)) == []


def test_images_of_the_class_that_an_attack_leads_to_are_said():
    led: dict[str, Attack] = {"led": Targeted(attack=PGD(radius=0.01), target=2)}
    assert names(evaluate(MODEL, X, Y, attacks=led)) == ["images of the target"]
    led["sent"] = Transfer(attack=led["led"], source=MODEL)
    assert names(evaluate(MODEL, X, Y, attacks=led)) == ["images of the target"] * 2
    others = Y != 2
    assert names(evaluate(MODEL, X[others], Y[others], attacks=led)) == []


def test_the_budget_that_was_asked_for_has_no_label():
    both = {"far": PGD(radius=0.2), "asked": PGD(radius=0.05)}
    table = evaluate(MODEL, X, Y, attacks=both, radius=0.05).table()
    assert "far (linf 0.2)" in table and "asked (" not in table


@pytest.mark.parametrize("asked", [None, 0.05])
def test_budgets_beyond_the_one_asked_for_and_several_are_said(asked):
    far = {"far": PGD(radius=0.2)}
    found = evaluate(MODEL, X, Y, attacks=far, radius=asked)
    assert names(found) == (["several budgets"] if asked else [])
    found = evaluate(MODEL, X, Y, attacks=far | {"near": PGD(radius=0.05)}, radius=asked)
    assert names(found) == ["several budgets"] and "linf 0.2" in found.table()
    assert found.findings[0].evidence == {"asked": asked, "radii": [0.05, 0.2]}


def test_steps_that_do_not_reach_the_radius_are_said():
    for rel_stepsize, said in ((2 / 255, ["steps too short"]), (0.25, [])):
        ours = {"pgd": PGD(radius=0.03, rel_stepsize=rel_stepsize)}
        assert names(evaluate(MODEL, X, Y, attacks=ours)) == said


def test_steps_of_a_length_in_pixels_are_no_share():
    found = evaluate(
        MODEL, X, Y, attacks={"ddn": DDN(step_size=0.005, steps=50)}, norm="l2", radius=0.1
    )
    assert "steps too short" not in names(found)


def test_what_only_blind_attacks_find_is_said():
    def blind(model, x, y):
        model(x)
        return 1 - x

    attacks = {"pgd": PGD(radius=0.0001, steps=2), "blind": blind}
    found = evaluate(MODEL, X, Y, attacks=attacks, radius=1.0)
    (finding,) = found.findings
    gained = (found.attacks[0].correct & ~found.attacks[1].correct).double().mean().item()
    assert finding.name == "blind attacks find more" and finding.evidence["share"] == gained > 0
    assert not evaluate(MODEL, X, Y, attacks={"blind": blind}, radius=1.0).findings


def test_few_classes_are_said_by_the_standard_suite():
    for classes, said in ((2, "apgd-margin"), (3, "apgd-dlr"), (4, None)):
        task = Task(radius=0.1, norm="linf", classes=classes, pixels=16)
        told = [finding.meaning for finding in SUITES["standard"](task).findings]
        assert len(told) == (1 if said else 0) and all(str(said) in meaning for meaning in told)


def test_noise_is_blind_too():
    def rounded(x: torch.Tensor) -> torch.Tensor:
        return MODEL((x * 4).round() / 4)

    attacks = {"pgd": PGD(radius=0.3, steps=2, start="clean"), "noise": UniformNoise(radius=0.3)}
    y = rounded(X).argmax(1)
    names = [finding.name for finding in evaluate(rounded, X, y, attacks=attacks).findings]
    assert names == ["zero gradients", "blind attacks find more"]


def test_gradients_that_are_cut_off_are_asked_for_all_the_same():
    """On a network outside torch no attack can go back; those that climb a loss are not blind."""

    def outside(x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(MODEL(x).detach().numpy())

    attacks = {"pgd": PGD(radius=0.05, start="clean"), "square": Square(radius=0.3, queries=50)}
    found = evaluate(outside, X, Y, attacks=attacks, radius=0.3)
    assert [one.backward for one in found.attacks] == [0, 0]
    assert "blind attacks find more" in [finding.name for finding in found.findings]


class ByBatch(nn.Module):
    """Its batch normalisation knows no other statistics than the batch's."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.net = nn.BatchNorm2d(1, track_running_stats=False), MODEL

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(self.norm(x))


def test_answers_that_depend_on_batch_mates_are_said():
    y = ByBatch()(X).argmax(1)
    for size, expected in ((None, ["batch mates"]), (1, [])):
        found = evaluate(ByBatch(), X, y, attacks={"pgd": PGD(radius=0.01)}, batch_size=size)
        assert [one.name for one in found.findings] == expected


def test_an_attack_that_turns_training_on_leaves_no_statistics_behind():
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.Linear(16, 3)).eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}

    def training(model, x, y):
        model.train()
        return PGD(radius=0.1, steps=2)(model, x, y)

    evaluate(net, X, net(X).argmax(1), attacks={"it": training}, radius=0.1)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert not net.training


@pytest.mark.parametrize(("much", "expected"), [(0.0, []), (1e3, ["coarse logits"])])
def test_a_large_offset_of_all_logits_is_said(much, expected):
    found = evaluate(lambda x: MODEL(x) + much, X, Y, attacks={"it": DDN(steps=5)}, radius=1.0)
    assert [one.name for one in found.findings] == expected


@pytest.mark.parametrize("step", [-1, 1])
def test_labels_that_are_counted_from_one_are_said(step):
    some = (Y + step >= 0) & (Y + step < 4)
    found = evaluate(MODEL, X[some], Y[some] + step, attacks={"pgd": PGD(radius=0.001, steps=2)})
    (shifted,) = [one for one in found.findings if one.name == "shifted labels"]
    assert shifted.evidence["step"] == -step and shifted.evidence["fits"] == 1
    assert "minus" in str(shifted) if step > 0 else "plus" in str(shifted)


def test_a_random_model_has_the_same_numbers_in_the_same_call_and_others_for_another_seed():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    pgd: dict[str, Attack] = {"pgd": PGD(radius=0.05, steps=3), "again": PGD(radius=0.05, steps=3)}

    def seen(seed: int) -> list[list[float]]:
        found = evaluate(Noisy(MODEL), X, Y, attacks=pgd, seed=seed)
        return [one.distance.tolist() for one in found.attacks]

    first = seen(0)
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(7)
    assert seen(0) == first != seen(1)
    assert first[0] != first[1], "each attack has draws of its own"


class Noisy(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x + 0.1 * torch.randn_like(x))


def test_advice_that_is_followed_already_is_not_given_again():
    def advice(kind: str, attack: Attack) -> str:
        found = evaluate(Ill(kind), X[:20], Y[:20], attacks={"one": attack}, radius=0.001)
        return found.findings[0].advice

    plain = PGD(radius=0.001, steps=1)
    averaged = PGD(radius=0.001, steps=1, draws=2)
    again = Transfer(attack=averaged, source=MODEL)
    assert "as the suite rand does" in advice("random", plain)
    for heeded in (averaged, again):
        assert advice("random", heeded).startswith("look at other seeds")
    assert "attack with square" in advice("rounded", plain)
    blind = advice("rounded", Square(radius=0.001, queries=2))
    assert "attack with square" not in blind and "believe the attacks without" in blind
