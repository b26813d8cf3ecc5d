"""Estimators in the manner of scikit-learn. Needs scikit-learn: pip install "hopfield[learn]"."""

try:
    import sklearn  # noqa: F401  # asked for here, so that the error names what to install
except ImportError as error:
    from hopfield.errors import HopfieldError

    raise HopfieldError(
        'the estimators need scikit-learn, which is not installed: pip install "hopfield[learn]"'
    ) from error

from hopfield.estimators.bags import HopfieldBagClassifier
from hopfield.estimators.instances import InstanceTransformer
from hopfield.estimators.molecules import HopfieldMoleculeClassifier, MoleculeFeatures, tanimoto
from hopfield.estimators.motifs import shared_motif
from hopfield.estimators.tables import HopfieldClassifier, HopfieldRegressor

__all__ = [
    "HopfieldBagClassifier",
    "HopfieldClassifier",
    "HopfieldMoleculeClassifier",
    "HopfieldRegressor",
    "InstanceTransformer",
    "MoleculeFeatures",
    "shared_motif",
    "tanimoto",
]
