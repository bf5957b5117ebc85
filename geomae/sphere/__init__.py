"""Signals on the sphere, fields in space, and their peaks."""

from geomae.sphere.ascent import Maxima as Maxima
from geomae.sphere.ascent import maximise as maximise
from geomae.sphere.ascent import merge_maxima as merge_maxima
from geomae.sphere.ball import BallField as BallField
from geomae.sphere.ball import BallPeaks as BallPeaks
from geomae.sphere.peaks import SpherePeaks as SpherePeaks
from geomae.sphere.peaks import find_peaks as find_peaks
from geomae.sphere.peaks import follow_peaks as follow_peaks
from geomae.sphere.signals import SphereDerivatives as SphereDerivatives
from geomae.sphere.signals import evaluate as evaluate
from geomae.sphere.signals import evaluate_derivatives as evaluate_derivatives
from geomae.sphere.signals import project as project
from geomae.sphere.signals import rotate as rotate
from geomae.sphere.spectra import bispectrum as bispectrum
from geomae.sphere.spectra import bispectrum_triples as bispectrum_triples
from geomae.sphere.spectra import cross_spectrum as cross_spectrum
from geomae.sphere.spectra import power_spectrum as power_spectrum
from geomae.sphere.sphere_grid import SphereGrid as SphereGrid
from geomae.sphere.sphere_grid import sphere_grid as sphere_grid
