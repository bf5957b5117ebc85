"""Typed configuration of pooling and unpooling steps."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Config(BaseModel):
    """Base of the configurations: unknown keys are errors, values don't change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class StepConfig(Config):
    """What pooling and unpooling steps share: how points see each other and send features on.

    Attributes:
        lmax, channels: size of the new points' features.
        cutoff: radius within which points see each other before they bloom, in Å; 0 for none.
        n_radial: radial functions of both convolutions, one a channel group.
        lmax_filter: highest degree of their filters.
        softening: length in Å below which the directions of membership edges fade.
        reach: length that the longest membership edges have, in Å.
        tolerance: proposals closer than this become one point, in Å.
    """

    lmax: int = Field(4, ge=0)
    channels: int = Field(16, ge=1)
    cutoff: float = Field(3.0, ge=0)
    n_radial: int = Field(8, ge=1)
    lmax_filter: int = Field(4, ge=0)
    softening: float = Field(0.5, gt=0)
    reach: float = Field(3.0, gt=0)
    tolerance: float = Field(0.05, gt=0)

    @model_validator(mode="after")
    def _groups_divide_channels(self) -> "StepConfig":
        if self.channels % self.n_radial:
            raise ValueError(
                f"channels ({self.channels}) must be a multiple of n_radial ({self.n_radial})"
            )
        return self


class PoolConfig(StepConfig):
    """A step inward.

    Attributes:
        bloom: 'mean_shift' climbs the density of the points, 'displacement' moves each point by
            a vector read from its features, 'peaks' proposes a place for each peak of a signal
            read from them, and 'centroid' makes one point of each structure.
        scale: width of the density's kernel, limit of displacements, or distance of the peaks'
            places, in Å. A centroid needs none.
        lmax_signal: highest degree of the signals whose peaks are taken; that of the convolved
            features by default.
    """

    bloom: Literal["mean_shift", "displacement", "peaks", "centroid"] = "mean_shift"
    scale: float = Field(1.0, gt=0)
    lmax_signal: int | None = Field(None, ge=1)


class UnpoolConfig(StepConfig):
    """A step outward, by peaks.

    Attributes:
        radius: distance of the peaks' places, in Å.
        learned_radius: a signal of its own stretches the radius in every direction.
        lmax_signal: highest degree of the signals; that of the points' features by default.
        threshold: peaks lower than this fraction of their signal's highest don't count.
        floor: a signal whose degrees above 1 are smaller than this has no peaks.
        keep: a point may propose its own place beside its peaks.
    """

    radius: float = Field(1.0, gt=0)
    learned_radius: bool = True
    lmax_signal: int | None = Field(None, ge=1)
    threshold: float = Field(0.5, ge=0, le=1)
    floor: float = Field(1e-6, ge=0)
    keep: bool = False
