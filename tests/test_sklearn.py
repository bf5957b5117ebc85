"""scikit-learn's estimators: their contracts, and that they keep to symmetry."""

import pickle
import sys

import numpy as np
import pytest
import torch

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from geomae.autoencoder import Latents
from geomae.data.structure import Structure
from geomae.errors import GeomaeError, MissingExtraError, UnsupportedStructureError
from geomae.invariants import invariant_names, invariants
from geomae.metrics import compare
from geomae.sklearn import EquivariantRidge, LatentInvariants, StructureEncoder
from geomae.testing import random_orthogonal
from tests.autoencoder.conftest import from_ase, small_config

NAMES = ("CH3CH2OH", "C6H6", "NH3", "C2H4", "H2O", "C3H8", "CH3COOH", "CH4")
KINDS = ("basic", "power", "cross", "bispectrum")


@pytest.fixture(scope="module")
def molecules():
    return [from_ase(name) for name in NAMES]


@pytest.fixture(scope="module")
def small():
    from geomae.autoencoder import Autoencoder

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Autoencoder(small_config()).double().eval()


def random_latents(n: int = 40, lmax: int = 3, channels: int = 5) -> Latents:
    generator = torch.Generator().manual_seed(1)
    array = torch.randn(
        n, (lmax + 1) ** 2, channels, generator=generator, dtype=torch.float64
    ) + 0.3 * (torch.arange(channels) % 3)
    return Latents(array, torch.zeros(n, 3, dtype=torch.float64))


def rows_of(latents: Latents) -> np.ndarray:
    return latents.to_e3nn()[0].numpy()


@pytest.mark.parametrize(
    "estimator",
    [
        LatentInvariants(),
        LatentInvariants(kind="basic"),
        EquivariantRidge(),
        EquivariantRidge(products=True),
    ],
    ids=str,
)
def test_estimators_on_arrays_pass_scikit_learns_checks(estimator):
    check_estimator(estimator)


@pytest.mark.parametrize("kind", KINDS)
def test_invariants_stay_when_latents_turn(kind):
    latents = random_latents()
    values = invariants(latents, kind)
    for improper in (False, True):
        turned = latents.rotate(random_orthogonal(improper=improper))
        assert (invariants(turned, kind) - values).abs().max() < 1e-10
    names = invariant_names(kind, latents.lmax, latents.channels)
    assert len(names) == len(set(names)) == values.shape[1]


def test_names_tell_what_the_columns_are():
    latents = random_latents(lmax=2, channels=3)
    blocks = latents.array[:, 4:9]
    values = dict(zip(invariant_names("cross", 2, 3), invariants(latents, "cross").T, strict=True))
    assert torch.allclose(values["scalar_c1"], latents.array[:, 0, 1])
    assert torch.allclose(values["l2_c0_c2"], (blocks[..., 0] * blocks[..., 2]).mean(1))
    basic = dict(zip(invariant_names("basic", 2, 3), invariants(latents, "basic").T, strict=True))
    assert torch.allclose(basic["l2_rms_c1"], blocks[..., 1].square().mean(1).sqrt())
    assert torch.allclose(basic["l2_c1_c0"], (blocks[..., 1] * blocks[..., 0]).mean(1))


def test_bispectrum_tells_apart_what_products_of_pairs_do_not():
    """One degree turned on its own changes the shape, but no product within a degree."""
    latents = random_latents(n=3)
    turned = latents.rotate(random_orthogonal(improper=False)).array
    array = latents.array.clone()
    array[:, 4:9] = turned[:, 4:9]
    changed = Latents(array, latents.centres)
    assert torch.allclose(invariants(changed, "cross"), invariants(latents, "cross"), atol=1e-10)
    difference = invariants(changed, "bispectrum") - invariants(latents, "bispectrum")
    assert difference.abs().max() > 0.1


def test_unknown_invariants_are_named():
    with pytest.raises(GeomaeError, match="basic, power, cross, bispectrum, not 'spectrum'"):
        LatentInvariants(kind="spectrum").fit(np.zeros((2, 4)))


def test_invariants_from_rows_are_those_of_the_latents():
    latents = random_latents()
    step = LatentInvariants(lmax=3, kind="bispectrum").fit(rows_of(latents))
    assert np.allclose(step.transform(rows_of(latents)), invariants(latents, "bispectrum"))
    assert step.channels_ == 5
    assert len(step.get_feature_names_out()) == step.transform(rows_of(latents)).shape[1]
    with pytest.raises(ValueError, match="multiple of 16 features"):
        LatentInvariants(lmax=3).fit(np.zeros((3, 33)))


def turned_targets(y: np.ndarray, target: str, matrix: np.ndarray) -> np.ndarray:
    if target == "vector":
        return y @ matrix.T
    return np.einsum("ai,bj,nij->nab", matrix, matrix, y.reshape(-1, 3, 3)).reshape(-1, 9)


@pytest.mark.parametrize("products", [False, True])
@pytest.mark.parametrize("target", ["vector", "tensor"])
def test_predictions_turn_with_the_latents(target, products):
    """Even what was learned of random targets."""
    latents, generator = random_latents(), np.random.default_rng(0)
    y = generator.normal(size=(len(latents), {"vector": 3, "tensor": 9}[target]))
    model = EquivariantRidge(3, target=target, products=products).fit(rows_of(latents), y)
    predicted = model.predict(rows_of(latents))
    assert np.abs(predicted).max() > 0.05
    for improper in (False, True):
        matrix = random_orthogonal(improper=improper)
        there = model.predict(rows_of(latents.rotate(matrix)))
        assert np.abs(there - turned_targets(predicted, target, matrix.numpy())).max() < 1e-10


def test_ridge_finds_vectors_and_tensors_that_are_in_the_latents():
    latents = random_latents(n=60)
    array = latents.array.numpy()
    vectors = array[:, 1:4] @ [1.0, -2.0, 0.0, 0.5, 1.0]
    rows = rows_of(latents)
    model = EquivariantRidge(3, target="vector", alpha=1e-9).fit(rows[:40], vectors[:40])
    assert np.abs(model.predict(rows[40:]) - vectors[40:]).max() < 1e-6
    # outer products of the vectors of one channel with themselves need products of features
    outer = np.einsum("ni,nj->nij", array[:, 1:4, 2], array[:, 1:4, 2]).reshape(-1, 9)
    exact = EquivariantRidge(3, target="tensor", products=True, alpha=1e-7)
    linear = EquivariantRidge(3, target="tensor", alpha=1e-7)
    errors = [
        np.abs(each.fit(rows[:50], outer[:50]).predict(rows[50:]) - outer[50:]).max()
        for each in (exact, linear)
    ]
    assert errors[0] < 1e-4 and errors[1] > 0.3


def test_scalars_are_ridge_on_standardised_columns():
    rows = rows_of(random_latents(lmax=0, channels=6))
    y = np.random.default_rng(0).normal(size=(40, 2)) + rows[:, :2]
    expected = make_pipeline(StandardScaler(), Ridge(alpha=3.0)).fit(rows, y).predict(rows)
    assert np.allclose(EquivariantRidge(alpha=3.0).fit(rows, y).predict(rows), expected)


def test_ridge_refuses_what_does_not_fit():
    rows = rows_of(random_latents())
    with pytest.raises(GeomaeError, match="needs latents of degree 1; lmax is 0"):
        EquivariantRidge(target="vector").fit(rows, np.zeros((40, 3)))
    with pytest.raises(GeomaeError, match="a vector has 3 columns, but y has 4"):
        EquivariantRidge(3, target="vector").fit(rows, np.zeros((40, 4)))
    with pytest.raises(GeomaeError, match="alpha must be above 0"):
        EquivariantRidge(alpha=0.0).fit(rows, np.zeros(40))
    with pytest.raises(GeomaeError, match="scalar, vector, tensor, not 'pseudovector'"):
        EquivariantRidge(3, target="pseudovector").fit(rows, np.zeros(40))


@pytest.mark.parametrize("output", ["invariants", "latent"])
def test_encoder_gives_named_rows(small, molecules, output):
    encoder = StructureEncoder(small, output=output, batch_size=3).fit(molecules)
    rows = encoder.transform(molecules)
    assert rows.shape == (len(molecules), len(encoder.get_feature_names_out()))
    assert len(set(encoder.get_feature_names_out())) == rows.shape[1]
    latents = small.encode(molecules)
    expected = invariants(latents, "cross") if output == "invariants" else latents.to_e3nn()[0]
    assert np.allclose(rows, expected)
    table = encoder.set_output(transform="pandas").transform(molecules)
    assert list(table.columns) == list(encoder.get_feature_names_out())
    assert np.array_equal(table.to_numpy(), rows)


def test_encoder_clones_and_pickles(small, molecules):
    encoder = StructureEncoder("qm9", output="latent", batch_size=7)
    assert clone(encoder).get_params() == encoder.get_params()
    assert encoder.get_params()["batch_size"] == 7 and not hasattr(clone(encoder), "model_")
    with pytest.raises(NotFittedError):
        encoder.transform(molecules)
    with pytest.raises(NotFittedError):
        encoder.inverse_transform(np.zeros((1, 4)))
    fitted = StructureEncoder(small).fit()
    again = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(again.transform(molecules), fitted.transform(molecules))


def test_encoder_works_in_pipelines_and_searches(small, molecules):
    pipeline = make_pipeline(StructureEncoder(small), StandardScaler(), Ridge())
    molecules = molecules[:4]
    sizes = np.array([float(s.n_atoms) for s in molecules])
    assert np.isfinite(cross_val_score(pipeline, molecules, sizes, cv=2)).all()
    grid = {"structureencoder__invariants": ["power", "cross"]}
    search = GridSearchCV(
        pipeline, grid, cv=2, scoring="neg_mean_absolute_error", error_score="raise"
    )
    assert search.fit(molecules, sizes).predict(molecules).shape == (len(molecules),)


def test_rows_are_decoded_even_through_other_steps(molecules):
    """Latents with their points' positions, through a rotation of the rows' space and back."""
    encoder = StructureEncoder(output="latent", centres=True, refine=False)
    moved = [Structure(s.numbers, s.positions + 2.0) for s in molecules[:2]]
    pipeline = make_pipeline(encoder, PCA()).fit(moved + molecules)
    returned = pipeline.inverse_transform(pipeline.transform(moved))
    for original, decoded in zip(moved, returned, strict=True):
        assert compare(original, decoded).reconstructed


def test_rows_are_decoded_about_the_origin_without_centres(molecules):
    ethanol = molecules[0]
    encoder = StructureEncoder(output="latent").fit()
    (decoded,) = encoder.inverse_transform(encoder.transform([ethanol]))
    centre = encoder.model_.encode([ethanol]).centres
    about = Structure(ethanol.numbers, ethanol.positions - centre)
    assert compare(about, decoded).max_error < 1e-5 and decoded.certified


def test_encoder_says_what_is_wrong(small, molecules):
    with pytest.raises(GeomaeError, match="output must be one of invariants, latent"):
        StructureEncoder(small, output="latents").fit()
    with pytest.raises(GeomaeError, match="released models"):
        StructureEncoder("qm8").fit()
    fitted = StructureEncoder(small).fit()
    with pytest.raises(GeomaeError, match=r"can.t be decoded.*output=.latent."):
        fitted.inverse_transform(fitted.transform(molecules))
    with pytest.raises(UnsupportedStructureError, match=r"structure 1.*Si"):
        fitted.transform([molecules[0], from_ase("SiH4")])
    with pytest.raises(GeomaeError, match="2 items but 3 structures"):
        fitted.transform([molecules[0], molecules[1:3]])
    with pytest.raises(GeomaeError, match="X has 8 features, expected 128"):
        StructureEncoder(small, output="latent").fit().inverse_transform(np.zeros((2, 8)))


def test_columns_of_objects_are_lists(small, molecules):
    pandas = pytest.importorskip("pandas")
    encoder = StructureEncoder(small).fit()
    column = pandas.DataFrame({"molecule": molecules})
    assert np.array_equal(encoder.transform(column), encoder.transform(molecules))
    assert np.array_equal(encoder.transform(column["molecule"]), encoder.transform(molecules))


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    for name in [n for n in sys.modules if n.split(".")[:2] == ["geomae", "sklearn"]]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingExtraError, match=r"geomae\[sklearn\]"):
        import geomae.sklearn  # noqa: F401
