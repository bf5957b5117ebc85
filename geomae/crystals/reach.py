"""Weights of a model whose lattice's field ends early, for one in which it reaches farther."""

import numpy as np
import torch
from torch import Tensor

from geomae.crystals.config import CrystalConfig
from geomae.equivariant import RadialBasis
from geomae.errors import GeomaeError

STEP = 0.05
"""Distance in Å of the lengths at which radial functions are compared."""


def extended(
    tensors: dict[str, Tensor], old: CrystalConfig, new: CrystalConfig
) -> dict[str, Tensor]:
    """Weights with the same radial functions of lattice vectors, in the basis of a longer reach.

    Each is fitted by least squares, and is zero where the old ones end.

    Args:
        tensors: weights by name.
        old, new: configurations that differ in the lattice's `radius`, `n_radial` and `queries`
            alone.

    Raises:
        GeomaeError: they differ otherwise.
    """
    fields = {name: getattr(new.lattice, name) for name in ("radius", "n_radial", "queries")}
    if old.model_copy(update={"lattice": old.lattice.model_copy(update=fields)}) != new:
        raise GeomaeError(
            "only the lattice's radius, n_radial and queries can change where a training goes on "
            "from another model's weights"
        )
    margin = 2 * old.lattice.softening
    read = _change(old, new, margin) * (fields["n_radial"] / old.lattice.n_radial) ** 0.5
    seen = _change(old, new, 0.0)
    radial, mix = "decoder.lattice.radial", "encoder.lattice.mix.weight"
    return tensors | {
        radial: (read @ tensors[radial].double()).to(tensors[radial]),
        mix: (seen @ tensors[mix].double()).to(tensors[mix]),
    }


def _change(old: CrystalConfig, new: CrystalConfig, margin: float) -> Tensor:
    """Coefficients of the old radial functions in the new ones, `[new, old]`."""
    lengths = torch.arange(0.0, new.lattice.radius + margin, STEP, dtype=torch.float64)
    before, after = (
        RadialBasis(
            own.lattice.n_radial, own.lattice.radius + margin, kind="gaussian", envelope=False
        )(lengths).numpy()
        for own in (old, new)
    )
    return torch.from_numpy(np.linalg.lstsq(after, before, rcond=1e-8)[0])
