"""A design run: molecules of a formula, with a HOMO-LUMO gap that is asked for, ranked and drawn.

Every sample has the formula; the flow is told the gap. Samples are ranked by what is asked of a
candidate: stable bonds, one piece, and a gap near to the one asked for, as a regressor tells that
is fitted here on invariants of latents of QM9. The best are drawn.
Run with `python examples/16_design_run.py [--formula C7H10O2] [--gap 0.2] [-n 64]`.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.kernel_ridge import KernelRidge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import geomae
from geomae.autoencoder import Autoencoder
from geomae.data import Structure, load_source
from geomae.invariants import invariants
from geomae.metrics.generation import Molecule, judge
from geomae.plotting.gallery import save_gallery

HERE = Path(__file__).parent


def described(model: Autoencoder, structures: list[Structure]) -> np.ndarray:
    """Invariants of the structures' latents."""
    latents = model.encode(structures).to(torch.float64)
    return invariants(latents, "power").numpy()


def fitted(model: Autoencoder, n: int):
    """A regressor of the gap, in hartree, on n molecules that the flow did not learn from."""
    known = load_source("qm9", split="valid", n=n)
    gaps = np.array([float(s.gap) for s in known])
    regressor = make_pipeline(StandardScaler(), KernelRidge(alpha=1e-2, kernel="laplacian"))
    half = len(known) // 2
    values = described(model, known)
    error = np.abs(regressor.fit(values[:half], gaps[:half]).predict(values[half:]) - gaps[half:])
    print(f"the regressor's mean error is {error.mean():.4f} hartree")
    return regressor.fit(values, gaps)


def rank(
    structures: list[Structure], judged: list[Molecule], gaps: np.ndarray, asked: argparse.Namespace
) -> list[int]:
    """Numbers of the candidates, the best first."""

    def merit(i: int) -> tuple:
        one = judged[i]
        right = structures[i].formula == asked.formula
        return (
            -(one.stable and one.connected),
            -(one.smiles is not None),
            -right,
            round(abs(gaps[i] - asked.gap), 2),
            structures[i].residual,
        )

    return sorted(range(len(structures)), key=merit)


def main(options: argparse.Namespace) -> None:
    """Ask, generate, rank, draw."""
    made = geomae.generate(
        options.model,
        options.n,
        formula=options.formula,
        properties={"gap": options.gap},
        seed=options.seed,
        progress=True,
    )
    structures = made.kept
    if not structures:
        print(f"nothing came of it: {made.faults[0]}")
        return
    model = geomae.load(options.autoencoder)
    gaps = fitted(model, options.known).predict(described(model, structures))
    judged = [judge(structure) for structure in structures]
    right = sum(structure.formula == options.formula for structure in structures)
    stable = sum(molecule.stable for molecule in judged)
    print(f"{len(structures)} of {options.n} samples: {right} of the formula, {stable} stable")
    print(f"predicted gaps {gaps.mean():.3f} +- {gaps.std():.3f}, asked for {options.gap}")
    best = rank(structures, judged, gaps, options)[: options.best]
    titles = []
    for i in best:
        words = "stable" if judged[i].stable else "not stable"
        titles.append(f"{structures[i].formula}, {words}\ngap {gaps[i]:.3f} hartree")
        print(f"  {judged[i].smiles or '-':60} {words:10} gap {gaps[i]:.3f}, "
              f"residual {structures[i].residual:.2f}")  # fmt: skip
    options.output.mkdir(parents=True, exist_ok=True)
    chosen = [structures[i] for i in best]
    save_gallery(options.output / "design_run.png", chosen, titles, columns=len(best))
    print(f"design_run.png is in {options.output}")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="qm9", help="name or path of a model with a flow")
    parser.add_argument("--autoencoder", default="qm9", help="whose latents describe molecules")
    parser.add_argument("--formula", default="C7H10O2")
    parser.add_argument("--gap", type=float, default=0.2, help="in hartree")
    parser.add_argument("-n", type=int, default=64, help="samples")
    parser.add_argument("--known", type=int, default=2000, help="molecules for the regressor")
    parser.add_argument("--best", type=int, default=5, help="that are drawn")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, default=HERE / "output")
    main(parser.parse_args())
