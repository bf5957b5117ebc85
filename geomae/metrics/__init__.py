"""How well a structure was reconstructed, and bonds by distance."""

from geomae.metrics.bonds import bond_orders as bond_orders
from geomae.metrics.bonds import smiles_of as smiles_of
from geomae.metrics.reconstruction import Comparison as Comparison
from geomae.metrics.reconstruction import compare as compare
from geomae.metrics.reconstruction import summarise as summarise
