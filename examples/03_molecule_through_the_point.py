"""Follows one molecule from its atoms to one point and back, and draws every stage.

Atoms bloom to heavy-atom groups, groups to motifs, motifs to one point. What arrives there is an
array of irreps; each channel is a signal on the sphere. The decoder draws the molecule from that
array alone. Run with `python examples/03_molecule_through_the_point.py [--molecule CH3COOH]`.
"""

import argparse
from pathlib import Path

import torch

import geomae
from geomae.data import load_source
from geomae.metrics import compare
from geomae.plotting.signals import draw_levels, draw_signal, draw_structure

HERE = Path(__file__).parent


def strongest_signal(latent: torch.Tensor) -> torch.Tensor:
    """Coefficients `[m]` of the channel with most of its power beyond l = 0."""
    power = latent[1:].square().sum(0) / latent.square().sum(0)
    return latent[:, int(power.argmax())]


def picture(path: Path, original, decoded, tree, latent: torch.Tensor) -> None:
    """Four stages in a row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 3.6), layout="constrained")
    titles = (
        "atoms",
        "groups, motifs, one point",
        "a channel of the latent",
        "drawn from the latent",
    )
    axes = [figure.add_subplot(1, 4, n + 1, projection="3d") for n in range(4)]
    draw_structure(axes[0], original)
    draw_levels(axes[1], tree)
    draw_signal(axes[2], strongest_signal(latent))
    draw_structure(axes[3], decoded)
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def main(name: str, output: Path) -> None:
    """Encode, decode, compare and draw."""
    molecules = {structure.name: structure for structure in load_source("g2")}
    original = molecules[name]
    model = geomae.load("qm9")
    tree, features = model.encode_levels([original])
    for level, (points, values) in enumerate(zip(tree.positions, features, strict=True)):
        print(f"level {level}: {len(points):2d} points, features {list(values.shape[1:])}")
    latents = model.encode([original])
    decoded = model.decode(latents)[0]
    comparison = compare(original, decoded)
    print(f"decoded {decoded.formula}, largest error {comparison.max_error:.1e} Å")
    print(f"residual {decoded.residual:.1e}: {'certified' if decoded.certified else 'doubtful'}")
    picture(output, original, decoded, tree, latents.array[0].double())
    print(f"picture in {output}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--molecule", default="C5H5N", help="name in ASE's g2 collection")
    parser.add_argument(
        "-o", "--output", type=Path, default=HERE / "output" / "molecule_through_the_point.png"
    )
    arguments = parser.parse_args()
    main(arguments.molecule, arguments.output)
