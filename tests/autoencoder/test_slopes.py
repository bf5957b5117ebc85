"""The loss of the field's slopes beside children."""

import torch

from geomae.autoencoder.unpooling import Unpooling
from tests.autoencoder.conftest import small_config

CHILDREN = torch.tensor([[[0.5, 0.2, 0.1], [-1.0, 0.3, 0.4]], [[0.1, 0.9, 0.0], [0.0, 0.0, 0.0]]])
KIND = torch.tensor([[0, 1], [1, -1]])


def slope_loss(shift: float) -> torch.Tensor:
    """Of a field whose bumps stand beside their children by a shift in Å."""
    level = small_config().levels[0].model_copy(update={"slope": 1.0})
    unpooling = Unpooling(level, 2, None)

    def logits(_: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        offset = places[:, :, None] - CHILDREN[:, None] - torch.tensor([shift, 0.0, 0.0])
        height = -offset.square().sum(-1) / (2 * level.width**2)
        of_kind = [height.where(KIND[:, None] == k, torch.tensor(-50.0)).amax(2) for k in (0, 1)]
        p = torch.stack(of_kind, -1).clamp(max=-1e-6)
        return p - torch.log(-torch.expm1(p))

    unpooling.field.on_points = logits
    features = torch.zeros(2, 9, level.channels)
    return unpooling.losses(features, CHILDREN, KIND, torch.Generator().manual_seed(0))["slope"]


def test_it_vanishes_where_every_child_has_its_parabola():
    assert slope_loss(0.0) < 1e-6


def test_it_grows_with_the_square_of_the_displacement_in_widths():
    width = small_config().levels[0].width
    assert torch.allclose(slope_loss(0.1 * width), torch.tensor(0.01), rtol=1e-3)
