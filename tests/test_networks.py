"""Every architecture: its size, its published count of weights, gradients, and what it refuses."""

import json
import sys
import warnings
from typing import Any

import pytest
import torch
from small import NARROW, blobs, network
from torch import nn
from torch.nn import functional as F

from holdfast import model as models
from holdfast.cli import main
from holdfast.errors import BadInput
from holdfast.model.networks import residual
from holdfast.model.networks.dropout import Dropout
from holdfast.training import AdamW, Watch, train


def narrow(name: str, image: tuple[int, int, int], classes: int = 4) -> models.Network:
    return models.create(name, image=image, classes=classes, seed=0, **NARROW.get(name, {}))


@pytest.mark.parametrize("name", sorted(models.NETWORKS))
@pytest.mark.parametrize("image", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 17, 23)])
@pytest.mark.parametrize("classes", [2, 10])
def test_every_network_sizes_itself_to_the_image(name, image, classes):
    assert narrow(name, image, classes).eval()(torch.rand(3, *image)).shape == (3, classes)


@pytest.mark.parametrize("name", sorted(models.NETWORKS))
def test_a_gradient_reaches_every_pixel(name):
    x = torch.rand(2, 3, 16, 16, requires_grad=True)
    (gradient,) = torch.autograd.grad(narrow(name, (3, 16, 16)).eval()(x)[:, 0].sum(), x)
    assert gradient.isfinite().all() and (gradient != 0).double().mean() > 0.9


def test_the_maximum_before_the_rectifier_is_that_after_it():
    ours = models.create("madry_mnist", image=(1, 12, 12), classes=4, seed=0)
    usual = nn.Sequential(
        nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(576, 1024), nn.ReLU(), nn.Linear(1024, 4),
    )  # fmt: skip
    usual.load_state_dict({k.removeprefix("body."): v for k, v in ours.state_dict().items()})
    x = torch.rand(5, 1, 12, 12)
    for one, other in zip(*(_logits_and_gradients(m, x) for m in (ours, usual)), strict=True):
        torch.testing.assert_close(one, other)


def _logits_and_gradients(model: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    x = x.clone().requires_grad_()
    logits = model(x)
    weighed = (logits * torch.arange(4.0)).sum()
    return [logits, *torch.autograd.grad(weighed, [x, *model.parameters()])]


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_leaves_the_mean_as_it_was(rate, layout, dtype):
    x = torch.ones(40, 7, 31, 29, dtype=dtype).contiguous(memory_format=layout).requires_grad_()
    torch.manual_seed(3)
    out = Dropout(rate)(x)
    gone = out == 0
    spread = (rate * (1 - rate) / x.numel()) ** 0.5
    assert abs(gone.double().mean() - rate) < 4 * spread + 2**-17
    assert abs(gone.double().mean((0, 2, 3)) - rate).max() < 5 * spread * 7**0.5  # by channel
    assert out[~gone].unique().tolist() == pytest.approx([1 / (1 - rate)], rel=2**-8)
    assert out.dtype == dtype and out.is_contiguous(memory_format=layout)
    (slope,) = torch.autograd.grad(out.sum(), x)
    assert torch.equal(slope, out)
    torch.manual_seed(3)
    assert torch.equal(Dropout(rate)(x), out)
    assert torch.equal(Dropout(rate).eval()(x), x)


@pytest.mark.parametrize(("rate", "left"), [(0.0, 1.0), (1e-9, 1.0), (1.0, 0.0)])
def test_dropout_of_nothing_and_of_all(rate, left):
    assert Dropout(rate)(torch.ones(100)).mean() == left


def test_a_view_of_other_numbers_is_dropped_out_alone():
    whole = torch.ones(60, 80, 10)
    out = Dropout(0.5)(whole[:, ::2].transpose(0, 2))
    assert out.shape == (10, 40, 60) and set(out.unique().tolist()) == {0, 2}
    for axes in ((0, 1), (0, 2), (1, 2)):
        assert (out.mean(axes) - 1).abs().max() < 0.4
    for axis in range(3):
        assert not torch.equal(*out.unbind(axis)[:2]), "no bits come twice"
    within = torch.ones(100)
    assert Dropout(0.5, inplace=True)(within) is within and (within == 0).any()


ZOU_CNN6 = (
    12_936 + 540_800 + 1_049_088 + 1_048_704 + 2 * 262_272  # convolutions
    + 2 * (264 + 128 + 512 + 128 + 128 + 128 + 256)  # gains and offsets of the normalisations
    + 524_544 + 2_570  # dense
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "options", "image", "count"),
    [
        ("madry_mnist", {}, (1, 28, 28), 832 + 51_264 + 3_212_288 + 10_250),
        ("gupta_cnn", {}, (3, 32, 32), 896 + 9_248 + 18_496 + 36_928 + 2_097_664 + 5_130 + 20),
        # published to three or four digits: 3.71 M, 2.35 M, 11.17 M (twice), 46.16 M, 36.48 M
        ("zou_cnn6", {}, (3, 32, 32), ZOU_CNN6),
        ("zou_cnn4", {}, (3, 32, 32), 2_349_258),
        ("resnet18", {}, (3, 32, 32), 11_173_962),
        ("preact_resnet18", {}, (3, 32, 32), 11_172_170),
        ("wide_resnet", {}, (3, 32, 32), 46_160_474),
        ("wide_resnet", {"depth": 28}, (3, 32, 32), 36_479_194),
    ],
)
def test_networks_have_the_known_number_of_weights(name, options, image, count):
    made = models.create(name, image=image, classes=10, **options)
    assert sum(weight.numel() for weight in made.parameters()) == count


def test_zou_cnn6_has_its_published_size():
    assert round(ZOU_CNN6 / 1e6, 2) == 3.71


def test_the_logits_of_the_gupta_cnn_are_normalised_before_the_softmax():
    made = models.create("gupta_cnn", image=(1, 8, 8), classes=10, seed=0).eval()
    logits = made(torch.rand(5, 1, 8, 8))
    torch.testing.assert_close(logits.mean(1), torch.zeros(5), atol=1e-5, rtol=0)
    bare = models.create("gupta_cnn", image=(1, 8, 8), classes=10, seed=0, logit_norm=False).eval()
    assert bare(torch.rand(5, 1, 8, 8)).mean(1).abs().max() > 1e-4


def test_the_even_kernels_of_zou_cnn6_are_padded_as_torch_pads_same():
    body = models.create("zou_cnn6", image=(3, 9, 12), classes=3, seed=0).body
    assert isinstance(body, models.ZouCNN6)
    x, convolution = torch.rand(2, 3, 9, 12), body[1]
    assert isinstance(convolution, torch.nn.Conv2d)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the one that our own padding avoids
        want = F.conv2d(x, convolution.weight, convolution.bias, padding="same")
    torch.testing.assert_close(convolution(body[0](x)), want)


def test_nothing_follows_the_shortcut_of_a_preactivated_block():
    block = residual.PreActBlock(4, 4, 1).eval()
    torch.nn.init.zeros_(block.conv2.weight)
    x = torch.randn(2, 4, 8, 8)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize(("dropout", "same"), [(0.0, True), (0.3, False)])
def test_the_dropout_of_a_wide_network_is_an_option(dropout, same):
    made = models.create(
        "wide_resnet", image=(1, 8, 8), classes=3, seed=0, depth=10, width=1, dropout=dropout
    )
    x = torch.rand(4, 1, 8, 8)
    assert torch.equal(made(x), made(x)) is same


LIBRARY: list[tuple[str, dict[str, Any]]] = [
    ("torchvision:resnet18", {}),
    ("torchvision:squeezenet1_1", {"dropout": 0.1}),
    ("timm:test_vit", {"patch_size": 8, "drop_path_rate": 0.1}),
    ("timm:test_resnet", {}),
]


def offered(name: str, image: tuple[int, int, int] = (3, 32, 32), **options: Any) -> models.Network:
    """A network of a library; the test is skipped, with the reason, where that is not there."""
    try:
        models.function(name)
    except BadInput as error:
        if "pip install" in str(error):
            pytest.skip(str(error))
    return models.create(name, image=image, classes=4, seed=0, **options)


@pytest.mark.parametrize(("name", "options"), LIBRARY)
@pytest.mark.parametrize("image", [(1, 32, 32), (3, 32, 32), (3, 64, 64)])
def test_networks_of_libraries_take_grey_and_colour_images(name, options, image):
    made = offered(name, image, **options)
    assert all(module.training for module in made.modules())
    x = torch.rand(2, *image, requires_grad=True)
    logits = made.eval()(x)
    assert logits.shape == (2, 4)
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), x)
    assert gradient.isfinite().all() and (gradient != 0).double().mean() > 0.9


@pytest.mark.parametrize(("name", "options"), LIBRARY)
def test_a_card_alone_rebuilds_a_network_of_a_library(tmp_path, name, options):
    made = offered(name, (1, 32, 32), **options)
    x = torch.rand(6, 1, 32, 32)
    made(x)  # moves the statistics of batch normalisation
    models.save(made, tmp_path, made.card)
    again = models.load(tmp_path)
    assert torch.equal(again(x), made.eval()(x))
    assert again.card == made.card


@pytest.mark.parametrize(("name", "options"), LIBRARY)
def test_the_seed_decides_the_weights_of_a_library_too(name, options):
    before = torch.get_rng_state()
    one, twin = (offered(name, **options).state_dict() for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[key], twin[key]) for key in one)


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("timm:test_vit", {"checkpoint_path": "somewhere"}),
        ("timm:test_vit", {"pretrained": True}),
        ("torchvision:resnet18", {"weights": "DEFAULT"}),
    ],
)
def test_a_card_cannot_make_a_library_read_other_weights(tmp_path, name, option):
    made = offered(name)
    models.save(made, tmp_path, made.card)
    card = json.loads((tmp_path / "card.json").read_text()) | {"options": option}
    (tmp_path / "card.json").write_text(json.dumps(card))
    with pytest.raises(BadInput, match=f"to take image, classes, {next(iter(option))}"):
        models.load(tmp_path)


REFUSED = {
    "8x8 for zou_cnn6": ("zou_cnn6", (1, 7, 9), {}),
    "8x8 for zou_cnn4": ("zou_cnn4", (1, 7, 9), {}),
    "8x8 for preact_resnet18": ("preact_resnet18", (1, 7, 9), {}),
    "4x4 for wide_resnet": ("wide_resnet", (1, 3, 9), {}),
    "expected a depth of 10, .* got 12": ("wide_resnet", (1, 8, 8), {"depth": 12}),
    "did you mean 'resnet18'": ("torchvision:resnet81", (3, 32, 32), {}),
    "did you mean 'test_vit'": ("timm:test_vitt", (3, 32, 32), {}),
    "classifiers of timm, got 'hf-hub:a/b'": ("timm:hf-hub:a/b", (3, 32, 32), {}),
    "1 or 3 channels": ("torchvision:resnet18", (2, 32, 32), {}),
    "alexnet can take, .*too small; try larger": ("torchvision:alexnet", (3, 32, 32), {}),
    "gcvit_base can take, .*division": ("timm:gcvit_base", (3, 12, 12), {}),
    "argument 'dropout'": ("torchvision:resnet18", (3, 32, 32), {"dropout": 0.1}),
    "test_vit can take, .*; try larger": ("timm:test_vit", (1, 8, 8), {}),
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_a_network_cannot_take_is_said_in_one_line(said):
    name, image, options = REFUSED[said]
    with pytest.raises(BadInput, match=said) as refusal:
        offered(name, image, **options)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("package", ["torchvision", "timm"])
def test_a_library_that_is_not_installed_is_asked_for(monkeypatch, package):
    for name in [package, f"{package}.models"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BadInput, match=f"expected {package} .*pip install 'holdfast.vision.'"):
        models.create(f"{package}:resnet18", image=(3, 32, 32), classes=4)


def test_a_torchvision_of_another_torch_is_said_in_one_line(monkeypatch):
    def broken(name: str) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr("importlib.import_module", broken)
    with pytest.raises(BadInput, match="nms does not exist; torchvision must be made for"):
        models.create("torchvision:resnet18", image=(3, 32, 32), classes=4)


def test_the_command_line_trains_resumes_and_evaluates_a_network_of_a_library(
    tmp_path, monkeypatch, capsys
):
    offered("timm:test_vit")
    monkeypatch.chdir(tmp_path)
    small = ["--model.patch_size", "4", "--precision", "fp32", "--watch.images", "20"]
    words = ["train", "--data", "digits", "--model", "timm:test_vit", *small, "--out", "run"]
    assert main([*words, "--epochs", "1"]) == 0
    assert main(["train", "--resume", "run", "--epochs", "2"]) == 0
    assert main(["evaluate", "run", "--attack", "fgsm", "--radius", "0.1", "--images", "20"]) == 0
    assert main(["train", "--model", "timm:test_vitt"]) == 2
    assert "did you mean 'test_vit'" in capsys.readouterr().err
    assert main(["train", "--model", "timm:test_vit", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "wide_resnet, torchvision:NAME, timm:NAME, MODULE:FUNCTION" in said
    assert "side of a patch in pixels" in said


def test_logits_of_two_classes_are_not_normalised():
    """Layer normalisation of two numbers leaves their order alone, and no gradient."""
    data = blobs(classes=2)
    model = network(data)
    trained = train(model, data, epochs=8, batch_size=32, optimizer=AdamW(lr=1e-2),
                    precision="fp32", watch=Watch(every=8))  # fmt: skip
    assert trained.history[-1]["validation_clean"] > 0.9
    with pytest.raises(BadInput, match="3 classes or more for logit_norm, got 2"):
        network(data, logit_norm=True)
