"""Signals on the sphere, fields in space, and their peaks."""

from geomae.sphere.ascent import Maxima as Maxima
from geomae.sphere.ascent import climb as climb
from geomae.sphere.ascent import maximise as maximise
from geomae.sphere.ascent import merge_maxima as merge_maxima
