"""Augmentation against plain loops over images."""

import pytest
import torch

from holdfast import noise
from holdfast.data import Augment
from holdfast.errors import BadInput

SEED, EPOCH = 5, 2
ALL = Augment(flip=True, vertical_flip=True, crop=2, translate=0.3)


def images(height: int = 8, width: int = 10) -> torch.Tensor:
    return torch.rand(64, 3, height, width, generator=torch.Generator().manual_seed(0))


INDEX = torch.arange(1000, 1064)


def moved(x: torch.Tensor, dy: int, dx: int) -> torch.Tensor:
    """One image moved up by dy and left by dx, pixel by pixel."""
    out = torch.zeros_like(x)
    height, width = x.shape[1:]
    for i in range(height):
        for j in range(width):
            if 0 <= i + dy < height and 0 <= j + dx < width:
                out[:, i, j] = x[:, i + dy, j + dx]
    return out


def naive(augment: Augment, x: torch.Tensor) -> torch.Tensor:
    """What Augment promises, one image and one step at a time."""
    out = []
    for image, draw in zip(
        x, noise.uniform(INDEX, (6,), SEED, EPOCH, noise.Stream.AUGMENT).tolist(), strict=True
    ):
        flip, vertical, crop_y, crop_x, shift_y, shift_x = draw
        far_y, far_x = (int(augment.translate * side) for side in x.shape[2:])
        dy = int(crop_y * (2 * augment.crop + 1)) - augment.crop
        dx = int(crop_x * (2 * augment.crop + 1)) - augment.crop
        dy += int(shift_y * (2 * far_y + 1)) - far_y
        dx += int(shift_x * (2 * far_x + 1)) - far_x
        image = moved(image, dy, dx)
        image = image.flip(1) if augment.vertical_flip and vertical < 0.5 else image
        out.append(image.flip(2) if augment.flip and flip < 0.5 else image)
    return torch.stack(out)


@pytest.mark.parametrize(
    "augment",
    [
        Augment(),
        Augment(flip=True),
        Augment(vertical_flip=True),
        Augment(crop=3),
        Augment(crop=7),
        Augment(translate=0.25),
        Augment(translate=0.95),
        Augment(flip=True, crop=2),
        ALL,
    ],
    ids=repr,
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_same_as_a_loop_over_images(augment, dtype):
    x = (images() * 255).to(dtype)
    assert torch.equal(augment(x, INDEX, SEED, EPOCH), naive(augment, x))


def test_crop_is_a_window_of_the_padded_image():
    x = images().repeat(4, 1, 1, 1)
    out = Augment(crop=2)(x, torch.arange(256), SEED, EPOCH)
    windows = torch.nn.functional.pad(x, (2, 2, 2, 2)).unfold(2, 8, 1).unfold(3, 10, 1)
    hits = (windows.permute(0, 2, 3, 1, 4, 5) == out[:, None, None]).all((3, 4, 5))
    assert (hits.sum((1, 2)) == 1).all()
    assert hits.any(0).all(), "256 images, 25 windows: one is never cut"


def test_flip_flips_half_and_exactly():
    x = images()
    out = Augment(flip=True)(x, INDEX, SEED, EPOCH)
    same = (out == x).flatten(1).all(1)
    turned = (out == x.flip(3)).flatten(1).all(1)
    assert (same ^ turned).all()
    assert 16 < turned.sum() < 48


def test_depends_on_index_seed_and_epoch_not_on_the_batch():
    x, order = images(), torch.randperm(64, generator=torch.Generator().manual_seed(1))
    out = ALL(x, INDEX, SEED, EPOCH)
    assert torch.equal(ALL(x[order], INDEX[order], SEED, EPOCH), out[order])
    assert torch.equal(ALL(x[7:9], INDEX[7:9], SEED, EPOCH), out[7:9])
    for other in (ALL(x, INDEX + 64, SEED, EPOCH), ALL(x, INDEX, SEED + 1, EPOCH)):
        assert not torch.equal(other, out)
    assert not torch.equal(ALL(x, INDEX, SEED, EPOCH + 1), out)


def test_turning_one_option_on_leaves_the_others_alone():
    x = images()
    both, crop = (Augment(flip=on, crop=2)(x, INDEX, SEED, EPOCH) for on in (True, False))
    assert ((both == crop) | (both == crop.flip(3))).flatten(1).all(1).all()


def test_translate_reaches_its_share_and_no_further():
    x = torch.zeros(2000, 1, 1, 100)
    x[..., 50] = 1
    out = Augment(translate=0.29)(x, torch.arange(2000), SEED, EPOCH)
    column = out.flatten(1).argmax(1)
    assert (column.min(), column.max()) == (50 - 29, 50 + 29)


def test_nothing_asked_for_costs_nothing():
    x = images()
    assert Augment()(x, INDEX, SEED, EPOCH) is x
    assert not Augment()
    assert ALL and Augment(flip=True) and Augment(crop=1) and Augment(translate=0.1)


def test_input_is_left_alone_and_its_memory_format_kept():
    x = images().to(memory_format=torch.channels_last)
    before = x.clone()
    out = ALL(x, INDEX, SEED, EPOCH)
    assert torch.equal(x, before)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(out, ALL(x.contiguous(), INDEX, SEED, EPOCH))


def test_bad_settings():
    with pytest.raises(BadInput, match="expected crop of 0 or more, got -1"):
        Augment(crop=-1)
    for share in (-0.1, 1.0, float("nan")):
        with pytest.raises(BadInput, match=f"expected translate of .* got {share}"):
            Augment(translate=share)
    with pytest.raises(BadInput, match="side of 8 pixels, got 8"):
        Augment(crop=8)(images(), INDEX, SEED, EPOCH)
    assert Augment(crop=7)(images(), INDEX, SEED, EPOCH).shape == (64, 3, 8, 10)
