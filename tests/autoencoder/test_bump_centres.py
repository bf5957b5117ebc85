"""The centre of a bump does not depend on which of its peaks was found."""

import torch

from geomae.autoencoder.field import Field
from geomae.autoencoder.peaks import Children, _at_centres

CHILD = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64)
WIDTH = 0.35


class Bump(Field):
    """A field like those of training, with ripples and a plateau on top."""

    def __init__(self):
        super().__init__(1, 0, hidden=1, n_radial=2, radius=2.0, softening=0.1, kinds=1)

    def on_points(self, coefficients, places):
        shift = places - CHILD
        height = -shift.square().sum(-1) / (2 * WIDTH**2) - 0.02
        ripple = 0.01 * torch.cos(20 * shift).prod(-1)
        probability = (height + ripple).exp().clamp(max=0.97)
        return torch.logit(probability)[..., None]


def children(*places):
    n = len(places)
    owner, kind = torch.zeros(n, dtype=torch.long), torch.zeros(n, dtype=torch.long)
    return Children(torch.stack(places), owner, kind, torch.ones(n))


def test_every_peak_of_a_bump_leads_to_its_centre():
    shifts = torch.tensor([[0.05, 0.0, 0.02], [-0.04, 0.06, 0.0], [0.0, 0.0, -0.1]])
    found = _at_centres(
        Bump(), torch.zeros(1, 1, 1, dtype=torch.float64), children(*(CHILD + shifts)), WIDTH
    )
    assert torch.allclose(found.positions, CHILD.expand(3, 3), atol=1e-8)


def test_what_is_no_bump_stays_where_it_is():
    far = CHILD + torch.tensor([1.0, 0.0, 0.0])
    found = _at_centres(Bump(), torch.zeros(1, 1, 1, dtype=torch.float64), children(far), WIDTH)
    assert torch.equal(found.positions[0], far)
