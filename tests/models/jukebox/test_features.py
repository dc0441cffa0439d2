"""Each recipe is computed here a second time, from its description, with numpy."""

import keras
import numpy as np
import pytest
from keras import ops

from models.contract import Feature
from models.jukebox.contract import CONTRACT
from models.jukebox.features import encode

FEATURES = {feature.name: feature for feature in CONTRACT.features}
# name -> 5 %, 50 % and 95 % quantile of the training rows
QUANTILES = {
    "is_explicit": (0.0, 0.0, 1.0),
    "duration_ms": (130_000.0, 190_000.0, 270_000.0),
    "danceability": (0.42, 0.69, 0.89),
    "energy": (0.35, 0.66, 0.88),
    "key": (0.0, 5.0, 11.0),
    "loudness": (-11.4, -6.1, -3.4),
    "mode": (0.0, 1.0, 1.0),
    "speechiness": (0.03, 0.06, 0.31),
    "acousticness": (0.005, 0.19, 0.76),
    "instrumentalness": (0.0, 1e-6, 0.02),
    "liveness": (0.06, 0.12, 0.43),
    "valence": (0.17, 0.53, 0.87),
    "tempo": (80.0, 120.0, 176.0),
}
PROFILE = {name: dict(zip(("q05", "q50", "q95"), values, strict=True)) for name, values in QUANTILES.items()}
NUMPY = {"bool": np.bool_, "int64": np.int64, "float32": np.float32}
WIDTHS = {name: {"key": 12, "instrumentalness": 2}.get(name, 1) for name in FEATURES}
LIMITS = {n: (0.0 if f.low is None else f.low, 1.0 if f.high is None else f.high) for n, f in FEATURES.items()}
TINY = np.finfo(np.float32).tiny


def network() -> keras.Model:
    """All encodings of all features, by name."""
    inputs = {f.name: keras.Input((1,), dtype=f.dtype, name=f.name) for f in CONTRACT.features}
    encoded = {f.name: encode(f, inputs[f.name], PROFILE[f.name]) for f in CONTRACT.features}
    joined = {
        name: ops.concatenate(columns, axis=1) if len(columns) > 1 else columns[0] for name, columns in encoded.items()
    }
    return keras.Model(inputs, joined)


@pytest.fixture(scope="module")
def encodings() -> keras.Model:
    return network()


@pytest.fixture
def policy(request: pytest.FixtureRequest):
    """Keras's global policy, for the time of a test."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


def raw(**values) -> dict[str, np.ndarray]:
    """Inputs as a step gives them: what is named, and for the rest the lowest value of the contract."""
    rows = max(len(value) for value in values.values())
    filled = {name: values.get(name, [feature.low or 0] * rows) for name, feature in FEATURES.items()}
    return {name: np.array(value).astype(NUMPY[FEATURES[name].dtype]).reshape(-1, 1) for name, value in filled.items()}


def sample(rows: int = 400) -> dict[str, np.ndarray]:
    """Values over and beyond each feature's range, with both limits and the middle among them."""
    rng = np.random.default_rng(0)
    values = {}
    for name, feature in FEATURES.items():
        low, high = LIMITS[name]
        wide = rng.uniform(low - 0.2 * (high - low), high + 0.2 * (high - low), rows)
        wide[:3] = low, high, QUANTILES[name][1]
        values[name] = wide > 0.5 if feature.dtype == "bool" else np.round(wide) if feature.dtype == "int64" else wide
    return raw(**values)


def by_hand(name: str, column: np.ndarray) -> np.ndarray:
    """The recipe of that feature in double precision."""
    q05, q50, q95 = QUANTILES[name]
    x = np.clip(column.astype(np.float64), *LIMITS[name])
    if name in ("is_explicit", "mode"):
        return np.where(x >= 1, 1.0, -1.0)
    if name == "key":
        return (x == np.arange(12)).astype(float)

    def number(value):
        if name in ("duration_ms", "speechiness", "instrumentalness", "liveness"):
            return np.log(np.maximum(value, 720.0 if name == "duration_ms" else 0.0001))
        return np.log(6.0 - value) if name == "loudness" else value

    spread = np.abs(number(np.float64(q95)) - number(np.float64(q05))) / 3.3
    standard = (number(x) - number(np.float64(q50))) / spread
    return np.hstack([x > 0, standard]) if name == "instrumentalness" else standard


@pytest.mark.parametrize("name", FEATURES)
def test_a_recipe_is_what_its_description_says(encodings, name):
    inputs = sample()

    found = np.asarray(encodings(inputs)[name])

    assert found.shape == (400, WIDTHS[name])
    np.testing.assert_allclose(found, by_hand(name, inputs[name]), rtol=2e-5, atol=2e-5)


def test_a_typical_value_is_near_zero_and_nearly_all_are_within_a_few(encodings):
    scaled = [name for name, feature in FEATURES.items() if feature.role not in ("flag", "one_hot")]

    for quantile, sign in enumerate((-1, 0, 1)):
        found = encodings(raw(**{name: [values[quantile]] for name, values in QUANTILES.items()}))
        for name in scaled:
            value = float(np.asarray(found[name])[0, -1]) * (-1 if name == "loudness" else 1)
            assert value == pytest.approx(0, abs=1e-4) if sign == 0 else 0 <= value * sign < 3.3


@pytest.mark.parametrize("name", [name for name, feature in FEATURES.items() if feature.low is not None])
def test_a_value_beyond_a_limit_is_the_limit(encodings, name):
    lowest, highest = LIMITS[name]
    beyond = [lowest - 1000, lowest, highest, highest + 1000]

    below, low, high, above = np.asarray(encodings(raw(**{name: beyond}))[name])

    assert below.tolist() == low.tolist()
    assert above.tolist() == high.tolist()
    assert low.tolist() != high.tolist()


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"], indirect=True)
@pytest.mark.parametrize("absurd", [-np.inf, np.inf, -3.4e38, 3.4e38, TINY, -TINY, 0.0])
def test_no_number_however_absurd_becomes_large(policy, absurd):
    whole = int(np.clip(absurd, -(2**62), 2**62)) if absurd != 0 else 0
    values = {name: [whole if feature.dtype == "int64" else absurd] for name, feature in FEATURES.items()}
    values["is_explicit"] = [True]

    found = network()(raw(**values))

    assert max(float(np.abs(np.asarray(value)).max()) for value in found.values()) < 100


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"], indirect=True)
def test_preprocessing_is_in_float32_whatever_the_training_computes_in(policy, encodings):
    inputs = sample()

    found, expected = network()(inputs), encodings(inputs)

    assert {value.dtype.name for value in found.values()} == {"float32"}
    for name in FEATURES:
        np.testing.assert_array_equal(np.asarray(found[name]), np.asarray(expected[name]))


def test_a_feature_that_never_varied_in_training_stays_finite():
    feature = FEATURES["instrumentalness"]
    given = keras.Input((1,), dtype="float32")
    columns = encode(feature, given, {"q05": 0.0, "q50": 0.0, "q95": 0.0})

    there, scaled = keras.Model(given, columns)(np.array([[0.0], [1.0]], dtype=np.float32))

    assert np.asarray(there).ravel().tolist() == [0.0, 1.0]
    np.testing.assert_allclose(np.asarray(scaled).ravel(), [0.0, np.log(10_000)], rtol=1e-6)


@pytest.mark.parametrize(
    ("feature", "said"),
    [
        (
            Feature(name="mood", dtype="float32", low=0, high=1, role="cubic"),
            "feature `mood` has the role `cubic`, which has no recipe here",
        ),
        (
            Feature(name="mood", dtype="float32", low=0, high=None, role="linear"),
            "feature `mood` has no range in the contract",
        ),
    ],
)
def test_a_feature_without_a_recipe_is_a_sentence(feature, said):
    with pytest.raises(ValueError, match=f"^{said}$"):
        encode(feature, keras.Input((1,), dtype="float32"), PROFILE["energy"])
