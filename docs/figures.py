"""The figures of the documentation, drawn from the rows in results/.

python docs/figures.py         # docs/figures/cifar10-objectives.png, mnist-reward.png
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
STUDIES = {
    "cifar10-objectives": ("objective_name", "CIFAR-10, Gupta CNN, FGSM 8/255 training"),
    "mnist-reward": ("run", "MNIST, Madry network, reward training, Linf 0.3"),
}


def draw(study: str, key: str, title: str) -> None:
    """One line per value of `key` among the study's rows."""
    rows = [row for row in record.rows(HERE.parent / f"results/{study}.jsonl") if "epoch" in row]
    names = dict.fromkeys(row[key] for row in rows)
    curves = {name: [row for row in rows if row[key] == name] for name in names}
    report.curves(HERE / "figures" / f"{study}.png", curves, PANELS, title)


if __name__ == "__main__":
    for study, (key, title) in STUDIES.items():
        draw(study, key, title)
