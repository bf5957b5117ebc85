"""Ridge regression that turns with the structures: scalars, vectors, tensors from flat latents."""

from collections.abc import Iterator
from numbers import Real
from typing import Any, no_type_check

import numpy as np
import torch
from e3nn import o3
from scipy.linalg import solve
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from geomae.errors import GeomaeError
from geomae.sklearn.cartesian import Target, degrees_of, from_degree, to_degree
from geomae.sklearn.flat import from_rows

AT_A_TIME = 2**23
"""Numbers of a design matrix that are made at a time."""


class EquivariantRidge(RegressorMixin, BaseEstimator):
    """Linear regression, degree by degree, from latents in e3nn's flat layout.

    Each degree of the target is a combination of channels of that degree, with the same weights
    for all components; so predictions turn and reflect with the structures, exactly, whatever
    was learned. Only the part of degree 0 has an intercept. A tensor counts as symmetric: of
    others the symmetric part is learned.

    Args:
        lmax: highest degree of the latents, whose channels are as many for every degree; 0 takes
            every column for a scalar.
        target: what columns of y are: 'scalar', 'vector' (x, y, z) or 'tensor' (nine, row by row).
        products: also products of two features that have the target's degree: scalars times
            features of that degree, of all pairs of channels, and couplings of two higher
            degrees, each channel with itself.
        alpha: penalty on the weights of standardised features, above 0.

    Attributes:
        channels_: channels of the latents.
        coef_: by degree, weights `[features, targets]`.
        intercept_: `[targets]`, of the part of degree 0.
    """

    @no_type_check  # scikit-learn's rule: constructors take anything, `fit` checks
    def __init__(
        self,
        lmax: int = 0,
        *,
        target: Target = "scalar",
        products: bool = False,
        alpha: float = 1.0,
    ):
        self.lmax = lmax
        self.target = target
        self.products = products
        self.alpha = alpha

    def fit(self, X: Any, y: Any) -> "EquivariantRidge":
        """Learn the weights.

        Args:
            X: `[n, (lmax + 1)^2 * channels]`.
            y: `[n]` or `[n, width * k]` for k targets of 1, 3 or 9 columns each.

        Raises:
            GeomaeError: a parameter can't be used, or X or y has another width.
        """
        degrees = degrees_of(self.target)
        if not isinstance(self.alpha, Real) or not float(self.alpha) > 0:
            raise GeomaeError(f"alpha must be above 0, not {self.alpha}")
        if max(degrees) > self.lmax:
            raise GeomaeError(
                f"a {self.target} needs latents of degree {max(degrees)}; lmax is {self.lmax}"
            )
        X, y = validate_data(self, X, y, multi_output=True, y_numeric=True, dtype=np.float64)
        self.channels_ = from_rows(X[:1], self.lmax).channels
        self._flat_target = y.ndim == 1
        y = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
        self.coef_, self.intercept_ = {}, np.zeros(0)
        for degree in degrees:
            part = to_degree(y, self.target, degree)
            self.coef_[degree], offset = self._solve(X, part, degree)
            self.intercept_ = offset if degree == 0 else self.intercept_
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Targets as `fit` was given them, `[n]` or `[n, width * k]`."""
        check_is_fitted(self, "coef_")
        X = validate_data(self, X, dtype=np.float64, reset=False)
        total = 0.0
        for degree, weights in self.coef_.items():
            blocks = [design @ weights for design in self._designs(X, degree)]
            part = np.concatenate(blocks)
            part = part + self.intercept_ if degree == 0 else part
            total = total + from_degree(part, self.target, degree)
        return np.ravel(total) if self._flat_target else np.asarray(total)

    def _solve(self, X: np.ndarray, part: np.ndarray, degree: int) -> tuple[np.ndarray, np.ndarray]:
        """Weights for the raw features of a degree, and the intercept."""
        mean, target_mean = 0.0, np.zeros(part.shape[2])
        if degree == 0:
            mean = sum(design.sum((0, 1)) for design in self._designs(X, 0)) / len(X)
            target_mean = part.mean((0, 1))
        gram, moment, start = 0.0, 0.0, 0
        for design in self._designs(X, degree):
            rows = (design - mean).reshape(-1, design.shape[2])
            wanted = part[start : start + len(design)] - target_mean
            gram = gram + rows.T @ rows
            moment = moment + rows.T @ wanted.reshape(len(rows), -1)
            start += len(design)
        spread = np.sqrt(np.diag(gram) / part[..., 0].size)
        scale = np.where(spread > 1e-12 * spread.max(), spread, 1.0)
        penalty = self.alpha * np.eye(len(scale))
        inner = solve(
            gram / np.outer(scale, scale) + penalty, moment / scale[:, None], assume_a="pos"
        )
        weights = inner / scale[:, None]
        return weights, target_mean - mean @ weights if degree == 0 else target_mean

    def _designs(self, X: np.ndarray, degree: int) -> Iterator[np.ndarray]:
        """Features of a degree, `[rows, 2 * degree + 1, features]`, some rows at a time."""
        components = 2 * degree + 1
        width = features_of(from_rows(X[:1], self.lmax).array, degree, self.products).shape[2]
        step = max(AT_A_TIME // (components * width), 1)
        for start in range(0, len(X), step):
            array = from_rows(X[start : start + step], self.lmax).array
            yield features_of(array, degree, self.products).numpy()

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def features_of(array: Tensor, degree: int, products: bool) -> Tensor:
    """Features of one degree, `[n, 2 * degree + 1, features]`, of latents `[n, m, channels]`.

    Args:
        array: degrees 0 to lmax.
        degree: of the result.
        products: also products of two features; see `EquivariantRidge`.
    """
    lmax = round(array.shape[1] ** 0.5) - 1
    blocks = array.split([2 * each + 1 for each in range(lmax + 1)], 1)
    parts = [blocks[degree]]
    if not products:
        return parts[0]
    pairs = blocks[degree][:, :, :, None] * blocks[0][:, :, None, :]
    if degree == 0:
        rows, columns = torch.triu_indices(array.shape[2], array.shape[2], device=array.device)
        parts.append(pairs[:, :, rows, columns])
    else:
        parts.append(pairs.flatten(2))
    for first in range(1, lmax + 1):
        for second in range(first, min(first + degree, lmax) + 1):
            if second - first > degree or degree > first + second or (first + second + degree) % 2:
                continue
            table = o3.wigner_3j(first, second, degree, dtype=torch.float64).to(array)
            table = table * (2 * degree + 1) ** 0.5
            parts.append(torch.einsum("nic,njc,ijk->nkc", blocks[first], blocks[second], table))
    return torch.cat(parts, 2)
