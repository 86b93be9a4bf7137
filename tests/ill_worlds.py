"""Networks for digits whose robustness is what it seems, and copies that are ill, of any network.

Each illness hides the gradient in its own way and adds hardly any robustness: what is true of it is
known from its healthy twin. Trained once for a session, in a second or two.
"""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from holdfast import data
from holdfast.attack import PGD
from holdfast.model import frozen

RADIUS = 0.1  # Linf


class Ill(nn.Module):
    """A network behind one illness; `kind` names it.

    fine: how many times finer than for digits what it does to pixels is.
    """

    def __init__(self, net: nn.Module, kind: str, fine: float = 1) -> None:
        super().__init__()
        self.net, self.kind, self.fine = net, kind, fine

    def forward(self, x: Tensor) -> Tensor:
        before, after = BEFORE.get(self.kind), AFTER.get(self.kind)
        logits = self.net(before(x, self.fine) if before else x)
        return after(logits) if after else logits


class Winners(nn.Module):
    """k-winners-take-all (Xiao et al., arXiv 1905.10510) for ReLU: a twentieth."""

    def forward(self, x: Tensor) -> Tensor:
        least = x.topk(x.shape[1] // 20, dim=1).values[:, -1:]
        return x * (x >= least)


class Backwards(torch.autograd.Function):
    """The identity, whose gradient has the wrong sign."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor) -> Tensor:
        return -grad_outputs[0]


def _moved(x: Tensor) -> Tensor:
    """Shrunk by up to a quarter and put somewhere in a frame of the same size, at random."""
    whole = x.shape[-1]
    side = int(torch.randint(whole * 3 // 4, whole + 1, ()))
    small = F.interpolate(x, size=(side, side), mode="bilinear", align_corners=False)
    left, top = (int(torch.randint(0, whole + 1 - side, ())) for _ in range(2))
    return F.pad(small, (left, whole - side - left, top, whole - side - top))


def _by_numpy(x: Tensor, fine: float) -> Tensor:
    return torch.from_numpy((x.detach() * 10 * fine).numpy().round()) / (10 * fine)


BEFORE = {
    "rounded": lambda x, fine: (x * 4 * fine).round() / (4 * fine),
    "threshold": lambda x, fine: (x > 0.5).float(),
    "noisy": lambda x, fine: x + 0.15 / fine * torch.randn_like(x),
    "resized": lambda x, fine: _moved(x),
    "detached": lambda x, fine: x.detach() + 0.001 * x**2,
    "wrong way": lambda x, fine: Backwards.apply(x),
    "numpy": _by_numpy,
}
AFTER = {
    "saturated": lambda logits: logits * 1000,
    "softmax": lambda logits: (10 * logits).softmax(1),
}


@functools.cache
def digits() -> data.Dataset:
    return data.load("digits")


def some(count: int = 100) -> tuple[Tensor, Tensor]:
    """Test images, spread over the classes, and their labels."""
    split = digits().test.sample(count)
    return split.x, split.y


@functools.cache
def trained(kind: str, seed: int = 0, conv: bool = False) -> nn.Module:
    """plain, robust (trained against PGD), linear, or winners (with k-winners-take-all).

    conv: the first two as a small convolutional network, not a dense one.
    """
    torch.manual_seed(seed)
    dense = [nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)]
    if conv:
        dense = [nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3),
                 nn.ReLU(), nn.Flatten(), nn.Linear(256, 10)]  # fmt: skip
    layers = {
        "linear": [nn.Linear(64, 10)],
        "winners": [nn.Linear(64, 256), Winners(), nn.Linear(256, 256), Winners(),
                    nn.Linear(256, 10)],
    }  # fmt: skip
    net = nn.Sequential(nn.Flatten(), *layers.get(kind, dense))
    optimizer = torch.optim.Adam(net.parameters(), 1e-2 if kind == "linear" else 3e-3)
    x, y = digits().train.x, digits().train.y
    attack = PGD(radius=RADIUS, steps=5, rel_stepsize=0.4)
    for epoch in range(20):
        for rows in torch.randperm(len(x)).split(128):
            adv = x[rows]
            if kind == "robust" and epoch > 1:
                with frozen(net):
                    adv = attack(net, adv, y[rows], index=rows + epoch * len(x))
            optimizer.zero_grad()
            F.cross_entropy(net(adv), y[rows]).backward()
            optimizer.step()
    return net.eval()
