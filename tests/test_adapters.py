"""Attacks of other libraries, by the lines that docs/attacks.md gives."""

import copy
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from worlds import World, linear_world

import holdfast as hf
from holdfast.errors import BadInput
from holdfast.model import Metered

PAGE = Path(__file__).parents[1] / "docs" / "attacks.md"
RADIUS = 0.005
LIBRARIES = ["foolbox", "torchattacks", "art"]


def adapter(library: str) -> Callable[..., Tensor]:
    """The function that the page defines for a library, with the budget of these tests."""
    section = (
        PAGE.read_text().split("## Your own, and those of other libraries")[1].split("\n## ")[0]
    )
    blocks = re.findall(r"(?:^    .+\n)+", section, flags=re.MULTILINE)
    block = next(block for block in blocks if f"def {library}_pgd" in block)
    names = {"hf": hf, "torch": torch, "radius": RADIUS, "classes": 2}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(library)
        exec(re.sub("^    ", "", block, flags=re.MULTILINE), names)
    return names[f"{library}_pgd"]


@pytest.fixture
def world() -> World:
    found = linear_world()
    return World(found.model.float(), found.x.float(), found.y, found.margin)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("library", LIBRARIES)
def test_the_adapter_on_the_page_finds_what_there_is_to_find(library, world):
    attack = adapter(library)
    before = copy.deepcopy(world.model.train())
    found = hf.evaluate(world.model, world.x, world.y, attacks={library: attack}, radius=RADIUS)
    result = found.attacks[0]
    assert result.refused == 0
    assert torch.equal(result.correct, world.margin["linf"] > RADIUS)
    assert 0.2 < result.accuracy < 0.8
    assert result.forward >= result.backward == 40 * len(world.x)
    assert all(module.training for module in world.model.modules())
    for weight, kept in zip(world.model.parameters(), before.parameters(), strict=True):
        assert weight.grad is None and weight.requires_grad and torch.equal(weight, kept)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("library", LIBRARIES)
def test_what_goes_beyond_the_budget_is_refused(library, world):
    attack = adapter(library)
    found = hf.evaluate(world.model, world.x, world.y, attacks={library: attack}, radius=RADIUS / 2)
    assert found.attacks[0].refused == len(world.x)
    assert found.attacks[0].accuracy == 1


@pytest.mark.parametrize("metered", [True, False])
def test_a_model_as_a_module_asks_the_model_and_shows_its_weights(metered):
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    meter = Metered(network)
    module = hf.model.AsModule(meter if metered else network)
    x = torch.rand(3, 1, 2, 2)
    assert torch.equal(module(x), network(x))
    assert meter.forward == 3 * metered
    assert not module.training and network.training
    assert [*module.parameters()] == [*network.parameters()]
    assert torch.equal(hf.model.AsModule(lambda x: x.flatten(1))(x), x.flatten(1))


@pytest.mark.filterwarnings("ignore")
def test_an_attack_of_torchattacks_without_the_adapter_is_one_line(world):
    raw: Any = pytest.importorskip("torchattacks").PGD(world.model)
    with pytest.raises(BadInput, match=r"to be called as .*wrap it in a function"):
        hf.evaluate(world.model, world.x, world.y, attacks={"raw": raw}, radius=RADIUS)


class Quantised(torch.autograd.Function):
    """A quantiser whose gradient is none, in a function that nothing looks into."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return (x * 8).round() / 8

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        return torch.zeros_like(grad_outputs[0])


def test_bpda_and_eot_as_the_page_has_them_find_what_there_is():
    section = PAGE.read_text().split("## A defence of your own")[1].split("\n## ")[0]
    (block,) = re.findall(r"(?:^    .+\n)+", section, flags=re.MULTILINE)
    world = linear_world(count=40, side=4)
    network, x = world.model.float(), world.x.float()
    names: dict[str, Any] = {
        "hf": hf, "network": network, "quantised": Quantised.apply, "x": x, "radius": 0.1,
        "y": network(Quantised.apply(x)).argmax(1),
        "defended": lambda x: network(Quantised.apply(x)),
    }  # fmt: skip
    exec(re.sub("^    ", "", block, flags=re.MULTILINE), names)
    blind, seeing = (names["found"][name].accuracy for name in ("eot", "bpda"))
    assert seeing < blind - 0.2, "averaging finds no gradient where there is none"


def test_the_tables_name_the_classes():
    pages = PAGE.read_text() + (PAGE.parent / "objectives.md").read_text()
    for table in (hf.attack.ATTACKS, hf.feedback.OBJECTIVES, hf.feedback.REWARDS):
        for name, kind in table.items():
            assert f"| `{name}`, `{kind.__name__}` |" in pages
