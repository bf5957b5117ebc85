"""Conversion between `Structure` and the structures of other packages, without loss.

Every `from_x` has its `to_x`, and a structure that goes through both comes back as it was: atoms,
cell, periodicity and all properties. Two rules make that possible for properties:

- what belongs to the atoms (ASE's arrays, pymatgen's site properties) has one row an atom;
- what belongs to the whole (ASE's info, pymatgen's and RDKit's properties) has a leading 1, so
  that PyTorch Geometric stacks it in a batch: a number becomes `[1]`, an array `[k]` becomes
  `[1, k]`. Text and other objects stay as they are.

Hydrogen's isotopes are hydrogen here: deuterium is an atom of number 1 whose entry in the
property `isotopes` (mass numbers; 0 is the natural mixture) is 2.
"""

from geomae.data.convert.ase import from_ase as from_ase
from geomae.data.convert.ase import to_ase as to_ase
from geomae.data.convert.pyg import from_pyg as from_pyg
from geomae.data.convert.pyg import to_pyg as to_pyg
from geomae.data.convert.pymatgen import from_pymatgen as from_pymatgen
from geomae.data.convert.pymatgen import to_pymatgen as to_pymatgen
from geomae.data.convert.rdkit import from_rdkit as from_rdkit
from geomae.data.convert.rdkit import to_rdkit as to_rdkit
