"""From an atom's environment to invariants and a frame, and from these back to the geometry.

The way of an inversion, drawn: the neighbours of a carbon atom; the density around it in radial
functions and harmonics; its invariants, which don't know how it is turned; vectors that
do (the frame). From invariants and frame alone, algebra and refinement draw the atoms again,
elements included: signal, peaks, geometry. Last, a pair of environments that the power spectrum
can't tell apart. Run with `python examples/11_environment_to_geometry.py [--molecule CH3CH2OH]`.
"""

import argparse
from pathlib import Path

import torch

from geomae.data import Structure, load_source
from geomae.inversion import (
    PowerSpectrum,
    RadialDensity,
    align,
    frame_of,
    invert,
    structure_spectra,
)
from geomae.inversion.drawing import draw_peaks, signal_of
from geomae.plotting import draw_structure

HERE = Path(__file__).parent
ELEMENTS = ("H", "C", "N", "O", "F")


def environment(molecule: Structure, atom: int) -> Structure:
    """The other atoms of a molecule, as displacements from one of them.

    Half a percent of noise takes away the symmetry that ideal molecules have.
    """
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(molecule.positions.shape, generator=generator, dtype=torch.float64)
    place = molecule.positions + 0.02 * noise
    others = torch.arange(molecule.n_atoms) != atom
    return Structure(molecule.numbers[others], (place - place[atom])[others])


def picture(path: Path, original: Structure, found: Structure, descriptor) -> None:
    """Environment, invariants, signal with peaks, geometry."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 3.6), layout="constrained")
    first, third, fourth = (figure.add_subplot(1, 4, k, projection="3d") for k in (1, 3, 4))
    second = figure.add_subplot(1, 4, 2)
    draw_structure(first, original)
    spectrum = PowerSpectrum(RadialDensity(ELEMENTS, 8, 6, 8.0, centre="origin"))
    second.imshow(spectrum.of(original)[:, :200].abs().log10().clamp(-6), aspect="auto")
    second.set_xlabel("pair of channels")
    second.set_ylabel("degree")
    draw_peaks(third, signal_of(found, descriptor))
    draw_structure(fourth, found)
    titles = ("an environment", "invariants", "signal and peaks", "drawn from the invariants")
    for ax, title in zip((first, second, third, fourth), titles, strict=True):
        ax.set_title(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def main(name: str, output: Path) -> None:
    """Describe, invert, compare and draw; then the pair that can't be told apart."""
    molecule = {structure.name: structure for structure in load_source("g2")}[name]
    original = environment(molecule, 0)
    descriptor = structure_spectra(ELEMENTS, n_radial=16, centre="origin")
    values, frame = descriptor.of(original), frame_of(descriptor, original)
    print(f"{original.n_atoms} neighbours, {len(values)} invariants, {len(frame)} vectors")
    result = invert(descriptor, values, frame=frame)
    found = result.solutions[0]
    print(f"{result}, by {result.route}")
    gaps = torch.cdist(original.positions, found.positions).amin(1)
    print(f"largest error {float(gaps.max()):.1e} Å, in the original's own orientation")
    picture(output, original, found, descriptor)
    print(f"picture in {output}")

    members = {structure.name: structure for structure in load_source("degenerate")}
    power = PowerSpectrum(RadialDensity(("H", "C"), 6, 8, 4.0, centre="origin"))
    result = invert(power, power.of(members["circle-a"]), n_solutions=2)
    print(f"four atoms on a circle: {result}")
    for member in ("circle-a", "circle-b"):
        gaps = [align(members[member], s, mirror=True, centre="origin") for s in result.solutions]
        print(f"  {member} is found to {min(gap.rmsd for gap in gaps):.1e} Å")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--molecule", default="CH3CH2OH", help="name in ASE's g2 set")
    parser.add_argument("--output", type=Path, default=HERE / "output" / "11_inversion.png")
    options = parser.parse_args()
    main(options.molecule, options.output)
