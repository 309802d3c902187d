"""Memory that a training step frees on the CPU stays with the process."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import torch
from forehand.learning.optimization.freed_memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(16 * 2**20)  # of 64 MB, which malloc would return
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(keep_freed_memory(), faults(), faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_a_block_that_was_freed_is_not_got_again_from_the_system():
    said = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True).stdout.split()
    kept, first, again = said[0], *map(int, said[1:])
    assert kept == "True"
    assert again < first / 10
