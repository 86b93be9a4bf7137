import copy
import inspect
import json
import math
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import small
import torch
from torch import nn

from holdfast import model as models
from holdfast.errors import BadInput
from holdfast.model import Metered, predict
from holdfast.record import write
from holdfast.training import checkpoint

HERE = Path(__file__).parent


def test_normalisation_is_inside():
    plain = models.create("madry_mnist", image=(1, 8, 8), classes=3, seed=0)
    inside = models.create(
        "madry_mnist", image=(1, 8, 8), classes=3, seed=0, mean=(0.2,), std=(0.5,)
    )
    x = torch.rand(4, 1, 8, 8)
    torch.testing.assert_close(inside(x), plain((x - 0.2) / 0.5))


def test_a_channel_that_never_changes_is_not_divided_by_zero():
    made = models.create("madry_mnist", image=(1, 8, 8), classes=3, mean=(0.2,), std=(0.0,))
    assert made(torch.rand(4, 1, 8, 8)).isfinite().all()


def test_the_seed_decides_the_weights_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    one, twin, other = (
        models.create("madry_mnist", image=(1, 8, 8), classes=3, seed=s) for s in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), before)
    first, same, unlike = (next(made.parameters()) for made in (one, twin, other))
    assert torch.equal(first, same) and not torch.equal(first, unlike)


@pytest.mark.parametrize("name", sorted(models.NETWORKS))
def test_a_saved_model_comes_back_the_same(tmp_path, name):
    made = models.create(
        name, image=(3, 16, 16), classes=4, mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0),
        **small.NARROW.get(name, {}),
    ).to(memory_format=torch.channels_last)  # fmt: skip
    x = torch.rand(6, 3, 16, 16)
    made(x)  # moves the statistics of batch normalisation
    models.save(made, tmp_path, made.card)
    again = models.load(tmp_path)
    assert torch.equal(again(x), made.eval().to(memory_format=torch.contiguous_format)(x))
    assert again.card == made.card


def build(*, image: tuple[int, int, int], classes: int, hidden: int = 5) -> nn.Module:
    """An architecture of the user's own."""
    flat = image[0] * image[1] * image[2]
    return nn.Sequential(
        nn.Flatten(), nn.Linear(flat, hidden), nn.ReLU(), nn.Linear(hidden, classes)
    )


OWN = f"{__name__}:build"


def test_an_architecture_of_the_users_own(tmp_path):
    made = models.create(OWN, image=(1, 8, 8), classes=3, hidden=7)
    models.save(made, tmp_path, made.card)
    again = models.load(tmp_path, architecture=OWN)
    x = torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(again(x), made.eval()(x))


def test_the_code_of_a_script_is_to_be_moved(tmp_path):
    made = models.create(OWN, image=(1, 8, 8), classes=3)
    models.save(made, tmp_path, replace(made.card, architecture="__main__:Net"))
    with pytest.raises(BadInput, match=r"--model MODULE:Net, .* first move it from your script"):
        models.load(tmp_path)


def test_weights_go_into_a_module_that_only_python_can_build(tmp_path):
    made = models.create(OWN, image=(1, 8, 8), classes=3, hidden=7)
    models.save(made, tmp_path, made.card)
    x = torch.rand(2, 1, 8, 8)
    bare = build(image=(1, 8, 8), classes=3, hidden=7).train()
    for module in (bare, models.Network(bare, made.card)):
        again = models.load(tmp_path, architecture=module)
        assert again.body is bare and not again.training and again.card == made.card
        torch.testing.assert_close(again(x), made.eval()(x))
    narrow = build(image=(1, 8, 8), classes=3, hidden=6)
    with pytest.raises(BadInput, match=r"body\.1\.weight should be \(6, 64\), is \(7, 64\)"):
        models.load(tmp_path, architecture=narrow)
    with pytest.raises(BadInput, match=r"a name or a module, got <class .*such as MyNet\("):
        inspect.unwrap(models.load)(tmp_path, architecture=nn.Linear)


def test_a_module_without_a_card_is_no_run(tmp_path):
    bare: Any = torch.nn.Linear(2, 2)
    with pytest.raises(BadInput, match="expected a network of"):
        inspect.unwrap(models.save_run)(bare, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_card_alone_never_decides_what_code_is_run(tmp_path):
    made = models.create(OWN, image=(1, 8, 8), classes=3)
    models.save(made, tmp_path, made.card)
    card = json.loads((tmp_path / "card.json").read_text())
    witness = tmp_path / "witness"
    card |= {"architecture": "os:system", "options": {"command": f"touch {witness}"}}
    (tmp_path / "card.json").write_text(json.dumps(card))
    with pytest.raises(BadInput, match="code of your own"):
        models.load(tmp_path)
    assert not witness.exists()


def test_a_pickle_in_place_of_the_weights_is_not_run(tmp_path):
    made = models.create("madry_mnist", image=(1, 8, 8), classes=3)
    models.save(made, tmp_path, made.card)
    witness = tmp_path / "witness"

    class Bomb:
        def __reduce__(self):
            return (Path.touch, (witness,))

    (tmp_path / "model.safetensors").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(BadInput, match="damaged"):
        models.load(tmp_path)
    assert not witness.exists()


def test_weights_of_another_architecture_are_named(tmp_path):
    made = models.create("madry_mnist", image=(1, 8, 8), classes=3)
    models.save(made, tmp_path, made.card)
    other = models.create("madry_mnist", image=(1, 8, 8), classes=4)
    with pytest.raises(BadInput, match=r"body\.9\.weight should be \(4, 1024\), is \(3, 1024\)"):
        models.restore(other, models.read_weights(tmp_path), tmp_path)
    with pytest.raises(BadInput, match="expected a checkpoint of resnet18"):
        models.load(tmp_path, architecture="resnet18")


DAMAGE = {
    "no card": lambda folder: (folder / "card.json").unlink(),
    "a damaged card": lambda folder: (folder / "card.json").write_text("{"),
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "cut weights": lambda folder: write(folder / "model.safetensors", b"\x10"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_said_in_one_line(tmp_path, damage):
    made = models.create("madry_mnist", image=(1, 8, 8), classes=3)
    models.save(made, tmp_path, made.card)
    DAMAGE[damage](tmp_path)
    with pytest.raises(BadInput, match="expected") as refusal:
        models.load(tmp_path)
    assert "\n" not in str(refusal.value)


BAD = {
    "did you mean 'resnet18'": lambda: models.create("resnet81", image=(1, 8, 8), classes=3),
    "at least 8x8": lambda: models.create("resnet18", image=(1, 4, 4), classes=3),
    "No module named": lambda: models.create("no_such:thing", image=(1, 8, 8), classes=3),
    "no attribute": lambda: models.create("small:thing", image=(1, 8, 8), classes=3),
    "to take image, classes, depth": lambda: models.create(
        OWN, image=(1, 8, 8), classes=3, depth=2
    ),
}


@pytest.mark.parametrize("said", BAD)
def test_what_cannot_be_built_is_refused(said):
    with pytest.raises(BadInput, match=said):
        BAD[said]()


def test_a_meter_counts_passes_of_each_image():
    meter = Metered(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)))
    x = torch.rand(5, 1, 2, 2, requires_grad=True)
    meter(x).sum().backward()
    with torch.no_grad():
        meter(x[:2])
    assert (meter.forward, meter.backward) == (7, 5)


def test_predictions_do_not_depend_on_the_chunk():
    made = models.create("gupta_cnn", image=(1, 8, 8), classes=3, seed=0)
    x = torch.rand(11, 1, 8, 8)
    torch.testing.assert_close(predict(made, x, 4), predict(made, x, 11))
    assert made.training


class Tied(nn.Module):
    """One layer under two names, and a buffer that looks into a weight."""

    view: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first = self.again = nn.Linear(4, 4)
        self.register_buffer("view", self.first.weight.detach()[0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.again(self.first(x.flatten(1)))


def test_weights_with_two_names_are_saved_and_averaged_once(tmp_path):
    model = Tied()
    card = models.Card(architecture="here:Tied", image=(1, 2, 2), classes=4)
    models.save(model, tmp_path, card)
    held = models.read_weights(tmp_path)
    assert torch.equal(held["first.weight"], held["again.weight"])
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.first.weight.zero_()
        model.first.weight.fill_(1.0)
    checkpoint.average(twin, model, 0.9, updates=1000)
    assert twin.first.weight.amin().item() == pytest.approx(0.1)
    assert twin.first.weight.amax().item() == pytest.approx(0.1)


def test_normalisation_is_numbers_for_each_channel_or_none():
    own: dict[str, Any] = {"image": (3, 8, 8), "classes": 2, "widths": (4,), "dense": 8}
    given: dict[str, Any] = {"mean": torch.rand(3).numpy(), "std": torch.ones(3)}
    made = models.create("gupta_cnn", **own, **given)
    assert made.card.std == (1.0, 1.0, 1.0) and isinstance(made.card.mean[0], float)
    for wrong in (
        {"mean": (0.5,), "std": (0.5,)}, {"std": (1, 1, 1)}, {"mean": "abc", "std": "abc"},
        {"mean": (0, 0, math.nan), "std": (1, 1, 1)}, {"classes": 0},
    ):  # fmt: skip
        with pytest.raises(BadInput, match="expected"):
            inspect.unwrap(models.create)("gupta_cnn", **own | wrong)


class Strict(nn.Sequential):
    """Looks at the layout of what it is given."""

    def forward(self, input):
        if not input.is_contiguous():
            raise ValueError("expected contiguous images")
        return super().forward(input)


def test_a_model_that_minds_its_layout_is_its_own_cheaper_form():
    model = Strict(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(144, 3)).eval()
    assert models.fast_form(model, torch.rand(4, 2, 8, 8)) is model


def test_an_attack_may_ask_a_metered_model_what_it_would_ask_the_model():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).train()
    metered = copy.deepcopy(Metered(model))
    metered.eval().zero_grad()
    assert not metered.training and len(list(metered.parameters())) == 2
    with pytest.raises(AttributeError):
        metered.nothing  # noqa: B018
