"""Random numbers that are a function of a key, so that nothing depends on batch mates.

A key is `(seed, index, stream...)`: the seed of the run, the position of an image in its data
set, and whatever tells two draws for the same image apart (epoch, restart, step). The same key
gives the same numbers on any device, in any batch, in any order and after a resume; there is no
generator to save. The mixing function is SplitMix64's finaliser (Steele, Lea and Flood 2014,
"Fast splittable pseudorandom number generators", OOPSLA), applied once to each part of the key.
"""

import dataclasses
import enum
import inspect
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from numbers import Integral
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from holdfast.errors import BadInput

SEEDS = 2**63
GOLDEN = -0x61C8864680B583EB  # 2^64 / golden ratio as a signed 64-bit number: SplitMix64's step
MIX_1 = -0x40A7B892E31B1A47  # 0xbf58476d1ce4e5b9
MIX_2 = -0x6B2FB644ECCEEE15  # 0x94d049bb133111eb
MANTISSA = 24  # bits of a float32


@enum.unique
class Stream(enum.IntEnum):
    """The part of a key that keeps the numbers of each user of a seed apart from all others'. A
    number never changes, nor is it given to another. Older than this, and left since recorded runs
    rest on them: training shuffles by (seed, epoch), and `traced` draws pilots under a key."""

    PGD = 1
    ACTIONS = 2
    DROPOUT = 3
    HOP_SKIP_JUMP = 11
    SIMBA = 12
    SQUARE = 20
    UNIFORM = 21
    GAUSSIAN = 22
    FAB = 23
    APGD = 30
    MIN_MARGIN = 34
    TRANSFER_MIM = 41
    BOUNDARY = 42
    SPREAD = 51
    STATIC = 52
    VIEWS = 53
    POINTS = 54
    PROBES = 55
    PLANES = 56
    GATHER = 57
    ATTACKED = 58
    EXAMPLES = 61
    STRENGTHS = 62
    JUDGED = 71
    DRAWN = 72
    LANES = 81
    AUDIT = 0x617564
    AUGMENT = 0x617567
    DIRECTIONS = 0x726179


def require_seed(seed: Any, name: str = "a seed") -> None:
    """Raises BadInput for what is not one of the SEEDS."""
    if isinstance(seed, bool) or not (isinstance(seed, Integral) and 0 <= int(seed) < SEEDS):
        raise BadInput(f"expected {name} from 0 to 2**63 - 1, got {seed!r:.60}")


def _frozen(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and value.__dataclass_params__.frozen  # pyright: ignore


def seeded(value: Any, seed: int) -> Any:
    """The settings with every `seed` of 0, at any depth, replaced by this one; another seed was
    chosen, and stays. Objects that are not frozen may hold a state, and are left alone."""
    return _with_seeds(value, lambda old: old or seed)


def _with_seeds(value: Any, change: Callable[[int], int]) -> Any:
    if isinstance(value, tuple):
        parts = tuple(_with_seeds(part, change) for part in value)
        return value if all(a is b for a, b in zip(parts, value, strict=True)) else parts
    if isinstance(value, type) or not _frozen(value):
        return value
    if set(inspect.signature(type(value)).parameters) - {f.name for f in dataclasses.fields(value)}:
        return value  # made from more than its fields, which nobody knows any more
    fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
    now = {name: _with_seeds(part, change) for name, part in fields.items()}
    if isinstance(now.get("seed"), Integral):
        now["seed"] = change(int(now["seed"]))
    changed = {name: part for name, part in now.items() if part is not fields[name]}
    try:
        return dataclasses.replace(value, **changed) if changed else value
    except (TypeError, ValueError):  # which it does not take
        return value


def reseeded(value: Any, turn: int) -> Any:
    """Frozen settings with another `seed` at every depth, a function of the one that stands there
    and of the turn, below 2**32 as others' generators want it; of turn 0 as they are. What is not
    frozen, or made from more than its fields, stays as it is, and so does what is no seed of ours.
    """

    def other(seed: int) -> int:
        return scramble(seed, turn) % 2**32 if 0 <= seed < SEEDS else seed

    return value if turn == 0 else _with_seeds(value, other)


def uniform(
    index: Int[Tensor, " batch"], shape: tuple[int, ...], seed: int, *stream: int
) -> Float[Tensor, "batch *shape"]:
    """Uniform numbers in [0, 1), `shape` of them for each index, in float32."""
    bits = _bits(index, math.prod(shape), seed, *stream)
    high = (bits >> (64 - MANTISSA)) & (1 << MANTISSA) - 1
    return (high.float() * 2.0**-MANTISSA).reshape(len(index), *shape)


def normal(
    index: Int[Tensor, " batch"], shape: tuple[int, ...], seed: int, *stream: int
) -> Float[Tensor, "batch *shape"]:
    """Standard normal numbers, `shape` of them for each index (Box and Muller's method)."""
    count = math.prod(shape)
    pair = uniform(index, (2, count), seed, *stream)
    radius = (-2 * (1 - pair[:, 0]).log()).sqrt()  # 1 - u lies in (0, 1]: the log is finite
    return (radius * (2 * math.pi * pair[:, 1]).cos()).reshape(len(index), *shape)


def scramble(seed: int, *stream: int) -> int:
    """One 63-bit number out of a key without an index: the seed of a torch generator."""
    key = _bits(torch.zeros(1, dtype=torch.int64), 1, seed, *stream)
    return int(key.item()) >> 1 & (1 << 63) - 1


def settle(seed: int) -> None:
    """Seed the global generators, from which a model that is random draws. Those of a GPU that was
    never used stay as they are: `torch.manual_seed` would note the call, and all later ones."""
    require_seed(seed)
    torch.default_generator.manual_seed(int(seed))
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(int(seed))


def forked(device: torch.device) -> AbstractContextManager[object]:
    """A context that restores the global generators of the CPU and of this device when it is left.
    torch's own default would initialise every GPU there is."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


def permutation(count: int, seed: int, *stream: int) -> Int[Tensor, " count"]:
    """A shuffle of `0 .. count - 1`."""
    generator = torch.Generator().manual_seed(scramble(seed, *stream))
    return torch.randperm(count, generator=generator)


def _bits(index: Tensor, count: int, seed: int, *stream: int) -> Tensor:
    """`[batch, count]` words of 64 random bits."""
    require_seed(seed)
    state = _mixed(index.to(torch.int64) + GOLDEN)  # else a seed would only shift the index
    for part in (seed, *stream):
        state = _mixed(state + GOLDEN + part)
    counter = torch.arange(1, count + 1, dtype=torch.int64, device=index.device)
    return _mixed(state[:, None] + counter * GOLDEN)


def _mixed(z: Tensor) -> Tensor:
    """Each word scrambled. A shift to the right must fill with zeros; torch's repeats the sign."""
    z = (z ^ ((z >> 30) & (1 << 34) - 1)) * MIX_1
    z = (z ^ ((z >> 27) & (1 << 37) - 1)) * MIX_2
    return z ^ ((z >> 31) & (1 << 33) - 1)
