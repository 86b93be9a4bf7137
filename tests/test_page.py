"""One page of HTML: everything is on it, nothing else is needed, and names are no code."""

import base64
import re
import shutil
from io import BytesIO
from pathlib import Path

import pytest
import torch
from PIL import Image
from small import blobs, network

from holdfast import attack, diagnosis, evaluation, margin, record, report, retraining, training
from holdfast.cli import main
from holdfast.errors import BadInput
from holdfast.result import Table

NAME = "a <b>bold & brave</b> run"


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A run of which everything is known, and one that was only trained."""
    place, data = tmp_path_factory.mktemp("runs"), blobs()
    watch = training.Watch(images=6, radius=0.1, every=2)
    x, y = data.test.x, data.test.y
    for name in (NAME, "other"):
        model = network(data)
        training.train(model, data, epochs=2, watch=watch, out=place / name)
    judged, run = evaluation.evaluate(model.eval(), x, y, radius=0.1), place / NAME
    for seed in (0, 1):
        evaluation.save(judged, run, y, about={"battery": "quick", "split": "test", "seed": seed})
    weak = {"fgsm": attack.FGSM(radius=0.05)}
    evaluation.save(evaluation.evaluate(model, x, y, attacks=weak, radius=0.1), run, y)
    found = diagnosis.diagnose(model, x, y, radius=0.1, depth=diagnosis.QUICK)
    found.save(run)
    rays = margin.search(model, x, y, step=0.1, directions=margin.Orthonormal(count=3))
    margin.save(rays, run / "margins", y)
    report.heat(run / "margins" / "matrix.png", {"run": rays.matrix()}, "")
    for size in (6, 12):
        evaluation.curve(model, x[:size], y[:size], [0.1]).save(run, {"suite": "quick"})
    evaluation.transfer_matrix({"a": model, "b": model}, x, y, attack.FGSM(radius=0.1)).save(run)
    probe = retraining.Probe(images=12, step=0.1, directions=margin.Orthonormal(count=3))
    fed = retraining.retrain(model, data, probe=probe, judge=probe, epochs=1, watch=watch)
    for one in fed.rounds:
        record.append(run / "retraining.jsonl", one.as_dict())
    return place


def words(file: Path) -> str:
    return re.sub(
        r"\s+", " ", re.sub(r"<[^>]+>", " ", re.sub('base64,[^"]+', "", file.read_text()))
    )


def lines(table: Table) -> list[str]:
    """Its lines, as `words` gives them."""
    return [" ".join(" ".join(line).split()) for line in (table.head, *table.rows)]


def test_all_that_a_run_holds_is_on_its_page(runs, tmp_path):
    made = report.page([runs / NAME], tmp_path / "page.html")
    text, shown = made.read_text(), words(made)
    rows = record.rows(runs / NAME / "evaluation.jsonl")
    for row in rows:
        assert row["name"] in shown and f"{row['accuracy']:.1%}" in shown
    assert text.count("<td>pgd-margin</td>") == 1  # the newest of two alike
    assert shown.count("Evaluation: quick") == 1 and "seed 1" in shown and "seed 0" not in shown
    assert "Evaluation: fgsm" in shown and "no attack of the budget" in shown
    verdict = record.read_json(runs / NAME / "findings.json")["verdict"]
    assert verdict in shown.replace("&lt;", "<").replace("&#39;", "'")
    parts = ("Diagnosis", "Accuracy over budgets: quick", "Transfers", "Margins", "Retraining")
    for part in (*parts, "Training"):
        assert text.count(f"<h3>{part}") == 1, part
    held = margin.load(runs / NAME / "margins").as_table()
    assert len(held.rows) == 4 and all(line in shown for line in lines(held)), shown
    assert "12 images, linf" in shown and "6 images, linf" not in shown  # the newest curve
    alone = re.search(
        r"FGSM accuracy \(%\), at epoch 2 alone: \S+ on train, \S+ on validation.", shown
    )
    assert alone, shown
    assert "2 epochs in" in shown and "config.yaml" in shown and "optimizer:" in shown
    assert text.count("data:image/png;base64,iVBOR") == text.count("<img") == 3


def test_lettering_is_of_one_size_in_all_pictures(runs, tmp_path):
    text = report.page([runs / NAME], tmp_path / "page.html").read_text()
    found = re.findall(r'<img width="(\d+)" src="data:image/png;base64,([^"]+)"', text)
    assert len(found) == 3
    for width, data in found:
        picture = Image.open(BytesIO(base64.b64decode(data)))
        assert abs(int(width) / 96 - picture.width / picture.info["dpi"][0]) < 0.01  # inches


def test_nothing_is_loaded_from_elsewhere_and_names_are_no_code(runs, tmp_path):
    text = report.page([runs / NAME, runs / "other"], tmp_path / "page.html").read_text()
    assert "<b>bold" not in text and "&lt;b&gt;bold &amp; brave" in text
    assert not re.search(r"(src|href)=\"(?!data:|#run-)", text) and "<script" not in text
    assert "not diagnosed" in text and text.count("<h2 ") == 2 and "Side by side" not in text


def test_runs_that_were_attacked_stand_side_by_side(runs, tmp_path):
    flags = torch.zeros(len(blobs().test.y), dtype=torch.long)
    found = evaluation.evaluate(network(blobs()), blobs().test.x, flags, radius=0.1)
    for name in ("one", "two"):
        evaluation.save(found, tmp_path / name, flags, about={"battery": name})
    text = report.page([tmp_path / "one", tmp_path / "two"], tmp_path / "page.html").read_text()
    assert "Side by side" in text and '<th scope="col">battery</th>' in text
    assert "Accuracy in per cent: " in text and "norm linf, radius 0.1" in text


def test_the_newest_evaluation_is_told_first(tmp_path):
    data = blobs()
    model, x, y = network(data).eval(), data.test.x, data.test.y
    for battery in ("old", "new", "old"):
        found = evaluation.evaluate(model, x, y, radius=0.1)
        evaluation.save(found, tmp_path, y, about={"battery": battery})
    shown = words(report.page([tmp_path], tmp_path / "page.html"))
    assert shown.index("Evaluation: old") < shown.index("Evaluation: new")
    assert shown.count("Evaluation: old") == 1


def test_the_curves_of_runs_by_one_suite_are_in_one_picture(tmp_path):
    data = blobs()
    model, x, y = network(data), data.test.x, data.test.y
    model = model.eval()
    for name, suite in (("one", "quick"), ("two", "quick"), ("odd", "seeds")):
        evaluation.save(evaluation.evaluate(model, x, y, radius=0.1), tmp_path / name, y)
        evaluation.curve(model, x, y, [0.05, 0.1]).save(tmp_path / name, {"suite": suite})
    names = [tmp_path / name for name in ("one", "two", "odd")]
    made = report.page(names, tmp_path / "page.html").read_text()
    assert made.count("<img") == 4 and "Accuracy over budgets: quick, linf</h3>" in made
    made = report.page(names[1:], tmp_path / "page.html").read_text()
    assert made.count("<img") == 2 and "Accuracy over budgets: quick, linf</h3>" not in made


def test_a_curve_s_table_is_the_one_that_is_printed(tmp_path):
    data = blobs()
    model, x, y = network(data).eval(), data.test.x, data.test.y
    evaluation.save(evaluation.evaluate(model, x, y, radius=0.1), tmp_path, y)

    def battery(radius: float):
        return {"fgsm": attack.FGSM(radius=radius), "pgd": attack.PGD(radius=radius)}

    for apart in (False, True):
        found = evaluation.curve(model, x, y, [0.0, 0.05, 0.1], battery, apart=apart)
        found.save(tmp_path, {"suite": f"apart {apart}"})
        shown = words(report.page([tmp_path], tmp_path / "page.html"))
        assert all(line in shown for line in lines(found.as_table())), shown


def test_the_command_says_where_the_page_is(runs, tmp_path, monkeypatch, capsys):
    assert main(["report", str(runs / "other")]) == 0
    assert (runs / "other" / "report.html").exists()
    assert "report.html" in capsys.readouterr().out
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(runs / "other"), str(runs / NAME), "--json"]) == 0
    assert capsys.readouterr().out == '{"page": "report.html"}\n' and Path("report.html").exists()
    assert main(["report", str(runs / "other"), "--out", "deep/er.html"]) == 0
    assert Path("deep/er.html").exists()


def test_what_is_no_run_is_said_in_one_line(tmp_path, capsys):
    for given in ([], "run", [tmp_path]):
        with pytest.raises(BadInput, match=r"expected a .*run folder"):
            report.page(given, tmp_path / "page.html")
    assert main(["report"]) == 2 and main(["report", str(tmp_path)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 2
    assert not list(tmp_path.iterdir())


def test_images_of_a_transfer_that_do_not_count_are_said(tmp_path):
    data = blobs()
    model, x, y = network(data).eval(), data.test.x, data.test.y
    evaluation.save(evaluation.evaluate(model, x, y, radius=0.1), tmp_path, y)
    evaluation.transfer_matrix({"a": model}, x, y, lambda model, x, y: x + 5).save(tmp_path)
    shown = words(report.page([tmp_path], tmp_path / "page.html"))
    assert "100.0% of the images made on a were outside the budget" in shown


def test_a_damaged_row_hides_no_other(tmp_path):
    data = blobs()
    model, x, y = network(data).eval(), data.test.x, data.test.y
    evaluation.save(evaluation.evaluate(model, x, y, radius=0.1), tmp_path, y)
    record.append(tmp_path / "evaluation.jsonl", {"per_image": "x", "accuracy": 0.5})
    shown = words(report.page([tmp_path], tmp_path / "page.html"))
    assert "pgd-margin" in shown and shown.count("This cannot be read") == 1


def test_the_worst_case_is_under_its_own_budget_and_what_is_known_of_it_is_said(tmp_path):
    data, run = blobs(), tmp_path / "run"
    model, (x, y) = network(data), (data.test.x, data.test.y)
    mixed = {"pgd": attack.PGD(radius=0.1), "l2": attack.PGD(radius=1.0, norm="l2")}
    for radius in (0.1, 0.2):
        found = evaluation.evaluate(model, x, y, attacks=mixed, radius=radius, norm="linf")
        evaluation.save(found, run, y, about={"battery": "mine"})
    led = {"led": attack.Targeted(attack=attack.PGD(radius=0.1), target="least")}
    evaluation.save(evaluation.evaluate(model, x, y, attacks=led, cascade=True, radius=0.1), run, y)
    shown = words(report.page([run], tmp_path / "page.html"))
    assert "worst case within linf 0.1 " in shown and "worst case within linf 0.2 " in shown
    assert shown.count("not in the worst case, as in another norm than linf: l2.") == 2
    assert "images led to another class" in shown
    rows = record.rows(run / "evaluation.jsonl")
    assert rows[1]["budget"] == {"norm": "linf", "radius": 0.1} and rows[1]["norm"] == "l2"


def test_a_damaged_file_is_said_in_its_place(runs, tmp_path):
    shutil.copytree(runs / NAME, tmp_path / "run", symlinks=True)
    findings = record.read_json(tmp_path / "run" / "findings.json")
    del findings["remedies"]
    record.write_json(tmp_path / "run" / "findings.json", findings)
    (tmp_path / "run" / "margins" / "matrix.json").write_text('{"mean_margin": nul')
    record.append(tmp_path / "run" / "curve.jsonl", {"norm": "linf", "points": [{}]})
    record.append(tmp_path / "run" / "evaluation.jsonl", {"battery": "old", "per_image": "x"})
    whole = record.rows(tmp_path / "run" / "evaluation.jsonl")[0]
    torn = whole | {"battery": "torn", "per_image": "y", "findings": [{"name": "x"}]}
    record.append(tmp_path / "run" / "evaluation.jsonl", torn)
    (tmp_path / "run" / "entropy.png").write_bytes(b"\x89PNG torn")
    (tmp_path / "run" / "config.yaml").write_bytes(b"data: \xff\xfe")
    text = report.page([tmp_path / "run"], tmp_path / "page.html").read_text()
    assert text.count("This cannot be read: ") == 5 and text.count("<img") == 2  # one a good curve
    assert "<h3>Training" in text and "<h3>Evaluation: quick" in text


def test_nothing_but_an_earlier_page_is_replaced(runs, tmp_path, capsys):
    kept = tmp_path / "kept.html"
    kept.write_text("mine")
    for out in (kept, tmp_path, Path("/dev/null")):
        assert main(["report", str(runs / "other"), "--out", str(out)]) == 2
    assert kept.read_text() == "mine" and Path("/dev/null").is_char_device()
    page, link = tmp_path / "page.html", tmp_path / "link.html"
    link.symlink_to(page)
    for _ in range(2):
        assert main(["report", str(runs / "other"), "--out", str(link)]) == 0
    assert link.is_symlink() and page.read_bytes().startswith(b"<!doctype html>")


def test_a_run_is_told_once_and_by_its_name(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(runs / "other")
    text = report.page([".", runs / "other", "../other"], tmp_path / "page.html").read_text()
    assert text.count("<h2 ") == 1 and "<title>other</title>" in text
    (tmp_path / "new" / "checkpoints").mkdir(parents=True)
    (tmp_path / "new" / "evaluation.jsonl").touch()
    text = report.page([tmp_path / "new", runs / "other"], tmp_path / "page.html").read_text()
    assert "Nothing to show yet" in text and "Side by side" not in text


def test_a_folder_of_results_alone_is_told_too(tmp_path):
    data = blobs()
    model, x, y = network(data).eval(), data.test.x, data.test.y
    evaluation.curve(model, x, y, [0.1]).save(tmp_path / "curves", {"suite": "quick"})
    rays = margin.search(model, x, y, step=0.1, directions=margin.Orthonormal(count=3))
    margin.save(rays, tmp_path / "rays" / "margins", y)
    shown = words(report.page([tmp_path / "curves", tmp_path / "rays"], tmp_path / "page.html"))
    assert "Accuracy over budgets: quick" in shown and "Mean margin" in shown


@pytest.mark.parametrize(
    ("suffix", "start"), [(".pdf", b"%PDF"), (".svg", b"<?xml"), (".png", b"\x89PNG")]
)
def test_a_figure_has_the_form_of_its_name(tmp_path, suffix, start):
    file = tmp_path / f"bars{suffix}"
    report.bars(file, {"one": {"clean": 0.9}}, "title")
    assert file.read_bytes().startswith(start)
    with pytest.raises(BadInput, match=r"expected a figure as .png, .pdf, .svg"):
        report.bars(tmp_path / "bars.jpeg", {"one": {"clean": 0.9}}, "title")
