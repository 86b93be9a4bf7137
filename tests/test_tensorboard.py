"""What TensorBoard reads back is what the rows say."""

import sys

import pytest

from holdfast import cli, record, report
from holdfast.errors import BadInput


def test_the_rows_can_be_read_by_tensorboard(tmp_path, monkeypatch):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    monkeypatch.chdir(tmp_path)
    words = ["train", "--epochs", "2", "--precision", "fp32", "--out", "run", "--tensorboard"]
    assert cli.main([*words, "--json"]) == 0
    seen = accumulator.EventAccumulator("run/tensorboard").Reload()
    rows = record.rows(tmp_path / "run" / "metrics.jsonl")
    for tag, name in (("validation/clean", "validation_clean"), ("loss", "loss")):
        found = [(event.step, event.value) for event in seen.Scalars(tag)]
        assert found == [(row["epoch"], pytest.approx(row[name])) for row in rows]


def test_without_tensorboard_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(BadInput, match="pip install"):
        report.tensorboard(tmp_path)
