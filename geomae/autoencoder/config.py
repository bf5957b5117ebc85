"""Typed configuration of an autoencoder: what `config.yaml` says and a checkpoint carries."""

from math import inf
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator


def _in_order(value: tuple[int, ...]) -> tuple[int, ...]:
    if not value or list(value) != sorted(set(value)) or value[0] < 1 or value[-1] > 118:
        raise ValueError("elements must be distinct atomic numbers (1 to 118) in ascending order")
    return value


Elements = Annotated[tuple[int, ...], AfterValidator(_in_order)]
"""Atomic numbers that a model knows, ascending."""


class Config(BaseModel):
    """Base of the configurations: unknown keys are errors, values don't change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class AtomsConfig(Config):
    """Level 0: how an atom sees its neighbourhood.

    Attributes:
        cutoff: radius of the neighbourhood, in Å.
        n_radial: radial functions in it.
        lmax: highest degree of an atom's features.
        channels: channels of an atom's features, the same for every degree.
        encoder_blocks: node blocks applied to them.
    """

    cutoff: float = Field(5.0, gt=0)
    n_radial: int = Field(8, ge=1)
    lmax: int = Field(3, ge=0)
    channels: int = Field(32, ge=1)
    encoder_blocks: int = Field(1, ge=0)

    @property
    def carried(self) -> int:
        """Channels that go from the atoms to the next level."""
        return self.channels


class LevelConfig(Config):
    """A level above the atoms: how its points are made, and how they are taken apart again.

    Attributes:
        scale: width of the density that the points of the level below climb, in Å;
            `inf` makes one point of each structure.
        lmax, channels: size of a point's features.
        encoder_blocks, blocks: node blocks on them in the encoder and in the decoder.
        groups: channel groups of the combining convolutions, each with its own radial function.
        lmax_filter: highest degree of the filter of those convolutions.
        softening: length in Å that makes functions of a vector smooth where it vanishes.
        radius: the ball around a point that holds its children, in Å.
        hidden, n_radial: width of the field's perceptron and its radial functions.
        width: width of the bump that stands for a child in the field, in Å.
        spacing: distance of the points where the search for peaks starts, in Å.
        queries: points of the ball at which the field is trained, for each parent.
        slope: weight of the slopes of the field beside children in training, which sharpens where
            its peaks are; 0 trains its values alone.
        noise: displacement of the parents in training, in Å, so that unpooling
            tolerates parents that stand slightly off.
        max_children: highest number of children (of one kind) that can be told.
        handed: share of the structures whose points get, in training, the encoder's own features
            instead of what comes down to them, so that lower levels learn before upper ones can
            carry anything; what comes down is then compared with those features, too.
        code: channels that a point's features are narrowed to in the encoder, and that the decoder
            widens again; None leaves them as they are.
        solve: steps of conjugate gradients by which the decoder undoes the sum that the encoder
            makes of the children's features; only for the last level.
    """

    scale: float = Field(gt=0)
    lmax: int = Field(4, ge=0)
    channels: int = Field(64, ge=1)
    encoder_blocks: int = Field(1, ge=0)
    blocks: int = Field(1, ge=0)
    groups: int = Field(8, ge=1)
    lmax_filter: int = Field(4, ge=0)
    softening: float = Field(0.5, gt=0)
    radius: float = Field(gt=0)
    hidden: int = Field(96, ge=1)
    n_radial: int = Field(12, ge=1)
    width: float = Field(0.35, gt=0)
    spacing: float = Field(0.35, gt=0)
    queries: int = Field(32, ge=1)
    slope: float = Field(0.0, ge=0)
    noise: float = Field(0.05, ge=0)
    max_children: int = Field(9, ge=1)
    handed: float = Field(0.0, ge=0, le=1)
    code: int | None = Field(None, ge=1)
    solve: int = Field(0, ge=0)

    @property
    def carried(self) -> int:
        """Channels that go from this level to the next in the encoder, and back in the decoder."""
        return self.code or self.channels

    @field_validator("scale", mode="before")
    @classmethod
    def _infinity(cls, value: object) -> object:
        return inf if isinstance(value, str) and value.strip(".") in ("inf", "infinity") else value

    @model_validator(mode="after")
    def _groups_divide_channels(self) -> "LevelConfig":
        if self.channels % self.groups:
            raise ValueError(
                f"channels ({self.channels}) must be a multiple of groups ({self.groups})"
            )
        return self


class LatentConfig(Config):
    """The latent: what the one point's features are narrowed to, between encoder and decoder.

    Attributes:
        lmax, channels: size of the latent, `(lmax + 1)^2` components of each channel.
        noise: added to latents in training, as a part of their spread over the batch, so that
            decoding tolerates latents that no structure has.
    """

    lmax: int = Field(6, ge=0)
    channels: int = Field(16, ge=1)
    noise: float = Field(0.0, ge=0)


class AutoencoderConfig(Config):
    """An autoencoder: the elements and sizes that it takes, its atoms and the levels above them.

    Attributes:
        elements: atomic numbers that it knows, ascending.
        max_atoms: largest structure that it takes.
        heavy_weight: weight of an atom other than hydrogen in blooming; hydrogen's is 1.
        atoms: level 0.
        levels: level 1 to the last, which must be a single point (`scale: inf`).
        latent: what that point's features are narrowed to; None leaves them as they are.
    """

    kind: Literal["autoencoder"] = "autoencoder"
    elements: Elements
    max_atoms: int = Field(ge=1)
    heavy_weight: float = Field(6.0, gt=0)
    atoms: AtomsConfig = AtomsConfig()
    levels: tuple[LevelConfig, ...] = Field(min_length=1)
    latent: LatentConfig | None = None

    @property
    def scales(self) -> list[float]:
        """Width of the density that each level's points come from, in Å."""
        return [level.scale for level in self.levels]

    @model_validator(mode="after")
    def _ends_in_one_point(self) -> "AutoencoderConfig":
        if self.levels[-1].scale != inf or any(level.scale == inf for level in self.levels[:-1]):
            raise ValueError("the last level, and only it, must have scale: inf (one point)")
        return self

    @model_validator(mode="after")
    def _codes_fit(self) -> "AutoencoderConfig":
        if self.levels[-1].code or any(lv.code and lv.encoder_blocks for lv in self.levels):
            raise ValueError(
                "a level with code has no encoder_blocks, and the last has a latent instead"
            )
        if any(level.solve for level in self.levels[:-1]) or (
            self.levels[-1].solve and len(self.levels) < 2
        ):
            raise ValueError("only the last of several levels can solve")
        return self

    @model_validator(mode="after")
    def _latent_fits(self) -> "AutoencoderConfig":
        if self.latent and self.latent.lmax > self.levels[-1].lmax:
            raise ValueError(
                f"the latent's lmax ({self.latent.lmax}) can't exceed the last level's "
                f"({self.levels[-1].lmax})"
            )
        return self
