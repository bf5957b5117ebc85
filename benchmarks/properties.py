"""Properties of QM9's molecules from frozen latents, beside SOAP with the same regressors.

Run `python benchmarks/properties.py`, or with `--quick` for a few minutes' version. Training
molecules are the first of EDM's training split, test molecules the first of its test split; the
same for all. U0 is what a linear fit to the composition leaves. Hyperparameters are chosen on a
tenth of the first 2,000 training molecules. 'formula' adds the numbers of atoms that the decoder
reads from the latent. From the equivariant latent also vectors and tensors, with the error of their
orientation: the dipole of Mulliken's charges, and the polarizability of molecules whose orientation
in the tables is sure (see `property_data.py`).
"""

import argparse
import json
import time
import warnings
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import numpy as np
import torch
from property_data import TARGETS, composition, mulliken_dipoles, polarizabilities, scalar_targets
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

import geomae
from geomae.autoencoder import Latents
from geomae.bulk import open_shards
from geomae.data import Structure
from geomae.data.sources.qm9 import load_qm9, split_indices
from geomae.invariants import invariants
from geomae.sklearn import EquivariantRidge

KINDS = ("basic", "power", "cross", "bispectrum")
TUNING = 2000
"""Training molecules, at most, on which hyperparameters are chosen."""
FLAT, ROUND = 0.5, 5.0
"""Shorter dipoles (debye) and closer principal values (bohr^3) have no sure direction."""


@dataclass
class Row:
    """Mean absolute errors on the test molecules, in the units of `TARGETS`."""

    features: str
    n_features: int
    regressor: str
    n_train: int
    errors: dict[str, float]
    standardised: float
    seconds: float


@dataclass
class Turned:
    """Errors of a vector or tensor."""

    target: str
    features: str
    n_train: int
    n_test: int
    rmse: float
    spread: float
    median_degrees: float
    mean_degrees: float


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    most, data = max(options.train), load_qm9()
    index = np.concatenate([split_indices("train")[:most], split_indices("test")[: options.test]])
    structures = [data.structure(int(i)) for i in index]
    counts = composition(structures)
    latents = _latents(options, index, structures)
    blocks = {"composition": counts, **_soap(structures)}
    blocks |= {f"latent, {kind}": invariants(latents, kind).numpy() for kind in options.kinds}
    told = geomae.load(options.model).decoder.formula_of(latents.array.float()).double().numpy()
    best = f"latent, {options.kinds[-1]}"
    widths = {name: (block.shape[1],) for name, block in blocks.items()}
    widths[f"{best}, formula"] = (*widths[best], told.shape[1])
    blocks[f"{best}, formula"] = np.hstack([blocks[best], told])
    rows = []
    for n in options.train:
        chosen = np.r_[np.arange(n), np.arange(most, len(index))]
        y = scalar_targets(data, index[chosen], counts[chosen], n)
        for name, block in blocks.items():
            for regressor in options.regressors:
                rows.append(_scalars(name, block[chosen], widths[name], y, regressor, n))
                _print_row(rows[-1])
    turned = _directions(options, data, index, structures, latents)
    if options.json:
        content = {
            "model": options.model,
            "latent": list(latents.array.shape[1:]),
            "n_test": options.test,
            "units": {name: unit for name, (unit, _) in TARGETS.items()},
            "scalars": [asdict(row) for row in rows],
            "directions": [asdict(row) for row in turned],
        }
        Path(options.json).write_text(json.dumps(content, indent=1) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="qm9", help="name or path")
    parser.add_argument("--train", type=int, nargs="+", default=[1000, 5000, 10_000])
    parser.add_argument("--test", type=int, default=5000)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--regressors", nargs="+", default=list(REGRESSORS), choices=REGRESSORS)
    parser.add_argument("--latents", help="folder that `geomae encode qm9 -o FOLDER` wrote")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="500 to train, 500 to test")
    parser.add_argument("--json", help="file for the figures")
    options = parser.parse_args()
    if options.quick:
        options.train, options.test = [500], 500
    return options


def _latents(
    options: argparse.Namespace, index: np.ndarray, structures: list[Structure]
) -> Latents:
    """Float64 latents of the molecules, read if there is a folder of all QM9's, else encoded."""
    if options.latents:
        shards = open_shards(options.latents)
        if len(shards) != len(load_qm9()) or shards.plan.inputs["split"] not in (None, "all"):
            raise SystemExit(f"{options.latents} does not hold all of QM9 in its own order")
        return shards[torch.from_numpy(index)].to(torch.float64)
    return geomae.load(options.model).encode(structures, progress=True).to(torch.float64)


def _soap(structures: list[Structure]) -> dict[str, np.ndarray]:
    """SOAP power spectra summed over atoms, and their means; nothing without dscribe."""
    if find_spec("dscribe") is None:
        print("dscribe is missing, so SOAP is left out: pip install 'geomae[bench]'")
        return {}
    from dscribe.descriptors import SOAP

    from geomae.data import to_ase

    soap = SOAP(species=["H", "C", "N", "O", "F"], r_cut=5.0, n_max=6, l_max=4, sigma=0.3)
    sums = np.stack([soap.create(to_ase(_bare(s))).sum(0) for s in structures])
    sizes = np.array([[s.n_atoms] for s in structures])
    return {"SOAP, sum": sums, "SOAP, mean": sums / sizes}


def _bare(structure: Structure) -> Structure:
    return Structure(structure.numbers, structure.positions)


class BlockScaler(StandardScaler):
    """Standardises columns, then gives each block of them the same total variance, 1.

    Args:
        widths: columns of each block.
    """

    def __init__(self, widths: tuple[int, ...]):
        super().__init__()
        self.widths = widths

    def transform(self, X: np.ndarray, copy: bool | None = None) -> np.ndarray:
        """Columns with mean 0 and the variance 1 / width of their block."""
        weights = np.concatenate([np.full(width, width**-0.5) for width in self.widths])
        return super().transform(X, copy=copy) * weights


def _ridge(alpha: float):
    return Ridge(alpha=alpha)


def _kernel(gamma: float, alpha: float):
    return KernelRidge(kernel="rbf", gamma=gamma, alpha=alpha)


def _head(alpha: float):
    return MLPRegressor(
        hidden_layer_sizes=(256, 256),
        alpha=alpha,
        early_stopping=True,
        max_iter=300,
        random_state=0,
    )


def _candidates(regressor: str) -> list:
    if regressor == "ridge":
        return [_ridge(alpha) for alpha in 10.0 ** np.arange(-6, 2)]
    if regressor == "kernel":
        return [_kernel(*pair) for pair in product((0.03, 0.1, 0.3), (1e-7, 1e-5, 1e-3))]
    return [_head(1e-4), _head(1e-1)]


REGRESSORS = ("ridge", "kernel", "head")


def _scalars(
    name: str, block: np.ndarray, widths: tuple[int, ...], y: np.ndarray, regressor: str, n: int
) -> Row:
    """One regressor on one set of features, all targets at once, each standardised."""
    start = time.monotonic()
    mean, spread = y[:n].mean(0), y[:n].std(0)
    wanted = (y - mean) / spread
    few = min(n, TUNING)
    cut = few - few // 10

    # unit variance in each column suits a network's first layer
    scaler = StandardScaler() if regressor == "head" else BlockScaler(widths)
    models = [make_pipeline(scaler, model) for model in _candidates(regressor)]

    def error(model: Pipeline) -> float:
        predicted = model.fit(block[:cut], wanted[:cut]).predict(block[cut:few])
        return float(np.abs(predicted - wanted[cut:few]).mean())

    model = min(models, key=error).fit(block[:n], wanted[:n])
    errors = np.abs(model.predict(block[n:]) - wanted[n:]).mean(0)
    told = dict(zip(TARGETS, (errors * spread).tolist(), strict=True))
    seconds = time.monotonic() - start
    return Row(name, block.shape[1], regressor, n, told, float(errors.mean()), seconds)


def _print_row(row: Row) -> None:
    if not _print_row.headed:
        print(f"{'features':27} {'number':>6} {'regressor':9} {'train':>6} " + " ".join(
            f"{name:>8}" for name in TARGETS) + f" {'mean/std':>9}")  # fmt: skip
        print(" " * 51 + " ".join(f"{unit[:8]:>8}" for unit, _ in TARGETS.values()))
        _print_row.headed = True
    errors = " ".join(f"{row.errors[name]:8.3g}" for name in TARGETS)
    print(
        f"{row.features:27} {row.n_features:6} {row.regressor:9} {row.n_train:6} {errors} "
        f"{row.standardised:9.3f}",
        flush=True,
    )


_print_row.headed = False


def _directions(
    options: argparse.Namespace,
    data,
    index: np.ndarray,
    structures: list[Structure],
    latents: Latents,
) -> list[Turned]:
    """Dipole vectors and polarizability tensors from flat equivariant latents."""
    most, flat = max(options.train), latents.to_e3nn()[0].numpy()
    dipoles = mulliken_dipoles(data, index, structures)
    lengths, mu = np.linalg.norm(dipoles, axis=1), data.properties["mu"].numpy()[index]
    print(
        f"\ndipoles of Mulliken's charges: correlation of their lengths with mu "
        f"{np.corrcoef(lengths, mu)[0, 1]:.3f}"
    )
    tables = data.properties["polarizability"].numpy()[index]
    tensors, sure = polarizabilities(structures, tables, most)
    sure &= np.isfinite(tables).all((1, 2))
    print(f"polarizabilities: {sure.sum()} of {len(sure)} molecules have a sure orientation")
    everything = np.isfinite(dipoles).all(1)
    rows = []
    for n, products in product(options.train, (False, True)):
        for target, values, usable in (
            ("vector", dipoles, everything),
            ("tensor", tensors.reshape(-1, 9), sure),
        ):
            train, test = np.flatnonzero(usable[:n]), most + np.flatnonzero(usable[most:])
            predicted = _best(target, products, latents.lmax, flat, values, train).predict(
                flat[test]
            )
            name = "linear" if not products else "with products"
            rows.append(_turned(target, name, n, values[test], predicted))
            _print_turned(rows[-1])
    return rows


def _best(
    target: str, products: bool, lmax: int, flat: np.ndarray, values: np.ndarray, train: np.ndarray
) -> EquivariantRidge:
    """The regression with the best penalty, fitted to the training molecules."""
    few = train[:TUNING]
    cut = len(few) - len(few) // 10

    def error(alpha: float) -> float:
        model = EquivariantRidge(lmax, target=target, products=products, alpha=alpha)
        predicted = model.fit(flat[few[:cut]], values[few[:cut]]).predict(flat[few[cut:]])
        return float(np.square(predicted - values[few[cut:]]).mean())

    alpha = min((0.1, 1.0, 10.0, 100.0, 1000.0), key=error)
    model = EquivariantRidge(lmax, target=target, products=products, alpha=alpha)
    return model.fit(flat[train], values[train])


def _turned(target: str, name: str, n: int, true: np.ndarray, predicted: np.ndarray) -> Turned:
    if target == "vector":
        degrees = _angles(true, predicted)[np.linalg.norm(true, axis=1) > FLAT]
        what, rest = "Mulliken dipole / D", true
    else:
        what = "polarizability / bohr^3"
        own, ours = (_long_axis(t.reshape(-1, 3, 3)) for t in (true, predicted))
        angles = _angles(own[0], ours[0])
        degrees = np.minimum(angles, 180 - angles)[own[1] > ROUND]
        rest = true - np.trace(true.reshape(-1, 3, 3), axis1=1, axis2=2).mean() / 3 * np.eye(
            3
        ).reshape(9)
    return Turned(
        what, name, n, len(degrees),
        float(np.sqrt(np.square(predicted - true).sum(1).mean())),
        float(np.sqrt(np.square(rest).sum(1).mean())),
        float(np.median(degrees)), float(degrees.mean()),
    )  # fmt: skip


def _angles(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return np.rad2deg(np.arccos(np.clip(cosines, -1, 1)))


def _long_axis(tensors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Axes of the largest principal values, and how far the next ones are."""
    values, axes = np.linalg.eigh((tensors + tensors.transpose(0, 2, 1)) / 2)
    return axes[:, :, 2], values[:, 2] - values[:, 1]


def _print_turned(row: Turned) -> None:
    print(
        f"{row.target:24} {row.features:14} train {row.n_train:6}  RMSE {row.rmse:7.3f} of "
        f"{row.spread:7.3f}  orientation: median {row.median_degrees:5.1f}°, "
        f"mean {row.mean_degrees:5.1f}° ({row.n_test} molecules)",
        flush=True,
    )


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
