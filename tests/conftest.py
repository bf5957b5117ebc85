"""What all tests share."""

import pytest
import torch
from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # other processes share the machine
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def global_state_unchanged():
    """Public calls leave torch's global state as it was."""
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    yield
    assert torch.get_default_dtype() == dtype
    assert torch.get_num_threads() == threads
