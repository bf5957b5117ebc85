"""Any number of structures to latents: in shards, resumable, shared between processes."""

from geomae.bulk.encode import Outcome as Outcome
from geomae.bulk.encode import encode_shards as encode_shards
from geomae.bulk.entries import Inputs as Inputs
from geomae.bulk.parts import Part as Part
from geomae.bulk.ray import RayEncoder as RayEncoder
from geomae.bulk.shards import ShardedLatents as ShardedLatents
from geomae.bulk.shards import open_shards as open_shards
