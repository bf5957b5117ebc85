"""Flow matching on crystals: elements on sites, then lattice and free coordinates together."""

from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from geomae.autoencoder.zoo import weights_of
from geomae.generation.atoms.network import path
from geomae.generation.conditioned import Flow
from geomae.generation.crystals.batch import Sites, geometry
from geomae.generation.crystals.config import CrystalFlowConfig
from geomae.generation.crystals.coupling import coupled
from geomae.generation.crystals.network import ElementNetwork, OrbitNetwork
from geomae.wyckoff.skeletons import Skeletons
from geomae.wyckoff.template import Template, Templates

ELEMENTS = 0.3
"""Weight of the elements' cross entropy beside the errors of the geometry."""


@dataclass(frozen=True)
class Classes:
    """Which sites of crystals share an element.

    Attributes:
        element: number of the element plus one; 0 where it is not told, `[n, classes]`.
        there: which classes there are, `[n, classes]`.
        counts: atoms of each, `[n, classes]`.
        sizes: orbits of each, `[n, classes]`.
        orbits: of each on each position that occurs in the data, `[n, classes, positions]`.
        group: number of the space group, `[n]`.
    """

    element: Int[Tensor, "n classes"]
    there: Bool[Tensor, "n classes"]
    counts: Float[Tensor, "n classes"]
    sizes: Float[Tensor, "n classes"]
    orbits: Float[Tensor, "n classes positions"]
    group: Int[Tensor, " n"]


@dataclass(frozen=True)
class CrystalBatch:
    """Crystals to learn from.

    Attributes:
        templates: their skeletons.
        sites: their orbits.
        coordinates: free ones, `[orbits, 3]`.
        strains: logarithmic, of the frames, `[n, 3, 3]`.
        classes: with all elements told.
    """

    templates: list[Template]
    sites: Sites
    coordinates: Float[Tensor, "orbits 3"]
    strains: Float[Tensor, "n 3 3"]
    classes: Classes


@dataclass(frozen=True)
class Start:
    """Crystals on their way.

    Attributes:
        times: of each crystal, `[n]`.
        coordinates: free ones, then, `[orbits, 3]`.
        strains: then, `[n, 3, 3]`.
        way: displacements of first points over the whole way, `[orbits, 3]`.
    """

    times: Float[Tensor, " n"]
    coordinates: Float[Tensor, "orbits 3"]
    strains: Float[Tensor, "n 3 3"]
    way: Float[Tensor, "orbits 3"]


class CrystalFlow(Flow):
    """Makes crystals of a skeleton: a space group, and sites of which some share an element.

    Elements are drawn one class of sites after the other by a network that sees those drawn. Free
    coordinates move from anywhere in their period to their places, the lattice from the mean of
    the skeleton at the volume of the elements: x_t = (1 - t) noise + t crystal. Both are confined
    to what the space group leaves free, so it is had at every time.

    Args:
        config: sizes of everything.
        contents: which skeletons there are.
    """

    kind = "crystal_flow"
    configuration = CrystalFlowConfig
    contents = Skeletons

    def __init__(self, config: CrystalFlowConfig, contents: Skeletons):
        super().__init__(config, contents)
        elements = len(config.elements)
        self.geometry = OrbitNetwork(config.geometry, elements)
        self.composition = ElementNetwork(config.composition, elements, len(contents.place))

    def skeletons(self) -> Skeletons:
        """Those that occur in the data, on the CPU."""
        stored = {name: value.detach().cpu() for name, value in self.statistics.items()}
        return Skeletons.from_tensors(stored)

    @cached_property
    def templates(self) -> Templates:
        """Of the skeletons."""
        return Templates(self.skeletons())

    def velocity(
        self,
        sites: Sites,
        coordinates: Float[Tensor, "orbits 3"],
        strains: Float[Tensor, "n 3 3"],
        times: Float[Tensor, " n"],
    ) -> tuple[Float[Tensor, "orbits 3"], Float[Tensor, "n 3 3"]]:
        """Displacements of first points to where they end, in fractions of the cells, and the
        strains' ends; both confined, in the precision of the coordinates.

        Args:
            sites: the crystals.
            coordinates: free ones, now.
            strains: now.
            times: 0 for noise to 1 for crystals.
        """
        points = sites.points(coordinates)
        given = (own.to(self.device).to(self.dtype) for own in (sites, points, strains, times))
        moved, strained = self.geometry(*given)
        return self._confined(sites, strains, times, moved.to(strains), strained.to(strains))

    @geometry
    def _confined(
        self, sites: Sites, strains: Tensor, times: Tensor, moved: Tensor, strained: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What the groups leave of what the network says."""
        keep, scale = (x[:, None, None] for x in path(times, self.config.geometry.strain))
        ends = sites.confined_strains(keep * strains + scale * strained)
        inverse = torch.linalg.inv(sites.cells(strains))[sites.crystal]
        return sites.confined(torch.einsum("oi,oij->oj", moved, inverse)), ends

    def element_logits(self, classes: Classes) -> Float[Tensor, "n classes elements"]:
        """Of each class's element, given those that are told; where the classes are."""
        given = (getattr(classes, own.name).to(self.device) for own in fields(classes))
        return self.composition(*given).to(classes.element.device)

    def loss(self, batch: CrystalBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Mean square error of strains in parts of what each time leaves open, of velocities in Å,
        and the cross entropy of elements that are not told, as `loss`.

        Args:
            batch: crystals.
            generator: of times, noise, and what is left untold.
        """
        start = self._noised(batch, generator)
        found = self.velocity(batch.sites, start.coordinates, start.strains, start.times)
        coordinates, lattice = self._errors(batch, start, *found)
        elements = self._element_loss(batch.classes, generator)
        return {
            "loss": coordinates + lattice + ELEMENTS * elements,
            "coordinates": coordinates,
            "lattice": lattice,
            "elements": elements,
        }

    @geometry
    def _noised(self, batch: CrystalBatch, generator: torch.Generator) -> "Start":
        """Crystals of a batch at random times."""
        sites, n, dtype = batch.sites, len(batch.sites), batch.strains.dtype
        times = torch.rand(n, generator=generator, dtype=dtype)
        normal = torch.randn(n, 3, 3, generator=generator, dtype=dtype)
        noise = self.strain_noise(sites, normal)
        uniform = torch.rand(len(sites.crystal), 3, generator=generator, dtype=dtype)
        begin = self.coordinate_noise(sites, uniform)
        told = coupled(batch.templates, batch.coordinates.numpy(), begin.numpy())
        gap = torch.from_numpy(told) - begin
        gap = gap - gap.round()
        way = sites.confined(torch.einsum("oj,ojk->ok", gap, sites.basis))
        # ways end at the crystal, wherever along a polar axis it began
        points = sites.points(torch.from_numpy(told)) - (1 - times)[sites.crystal, None] * way
        return Start(
            times,
            sites.coordinates(points),
            torch.lerp(noise, batch.strains, times[:, None, None]),
            way,
        )

    def strain_noise(self, sites: Sites, normal: Float[Tensor, "n 3 3"]) -> Float[Tensor, "n 3 3"]:
        """Strains at time 0, of normally distributed numbers."""
        even = 0.5 * (normal + normal.transpose(1, 2))
        return sites.confined_strains(self.config.geometry.strain * even)

    def coordinate_noise(
        self, sites: Sites, uniform: Float[Tensor, "orbits 3"]
    ) -> Float[Tensor, "orbits 3"]:
        """Free coordinates at time 0, of numbers that are evenly distributed between 0 and 1."""
        return uniform * (sites.basis != 0).any(2)

    @geometry
    def _errors(
        self, batch: CrystalBatch, start: "Start", moved: Tensor, ends: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mean square errors of orbits' ways, in parts of what is expected of noise that knows
        nothing, and of strains in parts of what their times leave open.
        """
        sites = batch.sites
        cells = sites.cells(start.strains)[sites.crystal]
        gaps = torch.einsum("oi,oij->oj", moved - start.way, cells).square().sum(1)
        periods = torch.einsum("oji,oik->ojk", sites.basis, sites.frame[sites.crystal])
        expected = periods.square().sum((1, 2)) / 12
        free = sites.freedom > 0
        scale = path(start.times, self.config.geometry.strain)[1][:, None, None]
        strained = ((ends - batch.strains) / scale).square().sum()
        strains = sites.strain.diagonal(dim1=1, dim2=2).sum()
        return (gaps[free] / expected[free]).sum() / free.sum().clamp(min=1), strained / strains

    def _element_loss(self, classes: Classes, generator: torch.Generator) -> Tensor:
        """Cross entropy of elements of which a random number is told."""
        n, most = classes.element.shape
        order = torch.rand(n, most, generator=generator).masked_fill(~classes.there, 2.0)
        rank = order.argsort(1).argsort(1)
        told = (torch.rand(n, generator=generator) * classes.there.sum(1)).long()
        hidden = (rank >= told[:, None]) & classes.there
        seen = classes.element.masked_fill(hidden, 0)
        logits = self.element_logits(replace(classes, element=seen))
        return nn.functional.cross_entropy(logits[hidden].float(), classes.element[hidden] - 1)


def classes_of(
    templates: list[Template], positions: int, elements: list[Tensor] | None = None
) -> Classes:
    """Which sites of crystals share an element.

    Args:
        templates: of the crystals.
        positions: number of Wyckoff positions that occur; orbits on others are left out of
            `Classes.orbits`.
        elements: number of each class's element; none is told if None.
    """
    most = max(own.classes for own in templates)
    element = torch.zeros(len(templates), most, dtype=torch.long)
    there = torch.zeros(len(templates), most, dtype=torch.bool)
    counts = torch.zeros(len(templates), most)
    sizes = torch.zeros(len(templates), most)
    orbits = torch.zeros(len(templates), most, positions)
    for row, own in enumerate(templates):
        there[row, : own.classes] = True
        counts[row, : own.classes] = torch.from_numpy(own.counts()).float()
        member, position = torch.from_numpy(own.member), torch.from_numpy(own.position)
        sizes[row, : own.classes] = member.bincount().float()
        occurs = position < positions
        places = member[occurs], position[occurs]
        orbits[row].index_put_(places, torch.ones(len(places[0])), accumulate=True)
        if elements is not None:
            element[row, : own.classes] = elements[row] + 1
    group = torch.tensor([own.number for own in templates])
    return Classes(element, there, counts, sizes, orbits, group)


def load_crystal_flow(
    name_or_path: str | Path, *, device: torch.device | str = "cpu"
) -> CrystalFlow:
    """A released flow on crystals by its name, such as 'perov5-atoms', or one of a file or folder.

    Raises:
        GeomaeError: there is no such model.
        CheckpointError: the file can't be read, or holds no flow on crystals.
    """
    return CrystalFlow.from_file(weights_of(name_or_path), device=device)
