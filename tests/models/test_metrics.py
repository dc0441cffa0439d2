"""Every number is held against one made by hand, or by another's code."""

import math

import numpy as np
import pytest
from sklearn.metrics import f1_score, top_k_accuracy_score

from models.metrics import (
    calibration,
    calibration_error,
    confusion,
    hits,
    paired_difference,
    per_class,
    summary,
)

NAN = float("nan")
# Four rows, three classes. First answers: 0, 1, 1, 2. Truth: 0, 1, 2, 0.
SCORES = np.array([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.05, 0.55, 0.4], [0.3, 0.1, 0.6]])
TRUTH = np.array([0, 1, 2, 0])
PRIOR = np.array([0.5, 0.3, 0.2])


def random_scores(rows: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities without ties, and truths that they are somewhat right about."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, rows)
    weights = rng.random((rows, classes)) + 0.5 * np.eye(classes)[truth]
    return weights / weights.sum(axis=1, keepdims=True), truth


@pytest.mark.parametrize("k", [1, 2, 3, 5, 7])
def test_hits_without_ties_are_those_of_scikit_learn(k):
    scores, truth = random_scores(500, 8)

    found = hits(scores, truth, k)

    assert found.dtype == bool
    assert found.mean() == pytest.approx(top_k_accuracy_score(truth, scores, k=k, labels=range(8)))


@pytest.mark.parametrize(
    ("scores", "k", "hit"),
    [
        ([0.4, 0.4, 0.2], 1, False),  # tied for the first place: the model did not choose it
        ([0.4, 0.4, 0.2], 2, True),
        ([0.3, 0.3, 0.4], 2, False),
        ([1 / 3, 1 / 3, 1 / 3], 1, False),  # a network that says nothing is never right
        ([1 / 3, 1 / 3, 1 / 3], 2, False),
        ([0.6, 0.2, 0.2], 1, True),
        ([NAN, NAN, NAN], 1, False),
        ([NAN, NAN, NAN], 3, False),
        ([NAN, 0.6, 0.4], 1, False),
        ([NAN, 0.6, 0.4], 3, False),
        ([0.6, NAN, 0.4], 1, False),  # what is no number might have been larger
        ([0.1, 0.2, 0.7], 5, True),  # k beyond the classes is all of them
    ],
)
def test_a_tie_or_a_score_that_is_no_number_counts_against_the_model(scores, k, hit):
    assert hits(np.array([scores]), np.array([0]), k).tolist() == [hit]


def test_hits_are_row_by_row():
    assert hits(SCORES, TRUTH, 1).tolist() == [True, True, False, False]
    assert hits(SCORES, TRUTH, 2).tolist() == [True, True, True, True]


def test_the_summary_is_what_a_hand_computes():
    found = summary(SCORES, TRUTH, PRIOR)

    assert found == pytest.approx(
        {
            "rows": 4,
            "top_1": 0.5,
            "top_5": 1.0,
            "macro_f1": (2 / 3 + 2 / 3 + 0) / 3,
            "log_loss": -(math.log(0.7) + math.log(0.6) + math.log(0.4) + math.log(0.3)) / 4,
            "calibration_error": (0.3 + 2 * 0.1 + 0.55) / 4,
            "prior_top_1": 0.5,
            "prior_top_5": 1.0,
            "prior_log_loss": -(math.log(0.5) * 2 + math.log(0.3) + math.log(0.2)) / 4,
        }
    )
    assert {type(number) for number in found.values()} == {float}


def test_macro_f1_is_over_the_classes_that_occur():
    scores, truth = random_scores(300, 6)
    truth = truth % 4  # two classes are only ever predicted

    found = summary(scores, truth, np.full(6, 1 / 6))["macro_f1"]

    assert found == pytest.approx(
        f1_score(truth, scores.argmax(axis=1), labels=range(4), average="macro", zero_division=0.0)
    )


def test_the_prior_answers_its_most_frequent_classes():
    prior = np.array([0.05, 0.1, 0.15, 0.21, 0.12, 0.17, 0.2])
    truth = np.array([0, 1, 1, 2, 3, 4, 5, 6, 3, 3])
    scores = np.full((10, 7), 1 / 7)

    found = summary(scores, truth, prior)

    assert found["prior_top_1"] == pytest.approx(3 / 10)
    assert found["prior_top_5"] == pytest.approx(7 / 10)


def test_the_numbers_of_the_prior_are_of_the_prior_alone():
    scores, truth = random_scores(50, 3)
    other = np.roll(scores, 1, axis=1)

    mine, yours = summary(scores, truth, PRIOR), summary(other, truth, PRIOR)

    assert {k: v for k, v in mine.items() if k.startswith("prior")} == {
        k: v for k, v in yours.items() if k.startswith("prior")
    }
    assert mine["top_1"] != yours["top_1"]


def test_a_certain_wrong_answer_costs_much_and_stays_a_number():
    found = summary(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([1, 0]), np.array([1.0, 0.0]))

    cost = -math.log(1e-12) / 2
    assert (found["log_loss"], found["prior_log_loss"]) == pytest.approx((cost, cost), rel=1e-6)


def test_calibration_is_by_bins_of_equal_width_and_leaves_empty_ones_out():
    assert calibration(SCORES, TRUTH) == [
        {"low": 0.5, "high": 0.6, "rows": 1, "confidence": pytest.approx(0.55), "accuracy": 0.0},
        {"low": 0.6, "high": 0.7, "rows": 2, "confidence": pytest.approx(0.6), "accuracy": 0.5},
        {"low": 0.7, "high": 0.8, "rows": 1, "confidence": pytest.approx(0.7), "accuracy": 1.0},
    ]


def test_full_certainty_is_in_the_last_bin():
    bins = calibration(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0, 0]))

    assert bins == [{"low": 0.9, "high": 1.0, "rows": 2, "confidence": 1.0, "accuracy": 0.5}]


def test_the_calibration_error_weighs_bins_by_their_rows():
    bins = [{"rows": 3, "confidence": 0.9, "accuracy": 0.5}, {"rows": 1, "confidence": 0.2, "accuracy": 0.4}]

    assert calibration_error(bins) == pytest.approx((3 * 0.4 + 1 * 0.2) / 4)


def test_numbers_of_each_class_are_what_a_hand_computes():
    assert per_class(SCORES, TRUTH, ["a", "b", "c"]) == [
        {"class": "a", "rows": 2, "recall": 0.5, "precision": 1.0, "f1": pytest.approx(2 / 3)},
        {"class": "b", "rows": 1, "recall": 1.0, "precision": 0.5, "f1": pytest.approx(2 / 3)},
        {"class": "c", "rows": 1, "recall": 0.0, "precision": 0.0, "f1": 0.0},
    ]


def test_a_class_without_rows_has_a_row_of_zeros():
    [*_, absent] = per_class(SCORES[:2], TRUTH[:2], ["a", "b", "c"])

    assert absent == {"class": "c", "rows": 0, "recall": 0.0, "precision": 0.0, "f1": 0.0}


def test_confusion_has_a_row_for_each_truth_and_a_column_for_each_answer():
    assert confusion(SCORES, TRUTH) == [[1, 0, 1], [0, 1, 0], [0, 1, 0]]
    assert confusion(SCORES[:1], TRUTH[:1]) == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]


def two_models(rows: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random(rows) < 0.6, rng.random(rows) < 0.5


def test_the_difference_is_that_of_the_hit_rates():
    candidate, champion = two_models(400)

    difference, low, high = paired_difference(candidate, champion, np.arange(400), 0.95)

    assert difference == pytest.approx(candidate.mean() - champion.mean())
    assert low < difference < high


def test_independent_rows_give_the_interval_of_the_normal_approximation():
    candidate, champion = two_models(2000)
    gain = candidate.astype(float) - champion.astype(float)

    difference, low, high = paired_difference(candidate, champion, np.arange(2000), 0.95)

    error = 1.96 * gain.std() / math.sqrt(2000)
    assert (difference - low, high - difference) == pytest.approx((error, error), rel=0.08)


def test_rows_of_one_entity_stand_or_fall_together_and_widen_the_interval():
    candidate, champion = (np.repeat(model, 25) for model in two_models(40))

    _, low, high = paired_difference(candidate, champion, np.repeat(np.arange(40), 25), 0.95)
    _, row_low, row_high = paired_difference(candidate, champion, np.arange(1000), 0.95)

    assert (high - low) / (row_high - row_low) == pytest.approx(math.sqrt(25), rel=0.15)


def test_entities_of_different_size_count_by_their_rows():
    entities = np.array(["a"] * 9 + ["b"])
    always, never = np.ones(10, dtype=bool), np.zeros(10, dtype=bool)

    difference, _, _ = paired_difference(entities == "a", never, entities, 0.95)

    assert difference == pytest.approx(0.9)
    assert paired_difference(always, never, entities, 0.95) == pytest.approx((1, 1, 1))  # whichever entities are drawn


def test_more_confidence_is_a_wider_interval():
    candidate, champion = two_models(300)

    widths = [
        high - low
        for _, low, high in (paired_difference(candidate, champion, np.arange(300), c) for c in (0.5, 0.9, 0.99))
    ]

    assert widths == sorted(widths)
    assert widths[0] < widths[2] / 2


def test_identical_models_differ_by_nothing_and_surely():
    candidate, _ = two_models(100)

    assert paired_difference(candidate, candidate.copy(), np.arange(100) % 7, 0.95) == (0.0, 0.0, 0.0)


def test_exchanged_models_give_the_opposite():
    candidate, champion = two_models(200)

    difference, low, high = paired_difference(candidate, champion, np.arange(200), 0.95)

    assert paired_difference(champion, candidate, np.arange(200), 0.95) == pytest.approx((-difference, -high, -low))


def test_the_interval_is_the_same_every_time_and_in_every_order():
    candidate, champion = two_models(200)
    entities = np.array([f"e{n % 31}" for n in range(200)])
    order = np.random.default_rng(5).permutation(200)

    first = paired_difference(candidate, champion, entities, 0.95)

    assert paired_difference(candidate, champion, entities, 0.95) == first
    assert paired_difference(candidate[order], champion[order], entities[order], 0.95) == first
