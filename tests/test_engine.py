"""What the engine does for the process."""

import subprocess
import sys

import pytest
import torch

from holdfast.engine import find_device

FAULTS = """
import resource, torch
from holdfast.engine import keep_memory
KEEP
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(2**24)  # 64 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the C library is another")
def test_memory_that_is_kept_is_not_asked_for_again():
    found = [
        int(subprocess.check_output([sys.executable, "-c", FAULTS.replace("KEEP", line)]))
        for line in ("", "keep_memory()")
    ]
    if found[0] < 1000:
        pytest.skip("the C library keeps it by itself")
    assert found[1] < 100


def test_each_process_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for rank, wanted in ((None, "cuda"), ("0", "cuda:0"), ("1", "cuda:1"), ("2", "cuda")):
        if rank is not None:
            monkeypatch.setenv("LOCAL_RANK", rank)
        assert find_device("auto") == torch.device(wanted)
