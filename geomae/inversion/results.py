"""What an inversion found: one structure, several, or none."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from jaxtyping import Float
from torch import Tensor

from geomae.data.structure import Structure

MIRRORS = ("told apart", "not told apart", "the same")
"""Whether the values tell a solution from its mirror image, or both are one structure anyway."""


@dataclass(frozen=True)
class Inversion:
    """The structures that have given values; one of the three classes below.

    What was found is what the starts led to. Two solutions are distinct if no rotation (and, where
    the descriptor does not see them, no reflection) brings them together.

    Attributes:
        solutions: within the tolerance, best first. Each carries `residual` (relative distance of
            its values from the given ones), `mirror` (one of `MIRRORS`) and `oriented` (whether
            the frame given fixes its orientation).
        nearest: the structure with the least residual, within the tolerance or not; None only if
            there was no start at all.
        tolerance: relative residual up to which a structure counts as a solution.
        rmsd: between the solutions, each pair in its best orientation, `[k, k]` in Å.
        n_starts: that were refined.
        route: where the start of the best solution came from: 'algebra', 'random', or what gave it.
        motions: computes `null_space`.
        messages: what else is worth knowing.
    """

    solutions: list[Structure]
    nearest: Structure | None
    tolerance: float
    rmsd: Float[Tensor, "k k"]
    n_starts: int
    route: str
    motions: Callable[[], Float[Tensor, "d n 3"]] = field(repr=False)
    messages: list[str] = field(default_factory=list)

    @property
    def outcome(self) -> str:
        """'unique', 'ambiguous' or 'none'."""
        return {UniqueInversion: "unique", AmbiguousInversion: "ambiguous"}.get(type(self), "none")

    @cached_property
    def null_space(self) -> Float[Tensor, "d n 3"]:
        """Motions of the nearest structure's atoms, beside rotations and translations, that change
        no value to first order, orthonormal; computed when first asked for.
        """
        return self.motions()

    @property
    def residual(self) -> float:
        """Of the nearest structure; infinite where there is none."""
        return float("inf") if self.nearest is None else float(self.nearest.residual)

    @property
    def handed(self) -> bool:
        """Whether every solution is told from its mirror image, or is its own."""
        return all(solution.mirror != "not told apart" for solution in self.solutions)

    def __str__(self) -> str:
        return "; ".join([self._summary(), *self.messages])

    def _summary(self) -> str:
        if not self.solutions:
            shown = "no structure" if self.nearest is None else self.nearest.formula
            found = "no structure within" if self.residual > self.tolerance else "none sure within"
            return (
                f"{found} {self.tolerance:.0e}: the nearest, {shown}, has a residual "
                f"of {self.residual:.1e}"
            )
        lines = [f"{s.formula} (residual {float(s.residual):.1e})" for s in self.solutions]
        text = f"{len(lines)} different structures: " if len(lines) > 1 else "one structure: "
        twin = "" if self.handed else "; its mirror image has the same values"
        return text + ", ".join(lines) + twin


class UniqueInversion(Inversion):
    """One structure has the values, as far as the starts led."""


class AmbiguousInversion(Inversion):
    """Different structures have the values: the description is incomplete there."""


class NoInversion(Inversion):
    """No structure was found within the tolerance; `nearest` and `residual` tell how close."""
