"""Pooling: bloom, cluster, combine, and the trees that they make."""

from geomae.pooling.bloom import DisplacementBloom as DisplacementBloom
from geomae.pooling.bloom import MeanShiftBloom as MeanShiftBloom
from geomae.pooling.bloom import PeakBloom as PeakBloom
from geomae.pooling.bloom import propose_peaks as propose_peaks
from geomae.pooling.cluster import Clusters as Clusters
from geomae.pooling.cluster import symmetric_cluster as symmetric_cluster
from geomae.pooling.combine import Combine as Combine
from geomae.pooling.combine import Convolve as Convolve
from geomae.pooling.config import PoolConfig as PoolConfig
from geomae.pooling.config import UnpoolConfig as UnpoolConfig
from geomae.pooling.growth import grow_tree as grow_tree
from geomae.pooling.hierarchy import Hierarchy as Hierarchy
from geomae.pooling.hierarchy import Level as Level
from geomae.pooling.hierarchy import Levels as Levels
from geomae.pooling.mean_shift import Modes as Modes
from geomae.pooling.mean_shift import mean_shift as mean_shift
from geomae.pooling.pool import Pool as Pool
from geomae.pooling.pool import Pooled as Pooled
from geomae.pooling.pool import Unpool as Unpool
from geomae.pooling.pool import Unpooled as Unpooled
from geomae.pooling.proposals import PoolingError as PoolingError
from geomae.pooling.proposals import Proposals as Proposals
from geomae.pooling.tree import Tree as Tree
from geomae.pooling.tree import weighted_means as weighted_means
