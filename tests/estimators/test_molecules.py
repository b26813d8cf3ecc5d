import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from hopfield.datasets import descriptors, fingerprints
from hopfield.errors import HopfieldError
from hopfield.estimators import MoleculeFeatures, molecule_classifier, tanimoto

pytest.importorskip("rdkit", reason='needs RDKit: pip install "hopfield[chem]"')

# chains, rings, acids, amines, halides: 48 molecules that are all different
ENDS = ("C", "O", "N", "Cl", "C(=O)O", "C#N")
MIDDLES = ("C", "CC", "CCC", "CC(C)C", "c1ccccc1C", "C1CCCC1C", "C=CC", "COC")
MOLECULES = [middle + end for middle in MIDDLES for end in ENDS]
np.random.default_rng(0).shuffle(MOLECULES)
ACID = np.array([text.endswith("C(=O)O") for text in MOLECULES]).astype(int)
FEW = {"kinds": ("morgan", "pairs"), "size": 256}


def by_hand(first, second):
    smaller = np.minimum(first[:, None].astype(float), second[None]).sum(-1)
    larger = np.maximum(first[:, None].astype(float), second[None]).sum(-1)
    return np.divide(smaller, larger, out=np.zeros_like(smaller), where=larger > 0)


def test_tanimoto_is_the_share_of_counts_in_common():
    rng = np.random.default_rng(0)
    first, second = rng.poisson(1.5, (5, 20)).clip(max=8), rng.poisson(1.5, (7, 20)).clip(max=8)
    first[0] = 0
    np.testing.assert_allclose(tanimoto(first, second), by_hand(first, second), rtol=1e-6)
    np.testing.assert_allclose(tanimoto(sparse.csr_matrix(first), second), by_hand(first, second), rtol=1e-6)
    assert np.diag(tanimoto(second, second)).tolist() == [1] * 7
    assert tanimoto(first[:1], first[:1]) == 0  # nothing is counted


def test_large_counts_count_as_eight():
    assert tanimoto([[100, 1]], [[8, 1]]) == 1


def test_dot_products_of_components_are_centred_similarities():
    features = MoleculeFeatures(descriptors=0.0, **FEW)
    found = features.fit_transform(MOLECULES).astype(float)
    parts = [fingerprints(MOLECULES, kind=kind, size=256) for kind in FEW["kinds"]]
    similar = np.mean([by_hand(part, part) for part in parts], axis=0)
    centred = similar - similar.mean(0) - similar.mean(1, keepdims=True) + similar.mean()
    dots = found @ found.T
    # up to one factor, which makes the mean square 1
    np.testing.assert_allclose(dots / np.trace(dots), centred / np.trace(centred), atol=2e-5)
    assert (found**2).mean() == pytest.approx(1, rel=1e-3)
    assert (np.diff(found.var(0)) < 1e-4).all()  # the large ones first


def test_transform_repeats_what_fit_gave_one_at_a_time_or_all_at_once():
    features = MoleculeFeatures(**FEW)
    found = features.fit_transform(MOLECULES)
    np.testing.assert_allclose(features.transform(MOLECULES), found, atol=2e-4)
    single = np.concatenate([features.transform([text]) for text in MOLECULES])
    np.testing.assert_allclose(single, found, atol=2e-4)
    assert found.dtype == np.float32
    assert len(features.get_feature_names_out()) == found.shape[1]
    assert features.get_feature_names_out()[-1] == "MQN42"


def test_descriptors_are_standardised_and_weighted():
    found = MoleculeFeatures(descriptors=0.5, **FEW).fit_transform(MOLECULES)[:, -121:] / 0.5
    numbers = descriptors(MOLECULES)
    numbers = np.sign(numbers) * np.log1p(np.abs(numbers))
    spread = numbers.std(0)
    wanted = ((numbers - numbers.mean(0)) / np.where(spread > 1e-9, spread, np.inf)).clip(-3, 3)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_components_of_a_few_landmarks_are_nearly_those_of_all():
    whole = MoleculeFeatures(descriptors=0.0, components=5, **FEW).fit_transform(MOLECULES)
    features = MoleculeFeatures(descriptors=0.0, components=5, landmarks=36, random_state=0, **FEW)
    drawn = features.fit_transform(MOLECULES)
    assert len(features.landmarks_) == 36
    np.testing.assert_allclose(features.transform(MOLECULES), drawn, atol=2e-4)
    correlation = [abs(np.corrcoef(a, b)[0, 1]) for a, b in zip(whole.T[:2], drawn.T[:2], strict=True)]
    assert min(correlation) > 0.9
    again = MoleculeFeatures(descriptors=0.0, components=5, landmarks=36, random_state=0, **FEW)
    assert (again.fit_transform(MOLECULES) == drawn).all()


@pytest.mark.parametrize("smiles", [["CCO"], ["CCO", "OCC"]])
def test_what_does_not_differ_has_no_components(smiles):
    found = MoleculeFeatures(**FEW).fit_transform(smiles)
    assert found.shape == (len(smiles), 121)
    assert (found == 0).all()


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_saved_and_loaded_features_are_the_same(tmp_path, weight):
    features = MoleculeFeatures(descriptors=weight, random_state=np.random.RandomState(0), **FEW).fit(MOLECULES[:30])
    features.save(tmp_path / "features.safetensors")
    other = MoleculeFeatures.load(tmp_path / "features.safetensors")
    assert (other.transform(MOLECULES) == features.transform(MOLECULES)).all()
    assert other.get_params() == features.get_params() | {"random_state": None}


def test_a_classifier_finds_acids_and_shows_which_molecules_say_so():
    model = molecule_classifier(len(MOLECULES), random_state=0, n_estimators=4, iterations=60)
    test = np.arange(len(MOLECULES)) % 3 == 0
    learnt = [text for text, out in zip(MOLECULES, test, strict=True) if not out]
    asked = [text for text, out in zip(MOLECULES, test, strict=True) if out]
    probability = model.fit(learnt, ACID[~test]).predict_proba(asked)[:, 1]
    assert probability[ACID[test] == 1].min() > probability[ACID[test] == 0].max()
    weights, rows = model["lookup"].neighbors(model["features"].transform(asked), k=len(learnt))
    np.testing.assert_allclose((weights * ACID[~test][rows]).sum(1), probability, atol=1e-5)
    other = clone(model).fit(learnt, ACID[~test])
    assert (other.predict_proba(asked)[:, 1] == probability).all()


def test_many_molecules_have_larger_networks_and_settings_can_be_others():
    few, many = (molecule_classifier(count)["lookup"] for count in (9_999, 10_000))
    assert few.hidden < many.hidden
    assert molecule_classifier(10, hidden=7)["lookup"].hidden == 7
    with pytest.raises(TypeError, match="unexpected keyword"):
        molecule_classifier(10, depth=7)


def test_several_labels_some_unknown():
    labels = np.stack([ACID, 1 - ACID], 1).astype(float)
    labels[::5, 0] = np.nan
    model = molecule_classifier(len(MOLECULES), random_state=0, n_estimators=2, iterations=20)
    assert model.fit(MOLECULES, labels).predict_proba(MOLECULES).shape == (len(MOLECULES), 2)


def test_molecules_come_as_lists_arrays_and_columns():
    features = MoleculeFeatures(**FEW).fit(MOLECULES)
    wanted = features.transform(MOLECULES[:3])
    for form in (tuple(MOLECULES[:3]), np.array(MOLECULES[:3]), np.array(MOLECULES[:3], dtype=object)[:, None]):
        assert (features.transform(form) == wanted).all()


@pytest.mark.parametrize(
    ("settings", "smiles", "text"),
    [
        ({}, "CCO", r"got one string: use \['CCO'\]"),
        ({}, [], "got none"),
        ({}, ["CCO", None], "that of row 1 is None"),
        ({}, [["CCO", "C"]], r"got shape \(1, 2\)"),
        ({}, ["CCO", "C("], r"cannot read the molecule 'C\('"),
        ({"kinds": ("maccs",)}, ["C"], "kinds must be a list of morgan"),
        ({"kinds": "morgan"}, ["C"], "kinds must be a list of morgan"),
        ({"kinds": ()}, ["C"], "kinds must be a list of morgan"),
        ({"descriptors": -1.0}, ["C"], "descriptors must be a finite number of at least 0"),
        ({"components": 0}, ["C"], "components must be an integer of at least 1"),
    ],
)
def test_what_cannot_be_learnt_from(settings, smiles, text):
    with pytest.raises(HopfieldError, match=text):
        MoleculeFeatures(**settings).fit(smiles)


def test_what_was_not_fitted_cannot_transform():
    with pytest.raises(NotFittedError):
        MoleculeFeatures().transform(["C"])


def test_bad_molecules_leave_an_earlier_fit_as_it_is():
    features = MoleculeFeatures(**FEW).fit(MOLECULES)
    before = features.transform(["CCO"])
    with pytest.raises(HopfieldError):
        features.fit(["CCO", "C("])
    assert (features.transform(["CCO"]) == before).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        features.transform(["[Na+].[Cl-]"])  # nothing like what was learnt
