"""Precision of stored latents against what comes back: bits a molecule, and RMSD.

Run `python benchmarks/storage.py`, or with `--quick` for 32 molecules. Molecules of QM9's test
split are encoded, their latents rounded to a format and refined from there, without retries: no
structure has a rounded latent exactly. With 8 bits every degree and channel has a scale of its own,
shared by all molecules: the largest value among 512 molecules of the training split.
"""

import argparse
import json
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

import geomae
from geomae.autoencoder import Latents
from geomae.data import load_source
from geomae.equivariant.harmonics import degrees
from geomae.metrics.reconstruction import compare

HEAD = (
    "format",
    "bits",
    "molecules",
    "reconstructed",
    "exact",
    "rounding",
    "RMSD / Å",
    "largest / Å",
)
FORM = "{:10} {:>8} {:>10} {:>14} {:>8} {:>12} {:>12} {:>12}"


@dataclass
class Row:
    """What came back of latents in one format.

    Attributes:
        bits: of one latent, without the position of its point.
        rounding: mean relative error of the latents.
        rmsd: mean over reconstructed molecules, in Å.
        largest: error of an atom of those, in Å.
    """

    format: str
    bits: int
    molecules: int
    reconstructed: int
    exact: int
    rounding: float
    rmsd: float
    largest: float


def eight_bits(reference: Tensor) -> Callable[[Tensor], Tensor]:
    """Rounding to 255 steps between plus and minus the largest value of each degree and channel."""
    degree = degrees(round(reference.shape[1] ** 0.5) - 1)
    largest = torch.stack(
        [reference[:, degree == d].abs().amax((0, 1)) for d in range(int(degree.max()) + 1)]
    )
    scale = largest[degree] / 127

    def rounded(array: Tensor) -> Tensor:
        return (array / scale).round().clamp(-127, 127) * scale

    return rounded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="qm9", help="name or path")
    parser.add_argument("-n", type=int, default=500, help="molecules")
    parser.add_argument("--quick", action="store_true", help="32 molecules")
    parser.add_argument("--json", help="file for the figures")
    options = parser.parse_args()
    model = geomae.load(options.model)
    structures = load_source("qm9", split="test", n=32 if options.quick else options.n)
    latents = model.encode(structures)
    reference = model.encode(load_source("qm9", split="train", n=512)).array
    formats: dict[str, tuple[int, Callable[[Tensor], Tensor]]] = {
        "float32": (32, lambda array: array),
        "float16": (16, lambda array: array.half().float()),
        "bfloat16": (16, lambda array: array.bfloat16().float()),
        "8 bits": (8, eight_bits(reference)),
    }
    print(FORM.format(*HEAD))
    rows = []
    for name, (bits, rounded) in formats.items():
        array = rounded(latents.array)
        decoded = model.decode(Latents(array, latents.centres), retries=0)
        items = [compare(one, other) for one, other in zip(structures, decoded, strict=True)]
        back = [item for item in items if item.reconstructed]
        error = (array - latents.array).flatten(1).norm(dim=1)
        row = Row(
            name,
            bits * latents.array[0].numel(),
            len(structures),
            len(back),
            sum(item.exact for item in items),
            float((error / latents.array.flatten(1).norm(dim=1)).mean()),
            sum(item.rmsd for item in back) / max(len(back), 1),
            max((item.max_error for item in back), default=float("nan")),
        )
        rows.append(row)
        figures = [f"{v:.2g}" for v in (row.rounding, row.rmsd, row.largest)]
        counts = row.bits, row.molecules, row.reconstructed, row.exact
        print(FORM.format(name, *counts, *figures), flush=True)
    if options.json:
        content = {"model": options.model, "rows": [asdict(row) for row in rows]}
        Path(options.json).write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
