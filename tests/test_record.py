import errno
import json
import multiprocessing
import resource
import signal
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch

from holdfast import record
from holdfast.attack import PGD
from holdfast.errors import BadInput, choose
from holdfast.feedback import PolicyGradient


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    file = tmp_path / "deep" / "file"
    record.write(file, "old")

    def broken(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", broken)
    with pytest.raises(OSError, match="No space"):
        record.write(file, "new")
    assert file.read_text() == "old"
    assert [p.name for p in file.parent.iterdir()] == ["file"]


def test_json_holds_no_number_that_json_lacks(tmp_path):
    record.write_json(tmp_path / "a.json", {"a": float("nan"), "b": [1.5, float("-inf"), {"c": 2}]})
    assert record.read_json(tmp_path / "a.json") == {"a": None, "b": [1.5, None, {"c": 2}]}
    record.append(tmp_path / "rows.jsonl", {"a": float("inf"), "b": (2.0, float("nan"))})
    assert (tmp_path / "rows.jsonl").read_text() == '{"a": null, "b": [2.0, null]}\n'


@pytest.fixture
def small_disk() -> Iterator[int]:
    """The kernel itself refuses: no file of this process may exceed so many bytes."""
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.getsignal(signal.SIGXFSZ)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    yield 10_000
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_disk_that_is_really_full(tmp_path, small_disk):
    file = tmp_path / "file"
    record.write(file, b"x" * (small_disk // 2))
    with pytest.raises(OSError) as refused:
        record.write(file, b"y" * (5 * small_disk))
    assert refused.value.errno in record.NO_ROOM
    assert file.read_bytes() == b"x" * (small_disk // 2) and len(list(tmp_path.iterdir())) == 1


def test_a_folder_appears_complete_or_not_at_all(tmp_path):
    with pytest.raises(KeyError), record.folder(tmp_path / "run") as draft:
        (draft / "half").write_text("x")
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    with record.folder(tmp_path / "run") as draft:
        (draft / "whole").write_text("x")
        assert not (tmp_path / "run").exists()
    assert (tmp_path / "run" / "whole").exists()


def test_a_link_always_leads_somewhere(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        record.link(tmp_path / "last", name)
        assert (tmp_path / "last").resolve().name == name


def test_a_link_takes_the_place_of_a_folder_also_where_it_leads_into_another(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "old").touch()
    (tmp_path / "round-1").mkdir()
    record.link(tmp_path / "checkpoints", "round-1/checkpoints")
    assert (tmp_path / "checkpoints").is_symlink() and (tmp_path / "checkpoints" / "old").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoints", "round-1"}


def _put(folder: Path, number: int) -> None:
    record.write_new((folder / str(place) for place in count(1)), str(number))


def test_files_that_are_put_at_once_all_stay(tmp_path):
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.starmap(_put, [(tmp_path, number) for number in range(40)])
    assert sorted(path.read_text() for path in tmp_path.iterdir()) == sorted(map(str, range(40)))
    assert {path.name for path in tmp_path.iterdir()} == set(map(str, range(1, 41)))


def test_a_file_system_without_hard_links(tmp_path, monkeypatch):
    def none(*paths: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.link", none)
    _put(tmp_path, 1)
    _put(tmp_path, 2)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"1": "1", "2": "2"}


def test_rows_that_do_not_fit_leave_the_file_as_it_was(tmp_path):
    file = tmp_path / "rows.jsonl"
    record.append(file, {"epoch": 1})
    before, (soft, hard) = file.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 5000, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            record.append(file, {"epoch": 2}, {"epoch": 3, "long": "x" * 10_000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert file.read_bytes() == before
    record.append(file, {"epoch": 2}, {"epoch": 3})
    assert [row["epoch"] for row in record.rows(file)] == [1, 2, 3]


@pytest.mark.parametrize("text", ["a: 1\na: 2", "a: {b: 1, b: 2}", "1: 2\n'1': 3"])
def test_a_key_that_stands_twice_is_refused(tmp_path, text):
    (tmp_path / "it.yaml").write_text(text)
    with pytest.raises(BadInput, match="stands there twice"):
        record.read_yaml(tmp_path / "it.yaml")


def test_a_torn_line_swallows_nothing(tmp_path):
    file = tmp_path / "rows.jsonl"
    record.append(file, {"epoch": 1})
    with file.open("a") as torn:
        torn.write('{"epoch": 2, "lo')
        torn.write("\nnull\n3\n")
    assert record.rows(file) == [{"epoch": 1}]
    record.append(file, {"epoch": 2})
    record.append(file, {"epoch": 3})
    assert [row["epoch"] for row in record.rows(file)] == [1, 2, 3]


GOOD = '{"epoch": 1}\n{"epoch": 2}\n'


@pytest.mark.parametrize("end", ["", '{"epoch": 3}\n', '{"epoch": 3', "\n"])
def test_rows_past_a_point_and_a_torn_end_are_dropped(tmp_path, end):
    file = tmp_path / "rows.jsonl"
    file.write_text(GOOD + end)
    record.keep_rows(file, lambda row: row["epoch"] < 3)
    assert file.read_text() == GOOD


@pytest.mark.parametrize("line", [b'{"epoch": 2, "lo', b"\xff\x00", b"7", b"{}", b'{"epoch": "x"}'])
def test_a_damaged_row_is_named_and_nothing_is_lost(tmp_path, line):
    file = tmp_path / "rows.jsonl"
    file.write_bytes(GOOD.encode() + line + b"\n" + GOOD.encode())
    before = file.read_bytes()
    with pytest.raises(BadInput, match=r"line 3 of .*rows\.jsonl.*delete that line"):
        record.keep_rows(file, lambda row: row["epoch"] < 3)
    assert file.read_bytes() == before


def test_settings_are_written_plainly():
    made = record.plain(PolicyGradient(samples=3))
    assert made["name"] == "reward" and made["samples"] == 3
    assert made["reward"] == {"name": "signed", "correct": 1.0, "wrong": -1.0}
    assert json.loads(json.dumps(record.plain(PGD()))) == record.plain(PGD())
    assert record.plain(test_settings_are_written_plainly).endswith("_written_plainly")
    two = [record.plain(torch.tensor(values)) for values in ([0.0, 1.0], [0.0, 2.0])]
    assert two[0] != two[1] and two[0]["shape"] == [2]
    scalars = record.plain({"a": np.float64(0.5), "b": np.float32(0.5), "c": np.int64(3)})
    assert scalars == {"a": 0.5, "b": 0.5, "c": 3}
    assert {type(value) for value in scalars.values()} == {float, int}


def test_provenance_says_who_and_with_what():
    row = record.provenance(seed=3)
    assert row["holdfast"] == record.version() and row["seed"] == 3
    assert {"commit", "time", "torch", "threads", "cpu", "command", "python"} <= set(row)
    json.dumps(row)


@pytest.mark.parametrize("text", ["- a\n- b", "a: [", "\x00"])
def test_broken_yaml_is_one_line(tmp_path, text):
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(BadInput, match="expected") as refusal:
        record.read_yaml(file)
    assert "\n" not in str(refusal.value)
    with pytest.raises(BadInput, match="check the path"):
        record.read_yaml(tmp_path / "none.yaml")


def test_the_nearest_name_is_suggested():
    with pytest.raises(BadInput, match="did you mean 'mnist'"):
        choose({"mnist": 1, "cifar10": 2}, "mnits", "a data set")


class Slotted:
    __slots__ = ("steps",)

    def __init__(self, steps: int) -> None:
        self.steps = steps


def test_arrays_are_told_apart_however_large():
    ones = np.ones((40, 40))
    marks = [record.plain(one) for one in (ones, ones.copy(), 2 * ones, ones.astype(np.float32))]
    assert marks[0] == marks[1] and len({str(mark) for mark in marks}) == 3
    assert marks[0]["shape"] == [40, 40]


def test_slots_and_sets_are_settings_in_one_order():
    assert record.plain(Slotted(3)) == {"name": "test_record:Slotted", "steps": 3}
    assert record.plain({"a": frozenset({"c", "b", "a"})}) == {"a": ["a", "b", "c"]}
