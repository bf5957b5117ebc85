"""The decoder of crystals: fields around the anchor say where atoms and lattice points are."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from geomae.autoencoder.blocks import Counter, NodeBlock, Resize
from geomae.autoencoder.field import Field
from geomae.crystals.batch import CrystalBatch, prominence
from geomae.crystals.config import CrystalConfig, PeaksConfig
from geomae.crystals.encoder import CLASSES
from geomae.equivariant import degrees

PLAIN = 0.3
"""Least prominence of an image or lattice vector near which fields are trained closely."""


class CrystalDecoder(nn.Module):
    """One point's features to the fields and counts that describe a crystal.

    - `atoms`: a field that peaks at the atoms' images nearest to the anchor
    - `element`: logits of each element at such a place
    - `lattice`: a field that peaks at the Voronoi-relevant lattice vectors
    - `formula`: logits of how many atoms of each element the primitive cell has
    """

    def __init__(self, config: CrystalConfig):
        super().__init__()
        self.config = config
        latent = config.latent
        self.widen = Resize(latent.channels, config.channels, latent.lmax, config.lmax)
        self.blocks = nn.Sequential(
            *(NodeBlock(config.channels, config.lmax) for _ in range(config.decoder_blocks))
        )
        kinds = len(config.elements)
        self.formula = Counter(config.channels, config.lmax, kinds=kinds, most=config.max_atoms)
        self.atoms = self._field(config.atoms, 1)
        self.element = self._field(config.atoms, kinds)
        self.lattice = self._field(config.lattice, 1)

    def _field(self, level: PeaksConfig, kinds: int) -> Field:
        return Field(
            self.config.channels,
            self.config.lmax,
            hidden=level.hidden,
            n_radial=level.n_radial,
            radius=level.radius,
            softening=level.softening,
            kinds=kinds,
        )

    def features(self, latents: Float[Tensor, "n m c"]) -> Float[Tensor, "n m_out c_out"]:
        """Features at the anchors, from which fields and counts are read."""
        return self.blocks(self.widen(latents))

    def even(self, features: Float[Tensor, "n m c"]) -> Float[Tensor, "n m c"]:
        """The features without odd degrees: a lattice is its own inversion image."""
        return features * (degrees(self.config.lmax) % 2 == 0).to(features)[:, None]

    def losses(
        self, latents: Float[Tensor, "n m c"], crystals: CrystalBatch, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Losses by name against the crystals that the latents came from."""
        features = self.features(latents)
        config = self.config
        element = torch.searchsorted(
            torch.tensor(config.elements, device=features.device), crystals.numbers
        )
        counts = element.new_zeros(crystals.n, len(config.elements))
        counts.index_put_((crystals.batch, element), torch.ones_like(element), accumulate=True)
        formula = nn.functional.cross_entropy(
            self.formula(features).flatten(0, 1), counts.flatten(), reduction="none"
        )
        vectors, atom = crystals.image_vectors(), crystals.image_atom
        near = prominence(vectors, atom, len(crystals.numbers), config.image_width)
        atoms = _table(vectors, near, crystals.batch[atom], crystals.n, element[atom])
        lattice_vectors = crystals.lattice_vectors()
        group = crystals.vector_crystal * CLASSES + crystals.vector_class
        short = prominence(lattice_vectors, group, crystals.n * CLASSES, config.vector_width)
        lattice = _table(lattice_vectors, short, crystals.vector_crystal, crystals.n)
        return {
            "formula": formula.sum() / crystals.n,
            "atoms": self._field_loss(self.atoms, features, config.atoms, *atoms[:3], generator),
            "lattice": self._field_loss(
                self.lattice, self.even(features), config.lattice, *lattice[:3], generator
            ),
            "element": self._element_loss(features, *atoms, generator),
        }

    def _field_loss(
        self,
        field: Field,
        features: Tensor,
        level: PeaksConfig,
        places: Float[Tensor, "n most 3"],
        height: Float[Tensor, "n most"],
        plain: Bool[Tensor, "n most"],
        generator: torch.Generator,
    ) -> Tensor:
        """Cross-entropy of a field with bumps of the given heights, less its least value."""
        queries = _queries(places, plain, level, generator)
        squares = (queries[:, :, None] - places[:, None]).square().sum(-1)
        target = (torch.exp(-squares / (2 * level.width**2)) * height[:, None]).amax(2)
        logits = field.on_points(field.prepare(features), queries)[..., 0]
        floor = nn.functional.binary_cross_entropy(target, target)
        return nn.functional.binary_cross_entropy_with_logits(logits, target) - floor

    def _element_loss(
        self,
        features: Tensor,
        places: Tensor,
        height: Tensor,
        plain: Tensor,
        element: Int[Tensor, "n most"],
        generator: torch.Generator,
    ) -> Tensor:
        """Cross-entropy of the element near each atom."""
        noise = torch.randn(places.shape, generator=generator, dtype=places.dtype)
        moved = places + self.config.atoms.width / 2 * noise.to(places.device)
        logits = self.element.on_points(self.element.prepare(features), moved)
        return nn.functional.cross_entropy(logits[plain], element[plain])


def _table(
    vectors: Tensor, height: Tensor, owner: Tensor, n: int, label: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Vectors of each crystal as a padded table, their heights (0 where padded), which of them are
    plain, and their labels.
    """
    kept = height > 0.02
    vectors, height, owner = vectors[kept], height[kept], owner[kept]
    label = torch.zeros_like(owner) if label is None else label[kept]
    counts = torch.bincount(owner, minlength=n)
    slot = torch.arange(len(owner), device=owner.device)
    slot = slot - (torch.cumsum(counts, 0) - counts)[owner]
    most = int(counts.max())
    places, heights = vectors.new_zeros(n, most, 3), vectors.new_zeros(n, most)
    labels = label.new_zeros(n, most)
    places[owner, slot], heights[owner, slot], labels[owner, slot] = vectors, height, label
    return places, heights, heights > PLAIN, labels


def _queries(
    places: Float[Tensor, "n most 3"],
    plain: Bool[Tensor, "n most"],
    level: PeaksConfig,
    generator: torch.Generator,
) -> Float[Tensor, "n queries 3"]:
    """Half of the points close to what is plain, a third around it, the rest anywhere."""
    n, total = len(places), level.queries
    near, around = total // 2, total // 3

    def draw(sample: Callable[..., Tensor], *shape: int) -> Tensor:
        return sample(n, *shape, dtype=places.dtype, generator=generator).to(places.device)

    order = torch.argsort(plain.float(), dim=1, descending=True, stable=True)
    pick = (draw(torch.rand, near + around) * plain.sum(1, keepdim=True)).long()
    chosen = places.gather(1, order.gather(1, pick)[..., None].expand(-1, -1, 3))
    spread = torch.full((near + around, 1), level.width, dtype=places.dtype, device=places.device)
    spread[near:] *= 2.5
    offsets = draw(torch.randn, near + around, 3) * spread
    rest = total - near - around
    direction = nn.functional.normalize(draw(torch.randn, rest, 3), dim=-1)
    depth = draw(torch.rand, rest, 1) ** (1 / 3) * level.radius
    return torch.cat([chosen + offsets, direction * depth], 1)
