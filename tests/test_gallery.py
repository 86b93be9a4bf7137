"""Images beside what attacks made of them, as a picture."""

import inspect

import pytest
import torch
from matplotlib.figure import Figure

from holdfast import report
from holdfast.errors import BadInput


@pytest.mark.parametrize("channels", [1, 3])
def test_a_row_for_the_clean_images_and_two_for_each_attack(channels, tmp_path, monkeypatch):
    axes = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig",
        lambda figure, *words, **more: (axes.append(figure.axes[0]), save(figure, *words, **more)),
    )  # fmt: skip
    clean = torch.rand(9, channels, 8, 8)
    made = {"up": (clean + 0.1).clamp(max=1), "none": clean}
    report.images(tmp_path / "a.png", clean, made, captions={"up": list("abcdefghi")})
    shown = [image.get_array() for image in axes[0].get_images()]
    assert len(shown) == 8 * 5  # of nine images eight, in five rows
    first = clean[0].permute(1, 2, 0).squeeze(-1).numpy()
    assert (shown[0] == first).all() and (shown[16] >= 0.5).all() and shown[16].max() == 1
    assert (shown[32] == 0.5).all()  # no change is grey
    words = [text.get_text() for text in axes[0].texts]
    assert words.count("clean") == 1 and "change by up" in words and "h" in words
    assert "i" not in words and (tmp_path / "a.png").exists()


def test_other_shapes_are_refused(tmp_path):
    draw, clean = inspect.unwrap(report.images), torch.rand(2, 1, 8, 8)
    for bad, of in ((clean[:1], clean), (torch.rand(2, 5, 8, 8), torch.rand(2, 5, 8, 8))):
        with pytest.raises(BadInput, match="one channel or three, the same of each attack"):
            draw(tmp_path / "a.png", of, {"fgsm": bad})
