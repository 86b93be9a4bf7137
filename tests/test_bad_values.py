"""What Python is given in the place of a value: words, numbers, classes, lists. One line each."""

import inspect
from typing import Any

import pytest
import torch
from small import blobs, network

import holdfast as hf
from holdfast import evaluation
from holdfast.errors import BadInput
from holdfast.feedback import PolicyGradient

DATA = blobs()
MODEL = network(DATA)
X, Y = DATA.test.x[:4], DATA.test.y[:4]


def refused(function: Any, said: str, *given: Any, **settings: Any) -> None:
    """Called without the tests' own check of types."""
    with pytest.raises(BadInput, match=said) as caught:
        inspect.unwrap(function)(*given, **settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "got"),
    [
        ({"optimizer": 0.01}, "0.01"),
        ({"objective": "reward"}, "'reward'"),
        ({"objective": PolicyGradient}, "<class"),
        ({"schedule": None}, "None"),
        ({"adversary": 0.1}, "0.1"),
    ],
)
def test_of_training(settings, got):
    said = f"expected {next(iter(settings))} as a value such as holdfast.*, got {got}"
    refused(hf.train, said, MODEL, DATA, epochs=1, **settings)


def test_of_data():
    refused(hf.train, r"expected data as a value such as holdfast.*, got 'digits'", MODEL, "digits")
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, Y))
    refused(hf.train, "expected data as a value such as .*from_arrays.*, got <", MODEL, loader)


def test_of_an_evaluation():
    refused(hf.evaluate, r"expected suite as a name out of quick.*attacks=\{name", MODEL, X, Y, [1])


def test_of_a_diagnosis():
    few = (MODEL, X, Y)
    refused(
        hf.diagnose, "expected depth as a value such as .*QUICK, got 'quick'", *few, depth="quick"
    )
    refused(hf.diagnose, "expected twin as a value such as .*, got 'runs/a'", *few, twin="runs/a")
    refused(hf.diagnose, "expected a batch_size of 1 or more, got -1", *few, batch_size=-1)


def test_of_a_search():
    said = r"expected directions as a value such as .*Orthonormal\(\), got 'coordinates'"
    refused(hf.margin.search, said, MODEL, X, Y, directions="coordinates")


def test_paths_may_be_words(tmp_path):
    found = hf.evaluate(MODEL, X, Y, attacks={"fgsm": hf.attack.FGSM(radius=0.1)})
    files = [
        evaluation.save(found, str(tmp_path), torch.arange(4), Y, {}) for _ in range(2)
    ]  # fmt: skip
    assert evaluation.latest(str(tmp_path)) == files[1]
    assert set(evaluation.compare(*map(str, files))) == {"clean", "fgsm", "worst case"}
