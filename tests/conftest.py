"""What all tests share."""

import pytest
import torch


@pytest.fixture(autouse=True)
def global_state_unchanged():
    """Public calls leave torch's global state as it was."""
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    yield
    assert torch.get_default_dtype() == dtype
    assert torch.get_num_threads() == threads
