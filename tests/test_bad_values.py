"""What Python is given in the place of a value: words, numbers, classes, lists. One line each."""

import dataclasses
import functools
import inspect
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small import blobs, network

import holdfast as hf
from holdfast import attack, diagnosis, evaluation, feedback
from holdfast.attack import CW, DDN, PGD, Targeted
from holdfast.diagnosis.points import RandomPoints
from holdfast.errors import BadInput
from holdfast.feedback import Expected, Handover, PolicyGradient, Signed
from holdfast.loss import resolve_loss
from holdfast.margin import measures

DATA = blobs()
MODEL, NET = network(DATA), network(DATA).eval()
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
        ({"adversarial": "both"}, "'both'"),
        ({"guard": "stop"}, "'stop'"),
        ({"awp": 0.005}, "0.005"),
        ({"watch": 100}, "100"),
        ({"augment": True}, "True"),
    ],
)
def test_of_training(settings, got):
    said = f"expected {next(iter(settings))} as a value such as holdfast.*, got {got}"
    refused(hf.train, said, MODEL, DATA, epochs=1, **settings)


def lone(images):
    return images


def keyed(model, x, y, index, radius):
    return x


def test_of_functions_that_take_other_things():
    """Of torch's losses, attacks and directions that forget what they are handed, or ask for what
    nobody has."""
    loss = torch.nn.CrossEntropyLoss()
    said = r"expected objective to be called as \(model, batch, state\), got CrossEntropyLoss\(\)"
    refused(hf.train, said, MODEL, DATA, objective=loss, epochs=1)
    refused(hf.train, r"expected adversary .* got lone, which takes \(images\)", MODEL, DATA,
            adversary=lone)  # fmt: skip
    said = r"expected attacks\['mine'\] to be called as \(model, x, y\), got {}, which takes"
    for one in (lone, keyed):
        refused(hf.evaluate, said.format(one.__name__), MODEL, X, Y, attacks={"mine": one})
    said = r"expected directions to be called as \(model, x, y, index, seed\), got lone"
    refused(hf.margin.search, said, MODEL, X, Y, directions=lone)


class Both:
    """Called otherwise than its `forward` is, as attacks of torchattacks may be wrapped."""

    def __call__(self, model, x, y):
        return self.forward(x, y)

    def forward(self, images, labels):
        return images


def shortened(function):
    @functools.wraps(function)
    def inner(model, x, y):
        return function(model, x, y, 0.01)

    return inner


@shortened
def sized(model, x, y, size):
    return x


@pytest.mark.parametrize("one", [Both(), sized])
def test_what_an_object_says_of_its_forward_or_a_wrapper_of_its_origin_does_not_count(one):
    found = hf.evaluate(MODEL, X, Y, attacks={"one": one})
    assert found.attacks[0].accuracy == found.clean.accuracy


def test_of_an_evaluation_that_is_saved(tmp_path):
    found = hf.evaluate(MODEL, X, Y)
    for more in ({"y": Y[:2]}, {"y": Y, "index": torch.arange(3)}, {"y": Y.tolist()}):
        refused(evaluation.save, "expected (y|index) ", found, tmp_path / "run", **more)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("at", [0.5, None, ("a",), "0.5", [0.5, 0.2], [float("nan")]])
def test_of_steps(at):
    with pytest.raises(BadInput, match="rising shares of training"):
        made(hf.training.Steps, {"at": at})


def test_of_a_curve():
    def nothing(radius):
        return None

    few, curve = (MODEL, X, MODEL(X).argmax(1), [0.1]), evaluation.curve
    refused(curve, r"battery as a function of \(radius\), got \{'p'", *few, {"p": PGD(radius=0.05)})
    refused(curve, "expected attacks as a dictionary.*got None", *few, nothing)
    refused(curve, "a suite out of", MODEL, X, Y, [0], "typo")
    refused(curve, "a norm out of", MODEL, X, Y, [0.0], norm="l7")
    refused(curve, "expected radii .*got", MODEL, X, Y, "12")


def test_functions_that_take_what_they_are_handed_are_taken():
    def named(model, x, y, *, index, note=None):
        return x

    def anything(*inputs, **more):
        return inputs[1]

    found = hf.evaluate(MODEL, X, Y, attacks={"named": named, "anything": anything})
    assert [one.accuracy for one in found.attacks] == [found.clean.accuracy] * 2


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
    refused(
        hf.diagnose,
        "expected batch_size as a whole number of 1 or more, got -1",
        *few,
        batch_size=-1,
    )


def made(kind: Any, settings: dict[str, Any]) -> None:
    """As `kind(**settings)`, without the tests' own check of types."""
    one = object.__new__(kind)
    for field in dataclasses.fields(kind):
        make: Any = field.default_factory
        value = field.default if make is dataclasses.MISSING else make()
        object.__setattr__(one, field.name, value)
    for name, value in settings.items():
        object.__setattr__(one, name, value)
    inspect.unwrap(kind.__post_init__)(one)


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        (Expected, {"reward": "signed"}, "reward .* such as Signed.., got 'signed'"),
        (PolicyGradient, {"reward": Signed}, "reward .* such as Signed.., got <class"),
        (PolicyGradient, {"exploration": 0.1}, "exploration .* such as EpsilonGreedy.., got 0.1"),
        (Handover, {"first": "ce"}, "first .* such as CrossEntropy.., got 'ce'"),
        (hf.training.Watch, {"radius": -1}, "radius of 0 or more, got -1"),
        (hf.training.Watch, {"radius": "8/255"}, "radius as a number, got '8/255'"),
        (diagnosis.Depth, {"sample": -3}, "sample as a whole number of 1 or more, got -3"),
        (
            diagnosis.Depth,
            {"losses": ("ce", "hinge")},
            "loss out of ce, margin, dlr, reward; got .hinge.",
        ),
        (CW, {"steps": "10"}, "steps as a number, got '10'"),
        (CW, {"steps": 10.5}, "steps as a whole number, got 10.5"),
        (DDN, {"steps": "10"}, "steps as a number, got '10'"),
        (PGD, {"steps": None}, "steps as a number, got None"),
        (attack.BoundaryAttack, {"queries": 50.5}, "queries as a whole number, got 50.5"),
        (hf.margin.Traced, {"pilots": "8"}, "pilots as a number, got '8'"),
        (RandomPoints, {"points": 0}, "points of 1 or more, got 0"),
        (RandomPoints, {"radius": -1.0}, "radius of 0 or more, got -1.0"),
        (CW, {"searches": 0}, "searches of 1 or more, got 0"),
        (DDN, {"first": -1.0}, "first above 0, got -1.0"),
        (attack.BIM, {"radius": None}, "radius as a number, got None"),
        (attack.FAB, {"radius": "0.1"}, "radius as a number, got '0.1'"),
        (attack.Square, {"share": 2.0}, "share above 0 and at most 1, got 2.0"),
        (evaluation.Reference, {"radius": -1.0}, "radius of 0 or more, got -1.0"),
        (Targeted, {"attack": PGD(), "target": "worst"}, "least, most or a class, .* got 'worst'"),
        (Targeted, {"attack": PGD(), "target": 1.5}, "least, most or a class, .* got 1.5"),
    ],
)
def test_of_settings(kind, settings, said):
    refused(made, said, kind, settings)


def test_of_comparisons():
    found = hf.evaluate(MODEL, X, Y, attacks={"fgsm": hf.attack.FGSM(radius=0.1)})
    refused(evaluation.paired, "first as a value such as .*worst_case, got 'best'", "best", found)
    refused(
        evaluation.compare, "first as a value such as .*latest.*, got Evaluation of", found, found
    )
    for wrong in ("pgd", PGD):
        said = r"expected attacks\['p'\] as a value such as .*PGD\(radius"
        refused(hf.evaluate, said, MODEL, X, Y, attacks={"p": wrong})


def test_of_retraining():
    refused(hf.retrain, "expected retrain without resume", MODEL, DATA, resume=True)


def test_the_value_behind_a_word_is_named():
    refused(hf.train, r"holdfast.feedback.CrossEntropy\(\), got 'ce'", MODEL, DATA, objective="ce")
    refused(hf.train, r"holdfast.attack.MIM\(\), got 'mim'", MODEL, DATA, adversary="mim")


def test_of_a_search():
    said = r"expected directions as a value such as .*Orthonormal\(\), got 'coordinates'"
    refused(hf.margin.search, said, MODEL, X, Y, directions="coordinates")


def test_paths_may_be_words(tmp_path):
    found = hf.evaluate(MODEL, X, Y, attacks={"fgsm": hf.attack.FGSM(radius=0.1)})
    files = [
        evaluation.save(found, str(tmp_path), Y) for _ in range(2)
    ]  # fmt: skip
    assert evaluation.latest(str(tmp_path)) == files[1]
    assert set(evaluation.compare(*map(str, files))) == {"clean", "fgsm", "worst case"}


@pytest.mark.parametrize("look", [diagnosis.static, diagnosis.dynamic, diagnosis.entropy])
def test_indicators_on_their_own_check_what_they_are_given(look):
    x, y = X[:2], Y[:2]
    refused(look, r"expected pixels in \[0, 1\]", MODEL, 255 * x, y)
    refused(look, "expected batch_size as a whole number of 1 or more", MODEL, x, y, batch_size=0)
    if look is not diagnosis.entropy:
        refused(look, "expected radius of 0 or more", MODEL, x, y, radius=-1.0)
        refused(look, "expected a norm out of", MODEL, x, y, norm="Linf")


def test_what_an_adversary_returns_is_looked_at():
    train = functools.partial(refused, hf.train, epochs=1)
    train(r"expected the adversary's pixels in \[0, 1\], got 5", MODEL, DATA,
          adversary=lambda model, x, y: x + 5)  # fmt: skip
    train("expected the adversary to return images .* got", MODEL, DATA,
          adversary=lambda model, x, y: x.flatten(1))  # fmt: skip
    train("expected the adversary to return images .* got ndarray", MODEL, DATA,
          adversary=lambda model, x, y: x.numpy())  # fmt: skip


def test_a_loss_is_one_number_for_each_image():
    loss = torch.nn.CrossEntropyLoss()
    for kind in (attack.PGD, attack.APGD, attack.FGSM):
        refused(kind(radius=0.1, loss=loss), r"expected a loss of each image, \[\d\], got \[\]",
                MODEL, X, Y)  # fmt: skip
    refused(diagnosis.static, "expected a loss of each image", MODEL, X, Y, loss=loss)
    refused(made, "expected loss as a value", PGD, {"loss": torch.nn.CrossEntropyLoss})
    refused(resolve_loss, "expected loss as a value", 3)


def test_counts_are_whole_numbers():
    few = (MODEL, X, Y)
    refused(hf.evaluate, "batch_size as a whole number of 1 .* 10.0", *few, batch_size=10.0)
    refused(hf.evaluate, "batch_size as a number, got '10'", *few, batch_size="10")
    refused(hf.margin.search, "batch_size as a whole number", *few, batch_size=2.5)
    refused(hf.margin.search, "audit as a number, got 'a'", *few, audit="a")
    refused(diagnosis.landscape, "size as a whole number .* got 2.5", *few, size=2.5)
    refused(diagnosis.dynamic, "steps as a whole number of 1 or more, got 0", *few, steps=0)
    refused(hf.retrain, "rounds as a whole number .* got 1.5", MODEL, DATA, rounds=1.5)


def test_of_what_is_no_value_at_all():
    few = (MODEL, X, Y)
    refused(hf.margin.search, r"method as a value such as .*Traced\(\)", *few,
            method=hf.margin.Traced)  # fmt: skip
    refused(hf.margin.search, "expected clip as True or False, got 'no'", *few, clip="no")
    refused(hf.margin.search, "expected directions as a tensor, got NoneType", *few,
            directions=lambda model, x, y, index, seed: None)  # fmt: skip
    refused(diagnosis.landscape, r"attack as a value such as .*PGD\(\), got 'pgd'", *few,
            attack="pgd")  # fmt: skip
    refused(hf.retrain, "feedback as a value such as .*Boundary", MODEL, DATA, feedback="boundary")
    refused(hf.retrain, "data as a value such as .*load", MODEL, "digits")
    refused(hf.model.ensemble, "expected a list of models, got one Sequential",
            torch.nn.Sequential(MODEL, MODEL))  # fmt: skip
    refused(evaluation.paired, "expected first as flags", torch.rand(4), torch.rand(4))
    refused(hf.evaluate, "by names that can be printed, got 1", *few, attacks={1: PGD()})


def test_a_model_may_fail_in_any_way():
    def failing(x):
        raise IndexError("no such layer")

    refused(
        hf.evaluate,
        "expected a model that takes images .* got: IndexError: no such layer",
        failing,
        X,
        Y,
    )


def test_yes_and_no_are_no_words():
    refused(made, "expected best as True or False, got 'yes'", PGD, {"best": "yes"})


def test_settings_are_numbers_and_finite():
    nan = float("nan")
    refused(made, "entropy that is finite, got nan", PolicyGradient, {"entropy": nan})
    refused(made, "correct that is finite, got inf", Signed, {"correct": float("inf")})
    refused(made, "beta of 0 or more, got nan", feedback.Trades, {"beta": nan})
    made(feedback.PPO, {"clip": float("inf")})


def test_no_weight_is_narrower_than_the_checks():
    mixed = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LayerNorm(X[0].numel()),
                                torch.nn.Linear(X[0].numel(), 3).bfloat16())  # fmt: skip
    refused(hf.evaluate, "expected weights in float32 or float64, got torch.bfloat16", mixed, X, Y)


def test_a_position_is_none_from_the_end():
    targets = Targeted(attack=PGD(), target=torch.arange(10) % 2)
    index = torch.tensor([-1, 0, 1, 2])
    refused(targets, "expected positions of 0 or more, got -1", MODEL, X, Y, index)


def test_of_arrays():
    pair = (X, Y)
    refused(hf.data.from_arrays, r"train as a pair of arrays \(images, labels\), got Tensor",
            train=X, test=pair)  # fmt: skip
    refused(hf.data.from_arrays, "class_names as a list of names, .* got 10", train=pair,
            test=pair, class_names=10)  # fmt: skip
    refused(hf.data.from_arrays, "class_names as a list of names, .* got 'ab'", train=pair,
            test=pair, class_names="ab")  # fmt: skip


def test_of_a_claim():
    refused(hf.diagnose, "expected claim as a value such as .*PGD", MODEL, X, Y, claim="mim")


def test_of_new_models():
    said = r"expected image as whole numbers \(channel, height, width\), got "
    for image in (8, (1, 8.5, 8), (1, "8", 8), (1, 0, 8), (), (1, 8)):
        refused(hf.model.create, said, "gupta_cnn", image=image, classes=10)
    refused(hf.model.create, "classes as a number, got '10'", "gupta_cnn", image=(1, 8, 8),
            classes="10")  # fmt: skip
    refused(hf.model.create, "classes as a whole number", "gupta_cnn", image=(1, 8, 8),
            classes=2.5)  # fmt: skip


def test_of_margins():
    found = hf.margin.search(MODEL, X, Y, step=0.1, directions=hf.margin.Orthonormal(count=2))
    refused(hf.margin.Margins.interval, "measure as a function of", found,
            "robustness")  # fmt: skip
    refused(measures.bootstrap, "expected samples", *found.parts, found.origin,
            hf.margin.robustness, samples=0)  # fmt: skip
    for kind in (hf.margin.Orthonormal, hf.margin.LowFrequency, hf.margin.Gradient):
        refused(made, "expected count", kind, {"count": 2.5})
        refused(made, "expected count as a whole number of 1 or more", kind, {"count": 0})


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (torch.ones(2), "to depend on the weights, got some without gradient"),
        (torch.ones(2, dtype=torch.bool), r"floats \(2,\), and a state; got torch.bool of shape"),
    ],
)
def test_of_losses(loss, said):
    refused(hf.train, said, MODEL, DATA, objective=lambda m, b, s: (loss, s), epochs=1)


@pytest.mark.parametrize("seed", [2**63, -1])
def test_of_seeds(seed):
    """Nowhere does one overflow: 2**70 did in the noise, torch's generators and numpy's."""
    said = r"expected a seed from 0 to 2\*\*63 - 1, got "
    data = {"model": MODEL, "x": X, "y": Y}
    for door in (
        functools.partial(hf.evaluate, radius=0.1),
        functools.partial(hf.margin.search, step=0.1),
        functools.partial(hf.diagnose, radius=0.1, depth=diagnosis.QUICK),
        functools.partial(diagnosis.static, radius=0.1),
        functools.partial(diagnosis.landscape, radius=0.1),
    ):
        refused(door, said, **data, seed=seed)
    refused(hf.model.create, said, "gupta_cnn", image=(1, 8, 8), classes=3, seed=seed)
    refused(attack.PGD(seed=seed), said, MODEL, X, Y)


def test_of_losses_of_other_things():
    """A loss of logits and labels takes three things too."""
    said = r"expected an objective for \(model, batch, state\), got: TypeError: cross_entropy_loss"
    refused(hf.train, said, MODEL, DATA, objective=torch.nn.functional.cross_entropy, epochs=1)


def test_of_checkpoints(tmp_path):
    hf.train(network(DATA), DATA, epochs=1, watch=hf.training.Watch(images=6), out=tmp_path / "run")
    refused(hf.model.load, "got no card.json in .*; name .*best", tmp_path / "run")
    torch.save(MODEL.state_dict(), tmp_path / "weights.pt")
    refused(hf.model.load, "got the file .*weights.pt; .*load_state_dict", tmp_path / "weights.pt")


def _in_place(logits, y):
    logits.sub_(1e6 * F.one_hot(y, logits.shape[1]))
    found = logits.logsumexp(1)
    y.add_(1)
    return found


def _out_of_place(logits, y):
    return (logits - 1e6 * F.one_hot(y, logits.shape[1])).logsumexp(1)


@pytest.mark.parametrize("kind", [PGD, attack.APGD, attack.FGSM, attack.MIM])
def test_a_loss_that_changes_what_it_is_given_is_climbed_like_another(kind):
    y = NET(X).argmax(1)
    found = [
        hf.evaluate(NET, X, y, attacks={"it": kind(radius=0.3, loss=loss)}, radius=0.3)
        for loss in (_in_place, _out_of_place)
    ]
    assert torch.equal(*(one.worst_case.correct for one in found))
    assert found[0].worst_case.accuracy < 1


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (lambda logits, y: logits.argmax(1) != y, "a loss in floating point, got torch.bool"),
        (lambda logits, y: logits.sum(1).to(torch.cfloat), "floating point, got torch.complex64"),
        (lambda logits, y: logits.detach().amax(1), "depends on the logits, .*; leave out detach"),
        (lambda logits, y: torch.rand(len(y)), "depends on the logits, got one without gradient"),
    ],
)
def test_of_losses_that_nothing_can_climb(loss, said):
    refused(hf.evaluate, said, NET, X, Y, attacks={"it": PGD(radius=0.3, loss=loss)}, radius=0.3)


def _never_a_number(logits, y):
    return F.cross_entropy(logits, y, reduction="none") * torch.nan


@pytest.mark.parametrize(("loss", "warned"), [(_never_a_number, True), (_out_of_place, False)])
def test_a_loss_that_is_no_number_is_a_finding(loss, warned):
    attacks = {"it": PGD(radius=0.3, loss=loss)}
    found = hf.evaluate(NET, X, NET(X).argmax(1), attacks=attacks, radius=0.3)
    said = {one.name: one.meaning for one in found.findings}
    assert ("loss without gradient" in said) == warned
    assert not warned or "_never_a_number" in said["loss without gradient"]


def test_a_model_may_give_the_same_memory_again():
    held = torch.empty(len(X), NET(X[:1]).shape[1])

    def reusing(x):
        with torch.no_grad():
            return held[: len(x)].copy_(NET(x))

    for model in (NET, reusing):
        found = hf.evaluate(model, X, NET(X).argmax(1), attacks={"it": sized}, batch_size=2)
        assert found.clean.accuracy == 1
    searched = [hf.margin.search(m, X, Y, step=0.1, batch_size=2) for m in (NET, reusing)]
    assert torch.equal(*(one.step for one in searched))


def test_of_models_that_write_or_are_complex():
    said = "a model that leaves its images as they are"
    refused(hf.evaluate, said, lambda x: NET(x.mul_(1)), X, Y)
    refused(hf.evaluate, "logits that are real", lambda x: NET(x).to(torch.cfloat), X, Y)


def test_of_truths_for_numbers():
    refused(hf.evaluate, "batch_size as a number, got True", NET, X, Y, batch_size=True)
    refused(hf.evaluate, "a seed from 0 .* got True", NET, X, Y, seed=True)
    assert hf.evaluate(NET, X, Y, attacks={"it": sized}, batch_size=2**64)
    wrong = {"image": (1, 8, 8), "classes": 3, "mean": (0.5,), "std": (-1.0,)}
    refused(hf.model.create, "std of 0 or more", "gupta_cnn", **wrong)
