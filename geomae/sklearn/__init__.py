"""scikit-learn: structures to latents and back, and estimators on arrays of latents."""

try:
    import sklearn as _sklearn  # noqa: F401
except ImportError as error:
    from geomae.errors import MissingExtraError

    raise MissingExtraError("scikit-learn", "sklearn") from error

from geomae.sklearn.encoder import StructureEncoder as StructureEncoder
from geomae.sklearn.invariants import LatentInvariants as LatentInvariants
from geomae.sklearn.ridge import EquivariantRidge as EquivariantRidge
