"""One step outward: from a point's features to its children, and what trains it."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from geomae.autoencoder.blocks import Counter, NodeBlock, Resize
from geomae.autoencoder.config import LevelConfig
from geomae.autoencoder.field import Field
from geomae.equivariant import Transport


class Unpooling(nn.Module):
    """Blocks on the parents, the number of their children, the field whose peaks they are, and
    the convolution that carries features to them.

    Args:
        level: the parents' level.
        kinds: kinds of children: elements for atoms, else one.
        below: channels and highest degree of the children's features; None for atoms, which
            carry none.
    """

    def __init__(self, level: LevelConfig, kinds: int, below: tuple[int, int] | None):
        super().__init__()
        self.level, self.kinds = level, kinds
        channels, lmax = level.channels, level.lmax
        self.widen = level.code and Resize(level.code, channels, lmax, lmax)
        self.blocks = nn.Sequential(*(NodeBlock(channels, lmax) for _ in range(level.blocks)))
        self.counter = Counter(channels, lmax, kinds=kinds, most=level.max_children)
        self.field = Field(
            channels,
            lmax,
            hidden=level.hidden,
            n_radial=level.n_radial,
            radius=level.radius,
            softening=level.softening,
            kinds=kinds,
        )
        self.combine = below and Transport(
            channels,
            below[0],
            lmax,
            below[1],
            lmax_filter=level.lmax_filter,
            groups=level.groups,
            reach=level.radius,
            softening=level.softening,
        )

    def states(self, features: Float[Tensor, "n m d"]) -> Float[Tensor, "n m c"]:
        """Parents after their blocks, from what came down to them."""
        return self.blocks(self.widen(features) if self.widen else features)

    def losses(
        self,
        features: Float[Tensor, "n m c"],
        children: Float[Tensor, "n most 3"],
        kind: Int[Tensor, "n most"],
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """Cross-entropies of the counts and of the field, for parents after their blocks.

        Args:
            features: of the parents.
            children: displacements of their children, padded, in Å.
            kind: kind of each child, -1 where padded.
            generator: for the points at which the field is compared.
        """
        present = kind >= 0
        onehot = nn.functional.one_hot(kind.clamp(min=0), self.kinds).bool() & present[..., None]
        counts = onehot.sum(1).clamp(max=self.level.max_children)
        count = nn.functional.cross_entropy(self.counter(features).flatten(0, 1), counts.flatten())
        queries = self._queries(children, present, generator)
        target = self._bumps(queries, children, onehot)
        coefficients = self.field.prepare(features)
        logits = self.field.on_points(coefficients, queries)
        field = nn.functional.binary_cross_entropy_with_logits(logits, target)
        floor = nn.functional.binary_cross_entropy(target, target)
        losses = {"count": count, "field": field - floor}
        if self.level.slope:
            slope = self._slope_loss(coefficients, children, kind, generator)
            losses["slope"] = self.level.slope * slope
        return losses

    def _slope_loss(
        self, coefficients: Tensor, children: Tensor, kind: Tensor, generator: torch.Generator
    ) -> Tensor:
        """How far the slope of log p beside each child is from a parabola's, in widths.

        Where bumps are flat the field's value says little of where the peak is; its slope does.
        """
        width = self.level.width
        shift = drawn(torch.randn, children.shape, children, generator) * width / 2
        with torch.enable_grad():
            places = (children + shift).requires_grad_()
            logits = self.field.on_points(coefficients, places)
            own = logits.gather(2, kind.clamp(min=0)[..., None])[..., 0]
            height = nn.functional.logsigmoid(own)
            (slope,) = torch.autograd.grad(height.sum(), places, create_graph=True)
        error = (width * slope + shift / width).square().sum(-1)
        return error[kind >= 0].mean()

    def _queries(
        self, children: Tensor, present: Tensor, generator: torch.Generator
    ) -> Float[Tensor, "n queries 3"]:
        """Half of the points close to children, a third around them, the rest anywhere."""
        n, total = children.shape[0], self.level.queries
        near, around = total // 2, total // 3

        def draw(sample: Callable[..., Tensor], *shape: int) -> Tensor:
            return drawn(sample, (n, *shape), children, generator)

        pick = draw(torch.rand, near + around) * present.sum(1, keepdim=True)
        slot = pick.long()[..., None].expand(-1, -1, 3)
        spread = children.new_full((near + around, 1), self.level.width)
        spread[near:] *= 2.5
        offsets = draw(torch.randn, near + around, 3) * spread
        rest = total - near - around
        direction = nn.functional.normalize(draw(torch.randn, rest, 3), dim=-1)
        depth = draw(torch.rand, rest, 1) ** (1 / 3) * self.level.radius
        return torch.cat([children.gather(1, slot) + offsets, direction * depth], 1)

    def _bumps(
        self,
        queries: Float[Tensor, "n q 3"],
        children: Float[Tensor, "n most 3"],
        onehot: Bool[Tensor, "n most kinds"],
    ) -> Float[Tensor, "n q kinds"]:
        """The field that the logits should have: a bump at every child, the highest counting."""
        squared = (queries[:, :, None] - children[:, None]).square().sum(-1)
        bumps = torch.exp(-squared / (2 * self.level.width**2))
        return (bumps[..., None] * onehot[:, None]).amax(2)


def drawn(
    sample: Callable[..., Tensor], shape: Sequence[int], like: Tensor, generator: torch.Generator
) -> Tensor:
    """Random numbers in the precision and on the device of a tensor, the same on all devices."""
    return sample(*shape, dtype=like.dtype, generator=generator).to(like.device)
