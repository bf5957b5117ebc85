"""Descriptors from what people have."""

from typing import Any

import numpy as np

from geomae.errors import GeomaeError
from geomae.inversion.descriptors.base import Descriptor


def as_descriptor(descriptor: Any, values: Any = None, *, n_atoms: int | None = None) -> Descriptor:
    """A descriptor, of one or of a dscribe `SOAP`.

    Args:
        descriptor: either.
        values: of which it is; one row of a SOAP that isn't averaged is its first atom's, unless
            the structure has but one atom.
        n_atoms: number of atoms, if known.

    Raises:
        GeomaeError: it is neither.
    """
    if isinstance(descriptor, Descriptor):
        return descriptor
    module = type(descriptor).__module__.split(".")[0]
    if module == "dscribe" and type(descriptor).__name__ == "SOAP":
        from geomae.inversion.descriptors.soap import Soap

        rows = np.shape(values)[0] if np.ndim(values) == 2 else 1
        single = values is not None and rows == 1 and n_atoms != 1
        return Soap.from_dscribe(descriptor, centres=(0,) if single else "all")
    raise GeomaeError(
        "expected a descriptor of geomae.inversion or a dscribe SOAP, not a "
        f"{type(descriptor).__name__}; wrap a function of yours in geomae.inversion.Function"
    )
