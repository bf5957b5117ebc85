"""Flow matching on the latents of an autoencoder, with an exactly equivariant velocity."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from geomae.autoencoder.latents import Latents
from geomae.autoencoder.zoo import weights_of
from geomae.equivariant.layout import Layout
from geomae.generation.conditioned import MoleculeFlow
from geomae.generation.conditions import Conditions, draw
from geomae.generation.config import FlowConfig
from geomae.generation.data import LatentSet
from geomae.generation.statistics import Statistics
from geomae.generation.velocity import Velocity

Projector = Callable[[Tensor], Tensor]
"""A linear projection of latents `[n, m, c]`, such as on those that a group leaves as they are."""


@dataclass(frozen=True)
class Settings:
    """How a flow is integrated.

    Attributes:
        guidance: what conditions add to the velocity is taken this many times; 1 is the flow as
            it was trained (classifier-free guidance, Ho and Salimans 2021).
        renewal: share of the noise that each step renews: 0 integrates the velocity alone, 1
            draws all noise anew (a stochastic sampler, as eta of Song et al., DDIM, 2020).
        temperature: spread of the noise; below 1 samples are likelier and less diverse.
        warp: times are `1 - (1 - i / steps)^warp`; above 1 steps shorten towards the latents.
    """

    guidance: float = 2.0
    renewal: float = 0.3
    temperature: float = 1.0
    warp: float = 1.0


class LatentFlow(MoleculeFlow):
    """Moves noise to latents: x_t = (1 - t) noise + t latent, in coordinates of its own.

    The coordinates are principal components of the channels of each degree, divided by a power of
    their spreads. The network corrects the velocity that latents would have if they were normal
    with these spreads, so it has outputs of order one at every time.

    Args:
        config: sizes of everything.
        statistics: of the latents to be made.
    """

    kind = "flow"
    configuration = FlowConfig
    contents = Statistics

    def __init__(self, config: FlowConfig, statistics: Statistics):
        super().__init__(config, statistics)
        self.layout = Layout(config.lmax)
        self.velocity = Velocity(
            config.latent_channels,
            config.lmax,
            len(config.elements) * (config.max_atoms + 1)
            + 2 * len(statistics.kinds)
            + 2 * len(config.properties),
            channels=config.channels,
            blocks=config.blocks,
            hidden=config.hidden,
        )

    @property
    def latent_shape(self) -> tuple[int, int]:
        """Components and channels of a latent."""
        return self.layout.components, self.config.latent_channels

    def compositions(
        self, n: int, *, conditions: Conditions | None = None, seed: int = 0
    ) -> Int[Tensor, "n elements"]:
        """Atoms of each element that samples are told to have: as asked for, or drawn from those
        of the flow's data.

        Raises:
            GeomaeError: conditions that can't be met or do not fit `n`.
        """
        return draw(self, n, conditions or Conditions(), seed).counts

    def scales(self) -> tuple[Float[Tensor, "m c"], Float[Tensor, "m c"]]:
        """What the components are divided by, and the spreads that they then have."""
        spread = self.statistics["spread"].double()
        spread = spread.clamp(min=1e-4 * float(spread.max()))
        divisor = spread**self.config.whitening
        left = spread / divisor
        sizes = torch.tensor(self.layout.sizes, dtype=left.dtype, device=left.device)[:, None]
        size = ((sizes * left.square()).sum() / (sizes.sum() * left.shape[1])).sqrt()
        index = self.layout.index.to(left.device)
        return (divisor * size)[index].to(self.dtype), (left / size)[index].to(self.dtype)

    def coordinates(self, latents: Float[Tensor, "n m c"]) -> Float[Tensor, "n m c"]:
        """The flow's coordinates of latents."""
        centred = torch.cat([latents[:, :1] - self.statistics["mean"], latents[:, 1:]], 1)
        return self._turned(centred, self.statistics["axes"]) / self.scales()[0]

    def latents(self, coordinates: Float[Tensor, "n m c"]) -> Float[Tensor, "n m c"]:
        """Latents that have such coordinates."""
        axes = self.statistics["axes"].transpose(1, 2)
        centred = self._turned(coordinates * self.scales()[0], axes)
        return torch.cat([centred[:, :1] + self.statistics["mean"], centred[:, 1:]], 1)

    def _turned(self, features: Tensor, axes: Tensor) -> Tensor:
        """Channels mixed by one matrix for each degree."""
        blocks = features.split(self.layout.sizes, 1)
        return torch.cat([block @ own for block, own in zip(blocks, axes, strict=True)], 1)

    def told(
        self,
        counts: Int[Tensor, "n elements"],
        inventory: Int[Tensor, "n kinds"],
        properties: Float[Tensor, "n properties"],
    ) -> Float[Tensor, "n f"]:
        """Numbers that tell the network the conditions.

        Args:
            counts: atoms of each element; negative where they are not told.
            inventory: heavy atoms of each kind; negative where they are not told.
            properties: in the data's units; nan where they are not told.
        """
        most = self.config.max_atoms
        known = (counts >= 0)[..., None]
        onehot = nn.functional.one_hot(counts.clamp(0, most), most + 1) * known
        mean, spread = self.statistics["property_range"]
        values = (properties.to(mean) - mean) / spread
        parts = [
            onehot.flatten(1),
            inventory.clamp(min=0),
            (inventory > 0),
            values.nan_to_num(0.0),
            ~values.isnan(),
        ]
        return torch.cat([part.to(self.device, self.dtype) for part in parts], 1)

    def forward(
        self,
        points: Float[Tensor, "n m c"],
        times: Float[Tensor, " n"],
        conditions: Float[Tensor, "n f"],
    ) -> Float[Tensor, "n m c"]:
        """The velocity at points of the flow's coordinates.

        Args:
            points: where.
            times: 0 for noise to 1 for latents.
            conditions: see `told`.
        """
        spread, t = self.scales()[1], times[:, None, None]
        power = t.square() * spread.square() + (1 - t).square()
        predicted = self.velocity(points * power.rsqrt(), times, conditions)
        normal = (t * spread.square() - (1 - t)) / power
        return normal * points + spread * power.rsqrt() * predicted

    def loss(self, batch: LatentSet, generator: torch.Generator) -> dict[str, Tensor]:
        """Mean square error of the velocity on a batch, as `loss`.

        Args:
            batch: latents, compositions and properties.
            generator: of times, noise, and what is left untold.
        """
        config, target = self.config, self.coordinates(batch.latents.to(self.device, self.dtype))
        logits = torch.randn(len(batch), generator=generator, dtype=self.dtype).to(target)
        times = torch.sigmoid(config.time_mean + config.time_spread * logits)
        noise = torch.randn(target.shape, generator=generator, dtype=self.dtype).to(target)
        points = torch.lerp(noise, target, times[:, None, None])
        error = self(points, times, self._partly_told(batch, generator)) - (target - noise)
        return {"loss": error.square().mean()}

    def _partly_told(self, batch: LatentSet, generator: torch.Generator) -> Float[Tensor, "n f"]:
        """Conditions of a batch, some left out by chance."""
        config, n = self.config, len(batch)
        left_out = torch.rand(n, 2, generator=generator)
        uncounted = left_out[:, :1] < config.counts_untold
        unlisted = uncounted | (left_out[:, 1:] < config.inventory_untold)
        properties = self._column(batch, n)
        hidden = torch.rand(properties.shape, generator=generator) < config.properties_untold
        return self.told(
            batch.counts.masked_fill(uncounted, -1),
            batch.inventory.masked_fill(unlisted, -1),
            properties.masked_fill(hidden, torch.nan),
        )

    def _column(self, batch: LatentSet, n: int) -> Float[Tensor, "n properties"]:
        if not self.properties:
            return torch.zeros(n, 0)
        return torch.stack([batch.properties[name] for name in self.properties], 1)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        conditions: Conditions | None = None,
        project: Projector | None = None,
        steps: int = 20,
        seed: int = 0,
        start: Latents | None = None,
        time: float = 0.0,
        settings: Settings | None = None,
    ) -> Latents:
        """Latents of new structures; sample i depends on the seed and i alone.

        Args:
            n: how many.
            conditions: what is asked of them.
            project: linear projection of latents `[n, m, c]` that is applied to noise; the
                velocity keeps what it keeps if that is a symmetry.
            steps: evaluations of the velocity.
            seed: of the noise and of compositions that are not given.
            start: latents `[n]` from which noise is added up to `time`; none if None.
            time: where the flow starts, 0 to 1.
            settings: how it is integrated.

        Raises:
            GeomaeError: conditions that can't be met or do not fit `n`, a start without a time.
        """
        from geomae.generation.sampling import sample

        return sample(
            self,
            n,
            conditions=conditions or Conditions(),
            project=project,
            steps=steps,
            seed=seed,
            start=start,
            time=time,
            settings=settings or Settings(),
        )


def load_flow(name_or_path: str | Path, *, device: torch.device | str = "cpu") -> LatentFlow:
    """A flow on latents: a released one by its name, or one of a file or folder.

    Raises:
        GeomaeError: there is no such model.
        CheckpointError: the file can't be read, or holds no flow.
    """
    return LatentFlow.from_file(weights_of(name_or_path), device=device)
