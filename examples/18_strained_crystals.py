"""Strains crystals and follows their latents: where they move smoothly, and where they jump.

Three paths, each in small equal steps:

- SrTiO3 stretched along one axis, through the cubic cell: the space group changes twice, the latent
  is continuous but for a step as small as what is taken for rounding (`symprec`).
- a cubic lattice sheared until another cell is the reduced one: images and lattice vectors count by
  smooth weights, so the latent does not notice.
- La2O3 with lanthanum moved along the axis: the two La are equivalent by inversion at the middle of
  the path alone, where the anchor is the one O that has no equivalent; elsewhere it is a La. The
  latent is about another atom there, and jumps.

Then latents between the two ends of the first path are decoded: the lattice follows.
Run with `python examples/18_strained_crystals.py`.
"""

from collections.abc import Callable

import numpy as np
import torch

import geomae
from geomae.autoencoder import Latents
from geomae.crystals import canonical
from geomae.crystals.model import CrystalAutoencoder
from geomae.data import Structure
from geomae.data.elements import SYMBOLS

SITES = np.array([[0.5, 0.5, 0.5], [0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]])
STEPS = 41


def stretched(share: float) -> Structure:
    """SrTiO3, its c axis longer by up to 4 %, -1 to 1."""
    cell = 3.905 * np.diag([1, 1, 1 + 0.04 * share])
    return Structure([38, 22, 8, 8, 8], SITES @ cell, cell=cell)


def sheared(share: float) -> Structure:
    """SrTiO3 sheared by up to 0.8: from 0.5 on another cell is the reduced one."""
    cell = 3.905 * np.array([[1, 0, 0], [0, 1, 0], [0, 0.4 * (share + 1), 1.0]])
    return Structure([38, 22, 8, 8, 8], SITES @ cell, cell=cell)


def moved(share: float) -> Structure:
    """La2O3, both La moved along the axis by up to 0.1 Å: without inversion but for the middle."""
    cell = np.array([[3.94, 0, 0], [-1.97, 3.412, 0], [0, 0, 6.13]])
    fractions = [[1 / 3, 2 / 3, 0.246], [2 / 3, 1 / 3, 0.754], [0, 0, 0],
                 [1 / 3, 2 / 3, 0.647], [2 / 3, 1 / 3, 0.353]]  # fmt: skip
    positions = np.array(fractions) @ cell
    positions[:2, 2] += 0.1 * share
    return Structure([57, 57, 8, 8, 8], positions, cell=cell)


PATHS: dict[str, Callable[[float], Structure]] = {
    "SrTiO3 stretched": stretched,
    "SrTiO3 sheared": sheared,
    "La2O3, La moved": moved,
}


def follow(model: CrystalAutoencoder, path: Callable[[float], Structure]) -> None:
    """Print how far the latent moves at each step, and what changes where it moves most."""
    shares = np.linspace(-1, 1, STEPS)
    crystals = [path(float(share)) for share in shares]
    array = model.encode(crystals).array.double()
    steps = ((array[1:] - array[:-1]).flatten(1).norm(dim=1) / array[0].norm()).numpy()
    forms = [canonical(crystal) for crystal in crystals]
    typical, largest = np.median(steps), int(steps.argmax())
    print(f"  a step moves the latent by {typical:.2g} (median), {steps.max():.2g} at most")
    for k in range(STEPS - 1):
        before, after = forms[k], forms[k + 1]
        anchors = [SYMBOLS[int(form.structure.numbers[0])] for form in (before, after)]
        groups = [form.symmetrised.number for form in (before, after)]
        if k == largest or anchors[0] != anchors[1] or groups[0] != groups[1]:
            print(
                f"  {shares[k]:+.2f} to {shares[k + 1]:+.2f}: {steps[k] / typical:6.1f} times; "
                f"space group {groups[0]} to {groups[1]}, anchor {anchors[0]} to {anchors[1]}"
            )


def between(model: CrystalAutoencoder) -> None:
    """Decode latents on the straight line between the ends of the first path."""
    ends = model.encode([stretched(-1), stretched(1)])
    for share in np.linspace(0, 1, 9):
        array = torch.lerp(ends.array[:1], ends.array[1:], float(share))
        (found,) = model.decode(Latents(array, ends.centres[:1]))
        if found is None:
            print(f"  {share:.3f}: nothing drawn")
            continue
        lengths = np.sort(found.cell[0].norm(dim=1).numpy())
        expected = 3.905 * (1 + 0.04 * (2 * share - 1))
        print(
            f"  {share:.3f}: {found.formula}, edges "
            + " ".join(f"{length:.4f}" for length in lengths)
            + f" Å (3.9050 twice and {expected:.4f} on the path), residual {found.residual:.1e}"
        )


if __name__ == "__main__":
    network = geomae.load("perov5")
    assert isinstance(network, CrystalAutoencoder)
    for title, way in PATHS.items():
        print(title)
        follow(network, way)
    print("latents between the ends of the first path, decoded")
    between(network)
