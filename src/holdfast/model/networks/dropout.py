"""Dropout whose mask is quick to draw on a CPU."""

import torch
from torch import Tensor, nn

LEVELS = 2**16  # of a rate; a CPU's generator gives four of them at a time


class Dropout(nn.Dropout):
    """`nn.Dropout`, which on a CPU draws a float for each value, one after the other. This draws
    16 bits for each.

    The rate is rounded to 1/65536, and what is kept is divided by the share that the rounded rate
    keeps, so that the mean stays what it was.
    """

    def forward(self, input: Tensor) -> Tensor:
        keep = round((1 - self.p) * LEVELS)
        usual = not self.training or self.inplace or input.device.type != "cpu"
        if usual or not 0 < keep < LEVELS:
            return super().forward(input)
        bits = torch.empty(-(-input.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        strides = torch.empty_like(input, device="meta").stride()
        drawn = bits.view(torch.int16).as_strided(input.shape, strides)
        kept = (drawn < keep - LEVELS // 2).to(input.dtype)
        return input * (kept * (LEVELS / keep))
