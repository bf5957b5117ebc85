"""Molecules and crystals to one equivariant latent at a single point, and back."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from geomae.errors import GeomaeError as GeomaeError

if TYPE_CHECKING:
    from geomae.autoencoder import Autoencoder as Autoencoder
    from geomae.autoencoder import Latents as Latents
    from geomae.autoencoder import load as load
    from geomae.data import Structure as Structure
    from geomae.data import as_structures as as_structures
    from geomae.generation.generate import generate as generate
    from geomae.inversion import invert as invert

try:
    __version__ = version("geomae")
except PackageNotFoundError:
    __version__ = "0"

_LAZY = {
    "Autoencoder": "geomae.autoencoder",
    "Latents": "geomae.autoencoder",
    "load": "geomae.autoencoder",
    "Structure": "geomae.data",
    "as_structures": "geomae.data",
    "generate": "geomae.generation.generate",
    "invert": "geomae.inversion",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: `import geomae` alone is quick."""
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'geomae' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
