"""Structures: from files, other packages and data sets; neighbours; batches."""

from geomae.data.batching import SizeBuckets as SizeBuckets
from geomae.data.collect import Skipped as Skipped
from geomae.data.collect import Structures as Structures
from geomae.data.collect import as_structures as as_structures
from geomae.data.convert import from_ase as from_ase
from geomae.data.convert import from_pyg as from_pyg
from geomae.data.convert import from_pymatgen as from_pymatgen
from geomae.data.convert import from_rdkit as from_rdkit
from geomae.data.convert import to_ase as to_ase
from geomae.data.convert import to_pyg as to_pyg
from geomae.data.convert import to_pymatgen as to_pymatgen
from geomae.data.convert import to_rdkit as to_rdkit
from geomae.data.neighbours import Neighbours as Neighbours
from geomae.data.neighbours import neighbours as neighbours
from geomae.data.read import read_file as read_file
from geomae.data.sources import load_source as load_source
from geomae.data.sources import source_names as source_names
from geomae.data.structure import Structure as Structure
from geomae.data.validate import check_structure as check_structure
from geomae.data.validate import find_fault as find_fault
