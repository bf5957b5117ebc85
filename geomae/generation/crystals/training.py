"""Training a flow on crystals."""

from geomae.autoencoder.zoo import load
from geomae.errors import GeomaeError
from geomae.generation.crystals.config import CrystalFlowConfig, CrystalFlowRun
from geomae.generation.crystals.data import ShuffledCrystals, crystals_of
from geomae.generation.crystals.flow import CrystalFlow
from geomae.training.task import Task


def task(config: CrystalFlowRun) -> Task:
    """The flow with its first weights, and its data.

    Raises:
        GeomaeError: it does not fit the autoencoder, or there is no such data.
    """
    check_fit(config.model)
    data = crystals_of(config.data, config.model)
    flow = CrystalFlow(config.model, data.skeletons)
    settings = config.training
    return Task(flow, ShuffledCrystals(data, flow.elements, settings.batch_size, settings.seed))


def check_fit(config: CrystalFlowConfig) -> None:
    """See that a flow fits the autoencoder that encodes its crystals.

    Raises:
        GeomaeError: it has elements that the autoencoder lacks, or makes larger crystals.
    """
    model = load(config.autoencoder)
    strange = sorted(set(config.elements) - set(model.elements))
    if strange:
        raise GeomaeError(f"the autoencoder '{config.autoencoder}' lacks the elements {strange}")
    if config.max_atoms > model.config.max_atoms:
        raise GeomaeError(
            f"the flow makes {config.max_atoms} atoms, the autoencoder '{config.autoencoder}' "
            f"takes {model.config.max_atoms}"
        )
