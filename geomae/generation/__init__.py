"""Generation: flows on atoms, crystals and latents, and their samples, with a symmetry if asked."""

from geomae.generation.atoms.config import AtomFlowConfig as AtomFlowConfig
from geomae.generation.atoms.flow import AtomFlow as AtomFlow
from geomae.generation.atoms.flow import load_atom_flow as load_atom_flow
from geomae.generation.conditions import Conditions as Conditions
from geomae.generation.config import FlowConfig as FlowConfig
from geomae.generation.crystals.config import CrystalFlowConfig as CrystalFlowConfig
from geomae.generation.crystals.flow import CrystalFlow as CrystalFlow
from geomae.generation.crystals.flow import load_crystal_flow as load_crystal_flow
from geomae.generation.flow import LatentFlow as LatentFlow
from geomae.generation.flow import Settings as Settings
from geomae.generation.flow import load_flow as load_flow
from geomae.generation.generate import Generated as Generated
from geomae.generation.inventories.model import InventoryModel as InventoryModel
from geomae.generation.inventories.model import load_inventories as load_inventories
from geomae.generation.orbits import check_formula as check_formula
from geomae.generation.orbits import formula_fits as formula_fits
from geomae.generation.reading import FreeReader as FreeReader
from geomae.generation.reading import SymmetricReader as SymmetricReader
from geomae.generation.revision import redrawing as redrawing
from geomae.generation.revision import revise as revise
from geomae.generation.verify import verified as verified
from geomae.symmetry.orbits import orbit_sizes as orbit_sizes
