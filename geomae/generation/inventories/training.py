"""Training a model of inventories."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from geomae.errors import GeomaeError
from geomae.generation.atoms.data import MoleculeSet, molecules_of_qm9
from geomae.generation.inventories.config import InventoryRun
from geomae.generation.inventories.model import InventoryModel, InventorySet
from geomae.training.order import Order
from geomae.training.task import Task


class ShuffledInventories:
    """Batches of inventories in an order that the seed and the step decide, epoch by epoch."""

    def __init__(self, data: InventorySet, batch_size: int, seed: int):
        self.data = data
        self.order = Order(np.arange(len(data)), batch_size, seed, "inventories")

    def __call__(self, step: int, part: int = 0, parts: int = 1) -> InventorySet:
        return self.data.select(torch.from_numpy(self.order.part(step, part, parts)))


def task(config: InventoryRun) -> Task:
    """The model with its first weights, its data, and the likelihood of what is held out.

    Raises:
        GeomaeError: the data has other elements or larger molecules than the configuration says.
    """
    data, settings = molecules_of_qm9(config.data.split, config.model.properties), config.training
    model = InventoryModel(config.model, data.kinds, property_range(data))
    known = inventory_set(data, data.kinds)
    check_fit(model, known)
    evaluate = _held_out(config, data.kinds) if settings.evaluate_n else None
    return Task(model, ShuffledInventories(known, settings.batch_size, settings.seed), evaluate)


def property_range(data: MoleculeSet) -> Tensor:
    """Mean and spread of each property, `[2, properties]`."""
    values = torch.zeros(len(data), len(data.properties), dtype=torch.float64)
    for column, own in enumerate(data.properties.values()):
        values[:, column] = own
    return torch.stack([values.mean(0), values.std(0, correction=0)])


def inventory_set(data: MoleculeSet, kinds: Int[Tensor, "kinds 3"]) -> InventorySet:
    """Inventories of molecules that have no other kinds than some."""
    same = (data.kinds[:, None] == kinds).all(2)
    inventory = data.inventory()
    rows = ~inventory[:, ~same.any(1)].any(1)
    properties = [values[rows].float() for values in data.properties.values()]
    return InventorySet(
        inventory[rows] @ same.long(),
        torch.stack(properties, 1) if properties else torch.zeros(int(rows.sum()), 0),
    )


def check_fit(model: InventoryModel, data: InventorySet) -> None:
    """See that a model can tell all of its data.

    Raises:
        GeomaeError: elements or sizes differ.
    """
    config = model.config
    strange = set(model.kinds[:, 0].tolist()) - set(config.elements)
    if strange or config.elements[0] != 1:
        raise GeomaeError(f"elements must be hydrogen and those of the data, not {config.elements}")
    heavy = data.inventory.sum(1)
    atoms = heavy + data.inventory @ model.kinds[:, 1]
    for name, own in (("max_heavy", heavy), ("max_atoms", atoms)):
        if int(own.max()) > getattr(config, name):
            raise GeomaeError(
                f"the data has {int(own.max())} of them; {name} is {getattr(config, name)}"
            )


def _held_out(
    config: InventoryRun, kinds: Int[Tensor, "kinds 3"]
) -> Callable[[dict[str, Tensor]], dict[str, float]]:
    """Likelihood of molecules of the validation split."""
    data = inventory_set(molecules_of_qm9("valid", config.model.properties), kinds)
    few = torch.arange(min(config.training.evaluate_n, len(data)))

    def evaluate(weights: dict[str, Tensor]) -> dict[str, float]:
        with torch.random.fork_rng(devices=[]):
            model = InventoryModel(config.model, kinds, weights["property_range"])
        model.load_state_dict(weights)
        with torch.no_grad():
            losses = model.eval().loss(data.select(few))
        return {f"held_out_{name}": float(value) for name, value in losses.items()}

    return evaluate
