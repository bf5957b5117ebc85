"""How well a structure was reconstructed, how good generated ones are, and bonds by distance."""

from geomae.metrics.bonds import bond_orders as bond_orders
from geomae.metrics.bonds import smiles_of as smiles_of
from geomae.metrics.crystal_generation import (
    crystal_generation_metrics as crystal_generation_metrics,
)
from geomae.metrics.generation import generation_metrics as generation_metrics
from geomae.metrics.reconstruction import Comparison as Comparison
from geomae.metrics.reconstruction import compare as compare
from geomae.metrics.reconstruction import summarise as summarise
from geomae.metrics.relaxation import relax as relax
from geomae.metrics.relaxation import relaxation_metrics as relaxation_metrics
