"""Flow matching on the atoms of a molecule: the skeleton of heavy atoms, then its hydrogens."""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from geomae.autoencoder.zoo import weights_of
from geomae.generation.atoms.config import AtomFlowConfig
from geomae.generation.atoms.coupling import coupled
from geomae.generation.atoms.data import MoleculeSet
from geomae.generation.atoms.network import PairNetwork, path
from geomae.generation.conditioned import MoleculeFlow
from geomae.generation.statistics import Contents


@dataclass(frozen=True)
class Placing:
    """Atoms of some structures, of which some are to find their places.

    Attributes:
        labels: what each atom is, 0 where there is none, `[n, a]`.
        links: 1 between a hydrogen and the atom that has it, `[n, a, a]`.
        base: places in Å from which displacements count, `[n, a, 3]`; where those that do not
            move are.
        moves: which atoms do, `[n, a]`.
        free: nothing holds them in space, so displacements have no mean.
    """

    labels: Int[Tensor, "n a"]
    links: Int[Tensor, "n a a"]
    base: Float[Tensor, "n a 3"]
    moves: Bool[Tensor, "n a"]
    free: bool

    def confined(self, displacements: Float[Tensor, "n a 3"]) -> Float[Tensor, "n a 3"]:
        """Displacements of those that move, without their mean if they are free."""
        moves = self.moves[..., None].to(displacements)
        displacements = displacements * moves
        if not self.free:
            return displacements
        mean = displacements.sum(1, keepdim=True) / moves.sum(1, keepdim=True).clamp(min=1)
        return displacements - mean * moves


class AtomFlow(MoleculeFlow):
    """Moves noise to places of atoms: x_t = (1 - t) noise + t place, in two stages.

    What atoms there are is given: an inventory of heavy atoms, each with its hydrogens. The first
    network places the heavy atoms; the second places the hydrogens about them.

    Args:
        config: sizes of everything.
        contents: which inventories there are.
    """

    kind = "atom_flow"
    configuration = AtomFlowConfig
    contents = Contents

    def __init__(self, config: AtomFlowConfig, contents: Contents):
        super().__init__(config, contents)
        kinds, told = len(contents.kinds), 2 * len(config.properties)
        self.skeleton = PairNetwork(config.skeleton, kinds, told, 0)
        self.hydrogens = PairNetwork(config.hydrogens, kinds + 1, told, 1)

    def told(self, properties: Float[Tensor, "n properties"]) -> Float[Tensor, "n f"]:
        """Numbers that tell the networks properties; nan where they are not told."""
        mean, spread = self.statistics["property_range"]
        values = (properties.to(mean) - mean) / spread
        return torch.cat([values.nan_to_num(0.0), (~values.isnan()).to(values)], 1)

    def bones(self, kind: Int[Tensor, "n heavy"]) -> Placing:
        """Heavy atoms of given kinds, all to be placed about their centroid.

        Args:
            kind: number of each atom's kind plus one; 0 where there is none.
        """
        n, heavy = kind.shape
        links = kind.new_zeros(n, heavy, heavy)
        base = torch.zeros(n, heavy, 3, dtype=self.dtype, device=kind.device)
        return Placing(kind, links, base, kind > 0, free=True)

    def coat(
        self,
        kind: Int[Tensor, "n heavy"],
        skeleton: Float[Tensor, "n heavy 3"],
        parent: Int[Tensor, "n light"],
    ) -> Placing:
        """Placed heavy atoms, and hydrogens to be placed about them.

        Args:
            kind, skeleton: heavy atoms and their positions in Å.
            parent: number of each hydrogen's heavy atom; -1 where there is none.
        """
        there, heavy = parent >= 0, kind.shape[1]
        above = parent.clamp(min=0)
        about = skeleton.gather(1, above[..., None].expand(-1, -1, 3))
        labels = torch.cat([kind, there.long() * (len(self.statistics["kinds"]) + 1)], 1)
        own = nn.functional.one_hot(above, heavy) * there[..., None]
        links = kind.new_zeros(len(kind), labels.shape[1], labels.shape[1])
        links[:, heavy:, :heavy] = own
        links[:, :heavy, heavy:] = own.transpose(1, 2)
        base = torch.cat([skeleton, about * there[..., None]], 1).to(self.dtype)
        moves = torch.cat([torch.zeros_like(kind, dtype=torch.bool), there], 1)
        return Placing(labels, links, base, moves, free=False)

    def ends(
        self,
        placing: Placing,
        displaced: Float[Tensor, "n a 3"],
        times: Float[Tensor, " n"],
        told: Float[Tensor, "n f"],
        recalled: Float[Tensor, "n a 3"] | None = None,
    ) -> Float[Tensor, "n a 3"]:
        """Where displacements at a time are expected to end, in Å.

        Args:
            placing: the stage.
            displaced: where atoms are.
            times: from 0 to 1.
            told: conditions, as `told` gives them.
            recalled: what this said of an earlier time; None if there was none.
        """
        network = self._network(placing)
        keep, scale = (x[:, None, None] for x in path(times, network.config.spread))
        moved = network(
            placing.labels,
            placing.links,
            placing.base,
            displaced,
            placing.moves,
            times,
            told,
            recalled,
        )
        return placing.confined(keep * displaced + scale * moved)

    def noise(self, placing: Placing, normal: Float[Tensor, "n a 3"]) -> Float[Tensor, "n a 3"]:
        """Displacements at time 0, of normally distributed numbers."""
        return placing.confined(normal * self._network(placing).config.spread)

    def _network(self, placing: Placing) -> PairNetwork:
        return self.skeleton if placing.free else self.hydrogens

    def loss(self, batch: MoleculeSet, generator: torch.Generator) -> dict[str, Tensor]:
        """Mean square error of both stages in parts of what each time leaves open, as `loss`.

        Args:
            batch: molecules and properties.
            generator: of times, noise, and what is left untold.
        """
        few = max(1, round(self.config.hydrogen_share * len(batch)))
        part = batch.select(torch.arange(few))
        bones = self.bones(batch.kind.to(self.device))
        coat = self.coat(*(x.to(self.device) for x in (part.kind, part.skeleton, part.parent)))
        pad = torch.zeros(few, part.kind.shape[1], 3)
        above = torch.cat([torch.full_like(part.kind, -1), part.parent], 1)
        losses = {
            "skeleton": self._stage_loss(bones, batch.skeleton, batch.kind, batch, generator),
            "hydrogens": self._stage_loss(
                coat, torch.cat([pad, part.hydrogens], 1), above, part, generator
            ),
        }
        return {"loss": losses["skeleton"] + losses["hydrogens"]} | losses

    def _stage_loss(
        self,
        placing: Placing,
        places: Float[Tensor, "n a 3"],
        alike: Int[Tensor, "n a"],
        batch: MoleculeSet,
        generator: torch.Generator,
    ) -> Tensor:
        """Mean square error of one stage."""
        config, n = self.config, len(batch)
        target = places.to(self.device, self.dtype)
        uniform = torch.rand(n, generator=generator, dtype=self.dtype)
        logits = torch.randn(n, generator=generator, dtype=self.dtype)
        crowded = torch.sigmoid(config.time_mean + config.time_spread * logits)
        times = torch.where(torch.arange(n) % 2 == 0, uniform, crowded).clamp(max=0.999)
        times = times.to(target)
        normal = torch.randn(target.shape, generator=generator, dtype=self.dtype).to(target)
        noise = coupled(
            self.noise(placing, normal), target, alike.to(self.device), turn=placing.free
        )
        scaled = torch.randn(n, generator=generator, dtype=self.dtype).to(target)
        late = config.noise_scaling * (2 * times - 1).clamp(min=0)
        noise = noise * (late * scaled).exp()[:, None, None]
        displaced = torch.lerp(noise, target, times[:, None, None])
        told, recalled = self._partly_told(batch, generator), None
        if torch.rand((), generator=generator) < config.recall_share:
            with torch.no_grad():
                recalled = self.ends(placing, displaced, times, told)
            torch.clear_autocast_cache()  # casts made without gradients would be used again
        ends = self.ends(placing, displaced, times, told, recalled)
        scale = path(times, self._network(placing).config.spread)[1][:, None, None]
        error = ((ends - target) / scale)[placing.moves]
        return error.square().sum(-1).mean() / 3 if len(error) else error.sum()

    def _partly_told(self, batch: MoleculeSet, generator: torch.Generator) -> Float[Tensor, "n f"]:
        """Properties of a batch, some left out by chance."""
        columns = [batch.properties[name] for name in self.properties]
        values = torch.stack(columns, 1) if columns else torch.zeros(len(batch), 0)
        hidden = torch.rand(values.shape, generator=generator) < self.config.properties_untold
        return self.told(values.masked_fill(hidden, torch.nan).to(self.device))


def load_atom_flow(name_or_path: str | Path, *, device: torch.device | str = "cpu") -> AtomFlow:
    """A released flow on atoms by its name, such as 'qm9-atoms', or one of a file or folder.

    Raises:
        GeomaeError: there is no such model.
        CheckpointError: the file can't be read, or holds no flow on atoms.
    """
    return AtomFlow.from_file(weights_of(name_or_path), device=device)
