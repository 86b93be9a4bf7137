"""The cheaper form of a model: the same logits and gradients, or the model itself."""

import copy
import sys

import pytest
import torch
from torch import Tensor, fx, nn

from holdfast import evaluation
from holdfast.model import Metered, fast_form, layers, predict
from holdfast.model.fast import fold_batch_norm


class Body(nn.Module):
    """A convolution with batch normalisation that has seen something, and what a test adds."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.front = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
            self.head = nn.Linear(4 * 36, 3)
            self.front(torch.rand(8, 3, 8, 8))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.front(x).flatten(1))


class Noisy(Body):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + 0.1 * torch.randn(x.shape))  # which tracing would freeze


class Masked(Body):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():  # which tracing would lose
            low = x / 2
        return super().forward(x / 2 + low)


class Viewed(Body):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.front(x).view(x.size(0), -1))


class Alone(Body):
    def __deepcopy__(self, memo: object) -> "Alone":
        raise TypeError("one of a kind")


class Broken(Body):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / 0


X = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def norms(model: nn.Module) -> int:
    return sum(isinstance(part, nn.BatchNorm2d) for part in model.modules())


def slope(model: nn.Module, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(model(x)[:, 0].sum(), x)[0]


@pytest.mark.parametrize("kind", [Body, Viewed])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_cheaper_form_says_the_same_without_batch_normalisation(kind, dtype):
    model = kind().to(dtype)
    before = copy.deepcopy(model.state_dict())
    form = fast_form(model, X.to(dtype))
    assert isinstance(form, nn.Module) and norms(form) == 0 and norms(model) == 1
    torch.testing.assert_close(predict(form, X.to(dtype)), predict(model, X.to(dtype)))
    torch.testing.assert_close(slope(form, X.to(dtype)), slope(model, X.to(dtype)))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(weight.requires_grad and weight.grad is None for weight in model.parameters())
    assert model.front[0].weight.is_contiguous()


@pytest.mark.parametrize("kind", [Noisy, Masked, Alone, Broken])
def test_what_it_would_change_stays_as_it_is(kind):
    model = kind()
    assert fast_form(model, X) is model


def test_nothing_to_gain_is_nothing_done():
    dense = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    assert fast_form(dense, X) is dense
    assert fast_form(dense.forward, X) == dense.forward


def test_an_evaluation_asks_the_cheaper_form_and_judges_by_the_model(monkeypatch):
    """A form that lies fools the attack, not the judge."""
    model = Body()
    y = predict(model, X).argmax(1)
    asked = []

    def spying(itself: nn.Module, x: Tensor) -> nn.Module:
        asked.append(itself)
        return Upside(itself)

    monkeypatch.setattr(sys.modules["holdfast.evaluation.evaluate"], "fast_form", spying)
    found = evaluation.evaluate(model, X, y, attacks={"same": lambda model, x, y: told(model, x)})
    assert asked == [model] and found.attacks[0].accuracy == 1


class Upside(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return -self.body(x)


def told(model: object, x: Tensor) -> Tensor:
    """The images as they are, after a look at a model that is upside down."""
    assert isinstance(model, Metered) and isinstance(model.model, Upside)
    return x


@pytest.mark.parametrize("chunk", [1, 2**24])
@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": 3},
        {"kernel_size": (5, 3), "padding": (2, 1), "bias": False},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 2, "stride": (3, 2), "dilation": (2, 3), "padding": 2},
    ],
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_thin_convolution_has_the_gradient_of_any(monkeypatch, settings, layout, chunk):
    monkeypatch.setattr(layers, "NUMBERS", chunk)
    conv = nn.Conv2d(2, 16, **settings, dtype=torch.float64)
    model = layers.with_fast_layers(nn.Sequential(copy.deepcopy(conv)))
    assert type(model.get_submodule("0")) is layers.Thin
    x = torch.rand(5, 2, 11, 9, dtype=torch.float64).contiguous(memory_format=layout)
    answers = []
    for form in (conv, model):
        at = x.clone().requires_grad_()
        out = form(at)
        answers.append((out, *torch.autograd.grad(out.sin().sum(), at)))
    torch.testing.assert_close(*answers, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 16, 3),
        nn.Conv2d(2, 16, 1),
        nn.Conv2d(2, 16, 3, groups=2),
        nn.Conv2d(2, 16, 3, padding="same"),
        nn.Conv2d(2, 16, 3, padding=1, padding_mode="circular"),
        nn.ConvTranspose2d(2, 16, 3),
    ],
    ids=str,
)
def test_other_convolutions_stay(conv):
    assert layers.with_fast_layers(nn.Sequential(conv)).get_submodule("0") is conv


def test_attacks_are_given_thin_convolutions_and_the_model_keeps_its_own():
    body = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 3))
    form = fast_form(body, torch.rand(4, 1, 8, 8))
    assert isinstance(form, nn.Module)
    assert any(isinstance(part, layers.Thin) for part in form.modules())
    assert type(body[0]) is nn.Conv2d


@pytest.mark.parametrize("shape", [(0,), (1,), (5,), (3, 4)], ids=str)
@pytest.mark.parametrize("bias", [False, True])
def test_a_dense_layer_has_the_answers_and_gradients_of_any(shape, bias):
    linear = nn.Linear(512, 128, bias=bias)
    form = layers.with_fast_layers(nn.Sequential(copy.deepcopy(linear))).get_submodule("0")
    assert type(form) is layers.Dense
    x, answers = torch.rand(*shape, 512) - 0.5, []
    for layer in (linear, form):
        at = x.clone().requires_grad_()
        out = layer(at)
        (first,) = torch.autograd.grad(out.sin().sum(), at, create_graph=True)
        answers.append((out, first, *torch.autograd.grad(first.square().sum(), at)))
    torch.testing.assert_close(*answers, rtol=1e-5, atol=1e-5)


def test_a_dense_layer_works_under_autocast():
    form = layers.Dense(nn.Linear(512, 128))
    with torch.autocast("cpu", torch.bfloat16):
        for dtype in (torch.bfloat16, torch.float32):
            assert form(torch.rand(2, 512, dtype=dtype)).dtype == torch.bfloat16


@pytest.mark.parametrize(
    "linear", [nn.Linear(64, 64), nn.Linear(512, 128, dtype=torch.float64), nn.Bilinear(64, 64, 64)]
)
def test_small_layers_and_those_of_other_precision_stay(linear):
    assert layers.with_fast_layers(nn.Sequential(linear)).get_submodule("0") is linear


def test_a_network_of_dense_layers_alone_has_a_cheaper_form_in_its_own_layout():
    body = nn.Sequential(nn.Flatten(), nn.Linear(192, 512), nn.ReLU(), nn.Linear(512, 3)).eval()
    form = fast_form(body, X)
    assert isinstance(form, fx.GraphModule)
    assert [type(part) for part in form.children()][1::2] == [layers.Dense, nn.Linear]
    assert type(body[1]) is nn.Linear


@pytest.mark.parametrize("inplace", [False, True])
def test_pooling_before_the_rectifier_is_the_same_to_the_bit(inplace):
    relu = nn.ReLU(inplace=inplace)  # one module in two places
    body = nn.Sequential(
        nn.Conv2d(1, 4, 3), relu, nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True),
        nn.Conv2d(4, 4, 1), relu, nn.Flatten(), nn.Linear(4 * 16, 3),
    )  # fmt: skip
    form = fold_batch_norm(body.eval())
    assert isinstance(form, fx.GraphModule)
    kinds = [type(part) for name, part in form.named_children() if name in "012"]
    order = [str(node.target) for node in form.graph.nodes if node.op == "call_module"]
    assert kinds == [nn.Conv2d, nn.ReLU, nn.MaxPool2d] and order.index("2") < order.index("1")
    x = torch.rand(5, 1, 9, 9).mul(3).round() - 1  # with ties, and windows below zero
    answers = []
    for model in (body, form):
        at = x.clone().requires_grad_()
        out = model(at)
        answers.append((out, *torch.autograd.grad(out.sin().sum(), at)))
    assert all(torch.equal(*pair) for pair in zip(*answers, strict=True))


def test_where_rounding_decides_float64_tells_whether_the_form_is_the_same(monkeypatch):
    module = sys.modules["holdfast.model.fast"]
    asked = module._asked

    def rough(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        logits, slopes = asked(model, x)
        rough = x.dtype == torch.float32 and model is not body
        return logits, slopes + 0.01 * slopes.abs().max() if rough else slopes

    monkeypatch.setattr(module, "_asked", rough)
    body = Body()
    assert fast_form(body, X) is not body
    other = copy.deepcopy(body)
    with torch.no_grad():
        other.get_parameter("front.1.weight").mul_(1.01)
    assert (
        module._checked_form(body, lambda one: fold_batch_norm(other).to(one.head.weight), X)
        is None
    )
    late = lambda model: fold_batch_norm(body if model is body else other.double())  # noqa: E731
    assert module._checked_form(body, late, X) is None, "float64 is asked where float32 is in doubt"


def test_the_same_gradient_is_not_enough():
    body = Body()
    other = copy.deepcopy(body)
    other.head.bias.data += 1
    assert (
        sys.modules["holdfast.model.fast"]._checked_form(body, lambda _: fold_batch_norm(other), X)
        is None
    )


class LastPool(nn.Module):
    """`MaxPool2d(2)`, but of equal numbers the last has the gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.max_pool2d(x.flip(2, 3), 2).flip(2, 3)


def test_areas_of_one_value_do_not_cost_the_cheaper_form():
    """There the largest of a pool is one of several, and which of them is for rounding to say."""
    module = sys.modules["holdfast.model.fast"]
    torch.manual_seed(0)
    front, head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8 * 64, 10)
    body, other = (
        nn.Sequential(front, pool, nn.Flatten(), head).eval()
        for pool in (nn.MaxPool2d(2), LastPool())
    )
    x = torch.full((4, 3, 16, 16), 0.8)
    assert not torch.allclose(slope(body, x), slope(other, x))
    assert module._checked_form(body, lambda _: other, x) is other


class Coin(nn.Module):
    """Two networks, one of which answers: tracing would keep the one that answered then."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = Body(), Body()
        nn.init.zeros_(self.other.head.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.one(x) if torch.rand(()).item() < 0.5 else self.other(x)


def test_a_model_that_goes_another_way_by_chance_has_no_cheaper_form():
    coin, x = Coin().eval(), torch.rand(4, 3, 8, 8)
    assert all(fast_form(coin, x) is coin for _ in range(20))
    assert fast_form(Body(), x) is not coin


class Twice(nn.Module):
    """A convolution that is called twice, each time before another normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(48, 4)
        self.one, self.other = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.head(self.other(self.conv(self.one(self.conv(x)))).flatten(1))


class InPlace(nn.Module):
    """A rectifier that changes what another layer sees too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(inplace=True)
        self.pool, self.wide, self.narrow = nn.MaxPool2d(2), nn.Linear(128, 4), nn.Linear(32, 4)

    def forward(self, x):
        z = self.conv(x)
        pooled = self.pool(self.relu(z))
        return self.narrow(pooled.flatten(1)) + self.wide(z.flatten(1))


@pytest.mark.parametrize("kind", [Twice, InPlace])
def test_what_two_see_is_not_folded_for_one(kind):
    torch.manual_seed(0)
    model, x = kind().eval(), torch.rand(4, 3, 4, 4)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.weight.data.uniform_(0.5, 2)
            part.bias.data.uniform_(-1, 1)
    torch.testing.assert_close(fold_batch_norm(model)(x), model(x))


class Forked(nn.Module):
    """A layer of two inputs in front of another."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2)
        self.both, self.head = nn.Bilinear(32, 32, 4), nn.Linear(4, 3)

    def forward(self, x):
        z = self.norm(self.conv(x)).flatten(1)
        return self.head(self.both(z, 2 * z))


def test_a_layer_of_two_inputs_is_no_obstacle():
    model, x = Forked().eval(), torch.rand(3, 1, 4, 4)
    form = fold_batch_norm(model)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in form.modules())
    torch.testing.assert_close(form(x), model(x))
