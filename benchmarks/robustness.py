"""What comes back of structures that are not at minima: displaced, conformers, enantiomers.

Run `python benchmarks/robustness.py`, or with `--quick` for 8 molecules of each kind. Molecules are
the first of the test split of the model's data set that the kind applies to.

- displaced: every atom moved at random, by 0.1, 0.2 or 0.3 Å root mean square in all;
- conformers: two of RDKit's (ETKDG and MMFF, more than 0.5 Å apart after superposition);
- enantiomers: a chiral molecule and its mirror image;
- noise: latents with Gaussian noise, in parts of their spread at each degree and channel, decoded
  without retries, straight from the peaks and refined;
- turned: the round trip of a molecule turned at random, reflections included, against the turned
  round trip, straight from the peaks and refined; the largest difference of an atom.
"""

import argparse
import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import torch

import geomae
from geomae.autoencoder import Autoencoder, Latents
from geomae.autoencoder.base import spread
from geomae.autoencoder.reading import RETRIES
from geomae.data import Structure, load_source
from geomae.metrics.reconstruction import compare
from geomae.testing import random_orthogonal

HEAD = "kind", "structures", "reconstructed", "exact", "certified", "RMSD / Å", "pairs apart"
FORM = "{:26} {:>10} {:>14} {:>8} {:>10} {:>12} {:>12}"


@dataclass
class Row:
    """What came back of structures of one kind.

    Attributes:
        apart: structures whose latents differ from their partner's, by more than a hundredth of
            their length; none have partners if None.
        rmsd: mean over reconstructed structures, in Å.
    """

    kind: str
    structures: int
    reconstructed: int
    exact: int
    certified: int
    rmsd: float
    apart: int | None = None


@dataclass
class Turned:
    """Differences between round trips of turned molecules and turned round trips, in Å."""

    kind: str
    structures: int
    above: int
    median: float
    largest: float


def measured(
    kind: str,
    model: Autoencoder,
    structures: Sequence[Structure],
    retries: int,
    *,
    pairs: bool,
    refine: bool = True,
) -> Row:
    """Round trips of structures; with `pairs` each two in a row are partners."""
    latents = model.encode(structures)
    apart = None
    if pairs:
        one, other = latents.array[::2].flatten(1), latents.array[1::2].flatten(1)
        apart = int(((one - other).norm(dim=1) > 0.01 * one.norm(dim=1)).sum())
    return compared(kind, structures, model.decode(latents, refine=refine, retries=retries), apart)


def noisy(model: Autoencoder, structures: Sequence[Structure], size: float, *, refine: bool) -> Row:
    """Decodings of latents with noise of a part of their spread."""
    latents = model.encode(structures)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(latents.array.shape, generator=generator)
    moved = Latents(latents.array + size * spread(latents.array) * noise, latents.centres)
    how = "refined" if refine else "from the peaks"
    decoded = model.decode(moved, refine=refine, retries=0)
    return compared(f"noise {size:g}, {how}", structures, decoded)


def compared(
    kind: str,
    structures: Sequence[Structure],
    decoded: Sequence[Structure],
    apart: int | None = None,
) -> Row:
    """Figures of decodings beside the structures that they should be."""
    items = [compare(a, b) for a, b in zip(structures, decoded, strict=True)]
    back = [item for item in items if item.reconstructed]
    return Row(
        kind,
        len(structures),
        len(back),
        sum(item.exact for item in items),
        sum(bool(it.certified) for it in decoded),
        sum(item.rmsd for item in back) / max(len(back), 1),
        apart,
    )


def displaced(structures: Sequence[Structure], size: float) -> list[Structure]:
    """Structures whose atoms are moved at random, by `size` Å root mean square."""
    generator = torch.Generator().manual_seed(0)
    moved = []
    for s in structures:
        shift = torch.randn(s.positions.shape, generator=generator, dtype=torch.float64)
        shift *= size / shift.square().sum(1).mean().sqrt()
        moved.append(Structure(s.numbers, s.positions + shift))
    return moved


def conformers(structures: Sequence[Structure], n: int) -> list[Structure]:
    """Two conformers of each of n molecules, in a row."""
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom, rdForceFieldHelpers, rdMolAlign

    parameters, found = rdDistGeom.ETKDGv3(), []
    parameters.randomSeed = 1  # with 0 all conformers are the same
    for s in structures:
        if len(found) == 2 * n:
            break
        mol = Chem.AddHs(Chem.MolFromSmiles(s.smiles))
        ids = list(rdDistGeom.EmbedMultipleConfs(mol, 6, parameters))
        if len(ids) < 2 or not rdForceFieldHelpers.MMFFHasAllMoleculeParams(mol):
            continue
        rdForceFieldHelpers.MMFFOptimizeMoleculeConfs(mol)
        far = [i for i in ids[1:] if rdMolAlign.GetBestRMS(Chem.Mol(mol), mol, i, ids[0]) > 0.5]
        if far:
            numbers = torch.tensor([atom.GetAtomicNum() for atom in mol.GetAtoms()])
            for i in (ids[0], far[0]):
                positions = torch.tensor(mol.GetConformer(i).GetPositions())
                found.append(Structure(numbers, positions))
    return found


def enantiomers(structures: Sequence[Structure], n: int) -> list[Structure]:
    """Each of n chiral molecules and its mirror image, in a row."""
    from rdkit import Chem

    found = []
    for s in structures:
        if len(found) == 2 * n:
            break
        mol = Chem.MolFromSmiles(s.smiles)
        centres = Chem.FindMolChiralCenters(mol, includeUnassigned=True)
        if len(centres) == 1:
            mirror = s.positions * s.positions.new_tensor([-1.0, 1, 1])
            found += [Structure(s.numbers, s.positions), Structure(s.numbers, mirror)]
    return found


def turned(
    model: Autoencoder, structures: Sequence[Structure], retries: int, *, refine: bool
) -> Turned:
    """Round trips of turned molecules against turned round trips."""
    generator = torch.Generator().manual_seed(0)
    latents = model.encode(structures)
    straight = model.decode(latents, refine=refine, retries=retries)
    matrices = [random_orthogonal(generator, improper=True) for _ in structures]
    moved = [
        Structure(s.numbers, s.positions @ matrix.T)
        for s, matrix in zip(structures, matrices, strict=True)
    ]
    other = model.decode(model.encode(moved), refine=refine, retries=retries)
    errors = []
    for one, two, matrix in zip(straight, other, matrices, strict=True):
        same = compare(Structure(one.numbers, one.positions @ matrix.T), two)
        errors.append(same.max_error)
    values = torch.tensor(errors)
    kind = "turned, refined" if refine else "turned, from the peaks"
    above = int((~(values <= 1e-4)).sum())
    largest = float(values.nan_to_num(nan=torch.inf).max())
    return Turned(kind, len(errors), above, float(values.nanmedian()), largest)


def print_row(row: Row) -> None:
    apart = "-" if row.apart is None else f"{row.apart} of {row.structures // 2}"
    counts = row.structures, row.reconstructed, row.exact, row.certified
    print(FORM.format(row.kind, *counts, f"{row.rmsd:.2g}", apart), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="qm9", help="name or path")
    parser.add_argument("-n", type=int, default=100, help="molecules of each kind")
    parser.add_argument(
        "--noise", type=float, nargs="*", default=[0.001, 0.003, 0.01, 0.03, 0.1, 0.3]
    )
    parser.add_argument(
        "--retries", type=int, default=RETRIES, help="of doubtful decodings, seconds each"
    )
    parser.add_argument("--turned", type=int, default=200, help="molecules that are turned")
    parser.add_argument(
        "--refine",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="of displaced molecules, conformers and enantiomers",
    )
    parser.add_argument("--quick", action="store_true", help="8 molecules of each kind")
    parser.add_argument("--json", help="file for the figures")
    options = parser.parse_args()
    if options.quick:
        options.n = options.turned = 8
    n, model = options.n, geomae.load(options.model)
    assert isinstance(model, Autoencoder)
    source = geomae.autoencoder.home_source(options.model) or "qm9"
    structures = load_source(source, split="test", n=max(20 * n, options.turned))
    kinds = {f"displaced by {d} Å": displaced(structures[:n], d) for d in (0.1, 0.2, 0.3)}
    pairs = {"conformers": conformers(structures, n), "enantiomers": enantiomers(structures, n)}
    print(FORM.format(*HEAD))
    rows: list[Row | Turned] = []
    for kind, own in (kinds | pairs).items():
        rows.append(
            measured(kind, model, own, options.retries, pairs=kind in pairs, refine=options.refine)
        )
        print_row(rows[-1])
    for size, refine in product(options.noise, (False, True)):
        rows.append(noisy(model, structures[:n], size, refine=refine))
        print_row(rows[-1])
    for refine in (False, True) if options.turned else ():
        result = turned(model, structures[: options.turned], options.retries, refine=refine)
        rows.append(result)
        print(
            f"{result.kind}: {result.above} of {result.structures} differ by more than 1e-4 Å; "
            f"median {result.median:.2g} Å, largest {result.largest:.2g} Å",
            flush=True,
        )
    if options.json:
        content = {"model": options.model, "rows": [asdict(row) for row in rows]}
        Path(options.json).write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
