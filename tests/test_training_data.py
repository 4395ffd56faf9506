"""Samples, classes and weights that a classifier trains with."""

import hashlib

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from skfmri import SlabCNNClassifier


def weights_of(decoder):
    return decoder.model_.get_weights()


def assert_same_weights(one, other):
    for a, b in zip(weights_of(one), weights_of(other), strict=True):
        np.testing.assert_array_equal(a, b)


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def test_float_types_integers_and_memory_maps_give_the_same_bits(tmp_path, slabs, tiny):
    X, y = slabs
    whole = np.round(10 * X)
    np.save(tmp_path / "X.npy", whole.astype(np.float32))
    variants = [whole.astype(t) for t in (np.float32, np.float64, np.int16)]
    variants.append(np.load(tmp_path / "X.npy", mmap_mode="r"))
    seen = {digest(SlabCNNClassifier(random_state=0, **tiny).fit(v, y).predict_proba(w))
            for v in variants for w in variants}  # fmt: skip
    assert len(seen) == 1


def test_samples_of_weight_zero_count_as_absent(slabs, tiny):
    X, y = slabs
    kept = np.arange(20) >= 5
    weighted, shorter = (SlabCNNClassifier(random_state=0, **tiny) for _ in range(2))
    weighted.fit(X, y, sample_weight=kept.astype(int))
    assert_same_weights(weighted, shorter.fit(X[kept], y[kept]))


def test_class_weight_is_the_sample_weight_of_its_class(slabs, tiny):
    X, y = slabs
    by_class = SlabCNNClassifier(
        random_state=0, class_weight={"cat": 3, "face": 1, "house": 1}, **tiny
    )
    by_sample = SlabCNNClassifier(random_state=0, **tiny)
    by_sample.fit(X, y, sample_weight=np.where(y == "cat", 3, 1))
    assert_same_weights(by_class.fit(X, y), by_sample)
    plain = SlabCNNClassifier(random_state=0, **tiny).fit(X, y)
    assert plain.history_["loss"] != by_sample.history_["loss"]


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e39])
def test_values_that_are_not_finite_are_refused_with_their_sample(
    fitted_slab_decoder, slabs, tiny, bad
):
    X = slabs[0].astype(np.float64)
    X[13, 2, 3, 1] = bad
    with pytest.raises(ValueError, match="first in sample 13"):
        SlabCNNClassifier(**tiny).fit(X, slabs[1])
    with pytest.raises(ValueError, match="first in sample 13"):
        fitted_slab_decoder.predict(X)


def test_one_class_a_wrong_number_of_axes_and_bad_weights_are_refused(slabs, tiny):
    X, y = slabs
    decoder = SlabCNNClassifier(**tiny)
    with pytest.raises(ValueError, match="only one class, 'cat'"):
        decoder.fit(X, np.full(20, "cat"))
    with pytest.raises(ValueError, match=r"X has shape \(20, 6, 7\).* a single slice has z = 1"):
        decoder.fit(X[..., 0], y)
    with pytest.raises(ValueError, match=r"sample_weight of shape \(19,\) for 20 samples"):
        decoder.fit(X, y, sample_weight=np.ones(19))
    for weight in (np.zeros(20), -np.ones(20), np.full(20, np.nan)):
        with pytest.raises(ValueError, match="must be finite, not negative, and not all zero"):
            decoder.fit(X, y, sample_weight=weight)
    with pytest.raises(NotFittedError):
        decoder.predict(X)
