"""`torch.compile` on the model as a whole, in a process without run-time checks of shapes."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

START = """
from copy import deepcopy
import torch
from tests.autoencoder.conftest import from_ase, small_config
from geomae.autoencoder import Autoencoder

torch.manual_seed(0)
model = Autoencoder(small_config()).double().eval()
molecules = [from_ase(name) for name in ("CH3CH2OH", "C6H6", "NH3", "C2H4", "H2O", "C3H8")]
"""

ENCODER = """
compiled = torch.compile(deepcopy(model.encoder), backend="aot_eager", dynamic=True)
for chosen in (molecules[:4], molecules[2:]):
    tree = model.tree_of(chosen)
    with torch.no_grad():
        torch.testing.assert_close(compiled(tree), model.encoder(tree), rtol=1e-12, atol=1e-12)
"""

LOSS = """
tree, parameters = model.tree_of(molecules), list(model.parameters())

def gradients(loss_of):
    loss = loss_of(tree, torch.Generator().manual_seed(0))["loss"]
    return loss, torch.autograd.grad(loss, parameters, allow_unused=True)

expected = gradients(model.loss)
found = gradients(torch.compile(model.loss, backend="aot_eager"))
torch.testing.assert_close(found, expected)
"""


@pytest.mark.parametrize("check", [ENCODER, LOSS], ids=["encoder", "loss"])
def test_compiled_gives_the_same(check):
    done = subprocess.run([sys.executable, "-c", START + check], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
