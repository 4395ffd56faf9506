"""The ridge as an estimator: its shapes, its groups, its maps, its place in pipelines."""

import warnings

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn import config_context
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from skfmri import MultiscaleRidgeClassifier, evaluate_decoder, load, save
from skfmri.evaluation.baseline import baselines_by_name, flatten_samples
from skfmri.kernel_ridge import scores_of_labelings
from skfmri.pipeline import DecodingPipeline
from skfmri.preprocessing import NiftiSlabRotator, VoxelZScorer, clean_runs
from skfmri.samples import NiftiSamples

GROUPS = np.repeat(["a", "b", "c", "d"], 12)


@pytest.fixture(scope="module")
def slabs():
    """Slabs of 9 x 10 x 3, float32, in four groups; three classes differ in smooth blobs."""
    rng = np.random.default_rng(0)
    y = np.tile(["cat", "face", "house"], 16)
    X = rng.normal(2, 1, size=(48, 9, 10, 3)).astype(np.float32)
    X[y == "face", :4, :4] += 0.6
    X[y == "house", 5:, 5:] += 0.6
    return X, y


@pytest.fixture(scope="module")
def fitted(slabs):
    return MultiscaleRidgeClassifier().fit(*slabs, groups=GROUPS)


@pytest.fixture(scope="module")
def samples():
    """Four groups of 10 volumes of 9 x 10 x 11; a blob distinguishes two labels, not too well."""
    rng = np.random.default_rng(0)
    y = np.tile(["closed", "open"], 20)
    volumes = rng.normal(5, 1, size=(40, 9, 10, 11)).astype(np.float32)
    volumes[y == "open", 3:6, 3:7, 2:9] += 0.4
    affine = np.diag([3.0, 3, 3, 1])
    affine[:3, 3] = [-12, -13, -15]
    return NiftiSamples.from_array(volumes, affine, y=y, groups=np.repeat(range(4), 10))


FLATTEN = FunctionTransformer(flatten_samples)


def make_steps():
    ridge = MultiscaleRidgeClassifier()
    slab = NiftiSlabRotator(0.1, slab=(2, 5))
    return [("slab", slab), ("zscore", VoxelZScorer()), ("ridge", ridge)]


@pytest.fixture(scope="module")
def pipeline(samples):
    return Pipeline(make_steps()).fit(samples, samples.y, ridge__groups=samples.groups)


def assert_same_fit(a, b):
    for name in ("coef_", "intercept_", "alpha_", "mixture_"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), atol=1e-9, err_msg=name)


class TestDecisions:
    @pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
    def test_decision_values_are_weighted_voxels(self, slabs, dtype):
        X, y = slabs
        X = (10 * X).astype(dtype)
        ridge = MultiscaleRidgeClassifier().fit(X, y, groups=GROUPS)
        expected = X.reshape(48, -1) @ ridge.coef_.T + ridge.intercept_
        np.testing.assert_allclose(ridge.decision_function(X), expected, rtol=1e-9, atol=1e-9)
        np.testing.assert_array_equal(ridge.predict(X), ridge.classes_[expected.argmax(axis=1)])
        np.testing.assert_allclose(ridge.predict_proba(X), softmax(expected, axis=1), atol=1e-12)

    def test_two_classes_have_the_shapes_of_scikit_learn(self, slabs):
        X, y = slabs
        pair = y != "house"
        X, y = X[pair], y[pair]
        ridge = MultiscaleRidgeClassifier().fit(X, y, groups=GROUPS[pair])
        reference = LogisticRegression().fit(X.reshape(len(X), -1), y)
        for name in ("coef_", "intercept_", "classes_"):
            assert getattr(ridge, name).shape == getattr(reference, name).shape
        scores = X.reshape(len(X), -1) @ ridge.coef_[0] + ridge.intercept_[0]
        np.testing.assert_allclose(ridge.decision_function(X), scores, atol=1e-9)
        np.testing.assert_array_equal(ridge.predict(X), np.where(scores > 0, "face", "cat"))
        expected = np.column_stack([expit(-scores), expit(scores)])
        np.testing.assert_allclose(ridge.predict_proba(X), expected, atol=1e-12)

    def test_the_order_of_two_classes_turns_the_sign_only(self, slabs):
        X, y = slabs
        pair = y != "house"
        by_name = MultiscaleRidgeClassifier().fit(X[pair], y[pair], groups=GROUPS[pair])
        reverse = np.where(y[pair] == "face", "a", "b")
        other = MultiscaleRidgeClassifier().fit(X[pair], reverse, groups=GROUPS[pair])
        np.testing.assert_allclose(other.coef_, -by_name.coef_, atol=1e-9)
        np.testing.assert_allclose(other.intercept_, -by_name.intercept_, atol=1e-9)

    @pytest.mark.parametrize("n_classes", [2, 3])
    def test_a_table_gets_a_plain_ridge(self, slabs, n_classes):
        X, y = slabs
        rows = X.reshape(48, -1)[:, :20].astype(float)
        y = np.where(y == "house", "cat", y) if n_classes == 2 else y
        ridge = MultiscaleRidgeClassifier().fit(rows, y, groups=GROUPS)
        assert ridge.scales_.tolist() == [0]
        assert ridge.mixture_.tolist() == [1]
        assert ridge.sample_shape_ == (20,)
        centred = rows - rows.mean(axis=0)
        norm = (centred**2).sum(axis=1).mean()
        reference = RidgeClassifier(alpha=ridge.alpha_[0] * norm).fit(rows, y)
        # Targets of scikit-learn are -1 and 1, not 0 and 1. The difference of two classes is too.
        expected = (
            np.atleast_2d(reference.coef_) / ridge.temperature_ / (1 if n_classes == 2 else 2)
        )
        np.testing.assert_allclose(ridge.coef_, expected, atol=1e-8)
        if n_classes == 3:  # which are equally frequent
            np.testing.assert_array_equal(ridge.predict(rows), reference.predict(rows))

    def test_single_precision_gives_nearly_the_weights_of_double(self, slabs, fitted):
        X, y = slabs
        double = MultiscaleRidgeClassifier().fit(X.astype(float), y, groups=GROUPS)
        assert fitted.coef_.dtype == double.coef_.dtype == np.float64
        np.testing.assert_allclose(fitted.coef_, double.coef_, atol=1e-4)

    def test_smoothed_signal_is_found_by_smoothed_scales(self, fitted, slabs):
        X, y = slabs
        assert fitted.mixture_[1:].sum() > 0.5
        new = np.random.default_rng(1).normal(2, 1, size=(300, 9, 10, 3))
        truth = np.tile(fitted.classes_, 100)
        new[truth == "face", :4, :4] += 0.6
        new[truth == "house", 5:, 5:] += 0.6
        plain = MultiscaleRidgeClassifier(scales=[0]).fit(X, y, groups=GROUPS)
        assert fitted.score(new, truth) > plain.score(new, truth) + 0.03

    def test_another_grid_is_refused_with_both_shapes(self, fitted, slabs):
        with pytest.raises(ValueError, match=r"\(9, 10, 2\), but MultiscaleRidgeC.*\(9, 10, 3\)"):
            fitted.predict(slabs[0][..., :2])
        with pytest.raises(ValueError, match=r"\(270,\), but Multisc"):
            fitted.predict(np.zeros((2, 270)))


class TestGroups:
    def test_they_change_what_is_chosen(self, fitted, slabs):
        alone = MultiscaleRidgeClassifier().fit(*slabs, groups=np.arange(48))
        assert abs(alone.coef_ - fitted.coef_).max() > 1e-3

    def test_without_them_each_sample_is_one_with_a_warning(self, slabs):
        with pytest.warns(
            UserWarning, match=r"got no groups.* one of 48 samples.*Pass groups to fit"
        ):
            ridge = MultiscaleRidgeClassifier().fit(*slabs)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            alone = MultiscaleRidgeClassifier().fit(*slabs, groups=np.arange(48))
        assert_same_fit(ridge, alone)

    def test_samples_carry_theirs_along(self, samples):
        X = np.asarray(samples)
        expected = MultiscaleRidgeClassifier().fit(X, samples.y, groups=samples.groups)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert_same_fit(MultiscaleRidgeClassifier().fit(samples, samples.y), expected)

    def test_a_pipeline_hands_them_on_by_name_or_by_routing(self, samples):
        slabs = Pipeline(make_steps()[:-1]).fit_transform(samples)
        expected = MultiscaleRidgeClassifier().fit(slabs, samples.y, groups=samples.groups)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for pipeline in (Pipeline(make_steps()), DecodingPipeline(make_steps())):
                named = clone(pipeline).fit(samples, samples.y, ridge__groups=samples.groups)
                assert_same_fit(named[-1], expected)
                with config_context(enable_metadata_routing=True):
                    routed = clone(pipeline).fit(samples, samples.y, groups=samples.groups)
                assert_same_fit(routed[-1], expected)

    @pytest.mark.parametrize("routing", [False, True])
    def test_a_decoding_pipeline_hands_on_its_own(self, samples, routing):
        slabs = Pipeline(make_steps()[:-1]).fit_transform(samples)
        expected = MultiscaleRidgeClassifier().fit(slabs, samples.y, groups=samples.groups)
        unlabelled = NiftiSamples.from_array(np.asarray(samples), samples.affine)
        with warnings.catch_warnings(), config_context(enable_metadata_routing=routing):
            warnings.simplefilter("error")
            carried = DecodingPipeline(make_steps()).fit(samples, samples.y)
            given = DecodingPipeline(make_steps())
            given.fit(unlabelled, samples.y, groups=samples.groups)
        assert_same_fit(carried[-1], expected)
        assert_same_fit(given[-1], expected)

    def test_a_step_that_takes_no_groups_gets_none(self, samples):
        steps = [*make_steps()[:-1], ("flatten", FLATTEN), ("linear", LogisticRegression())]
        fitted = DecodingPipeline(steps).fit(samples, samples.y, groups=samples.groups)
        assert fitted.score(samples, samples.y) > 0.9
        with pytest.raises(TypeError, match="groups"):
            fitted.fit(samples, samples.y, linear__groups=samples.groups)

    def test_the_request_can_be_withdrawn(self, slabs):
        with config_context(enable_metadata_routing=True):
            ridge = MultiscaleRidgeClassifier().set_fit_request(groups=False)
            pipeline = Pipeline([("ridge", ridge)])
            with pytest.raises(TypeError, match="groups"):
                pipeline.fit(*slabs, groups=GROUPS)

    @pytest.mark.parametrize("groups", [np.zeros(48), "classes"], ids=["one", "one per class"])
    def test_if_none_can_be_left_out_samples_are_with_a_warning(self, slabs, groups):
        X, y = slabs
        groups = y if isinstance(groups, str) else groups
        with pytest.warns(UserWarning, match=r"No class occurs in more than one of [13] groups"):
            ridge = MultiscaleRidgeClassifier().fit(X, y, groups=groups)
        assert_same_fit(ridge, MultiscaleRidgeClassifier().fit(X, y, groups=np.arange(48)))

    def test_classes_of_one_group_do_not_take_part_in_the_choice(self, slabs):
        X, y = slabs
        kept = (y != "house") | (GROUPS == "a")
        with pytest.warns(UserWarning, match="4 of 36 samples are of classes that occur in one gr"):
            ridge = MultiscaleRidgeClassifier().fit(X[kept], y[kept], groups=GROUPS[kept])
        # But the model knows them.
        assert (ridge.predict(X[kept]) == "house").sum() == 4

    def test_two_groups_are_enough(self, slabs):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ridge = MultiscaleRidgeClassifier().fit(*slabs, groups=np.isin(GROUPS, ["a", "b"]))
        assert ridge.score(*slabs) > 0.9

    def test_missing_groups_are_refused(self, slabs):
        with pytest.raises(ValueError, match="Found 47 group labels for 48 volumes"):
            MultiscaleRidgeClassifier().fit(*slabs, groups=GROUPS[1:])
        with pytest.raises(ValueError, match="1 missing group label"):
            MultiscaleRidgeClassifier().fit(*slabs, groups=[None, *GROUPS[1:]])

    def test_one_sample_per_class_is_refused(self, slabs):
        with pytest.raises(ValueError, match="Each of 3 classes has one sample only"):
            MultiscaleRidgeClassifier().fit(slabs[0][:3], slabs[1][:3], groups=[1, 2, 3])


class TestInputs:
    @pytest.mark.parametrize(
        ("parameters", "error", "message"),
        [
            (
                {"scales": (0, -1)},
                ValueError,
                "Each of scales must be a number of at least 0.*but is -1",
            ),
            ({"scales": ()}, ValueError, "scales is empty"),
            ({"scales": "fine"}, TypeError, "Each of scales must be a number"),
            ({"scales": (np.inf,)}, ValueError, "Each of scales must be a number.*inf"),
            ({"alphas": (0, 1)}, ValueError, "Each of alphas must be a number above 0.*but is 0"),
            ({"alphas": (np.nan,)}, ValueError, "Each of alphas must be a number above 0"),
            ({"alphas": [None]}, TypeError, "Each of alphas must be a number"),
        ],
    )
    def test_parameters_are_checked(self, slabs, parameters, error, message):
        with pytest.raises(error, match=message):
            MultiscaleRidgeClassifier(**parameters).fit(*slabs, groups=GROUPS)

    def test_one_class_is_refused(self, slabs):
        with pytest.raises(ValueError, match="y holds 1 class, 'cat', but"):
            MultiscaleRidgeClassifier().fit(slabs[0][:4], ["cat"] * 4, groups=[1, 1, 2, 2])

    def test_values_that_are_not_finite_are_refused(self, slabs):
        X = slabs[0].copy()
        X[3, 2, 1, 0] = np.nan
        with pytest.raises(ValueError, match="contains NaN"):
            MultiscaleRidgeClassifier().fit(X, slabs[1], groups=GROUPS)

    def test_samples_without_differences_give_the_frequencies_of_classes(self):
        X, y = np.full((8, 3, 4, 5), 0.1), [0, 1, 1, 1] * 2
        ridge = MultiscaleRidgeClassifier().fit(X, y, groups=[1] * 4 + [2] * 4)
        assert not ridge.coef_.any()
        assert not ridge.patterns_.any()
        assert ridge.predict(X).tolist() == [1] * 8
        np.testing.assert_allclose(ridge.predict_proba(X)[:, 1], 6 / 8)

    def test_a_mapped_file_is_read_in_parts(self, slabs, fitted, tmp_path):
        np.save(tmp_path / "X.npy", slabs[0])
        X = np.load(tmp_path / "X.npy", mmap_mode="r")
        assert_same_fit(MultiscaleRidgeClassifier().fit(X, slabs[1], groups=GROUPS), fitted)

    def test_the_order_of_samples_does_not_matter(self, slabs, fitted):
        order = np.random.default_rng(0).permutation(48)
        X, y = slabs[0][order], slabs[1][order]
        other = MultiscaleRidgeClassifier().fit(X, y, groups=GROUPS[order])
        np.testing.assert_allclose(other.coef_, fitted.coef_, atol=1e-4)


class TestMaps:
    @pytest.mark.parametrize("attribute", ["coef_", "patterns_"])
    def test_weights_become_images_through_the_rotator(self, pipeline, attribute):
        rotator, ridge = pipeline[0], pipeline[-1]
        assert ridge.sample_shape_ == rotator.slab_shape_
        maps = getattr(ridge, attribute).reshape(-1, *rotator.slab_shape_)
        of_slab = rotator.to_nifti(maps)
        np.testing.assert_allclose(np.moveaxis(of_slab.get_fdata(), -1, 0), maps, rtol=1e-6)
        native = np.asarray(rotator.inverse_transform(maps).dataobj)[..., 0]
        assert native.shape == rotator.grid_shape_
        # The blob, far above what is around it.
        inside = np.nanmean(native[3:6, 3:7, 2:9])
        assert inside > 5 * abs(np.nanmean(native[:3]))

    def test_patterns_are_the_covariance_with_the_decision(self, pipeline, samples):
        slabs = pipeline[:-1].transform(samples)
        rows, scores = slabs.reshape(40, -1).astype(float), pipeline[-1].decision_function(slabs)
        covariance = [np.cov(voxel, scores)[0, 1] for voxel in rows.T]
        expected = np.array(covariance) / np.var(scores, ddof=1)
        np.testing.assert_allclose(pipeline[-1].patterns_, expected[None], atol=1e-8)


class TestBaseline:
    @pytest.mark.filterwarnings("error:MultiscaleRidgeClassifier got no groups")
    def test_a_decoder_is_compared_with_both_linear_models(self, samples):
        decoder = DecodingPipeline(make_steps()).set_params(ridge__scales=(0,))
        result = evaluate_decoder(
            decoder,
            samples,
            cv=GroupKFold(2),
            baseline=("linear", "multiscale"),
            n_bootstraps=100,
            random_state=0,
        )
        assert set(result.folds["model"]) == {"decoder", "linear", "multiscale", "dummy"}
        assert {"linear", "multiscale"} <= set(result.comparisons["baseline"])

    def test_only_the_classifier_differs(self):
        steps = make_steps()
        decoder = Pipeline([*steps[:-1], ("cnn", LogisticRegression())], memory="cache")
        search = GridSearchCV(decoder, {"cnn__C": [1, 2]})
        for estimator in (decoder, search):
            (name, baseline), *others = baselines_by_name(["multiscale"], estimator).items()
            assert (name, others) == ("multiscale", [])
            assert list(baseline.named_steps) == ["slab", "zscore", "ridge"]
            assert baseline[0] is not decoder[0]
            assert baseline[0].get_params() == decoder[0].get_params()
            assert (baseline.memory, baseline.validation) == ("cache", None)
            assert baseline[-1].get_params() == MultiscaleRidgeClassifier().get_params()

    def test_without_a_pipeline_samples_are_standardised_on_their_grid(self, slabs):
        (baseline,) = baselines_by_name("multiscale", LogisticRegression()).values()
        baseline.fit(1000 * slabs[0], slabs[1], ridge__groups=GROUPS)
        Z = (slabs[0] - slabs[0].mean(axis=0)) / slabs[0].std(axis=0)
        expected = MultiscaleRidgeClassifier().fit(Z, slabs[1], groups=GROUPS)
        np.testing.assert_allclose(baseline[-1].coef_, expected.coef_, atol=1e-4)

    @pytest.mark.parametrize("baseline", ["svm", ("linear", "svm"), [LogisticRegression()]])
    def test_other_names_are_refused_with_those_that_exist(self, baseline):
        with pytest.raises(ValueError, match=r"Unknown baseline .* Pass 'linear', 'multisca"):
            baselines_by_name(baseline, LogisticRegression())


class TestElsewhere:
    def test_a_saved_model_predicts_the_same(self, samples, slabs, fitted, tmp_path):
        save(fitted, tmp_path / "alone.skfmri")
        loaded = load(tmp_path / "alone.skfmri")
        np.testing.assert_array_equal(
            loaded.predict_proba(slabs[0]), fitted.predict_proba(slabs[0])
        )
        assert loaded.get_params() == fitted.get_params()
        pipeline = DecodingPipeline(make_steps())
        pipeline.fit(samples, samples.y, ridge__groups=samples.groups)
        save(pipeline, tmp_path / "pipeline.skfmri")
        loaded = load(tmp_path / "pipeline.skfmri")
        np.testing.assert_array_equal(
            loaded.predict_proba(samples), pipeline.predict_proba(samples)
        )

    def test_searches_and_cross_validation_take_it(self, samples):
        params = {"ridge__groups": samples.groups}
        scores = cross_val_score(
            Pipeline(make_steps()),
            *(samples, samples.y),
            groups=samples.groups,
            cv=GroupKFold(2),
            params=params,
        )
        assert scores.mean() > 0.6
        search = GridSearchCV(
            Pipeline(make_steps()), {"ridge__scales": [(0,), (0, 1)]}, cv=GroupKFold(2)
        )
        search.fit(samples, samples.y, groups=samples.groups, **params)
        assert len(search.cv_results_["params"]) == 2

    def test_permutations_are_scored_as_by_fits(self, slabs):
        X, y = slabs
        rng = np.random.default_rng(0)
        train, test = GROUPS != "d", GROUPS == "d"
        labels = np.unique(y, return_inverse=True)[1][train]
        labelings = np.array([labels, rng.permutation(labels), rng.permutation(labels)])
        ridge = MultiscaleRidgeClassifier()
        scores = scores_of_labelings(
            *(X[train], X[test], labelings, GROUPS[train]),
            *(ridge.scales, ridge.alphas, len(np.unique(labels))),
        )
        for labels, expected in zip(labelings, scores, strict=True):
            ridge.fit(X[train], labels, groups=GROUPS[train])
            np.testing.assert_allclose(ridge.decision_function(X[test]), expected, atol=1e-4)

    @pytest.mark.real_data
    def test_it_beats_logistic_regression_on_eight_categories(self, real_data):
        import pandas as pd

        folder = real_data / "haxby_subject1"
        table = pd.read_csv(folder / "bold_vt_labels.csv")
        samples = clean_runs(
            NiftiSamples(folder / "bold_vt.nii.gz", y=table["label"], groups=table["run"])
        )
        X, y, groups = np.asarray(samples), np.asarray(samples.y), samples.groups
        hits = []
        for train, test in list(GroupKFold(3).split(X, y, groups))[:2]:
            scorer = VoxelZScorer().fit(X[train])
            Z, new = scorer.transform(X[train]), scorer.transform(X[test])
            ridge = MultiscaleRidgeClassifier().fit(Z, y[train], groups=groups[train])
            linear = LogisticRegression(max_iter=1000).fit(Z.reshape(len(Z), -1), y[train])
            found = [ridge.score(new, y[test]), linear.score(new.reshape(len(new), -1), y[test])]
            hits.append(found)
        ridge, linear = np.mean(hits, axis=0)
        assert ridge > linear + 0.03


def test_a_strong_penalty_does_not_leave_all_samples_to_the_larger_class():
    rng = np.random.default_rng(0)
    y = np.tile(["a"] * 6 + ["b"] * 4, 8)
    X = rng.normal(size=(80, 30))
    X[y == "b", :10] += 1.5
    groups = np.repeat(np.arange(8), 10)
    for alpha in (1.0, 1000.0):
        ridge = MultiscaleRidgeClassifier(scales=(0,), alphas=(alpha,))
        ridge.fit(X[:40], y[:40], groups=groups[:40])
        assert ridge.score(X[40:], y[40:]) > 0.9, alpha
    np.testing.assert_allclose(ridge.predict_proba(X[:40].mean(axis=0)[None]), [[0.6, 0.4]])
