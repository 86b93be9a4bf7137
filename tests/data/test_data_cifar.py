"""CIFAR's pickles: read as Python 2 wrote them, and nothing but arrays is ever rebuilt."""

import pickle

import numpy as np
import pytest
from tiny_files import cifar_batch, python2_pickle

from holdfast.data import cifar
from holdfast.errors import BadInput

ROWS = np.arange(2 * 3072).reshape(2, 3072).astype(np.uint8)
GOOD = cifar_batch(ROWS, np.array([7, 3]))


def test_a_python_2_batch_comes_back_channel_first():
    x, y = cifar.batch(GOOD, b"labels", "data_batch_1")
    assert y.tolist() == [7, 3]
    assert x.shape == (2, 3, 32, 32)
    # the format: 1,024 red, then green, then blue values of a row, each line by line
    assert x[1, 2, 5, 9] == ROWS[1, 2 * 1024 + 5 * 32 + 9]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_malicious_pickle_is_refused_and_not_run(protocol, tmp_path):
    trace = tmp_path / "trace"

    class Malicious:
        def __reduce__(self):
            return exec, (f"open({str(trace)!r}, 'w').close()",)

    raw = pickle.dumps({"labels": Malicious()}, protocol=protocol)
    with pytest.raises(BadInput, match=r"arrays only in data_batch_1, got the name .*exec"):
        cifar.unpickle(raw, "data_batch_1")
    assert not trace.exists()
    pickle.loads(raw)
    assert trace.exists(), "the pickle is harmless: the test shows nothing"


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "numpy.load", "numpy.core.x"])
def test_no_other_name_is_looked_up(name):
    module, attribute = name.rsplit(".", 1)
    raw = f"c{module}\n{attribute}\n.".encode()
    with pytest.raises(BadInput, match=name):
        cifar.unpickle(raw, "data_batch_1")


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "a pickled dictionary in f, got EOFError"),
        (GOOD[:500], "a pickled dictionary in f, got UnpicklingError"),
        (b"\x80\x02K\x01.", "a pickled dictionary in f, got int"),
        (python2_pickle({b"labels": [1]}), "rows of uint8 pixels under b'data' in f, got nothing"),
        (cifar_batch(ROWS[:, :100], np.zeros(2, int)), "3072 pixels a row in f, got 100"),
        (cifar_batch(ROWS, np.zeros(3, int)), "2 labels in f, got 3"),
        (python2_pickle({b"data": ROWS}), "whole numbers under b'labels' in f, got nothing"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_damage_is_named_in_one_line(raw, says):
    with pytest.raises(BadInput) as caught:
        cifar.batch(raw, b"labels", "f")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
