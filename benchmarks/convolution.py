"""Time of one convolution layer, forward and backward, against e3nn's tensor products.

    python benchmarks/convolution.py --quick
    python benchmarks/convolution.py --channels 16 64 128 --degrees 1 2 3 --json results.json

All forms are timed in turn, several times over, and the least time of each counts: so they share
whatever else the machine does. Kernels of geometry are made once a batch and serve every layer;
what making them takes is shown apart.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from convolution_peers import Batch, Depthwise, FullyConnected, random_batch
from torch import Tensor, nn

from geomae.equivariant import Convolution, EdgeCoupling, EdgeKernel, PairKernel, dim

N_RADIAL = 8
ALLOCATOR = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "16000000000",
    "MALLOC_TOP_PAD_": "1000000000",
}
"""Keeps glibc from returning large blocks to the system after each use."""


@dataclass
class Result:
    """Time of one form.

    Attributes:
        form: which.
        channels, degree, edges: size of what was timed.
        milliseconds: least time of forward and backward pass.
        microseconds_per_edge: the same by the number of edges.
        kernel_milliseconds: time to make the kernel, once a batch.
    """

    form: str
    channels: int
    degree: int
    edges: int
    milliseconds: float
    microseconds_per_edge: float
    kernel_milliseconds: float = 0.0


def step(module: nn.Module, run: Callable[[Tensor], Tensor], features: Tensor) -> None:
    """Forward and backward pass, gradients to features and weights."""
    module.zero_grad()
    features.grad = None
    run(features).sum().backward()


def ours(batch: Batch, channels: int, degree: int, *, groups: bool, dense: bool):
    """A convolution with its features, what runs it and what makes its kernel."""
    layer = Convolution(
        channels,
        channels,
        degree,
        degree,
        degree,
        n_radial=N_RADIAL,
        groups=N_RADIAL if groups else None,
        neighbours=batch.neighbours,
    ).to(batch.device)
    coupling: EdgeCoupling = layer.coupling
    points = batch.shape if dense else (batch.n_points,)
    features = torch.randn(*points, dim(degree), channels, device=batch.device)

    def make() -> EdgeKernel | PairKernel:
        if dense:
            pairs = coupling.pairs(batch.pair_harmonics(degree), batch.pair_radial(N_RADIAL))
            _ = pairs.group_blocks if groups else pairs.blocks
            return pairs
        kernel = coupling(batch.harmonics(degree), batch.radial(N_RADIAL))
        kernel.rows(batch.edges, batch.n_points, with_radial=not groups)
        return kernel

    kernel = make()

    def run(features: Tensor) -> Tensor:
        if isinstance(kernel, PairKernel):
            return layer.dense(features, kernel)
        return layer(features, kernel, batch.edges, batch.n_points)

    features.requires_grad_()
    return (lambda: step(layer, run, features)), make


def theirs(kind: type[nn.Module], batch: Batch, channels: int, degree: int):
    """e3nn's product as a layer."""
    layer = kind(channels, degree, N_RADIAL, batch.neighbours).to(batch.device)
    features = torch.randn(batch.n_points, channels * dim(degree), device=batch.device)
    features.requires_grad_()
    harmonics, radial = batch.harmonics(degree), batch.radial(N_RADIAL)

    def run(features: Tensor) -> Tensor:
        return layer(features, harmonics, radial, batch.edges)

    return (lambda: step(layer, run, features)), None


def timed(function: Callable, device: str) -> float:
    """Seconds that a call takes."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def compare(channels: int, degree: int, args: argparse.Namespace) -> list[Result]:
    """Times of all forms at one size, taken in turn."""
    batch = random_batch(args.molecules, args.atoms, args.cutoff, args.device)
    # a whole batch of these wouldn't fit into memory: what they take is linear in the edges
    few = random_batch(args.peer_molecules, args.atoms, args.cutoff, args.device)
    forms = {
        "full, dense": (batch, *ours(batch, channels, degree, groups=False, dense=True)),
        "full, edges": (batch, *ours(batch, channels, degree, groups=False, dense=False)),
        "groups, dense": (batch, *ours(batch, channels, degree, groups=True, dense=True)),
        "groups, edges": (batch, *ours(batch, channels, degree, groups=True, dense=False)),
        "e3nn uvu": (batch, *theirs(Depthwise, batch, channels, degree)),
    }
    if channels * degree <= args.largest_peer:
        forms["e3nn full"] = (few, *theirs(FullyConnected, few, channels, degree))
    least = {form: float("inf") for form in forms}
    kernels = {
        form: timed(make, args.device) if make else 0.0 for form, (_, _, make) in forms.items()
    }
    for repeat in range(args.repeats + 1):
        for form, (_, function, _) in forms.items():
            seconds = timed(function, args.device)
            if repeat:
                least[form] = min(least[form], seconds)
    return [
        Result(
            form,
            channels,
            degree,
            used.n_edges,
            1e3 * least[form],
            1e6 * least[form] / used.n_edges,
            1e3 * kernels[form],
        )
        for form, (used, _, _) in forms.items()
    ]


def show(results: list[Result]) -> None:
    """Prints times an edge, and by how much each form is faster than e3nn's two."""
    by_form = {result.form: result.microseconds_per_edge for result in results}
    print(f"{results[0].channels} channels, degree {results[0].degree}")
    for result in results:
        ratios = [
            f"{by_form[peer] / result.microseconds_per_edge:7.2f} x {peer}"
            for peer in ("e3nn full", "e3nn uvu")
            if peer in by_form and not result.form.startswith("e3nn")
        ]
        print(
            f"  {result.form:14s}{result.milliseconds:9.1f} ms"
            f"{result.microseconds_per_edge:9.2f} us/edge  "
            f"(kernel {result.kernel_milliseconds:6.1f} ms)  {'  '.join(ratios)}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one size, few repeats")
    parser.add_argument("--json", metavar="FILE", help="write figures here")
    parser.add_argument("--channels", type=int, nargs="+", default=[16, 64, 128])
    parser.add_argument("--degrees", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--molecules", type=int, default=64)
    parser.add_argument("--atoms", type=int, default=18, help="atoms of a molecule")
    parser.add_argument("--cutoff", type=float, default=5.0, help="in Å")
    parser.add_argument(
        "--peer-molecules", type=int, default=4, help="batch for e3nn's fully connected product"
    )
    parser.add_argument(
        "--largest-peer",
        type=int,
        default=192,
        help="channels times degree up to which the fully connected product is timed",
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--default-allocator", action="store_true", help="leave glibc as it is")
    args = parser.parse_args()
    if not args.default_allocator and platform.libc_ver()[0] == "glibc":
        restart_with_allocator()
    if args.quick:
        args.channels, args.degrees, args.repeats = [64], [2], 3
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    results = []
    for degree in args.degrees:
        for channels in args.channels:
            results += (rows := compare(channels, degree, args))
            show(rows)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"peak memory of all: {memory:.0f} MiB")
    if args.json:
        machine = platform.processor() or platform.machine()
        setting = vars(args) | {"torch": torch.__version__, "machine": machine}
        with open(args.json, "w") as file:
            json.dump({"setting": setting, "results": [asdict(r) for r in results]}, file, indent=1)


def restart_with_allocator() -> None:
    """Runs the same again where glibc keeps its memory, unless that is so already."""
    if all(os.environ.get(name) == value for name, value in ALLOCATOR.items()):
        return
    done = subprocess.run([sys.executable, *sys.argv], env=os.environ | ALLOCATOR, check=False)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
