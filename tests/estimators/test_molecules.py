import copy
import dataclasses
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV

from hopfield.datasets import descriptors, fingerprints
from hopfield.errors import HopfieldError
from hopfield.estimators import HopfieldClassifier, HopfieldMoleculeClassifier, MoleculeFeatures, tanimoto
from hopfield.estimators.molecules.classifier import default_lookup

MolFromSmiles = pytest.importorskip("rdkit.Chem", reason='needs RDKit: pip install "hopfield[chem]"').MolFromSmiles

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


def small(**settings):
    """A classifier that learns fast."""
    own = {
        "features": MoleculeFeatures(**FEW),
        "lookup": HopfieldClassifier(scale="table", n_estimators=4, iterations=60),
    }
    return HopfieldMoleculeClassifier(**own | {"random_state": 0} | settings)


TEST = np.arange(len(MOLECULES)) % 3 == 0
LEARNT = [text for text, out in zip(MOLECULES, TEST, strict=True) if not out]
ASKED = [text for text, out in zip(MOLECULES, TEST, strict=True) if out]


def test_a_classifier_finds_acids_and_shows_which_molecules_say_so():
    model = small().fit(LEARNT, ACID[~TEST])
    probability = model.predict_proba(ASKED)[:, 1]
    assert probability[ACID[TEST] == 1].min() > probability[ACID[TEST] == 0].max()
    assert (model.predict(ASKED) == (probability > 0.5)).all()
    weights, rows = model.neighbors(ASKED, k=len(LEARNT))
    np.testing.assert_allclose((weights * ACID[~TEST][rows]).sum(1), probability, atol=1e-5)
    again = clone(model).fit(LEARNT, ACID[~TEST])
    assert (again.predict_proba(ASKED)[:, 1] == probability).all()
    assert model.classes_.tolist() == [0, 1]


def test_it_is_a_lookup_in_the_columns_of_its_features():
    model = small().fit(LEARNT, ACID[~TEST])
    features = MoleculeFeatures(random_state=0, **FEW)
    lookup = HopfieldClassifier(scale="table", n_estimators=4, iterations=60, random_state=0)
    lookup.fit(features.fit_transform(LEARNT), ACID[~TEST])
    assert (lookup.predict_proba(features.transform(ASKED)) == model.predict_proba(ASKED)).all()


def test_added_molecules_are_known_and_an_earlier_copy_is_as_it_was():
    model = small().fit(LEARNT, ACID[~TEST])
    earlier = copy.copy(model)
    before = earlier.predict_proba(ASKED)
    model.add(ASKED[:2], [7, 7])
    assert model.classes_.tolist() == [0, 1, 7]
    assert model.neighbors(ASKED[:1], k=1)[1].item() == len(LEARNT)  # it finds itself
    assert (earlier.predict_proba(ASKED) == before).all()


def test_many_molecules_have_larger_networks():
    assert default_lookup(9_999).hidden < default_lookup(10_000).hidden
    model = HopfieldMoleculeClassifier(features=MoleculeFeatures(**FEW), random_state=0).fit(LEARNT, ACID[~TEST])
    assert model.lookup_.get_params() == default_lookup(32).set_params(random_state=0).get_params()


def test_seeds_of_the_parts_come_first():
    model = small(lookup=HopfieldClassifier(iterations=1, n_estimators=1, random_state=0), random_state=3)
    model.fit(LEARNT, ACID[~TEST])
    assert (model.features_.random_state, model.lookup_.random_state) == (3, 0)


def test_several_labels_some_unknown_some_molecules_measured_in_one_only():
    labels = np.stack([ACID, 1 - ACID], 1).astype(float)
    labels[::5, 0] = np.nan
    model = small().fit(MOLECULES, labels)
    found = model.predict_proba(MOLECULES)
    assert found.shape == (len(MOLECULES), 2)
    weights, rows = model.neighbors(MOLECULES, k=len(MOLECULES))
    yes, known = np.nan_to_num(labels)[rows], ~np.isnan(labels)[rows]
    wanted = (weights[..., None] * yes).sum(1) / (weights[..., None] * known).sum(1)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    model.add(["CCCCO"], [[1, pd.NA]])
    assert model.neighbors(["CCCCO"], k=1)[1].item() == len(MOLECULES)


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_saved_and_loaded_classifiers_are_the_same(tmp_path, weight):
    model = small(features=MoleculeFeatures(descriptors=weight, landmarks=20, **FEW)).fit(LEARNT, ACID[~TEST])
    model.save(tmp_path / "model.safetensors")
    other = HopfieldMoleculeClassifier.load(tmp_path / "model.safetensors")
    assert (other.predict_proba(ASKED) == model.predict_proba(ASKED)).all()
    for one, same in zip(model.neighbors(ASKED), other.neighbors(ASKED), strict=True):
        assert (one == same).all()
    other.add(ASKED, ACID[TEST])
    again = clone(other).fit(MOLECULES, ACID).predict_proba(ASKED)
    assert (again == clone(model).fit(MOLECULES, ACID).predict_proba(ASKED)).all()
    whole = HopfieldMoleculeClassifier(features=MoleculeFeatures(**FEW), random_state=3)
    whole.fit(LEARNT[:4], ACID[:4]).save(tmp_path / "whole.safetensors")
    other = HopfieldMoleculeClassifier.load(tmp_path / "whole.safetensors")
    assert (other.lookup, other.random_state) == (None, 3)
    assert other.features.get_params() == whole.features_.get_params()


def test_foreign_and_damaged_files_are_refused(tmp_path):
    model = small().fit(LEARNT, ACID[~TEST])
    model.lookup_.save(tmp_path / "lookup.safetensors")
    with pytest.raises(HopfieldError, match="not a classifier of molecules written by"):
        HopfieldMoleculeClassifier.load(tmp_path / "lookup.safetensors")
    space = model.features_._space
    model.features_._space = dataclasses.replace(space, landmarks=space.landmarks[:-1])
    model.save(tmp_path / "model.safetensors")
    with pytest.raises(HopfieldError, match=r"damaged.*components do not fit its landmarks"):
        HopfieldMoleculeClassifier.load(tmp_path / "model.safetensors")
    model.features_._space = dataclasses.replace(space, centre=space.centre[:5])
    model.save(tmp_path / "model.safetensors")
    with pytest.raises(HopfieldError, match=r"damaged.*not those of this version of RDKit"):
        HopfieldMoleculeClassifier.load(tmp_path / "model.safetensors")


def test_settings_of_numpy_are_as_good_and_a_file_may_hold_no_components(tmp_path):
    features = MoleculeFeatures(kinds=["morgan"], components=np.int64(5), size=np.int32(256), descriptors=np.float32(0))
    lookup = HopfieldClassifier(scale="table", n_estimators=1, iterations=1)
    model = HopfieldMoleculeClassifier(features=features, lookup=lookup, random_state=0).fit(MOLECULES, ACID)
    model.save(tmp_path / "model.safetensors")
    assert (
        HopfieldMoleculeClassifier.load(tmp_path / "model.safetensors").predict(ASKED) == model.predict(ASKED)
    ).all()
    alike = HopfieldMoleculeClassifier(features=MoleculeFeatures(**FEW), lookup=lookup, random_state=0)
    alike.fit(["CCO"] * 5, [0, 1, 0, 1, 0]).save(tmp_path / "alike.safetensors")
    loaded = HopfieldMoleculeClassifier.load(tmp_path / "alike.safetensors")
    assert (loaded.predict_proba(["C"]) == alike.predict_proba(["C"])).all()


@pytest.mark.parametrize("other", [{"kinds": ("pairs",)}, {"size": 16}, {"descriptors": 0.0}, {"components": 1}])
def test_setting_parameters_changes_nothing_that_was_learnt(other):
    features = MoleculeFeatures(**FEW).fit(MOLECULES)
    before, names = features.transform(ASKED), features.get_feature_names_out()
    features.set_params(**other)
    assert (features.transform(ASKED) == before).all()
    assert (features.get_feature_names_out() == names).all()


@pytest.mark.parametrize("kinds", [("torsions",), ("torsions", "morgan")])
def test_molecules_without_counts(kinds):
    found = MoleculeFeatures(kinds=kinds, size=64, descriptors=0.0).fit_transform(["C", "CC", "O"])
    assert found.shape == (3, 0 if kinds == ("torsions",) else 2)


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        (["CC"], ["CC"], "first must be counts"),
        ([[1, 2]], [1, 2], "second must be counts"),
        ([[1, 2]], [[1, 2, 3]], "of one size, got 2 and 3"),
        ([[1, -2]], [[1, 2]], "at least 0, got -2"),
        ([[1, np.nan]], [[1, 2]], "at least 0, got nan"),
    ],
)
def test_what_has_no_tanimoto_similarity(first, second, text):
    with pytest.raises(HopfieldError, match=text):
        tanimoto(first, second)


def test_it_takes_part_in_searches():
    search = GridSearchCV(small(), {"features__components": [2, 20]}, cv=2, scoring="roc_auc").fit(MOLECULES, ACID)
    assert search.best_score_ > 0.8


@pytest.mark.parametrize(
    ("settings", "labels", "text"),
    [
        ({"features": "morgan"}, ACID, "features must be a MoleculeFeatures or None"),
        ({"lookup": MoleculeFeatures()}, ACID, "lookup must be a HopfieldClassifier or None"),
        ({}, ACID[:3], "got 48 rows and 3 answers"),
        ({}, np.linspace(0, 1, 48), "Unknown label type"),
    ],
)
def test_settings_and_labels_are_checked_before_anything_takes_long(monkeypatch, settings, labels, text):
    monkeypatch.setattr(MoleculeFeatures, "fit_transform", lambda *_: pytest.fail("too late"))
    with pytest.raises(ValueError, match=text):
        small(**settings).fit(MOLECULES, labels)


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
        ({}, ["CCO", "C(", "CN(C)(C)C"], r"cannot read the molecule 'C\(' \(number 1, from 0\), nor 1 other: it is no"),
        ({}, ["CCO", ""], r"cannot read the molecule '' \(number 1, from 0\): it is empty"),
        ({}, [MolFromSmiles("CCO")], "that of row 0 is Mol; use rdkit.Chem.MolToSmiles"),
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
    model = HopfieldMoleculeClassifier()
    for function in (MoleculeFeatures().transform, model.predict, model.predict_proba, model.neighbors):
        with pytest.raises(NotFittedError):
            function(["C"])


def test_bad_molecules_leave_an_earlier_fit_as_it_is():
    features = MoleculeFeatures(**FEW).fit(MOLECULES)
    before = features.transform(["CCO"])
    with pytest.raises(HopfieldError):
        features.fit(["CCO", "C("])
    assert (features.transform(["CCO"]) == before).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        features.transform(["[Na+].[Cl-]"])  # nothing like what was learnt
