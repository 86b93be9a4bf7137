"""Every illness is seen, by its own signs; the healthy twins have none."""

import copy
import dataclasses
import functools
import sys
import threading
from typing import Any

import ill_worlds
import pytest
import torch
from ill_worlds import RADIUS, Ill, trained
from torch import nn

from holdfast import diagnosis, record
from holdfast.attack import APGD, CW, PGD, DeepFool, HopSkipJump, Targeted, Transfer, UniformNoise
from holdfast.diagnosis import Depth, Diagnosis, comparisons, masking
from holdfast.diagnosis.adaptive import Adaptive
from holdfast.diagnosis.comparisons import stronger
from holdfast.diagnosis.failures import unfinished, unstable
from holdfast.diagnosis.hidden import hidden
from holdfast.diagnosis.views import VIEWS, ThroughViews
from holdfast.errors import BadInput
from holdfast.evaluation import evaluate
from holdfast.evaluation.flags import output_spread
from holdfast.loss import cross_entropy, gradient
from holdfast.model import Metered
from holdfast.result import Finding, Sign, Standing
from holdfast.types import Classifier, Images, Labels

IMAGES = 60
SMALL = Depth(
    sample=IMAGES, few=10, points=300, hard=100, queries=60, steps=40, restarts=2, climb=10,
    targets=0, search=50, losses=("ce", "margin"),
)  # fmt: skip
SLOW = PGD(radius=RADIUS, steps=20, rel_stepsize=0.01, start="clean")
SIGNS = {  # what must fire, among others
    "rounded": {
        "zero gradients",
        "discontinuous outputs",
        "hidden operations",
        "unbounded attack fails",
    },
    "threshold": {"zero gradients", "hidden operations", "unbounded attack fails"},
    "noisy": {"random outputs"},
    "resized": {"random outputs"},
    "detached": {"hidden operations"},
    "wrong way": {"gradients point the wrong way", "unbounded attack fails"},
    "numpy": {"zero gradients", "transfer beats white-box", "hidden operations"},
    "saturated": {"saturated cross-entropy", "the loss hides errors"},
    "softmax": {"probabilities for logits"},
    "winners": {"claim does not hold", "discontinuous outputs"},
    "small steps": {"more steps find more", "unfinished climb", "claim does not hold"},
}
HEALTHY = ("plain", "robust", "linear")
SURVIVES = {"noisy", "resized", "softmax", "detached"}  # PGD is about right on these, as it happens


@functools.cache
def diagnosed(kind: str) -> Diagnosis:
    x, y = ill_worlds.some(IMAGES)
    bare = kind in (*HEALTHY, "winners")
    model = trained(kind) if bare else Ill(trained("plain"), kind)
    twin = trained("plain") if kind == "numpy" else None
    claim = SLOW if kind == "small steps" else PGD(radius=RADIUS)
    return diagnosis.diagnose(model, x, y, radius=RADIUS, claim=claim, twin=twin, depth=SMALL)


@pytest.mark.parametrize("kind", SIGNS)
def test_an_ill_model_fires_its_signs_and_its_claim_falls(kind):
    found = diagnosed(kind)
    assert SIGNS[kind] <= {finding.name for finding in found.findings}
    assert all("\n" not in str(finding) for finding in found.findings)
    assert found.masked == (kind != "small steps")  # an attack that is ill, and not the model
    assert ("each look is a draw" in found.verdict) is (kind in ("noisy", "resized"))
    if kind not in SURVIVES:
        word = "masked" if found.masked else "weak claim"
        assert found.verdict.startswith(word) and "claim does not hold" in found.table()


@pytest.mark.parametrize("kind", HEALTHY)
def test_a_healthy_model_has_no_sign(kind):
    found = diagnosed(kind)
    assert [finding.name for finding in found.findings] == []
    assert found.verdict.startswith("no sign of masking") and not found.masked


@pytest.mark.parametrize("kind", ["rounded", "saturated", "wrong way", "numpy", "small steps"])
def test_behind_the_illness_there_is_little_more_than_its_healthy_twin_has(kind):
    assert diagnosed(kind).claimed.accuracy > 0.8
    assert diagnosed(kind).left.accuracy < diagnosed("plain").left.accuracy + 0.45


def test_what_a_remedy_takes_alone_and_beyond_all_others():
    found = diagnosed("saturated")
    taken = {one.name: one for one in found.remedies}
    evidence = found.evidence
    margin = evidence.remedies["margin"]
    assert taken["margin"].alone == (evidence.claim & ~margin).double().mean().item()
    assert taken["margin"].alone > 0.4 and taken["margin"].beyond < 0.1
    everything = torch.stack([evidence.claim, *evidence.remedies.values()]).all(0)
    assert found.left.accuracy <= everything.double().mean().item()
    assert f"{100 * taken['margin'].alone:.1f}" in found.table()


def test_a_claim_on_a_poor_loss_is_weak_and_not_masked():
    found = diagnosed("plain")
    claim = torch.ones(60, dtype=torch.bool)
    most = torch.arange(60) % 6 != 0
    weak = dict.fromkeys(("margin", "smoothed", "gradient-free", "transfer"), most)
    evidence = dataclasses.replace(found.evidence, claim=claim, remedies=weak)
    signs = tuple(masking.findings(evidence))
    assert [sign.name for sign in signs] == ["the loss hides errors"]
    said = dataclasses.replace(found, findings=signs)
    assert said.verdict.startswith("weak claim: ") and not said.masked
    lost = dict.fromkeys(weak, torch.arange(60) % 3 != 0)
    signs = tuple(masking.findings(dataclasses.replace(evidence, remedies=lost)))
    assert len(signs) == 1 and dataclasses.replace(found, findings=signs).masked
    third = most & (torch.arange(60) % 3 != 0)
    for better in ("smoothed", "gradient-free", "transfer"):
        also = dataclasses.replace(evidence, remedies=weak | {better: third})
        signs = tuple(masking.findings(also))
        assert len(signs) == 2 and dataclasses.replace(found, findings=signs).masked
        (other,) = (sign for sign in signs if sign.name != "the loss hides errors")
        assert (
            other.evidence["claimed"] == most.float().mean() and "the best climbs" in other.meaning
        )


def test_costly_attacks_see_what_the_claim_leaves_on_every_loss():
    evidence = diagnosed("saturated").evidence
    assert evidence.few and evidence.remedies["margin"][list(evidence.few)].all()


def test_a_fall_that_no_climb_explains_is_masking():
    found = diagnosed("plain")
    claim, half = torch.ones(60, dtype=torch.bool), torch.arange(60) % 2 == 0
    for margin, masked in ((half, False), (claim, True)):
        evidence = dataclasses.replace(found.evidence, claim=claim, remedies={"margin": margin})
        (broken,) = sys.modules["holdfast.diagnosis.diagnose"]._broken(
            claim, claim, half, "pgd", evidence
        )
        said = dataclasses.replace(found, findings=(broken,))
        assert said.masked is masked and said.word == ("masked" if masked else "weak claim")
        assert said.as_dict()["word"] == said.word


def test_so_few_images_tell_nothing():
    found = diagnosed("plain")
    sure, few = "no sign of masking", "too few images to tell"
    cases = ((0, 0, sure), (7, 7, few), (8, 8, sure), (45, 39, few), (45, 40, sure))
    for count, least, word in cases:
        claimed, left = (Standing(correct=torch.arange(60) < n) for n in (count, least))
        assert dataclasses.replace(found, claimed=claimed, left=left).word == word


@pytest.mark.parametrize(
    ("step", "state"), [(0.0, False), (RADIUS / 4, False), (RADIUS / 4, True)],
    ids=["noise", "few steps of one's own", "a radius that is not used"],
)  # fmt: skip
def test_a_poor_claim_on_an_honest_network_is_a_weak_one(step, state):
    x, y = ill_worlds.some(IMAGES)

    def small(model, x, y):
        slope, _ = gradient(model, x, y, cross_entropy)
        return (x + step * slope.sign()).clamp(0, 1)

    def stated(model, x, y, radius=RADIUS):
        return small(model, x, y)

    claim = (stated if state else small) if step else UniformNoise(radius=RADIUS)
    found = diagnosis.diagnose(trained("plain"), x, y, radius=RADIUS, claim=claim, depth=SMALL)
    assert found.word == "weak claim", found.verdict
    assert "cross-entropy" in {one.name for one in found.remedies}


@dataclasses.dataclass(frozen=True)
class Open:
    """An attack of one's own whose steps are left to itself."""

    radius: float = RADIUS
    steps: int | None = None
    rel_stepsize: float | None = None
    restarts: int | None = None

    def __call__(self, model, x, y):
        return PGD(radius=self.radius, steps=3)(model, x, y)


def test_a_claim_may_leave_its_steps_to_itself():
    found = tiny(trained("plain"), *ill_worlds.some(10), claim=Open())
    assert found.claim.endswith("Open") and [n for n, _ in found.evidence.steps] == [0.0]


def test_indicators_of_a_random_model_are_those_of_one_draw():
    x, y = ill_worlds.some(10)
    noisy, plain = (
        tiny(model, x, y).evidence.static["ce"].lipschitz.median().item()
        for model in (Ill(trained("plain"), "noisy"), trained("plain"))
    )
    assert noisy < 4 * plain


class Quiet(nn.Module):
    """Hides its gradient behind `no_grad`, and writes in place there."""

    def __init__(self, net: nn.Module, how: str) -> None:
        super().__init__()
        self.net, self.how = net, how

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            z = (x * 16).round() / 16
            if "in place" in self.how:
                z = z.exp()
                z.mul_(0.5)
                z = (2 * z).log()
            elif self.how == "out":
                torch.mul(x, 1.0, out=z)
        return self.net(z if "wholly" in self.how else z + 0.001 * x)


@pytest.mark.parametrize("how", ["plain", "in place", "out", "wholly in place"])
def test_what_is_hidden_by_no_grad_is_seen_or_left_alone(how):
    x, y = ill_worlds.some(20)
    model = Quiet(trained("plain"), how)
    met, _ = hidden(model, x)
    assert ("no_grad" in met) == (how == "plain")
    assert tiny(model, x, y, radius=RADIUS).claimed.accuracy >= 0


def test_a_twin_that_does_not_fit_is_refused_at_once():
    x, y = ill_worlds.some(20)
    for twin, said in (
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 5)), "a twin of 10 classes"),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(63, 10)),
            "of the twin: expected a model that takes images",
        ),
    ):
        with pytest.raises(BadInput, match=said):
            tiny(trained("plain"), x, y, radius=RADIUS, twin=twin)


def test_images_under_a_claim_of_minimal_norm_stay_in_the_budget():
    x, y = ill_worlds.some(20)
    found = tiny(trained("plain"), x, y, radius=0.5, norm="l2", claim=CW(searches=4, steps=20))
    stands = found.evidence.claim.double().mean().item()
    assert found.entropy["attacked"].correct.double().mean() >= stands > 0.3


def test_the_last_images_at_the_boundary_are_no_unfinished_climb():
    evidence = diagnosed("small steps").evidence
    path = evidence.dynamic["ce"]
    rows = (~path.wrong.any(1)).nonzero().flatten()

    def left(count: int) -> Finding | None:
        wrong = path.wrong.clone()
        wrong[rows[count:], -1] = True
        shorter = {"ce": dataclasses.replace(path, wrong=wrong)}
        return unfinished(dataclasses.replace(evidence, dynamic=shorter))

    assert left(4) is None and left(12) is not None
    idle = tuple((steps, evidence.steps[0][1]) for steps, _ in evidence.steps)
    assert unfinished(evidence) and not unfinished(dataclasses.replace(evidence, steps=idle))


@pytest.mark.parametrize(("felled", "fires"), [(2, False), (3, False), (4, True)])
def test_a_climb_that_reaches_little_is_no_unfinished_climb(felled, fires):
    evidence = diagnosed("small steps").evidence
    start = evidence.steps[0][1]
    doubled = ((20.0, start), (40.0, start - felled / IMAGES))
    assert bool(unfinished(dataclasses.replace(evidence, steps=doubled))) is fires


@pytest.mark.parametrize(
    ("claimed", "left", "clear"),
    [(60, 50, True), (60, 51, False), (17, 8, True), (24, 18, False), (8, 4, False), (6, 0, False)],
)
def test_what_a_stronger_attack_must_take(claimed, left, clear):
    image = torch.arange(100)
    assert (stronger(image < claimed, image < left) is not None) == clear


def test_entropy_is_told_of_clean_attacked_and_noisy_images():
    found, (x, y) = diagnosed("plain"), ill_worlds.some(IMAGES)
    clean = diagnosis.entropy(trained("plain"), x, y)
    assert torch.equal(found.entropy["clean"].bits, clean.bits)
    adv = PGD(radius=RADIUS)(trained("plain"), x, y)
    attacked = diagnosis.entropy(trained("plain"), adv, y)
    torch.testing.assert_close(found.entropy["attacked"].bits, attacked.bits)
    noisy = found.entropy["noisy"]
    assert not torch.equal(noisy.bits, clean.bits) and noisy.correct.double().mean() > 0.8
    row = found.as_dict()["entropy"]
    assert {name: one["images"] for name, one in row.items()} == {
        "clean": IMAGES, "attacked": IMAGES, "noisy": IMAGES,
    }  # fmt: skip
    assert f"entropy, attacked: {found.entropy['attacked']}" in found.table()


def test_the_record_is_plain_and_the_same_again():
    x, y = ill_worlds.some(12)
    noisy, depth = (
        Ill(trained("plain"), "noisy"),
        dataclasses.replace(SMALL, few=2, steps=5, climb=2),
    )
    rows = [diagnosis.diagnose(noisy, x, y, radius=RADIUS, depth=depth) for _ in range(2)]
    first, second = (row.as_dict() for row in rows)
    assert repr(first | {"seconds": 0}) == repr(second | {"seconds": 0})
    assert first["findings"][0]["name"] == "random outputs"


def test_a_model_is_left_as_it_was_and_bad_settings_are_one_line():
    x, y = ill_worlds.some(10)
    net = trained("plain").train()
    state = torch.random.get_rng_state()
    diagnosis.diagnose(net, x, y, radius=RADIUS, depth=SMALL)
    assert net.training and all(w.requires_grad and w.grad is not None for w in net.parameters())
    assert torch.equal(state, torch.random.get_rng_state())
    net.eval()
    with pytest.raises(BadInput, match="expected norm linf or l2 for a diagnosis, got l1"):
        diagnosis.diagnose(net, x, y, norm="l1")
    with pytest.raises(BadInput, match="pixels in"):
        diagnosis.diagnose(net, 2 * x, y)
    with pytest.raises(BadInput, match=r"a claim within linf 0\.1, got one within linf 0\.03"):
        diagnosis.diagnose(net, x, y, radius=RADIUS, claim=PGD(steps=20))
    with pytest.raises(BadInput, match=r"a claim within linf 0\.1, got one within l2"):
        diagnosis.diagnose(net, x, y, radius=RADIUS, claim=CW())


def tiny(
    model: Classifier, x: Images, y: Labels, sample: int = IMAGES, **settings: Any
) -> Diagnosis:
    """The diagnosis of a few images with hardly any steps."""
    depth = dataclasses.replace(
        SMALL, sample=sample, few=1, points=20, hard=20, queries=10, steps=2, climb=2
    )
    settings = {"radius": RADIUS} | settings
    return diagnosis.diagnose(model, x, y, depth=depth, **settings)


def test_the_sample_is_of_all_classes_however_they_are_sorted():
    x, y = ill_worlds.some(60)
    order = y.argsort(stable=True)
    mixed, sorted_ = (
        tiny(trained("linear"), x[some], y[some], index=some, sample=20)
        for some in (torch.arange(60), order)
    )
    rows = order[sorted_.evidence.rows]
    assert set(rows.tolist()) == set(mixed.evidence.rows.tolist()) and len(rows) == 20
    assert len(y[rows].unique()) == len(y.unique())
    for held in (mixed, sorted_):  # what is told of the sample is told of these images
        assert torch.equal(held.evidence.claim, held.claimed.correct[held.evidence.rows])
        assert not (held.left.correct & ~held.claimed.correct).any()
    assert torch.equal(mixed.left.correct[order], sorted_.left.correct)


def test_a_model_that_draws_is_not_masked_for_being_looked_at_often():
    """Nothing can be found at radius 0; what falls fell by chance."""
    x, y = ill_worlds.some(60)
    net = trained("linear")
    found = tiny(lambda x: net(x) + 5 * torch.randn(len(x), 10), x, y, radius=0.0)
    assert found.claimed.accuracy - found.left.accuracy > 0.1
    assert "claim does not hold" not in [finding.name for finding in found.findings]


def test_images_that_are_all_wrong_already_are_no_sign():
    x, net = ill_worlds.some(12)[0], trained("plain")
    found = tiny(lambda x: net(x.view(x.size(0), -1)), x, (net(x).argmax(1) + 5) % 10)
    assert found.findings == () and found.clean.accuracy == 0
    record.as_json(found.as_dict())


def test_a_diagnosis_without_a_gradient_is_json():
    found = tiny(Ill(trained("plain"), "rounded"), *ill_worlds.some(10))
    assert record.as_json(found.as_dict()["dynamic"]).count("null") > 0


def test_a_random_model_s_kept_diagnosis_is_recalled_whole(tmp_path):
    x, y = ill_worlds.some(12)
    noisy = Ill(trained("plain"), "noisy")
    first = tiny(noisy, x, y, folder=tmp_path).as_dict()
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    again = tiny(noisy, x, y, folder=tmp_path).as_dict()
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()} == files
    about = {"seconds": 0, "findings": 0}  # by how much outputs differ is drawn anew
    assert repr(first | about) == repr(again | about)


def test_a_claim_that_draws_for_itself_follows_the_seed():
    drawn: dict[int, list[float]] = {1: [], 2: []}

    def noisy(draws, model, x, y):
        draws.append(torch.rand(()).item())
        return (x + RADIUS * torch.empty_like(x).uniform_(-1, 1)).clamp(0, 1)

    for seed, draws in drawn.items():
        claim: Any = functools.partial(noisy, draws)
        tiny(trained("plain"), *ill_worlds.some(10), claim=claim, seed=seed)
    assert not {*drawn[1]} & {*drawn[2]}


def test_the_adaptive_attack_may_claim():
    claim = diagnosis.answer([], radius=RADIUS, steps=4, targets=0, queries=0)
    found = tiny(trained("plain"), *ill_worlds.some(10), claim=claim)
    assert found.evidence.budgets and found.claim == "adaptive"


def test_a_twin_may_be_of_another_precision():
    wide = copy.deepcopy(trained("linear")).double()
    found = tiny(trained("plain"), *ill_worlds.some(10), twin=wide)
    assert found.beside


def test_one_step_is_climb_enough():
    assert diagnosis.answer([], radius=RADIUS, steps=1).attempts


@pytest.mark.parametrize(
    "claim",
    [
        Targeted(attack=PGD(radius=RADIUS, steps=2)),
        Transfer(attack=PGD(radius=RADIUS, steps=2), source=trained("linear")),
        APGD(radius=RADIUS, steps=4, loss="dlr", targets=3),
        HopSkipJump(queries=30, norm="linf"),
        lambda model, x, y: x,
    ],
    ids=["targeted", "transfer", "apgd", "decisions", "function"],
)
def test_whatever_attacks_may_claim(claim):
    x, y = ill_worlds.some(10)
    found = tiny(trained("plain"), x, y, claim=claim)
    assert found.left.accuracy <= found.claimed.accuracy


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_rows_of_numbers_are_diagnosed_too(norm):
    x, y = ill_worlds.some(10)
    found = tiny(trained("plain"), x.flatten(1), y, norm=norm, twin=trained("linear"))
    assert found.left.accuracy <= found.claimed.accuracy


def test_a_model_that_takes_gradients_inside_and_cannot_be_copied_is_diagnosed():
    class Purified(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.lock = trained("plain"), threading.Lock()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.enable_grad():
                leaf = x.detach().requires_grad_()
                self.net(leaf).square().sum().backward()
            assert leaf.grad is not None
            return self.net(x + 0 * leaf.grad)

    found = tiny(Purified(), *ill_worlds.some(10))
    assert "gradients inside the forward pass" in [finding.name for finding in found.findings]


def test_passes_of_a_wider_copy_count_and_it_lies_below_other_views():
    x, y = ill_worlds.some(5)
    meter = Metered(trained("plain"))
    ThroughViews(attack=PGD(radius=RADIUS, steps=3), views=("float64", "logged"))(meter, x, y)
    assert meter.forward == meter.backward == 15
    both = [Finding(name=n, evidence={}, meaning="", advice="")
            for n in ("probabilities for logits", "float32 gradients are wrong")]  # fmt: skip
    stacks = [one.views for one in diagnosis.answer(both).attempts if isinstance(one, ThroughViews)]
    assert ("float64", "logged") in stacks


def test_a_model_that_draws_seldom_is_known_to_be_random():
    calls = []

    def model(x):
        calls.append(len(x))
        return trained("plain")(x) + (len(calls) % 4 == 0) * torch.arange(10.0)

    x = ill_worlds.some(5)[0]
    assert output_spread(model, x, 250)[1].any()
    assert not output_spread(trained("plain"), x, 250)[1].any()


def test_squashed_logits_are_masking_and_no_weak_claim():
    x, y = ill_worlds.some(IMAGES)
    net = trained("plain")
    found = diagnosis.diagnose(
        lambda x: torch.tanh(net(x)), x, y, radius=RADIUS, claim=PGD(radius=RADIUS, steps=20),
        depth=SMALL,
    )  # fmt: skip
    hides = [one for one in found.findings if one.name == "the loss hides errors"]
    assert hides and found.masked and found.word == "masked"


def test_the_verdict_says_which_images_its_remedies_saw():
    x, y = ill_worlds.some(40)
    depth = dataclasses.replace(SMALL, sample=20)
    found = diagnosis.diagnose(
        Ill(trained("plain"), "saturated"),
        x,
        y,
        radius=RADIUS,
        claim=PGD(radius=RADIUS),
        depth=depth,
    )
    assert "; on 20 of the images, " in found.verdict
    assert "of the images" not in diagnosed("saturated").verdict


def test_a_broken_claim_on_a_healthy_network_is_a_weak_one():
    def broken(model, x, y):  # on those that are dark enough
        return torch.where(x.flatten(1).mean(1)[:, None, None, None] < 0.3, x + 0.5, x)

    x, y = ill_worlds.some(IMAGES)
    found = diagnosis.diagnose(trained("plain"), x, y, radius=RADIUS, claim=broken, depth=SMALL)
    assert found.word == "weak claim" and "images refused" in [one.name for one in found.findings]


WEAK = (
    "the loss hides errors", "more steps find more", "more restarts find more",
    "unfinished climb", "steps too short", "images refused", "images of the target",
)  # fmt: skip


@pytest.mark.parametrize("sign", Sign)
def test_only_a_sign_of_a_weak_attack_leaves_the_gradient_its_word(sign):
    facts = {"claimed": 0.5, "left": 0.4, "low": 0.05}
    one = Finding(name=sign, evidence=facts, meaning="", advice="")
    found = dataclasses.replace(diagnosed("plain"), findings=(one,))
    broken = "masked" if sign == "claim does not hold" else "suspicious"
    if sign in ("one class for all images", "shifted labels"):
        broken = "no sign of masking"
    assert found.word == ("weak claim" if sign in WEAK else broken)


@pytest.mark.parametrize("sign", Sign)
def test_each_sign_is_answered_with_its_view(sign):
    one = Finding(name=sign, evidence={}, meaning="", advice="")
    tried = diagnosis.answer([one], radius=RADIUS).attempts
    views = {attack.views for attack in tried if isinstance(attack, ThroughViews)}
    asked = {
        "hidden operations": ("straight-through",), "zero gradients": ("straight-through",),
        "probabilities for logits": ("logged",), "gradients point the wrong way": ("turned",),
        "float32 gradients are wrong": ("float64",), "unstable predictions": ("smoothed",),
        "random points find more": ("smoothed",), "gradient-free finds more": ("smoothed",),
    }  # fmt: skip
    assert views == ({asked[sign]} if sign in asked else set())


def test_a_function_s_radius_is_its_budget():
    def mine(model, x, y, radius=8 / 255, steps=2):
        return x

    x, y = ill_worlds.some(10)
    with pytest.raises(BadInput, match=r"expected a claim within linf 0.05, got one within linf"):
        diagnosis.diagnose(trained("plain"), x, y, radius=0.05, claim=mine)


def test_each_image_of_a_random_model_is_looked_at_as_often_as_attacks_looked():
    rows, kept = torch.arange(1, 61), torch.ones(60, dtype=torch.bool)
    evidence = dataclasses.replace(
        diagnosed("plain").evidence, rows=rows, restarts=((1.0, 1.0),),
        remedies=dict.fromkeys(("margin", "more steps", "dlr"), kept),
        steps=((1.0, 1.0), (2.0, 0.5), (4.0, 0.5)),
    )  # fmt: skip
    looks = sys.modules["holdfast.diagnosis.diagnose"]._looks(evidence, 62)
    few = [int(rows[one]) for one in evidence.few]
    wanted = [1, *[5] * 60, 1]
    for row in few:  # two blind attacks look at these
        wanted[row] += 2
    assert few and looks.tolist() == wanted


def test_growing_budgets_are_those_of_one_attack():
    x, y = ill_worlds.some(20)
    found = tiny(trained("plain"), x, y, claim=DeepFool(norm="linf"))
    steep = PGD(radius=RADIUS, steps=20)
    left = evaluate(trained("plain"), x, y, attacks={"pgd": steep}).attacks[0].accuracy
    assert found.evidence.budgets[0] == (RADIUS, left)


@dataclasses.dataclass(frozen=True)
class OwnClimb:
    """An attack of one's own, with a loss, and a field that only looks like the adaptive one's."""

    loss: Any = cross_entropy
    radius: float = RADIUS
    attempts: int = 1

    def __call__(self, model, x, y):
        known: Any = self.loss if callable(self.loss) or self.loss in ("ce", "margin") else "ce"
        return PGD(radius=self.radius, steps=2, loss=known)(model, x, y)


@pytest.mark.parametrize("loss", [cross_entropy, "ce", "entropy of mine"])
def test_a_claim_may_say_its_loss_in_its_own_way(loss):
    x, y = ill_worlds.some(10)
    found = tiny(trained("plain"), x, y, claim=OwnClimb(loss=loss))
    assert "margin" in found.evidence.remedies and found.evidence.budgets


def test_an_attempt_that_returns_no_numbers_hides_nothing():
    x, y = ill_worlds.some(20)
    model = trained("plain")

    def broken(model, x, y):
        return torch.full_like(x, torch.nan)

    good = PGD(radius=RADIUS, steps=20)
    left = [
        evaluate(model, x, y, attacks={"a": Adaptive(radius=RADIUS, attempts=tries)}).worst_case
        for tries in ((good,), (broken, good))
    ]
    assert torch.equal(left[0].correct, left[1].correct) and left[0].accuracy < 1


class Scaled(nn.Module):
    def __init__(self, net: nn.Module, scale: float) -> None:
        super().__init__()
        self.net, self.scale = net, scale

    def forward(self, x):
        return self.scale * self.net(x)


def test_a_float64_view_keeps_the_direction_of_the_faintest_gradient():
    model = Scaled(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), 400.0)
    x = torch.rand(6, 1, 2, 2)
    y = model(x).argmax(1)
    slope, _ = gradient(VIEWS["float64"](model), x, y, cross_entropy)
    true, _ = gradient(copy.deepcopy(model).double(), x.double(), y, cross_entropy)
    faint = true.flatten(1).abs().amax(1) < 1e-40
    assert faint.any() and (slope[faint].flatten(1).abs().amax(1) > 0.5).all()
    cosine = nn.functional.cosine_similarity(slope.flatten(1).double(), true.flatten(1), eps=0)
    assert (cosine[true.flatten(1).any(1)] > 0.999).all()


def test_three_images_of_sixty_are_five_points_whichever_they_are():
    for before in range(4, 61):
        ladder = ((1.0, before / 60), (2.0, (before - 3) / 60), (4.0, (before - 3) / 60))
        found = comparisons._climbing(ladder, "steps", Sign.MORE_STEPS_FIND_MORE)
        assert found is not None, before


def test_a_few_images_at_the_boundary_are_no_unstable_predictions():
    evidence = diagnosed("plain").evidence
    for values, fires in (([0.2] * 59, True), ([0.01] * 53 + [1.0] * 6, False)):
        wobble = dataclasses.replace(evidence, wobble=torch.tensor(values))
        assert (unstable(wobble) is not None) is fires


class Stubborn(nn.Module):
    """Says class 3 whatever it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

    def forward(self, x):
        return torch.eye(10)[3] * 9 + self.net(x)


def test_a_model_of_one_class_is_called_that_and_nothing_worse():
    x, y = ill_worlds.some(40)
    found = tiny(Stubborn(), x, y)
    assert [one.name for one in found.findings] == ["one class for all images"]
    assert found.word != "suspicious" and not found.masked
    assert not evaluate(Stubborn(), x[y == 3], y[y == 3]).findings


def test_a_claim_whose_images_do_not_count_is_refused_by_name():
    def outside(model, x, y):
        return x + 5

    x, y = ill_worlds.some(10)
    with pytest.raises(BadInput, match=r"10 of 10 from .* \(10 outside the pixel box\)"):
        tiny(trained("plain"), x, y, claim=outside)
