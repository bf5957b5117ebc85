"""What each kind of model supplies to be trained."""

from dataclasses import dataclass

from torch import nn

from geomae.training.loop import Batches, Evaluation


@dataclass(frozen=True)
class Task:
    """What is trained, and on what.

    Attributes:
        model: with `loss(batch, generator) -> dict`, and its first weights.
        batches: of its data.
        evaluate: figures of weights on held-out structures; None if there are none.
    """

    model: nn.Module
    batches: Batches
    evaluate: Evaluation | None = None
