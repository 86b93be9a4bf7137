"""The figures of the documentation, drawn from the rows in results/.

python docs/figures.py         # docs/figures/STUDY.png for every study below
"""

from pathlib import Path

from holdfast import record, report

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


def draw(study: str, label: str, title: str) -> None:
    """One line per `label` among the study's rows."""
    rows = [row for row in record.rows(HERE.parent / f"results/{study}.jsonl") if "epoch" in row]
    curves: dict[str, list[record.Row]] = {}
    for row in rows:
        curves.setdefault(label.format(**row), []).append(row)
    report.curves(HERE / "figures" / f"{study}.png", curves, PANELS, title)


if __name__ == "__main__":
    for study, (label, title) in STUDIES.items():
        draw(study, label, title)
