"""Peaks of random signals on the sphere: geomae, dipy and e3nn on the same coefficients.

Run `python benchmarks/peaks.py`, or with `--quick` for a minute's version. Speeds are the best of
several interleaved rounds and include the evaluation of the signals from their coefficients.
Every finder keeps peaks above the same height, 0.4 of the way from the signal's mean to its
highest peak. Recall, false peaks and errors are measured against a brute-force reference on
40,962 directions.
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from geomae.equivariant import dim, spherical_harmonics
from geomae.sphere import find_peaks, maximise, merge_maxima, sphere_grid

LMAX = 8
THRESHOLD = 0.4
REFERENCE_FREQUENCY = 64

Found = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Directions `[p, 3]`, values `[p]`, and the signal of each `[p]`."""


@dataclass
class Row:
    """One finder's figures: accuracy in degrees, speed in signals a second."""

    finder: str
    signals: int
    signals_per_second: float
    recall: float
    recall_5_degrees: float
    false_share: float
    median_error_degrees: float


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    signals = torch.randn(options.n, dim(LMAX), dtype=torch.float64)
    print(f"reference for {options.accuracy} of {options.n} random signals, l = 0..{LMAX} ...")
    checked = signals[: options.accuracy]
    reference = brute_force(checked)
    finders = _finders()
    speed = _speeds(finders, signals, options)
    rows = []
    for name, (finder, few) in finders.items():
        n = min(few or options.accuracy, options.accuracy)
        recalls, false, error = accuracy(finder(checked[:n]), reference, n)
        rows.append(Row(name, few or options.n, speed[name], *recalls, false, error))
    _print(rows)
    if options.json:
        Path(options.json).write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=10_000, help="random signals")
    parser.add_argument("--accuracy", type=int, default=1000, help="of these are checked")
    parser.add_argument("--rounds", type=int, default=5, help="of timing; the best counts")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="2000 signals, 200 checked")
    parser.add_argument("--json", help="file for the figures")
    options = parser.parse_args()
    if options.quick:
        options.n, options.accuracy, options.rounds = 2000, 200, 3
    options.accuracy = min(options.accuracy, options.n)
    return options


def _finders() -> dict[str, tuple[Callable[[torch.Tensor], Found], int | None]]:
    """By name: the finder, and to how few signals it's limited because it is slow."""
    finders: dict[str, tuple[Callable[[torch.Tensor], Found], int | None]] = {
        "geomae, float32": (lambda c: ours(c.float()), None),
        "geomae, float64": (ours, None),
    }
    if find_spec("dipy") is None:
        print("dipy is missing: pip install 'geomae[bench]'")
    else:
        finders["dipy, 724 vertices"] = (DipyPeaks(724), None)
        finders["dipy, 2890 vertices"] = (DipyPeaks(2890), None)
    if find_spec("e3nn") is None:
        print("e3nn is missing: pip install e3nn")
    else:
        finders["e3nn find_peaks"] = (e3nn_peaks, 4)
    return finders


def ours(coefficients: torch.Tensor) -> Found:
    """geomae's peaks."""
    peaks = find_peaks(coefficients, relative_threshold=THRESHOLD)
    return (
        peaks.directions.double().numpy(),
        peaks.values.double().numpy(),
        peaks.signal.numpy(),
    )


class DipyPeaks:
    """dipy's `peak_directions`, called as its own loops call it: signal by signal."""

    def __init__(self, vertices: int):
        from dipy.data import get_sphere

        sphere = get_sphere(name="repulsion724")
        self.sphere = sphere if vertices == 724 else sphere.subdivide(n=1)
        if len(self.sphere.vertices) != vertices:
            raise ValueError(f"expected {vertices} vertices, got {len(self.sphere.vertices)}")
        directions = torch.from_numpy(np.ascontiguousarray(self.sphere.vertices))
        self.table = spherical_harmonics(LMAX, directions.double()).T.float()

    def __call__(self, coefficients: torch.Tensor) -> Found:
        from dipy.direction.peaks import peak_directions

        values = (coefficients.float() @ self.table).double().numpy()
        means = coefficients[:, 0].numpy()
        directions, heights, numbers = [], [], []
        for number, (mean, row) in enumerate(zip(means, values, strict=True)):
            found, height, _ = peak_directions(
                row - mean,
                self.sphere,
                relative_peak_threshold=THRESHOLD,
                min_separation_angle=1,
                is_symmetric=False,
            )
            directions.append(found)
            heights.append(height)
            numbers.append(np.full(len(height), number))
        return np.concatenate(directions), np.concatenate(heights), np.concatenate(numbers)


def e3nn_peaks(coefficients: torch.Tensor) -> Found:
    """e3nn's `SphericalTensor.find_peaks`, signal by signal."""
    from e3nn.io import SphericalTensor

    tensor = SphericalTensor(LMAX, p_val=1, p_arg=-1)
    directions, heights, numbers = [], [], []
    for number, signal in enumerate(coefficients.float()):
        # Its signals use harmonics of 'integral' normalisation: sqrt(4 pi) smaller.
        places, values = tensor.find_peaks(signal * (4 * np.pi) ** 0.5, res=100)
        values = values - signal[0]
        high = values >= THRESHOLD * values.max()
        directions.append(places[high].double().numpy())
        heights.append(values[high].double().numpy())
        numbers.append(np.full(int(high.sum()), number))
    return np.concatenate(directions), np.concatenate(heights), np.concatenate(numbers)


def brute_force(coefficients: torch.Tensor) -> Found:
    """Maxima of a very fine grid, climbed by automatic derivatives: shares nothing with `ours`."""
    grid = sphere_grid(REFERENCE_FREQUENCY)
    table = spherical_harmonics(LMAX, grid.directions).T
    seeds, owners = [], []
    for start in range(0, len(coefficients), 20):
        values = coefficients[start : start + 20] @ table
        peaked = torch.ones_like(values, dtype=torch.bool)
        for column in grid.neighbours.T:
            peaked &= values > values[:, column]
        signal, vertex = torch.nonzero(peaked, as_tuple=True)
        seeds.append(grid.directions[vertex])
        owners.append(signal + start)

    def height(points: torch.Tensor, owner: torch.Tensor) -> torch.Tensor:
        squared = points.square().sum(1)
        values = (spherical_harmonics(LMAX, points) * coefficients[owner]).sum(1)
        return values - 20 * (squared - 1).square()

    climbed = maximise(height, torch.cat(seeds), torch.cat(owners), reach=0.02)
    maxima = merge_maxima(climbed, tolerance=1e-3)
    above = maxima.values - coefficients[maxima.owner, 0]
    top = above.new_zeros(len(coefficients)).scatter_reduce(0, maxima.owner, above, "amax")
    maxima = maxima[above >= THRESHOLD * top[maxima.owner]]
    return maxima.positions.numpy(), maxima.values.numpy(), maxima.owner.numpy()


def accuracy(found: Found, reference: Found, n: int) -> tuple[tuple[float, float], float, float]:
    """Recall within 1 and 5 degrees, share of peaks that are none, median error in degrees."""
    missed, strayed = [], []
    for number in range(n):
        mine = found[0][found[2] == number]
        true = reference[0][reference[2] == number]
        chord = np.linalg.norm(true[:, None] - mine[None], axis=2)
        angle = np.rad2deg(2 * np.arcsin(np.clip(chord / 2, 0, 1)))
        missed.append(angle.min(1, initial=180))
        strayed.append(angle.min(0, initial=180))
    to_true, to_found = np.concatenate(strayed), np.concatenate(missed)
    recalls = float((to_found < 1).mean()), float((to_found < 5).mean())
    return recalls, float((to_true >= 5).mean()), float(np.median(to_true[to_true < 5]))


def _speeds(finders: dict, signals: torch.Tensor, options: argparse.Namespace) -> dict[str, float]:
    """Signals a second, the best of interleaved rounds: the machine may have other work."""
    best = dict.fromkeys(finders, 0.0)
    for finder, few in finders.values():
        finder(signals[: few or 64])
    for _ in range(options.rounds):
        for name, (finder, few) in finders.items():
            part = signals[: few or options.n]
            start = time.perf_counter()
            finder(part)
            best[name] = max(best[name], len(part) / (time.perf_counter() - start))
    return best


def _print(rows: list[Row]) -> None:
    peer = next((row for row in rows if row.finder.startswith("dipy, 724")), rows[0])
    print(
        f"{'finder':22} {'signals/s':>10} {'ratio':>7} {'recall 1°':>10} {'5°':>8} "
        f"{'false 5°':>9} {'median error':>13}"
    )
    for row in rows:
        print(
            f"{row.finder:22} {row.signals_per_second:10.1f} "
            f"{row.signals_per_second / peer.signals_per_second:7.3f} {row.recall:10.4f} "
            f"{row.recall_5_degrees:8.4f} {row.false_share:9.4f} {row.median_error_degrees:12.6f}°"
        )
    print(f"ratio: to {peer.finder}")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
