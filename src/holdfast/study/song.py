"""Song, Wang and Li 2019 (arXiv 1909.05443): what they published, and tables of our rows beside it.

The rows are those of recipes/song.py; of several with the same network and seed the last counts.
Lengths of CIFAR-10 are those of pixels in [0, 255], as in the paper.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, tensor

from holdfast.record import Row

Table = tuple[list[str], list[list[str]]]
Numbers = Sequence[float | None]
NETWORKS = {
    "ori": "Ori.", "adv": "Adv.", "longer": "Ori., trained longer", "fl": "F.L.",
    "reduced": "Reduced F.L.",
}  # fmt: skip
NOISES = {"fgsm": "FGSM", "uniform-noise": "uniform noise", "gaussian-noise": "Gaussian noise"}


@dataclass(frozen=True, kw_only=True)
class Published:
    """What the paper states for a data set, by network.

    scale: its length of one unit of ours. shares: Table I, of Ori., the last: none. centres: Table
    II, by the network whose class centre images were taken. robustness: R (section V-B).
    class_robustness: Table IV.
    """

    scale: float
    shares: tuple[float, ...]
    centres: Mapping[str, Mapping[str, tuple[float, ...]]]
    robustness: Mapping[str, float]
    class_robustness: Mapping[str, tuple[float, ...]]


# fmt: off
PUBLISHED = {
    "mnist": Published(
        scale=1.0,
        shares=(0.0002, 0.0060, 0.0159, 0.0531, 0.0452, 0.0230, 0.0107, 0.0054, 0.0429, 0.0082,
                0.7895),
        centres={},
        robustness={"ori": 36.15, "adv": 31.74, "fl": 39.12, "reduced": 35.52},
        class_robustness={
            "ori": (0.005, 0.149, 0.955, 7.237, 6.662, 2.135, 0.661, 0.187, 3.075, 0.176),
            "adv": (0.702, 0.007, 4.425, 1.511, 0.221, 1.296, 0.922, 0.182, 3.603, 0.293),
            "fl": (29.316, 31.268, 15.408, 0.009, 0.007, 1.856, 10.387, 2.318, 5.858, 25.966),
            "reduced": (3.665, 32.208, 0.041, 0.553, 128.07, 0.809, 0.388, 1.227, 1.049, 0.001),
        },
    ),
    "cifar10": Published(
        scale=255.0,
        shares=(0.0020, 0.0015, 0.4461, 0.1140, 0.0751, 0.0027, 0.2562, 0.0002, 0.0247, 0.0037,
                0.0739),
        centres={
            "ori": {
                "ori": (239.567, 49.505, 252.513, 65.123, 53.959, 26.399, 155.302, 31.591, 50.915,
                        56.208),
                "adv": (27.161, 75.020, 245.622, 50.273, 79.537, 45.759, 255, 66.710, 89.535,
                        56.269),
                "fl": (25.143, 219.195, 235.856, 111.182, 207.838, 84.16, 255, 97.96, 194.448,
                       36.047),
                "reduced": (28.888, 142.801, 251.285, 95.455, 230.259, 76.429, 255, 111.232,
                            198.483, 33.115),
            },
            "fl": {
                "ori": (26.615, 49.505, 248.739, 37.857, 53.959, 16.805, 82.651, 26.325, 47.715,
                        39.919),
                "adv": (89.823, 75.020, 233.650, 52.883, 79.537, 67.908, 254.547, 57.907, 83.937,
                        98.880),
                "fl": (150.723, 219.195, 255, 132.132, 207.838, 117.963, 255, 107.617, 206.296,
                       190.074),
                "reduced": (219.107, 142.801, 176.329, 171.791, 230.259, 106.657, 255, 91.034,
                            190.249, 137.5),
            },
        },
        robustness={"ori": 2035.13, "adv": 3969.10, "fl": 4634.36, "reduced": 3306.59},
        class_robustness={
            "ori": (0.032, 0.011, 14.005, 0.888, 0.565, 0.021, 1.110, 0.002, 0.151, 0.029),
            "adv": (0.066, 0.0074, 1.768, 0.104, 1.240, 0.013, 25.46, 0.299, 0.031, 0.497),
            "fl": (0.020, 0.059, 9.147, 0.343, 0.573, 0.023, 11.209, 0.015, 0.231, 0.052),
            "reduced": (0.721, 0.894, 14.628, 0.057, 0.128, 0.121, 1.559, 0.470, 0.197, 0.066),
        },
    ),
}
# fmt: on


def held(rows: Sequence[Row], key: str) -> dict[str, list[Row]]:
    """The rows that hold `key`, by network in the order of `NETWORKS`: the last of each seed."""
    last = {(row["network"], row["seed"]): row for row in rows if key in row}
    found = {name: [row for (own, _), row in sorted(last.items()) if own == name]
             for name in NETWORKS}  # fmt: skip
    return {name: own for name, own in found.items() if own}


def shares(rows: Sequence[Row], paper: Published) -> Table:
    """Table I: the share of rays that enter each class, in per cent."""
    head = ["network", *map(str, range(10)), "none", "seeds"]
    body = []
    for name, own in held(rows, "margins").items():
        if name == "ori":
            body.append(["Ori., published", *numbers([paper.shares], 2, 100), "-"])
        found = [row["margins"]["shares"] for row in own]
        body.append([NETWORKS[name], *numbers(found, 2, 100), str(len(own))])
    return head, body


def centres(rows: Sequence[Row], paper: Published) -> Table:
    """Table II: mean margins of class centre images, searched over the whole range of pixels; of
    the first seed that has any."""
    head = ["class centre images of", "network", *map(str, range(10)), "mean", "std"]
    first = min((row["seed"] for row in rows if "far" in row), default=None)
    body, far = [], [row for row in rows if "far" in row and row["seed"] == first]
    for whose in NETWORKS:
        for name, own in held([r for r in far if r["centres_of"] == whose], "far").items():
            row = own[0]
            place = dict(zip(row["labels"], row["far"], strict=True))
            published = paper.centres.get(whose, {}).get(name)
            if published:
                line = summary(published, 1)
                body.append([NETWORKS[whose], f"{NETWORKS[name]}, published", *line])
            ours = summary([place.get(label) for label in range(10)], 3, paper.scale)
            body.append([NETWORKS[whose], NETWORKS[name], *ours])
    return head, body


def classes(rows: Sequence[Row], paper: Published) -> Table:
    """Table IV: class robustness."""
    head, body = ["network", *map(str, range(10)), "mean", "std"], []
    for name, own in held(rows, "margins").items():
        if name in paper.class_robustness:
            body.append([f"{NETWORKS[name]}, published", *summary(paper.class_robustness[name], 3)])
        body.append([NETWORKS[name], *summary(own[0]["margins"]["class_robustness"], 3)])
    return head, body


def robustness(rows: Sequence[Row], paper: Published) -> Table:
    """R (equation 2), what it is made of, and what it costs."""
    head = ["network", "R, published", "R", "95 % interval over images", "mean margin",
            "rays that meet no class %", "clean accuracy %", "images x rays", "seeds"]  # fmt: skip
    body, clean = [], held(rows, "accuracy")
    for name, own in held(rows, "margins").items():
        found = [row["margins"] for row in own]
        seeds = {row["seed"] for row in own}
        right = [row["accuracy"]["clean"] for row in clean.get(name, []) if row["seed"] in seeds]
        body.append([
            NETWORKS[name], spread([paper.robustness.get(name)], 2),
            spread([one["robustness"] for one in found], 2, paper.scale),
            between(found[0], paper.scale),
            spread([one["mean_margin"] for one in found], 3, paper.scale),
            spread([one["none_share"] for one in found], 2, 100), spread(right, 2, 100),
            f"{found[0]['images']:,} x {found[0]['rays']:,}", str(len(own)),
        ])  # fmt: skip
    return head, body


def accuracy(rows: Sequence[Row], paper: Published) -> Table:
    """Figure 3 in numbers: accuracy in per cent at each radius. The paper's is a picture."""
    found = held(rows, "accuracy")
    radii = next(iter(found.values()))[0]["radii"] if found else []
    body = []
    for noise, label in NOISES.items():
        for name, seeds in accuracies(rows, noise).items():
            body.append([label, name, *numbers(seeds, 1), str(len(seeds))])
    return ["noise", "network", *(f"{radius:.2f}" for radius in radii), "seeds"], body


TABLES: dict[str, Callable[[Sequence[Row], Published], Table]] = {
    "shares": shares, "centres": centres, "classes": classes, "robustness": robustness,
    "accuracy": accuracy,
}  # fmt: skip


def accuracies(rows: Sequence[Row], noise: str) -> dict[str, list[list[float]]]:
    """Accuracy in per cent at each radius (Figure 3), a list for each seed, by network."""
    return {
        NETWORKS[name]: [[100 * share for share in row["accuracy"][noise]] for row in own]
        for name, own in held(rows, "accuracy").items()
    }


def matrices(rows: Sequence[Row], paper: Published) -> dict[str, Tensor]:
    """Mean margin matrices (Figure 4) without the column of rays that meet no class, by network,
    of the first seed; NaN where there is no ray."""
    found = {}
    for name, own in held(rows, "margins").items():
        matrix = [[float("nan") if m is None else m for m in line[:-1]]
                  for line in own[0]["margins"]["matrix"]]  # fmt: skip
        found[NETWORKS[name]] = paper.scale * tensor(matrix)
    return found


def numbers(seeds: Sequence[Numbers], digits: int, scale: float = 1.0) -> list[str]:
    """A cell for each place: mean and spread over seeds."""
    return [spread(values, digits, scale) for values in zip(*seeds, strict=True)]


def summary(values: Numbers, digits: int, scale: float = 1.0) -> list[str]:
    """A cell for each value, and for mean and standard deviation of those that are there."""
    known = [value for value in values if value is not None]
    both = (statistics.fmean(known), statistics.stdev(known)) if len(known) > 1 else (None, None)
    return numbers([[*values, *both]], digits, scale)


def spread(values: Numbers, digits: int, scale: float = 1.0) -> str:
    """Mean and, over several seeds, standard deviation; - where there is no number."""
    known = [scale * value for value in values if value is not None]
    if not known:
        return "-"
    mean = f"{statistics.fmean(known):.{digits}f}"
    return mean if len(known) == 1 else f"{mean} ± {statistics.stdev(known):.{digits}f}"


def between(found: Row, scale: float) -> str:
    """The interval of R; - in rows of the time when it was a bootstrap's, which lies too low."""
    if found.get("interval_by") != "jackknife":
        return "-"
    return " to ".join(f"{scale * end:.2f}" for end in found["robustness_interval"])
