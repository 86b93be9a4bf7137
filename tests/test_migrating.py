"""docs/migrating.md: what stands beside each other in its tables finds the same."""

import re
import textwrap
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import holdfast as hf

PAGE = (Path(__file__).parents[1] / "docs" / "migrating.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \|$", PAGE, flags=re.MULTILINE)
SAME = ("FGSM(", "BIM(", "MIM(")  # no random start: the page says that the images are the same
RADIUS = 8 / 255


@pytest.fixture
def world() -> tuple[nn.Module, Tensor, Tensor]:
    """Ten classes, logits linear in the pixels; 8/255 in linf and 0.5 in l2 fool some images."""
    generator = torch.Generator().manual_seed(0)
    layer = nn.Linear(192, 10)
    layer.weight.data = 10 * torch.randn(10, 192, generator=generator) / 192**0.5
    layer.bias.data = -layer.weight.sum(1) / 2
    model = nn.Sequential(nn.Flatten(), layer).eval()
    y = torch.arange(50) % 10
    towards = (
        nn.functional.normalize(layer.weight[y]).detach() * torch.linspace(0.2, 1.4, 50)[:, None]
    )
    x = (0.5 + towards.reshape(50, 3, 8, 8)).clamp(0, 1)
    return model, x, model(x).argmax(1)


def test_the_training_script_trains_and_goes_on(tmp_path, monkeypatch):
    """The call of the page, with a loss, data and fewer epochs of its own."""
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"^    hf\.train\(.*?^    \)", PAGE, flags=re.MULTILINE | re.DOTALL)
    digits = hf.data.load("digits")
    train, test = digits.train.sample(200), digits.test.sample(50)
    names = {
        "hf": hf, "train_x": train.x, "train_y": train.y, "test_x": test.x, "test_y": test.y,
        "model": hf.model.create("gupta_cnn", image=(1, 8, 8), classes=10, widths=(4,)),
        "my_loss": hf.feedback.CrossEntropy(),
    }  # fmt: skip
    called = textwrap.dedent(code)
    for epochs in (1, 2):
        trained = eval(called[:-1] + f"epochs={epochs}, watch=hf.training.Watch(images=20))", names)
    assert [row["epoch"] for row in trained.history] == [1, 2]


def test_every_line_of_the_tables_is_read():
    lines = [line for line in PAGE.splitlines() if line.startswith("| `")]
    assert len(lines) == len(ROWS) > 10


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("theirs", "ours"), ROWS, ids=[ours[:40] for _, ours in ROWS])
def test_both_columns_find_the_same(theirs, ours, world):
    model, x, y = world
    names = {"hf": hf, "model": model, "x": x, "y": y}
    for library in ("foolbox", "torchattacks", "pyautoattack"):
        if library in theirs or (library == "pyautoattack" and "AutoAttack" in theirs):
            names[library] = pytest.importorskip(library)
    if "foolbox" in names:
        names["box"] = names["foolbox"].PyTorchModel(model, bounds=(0, 1))
    if "pyautoattack" in names:
        names["AutoAttack"] = names["pyautoattack"].autoattack.AutoAttack
        theirs = theirs.replace("bs=250)", "batch_size=250)[0]")  # as this package of it has it
        names |= {"x": x[:5], "y": y[:5]}  # all of which fall: what stands takes Square its time
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one, other = eval(theirs, names), eval(ours, names)
    if one.dtype == torch.bool:
        assert torch.equal(one, other) and not one.any()
        return
    if any(word in ours for word in SAME):
        assert (one - other).abs().max() < 1e-6
    if "epsilons=None" in theirs or "DeepFool" in theirs:
        far, near = ((adv - x).flatten(1).norm(dim=1).median() for adv in (one, other))
        assert near <= 1.02 * far and near > 0
    else:
        standing, left = ((model(adv).argmax(1) == y).sum() for adv in (one, other))
        assert left <= standing + 1 and 0 < left < len(x)
