"""What tests of the core share: devices, precisions and small random inputs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from geomae.testing import edges_within, random_molecule

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.fixture(params=DEVICES)
def device(request) -> str:
    return request.param


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


@pytest.fixture
def random(generator) -> Callable[..., Tensor]:
    """Random numbers of a shape, float64."""
    return lambda *shape: torch.randn(*shape, dtype=torch.float64, generator=generator)


@pytest.fixture
def seeded(random) -> Callable[[torch.nn.Module], torch.nn.Module]:
    """Gives a module random parameters, biases and scales too, in float64."""

    def fill(module: torch.nn.Module) -> torch.nn.Module:
        module = module.double()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(0.3 * random(*parameter.shape))
        return module

    return fill


@pytest.fixture
def molecule(generator) -> tuple[Tensor, Tensor]:
    """Positions of six atoms, and edges between those nearer than 2.5 Å."""
    positions = random_molecule(generator, n_atoms=6).positions
    return positions, edges_within(positions, 2.5)


@pytest.fixture
def precisely() -> Callable:
    """Context in which e3nn's products are built in float64: they keep their tables' precision."""

    @contextmanager
    def context() -> Iterator[None]:
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(before)

    return context
