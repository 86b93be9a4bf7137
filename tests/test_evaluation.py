import copy
import math
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from worlds import linear_world

from holdfast import evaluation, loss, record
from holdfast.attack import ATTACKS, CW, DDN, FAB, FGSM, PGD, DeepFool, with_settings
from holdfast.diagnosis import diagnose
from holdfast.errors import BadInput
from holdfast.evaluation import SUITES, Task, evaluate, inputs, judge, shares, transfer_matrix
from holdfast.model import check_inputs, clean_logits
from holdfast.result import median, wilson
from holdfast.types import Classifier, Norm

WORLD = linear_world()
MODEL, X, Y = WORLD.model.float(), WORLD.x.float(), WORLD.y


def test_the_suite_leaves_what_lies_outside_the_radius():
    found = evaluate(MODEL, X, Y, radius=0.01)
    assert found.clean.accuracy == 1
    left = (WORLD.margin["linf"] > 0.01).double().mean().item()
    for attack in found.attacks:
        assert abs(attack.accuracy - left) <= 1 / 32, attack.name
        fooled = ~attack.correct
        assert (attack.distance[fooled] <= 0.01 + 1e-6).all() and attack.correct.any()
        assert torch.isinf(attack.distance[attack.correct]).all()


def test_the_worst_case_is_taken_per_image():
    halves = {
        "even": lambda model, x, y: torch.where(even(x), flipped(x), x),
        "odd": lambda model, x, y: torch.where(even(x), x, flipped(x)),
    }
    found = evaluate(MODEL, X, Y, attacks=halves, radius=1.0)
    assert [round(a.accuracy, 2) for a in found.attacks] == [0.5, 0.5]
    assert found.worst_case.accuracy == 0


def even(x: torch.Tensor) -> torch.Tensor:
    rank = (x.reshape(-1, 16) @ torch.ones(16)).argsort().argsort()
    return (rank % 2 == 0).reshape(-1, 1, 1, 1)


def flipped(x: torch.Tensor) -> torch.Tensor:
    return 1 - x  # through the middle of the box: the other side of a plane that passes there


def overwrite(model, x, y):
    return x.copy_(flipped(x))


CHEATS = {
    "written into the image itself": overwrite,
    "outside the budget": lambda model, x, y: flipped(x),
    "outside the box": lambda model, x, y: flipped(x) + 3,
    "not finite": lambda model, x, y: x * math.nan,
}


@pytest.mark.parametrize("cheat", CHEATS)
def test_a_claim_outside_the_rules_is_refused(cheat):
    found = evaluate(MODEL, X, Y, attacks={"cheat": CHEATS[cheat]}, radius=0.001)
    assert found.attacks[0].accuracy == 1
    assert found.attacks[0].refused == 32


class Nearest:
    """The closed-form answer, a hair beyond the plane: an attack without a budget."""

    minimal = True

    def __init__(self, norm: Norm) -> None:
        self.norm = norm

    def __call__(self, model, x, y):
        weight = MODEL.state_dict()["1.weight"]
        normal = (weight[1] - weight[0]).view_as(x[0])
        way = normal.sign() if self.norm == "linf" else normal / normal.norm()
        side = 2 * (y == 0).float() - 1  # towards the other class
        far = WORLD.margin[self.norm].float() * 1.001
        return x + (side * far)[:, None, None, None] * way


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_minimum_norm_attack_is_judged_by_the_distance_it_found(norm):
    middle = WORLD.margin[norm].median().item()
    nearest = {"nearest": Nearest(norm)}
    found = evaluate(MODEL, X, Y, attacks=nearest, radius=middle, norm=norm)
    (attack,) = found.attacks
    assert attack.refused == 0 and 0.4 < attack.accuracy < 0.6
    assert torch.equal(attack.correct, attack.distance > middle + 1e-6)
    torch.testing.assert_close(attack.distance, WORLD.margin[norm].float(), rtol=2e-3, atol=1e-5)


def seven(model, x, y):
    return PGD(radius=0.01, steps=7)(model, x, y)


def test_passes_are_counted_at_the_model():
    found = evaluate(MODEL, X, Y, attacks={"seven": seven}, batch_size=10)
    assert (found.attacks[0].forward, found.attacks[0].backward) == (7 * 32, 7 * 32)


@pytest.mark.parametrize("batch_size", [1, 7, 32])
def test_results_do_not_depend_on_the_batch_size(batch_size):
    wanted = evaluate(MODEL, X, Y, radius=0.01, batch_size=16)
    found = evaluate(MODEL, X, Y, radius=0.01, batch_size=batch_size)
    for one, other in zip(wanted.attacks, found.attacks, strict=True):
        torch.testing.assert_close(one.distance, other.distance, rtol=1e-4, atol=1e-6)


def test_evaluation_leaves_no_trace_on_the_model():
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 2))
    model[2].eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state, x = torch.get_rng_state(), X.clone()
    evaluate(model, X, Y, radius=0.1)
    assert [m.training for m in model.modules()] == [True, True, True, False, True]
    assert torch.equal(torch.get_rng_state(), state) and torch.equal(X, x)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


BAD = [
    (X * math.nan, Y, "pixels"), (X + 1, Y, "pixels"), (X, Y + 2, "labels"), (X, Y - 1, "labels"),
    (X[:0], Y[:0], "and some"),
]  # fmt: skip


@pytest.mark.parametrize(("x", "y", "said"), BAD)
def test_unusable_images_and_labels_are_refused_in_one_line(x, y, said):
    with pytest.raises(BadInput, match=said) as refusal:
        evaluate(MODEL, x, y, radius=0.1)
    assert "\n" not in str(refusal.value)


def half(x: torch.Tensor) -> torch.Tensor:
    return x.flatten(1)[:, :1]


UNUSABLE = {
    "a numpy array": (MODEL, X.numpy(), Y, "images as a tensor, got ndarray"),
    "a list of labels": (MODEL, X, Y.tolist(), "labels as a tensor, got list"),
    "no pixels": (MODEL, X[:, 0, 0, 0], Y, r"images of shape \[batch, channel.* got \(32,\)"),
    "a column of labels": (MODEL, X, Y[:, None], r"labels of shape \[batch\], got \(32, 1\)"),
    "bytes": (MODEL, (X * 255).byte(), Y, "divide them by 255"),
    "labels with a point": (MODEL, X, Y.float(), "labels as integers"),
    "too few labels": (MODEL, X, Y[:5], "as many labels as images"),
    "half precision": (nn.Linear(4, 2).bfloat16(), X, Y, "weights in float32 or float64"),
    "another size": (MODEL, X[:, :, :2], Y, "model that takes images"),
    "a pair for logits": (lambda x: (x, x), X, Y, "logits .* got tuple"),
    "one logit": (half, X, Y, "2 classes or more, got 1"),
    "logits that are NaN": (lambda x: half(x).expand(-1, 2) * math.nan, X, Y, "NaN at image 0"),
}


def test_an_index_with_a_point_is_refused():
    with pytest.raises(BadInput, match="expected index as integers"):
        check_inputs(MODEL, X, Y, torch.linspace(0, 1, len(X)))


@pytest.mark.parametrize("case", UNUSABLE)
def test_what_cannot_be_evaluated_is_said_in_one_line(case):
    model, x, y, said = UNUSABLE[case]
    with pytest.raises(BadInput, match=said) as refusal:
        x, y, _ = check_inputs(model, x, y)
        clean_logits(model, x, y, 250)
    assert "\n" not in str(refusal.value)


BAD_SETTINGS = [
    ("8/255", "linf", 1), (math.nan, "linf", 1), (0.1, "l3", 1), (0.1, "l2", 0)
]  # fmt: skip


@pytest.mark.parametrize("settings", BAD_SETTINGS)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(BadInput, match="expected"):
        inputs.require_settings(*settings)


@pytest.mark.parametrize("attacks", [[PGD()], {"pgd": 3}, {"pgd": PGD}, {"clean": PGD()}])
def test_what_are_no_attacks_by_name_is_refused(attacks):
    with pytest.raises(BadInput, match="expected"):
        inputs.as_attacks(attacks)


@pytest.mark.parametrize("model", [torch.float32, torch.float64])
@pytest.mark.parametrize("images", [torch.float16, torch.float32, torch.float64])
def test_images_take_the_dtype_of_the_weights(model, images):
    twin = copy.deepcopy(WORLD.model).to(model)
    found = evaluate(twin, WORLD.x.to(images), WORLD.y, radius=0.01)
    assert found.attacks[0].distance.dtype == model
    assert (
        check_inputs(lambda x: x, X.to(images), Y)[0].dtype
        == loss.at_least_fp32(X.to(images)).dtype
    )


@pytest.mark.parametrize("classes", [2, 3, 150])
def test_any_number_of_classes(classes):
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, classes))
    y = torch.arange(32) % classes
    found = evaluate(model, X, y, radius=0.01)
    clean = (model(X).argmax(1) == y).double().mean().item()
    assert found.clean.accuracy == pytest.approx(clean)
    assert found.worst_case.accuracy <= clean
    with pytest.raises(BadInput, match=f"labels from 0 to {classes - 1}, got {classes} at image 0"):
        evaluate(model, X, y + classes, radius=0.01)


@pytest.mark.parametrize("name", evaluation.SUITES)
def test_every_attack_of_a_suite_has_the_budget_and_the_seed_of_the_task(name):
    suite = evaluation.SUITES[name](task(0.3, 10, "l2", seed=5))
    for attack in suite.attacks.values():
        settings = record.plain(attack)
        for key, wanted in {"norm": "l2", "radius": 0.3, "seed": 5}.items():
            assert settings.get(key, wanted) in (wanted, None), (attack, key)


def test_the_quick_suite_climbs_cross_entropy_and_the_margin():
    quick = evaluation.SUITES["quick"](task(0.3, 10)).attacks
    settings = {name: record.plain(attack) for name, attack in quick.items()}
    losses = {name: (one["loss"], one.get("steps")) for name, one in settings.items()}
    assert losses == {"fgsm": ("ce", None), "pgd": ("ce", 20), "pgd-margin": ("margin", 20)}


def test_an_unknown_suite_suggests_the_nearest():
    with pytest.raises(BadInput, match="did you mean 'quick'"):
        evaluate(MODEL, X, Y, suite="quik")


def test_wilson_against_published_values():
    """Newcombe 1998 (Statistics in Medicine 17:857), Table I, method 3."""
    for hits, count, low, high in [
        (81, 263, 0.2553, 0.3662),
        (0, 20, 0.0, 0.1611),
        (29, 29, 0.883, 1),
    ]:
        found = wilson(hits, count)
        assert (round(found.low, 4), round(found.high, 4)) == (low, high)


def test_an_evaluation_is_saved_row_by_row_and_image_by_image(tmp_path):
    found = evaluate(MODEL, X, Y, radius=0.01)
    for number in (1, 2):
        file = evaluation.save(found, tmp_path, Y, about={"split": "test"})
        assert file.name == f"evaluation-00{number}.safetensors"
    rows = record.rows(tmp_path / "evaluation.jsonl")
    assert [row["name"] for row in rows] == ["fgsm", "pgd", "pgd-margin"] * 2
    held = load_file(tmp_path / rows[0]["per_image"])
    assert held["fgsm.correct"].double().mean().item() == rows[0]["accuracy"]


def test_a_cascade_shows_each_attack_what_is_left():
    shown = []

    def half(kept):
        def attack(model, x, y, index):
            shown.append(index.tolist())
            return torch.where((index % 2 == kept)[:, None, None, None], flipped(x), x)

        return attack

    battery = {"even": half(0), "odd": half(1), "none": lambda model, x, y: x}
    found = evaluate(MODEL, X, Y, attacks=battery, cascade=True, radius=1.0, batch_size=50)
    assert shown == [list(range(32)), list(range(1, 32, 2))]
    assert [attack.accuracy for attack in found.attacks] == [0.5, 0, 0]
    assert found.first == [16, 16, 0] and found.worst_case.accuracy == 0
    assert torch.equal(found.attacks[1].distance.isnan(), torch.arange(32) % 2 == 0)
    assert found.as_dict()["attacks"][2]["attacked"] == 0
    both = evaluate(MODEL, X, Y, attacks=battery, radius=1.0, batch_size=50)
    assert [attack.accuracy for attack in both.attacks] == [0.5, 0.5, 1] and both.first[1] == 16


def test_the_curve_of_a_minimum_norm_attack_is_that_of_the_margins():
    margin = WORLD.margin["linf"]
    found = evaluate(MODEL, X, Y, attacks={"nearest": Nearest("linf")}, radius=0.01)
    radii = [0.0, *margin.quantile(torch.tensor([0.21, 0.52, 0.93]).double()).tolist(), 1.0]
    left = [(margin > radius).double().mean().item() for radius in radii]
    assert found.curve(radii) == pytest.approx(left, abs=1 / 32 + 1e-9)
    assert found.curve([0.0, 1.0]) == [1.0, 0.0]
    mixed = {"linf": Nearest("linf"), "l2": Nearest("l2")}
    with pytest.raises(BadInput, match="one norm"):
        evaluate(MODEL, X, Y, attacks=mixed, radius=0.01).curve([0.1])


def test_a_cascade_that_has_felled_everything_says_so_and_ends():
    said = []
    attacks = {"one": PGD(radius=0.9), "two": PGD(radius=0.9)}
    found = evaluate(
        MODEL,
        X,
        Y,
        attacks=attacks,
        radius=0.9,
        cascade=True,
        progress=lambda *told: said.append(told),
    )
    assert found.worst_case.accuracy == 0 and {told[0] for told in said} == {"one"}
    assert found.attacks[1].passes == 0


def test_logits_that_are_no_numbers_are_no_prediction_whatever_the_label():
    def breaks(x: torch.Tensor) -> torch.Tensor:
        off_grid = ((x * 1e6).round() % 2 == 1).flatten(1).any(1)
        return MODEL(x).masked_fill(off_grid[:, None], math.nan)

    x = (X * 1e3).round() / 1e3
    y = MODEL(x).argmax(1)
    noise = {"noise": lambda model, x, y: (x + 1e-6).clamp(0, 1)}
    found = evaluate(breaks, x, y, attacks=noise, radius=0.01)
    assert len(set(y.tolist())) == 2 and found.attacks[0].accuracy == 0


def test_the_images_kept_are_the_nearest_of_another_class_that_were_found():
    found = evaluate(MODEL, X, Y, attacks={"deepfool": DeepFool(norm="linf")}, radius=1e-4)
    assert found.worst_case.accuracy > 0.9 and (MODEL(found.adv).argmax(1) != Y).all()
    wrong = evaluate(MODEL, X, 1 - Y, radius=0.03)
    assert torch.equal(wrong.adv, X)


def test_a_budget_of_nothing_is_one():
    found = evaluate(MODEL, X, Y, attacks={"pgd": PGD(radius=0.0)})
    assert found.radius == 0 and found.worst_case.accuracy == 1


def test_images_that_do_not_count_are_said():
    def cheat(model: Classifier, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        made = x.clone()
        made[0], made[1, 0, 0, 0] = torch.nan, torch.inf
        made[2:5, 0, 0, 0] = 1.01
        made[5:9] = flipped(x)[5:9]
        return made

    found = evaluate(MODEL, X, Y, attacks={"outside": cheat}, radius=0.01)
    (finding,) = [one for one in found.findings if one.name == "images refused"]
    faults = {"no numbers": 2, "outside the pixel box": 3, "beyond the budget": 4}
    assert finding.evidence == {"attack": "outside", "share": 9 / 32, "faults": faults}
    assert (
        "(6.2% no numbers, 9.4% outside the pixel box, 12.5% beyond the budget)" in finding.meaning
    )
    assert found.attacks[0].refused == 9 and found.attacks[0].as_dict()["faults"] == faults
    both = shares.joined([found, found]).attacks[0]
    assert both.refused == 18 and both.faults == {name: 2 * n for name, n in faults.items()}
    for name in ("clean", "worst case"):
        with pytest.raises(BadInput, match=f"another name for an attack than {name}"):
            evaluate(MODEL, X, Y, attacks={name: PGD()})


@pytest.mark.parametrize("suite", ["quick", "seeds"])
@pytest.mark.parametrize("wide", ["logits", "images"])
def test_logits_may_be_wider_or_narrower_than_images(suite, wide):
    def model(x: torch.Tensor) -> torch.Tensor:
        logits = MODEL(x.float())
        return logits.double() if wide == "logits" else logits

    task = Task(radius=0.01, norm="linf", classes=2, pixels=16)
    attacks = SUITES[suite](task).attacks
    short = {n: quicker(one) if hasattr(one, "steps") else one for n, one in attacks.items()}
    x = X.double() if wide == "images" else X
    found = evaluate(model, x[:6], Y[:6], attacks=short, radius=0.01)
    assert all(attack.refused == 0 for attack in found.attacks)


def test_the_standard_suite_has_autoattacks_schedule_and_runs_on_few_classes():
    ten = evaluation.SUITES["standard"](task(0.1, 10, seed=7))
    assert list(ten.attacks) == ["apgd-ce", "apgd-t", "fab-t", "square"] and ten.cascade
    settings = [record.plain(attack) for attack in ten.attacks.values()]
    assert [s.get("steps", s.get("queries")) for s in settings] == [100, 100, 100, 5000]
    assert settings[1]["targets"] == settings[2]["targets"] == 9
    for classes, second in ((2, "apgd-margin"), (3, "apgd-dlr"), (4, "apgd-t")):
        world = linear_world(count=6, classes=classes)
        suite = evaluation.SUITES["standard"](task(0.01, classes))
        assert list(suite.attacks)[1] == second
        short = {name: quicker(attack) for name, attack in suite.attacks.items()}
        found = evaluate(
            world.model.float(), world.x.float(), world.y, attacks=short, cascade=True, radius=0.01
        )
        assert all(attack.refused == 0 for attack in found.attacks)


def task(radius, classes, norm: Norm = "linf", **more):
    return evaluation.Task(radius=radius, norm=norm, classes=classes, pixels=16, **more)


def test_the_suite_of_song_and_others_states_every_budget():
    """Table III's eight; those that know l2 alone have an l2 budget, and say so."""
    found = evaluate(MODEL, X, Y, suite="seeds", radius=0.01)
    names = ["fgsm", "cw", "pgd", "bim", "mim", "deepfool", "uniform-noise", "gaussian-noise"]
    assert [attack.name for attack in found.attacks] == names
    for attack in found.attacks:
        wanted = ("l2", 0.01 * 4 / 4) if attack.name == "cw" else ("linf", 0.01)
        assert (attack.norm, attack.radius) == wanted and attack.refused == 0
    left, margin = found.attacks[1].correct, WORLD.margin["l2"]
    assert left[margin > 0.01].all() and not left[margin < 0.0098].any() and not left.all()
    assert evaluation.SUITES["seeds"](task(0.5, 10, "l2")).radii == {"cw": 0.5}


def test_the_full_suite_holds_every_other_and_each_attack_sees_every_image():
    full = evaluation.SUITES["full"](task(0.1, 10))
    for name in ("quick", "seeds", "standard"):
        assert set(evaluation.SUITES[name](task(0.1, 10)).attacks) <= set(full.attacks)
    assert not full.cascade and set(full.radii) <= set(full.attacks)
    kinds = {type(attack) for attack in full.attacks.values()}
    left = {kind.__name__ for kind in ATTACKS.values() if kind not in kinds}
    assert left == {"MinMargin", "TransferMIM"}


def quicker(attack):
    return with_settings(attack, **({"queries": 20} if attack.name == "square" else {"steps": 5}))


@pytest.mark.parametrize("suite", ["quick", "reliable"])
def test_what_a_model_has_no_number_for_falls_to_attacks(suite):
    """A logarithm in front, and black pixels within reach of the attack."""
    world = linear_world()
    x = world.x.clamp_min(0.05).float()
    model = nn.Sequential(Logarithm(), world.model.float())
    radius = 0.06  # any pixel may become black, but none is
    found = evaluate(model, x, model(x).argmax(1), suite, radius=radius)
    assert found.worst_case.accuracy < 0.1


class Logarithm(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 0 * x.log()


@pytest.mark.parametrize(
    ("made", "said"), [(None, "NoneType"), ((1, 2), "tuple"), (torch.rand(1, 4), r"\(1, 4\)")]
)
def test_an_attack_that_gives_no_images_is_said_in_one_line(made, said):
    with pytest.raises(BadInput, match=f"from it, got {said}"):
        judge.images_of("it", made, WORLD.x)


def test_an_attack_may_give_images_of_another_precision():
    world = linear_world()
    model, x = world.model.float(), world.x.float()
    pgd = PGD(radius=0.05)
    wide = {"wide": lambda model, x, y: pgd(model, x, y).double()}
    found = evaluate(model, x, world.y, attacks=wide | {"pgd": pgd}, radius=0.05)
    assert torch.equal(found.attacks[0].correct, found.attacks[1].correct)


@pytest.mark.parametrize("suite", ["reliable", "standard"])
def test_rows_of_numbers_meet_all_but_patches(suite):
    x, y = WORLD.x.flatten(1).float(), WORLD.y
    found = evaluate(
        nn.Sequential(*list(WORLD.model.children())[1:]).float(), x, y, suite, radius=0.01
    )
    assert "square" not in [attack.name for attack in found.attacks]
    assert "no images" in [finding.name for finding in found.findings]


def test_what_lies_beyond_the_budget_is_no_start_for_the_next():
    far: Any = type(
        "Far", (), {"minimal": True, "__call__": lambda self, model, x, y: flipped(x)}
    )()
    seen = []

    def second(model, x, y, start):
        seen.append((start - x).abs().max().item())
        return x

    evaluate(MODEL, X, Y, attacks={"far": far, "second": second}, cascade=True, radius=0.01)
    assert seen and max(seen) == 0


def test_a_model_that_changes_its_images_is_refused_and_they_stay():
    kept = X.clone()
    with pytest.raises(BadInput, match="changes them in place"):
        evaluate(lambda x: MODEL(x.mul_(0.5)), X, Y, radius=0.01)
    assert torch.equal(X, kept)


def test_the_median_is_the_middle_or_between_two():
    for values, expected in (([0, 1, 4], 1), ([0, 0, 0.5, 1], 0.25), ([1, torch.inf], torch.inf)):
        assert median(torch.tensor([*values, torch.nan])) == expected
    assert math.isnan(median(torch.tensor([torch.nan])))


class Threshold(torch.nn.Module):
    """Class 1 where the first pixel is above one half: the nearest wrong image is as far in every
    norm."""

    def forward(self, x):
        height = 8 * (x[:, 0, 0, 0] - 0.5)
        return torch.stack([-height, height], 1)


def test_a_function_states_the_radius_that_it_has_by_default():
    """As an attack of ours does: its images count, and that its budget is another one is said."""
    climb = PGD(radius=0.1)

    def mine(model, x, y, index, *, radius: float = 0.1, steps: int = 10):
        return with_settings(climb, radius=radius, steps=steps)(model, x, y, index)

    def found(attack: Any, **budget: Any):
        return evaluate(MODEL, X, Y, attacks={"mine": attack}, **budget)

    alone = found(mine)
    assert alone.radius == 0.1 and alone.attacks[0].refused == 0
    assert alone.attacks[0].settings["radius"] == 0.1
    assert torch.equal(alone.attacks[0].correct, found(climb).attacks[0].correct)
    wider = found(mine, radius=0.5)
    assert wider.attacks[0].refused == 0 and wider.attacks[0].radius == 0.1
    assert [one.name for one in wider.findings] == ["no attack of the budget"]


def test_the_worst_case_is_that_of_the_budget_alone():
    """C&W is measured in l2 at a larger radius: what it finds there fells nothing
    within linf 8/255, where this model is robust; nor does it leave a cascade, or a comparison."""
    x = torch.full((6, 1, 8, 8), 0.4)
    x[:, 0, 0, 0] = torch.tensor([0.455, 0.46, 0.54, 0.545, 0.1, 0.51])
    y = (x[:, 0, 0, 0] > 0.5).long()
    found = evaluate(Threshold(), x, y, "seeds", radius=8 / 255)
    far = {one.name: one for one in found.attacks if one.norm == "l2"}
    assert far["cw"].accuracy == pytest.approx(1 / 6)
    assert found.worst_case.correct.tolist() == [True] * 5 + [False]
    assert sum(found.first) == 1 and "not in the worst case" in found.table()
    assert "blind attacks find more" not in [one.name for one in found.findings]
    curve = evaluation.curve(Threshold(), x, y, [8 / 255], "seeds")
    assert curve.correct[0].tolist() == [True] * 5 + [False]


def test_an_attack_of_another_norm_or_beyond_the_budget_leaves_its_images_to_the_next(tmp_path):
    x = torch.full((4, 1, 8, 8), 0.4)
    x[:, 0, 0, 0] = torch.tensor([0.46, 0.54, 0.48, 0.1])
    y = (x[:, 0, 0, 0] > 0.5).long()
    attacks = {"l2": PGD(radius=0.2, norm="l2"), "far": PGD(radius=0.2), "asked": PGD(radius=0.03)}
    asked = {"radius": 0.03, "norm": "linf"}
    found = evaluate(Threshold(), x, y, attacks=attacks, cascade=True, **asked)
    assert found.worst_case.correct.tolist() == [True, True, False, True]
    assert [int((~one.distance.isnan()).sum()) for one in found.attacks] == [4, 4, 4]
    alone = evaluate(Threshold(), x, y, attacks={"fab": FAB(radius=0.2)}, **asked)
    assert alone.worst_case.correct.tolist() == [True, True, False, True]  # by its distances
    for name in ("one", "two"):
        evaluation.save(found, tmp_path / name, y)
    both = evaluation.compare(*(evaluation.latest(tmp_path / name) for name in ("one", "two")))
    assert both["worst case"].difference == 0
    robust = evaluate(lambda x: 100 * Threshold()(x), x, y, attacks=attacks, cascade=True, **asked)
    assert robust.worst_case.accuracy == found.worst_case.accuracy


def test_a_norm_other_than_linf_has_no_usual_radius():
    world = linear_world()
    given = (world.model, world.x, world.y)
    for judged in (evaluate, diagnose):
        with pytest.raises(BadInput, match=r"expected a radius with norm l2, got none"):
            judged(*given, norm="l2")
    with pytest.raises(BadInput, match=r"expected a radius with norm l2, got none"):
        evaluate(*given, attacks={"cw": CW()})
    with pytest.raises(BadInput, match=r"expected a radius with norm l2, got none"):
        transfer_matrix({"a": world.model}, world.x, world.y, CW())
    assert evaluate(*given, attacks={"cw": CW()}, radius=0.5).radius == 0.5
    assert evaluate(*given).radius == 8 / 255


def test_a_suite_beside_attacks_of_one_s_own_is_refused():
    world = linear_world()
    with pytest.raises(BadInput, match=r"a suite or attacks, got 'standard' and attacks"):
        evaluate(world.model, world.x, world.y, "standard", attacks={"mine": FGSM()})


def test_an_attack_s_result_by_its_name():
    world = linear_world()
    found = evaluate(world.model, world.x, world.y, attacks={"mine": FGSM(), "pgd": PGD()})
    assert found["pgd"] is found.attacks[1]
    with pytest.raises(BadInput, match="did you mean 'mine'"):
        found["min"]


def test_an_evaluation_is_found_again_by_its_suite(tmp_path):
    world = linear_world()
    found = evaluate(world.model, world.x, world.y, radius=0.1)
    evaluation.save(found, tmp_path, world.y, about={"suite": "quick"})
    assert evaluation.load(tmp_path, suite="quick").radius == 0.1


@pytest.mark.parametrize(("name", "warned"), [("eps", True), ("epsilon", True), ("radius", False)])
def test_a_budget_of_another_name_is_said(name, warned, caplog):
    world = linear_world()
    scope: dict[str, Any] = {"__name__": __name__}
    exec(f"def mine(model, x, y, {name}=0.1):\n    return x", scope)
    evaluate(world.model, world.x, world.y, attacks={"mine": scope["mine"]}, radius=0.1)
    assert (f"keeps its own {name}" in caplog.text) is warned


def test_the_adversarial_images_are_those_within_the_budget():
    """DDN goes as far as it must; what it found beyond the radius is no x_adv."""
    model, x, y = WORLD.model, WORLD.x, WORLD.y
    radius = WORLD.margin["l2"].median().item()
    found = evaluate(model, x, y, attacks={"ddn": DDN()}, radius=radius, norm="l2")
    adv = found.adversarial(x)
    far = (adv - x).flatten(1).norm(dim=1)
    assert (far <= radius + 1e-5).all() and ((found.adv - x).flatten(1).norm(dim=1) > radius).any()
    assert torch.equal(model(adv).argmax(1) == y, found.worst_case.correct) and (far > 0).any()
    with pytest.raises(BadInput, match="images of this evaluation"):
        found.adversarial(x[:3])
    both = evaluate(model, x, y, attacks={"ddn": DDN(), "fgsm": FGSM(radius=0.1)}, radius=0.1)
    with pytest.raises(BadInput, match="each attack's own"):
        both.adversarial(x)


def test_channels_last_are_said():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 2))
    with pytest.raises(BadInput, match=r"channels last: x.permute\(0, 3, 1, 2\)"):
        evaluate(model, torch.rand(2, 8, 8, 3), torch.zeros(2).long())


def test_a_norm_in_capitals_is_suggested():
    with pytest.raises(BadInput, match="did you mean 'linf'"):
        inputs.require_settings(0.1, "Linf", None)
