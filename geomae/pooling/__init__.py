"""Pooling: bloom, cluster, combine, and the trees that they make."""

from geomae.pooling.cluster import Clusters as Clusters
from geomae.pooling.cluster import symmetric_cluster as symmetric_cluster
from geomae.pooling.growth import grow_tree as grow_tree
from geomae.pooling.mean_shift import Modes as Modes
from geomae.pooling.mean_shift import mean_shift as mean_shift
from geomae.pooling.tree import Tree as Tree
from geomae.pooling.tree import weighted_means as weighted_means
