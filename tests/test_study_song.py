"""The study of Song et al. 2019: what the paper states, and tables and figures from rows."""

import statistics

import pytest
import torch
from matplotlib.figure import Figure

from holdfast import margin, report
from holdfast.study import song

MNIST, CIFAR = song.PUBLISHED["mnist"], song.PUBLISHED["cifar10"]
STATED = [  # means and deviations that the paper prints beside its numbers
    (MNIST.class_robustness["ori"], 2.124, 2.73),
    (MNIST.class_robustness["adv"], 1.316, 1.517),
    (MNIST.class_robustness["fl"], 12.24, 12.48),
    (MNIST.class_robustness["reduced"], 16.80, 40.32),
    (CIFAR.class_robustness["ori"], 1.681, 4.349),
    (CIFAR.class_robustness["adv"], 2.948, 7.93),
    (CIFAR.class_robustness["fl"], 2.167, 4.254),
    (CIFAR.class_robustness["reduced"], 1.884, 4.503),
    (CIFAR.centres["ori"]["ori"], 98.1082, 85.681),
    (CIFAR.centres["ori"]["adv"], 99.089, 81.728),
    (CIFAR.centres["ori"]["fl"], 146.6829, 85.323),
    (CIFAR.centres["ori"]["reduced"], 142.2947, 86.766),
    (CIFAR.centres["fl"]["ori"], 63.009, 67.783),
    (CIFAR.centres["fl"]["adv"], 109.409, 72.486),
    (CIFAR.centres["fl"]["fl"], 184.1838, 54.176),
    (CIFAR.centres["fl"]["reduced"], 172.0727, 53.460),
]


@pytest.mark.parametrize(("values", "mean", "std"), STATED)
def test_published_numbers_have_the_mean_and_deviation_that_the_paper_prints(values, mean, std):
    assert statistics.fmean(values) == pytest.approx(mean, abs=6e-3)
    assert statistics.stdev(values) == pytest.approx(std, abs=6e-3)


@pytest.mark.parametrize("paper", [MNIST, CIFAR])
def test_published_shares_are_all_of_the_rays(paper):
    assert sum(paper.shares) == pytest.approx(1, abs=2e-3)


def row(network: str, seed: int, **held):
    return {"network": network, "seed": seed} | held


def found(reach: float = 0.5) -> margin.Margins:
    """Ten images of ten classes, each with a ray to the next class and one to none."""
    origin = torch.arange(10)
    entered = torch.stack([(origin + 1) % 10, torch.full((10,), -1)], 1)[:, :, None]
    distance = torch.tensor([0.1, reach]).expand(10, 2)[:, :, None]
    return margin.Margins(
        distance=distance, step=torch.ones_like(entered), entered=entered, origin=origin,
        index=origin, classes=10, tolerance=None, method="linear", forward=1, seconds=1.0,
        grid=margin.Grid(reach=reach, step=0.1, scale="rms", clip=True, signs=1),
        audit=margin.Audit(rays=0, differing=0),
    )  # fmt: skip


def left(clean: float, attacked: float):
    return {noise: [clean, attacked] for noise in song.NOISES} | {"clean": clean}


ROWS = [
    row("ori", 0, margins=found(0.3).as_dict()),
    row("ori", 0, margins=found().as_dict()),  # searched again: the last counts
    row("fl", 1, margins=found(0.7).as_dict()),
    row("fl", 0, margins=found().as_dict()),
    row("ori", 0, accuracy=left(0.9, 0.5), radii=[0.0, 0.05]),
    row("fl", 0, accuracy=left(0.8, 0.6), radii=[0.0, 0.05]),
    row("fl", 1, accuracy=left(0.6, 0.4), radii=[0.0, 0.05]),
    row("fl", 0, centres_of="ori", labels=[0, 2], far=[0.4, 0.2]),
    row("adv", 1, centres_of="ori", labels=[0, 2], far=[0.9, 0.9]),  # of another seed's images
]


def tabled(name: str, paper: song.Published = MNIST) -> list[list[str]]:
    head, body = song.TABLES[name](ROWS, paper)
    assert {len(line) for line in body} == {len(head)}
    return body


def test_tables_show_the_last_row_of_each_seed_beside_the_paper():
    published, ori, fl = tabled("shares")
    assert published[:3] == ["Ori., published", "0.02", "0.60"] and published[11] == "78.95"
    assert ori == ["Ori.", *["5.00"] * 10, "50.00", "1"]
    assert fl == ["F.L.", *["5.00 ± 0.00"] * 10, "50.00 ± 0.00", "2"]
    ori, fl = tabled("robustness")
    assert ori[:4] == ["Ori.", "36.15", "6.00", "6.00 to 6.00"]
    assert fl[2] == "7.00 ± 1.41" and fl[6] == "70.00 ± 14.14"
    assert ori[7:] == ["10 x 2", "1"]
    assert tabled("robustness", CIFAR)[0][1:3] == ["2035.13", "1530.00"]
    published, ori, *_ = tabled("classes")
    assert published[-2:] == ["2.124", "2.730"] and ori[-2:] == ["1.000", "0.000"]


def test_clean_accuracy_beside_margins_is_that_of_the_seeds_which_were_searched():
    more = [*ROWS, row("ori", 1, accuracy=left(0.5, 0.1), radii=[0.0, 0.05])]
    ori, _ = song.TABLES["robustness"](more, MNIST)[1]
    assert ori[6] == "90.00" and ori[8] == "1"


def test_centre_images_without_a_class_leave_it_out():
    (line,) = tabled("centres")
    assert line == ["Ori.", "F.L.", "0.400", "-", "0.200", *["-"] * 7, "0.300", "0.141"]
    published, ours = tabled("centres", CIFAR)
    assert published[1:3] == ["F.L., published", "25.1"] and ours[2] == "102.000"


def test_an_interval_of_the_bootstrap_is_not_shown():
    old = {"robustness_interval": [1.0, 2.0]}
    assert song.between(old, 1.0) == "-"
    assert song.between(old | {"interval_by": "jackknife"}, 2.0) == "2.00 to 4.00"


def test_no_rows_no_tables_and_no_figures():
    for build in song.TABLES.values():
        assert build([], MNIST)[1] == []
    assert song.accuracies([], "fgsm") == {} == song.matrices([], MNIST)


def test_figures_have_a_curve_for_each_seed_and_no_column_of_rays_without_class():
    assert song.accuracies(ROWS, "fgsm") == {"Ori.": [[90, 50]], "F.L.": [[80, 60], [60, 40]]}
    assert tabled("accuracy")[1] == ["FGSM", "F.L.", "70.0 ± 14.1", "50.0 ± 14.1", "2"]
    matrix = song.matrices(ROWS, CIFAR)["Ori."]
    assert matrix.shape == (10, 10) and matrix.isfinite().sum() == 10
    assert matrix[9, 0].item() == pytest.approx(25.5)


def test_ranges_over_seeds_are_drawn(tmp_path):
    panels = {noise: song.accuracies(ROWS, noise) for noise in song.NOISES}
    report.ranges(tmp_path / "figure.png", panels, [0.0, 0.05], ("radius", "accuracy"), "title")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_no_run_is_left_out_where_there_are_more_than_colours(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    lines = {str(number): [[0.9, 0.5]] for number in range(9)}
    report.ranges(
        tmp_path / "a.png", {"noise": lines}, [0.0, 0.05], ("radius", "accuracy"), "title"
    )
    assert len(drawn[0].axes[0].lines) == 9
