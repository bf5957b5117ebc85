"""Checks that functions and layers obey the symmetries they should, for tests.

Each check tries several random cases and raises an `AssertionError` that names the one that
failed and by how much. Errors are relative: the largest deviation over the largest value of the
expected result. Build a module, or cast it, in the precision that is to be tested.

    from geomae.testing import assert_equivariant

    layer = Linear(4, 4, lmax=2).double()
    features = torch.randn(10, 9, 4, dtype=torch.float64)
    assert_equivariant(layer, [(features, "features")], "features")
"""

from geomae.testing.checks import TOLERANCE as TOLERANCE
from geomae.testing.checks import assert_batch_independent as assert_batch_independent
from geomae.testing.checks import assert_equivariant as assert_equivariant
from geomae.testing.checks import assert_gradients as assert_gradients
from geomae.testing.checks import assert_near as assert_near
from geomae.testing.checks import assert_permutation_equivariant as assert_permutation_equivariant
from geomae.testing.checks import unchanged_global_state as unchanged_global_state
from geomae.testing.random import edges_within as edges_within
from geomae.testing.random import random_molecule as random_molecule
from geomae.testing.random import random_orthogonal as random_orthogonal
from geomae.testing.transforms import Kind as Kind
from geomae.testing.transforms import Role as Role
from geomae.testing.transforms import permute as permute
from geomae.testing.transforms import rotate_features as rotate_features
from geomae.testing.transforms import transform as transform
from geomae.testing.transforms import wigner_matrix as wigner_matrix
