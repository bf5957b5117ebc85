"""What models know of their data beside weights, as tensors of their files."""

from dataclasses import dataclass, fields
from typing import ClassVar, TypeVar

from torch import Tensor

AnyKnown = TypeVar("AnyKnown", bound="Known")


@dataclass(frozen=True)
class Known:
    """What a model knows of its data, as tensors."""

    whole: ClassVar[tuple[str, ...]]
    """Names of those that hold whole numbers."""

    def tensors(self) -> dict[str, Tensor]:
        """By name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_tensors(cls: "type[AnyKnown]", tensors: dict[str, Tensor]) -> "AnyKnown":
        """From what `tensors` gave, in whatever precision it was kept."""
        whole = {name: tensors[name].round().long() for name in cls.whole}
        return cls(**(tensors | whole))
