"""The equivariant core: features, convolutions, products, gates and norms."""

from geomae.equivariant.constants import Constant as Constant
from geomae.equivariant.convolution import Convolution as Convolution
from geomae.equivariant.coupling import EdgeCoupling as EdgeCoupling
from geomae.equivariant.coupling import EdgeKernel as EdgeKernel
from geomae.equivariant.coupling import PairKernel as PairKernel
from geomae.equivariant.coupling import Path as Path
from geomae.equivariant.coupling import paths_between as paths_between
from geomae.equivariant.depthwise import DepthwiseConvolution as DepthwiseConvolution
from geomae.equivariant.gate import Gate as Gate
from geomae.equivariant.gate import NormActivation as NormActivation
from geomae.equivariant.harmonics import degrees as degrees
from geomae.equivariant.harmonics import dim as dim
from geomae.equivariant.harmonics import soften as soften
from geomae.equivariant.harmonics import spherical_harmonics as spherical_harmonics
from geomae.equivariant.layout import Layout as Layout
from geomae.equivariant.linear import Linear as Linear
from geomae.equivariant.norm import Dropout as Dropout
from geomae.equivariant.norm import Norm as Norm
from geomae.equivariant.product import GridProduct as GridProduct
from geomae.equivariant.quadrature import sphere_quadrature as sphere_quadrature
from geomae.equivariant.radial import RadialBasis as RadialBasis
from geomae.equivariant.radial import polynomial_envelope as polynomial_envelope
