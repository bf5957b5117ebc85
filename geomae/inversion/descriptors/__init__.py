"""Invariant descriptions of structures, differentiable in PyTorch."""

from geomae.inversion.descriptors.base import Descriptor as Descriptor
from geomae.inversion.descriptors.convert import as_descriptor as as_descriptor
from geomae.inversion.descriptors.density import RadialDensity as RadialDensity
from geomae.inversion.descriptors.latents import LatentInvariants as LatentInvariants
from geomae.inversion.descriptors.lists import CoulombMatrix as CoulombMatrix
from geomae.inversion.descriptors.lists import Function as Function
from geomae.inversion.descriptors.lists import SortedDistances as SortedDistances
from geomae.inversion.descriptors.options import descriptor_of as descriptor_of
from geomae.inversion.descriptors.options import read_descriptor as read_descriptor
from geomae.inversion.descriptors.soap import Soap as Soap
from geomae.inversion.descriptors.spectra import Bispectrum as Bispectrum
from geomae.inversion.descriptors.spectra import PowerSpectrum as PowerSpectrum
from geomae.inversion.descriptors.spectra import Together as Together
from geomae.inversion.descriptors.spectra import structure_spectra as structure_spectra
