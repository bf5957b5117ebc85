"""Crystals: one form for each, their lattices, and what makes and reads their latents."""

from geomae.crystals.canonical import Canonical as Canonical
from geomae.crystals.canonical import canonical as canonical
from geomae.crystals.lattice import lattice_of as lattice_of
from geomae.crystals.lattice import niggli as niggli
from geomae.crystals.lattice import voronoi_vectors as voronoi_vectors
from geomae.crystals.symmetry import Symmetrised as Symmetrised
from geomae.crystals.symmetry import symmetrise as symmetrise
