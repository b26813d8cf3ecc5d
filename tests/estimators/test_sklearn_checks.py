"""The checks that scikit-learn has for every estimator. A table (B, d) is B bags of one instance each."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from hopfield.estimators import HopfieldBagClassifier

# as little as the checks of accuracy let through
SMALL = {
    "embedding": (16,),
    "heads": 2,
    "head_size": 4,
    "dropout": 0.0,
    "bag_dropout": 0.0,
    "n_estimators": 1,
    "epochs": 10,
    "learning_rate": 0.03,
}

EXPECTED_TO_FAIL = {
    "check_sample_weight_equivalence_on_dense_data": "batches are drawn at random: a bag of weight 2 is in one, a bag "
    "that is there twice in two; and either way other random numbers make the networks",
}


@parametrize_with_checks([HopfieldBagClassifier(**SMALL)], expected_failed_checks=lambda estimator: EXPECTED_TO_FAIL)
def test_what_scikit_learn_asks_of_every_estimator(estimator, check):
    check(estimator)
