"""Nearest neighbours by invariants of latents: the same molecule is found in any orientation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors.numpy import load_file, save_file

from geomae.autoencoder.latents import Latents
from geomae.bulk.shards import ShardedLatents
from geomae.data.cache import replacing
from geomae.errors import GeomaeError, MissingExtraError
from geomae.invariants import Kind, check_kind, invariants

if TYPE_CHECKING:
    from geomae.autoencoder import Codec

AT_A_TIME = 1024
"""Latents whose invariants are computed at a time."""


@dataclass(frozen=True)
class Neighbours:
    """What was found for each of n queries, the nearest first.

    Attributes:
        indices: numbers in the collection, `[n, k]`.
        distances: between standardised invariants, `[n, k]`; about 1 or 2 for a random pair.
        names: of the structures, one list a query.
    """

    indices: Int[np.ndarray, "n k"]
    distances: Float[np.ndarray, "n k"]
    names: list[list[str]]


class LatentIndex:
    """Finds in a collection of latents those with the nearest invariants.

    Each invariant is standardised over the collection, then the standardised ones are reduced to
    their main directions where there are more of them than `components`, so that all of QM9 fits
    into little memory. Mirror images have the same invariants and are neighbours at distance 0.

    Args:
        rows: reduced invariants of the collection, `[n, k]`.
        names: of its structures.
        tables: `mean` of the invariants, and the scaled `directions` `[features, k]`.
        kind: of the invariants.
    """

    def __init__(
        self, rows: np.ndarray, names: Sequence[str], tables: dict[str, np.ndarray], kind: Kind
    ):
        try:
            from sklearn.neighbors import NearestNeighbors
        except ImportError as error:
            raise MissingExtraError("scikit-learn", "sklearn") from error
        self.rows, self.names, self.tables, self.kind = rows, list(names), tables, kind
        # few directions, but too many for a tree: comparing with all is faster
        self._finder = NearestNeighbors(algorithm="brute").fit(rows)

    @classmethod
    def build(
        cls,
        latents: Latents | ShardedLatents,
        names: Sequence[str] | None = None,
        *,
        kind: Kind = "cross",
        components: int = 64,
    ) -> "LatentIndex":
        """The index of a collection.

        Args:
            latents: in memory, or a folder's (`geomae.bulk.open_shards`), which is read in pieces.
            names: of the structures; a folder has its own, else they are numbers.
            kind: of the invariants; see `geomae.invariants.Kind`.
            components: directions that are kept.

        Raises:
            GeomaeError: the collection is empty, or names are not as many as latents.
            MissingExtraError: scikit-learn is not installed.
        """
        check_kind(kind)
        if names is None:
            known = isinstance(latents, ShardedLatents)
            names = latents.names if known else [str(i) for i in range(len(latents))]
        if not len(latents) or len(names) != len(latents):
            raise GeomaeError(
                f"an index needs latents and as many names, got {len(latents)} and {len(names)}"
            )
        if components < 1:
            raise GeomaeError(f"components must be at least 1, not {components}")
        tables = _tables(latents, kind, components)
        rows = [_reduced(values, tables) for values in _pieces(latents, kind)]
        return cls(np.concatenate(rows), names, tables, kind)

    def __len__(self) -> int:
        return len(self.rows)

    def nearest(self, latents: Latents, k: int = 5) -> Neighbours:
        """The nearest neighbours of latents.

        Args:
            latents: of the same model as the collection's.
            k: how many of each.

        Raises:
            GeomaeError: there are fewer in the collection, or latents have another shape.
        """
        if not 1 <= k <= len(self):
            raise GeomaeError(f"k must be 1 to {len(self)}, not {k}")
        values = invariants(latents.to(torch.float64), self.kind).cpu().numpy()
        if values.shape[1] != len(self.tables["mean"]):
            raise GeomaeError(
                f"latents have {values.shape[1]} invariants, those of the collection "
                f"{len(self.tables['mean'])}: they are of another model"
            )
        distances, indices = self._finder.kneighbors(_reduced(values, self.tables), k)
        names = [[self.names[i] for i in row] for row in indices.tolist()]
        return Neighbours(indices, distances, names)

    def search(self, structures: Any, model: "Codec", k: int = 5) -> Neighbours:
        """The nearest neighbours of structures.

        Args:
            structures: anything that `geomae.as_structures` takes.
            model: that encoded the collection.
            k: how many of each.
        """
        from geomae.data import as_structures

        return self.nearest(model.encode(as_structures(structures)), k)

    def save(self, path: str | Path) -> None:
        """Write to a safetensors file."""
        text = "\n".join(name.replace("\n", " ") for name in self.names).encode()
        tensors = {**self.tables, "rows": self.rows, "names": np.frombuffer(text, np.uint8)}
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            save_file(tensors, temporary, {"format": "geomae-search", "kind": self.kind})

    @classmethod
    def load(cls, path: str | Path) -> "LatentIndex":
        """Read what `save` wrote.

        Raises:
            GeomaeError: there is no such file, or it holds something else.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="np") as file:
                header = file.metadata() or {}
            tensors = load_file(path)
        except (SafetensorError, OSError) as error:
            raise GeomaeError(f"{path} is not a readable index: {error}") from error
        if header.get("format") != "geomae-search":
            raise GeomaeError(f"{path} is no index for searching")
        names = tensors.pop("names").tobytes().decode().split("\n")
        rows = tensors.pop("rows")
        return cls(rows, names, tensors, header["kind"])


def _pieces(latents: Latents | ShardedLatents, kind: Kind) -> Iterator[np.ndarray]:
    """Invariants of some latents at a time, float64."""
    if isinstance(latents, ShardedLatents):
        batches: Iterator[Latents] = latents.batches(AT_A_TIME)
    else:
        starts = range(0, len(latents), AT_A_TIME)
        batches = (latents[start : start + AT_A_TIME] for start in starts)
    for batch in batches:
        if len(batch):
            yield invariants(batch.to(torch.float64), kind).cpu().numpy()


def _tables(
    latents: Latents | ShardedLatents, kind: Kind, components: int
) -> dict[str, np.ndarray]:
    """Means, scales, and main directions of the standardised invariants."""
    from sklearn.decomposition import PCA

    sample = _sample(latents, kind)
    mean, spread = sample.mean(0), sample.std(0)
    scale = np.where(spread > 1e-9 * max(float(spread.max()), 1e-300), spread, np.inf)
    kept = min(components, *sample.shape)
    standard = (sample - mean) / scale / np.sqrt(np.isfinite(scale).sum() or 1)
    solver = "covariance_eigh" if sample.shape[1] <= 2000 else "randomized"
    main = PCA(kept, svd_solver=solver, random_state=0).fit(standard)
    directions = (
        np.transpose(main.components_) / scale[:, None] / np.sqrt(np.isfinite(scale).sum() or 1)
    )
    return {"mean": mean, "directions": np.ascontiguousarray(directions)}


def _sample(latents: Latents | ShardedLatents, kind: Kind, most: int = 4096) -> np.ndarray:
    """Invariants of latents evenly through the collection: they decide the directions."""
    numbers = np.unique(np.linspace(0, len(latents) - 1, most).astype(int)).tolist()
    chosen = latents[numbers]
    return np.concatenate(list(_pieces(chosen, kind)))


def _reduced(values: np.ndarray, tables: dict[str, np.ndarray]) -> np.ndarray:
    return ((values - tables["mean"]) @ tables["directions"]).astype(np.float32)
