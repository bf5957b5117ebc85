"""Maps QM9 by its latents, finds neighbours of a molecule, and walks from one to another.

The map: invariants of the latents, standardised, on their two main directions (or t-SNE), each
molecule coloured by a property. The walk: latents turn with their molecules, so the second one is
first rotated onto the first (`geomae.alignment.align`: the rotation for which the two latents are
closest); then every step between them is decoded and drawn. Steps in between are latents of no
molecule in general; the residual tells how far the nearest drawn one is.
Run with `python examples/10_map_of_qm9.py [-n 2000] [--map tsne] [--latents FOLDER]`.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import geomae
from geomae.alignment import align
from geomae.autoencoder import Autoencoder, Latents
from geomae.bulk import open_shards
from geomae.data import Structure
from geomae.data.sources.qm9 import QM9, load_qm9, split_indices
from geomae.invariants import invariants
from geomae.plotting.signals import draw_structure
from geomae.search import LatentIndex

HERE = Path(__file__).parent


def collection(
    data: QM9, n: int, folder: Path | None, model: Autoencoder
) -> tuple[np.ndarray, Latents]:
    """Places of n molecules of the test split in QM9, and their latents.

    Args:
        data: QM9.
        n: how many.
        folder: where `geomae encode qm9 -o FOLDER` wrote all of QM9; None encodes them here.
        model: that encodes, or has encoded.
    """
    places = split_indices("test")[:n]
    if folder is not None:
        return places, open_shards(folder)[torch.from_numpy(places)]
    return places, model.encode([data.structure(int(i)) for i in places], progress=True)


def places_on_map(latents: Latents, method: str) -> np.ndarray:
    """Two coordinates a molecule, `[n, 2]`."""
    values = invariants(latents.to(torch.float64), "power").numpy()
    if method == "pca":
        return make_pipeline(StandardScaler(), PCA(2)).fit_transform(values)
    few = min(50, *values.shape)
    steps = StandardScaler(), PCA(few, random_state=0), TSNE(2, random_state=0, init="pca")
    return make_pipeline(*steps).fit_transform(values)


def draw_map(path: Path, points: np.ndarray, values: np.ndarray, label: str) -> None:
    """Molecules as points, coloured by a property."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 6), layout="constrained")
    ax = figure.add_subplot()
    dots = ax.scatter(*points.T, c=values, s=6, cmap="viridis", linewidths=0)
    figure.colorbar(dots, label=label)
    ax.set(xticks=[], yticks=[], title=f"{len(points)} molecules of QM9")
    figure.savefig(path, dpi=130)


def walk(model: Autoencoder, first: Latents, second: Latents, steps: int) -> list[Structure]:
    """Decoded structures on the straight line from one latent to the other, turned onto it."""
    turned = second.rotate(align(first, second))
    shares = torch.linspace(0, 1, steps, dtype=first.array.dtype)[:, None, None]
    array = torch.lerp(first.array, turned.array, shares)
    return model.decode(Latents(array, torch.zeros(steps, 3, dtype=torch.float64)))


def draw_walk(path: Path, structures: list[Structure]) -> None:
    """Every step with its formula and residual."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.6 * len(structures), 3.4), layout="constrained")
    for number, structure in enumerate(structures):
        ax = figure.add_subplot(1, len(structures), number + 1, projection="3d")
        if structure.n_atoms:
            draw_structure(ax, structure)
        word = "certified" if structure.certified else f"residual {structure.residual:.2f}"
        ax.set_title(f"{structure.formula}\n{word}", fontsize=10, y=0.92)
    figure.savefig(path, dpi=130)


def main(options: argparse.Namespace) -> None:
    """Map, neighbours, walk."""
    data, model = load_qm9(), geomae.load(options.model)
    places, latents = collection(data, options.n, options.latents, model)
    options.output.mkdir(parents=True, exist_ok=True)
    points = places_on_map(latents, options.map)
    values = data.properties[options.property].numpy()[places]
    draw_map(options.output / "map_of_qm9.png", points, values, options.property)

    smiles = [data.smiles[i] for i in places]
    index = LatentIndex.build(latents, smiles, kind="power")
    query = data.structure(int(places[options.first]))
    found = index.search([query], model, k=6)
    print(f"nearest to {smiles[options.first]}:")
    for name, distance in zip(found.names[0], found.distances[0], strict=True):
        print(f"  {distance:6.3f}  {name}")

    # by default to the nearest other molecule
    second = int(found.indices[0, 1]) if options.second is None else options.second
    print(f"from {smiles[options.first]} to {smiles[second]}:")
    structures = walk(model, latents[options.first], latents[second], options.steps)
    for structure in structures:
        print(f"  {structure.formula:12} residual {structure.residual:.1e}")
    draw_walk(options.output / "walk_through_latents.png", structures)
    print(f"map_of_qm9.png and walk_through_latents.png are in {options.output}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="qm9", help="name or path")
    parser.add_argument("-n", type=int, default=2000, help="molecules of the test split")
    parser.add_argument("--latents", type=Path, help="folder of shards of all QM9")
    parser.add_argument("--map", choices=("pca", "tsne"), default="pca")
    parser.add_argument("--property", default="gap", help="that colours the map")
    parser.add_argument("--first", type=int, default=0, help="number of the walk's first molecule")
    parser.add_argument("--second", type=int, help="and of its last")
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("-o", "--output", type=Path, default=HERE / "output")
    main(parser.parse_args())
