"""Descriptors from their options, as a YAML file gives them."""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from geomae.errors import GeomaeError
from geomae.inversion.descriptors.base import Descriptor
from geomae.inversion.descriptors.density import RadialDensity
from geomae.inversion.descriptors.lists import CoulombMatrix, SortedDistances
from geomae.inversion.descriptors.soap import Soap
from geomae.inversion.descriptors.spectra import Bispectrum, PowerSpectrum, structure_spectra

Species = list[int | str]


class Options(BaseModel):
    """Base of the options of a descriptor: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SoapOptions(Options):
    """dscribe's SOAP, its options by its names; see `Soap`."""

    kind: Literal["soap"]
    species: Species
    r_cut: float
    n_max: int
    l_max: int
    sigma: float = 1.0
    rbf: Literal["gto"] = "gto"
    average: Literal["off", "inner", "outer"] = "off"
    centres: Literal["all", "origin"] | list[int] = "all"
    weighting: dict[str, Any] | None = None
    cell: list[list[float]] | None = None
    periodic: bool = False

    def build(self) -> Descriptor:
        return Soap(**self.model_dump(exclude={"kind", "rbf"}))


class StructureOptions(Options):
    """Power spectrum and bispectrum of a structure about its centre; see `structure_spectra`."""

    kind: Literal["structure"]
    species: Species
    n_radial: int = 32
    lmax: int = 4
    cutoff: float = 8.0
    centre: Literal["centroid", "origin"] = "centroid"

    def build(self) -> Descriptor:
        return structure_spectra(**self.model_dump(exclude={"kind"}))


class PowerOptions(Options):
    """See `PowerSpectrum` and `RadialDensity`."""

    kind: Literal["power_spectrum"]
    species: Species
    n_radial: int = 32
    lmax: int = 4
    cutoff: float = 8.0
    softening: float = 0.5
    centre: Literal["centroid", "origin"] = "centroid"
    envelope: bool = False
    pairs: Literal["all", "same"] = "all"

    def build(self) -> Descriptor:
        density = RadialDensity(**self.model_dump(exclude={"kind", "pairs"}))
        return PowerSpectrum(density, pairs=self.pairs)


class BispectrumOptions(Options):
    """See `Bispectrum` and `RadialDensity`."""

    kind: Literal["bispectrum"]
    species: Species
    n_radial: int = 4
    lmax: int = 4
    cutoff: float = 8.0
    softening: float = 0.5
    centre: Literal["centroid", "origin"] = "centroid"
    envelope: bool = False
    odd: bool = True
    together: bool = True

    def build(self) -> Descriptor:
        density = RadialDensity(**self.model_dump(exclude={"kind", "odd", "together"}))
        return Bispectrum(density, odd=self.odd, together=self.together)


class DistancesOptions(Options):
    """See `SortedDistances`."""

    kind: Literal["distances"]
    species: Species

    def build(self) -> Descriptor:
        return SortedDistances(self.species)


class CoulombOptions(Options):
    """See `CoulombMatrix`."""

    kind: Literal["coulomb"]
    species: Species
    form: Literal["eigenvalues", "sorted"] = "sorted"

    def build(self) -> Descriptor:
        return CoulombMatrix(self.species, form=self.form)


AnyOptions = Annotated[
    SoapOptions
    | StructureOptions
    | PowerOptions
    | BispectrumOptions
    | DistancesOptions
    | CoulombOptions,
    Field(discriminator="kind"),
]


def descriptor_of(options: dict[str, Any]) -> Descriptor:
    """The descriptor that options describe, `kind` and its own.

    Raises:
        GeomaeError: an option is unknown, missing or out of range; says which.
    """
    try:
        return TypeAdapter(AnyOptions).validate_python(options).build()
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'descriptor'}: {fault['msg']}"
            for fault in error.errors()
        )
        raise GeomaeError(f"options of a descriptor: {faults}") from error


def read_descriptor(path: Path | str) -> Descriptor:
    """The descriptor of a YAML file.

    Raises:
        GeomaeError: there is no such file, it isn't YAML, or its options aren't a descriptor's.
    """
    try:
        options = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise GeomaeError(f"can't read {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise GeomaeError(f"{path} is not YAML: {error}") from error
    if not isinstance(options, dict):
        raise GeomaeError(f"{path} must hold options with their names, `kind` the first")
    return descriptor_of(options)
