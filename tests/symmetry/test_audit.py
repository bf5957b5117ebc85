"""The audit passes what obeys symmetry and catches what does not, by name."""

import pytest
import torch

from geomae.data import Structure, from_ase
from geomae.equivariant.network import PointNetwork
from geomae.errors import GeomaeError
from geomae.symmetry.audit import audit, supercell, symbol_of
from geomae.symmetry.errors import PropertyError
from geomae.symmetry.outputs import Output
from geomae.testing import unchanged_global_state

ELEMENTS = torch.tensor([1, 6, 8])


@pytest.fixture(scope="module")
def molecules() -> list[Structure]:
    from ase.build import molecule

    return [from_ase(molecule(name)) for name in ("CH4", "H2O", "C6H6")]


def network(irreps: str, reduce: str | None = None) -> PointNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes = {"channels": 4, "layers": 1, "cutoff": 3.0, "n_radial": 4}
        return PointNetwork("3x0e", irreps, reduce=reduce, **sizes).double()


def asked(model: PointNetwork):
    def ask(structure: Structure) -> torch.Tensor:
        features = (structure.numbers[:, None] == ELEMENTS).to(model.read.weight[0].dtype)
        positions = structure.positions.to(features)
        cell, pbc = structure.get("cell"), structure.get("pbc")
        cell = None if cell is None else cell.to(features)
        return model(features, positions, None, cell, pbc)

    return ask


@pytest.mark.parametrize(
    ("irreps", "reduce"), [("1x0e + 1x1e + 1x2o", None), ("1x0o + 1x1o + 1x2e", "sum")]
)
def test_equivariant_network_passes(irreps, reduce, molecules):
    model = asked(network(irreps, reduce))
    with unchanged_global_state():
        found = audit(model, molecules, irreps)
    assert found.passed
    assert not found.lost
    assert found.worst.error < 1e-10
    checks = {"rotation", "reflection", "translation", "permutation", "symmetry"}
    assert set(found.errors[irreps]) == checks


def test_single_precision_passes_by_its_own_measure(molecules):
    model = network("1x1o").float()
    found = audit(asked(model), molecules, "forces")
    assert found.tolerance == 1e-4
    assert found.passed
    assert found.worst.error > 1e-12


def test_network_passes_on_crystals_in_any_cell():
    cell = torch.tensor([[3.0, 0, 0], [0.3, 3.2, 0], [0, 0.2, 2.8]]).double()
    crystal = Structure([1, 6, 8], [[0.0, 0, 0], [1.4, 1.5, 1.2], [2.0, 0.3, 1.9]], cell=cell)
    found = audit(asked(network("1x0e + 1x1o")), [crystal], "1x0e + 1x1o", trials=1)
    assert found.passed
    assert {"image", "supercell"} <= set(found.errors["1x0e + 1x1o"])
    total = network("1x0e", "sum")
    assert audit(asked(total), [crystal], "energy").passed
    # a shift that counts once a structure, however many atoms it has, is no energy's
    torch.nn.init.ones_(total.read.bias)
    found = audit(asked(total), [crystal], "energy")
    assert found.worst.check == "supercell"
    assert not found.passed


BROKEN = {
    "rotation": lambda s: (s.positions - s.positions.mean(0)) * torch.tensor([1.1, 1, 1]),
    "reflection": lambda s: torch.linalg.cross(
        s.positions - s.positions.mean(0), (s.positions - s.positions.mean(0)).roll(1, 0)
    ),
    "translation": lambda s: s.positions,
    "permutation": lambda s: (s.positions - s.positions.mean(0)) * torch.arange(s.n_atoms)[:, None],
}


@pytest.mark.parametrize("check", BROKEN)
def test_what_is_broken_is_caught(check, molecules):
    found = audit(BROKEN[check], molecules, "forces")
    assert not found.passed
    assert found.errors["forces"][check] > 1e-3
    if check == "translation":
        assert found.errors["forces"]["rotation"] < 1e-8
    if check == "rotation":
        assert found.errors["forces"]["permutation"] < 1e-8


def test_lost_symmetry_is_named(molecules):
    found = audit(BROKEN["rotation"], molecules, "forces")
    lost = {one.label: one for one in found.lost}
    assert set(lost) == {"CH4", "C6H6"}  # water lies in the plane yz: nothing is stretched
    assert lost["C6H6"].kept == "D2h"
    methane = lost["CH4"]
    assert (methane.group, methane.kept) == ("Td", "D2d")
    assert methane.operations == {"C3": 8, "S4": 4, "σ": 4}
    assert len(methane.matrices) == 16
    assert "CH4" in str(methane)
    text = str(found)
    assert "failed" in text
    assert "D2d where the input has Td" in text


def test_calculators():
    from ase.build import bulk, molecule
    from ase.calculators.emt import EMT
    from ase.calculators.lj import LennardJones

    assert audit(EMT(), [molecule("CH4"), molecule("H2O")]).passed
    found = audit(EMT(), [bulk("Cu")], ["energy", "forces", "stress"], tolerance=1e-6)
    assert found.passed, str(found)
    assert found.errors["energy"].keys() >= {"image", "supercell"}
    lennard_jones = audit(LennardJones(rc=4.0), [molecule("C6H6")], "forces", tolerance=1e-6)
    assert lennard_jones.passed, str(lennard_jones)
    with pytest.raises(PropertyError, match="no property 'dipole'; it has"):
        audit(EMT(), [molecule("CH4")], ["dipole"])


def test_a_broken_calculator_is_caught_and_the_lost_operations_named():
    from ase.build import bulk, molecule
    from ase.calculators.emt import EMT

    class Tilted(EMT):
        """Energies know which way is up, as those of a potential on a grid do."""

        def calculate(self, atoms=None, properties=("energy",), system_changes=()):
            super().calculate(atoms, properties, system_changes)
            height = self.atoms.positions[:, 2] - self.atoms.positions[:, 2].mean()
            self.results["energy"] += 1e-3 * float((height**2).sum())
            self.results["forces"] = self.results["forces"].copy()
            self.results["forces"][:, 2] -= 2e-3 * height

    found = audit(Tilted(), [molecule("CH4"), molecule("H2O")], ["energy", "forces"])
    assert not found.passed and found.errors["forces"]["rotation"] > 1e-6
    assert found.errors["forces"]["permutation"] < 1e-8
    lost = next(one for one in found.lost if one.label == "CH4" and one.output == "forces")
    assert (lost.group, lost.kept) == ("Td", "D2d")
    assert lost.operations == {"C3": 8, "S4": 4, "σ": 4}
    assert "forces of structure 0 (CH4) has D2d where the input has Td" in str(found)
    copper = audit(Tilted(), [bulk("Cu", cubic=True)], "energy", tolerance=1e-6)
    assert not copper.passed


def test_several_outputs_and_positions(molecules):
    def model(structure: Structure) -> dict[str, torch.Tensor]:
        centred = structure.positions - structure.positions.mean(0)
        return {
            "scaled": structure.positions + 0.5 * centred,
            "gyration": centred.T @ centred,
            "size": centred.square().sum(),
        }

    kinds = {"scaled": "positions", "gyration": "tensor", "size": "scalar"}
    assert audit(model, molecules, kinds).passed
    wrong = audit(model, molecules, {**kinds, "scaled": "vectors"})
    assert wrong.errors["scaled"]["translation"] > 1e-2
    with pytest.raises(PropertyError, match="gives no 'energy'; it gives scaled, gyration, size"):
        audit(model, molecules, ["energy"])
    explicit = Output(None, False)
    assert audit(lambda s: model(s)["gyration"], molecules, explicit).passed


def test_says_what_does_not_fit(molecules):
    model = asked(network("1x1o"))
    with pytest.raises(PropertyError, match="did you mean 'forces'"):
        audit(model, molecules, "force")
    with pytest.raises(PropertyError, match="say how the model's output transforms"):
        audit(model, molecules)
    with pytest.raises(PropertyError, match="expected a dictionary with forces, the model gives"):
        audit(model, molecules, ["forces"])
    with pytest.raises(PropertyError, match="can't ask a int"):
        audit(3, molecules, "forces")
    with pytest.raises(PropertyError, match="expected 1 times 3"):
        audit(model, molecules, "dipole")
    with pytest.raises(GeomaeError, match="at least one structure"):
        audit(model, [], "forces")
    with pytest.raises(GeomaeError, match="not finite"):
        audit(lambda s: s.positions / 0, molecules, "forces")


def test_supercell_holds_every_atom_as_often(molecules):
    cell = torch.tensor([[3.0, 0, 0], [0.3, 3.2, 0], [0, 0.2, 2.8]]).double()
    crystal = Structure([1, 6], [[0.0, 0, 0], [1.4, 1.5, 1.2]], cell=cell)
    wide, order = supercell(crystal, torch.tensor([[-1, 1, 1], [1, -1, 1], [1, 1, -1]]))
    assert wide.n_atoms == 8
    assert torch.bincount(order).tolist() == [4, 4]
    from geomae.symmetry.detect import space_group

    assert space_group(wide).number == space_group(crystal).number
    volume = float(torch.det(wide.cell[0]).abs() / torch.det(cell).abs())
    assert volume == pytest.approx(4)


@pytest.mark.parametrize(
    ("matrix", "symbol"),
    [
        ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], "E"),
        ([[-1, 0, 0], [0, -1, 0], [0, 0, -1]], "i"),
        ([[1, 0, 0], [0, 1, 0], [0, 0, -1]], "σ"),
        ([[0, -1, 0], [1, 0, 0], [0, 0, 1]], "C4"),
        ([[0, -1, 0], [1, 0, 0], [0, 0, -1]], "S4"),
        ([[0, 0, 1], [1, 0, 0], [0, 1, 0]], "C3"),
    ],
)
def test_symbols(matrix, symbol):
    assert symbol_of(torch.tensor(matrix).double()) == symbol
