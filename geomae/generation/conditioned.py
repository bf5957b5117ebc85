"""What flows have in common: what they know of their data, conditions and files."""

from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from jaxtyping import Int
from torch import Tensor, nn

from geomae.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from geomae.errors import CheckpointError
from geomae.generation.inventory import compositions_of
from geomae.generation.statistics import Contents
from geomae.known import Known

STATISTICS = "statistics."
"""What the names of statistics in a checkpoint start with."""


AnyFlow = TypeVar("AnyFlow", bound="Flow")


class Flow(nn.Module):
    """A flow that knows something of its data, whatever it moves.

    Args:
        config: of its kind.
        contents: what it knows.
    """

    kind: ClassVar[str]
    configuration: ClassVar[type]
    contents: ClassVar[type[Known]]

    def __init__(self, config: Any, contents: Known):
        super().__init__()
        self.config = config
        self.statistics = nn.ParameterDict(
            {
                name: nn.Parameter(tensor.float(), requires_grad=False)
                for name, tensor in contents.tensors().items()
            }
        )

    @property
    def autoencoder(self) -> str:
        """Name of the autoencoder that it goes with."""
        return self.config.autoencoder

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that compositions count, in their order."""
        return self.config.elements

    @property
    def network_parameters(self) -> list[nn.Parameter]:
        """Those that are trained."""
        return [p for p in self.parameters() if p.requires_grad]

    @property
    def dtype(self) -> torch.dtype:
        return self.network_parameters[0].dtype

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def save(self, path: Path | str) -> None:
        """Write weights, statistics and configuration to a safetensors file."""
        config = self.config.model_dump(mode="json")
        write_checkpoint(path, Checkpoint(self.kind, config, dict(self.named_parameters())))

    @classmethod
    def from_file(
        cls: "type[AnyFlow]", path: Path | str, *, device: torch.device | str = "cpu"
    ) -> "AnyFlow":
        """Read what `save` or a released training wrote.

        Raises:
            CheckpointError: the file can't be read, or holds no flow of this kind.
        """
        content = read_checkpoint(path, cls.kind)
        stored = {
            name.removeprefix(STATISTICS): tensor
            for name, tensor in content.tensors.items()
            if name.startswith(STATISTICS)
        }
        try:
            with torch.random.fork_rng(devices=[]):
                flow = cls(
                    cls.configuration.model_validate(content.config),
                    cls.contents.from_tensors(stored),
                )
            flow.load_state_dict(content.tensors)
        except (KeyError, TypeError, RuntimeError) as error:
            raise CheckpointError(f"{path} does not fit its own configuration: {error}") from error
        return flow.to(device).eval()


class MoleculeFlow(Flow):
    """A flow that knows what its data's molecules are made of, and may be told properties."""

    contents: ClassVar[type[Contents]]

    @property
    def properties(self) -> tuple[str, ...]:
        """Scalar properties that can be asked for."""
        return self.config.properties

    def kinds(self) -> Int[Tensor, "kinds 3"]:
        """Element, hydrogens and heavy neighbours of each kind of heavy atom, on the CPU."""
        return self.statistics["kinds"].cpu().round().long()

    def inventories(self) -> Int[Tensor, "rows kinds"]:
        """The inventories that occur in the data, heavy atoms of each kind, on the CPU."""
        return self.statistics["inventories"].cpu().round().long()

    def formulas(self) -> Int[Tensor, "rows elements"]:
        """Atoms of each element that these come to, on the CPU."""
        return compositions_of(self.kinds(), self.inventories(), self.elements)
