"""Pictures: the page that shows reconstructions, and plots of signals, levels and structures."""

from geomae.plotting.report import Pair as Pair
from geomae.plotting.report import write_report as write_report
from geomae.plotting.signals import draw_levels as draw_levels
from geomae.plotting.signals import draw_signal as draw_signal
from geomae.plotting.signals import draw_structure as draw_structure
from geomae.plotting.signals import save_levels as save_levels
from geomae.plotting.signals import save_signal as save_signal
from geomae.plotting.signals import save_structure as save_structure
