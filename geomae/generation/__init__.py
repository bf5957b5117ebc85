"""Generation: a flow on latents, its conditions and its sampling."""

from geomae.generation.conditions import Conditions as Conditions
from geomae.generation.config import FlowConfig as FlowConfig
from geomae.generation.flow import LatentFlow as LatentFlow
from geomae.generation.flow import Settings as Settings
from geomae.generation.flow import load_flow as load_flow
from geomae.generation.revision import redrawing as redrawing
from geomae.generation.revision import revise as revise
