"""Exact constants of layers, cast where they are used."""

import torch
from torch import Tensor


class Constant:
    """A float64 table that follows the precision and device of what it meets.

    Buffers are cast with their module, and a table that has been through float32 stays inexact
    when the module returns to float64; this one never is.

    Args:
        values: the table, in float64 (or an integer type, which keeps its type).
    """

    def __init__(self, values: Tensor):
        self.values = values
        self._cast: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def __call__(self, like: Tensor) -> Tensor:
        """The table in the precision and on the device of `like`."""
        dtype = like.dtype if self.values.is_floating_point() else self.values.dtype
        key = (like.device, dtype)
        if key not in self._cast:
            self._cast[key] = self.values.to(device=like.device, dtype=dtype)
        return self._cast[key]

    def __deepcopy__(self, _: dict) -> "Constant":
        """Itself: copies of a module share what never changes."""
        return self
