"""The figures of the documentation, drawn from the rows in results/.

python docs/figures.py         # docs/figures/STUDY.png for every study below that has rows
"""

from pathlib import Path

import torch
from rows.judging import by_network

from holdfast import record, report
from holdfast.study import song

HERE = Path(__file__).parent
PANELS = {
    "validation_clean": ("clean (%)", 100.0),
    "validation_fgsm": ("FGSM (%)", 100.0),
    "validation_pgd": ("PGD-10 (%)", 100.0),
    "gap": ("train - validation (points)", 100.0),
    "validation_entropy": ("entropy (bits)", 1.0),
}
STUDIES = {  # how a row's curve is called, and the title
    "cifar10-handover": ("{variant}", "CIFAR-10, Gupta CNN, FGSM 8/255: handovers"),
    "cifar10-objectives": ("{objective_name}", "CIFAR-10, Gupta CNN, FGSM 8/255 training"),
    "mnist-guard": ("{variant}, seed {seed}", "MNIST, Madry network, FGSM 0.2: the guard"),
    "mnist-reward": ("{run}, {epochs} epochs", "MNIST, Madry network, reward training, Linf 0.3"),
}
SONG = {  # title, and the unit of margins
    "mnist": ("MNIST, Madry's network", "[0, 1]"),
    "cifar10": ("CIFAR-10, ResNet-18 of width 16", "[0, 255]"),
}


def draw(study: str, label: str, title: str) -> None:
    """One line per `label` among the study's rows."""
    rows = [row for row in record.rows(HERE.parent / f"results/{study}.jsonl") if "epoch" in row]
    curves: dict[str, list[record.Row]] = {}
    for row in rows:
        curves.setdefault(label.format(**row), []).append(row)
    report.curves(HERE / "figures" / f"{study}.png", curves, PANELS, title)


def draw_long() -> None:
    """The long training: each objective's mean and range over seeds, epoch by epoch."""
    rows = record.rows(HERE.parent / "results/cifar10-long.jsonl")
    runs: dict[tuple[str, int], dict[int, record.Row]] = {}
    for row in rows:
        if "epoch" in row:
            runs.setdefault((row["objective_name"], row["seed"]), {})[row["epoch"]] = row
    epochs = sorted(set.intersection(*(set(run) for run in runs.values())))
    panels = {
        label: {name: [[scale * run[epoch][key] for epoch in epochs]
                       for (objective, _), run in runs.items() if objective == name]
                for name in dict.fromkeys(name for name, _ in runs)}
        for key, (label, scale) in PANELS.items()
    }  # fmt: skip
    report.ranges(
        HERE / "figures/cifar10-long.png", panels, epochs, ("epoch", ""),
        "CIFAR-10, Gupta CNN, FGSM 8/255, mean and range over seeds",
    )  # fmt: skip


def draw_song(data: str, title: str, unit: str) -> None:
    """Figures 3 and 4 of Song et al. 2019, those of which there are rows."""
    rows = record.rows(HERE.parent / f"results/song-{data}.jsonl")
    panels = {label: song.accuracies(rows, noise) for noise, label in song.NOISES.items()}
    if panels["FGSM"]:
        radii = next(row["radii"] for row in rows if "radii" in row)
        report.ranges(
            HERE / "figures" / f"song-{data}-accuracy.png", panels, radii,
            ("radius (Linf)", "accuracy (%)"), f"{title}: mean and range over seeds",
        )  # fmt: skip
    matrices = song.matrices(rows, song.PUBLISHED[data])
    if matrices:
        report.heat(
            HERE / "figures" / f"song-{data}-robustness.png", matrices,
            f"{title}: mean margins, root mean square change of pixels in {unit}",
        )  # fmt: skip


def draw_controls() -> None:
    """Loss landscapes of the controls on CIFAR-10: along the attack, and over one image's plane."""
    looked = {
        name: [row["landscape"] for row in rows] for name, rows in by_network("landscape").items()
    }
    if not looked:
        return
    kinds = {"labels and rewards alone": False, "under FGSM training": True}
    panels = {
        title: {name: [found["along"] for found in looks] for name, looks in looked.items()
                if name.endswith("-fgsm") == attacked}
        for title, attacked in kinds.items()
    }  # fmt: skip
    first = {name: looks[0] for name, looks in looked.items() if name.endswith("-fgsm")}
    places = next(iter(first.values()))["places"]
    report.ranges(
        HERE / "figures/controls-along.png", panels, places,
        ("radii along the attack", "cross-entropy"), "CIFAR-10: mean and range over seeds",
    )  # fmt: skip
    report.contour(
        HERE / "figures/controls-plane.png", torch.tensor(places),
        {name: torch.tensor(look["plane"]) for name, look in first.items()},
        ("radii along the attack", "radii across"), "Cross-entropy around one CIFAR-10 image",
    )  # fmt: skip


if __name__ == "__main__":
    for study, (label, title) in STUDIES.items():
        draw(study, label, title)
    for data, (title, unit) in SONG.items():
        draw_song(data, title, unit)
    draw_long()
    draw_controls()
