"""What is freed is kept: the next array of that size costs no page."""

import platform
import resource

import numpy as np
import pytest

from backtesting.memory import LARGEST_KEPT, keep_freed_memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="tells glibc's allocator, which is not here")
def test_an_array_of_a_size_that_was_freed_before_touches_no_new_page() -> None:
    assert keep_freed_memory()
    size = LARGEST_KEPT // 16

    def touch() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        np.empty(size).fill(1.0)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    touch()
    # Each of 4,096 pages of 4 KiB would be one fault, and eight of 2 MiB at the least.
    assert min(touch() for _ in range(5)) == 0
