"""What makes samples: a flow on atoms, on latents or on crystals, or noise around a structure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from geomae.autoencoder import Autoencoder
from geomae.crystals.model import CrystalAutoencoder
from geomae.data.structure import Structure
from geomae.errors import GeomaeError
from geomae.generation.atoms.flow import AtomFlow
from geomae.generation.atoms.fragment import Fragment
from geomae.generation.atoms.integration import Steps
from geomae.generation.atoms.samples import AtomSamples
from geomae.generation.atoms.symmetric_samples import SymmetricAtomSamples
from geomae.generation.conditioned import MoleculeFlow
from geomae.generation.crystals.flow import CrystalFlow
from geomae.generation.crystals.request import SpaceGroupType, check_crystals_asked
from geomae.generation.crystals.samples import CrystalSamples
from geomae.generation.latent_samples import FlowSamples, NearSamples
from geomae.generation.request import Asked, check_asked, check_properties, find_inventories
from geomae.symmetry import PointGroup
from geomae.symmetry.detect import one_structure

TEMPERATURE = 0.9
"""Of the model of inventories; 1 where only those are wanted that the data lacks, whose unusual
ones are no less sound."""

STEPS = 20
"""Evaluations of the velocity of a flow on latents."""

NOISE = 0.3
"""Noise around a structure, in parts of the spread of the data's latents."""


@dataclass(frozen=True)
class Options:
    """How samples are made, beside what is asked for; see `geomae.generate`."""

    fragment: Any = None
    inventories: str | None = None
    tries: int | None = None
    temperature: float | None = None
    near: Any = None
    noise: float | None = None
    seed: int = 0
    steps: int | None = None
    revisions: tuple[float, ...] = ()


@dataclass(frozen=True)
class Maker:
    """What makes samples, and what was settled about them.

    Attributes:
        make: gives the samples of some numbers, and their latents.
        counts: atoms of each element that were asked for.
        group: that samples have at least, as it stands in space.
        steps: evaluations of the flow.
        inventories: what a flow on atoms draws them from: 'data', 'learned', 'new' or a model.
        tries: inventories of each sample that are tried.
        temperature: of the model that inventories are drawn from.
        around: the structure around which samples are.
    """

    make: AtomSamples | CrystalSamples | FlowSamples | NearSamples
    counts: Mapping[str, int] | None
    group: PointGroup | SpaceGroupType | None
    steps: int | None = None
    inventories: str | None = None
    tries: int | None = None
    temperature: float | None = None
    around: Structure | None = None


def maker_of(
    name: str,
    model: Autoencoder | CrystalAutoencoder,
    flow: MoleculeFlow | CrystalFlow | None,
    asked: Asked,
    options: Options,
) -> Maker:
    """What makes the samples that are asked for.

    Args:
        name: of the autoencoder.
        model: that encodes them.
        flow: None around a structure.
        asked: what samples are to be.
        options: how they are made.

    Raises:
        GeomaeError: an option that is none, or that does not go with the model or another one.
    """
    _check(flow, options)
    if isinstance(flow, CrystalFlow):
        assert isinstance(model, CrystalAutoencoder), "training checks that the flow goes with one"
        return _of_crystals(model, flow, asked, options)
    assert isinstance(model, Autoencoder), "find_models gives crystals a flow of theirs"
    counts, group = check_asked(asked, model)
    if options.near is not None:
        noise = NOISE if options.noise is None else options.noise
        near = NearSamples(
            options.near, name, model, asked, counts, group, seed=options.seed, noise=noise
        )
        return Maker(near, counts, near.group, options.steps, around=near.structure)
    assert flow is not None, "find_models gives one where nothing is to be near"
    check_properties(asked.properties, flow)
    if isinstance(flow, AtomFlow):
        return _of_atoms(model, flow, asked, counts, group, options)
    steps = options.steps or STEPS
    how = {"seed": options.seed, "steps": steps, "revisions": options.revisions}
    return Maker(FlowSamples(flow, model, asked, counts, group, **how), counts, group, steps)


def _check(flow: MoleculeFlow | CrystalFlow | None, options: Options) -> None:
    """Whether options are sensible, and go with the flow."""
    if not 0 <= options.seed < 2**63:
        raise GeomaeError(f"the seed must be a number from 0 to 2^63 - 1, not {options.seed}")
    if options.steps is not None and options.steps < 1:
        raise GeomaeError(f"a flow takes 1 step or more, not {options.steps}")
    if options.tries is not None and options.tries < 1:
        raise GeomaeError(f"one inventory or more must be tried, not {options.tries}")
    temperature = options.temperature
    if temperature is not None and not 0 < temperature < float("inf"):
        raise GeomaeError(f"the temperature must be a positive number, not {temperature}")
    of_atoms = options.near is None and isinstance(flow, AtomFlow)
    if (options.inventories or options.tries or temperature) and not of_atoms:
        raise GeomaeError(
            "inventories, how many are tried and their temperature are for a flow on atoms"
        )
    if isinstance(flow, CrystalFlow):
        if options.fragment is not None or options.revisions or options.noise is not None:
            raise GeomaeError("a fragment, revisions and noise are for models of molecules")
        return
    if options.near is None and options.noise is not None:
        raise GeomaeError("noise goes with a structure to sample around (near)")
    if options.fragment is not None and not of_atoms:
        other = "one on latents" if options.near is None else "samples around a structure"
        raise GeomaeError(f"a fragment is for a flow on atoms, not for {other}")
    if options.revisions and of_atoms:
        raise GeomaeError(
            "revision is for flows on latents: what a flow on atoms makes is a structure, and its "
            "latent that structure's"
        )


def _of_crystals(
    model: CrystalAutoencoder, flow: CrystalFlow, asked: Asked, options: Options
) -> Maker:
    counts, group = check_crystals_asked(asked, flow, model)
    steps = options.steps or Steps().count
    how = {"seed": options.seed, "steps": Steps(steps, warp=1.0)}
    return Maker(CrystalSamples(flow, model, asked, counts, group, **how), counts, group, steps)


def _of_atoms(
    model: Autoencoder,
    flow: AtomFlow,
    asked: Asked,
    counts: Mapping[str, int] | None,
    group: PointGroup | None,
    options: Options,
) -> Maker:
    # few inventories of the model's fill orbits, and fewer of these are chemistry
    chosen = options.inventories or (None if group is None else "data")
    usual = 1.0 if chosen == "new" else TEMPERATURE
    temperature = usual if options.temperature is None else options.temperature
    learned = find_inventories(chosen, flow, temperature)
    if learned is None and options.temperature is not None:
        raise GeomaeError("a temperature is for learned inventories, not for those of the data")
    source = "data" if learned is None else chosen or "learned"
    drawn = {"inventories": source, "temperature": None if learned is None else temperature}
    steps = options.steps or Steps().count
    how: dict[str, Any] = {"seed": options.seed, "steps": Steps(steps), "learned": learned}
    if group is None:
        if options.fragment is not None:
            how["fragment"] = Fragment.of(one_structure(options.fragment), flow.elements)
        made = AtomSamples(flow, model, asked, tries=options.tries, **how)
        return Maker(made, counts, None, steps, tries=made.tries, **drawn)
    if options.fragment is not None:
        raise GeomaeError("a fragment and a symmetry can't be asked for together")
    if options.tries is not None:
        raise GeomaeError("with a symmetry orbits are tried, not inventories")
    symmetric = SymmetricAtomSamples(flow, model, asked, group, **how)
    return Maker(symmetric, counts, group, steps, **drawn)
