"""Structures to rows of numbers, and rows to structures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, no_type_check

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_array, check_is_fitted

from geomae.autoencoder import Codec, Latents, load
from geomae.data import Structure, as_structures
from geomae.errors import GeomaeError
from geomae.invariants import Kind, check_kind, invariant_names, invariants
from geomae.sklearn.flat import from_rows, row_names, to_rows

OUTPUTS = ("invariants", "latent")


class StructureEncoder(TransformerMixin, BaseEstimator):
    """Encodes structures with a frozen model; a step of a pipeline.

    `X` is a list of anything that `geomae.as_structures` takes, one structure an item; an
    array of objects or a column of a table, too; or the path of a file or folder.

    Args:
        model: name or path of a released model, or the model itself.
        output: 'invariants', numbers that don't change when a structure turns; or 'latent', the
            whole latent in e3nn's flat layout, which `inverse_transform` decodes.
        invariants: which; see `geomae.invariants.Kind`.
        centres: with whole latents, three more columns: the positions of their points in Å.
            Without them decoded structures stand about the origin.
        refine: `inverse_transform` sharpens positions against the encoder.
        batch_size: structures at a time.
        device: where to compute.

    Attributes:
        model_: the loaded model.
        lmax_, channels_: size of its latents.
    """

    @no_type_check  # scikit-learn's rule: constructors take anything, `fit` checks
    def __init__(
        self,
        model: str | Path | Codec = "qm9",
        *,
        output: Literal["invariants", "latent"] = "invariants",
        invariants: Kind = "cross",
        centres: bool = False,
        refine: bool = True,
        batch_size: int = 256,
        device: str = "cpu",
    ):
        self.model = model
        self.output = output
        self.invariants = invariants
        self.centres = centres
        self.refine = refine
        self.batch_size = batch_size
        self.device = device

    def fit(self, X: Any = None, y: Any = None) -> "StructureEncoder":
        """Load the model; nothing is learned from the structures.

        Raises:
            GeomaeError: a parameter can't be used, or there is no such model.
        """
        if self.output not in OUTPUTS:
            raise GeomaeError(f"output must be one of {', '.join(OUTPUTS)}, not '{self.output}'")
        check_kind(self.invariants)
        if self.batch_size < 1:
            raise GeomaeError(f"batch_size must be at least 1, not {self.batch_size}")
        known = isinstance(self.model, Codec)
        self.model_ = self.model if known else load(self.model, device=self.device)
        components, self.channels_ = self.model_.encoder.latent_shape
        self.lmax_ = round(components**0.5) - 1
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Rows of numbers, `[n, features]`.

        Raises:
            NotFittedError: `fit` comes first.
            StructureError: a structure can't be used, or the model does not take it.
            GeomaeError: an item of X holds several structures, or none.
        """
        check_is_fitted(self, "model_")
        return self._rows(self.model_.encode(_one_each(X), batch_size=self.batch_size))

    def inverse_transform(self, X: Any) -> list[Structure | None]:
        """Structures of whole latents, each with its `residual` and whether it is `certified`.

        Args:
            X: `[n, features]`, as `transform` gives them or changed since.

        Raises:
            NotFittedError: `fit` comes first.
            GeomaeError: the output is invariants, which can't be decoded, or X has another width.
        """
        check_is_fitted(self, "model_")
        if self.output != "latent":
            raise GeomaeError(
                "invariants can't be decoded: inverse_transform needs output='latent'"
            )
        rows, expected = check_array(X, dtype=np.float64), self._n_features_out
        if rows.shape[1] != expected:
            raise GeomaeError(f"X has {rows.shape[1]} features, expected {expected}")
        latents = from_rows(rows[:, : expected - 3 if self.centres else expected], self.lmax_)
        centres = torch.from_numpy(rows[:, -3:]) if self.centres else latents.centres
        latents = Latents(latents.array.to(self.model_.dtype), centres)
        return list(self.model_.decode(latents, refine=self.refine))

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the columns; there are no names of the input to take up."""
        check_is_fitted(self, "model_")
        if self.output == "invariants":
            names = invariant_names(self.invariants, self.lmax_, self.channels_)
        else:
            names = row_names(self.lmax_, self.channels_)
            names += ["centre_x", "centre_y", "centre_z"] if self.centres else []
        return np.asarray(names, dtype=object)

    @property
    def _n_features_out(self) -> int:
        return len(self.get_feature_names_out())

    def _rows(self, latents: Latents) -> np.ndarray:
        if self.output == "invariants":
            return invariants(latents, self.invariants).cpu().numpy()
        rows = to_rows(latents)
        return np.hstack([rows, latents.centres.cpu().numpy()]) if self.centres else rows

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.no_validation = True
        return tags


def _one_each(X: Any) -> list[Structure]:
    """Structures of X; rows must stay in step with targets, so an item is one structure."""
    if hasattr(X, "iloc") or (isinstance(X, np.ndarray) and X.dtype == object):
        values = np.asarray(X, dtype=object)
        if values.ndim > 1 and values.shape[1:] != (1,):
            raise GeomaeError(f"expected one column of structures, got {list(values.shape)}")
        X = list(values.reshape(-1))
    structures = as_structures(X)
    if isinstance(X, Sequence) and not isinstance(X, str) and len(structures) != len(X):
        raise GeomaeError(
            f"X has {len(X)} items but {len(structures)} structures: each item must hold one "
            "(open files of several with geomae.as_structures first)"
        )
    return structures
