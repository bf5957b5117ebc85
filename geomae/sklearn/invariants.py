"""Invariants from flat latents, as a step of a pipeline."""

from typing import Any, no_type_check

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from geomae.invariants import Kind, check_kind, invariant_names, invariants
from geomae.sklearn.flat import from_rows


class LatentInvariants(TransformerMixin, BaseEstimator):
    """Numbers that don't change under rotation, from latents in e3nn's flat layout.

    Args:
        lmax: highest degree of the latents, whose channels are as many for every degree; 0 takes
            every column for a scalar.
        kind: which invariants; see `geomae.invariants.Kind`.

    Attributes:
        channels_: channels of the latents.
    """

    @no_type_check  # scikit-learn's rule: constructors take anything, `fit` checks
    def __init__(self, lmax: int = 0, *, kind: Kind = "cross"):
        self.lmax = lmax
        self.kind = kind

    def fit(self, X: Any, y: Any = None) -> "LatentInvariants":
        """See that X is as wide as latents are; nothing else is learned.

        Args:
            X: `[n, (lmax + 1)^2 * channels]`.

        Raises:
            GeomaeError: there are no such invariants, or the width is another.
        """
        check_kind(self.kind)
        rows = validate_data(self, X, dtype=(np.float64, np.float32))
        self.channels_ = from_rows(rows[:1], self.lmax).channels
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Invariants, `[n, features]`, in X's precision."""
        check_is_fitted(self, "channels_")
        rows = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        return invariants(from_rows(rows, self.lmax), self.kind).numpy()

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the columns."""
        check_is_fitted(self, "channels_")
        names = invariant_names(self.kind, self.lmax, self.channels_)
        return np.asarray(names, dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
