"""Ray Data: latents as a step of a distributed data set."""

from pathlib import Path
from typing import Any

import numpy as np

from geomae.autoencoder import Codec, load
from geomae.data.structure import Structure
from geomae.errors import GeomaeError


class RayEncoder:
    """Adds latents to batches of columns; for `Dataset.map_batches` of Ray Data.

        rows = [{"numbers": s.numbers.tolist(), "positions": s.positions.tolist()} for s in data]
        ray.data.from_items(rows).map_batches(RayEncoder, fn_constructor_args=("qm9",),
                                              concurrency=4, batch_size=256)

    A batch has the columns `numbers` (atomic numbers of each structure) and `positions` (in Å,
    three for each atom, nested or flat). The result has them and all others, and `latent`, the
    components times channels of each latent in a row, and `centre`. The class itself needs no
    Ray; the extra `ray` brings it.

    Args:
        model: name, path or model.
        device: where to compute.
    """

    def __init__(self, model: str | Path | Codec = "qm9", *, device: str = "cpu"):
        self.model = model if isinstance(model, Codec) else load(model, device=device)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch with two more columns.

        Raises:
            GeomaeError: a column is missing.
            StructureError: the model does not take a structure.
        """
        missing = {"numbers", "positions"} - batch.keys()
        if missing:
            raise GeomaeError(
                f"a batch needs the columns numbers and positions; it has no {missing}"
            )
        structures = [
            Structure(np.asarray(numbers, dtype=np.int64), _points(positions))
            for numbers, positions in zip(batch["numbers"], batch["positions"], strict=True)
        ]
        latents = self.model.encode(structures, batch_size=max(len(structures), 1))
        columns = {
            "latent": latents.array.flatten(1).cpu().numpy(),
            "centre": latents.centres.cpu().numpy(),
        }
        return {**batch, **columns}


def _points(positions: Any) -> np.ndarray:
    """`[n, 3]` from rows of coordinates, nested or flat."""
    return np.concatenate([np.asarray(row, dtype=float).reshape(-1) for row in positions]).reshape(
        -1, 3
    )
