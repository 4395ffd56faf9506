"""Closed forms against refits, sums and maps that are computed the long way."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.special import log_softmax
from sklearn.linear_model import Ridge

from skfmri.kernel_ridge import activation_patterns, can_be_left_out, scores_of_labelings
from skfmri.kernel_ridge.fits import decompose, fit_ridge, left_out_predictions
from skfmri.kernel_ridge.kernels import mean_sample, smooth, smoothed_kernel
from skfmri.kernel_ridge.maps import voxel_weights

ALPHAS = (0.01, 0.3, 10.0)
SCALES = (0, 0.7, 1.5)
# Unequal, interleaved, and with a class that group 3 alone holds.
GROUPS = np.array([0, 1, 2, 0, 1, 2, 2, 1, 0, 0, 1, 2, 3, 3, 0, 1, 2, 2, 3, 3, 0, 1])
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 2, 1, 0, 3, 3, 1, 0, 1, 2, 3, 3, 1, 0])
TARGETS = np.eye(4)[LABELS]


@pytest.fixture(scope="module")
def X():
    """Volumes of 6 x 7 x 8 away from 0, in which classes differ by a smooth blob."""
    rng = np.random.default_rng(0)
    X = rng.normal(3, 1, size=(len(LABELS), 6, 7, 8))
    for label in range(4):
        X[label == LABELS, label : label + 3, 2:5, 1:5] += 0.8
    return X


def features(X, sigma):
    """Smoothed voxels in rows, in units of the mean length of the centred rows."""
    rows = gaussian_filter(X, (0, sigma, sigma, sigma), mode="constant", truncate=3) if sigma else X
    rows = rows.reshape(len(X), -1)
    return rows / np.sqrt(((rows - rows.mean(axis=0)) ** 2).sum(axis=1).mean())


def refitted(rows, targets, groups, alpha):
    """Predictions for each group by scikit-learn's ridge, fitted to the other groups."""
    predictions = np.empty_like(targets)
    for group in np.unique(groups):
        out = groups == group
        model = Ridge(alpha=alpha, solver="svd").fit(rows[~out], targets[~out])
        predictions[out] = model.predict(rows[out]).reshape(predictions[out].shape)
    return predictions


class TestLeavingGroupsOut:
    @pytest.mark.parametrize("n_features", [5, 336], ids=["few features", "many features"])
    @pytest.mark.parametrize(
        "groups",
        [GROUPS, np.arange(22), np.arange(22) % 2, np.array(["a"] * 3 + ["b"] * 19)],
        ids=["unequal", "each sample", "two", "two, unequal"],
    )
    def test_the_closed_form_equals_refits(self, X, groups, n_features):
        rows = features(X, 0)[:, :n_features]
        norm = ((rows - rows.mean(axis=0)) ** 2).sum(axis=1).mean()
        found = left_out_predictions(decompose(rows @ rows.T), TARGETS, groups, ALPHAS)
        for alpha, predictions in zip(ALPHAS, found, strict=True):
            expected = refitted(rows, TARGETS, groups, alpha * norm)
            np.testing.assert_allclose(predictions, expected, atol=1e-8)

    def test_a_class_that_the_others_lack_is_never_predicted(self, X):
        spectrum = decompose(smoothed_kernel(X, mean_sample(X), 0))
        (predictions,) = left_out_predictions(spectrum, TARGETS, GROUPS, [1.0])
        np.testing.assert_allclose(predictions[GROUPS == 3, 3], 0, atol=1e-12)

    def test_samples_of_such_a_class_are_known(self):
        np.testing.assert_array_equal(can_be_left_out(LABELS, GROUPS), LABELS != 3)
        assert not can_be_left_out(LABELS, np.zeros(22)).any()
        assert can_be_left_out(LABELS, np.arange(22)).all()


class TestKernels:
    @pytest.mark.parametrize("sigma", SCALES)
    def test_a_kernel_is_that_of_smoothed_samples_whatever_the_batches(self, X, sigma, monkeypatch):
        expected = features(X, sigma)
        expected = expected - expected.mean(axis=0)
        expected = expected @ expected.T
        found = smoothed_kernel(X, mean_sample(X), sigma)
        # Two planes at a time.
        monkeypatch.setattr("skfmri.kernel_ridge.kernels.BATCH_BYTES", 2 * X[:, :1].nbytes)
        in_parts = smoothed_kernel(X, mean_sample(X), sigma)
        for kernel in (found, in_parts):
            np.testing.assert_allclose(kernel * 22 / np.trace(kernel), expected, atol=1e-10)

    def test_single_precision_costs_no_more_than_its_rounding(self, X):
        # A large offset, as raw images have it.
        kernels = [smoothed_kernel(Z, mean_sample(Z), 0.7) for Z in (X, (X + 500).astype("f4"))]
        assert kernels[1].dtype == np.float64
        np.testing.assert_allclose(kernels[1], kernels[0], atol=1e-4 * kernels[0].max())

    def test_smoothing_is_its_own_transpose(self, X):
        a, b = X[:1], X[1:2]
        assert np.vdot(smooth(a, 1.2), b) == pytest.approx(np.vdot(a, smooth(b, 1.2)), rel=1e-12)

    def test_without_neighbours_nothing_is_smoothed(self, X):
        rows = X.reshape(len(X), -1)
        assert smooth(rows, 1.0) is rows
        slices = X[..., :1]
        expected = gaussian_filter(slices, (0, 1, 1, 0), mode="constant", truncate=3)
        np.testing.assert_array_equal(smooth(slices, 1.0), expected)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_constant_samples_have_exactly_their_mean(self, dtype):
        X = np.full((7, 2, 3), 0.1, dtype)
        np.testing.assert_array_equal(mean_sample(X), X[0])
        spectrum = decompose(smoothed_kernel(X, mean_sample(X), 0))
        assert not spectrum.values.any()

    def test_the_mean_needs_no_batch_of_everything(self, X, monkeypatch):
        monkeypatch.setattr("skfmri.kernel_ridge.kernels.BATCH_BYTES", 5 * X[0].nbytes)
        np.testing.assert_allclose(mean_sample(X), X.mean(axis=0), rtol=1e-12)


@pytest.fixture(scope="module")
def spectra(X):
    return [decompose(smoothed_kernel(X, mean_sample(X), sigma)) for sigma in SCALES]


@pytest.fixture(scope="module")
def fit(spectra):
    return fit_ridge(spectra, LABELS, GROUPS, ALPHAS, 4)


def rescaled_error(predictions, targets):
    """Return the squared error after the best rescaling around the mean of the targets."""
    shifted, centred = predictions - targets.mean(axis=0), targets - targets.mean(axis=0)
    factor, *_ = np.linalg.lstsq(shifted.reshape(-1, 1), centred.ravel())
    return ((max(factor[0], 0) * shifted - centred) ** 2).sum()


class TestFit:
    def test_strengths_have_the_least_error_of_rescaled_refits_for_known_classes(self):
        known = can_be_left_out(LABELS, GROUPS)
        depends_on_unknown = []
        for seed in range(8):
            rows = np.random.default_rng(seed).normal(size=(22, 4)) + TARGETS
            spectrum = decompose(rows @ rows.T)
            chosen = fit_ridge([spectrum], LABELS, GROUPS, ALPHAS, 4).alpha
            errors, errors_of_all = {}, {}
            for alpha in ALPHAS:
                refits = refitted(rows, TARGETS, GROUPS, alpha * spectrum.norm)
                errors[alpha] = rescaled_error(refits[known], TARGETS[known])
                errors_of_all[alpha] = rescaled_error(refits, TARGETS)
            assert chosen == min(ALPHAS, key=errors.get)
            depends_on_unknown.append(chosen != min(ALPHAS, key=errors_of_all.get))
        assert any(depends_on_unknown)

    def test_a_strong_penalty_is_not_refused_for_the_smallness_of_its_predictions(self):
        # Many features of the same small effect: the difference of the means is the best weight.
        rng = np.random.default_rng(0)
        labels, groups = np.tile([0, 1], 20), np.repeat(np.arange(5), 8)
        rows = rng.normal(size=(40, 400)) + 0.2 * labels[:, None]
        spectrum = decompose((rows - rows.mean(axis=0)) @ (rows - rows.mean(axis=0)).T)
        strengths = [0.1, 1, 10, 100]
        fit = fit_ridge([spectrum], labels, groups, strengths, 2)
        targets = np.eye(2)[labels]
        errors = [
            ((each - targets) ** 2).sum()
            for each in left_out_predictions(spectrum, targets, groups, strengths)
        ]
        assert fit.alpha[0] > strengths[int(np.argmin(errors))]

    def test_left_out_scores_are_the_mixture_of_refits(self, X, fit):
        expected = sum(
            weight * refitted(features(X, sigma), TARGETS, GROUPS, alpha)
            for sigma, alpha, weight in zip(SCALES, fit.alpha, fit.mixture, strict=True)
        )
        shares = TARGETS.mean(axis=0)
        expected = (expected - shares) / fit.temperature + np.log(shares)
        np.testing.assert_allclose(fit.left_out, expected, atol=1e-7)

    def test_no_small_change_of_the_mixture_lowers_the_error(self, spectra, fit):
        known = can_be_left_out(LABELS, GROUPS)
        predictions = []
        for spectrum, alpha in zip(spectra, fit.alpha, strict=True):
            predictions += list(left_out_predictions(spectrum, TARGETS, GROUPS, [alpha]))
        mean = TARGETS[known].mean(axis=0)
        parts = np.array(predictions)[:, known] - mean

        def error(weights):
            return ((np.tensordot(weights, parts, axes=1) - (TARGETS[known] - mean)) ** 2).sum()

        assert fit.mixture.min() >= 0
        assert fit.mixture.sum() == pytest.approx(1)
        # The mixture is normalised; its best scale is the temperature's affair.
        mixed = np.tensordot(fit.mixture, parts, axes=1)
        best = fit.mixture * np.vdot(mixed, TARGETS[known] - mean) / np.vdot(mixed, mixed)
        for change in np.vstack([np.eye(3), -np.eye(3)]) * 1e-3:
            changed = best + change
            assert changed.min() < 0 or error(changed) > error(best)

    def test_other_temperatures_have_a_larger_log_loss(self, fit):
        known = can_be_left_out(LABELS, GROUPS)
        labels = LABELS[known]
        counts = np.bincount(labels, minlength=4)
        targets = np.tile(1 / (counts[labels] + 4), (4, 1)).T
        targets[np.arange(len(labels)), labels] = (counts[labels] + 1) / (counts[labels] + 4)

        offset = np.log(TARGETS.mean(axis=0))

        def loss(factor):
            scores = (fit.left_out[known] - offset) * factor + offset
            return -(targets * log_softmax(scores, axis=1)).sum()

        assert loss(1) < min(loss(0.98), loss(1.02))

    def test_perfect_separation_gives_probabilities_below_1(self):
        rng = np.random.default_rng(0)
        labels, groups = np.arange(24) % 2, np.arange(24) // 6
        rows = rng.normal(size=(24, 3)) + 1000 * labels[:, None]
        fit = fit_ridge([decompose(rows @ rows.T)], labels, groups, ALPHAS, 2)
        probabilities = np.exp(log_softmax(fit.left_out, axis=1))[np.arange(24), labels]
        # There are 12 samples of each class, so Platt's targets are 13/14.
        np.testing.assert_allclose(probabilities, 13 / 14, atol=1e-3)

    def test_if_nothing_predicts_the_least_wrong_scale_is_taken(self):
        # With one class in each group, the mean of the others is the reverse of the truth. A
        # feature whose sign means something else in each pair of groups makes that worse.
        labels = np.array([0, 0, 1, 1, 0, 0, 1, 1])
        groups = np.array([0, 0, 1, 1, 2, 2, 3, 3])
        misleading = np.outer(*[np.array([1, 1, -1, -1, -1, -1, 1, 1])] * 2)
        spectra = [decompose(misleading), decompose(np.zeros((8, 8)))]
        fit = fit_ridge(spectra, labels, groups, ALPHAS, 2)
        assert fit.mixture.tolist() == [0, 1]
        # The model that does least.
        assert fit.alpha.tolist() == [10, 10]
        # Its probabilities know nothing.
        np.testing.assert_allclose(fit.left_out[:, 0], fit.left_out[:, 1], atol=0.01)

    def test_groups_that_leave_nothing_to_choose_by_are_refused(self, spectra):
        with pytest.raises(ValueError, match="No class occurs in more than one group"):
            fit_ridge(spectra, LABELS, LABELS, ALPHAS, 4)


class TestWeights:
    def test_weights_of_voxels_give_the_scores_of_kernels(self, X, fit):
        new = np.random.default_rng(1).normal(3, 1, size=(5, *X.shape[1:]))
        mean = mean_sample(X)
        both = np.concatenate([X, new])
        kernels = [smoothed_kernel(both, mean, sigma)[22:, :22] for sigma in SCALES]
        expected = sum(map(np.matmul, kernels, fit.duals)) + fit.offset
        weights = voxel_weights(X, mean, SCALES, fit.duals)
        found = (new - mean).reshape(5, -1) @ weights.reshape(4, -1).T + fit.offset
        np.testing.assert_allclose(found, expected, atol=1e-8)

    def test_one_scale_gives_the_weights_of_scikit_learn(self, X):
        spectrum = decompose(smoothed_kernel(X, mean_sample(X), 0))
        fit = fit_ridge([spectrum], LABELS, GROUPS, [0.3], 4)
        weights = voxel_weights(X, mean_sample(X), [0], fit.duals)
        model = Ridge(alpha=0.3 * spectrum.norm).fit(X.reshape(22, -1), TARGETS)
        expected = model.coef_ / fit.temperature
        np.testing.assert_allclose(weights.reshape(4, -1), expected, atol=1e-8)

    def test_a_voxel_that_only_cancels_noise_has_weight_but_no_pattern(self):
        # The example of Haufe et al.: signal and noise in one voxel, noise alone in the other.
        signal = np.tile([-1.0, 1, -1, 1], 2)
        noise = np.tile([-1.0, -1, 1, 1], 2)
        X = np.column_stack([signal + 3 * noise, noise]) + 7
        weights = np.array([[1.0, -3.0]])
        patterns = activation_patterns(X, mean_sample(X), weights)
        np.testing.assert_allclose(patterns, [[1, 0]], atol=1e-12)

    def test_patterns_of_many_classes_rebuild_what_scores_explain(self, X, fit):
        mean = mean_sample(X)
        weights = voxel_weights(X, mean, SCALES, fit.duals)
        patterns = activation_patterns(X, mean, weights).reshape(4, -1)
        rows = (X - mean).reshape(22, -1)
        scores = rows @ weights.reshape(4, -1).T
        # Least squares of voxels on scores is the definition of what is left of each voxel.
        expected = np.linalg.lstsq(scores, rows, rcond=1e-8)[0]
        np.testing.assert_allclose(patterns, expected, atol=1e-8)


class TestLabelings:
    def test_many_label_vectors_give_what_each_gives_alone(self, X, spectra):
        rng = np.random.default_rng(2)
        labelings = np.array([rng.permutation(LABELS) for _ in range(6)])
        together = fit_ridge(spectra, labelings, GROUPS, ALPHAS, 4)
        assert len({tuple(alphas) for alphas in together.alpha}) > 1
        for i, labels in enumerate(labelings):
            alone = fit_ridge(spectra, labels, GROUPS, ALPHAS, 4)
            for name, array in alone._asdict().items():
                found = getattr(together, name)[i]
                np.testing.assert_allclose(found, array, atol=1e-9, err_msg=name)

    def test_their_scores_are_those_of_fits_whatever_is_held_at_once(self, X, monkeypatch):
        rng = np.random.default_rng(2)
        train, test = X[:17], X[17:]
        labelings = np.array([rng.permutation(np.arange(17) % 3) for _ in range(5)])
        groups = np.arange(17) % 4
        arguments = (train, test, labelings, groups, SCALES, ALPHAS, 3)
        found = scores_of_labelings(*arguments)
        assert found.shape == (5, 5, 3)
        monkeypatch.setattr("skfmri.kernel_ridge.fits.MOST_SCORES", 2 * 3 * 17 * 3)
        np.testing.assert_allclose(scores_of_labelings(*arguments), found, atol=1e-9)
        mean = mean_sample(train)
        spectra = [decompose(smoothed_kernel(train, mean, sigma)) for sigma in SCALES]
        for labels, scores in zip(labelings, found, strict=True):
            fit = fit_ridge(spectra, labels, groups, ALPHAS, 3)
            weights = voxel_weights(train, mean, SCALES, fit.duals).reshape(3, -1)
            expected = (test - mean).reshape(5, -1) @ weights.T + fit.offset
            np.testing.assert_allclose(scores, expected, atol=1e-8)
