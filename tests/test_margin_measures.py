"""The paper's measures against their formulas written out as plain loops."""

import dataclasses
import json
import math

import pytest
import torch
from safetensors.torch import load_file
from worlds import linear_world

from holdfast import margin, record
from holdfast.errors import BadInput
from holdfast.margin import (
    bootstrap,
    class_robustness,
    growth,
    jackknife,
    levels,
    mean_margins,
    robustness,
    save,
    search,
    shares,
)
from holdfast.margin.measures import centres, summed, sums_of_images
from holdfast.report import heat

CLASSES, REACH = 4, 0.5
GENERATOR = torch.Generator().manual_seed(3)
ORIGIN = torch.tensor([0, 0, 1, 1, 1, 2, 2])  # nothing starts in class 3
DISTANCE = torch.rand(7, 5, 2, generator=GENERATOR).mul(REACH)
ENTERED = torch.randint(-1, CLASSES, (7, 5, 2), generator=GENERATOR)
ENTERED[ORIGIN[:, None, None].expand(7, 5, 2) == ENTERED] = -1
DISTANCE[ENTERED < 0] = REACH
PARTS = sums_of_images(DISTANCE, ENTERED, CLASSES)
SUMS = summed(*PARTS, ORIGIN)


def rays():
    for i, origin in enumerate(ORIGIN.tolist()):
        yield from ((origin, int(e), float(d)) for e, d in zip(
            ENTERED[i].flatten(), DISTANCE[i].flatten(), strict=True))  # fmt: skip


def margins(origin=None, entered=None):
    return [
        d for o, e, d in rays() if origin in (None, o) and (entered is None or entered == e)
    ]  # fmt: skip


def pair(origin, entered):
    found = margins(origin, entered)
    return sum(found) / len(found) if found else math.nan


def test_table_1_is_the_share_of_rays_that_enter_each_class():
    wanted = [len(margins(entered=c)) / 70 for c in (0, 1, 2, 3, -1)]
    torch.testing.assert_close(shares(SUMS).tolist(), wanted)


def test_equation_1_and_2_are_means_and_their_sum():
    wanted = [[pair(i, j) for j in (0, 1, 2, 3, -1)] for i in range(4)]
    found = mean_margins(SUMS, none=True)
    torch.testing.assert_close(found, torch.tensor(wanted).double(), equal_nan=True)
    assert torch.equal(mean_margins(SUMS).isnan(), found[:, :-1].isnan())
    whole = sum(m for row in wanted for m in row if not math.isnan(m))
    assert robustness(SUMS).item() == pytest.approx(whole)
    assert robustness(SUMS, none=False).item() == pytest.approx(whole - 3 * REACH)


def test_equation_3_is_what_enters_over_what_leaves():
    for none in (False, True):
        found = class_robustness(SUMS, none)
        for i in range(3):
            entering = sum(margins(entered=i))
            leaving = sum(d for o, e, d in rays() if o == i and (none or e >= 0))
            assert found[i].item() == pytest.approx(entering / leaving)
        assert found[3] == math.inf


def test_levels_are_the_top_fifth_and_the_bottom_half():
    strength = torch.tensor([0.005, 0.149, 0.955, 7.237, 6.662, 2.135, 0.661, 0.187, 3.075, 0.176])
    published = ["low", "low", "low", "high", "high", "medium", "low", "low", "medium", "low"]
    published[2] = "medium"  # Table IV: classes 0, 1, 6, 7, 9 are low
    assert levels(strength) == published
    assert levels(torch.tensor([math.nan, 1.0, math.inf, 2.0]), 0.3, 0.3) == [
        "medium", "low", "high", "medium"]  # fmt: skip
    with pytest.raises(BadInput, match="at most 1"):
        levels(strength, 0.6, 0.5)


def test_centres_have_the_largest_mean_margin_of_their_class():
    mean = DISTANCE.flatten(1).mean(1)
    found = centres(DISTANCE, ORIGIN, CLASSES).tolist()
    assert found[3] == -1
    for label in range(3):
        own = torch.eq(ORIGIN, label).nonzero().flatten().tolist()
        assert found[label] == max(own, key=lambda i: mean[i])


def test_the_bootstrap_draws_images_and_covers_the_mean():
    """A mean over images that are alike inside: the interval is that of the images, not of rays."""
    count = 60
    level = torch.rand(count, generator=GENERATOR)
    distance = level[:, None, None].expand(-1, 50, 2)
    origin, entered = torch.zeros(count).long(), torch.ones(count, 50, 2).long()
    parts = sums_of_images(distance, entered, 2)
    found = bootstrap(*parts, origin, lambda sums: mean_margins(sums)[..., 0, 1], samples=2000)
    error = level.std(unbiased=False) / math.sqrt(count)
    assert found.value.item() == pytest.approx(level.mean().item())
    assert found.low.item() == pytest.approx((level.mean() - 1.96 * error).item(), abs=0.01)
    assert found.high.item() == pytest.approx((level.mean() + 1.96 * error).item(), abs=0.01)
    again = jackknife(*parts, origin, lambda sums: mean_margins(sums)[..., 0, 1])
    torch.testing.assert_close(again.low, found.value - 1.96 * level.std() / math.sqrt(count))
    torch.testing.assert_close(again.high, found.value + 1.96 * level.std() / math.sqrt(count))


def test_an_interval_is_nan_where_one_image_is_all_there_is():
    distance, rays, origin = PARTS[0][1:], PARTS[1][1:], ORIGIN[1:]  # one image of class 0
    found = jackknife(distance, rays, origin, lambda sums: mean_margins(sums, none=True))
    images = torch.stack([(rays[origin == label] > 0).sum(0) for label in range(CLASSES)])
    assert (images == 1).any() and (images > 1).any()
    assert torch.equal(found.low.isnan(), images <= 1)
    assert torch.equal(found.value.isnan(), images == 0)


def test_the_jackknife_covers_r_where_the_bootstrap_comes_out_too_low():
    """Images whose rays prefer some classes, so that many pairs are met by few images."""
    generator, count, classes = torch.Generator().manual_seed(1), 50, 10
    liking = torch.empty(classes, classes + 1).exponential_(generator=generator) ** 3
    origin = torch.arange(count) % classes

    def drawn():
        own = torch.empty(count, classes + 1).exponential_(generator=generator) ** 4
        chance = liking[origin] * own
        entered = torch.multinomial(chance, 100, replacement=True, generator=generator)
        level = torch.rand(count, 1, generator=generator)
        distance = torch.rand(count, 100, generator=generator) * level
        return sums_of_images(distance[..., None], entered[..., None] % (classes + 1), classes)

    parts = [drawn() for _ in range(150)]
    truth = torch.stack([robustness(summed(*part, origin)) for part in parts]).mean()

    def held(found):
        return sum(bool(one.low <= truth <= one.high) for one in found) / len(found)

    assert held([jackknife(*part, origin, robustness) for part in parts]) > 0.9
    assert held([bootstrap(*part, origin, robustness, samples=100) for part in parts]) < 0.5


def test_margins_speak_for_themselves(tmp_path):
    world = linear_world(count=8, side=4, classes=3)
    found = search(world.model, world.x, world.y, reach=1.0, step=0.05, clip=False)
    row = found.as_dict()
    assert row["none_share"] == pytest.approx((found.entered < 0).float().mean().item())
    assert row["mean_margin"] == pytest.approx(found.distance.mean().item(), rel=1e-5)
    low, high = row["robustness_interval"]
    assert low <= row["robustness"] <= high
    assert row["robustness"] == pytest.approx(found.robustness())
    beyond = found.matrix(none=True)[:, -1].nan_to_num().sum().item()
    assert row["robustness"] - beyond == pytest.approx(found.robustness(none=False))
    assert [line.split()[0] for line in found.table().splitlines()[1:]] == ["0", "1", "2", "all"]
    interval = found.interval(shares)
    assert interval.low.shape == (4,) and torch.allclose(interval.value, found.shares())
    heat(tmp_path / "heat.png", {"Ori.": found.matrix(), "F.L.": found.matrix()}, "margins")
    assert (tmp_path / "heat.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("reference", ["prediction", "label"])
def test_margins_are_saved_whichever_class_is_left(tmp_path, reference):
    world = linear_world(count=4, side=4, classes=3)
    found = search(world.model, world.x, world.y, reach=1.0, step=0.1, reference=reference)
    save(found, tmp_path, world.y, {})
    held = load_file(tmp_path / "margins.safetensors")
    assert torch.equal(held["y"], world.y) and torch.equal(held["distance"], found.distance)


def test_one_image_has_no_interval():
    distance, entered = torch.rand(1, 3, 2), torch.ones(1, 3, 2).long()
    found = jackknife(*sums_of_images(distance, entered, 2), torch.zeros(1).long(), robustness)
    assert found.value.isfinite() and found.low.isnan() and found.high.isnan()


def test_a_class_without_images_has_no_level():
    """It is entered and not left, so that its R_i is infinite; no place is lost to it."""
    world = linear_world(count=8, side=4, classes=3)
    found = search(world.model, world.x, world.y, step=0.1)
    more = found.entered.clone()
    more[:, 0] = found.classes
    bare = dataclasses.replace(found, classes=found.classes + 1, entered=more)
    assert bare.class_robustness()[-1] == math.inf
    named = bare.levels(top=1 / 3, bottom=0)
    assert named[-1] == "medium" and named.count("high") == 1


def test_a_class_whose_images_are_all_wrong_is_not_the_most_robust():
    """Its margins are 0, and by equation 3 as it stands its R_i would be infinite."""
    world = linear_world(count=8, side=4, classes=3)
    wrong = world.model(world.x).argmax(1)
    y = torch.where(wrong == 0, 1, wrong)
    y[wrong == 1] = 0  # every image of class 0 is taken for another
    found = search(world.model, world.x, y, step=0.1, reference="label")
    assert (found.origin == 0).any() and (found.distance[found.origin == 0] == 0).all()
    assert found.class_robustness()[0].isnan() and found.class_robustness(none=True)[0].isnan()
    assert found.levels(top=1 / 3, bottom=0)[0] == "medium"


def test_margins_are_read_back_as_they_were_saved(tmp_path):
    world = linear_world(count=8, side=4, classes=3)
    found = search(world.model, world.x, world.y, step=0.1, clip=True, tolerance=0.01)
    margin.save(found, str(tmp_path), world.y)
    again = margin.load(tmp_path)
    assert record.as_json(again.as_dict()) == record.as_json(found.as_dict())
    assert again.table() == found.table()
    for name in (field.name for field in dataclasses.fields(found)):
        value, other = getattr(again, name), getattr(found, name)
        same = torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other
        assert same, name
    assert growth(found, again).value == 0
    assert [row[0] for row in again.as_table().rows] == ["0", "1", "2", "all"]
    sheet = record.read_json(tmp_path / "matrix.json")
    margin.save(search(world.model, world.x, world.y, step=0.2), tmp_path / "other", world.y)
    (tmp_path / "other" / "matrix.json").write_text(json.dumps(sheet))
    with pytest.raises(BadInput, match=r"matrix.json are not of one search"):
        margin.load(tmp_path / "other")
    (tmp_path / "matrix.json").write_text('{"reach": 1}')
    for place in (tmp_path, tmp_path / "none"):
        with pytest.raises(BadInput, match=r"expected margins in .*; search them with holdfast"):
            margin.load(place)


def test_one_image_is_told_in_json_and_grids_are_not_mixed():
    world = linear_world(count=8, side=4, classes=3)
    x, y = world.x[:1], world.y[:1]
    found, finer = (search(world.model, x, y, step=step) for step in (0.1, 0.05))
    text = record.as_json(found.as_dict())
    assert json.loads(text)["robustness_interval"] == [None, None]
    assert growth(found, found).low.isnan()
    with pytest.raises(BadInput, match="on the same grid"):
        growth(found, finer)


def test_of_equal_classes_the_lower_number_is_taken_and_halves_round_up():
    strength = torch.tensor([0.1, 0.2, 0.3, torch.inf, torch.inf])
    assert levels(strength) == ["low", "low", "low", "high", "medium"]
    assert levels(torch.tensor([1.0, 1, 1, 1, 1]), 0.2, 0.2)[:2] == ["low", "high"]


def test_a_class_is_low_or_high_and_never_both():
    assert levels(torch.tensor([1.0, 2, 3]), 0.5, 0.5) == ["low", "low", "high"]


def test_an_end_that_is_infinite_is_no_nan():
    """Of a class that few rays leave, many samples have none; between them and the others nothing
    is interpolated."""
    distance, origin = torch.full((12, 2, 2), 0.1), torch.tensor([0] * 10 + [1, 1])
    entered = torch.where(origin == 0, 1, -1)[:, None, None].expand(12, 2, 2).clone()
    entered[10], distance[11] = 0, 0.5
    parts = sums_of_images(distance, entered, 2)
    found = bootstrap(*parts, origin, class_robustness)
    assert found.high[1] == torch.inf and not torch.cat([found.low, found.high]).isnan().any()


def test_a_class_that_no_ray_leaves_is_not_low():
    assert levels(torch.tensor([torch.inf, 0.0, torch.inf, torch.inf])) == [
        "high", "low", "medium", "medium"
    ]  # fmt: skip
