"""The network: invariants and a frame in, fields out whose peaks are the atoms."""

from math import log
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from geomae.autoencoder.blocks import NodeBlock
from geomae.autoencoder.field import Field
from geomae.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from geomae.equivariant import dim, wigner_matrices
from geomae.errors import CheckpointError, GeomaeError
from geomae.inversion.descriptors.soap import Soap
from geomae.inversion.network.config import InversionConfig
from geomae.inversion.network.environments import Environments
from geomae.inversion.network.reduction import Reduction, grams_of

NEAR = 0.7
"""Spread in Å of the directions near an atom that the training compares it with."""


class Perceptron(nn.Module):
    """Residual steps on invariants."""

    def __init__(self, given: int, width: int, depth: int, wanted: int):
        super().__init__()
        self.enter = nn.Linear(given, width)
        self.steps = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width)
            )
            for _ in range(depth)
        )
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, wanted))

    def forward(self, values: Float[Tensor, "b given"]) -> Float[Tensor, "b wanted"]:
        hidden = self.enter(values)
        for step in self.steps:
            hidden = hidden + step(hidden)
        return self.leave(hidden)


class Inverter(nn.Module):
    """From the SOAP vector of one centre and a frame to a field of each element.

    A perceptron makes features of the invariants, in coordinates along the frame; the frame's
    Wigner matrices turn them into space. Nothing else knows a direction, so the fields turn, and
    are reflected, exactly as the frame is. SOAP vectors don't tell mirror images apart:
    the hand of the frame decides which of the two is drawn.

    The field of an element at a distance from the centre, over all directions, is the
    logarithm of the density of its atoms there, up to a constant: its peaks are where they are.

    Args:
        config: sizes of everything.
    """

    kind = "inversion"

    def __init__(self, config: InversionConfig):
        super().__init__()
        self.config = config
        self.soap = soap_of(config)
        degrees, channels = self.soap.l_max + 1, len(config.elements) * self.soap.n_max
        self.reduction = Reduction(channels, degrees, config.directions, config.components)
        size = dim(config.lmax) * config.channels
        self.perceptron = Perceptron(config.components, config.width, config.depth, size)
        self.blocks = nn.Sequential(
            *(NodeBlock(config.channels, config.lmax) for _ in range(config.blocks))
        )
        self.field = Field(
            config.channels,
            config.lmax,
            hidden=config.hidden,
            n_radial=config.n_radial,
            radius=config.radius,
            softening=config.softening,
            kinds=len(config.elements),
        )

    def features(
        self,
        grams: Float[Tensor, "b degrees c c"],
        frame: Float[Tensor, "3 3"] | None = None,
    ) -> Float[Tensor, "b m k"]:
        """Features of the centres, turned into space.

        Args:
            grams: of the coefficients in each degree.
            frame: three orthonormal vectors, as rows, right- or left-handed; the axes of space
                if None.

        Raises:
            GeomaeError: the frame's vectors are not orthonormal.
        """
        flat = self.perceptron(self.reduction(grams))
        own = flat.unflatten(1, (dim(self.config.lmax), self.config.channels))
        if frame is not None:
            turn = torch.block_diag(*wigner_matrices(self.config.lmax, check_frame(frame).T))
            own = turn.to(own) @ own
        return self.blocks(own)

    def coefficients(
        self, grams: Float[Tensor, "b degrees c c"], frame: Float[Tensor, "3 3"] | None = None
    ) -> Float[Tensor, "b m h"]:
        """What `density` takes: the hidden units' coefficients. Arguments as of `features`."""
        return self.field.prepare(self.features(grams, frame))

    def density(
        self, coefficients: Float[Tensor, "b m h"], points: Float[Tensor, "b q 3"]
    ) -> Float[Tensor, "b q e"]:
        """Logarithm of each element's density at points in Å about the centre, up to a constant
        at each distance."""
        return self.field.on_points(coefficients, points)

    def loss(self, batch: Environments, generator: torch.Generator) -> dict[str, Tensor]:
        """Negative logarithm of the density of directions at atoms, beyond that of an even one.

        The integral over the sphere is that over the atom's own and random directions, half of
        them near the atom, each with the weight that it has by its density. Without the
        atom's own a field could rise without limit between the others.
        """
        grams = grams_of(self.soap, batch.numbers, batch.vectors)
        coefficients = self.coefficients(grams)
        places, element = self._wanted(batch, generator)
        drawn, share = directions_near(places, self.config.rivals, generator)
        lengths = places.norm(dim=2)[..., None, None]
        points = torch.cat([places[:, :, None], drawn[:, :, 1:] * lengths], 2).to(coefficients)
        logits = self.density(coefficients, points.flatten(1, 2)).unflatten(1, points.shape[1:3])
        index = element[..., None, None].expand(-1, -1, points.shape[2], 1)
        own = logits.gather(3, index)[..., 0]
        whole = torch.logsumexp(own - share.log().to(own), 2) - log(own.shape[2])
        first = (own[:, :, 0] >= own[:, :, 1:].amax(2)).to(own)
        return {"loss": (whole - own[:, :, 0]).mean(), "ranked_first": first.mean()}

    def _wanted(
        self, batch: Environments, generator: torch.Generator
    ) -> tuple[Float[Tensor, "b a 3"], Int[Tensor, "b a"]]:
        """Random atoms of each environment, and their elements."""
        order = torch.argsort(batch.present.int(), dim=1, descending=True, stable=True)
        count = batch.present.sum(1, keepdim=True)
        pick = torch.rand(len(order), self.config.atoms, generator=generator) * count
        atoms = order.gather(1, pick.long())
        places = batch.vectors.gather(1, atoms[..., None].expand(-1, -1, 3))
        known = torch.tensor(self.config.elements)
        return places, (batch.numbers.gather(1, atoms)[..., None] == known).int().argmax(2)

    def save(self, path: Path | str) -> None:
        """Write weights and configuration to a safetensors file."""
        config = self.config.model_dump(mode="json")
        write_checkpoint(path, Checkpoint(self.kind, config, dict(self.named_parameters())))

    @classmethod
    def from_file(cls, path: Path | str) -> "Inverter":
        """Read what `save` or a released training wrote.

        Raises:
            CheckpointError: the file is damaged, or holds something else.
        """
        content = read_checkpoint(path, cls.kind)
        with torch.random.fork_rng(devices=[]):
            model = cls(InversionConfig.model_validate(content.config))
        own = {name: p.shape for name, p in model.named_parameters()}
        if own != {name: t.shape for name, t in content.tensors.items()}:
            raise CheckpointError(f"{path} does not fit its own configuration")
        model.load_state_dict(content.tensors)
        return model.eval()


def directions_near(
    places: Float[Tensor, "b a 3"], n: int, generator: torch.Generator
) -> tuple[Float[Tensor, "b a k 3"], Float[Tensor, "b a k"]]:
    """Those of places, and n random ones: half of them even, half near with a spread of `NEAR`.

    The latter are distributed after von Mises and Fisher.

    Returns:
        Unit vectors, k = n + 1, and how much denser they are drawn there than evenly.
    """
    like = {"generator": generator, "dtype": places.dtype}
    lengths = places.norm(dim=2, keepdim=True).clamp(min=0.1)
    axis, sharp = (places / lengths)[:, :, None], (lengths / NEAR).square()
    even = nn.functional.normalize(torch.randn(*places.shape[:2], n - n // 2, 3, **like), dim=3)
    chance = torch.rand(*places.shape[:2], n // 2, **like)
    tail = torch.exp(-2 * sharp)
    along = 1 + torch.log(chance + (1 - chance) * tail) / sharp
    noise = torch.randn(*places.shape[:2], n // 2, 3, **like)
    aside = noise - (noise * axis).sum(3, keepdim=True) * axis
    reach = (1 - along.square()).clamp(min=0).sqrt()[..., None]
    near = along[..., None] * axis + reach * nn.functional.normalize(aside, dim=3)
    drawn = torch.cat([axis, even, near], 2)
    cosine = (drawn * axis).sum(3)
    peak = 2 * sharp * torch.exp(sharp * (cosine - 1)) / (1 - tail)
    share = (n // 2) / n
    return drawn, 1 - share + share * peak


def load_inverter(name_or_path: str | Path) -> Inverter:
    """A released network by its name, such as 'inversion-qm9', or one of a file or folder.

    Raises:
        GeomaeError: there is no such model.
        CheckpointError: it is another kind of model.
    """
    from geomae.autoencoder.zoo import weights_of

    return Inverter.from_file(weights_of(name_or_path))


def soap_of(config: InversionConfig) -> Soap:
    """The descriptor that a network reads."""
    soap = config.soap
    return Soap(config.elements, soap.r_cut, soap.n_max, soap.l_max, soap.sigma, centres="origin")


def check_frame(frame: Any) -> Float[Tensor, "3 3"]:
    """A frame, float64.

    Raises:
        GeomaeError: it isn't three orthonormal vectors.
    """
    rows = torch.as_tensor(frame, dtype=torch.float64)
    identity = torch.eye(3, dtype=torch.float64)
    if rows.shape != (3, 3) or not torch.allclose(rows @ rows.T, identity, atol=1e-6):
        raise GeomaeError("a frame must be three orthonormal vectors, as rows of a matrix [3, 3]")
    return rows
