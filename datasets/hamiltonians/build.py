"""Builds the Fock and overlap matrices of small molecules in one orientation.

Restricted Hartree-Fock with PySCF in STO-3G and 6-31G, for the molecules of ASE's G2 set named in
`MOLECULES`, ideal and with their atoms moved a little. Offline, deterministic, about a minute:

    pip install 'geomae[quantum]'
    python datasets/hamiltonians/build.py

writes `sto-3g.npz` and `6-31g.npz` beside this script. `README.md` says what they hold.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from geomae.data import Structure
from geomae.equivariant import spherical_harmonics
from geomae.errors import GeomaeError, MissingExtraError

MOLECULES = ("H2O", "NH3", "CH4", "H2CO", "HCN", "H2O2")
BASES = ("sto-3g", "6-31g")
GEOMETRIES = 40
"""Of each molecule; the first is the ideal one."""
SPREAD = 0.05
"""Standard deviation of each coordinate's displacement, in Å."""


def geometries(name: str, number: int, seed: int) -> list[Structure]:
    """A molecule as ASE builds it, then with its atoms moved at random; H2O2 is twisted as well."""
    from ase.build import molecule

    generator = np.random.default_rng([seed, MOLECULES.index(name)])
    ideal = molecule(name)
    found = [Structure(ideal.numbers, ideal.positions)]
    for _ in range(number - 1):
        atoms = ideal.copy()
        if name == "H2O2":
            # numbered O, O, H, H: any dihedral from 60 degrees to trans and beyond
            atoms.set_dihedral(2, 0, 1, 3, generator.uniform(60, 300), indices=[3])
        moves = SPREAD * generator.standard_normal(ideal.positions.shape)
        found.append(Structure(atoms.numbers, atoms.positions + moves))
    return found


def matrices_of(structure: Structure, basis: str) -> Float[np.ndarray, "2 n n"]:
    """Fock matrix (hartree) and overlap matrix of a molecule, orbitals in e3nn's order.

    Raises:
        MissingExtraError: PySCF is not installed.
        GeomaeError: the self-consistent field did not converge.
    """
    try:
        from pyscf import gto, scf
    except ImportError as error:
        raise MissingExtraError("pyscf", "quantum") from error
    atoms = list(zip(structure.numbers.tolist(), structure.positions.tolist(), strict=True))
    molecule = gto.M(atom=atoms, basis=basis, unit="Angstrom", symmetry=False, verbose=0)
    field = scf.RHF(molecule).set(conv_tol=1e-12, conv_tol_grad=1e-8, max_cycle=200)
    field.kernel()
    if not field.converged:
        raise GeomaeError(f"no convergence for {structure.numbers.tolist()} in {basis}")
    turn = _to_e3nn(molecule)
    both = np.stack([field.get_fock(), field.get_ovlp()])
    both = turn @ both @ turn.T
    return (both + both.transpose(0, 2, 1)) / 2


def shells_of(number: int, basis: str) -> list[int]:
    """Degrees of an element's shells, in PySCF's order: by degree, then from the core outward."""
    from pyscf import gto

    atom = gto.M(atom=[(number, (0, 0, 0))], basis=basis, spin=number % 2, verbose=0)
    return [
        atom.bas_angular(shell) for shell in range(atom.nbas) for _ in range(atom.bas_nctr(shell))
    ]


def from_pyscf_order(degree: int) -> Float[np.ndarray, "m m"]:
    """Orthogonal matrix from PySCF's real harmonics of a degree to e3nn's.

    s and p (x, y, z) are the same in both; from d on the order and the main axis differ.
    """
    from pyscf.symm.sph import real_sph_vec

    points = np.random.default_rng(0).standard_normal((8 * (degree + 1), 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    theirs = np.asarray(real_sph_vec(points, degree, reorder_p=True)[degree])
    ours = spherical_harmonics(degree, torch.from_numpy(points))[:, degree**2 :].numpy()
    theirs = theirs if len(theirs) == len(points) else theirs.T
    found = np.linalg.lstsq(theirs, ours / (4 * np.pi) ** 0.5, rcond=None)[0].T
    return np.where(np.abs(found) < 1e-12, 0, found)


def _to_e3nn(molecule) -> Float[np.ndarray, "n n"]:
    """The change of order for all orbitals of a molecule."""
    turn = np.zeros((molecule.nao, molecule.nao))
    place = 0
    for shell in range(molecule.nbas):
        degree = molecule.bas_angular(shell)
        for _ in range(molecule.bas_nctr(shell)):
            own = slice(place, place + 2 * degree + 1)
            turn[own, own] = from_pyscf_order(degree)
            place = own.stop
    return turn


def build(basis: str, number: int, seed: int) -> dict[str, np.ndarray]:
    """The arrays of one basis."""
    arrays: dict[str, np.ndarray] = {}
    for name in MOLECULES:
        structures = geometries(name, number, seed)
        matrices = np.stack([matrices_of(one, basis) for one in structures])
        upper = np.triu_indices(matrices.shape[-1])
        arrays[f"{name}/numbers"] = structures[0].numbers.numpy().astype(np.int8)
        arrays[f"{name}/positions"] = np.stack([one.positions.numpy() for one in structures])
        arrays[f"{name}/fock"], arrays[f"{name}/overlap"] = (
            matrices[:, k][:, *upper] for k in range(2)
        )
        for atomic_number in set(structures[0].numbers.tolist()):
            shells = np.array(shells_of(atomic_number, basis), np.int8)
            arrays[f"shells/{atomic_number}"] = shells
    return arrays


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--geometries", type=int, default=GEOMETRIES, help="of each molecule")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    for basis in BASES:
        path = arguments.output / f"{basis}.npz"
        np.savez_compressed(path, **build(basis, arguments.geometries, arguments.seed))
        print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
