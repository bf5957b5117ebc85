"""From a file of SOAP vectors, made by dscribe, to an .xyz file of the molecule.

The vectors are all that is taken from the file: no positions, no elements. `geomae invert` does the
same from the command line. Run with `python examples/12_soap_file_to_xyz.py [--molecule CH3CONH2]`;
needs `pip install 'geomae[soap]'`.
"""

import argparse
from pathlib import Path

import numpy as np
from ase.build import molecule
from ase.io import write
from dscribe.descriptors import SOAP

import geomae
from geomae.data import as_structures, to_ase
from geomae.inversion import align, invert

HERE = Path(__file__).parent


def main(name: str, folder: Path) -> None:
    """Write vectors, forget the molecule, read the vectors, write the molecule."""
    folder.mkdir(parents=True, exist_ok=True)
    soap = SOAP(species=["H", "C", "N", "O"], r_cut=5.0, n_max=8, l_max=6, sigma=0.5)
    atoms = molecule(name)
    np.save(folder / "soap.npy", soap.create(atoms))

    vectors = np.load(folder / "soap.npy")
    result = invert(soap, vectors, n_solutions=1)
    print(f"{vectors.shape[0]} vectors of {vectors.shape[1]} values: {result}")
    if not result.solutions:
        return
    write(folder / "molecule.xyz", to_ase(result.solutions[0]), format="extxyz")
    back = geomae.as_structures(folder / "molecule.xyz")[0]
    original = as_structures(atoms)[0]
    print(f"RMSD to the original {align(original, back, mirror=True).rmsd:.1e} Å")
    print(f"written to {folder / 'molecule.xyz'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--molecule", default="CH3CONH2", help="name in ASE's g2 set")
    parser.add_argument("--output", type=Path, default=HERE / "output" / "12_soap")
    options = parser.parse_args()
    main(options.molecule, options.output)
