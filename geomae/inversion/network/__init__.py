"""A network from invariants and a frame to fields whose peaks are the atoms."""

from geomae.inversion.network.config import InversionConfig as InversionConfig
from geomae.inversion.network.config import InversionRun as InversionRun
from geomae.inversion.network.model import Inverter as Inverter
from geomae.inversion.network.model import load_inverter as load_inverter
from geomae.inversion.network.starts import NetworkStarts as NetworkStarts
