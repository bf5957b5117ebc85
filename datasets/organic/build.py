"""Builds the data set `organic`: molecules of 1 to 50 heavy atoms with conformers by RDKit.

    pip install 'geomae[qm9,rdkit]'
    python datasets/organic/build.py -n 24000

writes `organic.safetensors` into `$GEOMAE_CACHE` or `~/.cache/geomae`. It goes on where it was
interrupted, from the parts in the folder `organic-parts-SEED` there. `README.md` says what it
holds.
"""

import argparse
import hashlib
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from random import Random

import numpy as np
import torch
from rdkit import Chem
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers
from rdkit.Chem.Scaffolds import MurckoScaffold
from safetensors.torch import load_file, save_file
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))

from molecules import molecule

from geomae.data.cache import cache_directory, replacing
from geomae.data.sources.organic import FILE, FORMAT, SPLITS, TRAINED_HEAVY
from geomae.errors import GeomaeError

MOLECULES_A_PART = 190
"""Five cycles of sizes; see `molecules.sizes`."""

CONFORMERS = (1, 2, 2, 3)
ATTEMPTS, STEPS = 8, 200
"""Embeddings of a molecule that are tried, and steps of the force field, at most."""

HELD_OUT = {"valid": 4, "test": 8}
"""Parts in a hundred of the scaffolds."""


def build(n: int, seed: int = 0, workers: int = 1, folder: Path | None = None) -> Path:
    """Make the data set of about `n` structures, part by part, and write it as one file.

    Args:
        n: structures; the set ends with the part that reaches it, molecules that come twice
            counted twice but kept once. A longer set begins with a shorter one.
        seed: of molecules and conformers.
        workers: processes that make parts.
        folder: for the file and its parts; the cache by default.

    Raises:
        GeomaeError: `n` or `workers` is not positive.
    """
    from rich.progress import Progress

    if n < 1 or workers < 1:
        raise GeomaeError(f"-n and --workers must be positive, not {n} and {workers}")
    folder = folder or cache_directory()
    parts = folder / f"organic-parts-{seed}"
    parts.mkdir(parents=True, exist_ok=True)
    done, made = 0, []
    with Progress(transient=True) as progress:
        task = progress.add_task("building organic", total=n)
        for path in _parts(parts, seed, workers):
            made.append(path)
            done += len(load_file(path)["conformer"])
            progress.update(task, completed=done)
            if done >= n:
                break
    path = folder / FILE
    with replacing(path) as temporary:
        save_file(_all_of(made), temporary, metadata={"format": FORMAT, "seed": str(seed)})
    return path


def _parts(folder: Path, seed: int, workers: int) -> Iterator[Path]:
    """Paths of the parts in their order, without end, made where they are not there."""
    if workers == 1:
        number = 0
        while True:
            yield make_part(folder, number, seed)
            number += 1
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        waiting = [pool.submit(make_part, folder, k, seed) for k in range(2 * workers)]
        number = len(waiting)
        try:
            while True:
                yield waiting.pop(0).result()
                waiting.append(pool.submit(make_part, folder, number, seed))
                number += 1
        finally:
            for job in waiting:
                job.cancel()


def make_part(folder: Path, number: int, seed: int) -> Path:
    """The file of one part, which is made if it is not there."""
    path = folder / f"{number:05d}.safetensors"
    if path.exists():
        return path
    first = number * MOLECULES_A_PART
    rows = []
    for index in range(first, first + MOLECULES_A_PART):
        smiles = molecule(index, seed)
        if smiles is not None:
            rows += conformers(smiles, seed)
    with replacing(path) as temporary:
        save_file(_columns(rows), temporary)
    return path


def conformers(smiles: str, seed: int) -> list[tuple[str, np.ndarray, np.ndarray, int, bool]]:
    """One to three conformers of one stereoisomer, by ETKDGv3 and MMFF94s, or UFF where it lacks
    parameters; none where embedding fails.

    Returns:
        Of each the SMILES, with the stereochemistry of the first; atomic numbers, positions in Å,
        which of the conformers it is, and whether MMFF94s was used.
    """
    digest = hashlib.sha256(f"{seed} {smiles}".encode()).digest()
    rng = Random(digest)
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    settings = rdDistGeom.ETKDGv3()
    settings.randomSeed = int.from_bytes(digest[:4], "big") % 2**31
    settings.maxIterations = ATTEMPTS
    if rdDistGeom.EmbedMolecule(mol, settings) < 0:
        return []
    Chem.AssignStereochemistryFrom3D(mol)
    several = rng.choice(CONFORMERS)
    if several > 1:
        settings.clearConfs = False
        settings.randomSeed += 1
        rdDistGeom.EmbedMultipleConfs(mol, several - 1, settings)
    known = rdForceFieldHelpers.MMFFHasAllMoleculeParams(mol)
    if known:
        rdForceFieldHelpers.MMFFOptimizeMoleculeConfs(mol, maxIters=STEPS, mmffVariant="MMFF94s")
    elif rdForceFieldHelpers.UFFHasAllMoleculeParams(mol):
        rdForceFieldHelpers.UFFOptimizeMoleculeConfs(mol, maxIters=STEPS)
    else:
        return []
    numbers = np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()], np.uint8)
    isomer = Chem.MolToSmiles(Chem.RemoveHs(mol))
    return [
        (isomer, numbers, own.GetPositions(), place, known)
        for place, own in enumerate(mol.GetConformers())
        if _sound(own.GetPositions())
    ]


def _sound(positions: np.ndarray) -> bool:
    """Finite, with no two atoms closer than 0.6 Å."""
    if not np.isfinite(positions).all():
        return False
    apart = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    return bool((apart + 9 * np.eye(len(positions)) > 0.6).all())


def split_of(smiles: str) -> str:
    """Part of the data set that a molecule is in, by its scaffold and size.

    More than 40 heavy atoms are 'large'. All molecules with one Bemis-Murcko scaffold are in one
    part; those without a ring, which have none, are distributed one by one.
    """
    mol = Chem.MolFromSmiles(smiles)
    if mol.GetNumHeavyAtoms() > TRAINED_HEAVY:
        return "large"
    key = scaffold_of(mol) or f"acyclic {Chem.MolToSmiles(mol, isomericSmiles=False)}"
    place = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % 100
    return next((name for name, bound in HELD_OUT.items() if place < bound), "train")


def scaffold_of(mol: Chem.Mol) -> str:
    """SMILES of the Bemis-Murcko scaffold without stereochemistry; empty if there is no ring."""
    return Chem.MolToSmiles(MurckoScaffold.GetScaffoldForMol(mol), isomericSmiles=False)


def _columns(rows: list) -> dict[str, Tensor]:
    """Flat arrays of structures."""
    smiles = "\n".join(row[0] for row in rows)
    return {
        "numbers": torch.from_numpy(np.concatenate([np.zeros(0, np.uint8), *(r[1] for r in rows)])),
        "positions": torch.from_numpy(
            np.concatenate([np.zeros((0, 3)), *(r[2] for r in rows)]).astype(np.float32)
        ),
        "sizes": torch.tensor([len(row[1]) for row in rows], dtype=torch.int32),
        "conformer": torch.tensor([row[3] for row in rows], dtype=torch.uint8),
        "mmff": torch.tensor([row[4] for row in rows], dtype=torch.uint8),
        "split": torch.tensor(
            [list(SPLITS).index(split_of(row[0])) for row in rows], dtype=torch.uint8
        ),
        "smiles": torch.frombuffer(
            bytearray(smiles.encode()) or bytearray(b"\n"), dtype=torch.uint8
        ),
    }


def _all_of(paths: list[Path]) -> dict[str, Tensor]:
    """The structures of several parts, molecules that an earlier one has left out."""
    seen: set[str] = set()
    columns: dict[str, list[Tensor]] = {}
    texts: list[str] = []
    for path in paths:
        part = load_file(path)
        smiles = bytes(part.pop("smiles").numpy()).decode().split("\n")[: len(part["sizes"])]
        fresh = torch.tensor([own not in seen for own in smiles], dtype=torch.bool)
        seen.update(smiles)
        atoms = torch.repeat_interleave(fresh, part["sizes"].long())
        for name, values in part.items():
            kept = values[atoms if name in ("numbers", "positions") else fresh]
            columns.setdefault(name, []).append(kept)
        texts += [own for own, new in zip(smiles, fresh.tolist(), strict=True) if new]
    joined = {name: torch.cat(values) for name, values in columns.items()}
    joined["smiles"] = torch.frombuffer(bytearray("\n".join(texts).encode()), dtype=torch.uint8)
    return joined


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("-n", type=int, default=24_000, help="structures")
    parser.add_argument("--seed", type=int, default=0, help="of molecules and conformers")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    given = parser.parse_args()
    print(build(given.n, given.seed, given.workers))
