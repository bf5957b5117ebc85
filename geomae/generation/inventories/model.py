"""A probability of inventories, count by count: atoms of each element, then of each kind.

Each count is told from those before (an autoregressive model, as NADE of Larochelle and Murray,
2011). Elements come first, so a formula that is asked for is given exactly, and the probability of
each formula is known without sampling.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from geomae.autoencoder.zoo import weights_of
from geomae.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from geomae.errors import CheckpointError
from geomae.generation.inventories.config import InventoryConfig
from geomae.generation.inventories.feasible import Ledger
from geomae.generation.inventory import compositions_of

IMPOSSIBLE = -1e9
"""Logit of a count that can't be."""


@dataclass(frozen=True)
class InventorySet:
    """Inventories of molecules.

    Attributes:
        inventory: heavy atoms of each kind, `[n, kinds]`.
        properties: of the molecules, in the data set's units, `[n, properties]`.
    """

    inventory: Int[Tensor, "n kinds"]
    properties: Float[Tensor, "n properties"]

    def __len__(self) -> int:
        return len(self.inventory)

    def select(self, ids: Int[Tensor, " k"]) -> "InventorySet":
        """Some of them, in the order given."""
        return InventorySet(self.inventory[ids], self.properties[ids])


class InventoryModel(nn.Module):
    """Probability of inventories, and of properties given an inventory.

    Columns are counts: heavy atoms of each element, hydrogens, then heavy atoms of each kind.

    Args:
        config: sizes.
        kinds: element, hydrogens and heavy neighbours of each kind.
        property_range: mean and spread of each property over the data.
    """

    kind = "inventories"

    def __init__(
        self,
        config: InventoryConfig,
        kinds: Int[Tensor, "kinds 3"],
        property_range: Float[Tensor, "2 properties"],
    ):
        super().__init__()
        self.config, channels = config, config.channels
        # frozen parameters are written with the weights
        self.table = nn.Parameter(kinds.float(), requires_grad=False)
        self.property_range = nn.Parameter(property_range.float(), requires_grad=False)
        self.ledger = Ledger(kinds, config.elements[1:], config.max_atoms, config.max_heavy)
        heavy = len(config.elements) - 1
        widths = torch.full((heavy + 1 + len(kinds),), config.max_heavy + 1)
        widths[heavy] = config.max_atoms + 1
        self.bounds = nn.functional.pad(widths.cumsum(0), (1, 0)).tolist()
        self.begun = nn.Embedding(len(widths) + 1, channels)
        self.seen = nn.Embedding(self.bounds[-1], channels)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(channels), nn.Linear(channels, channels), nn.SiLU(),
                nn.Linear(channels, channels),
            )
            for _ in range(config.blocks)
        )  # fmt: skip
        self.norm = nn.LayerNorm(channels)
        self.next = nn.Linear(channels, self.bounds[-1])
        self.moments = nn.Linear(channels, 2 * len(config.properties))
        for table in (self.begun, self.seen):
            nn.init.normal_(table.weight, std=0.1)

    @property
    def kinds(self) -> Int[Tensor, "kinds 3"]:
        """Element, hydrogens and heavy neighbours of each kind."""
        return self.table.detach().round().long()

    @property
    def columns(self) -> int:
        """Counts of an inventory and its formula."""
        return len(self.bounds) - 1

    def counts(self, inventory: Int[Tensor, "n kinds"]) -> Int[Tensor, "n columns"]:
        """All columns of inventories."""
        formula = compositions_of(self.kinds, inventory, self.config.elements)
        return torch.cat([formula.roll(-1, 1), inventory], 1)

    def log_probabilities(
        self, column: int, state: Float[Tensor, "n channels"], counts: Int[Tensor, "n columns"]
    ) -> Float[Tensor, "n values"]:
        """Natural logarithms of the probabilities of counts in a column.

        Args:
            column: its number.
            state: sum of what the counts before are embedded as.
            counts: of columns before; others do not matter.
        """
        features = self._features(state + self.begun.weight[column])
        span = slice(self.bounds[column], self.bounds[column + 1])
        found = nn.functional.linear(features, self.next.weight[span], self.next.bias[span])
        allowed = self.ledger.allowed(column, counts).to(found.device)
        return found.masked_fill(~allowed, IMPOSSIBLE).log_softmax(1)

    def _features(self, state: Float[Tensor, "*n channels"]) -> Float[Tensor, "*n channels"]:
        for block in self.blocks:
            state = state + block(state)
        return self.norm(state)

    def blank(self, n: int) -> Float[Tensor, "n channels"]:
        """The state before any count is told."""
        return self.seen.weight.new_zeros(n, self.config.channels)

    def embedded(self, column: int, count: Int[Tensor, " n"]) -> Float[Tensor, "n channels"]:
        """What the counts of a column add to the state."""
        return self.seen((self.bounds[column] + count).to(self.seen.weight.device))

    def log_likelihood(self, counts: Int[Tensor, "n columns"]) -> Float[Tensor, " n"]:
        """Natural logarithm of the probability of counts.

        A few in a hundred of the inventories that are drawn can't be a molecule's and are drawn
        again; this is the probability before that.
        """
        return self._read(counts)[0]

    def property_moments(
        self, inventory: Int[Tensor, "n kinds"]
    ) -> tuple[Float[Tensor, "n properties"], Float[Tensor, "n properties"]]:
        """Mean and spread of each property of molecules with an inventory, in the data's units."""
        state = self.blank(len(inventory))
        for column, own in enumerate(self.counts(inventory).T):
            state = state + self.embedded(column, own)
        mean, logarithm = self._moments(state)
        centre, unit = self.property_range
        return centre + unit * mean, unit * logarithm.exp()

    def loss(
        self, batch: InventorySet, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Negative log-likelihoods in nats, of inventories and of properties given these.

        Args:
            batch: inventories and properties.
            generator: not needed, for nothing is random.
        """
        found, state = self._read(self.counts(batch.inventory))
        mean, logarithm = self._moments(state)
        values = (batch.properties.to(mean) - self.property_range[0]) / self.property_range[1]
        error = 0.5 * ((values - mean) / logarithm.exp()).square() + logarithm
        losses = {"inventory": -found.mean(), "properties": error.sum(1).mean()}
        total = losses["inventory"] + self.config.property_weight * losses["properties"]
        return {"loss": total} | losses

    def _read(
        self, counts: Int[Tensor, "n columns"]
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n channels"]]:
        """Log-likelihood of counts, and what all of them are embedded as."""
        state = self.blank(len(counts))
        total = state.new_zeros(len(counts))
        for column, own in enumerate(counts.T):
            found = self.log_probabilities(column, state, counts)
            total = total + found.gather(1, own[:, None].to(found.device))[:, 0]
            state = state + self.embedded(column, own)
        return total, state

    def _moments(self, state: Float[Tensor, "n channels"]) -> tuple[Tensor, Tensor]:
        """Means, and logarithms of spreads, in parts of the data's."""
        features = self._features(state + self.begun.weight[self.columns])
        mean, logarithm = self.moments(features).chunk(2, 1)
        return mean, logarithm

    def save(self, path: Path | str) -> None:
        """Write weights and configuration to a safetensors file."""
        config = self.config.model_dump(mode="json")
        write_checkpoint(path, Checkpoint(self.kind, config, dict(self.named_parameters())))

    @classmethod
    def from_file(cls, path: Path | str) -> "InventoryModel":
        """Read what `save` or a released training wrote.

        Raises:
            CheckpointError: the file can't be read, or holds no model of inventories.
        """
        content = read_checkpoint(path, cls.kind)
        try:
            with torch.random.fork_rng(devices=[]):
                model = cls(
                    InventoryConfig.model_validate(content.config),
                    content.tensors["table"].round().long(),
                    content.tensors["property_range"],
                )
            model.load_state_dict(content.tensors)
        except (KeyError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{path} does not fit its own configuration: {error}") from error
        return model.eval()


def load_inventories(name_or_path: str | Path) -> InventoryModel:
    """A released model of inventories by its name, such as 'qm9-inventories', or one of a file or
    folder.

    Raises:
        GeomaeError: there is no such model.
        CheckpointError: the file can't be read, or holds no model of inventories.
    """
    return InventoryModel.from_file(weights_of(name_or_path))
