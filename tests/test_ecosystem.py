"""Tools of scikit-learn around a decoder: their results are what a loop by hand gives."""

import nibabel
import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 (makes the next importable)
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    get_scorer,
    make_scorer,
    roc_auc_score,
    roc_curve,
)
from sklearn.model_selection import (
    GroupKFold,
    GroupShuffleSplit,
    HalvingRandomSearchCV,
    KFold,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skfmri import SlabCNNClassifier, VolumeCNNClassifier
from skfmri.pipeline import DecodingPipeline
from skfmri.preprocessing import NiftiSlabRotator, VoxelZScorer

GRID = (6, 7, 2)


@pytest.fixture(scope="module")
def data():
    """Slabs (48, 6, 7, 2) in four groups; two voxels of one slice distinguish two labels."""
    rng = np.random.default_rng(0)
    y = np.array(["closed", "open"])[np.arange(48) % 2]
    X = rng.normal(size=(48, *GRID)).astype(np.float32)
    X[y == "open", 2:4, 3, 1] += 3
    X[:, 0, 0, 0] = 1
    return X, y, np.repeat(range(4), 12)


@pytest.fixture
def decoder():
    return SlabCNNClassifier(
        filters=2,
        n_blocks=1,
        dense_units=(4,),
        dropout=0,
        batch_size=8,
        learning_rate=0.02,
        epochs=6,
        random_state=0,
    )


@pytest.fixture
def linear():
    return make_pipeline(FunctionTransformer(flatten), LogisticRegression())


def flatten(X):
    return X.reshape(len(X), -1)


def as_slabs(X):
    return X.reshape(-1, *GRID)


def fit_on(estimator, X, y, train, **params):
    return clone(estimator).fit(X[train], y[train], **params)


class TestSearch:
    def test_halving_gives_more_epochs_to_the_candidates_that_score_best(self, data, decoder):
        X, y, _ = data
        cv = StratifiedKFold(2)
        search = HalvingRandomSearchCV(
            decoder,
            {"learning_rate": [0.0001, 0.003, 0.02], "dense_units": [(4,)]},
            resource="epochs",
            min_resources=2,
            max_resources=6,
            factor=3,
            n_candidates=3,
            cv=cv,
            random_state=0,
        )
        found = search.fit(X, y).cv_results_
        assert found["n_resources"].tolist() == [2, 2, 2, 6]
        for params, score in zip(found["params"], found["mean_test_score"], strict=True):
            candidate = clone(decoder).set_params(**params)
            by_hand = [
                fit_on(candidate, X, y, train).score(X[test], y[test])
                for train, test in cv.split(X, y)
            ]
            assert score == pytest.approx(np.mean(by_hand))
        first = found["mean_test_score"][:3]
        best = int(np.argmax(first))
        assert (first == first[best]).sum() == 1
        assert found["params"][3]["learning_rate"] == found["params"][best]["learning_rate"]
        assert search.best_estimator_.n_epochs_ == 6
        again = clone(search).fit(X, y).cv_results_
        np.testing.assert_array_equal(again["mean_test_score"], found["mean_test_score"])


class TestEnsembles:
    def test_calibration_of_a_fitted_decoder_keeps_the_order_of_its_probabilities(
        self, data, decoder
    ):
        X, y, _ = data
        fitted = fit_on(decoder, X, y, slice(0, 24))
        calibrated = CalibratedClassifierCV(FrozenEstimator(fitted)).fit(X[24:36], y[24:36])
        raw = fitted.predict_proba(X[36:])[:, 1]
        calibrated_probabilities = calibrated.predict_proba(X[36:])
        np.testing.assert_allclose(calibrated_probabilities.sum(axis=1), 1)
        np.testing.assert_array_equal(np.argsort(calibrated_probabilities[:, 1]), np.argsort(raw))
        assert np.ptp(calibrated_probabilities[:, 1] - raw) > 0.01

    def test_calibration_in_folds_fits_the_decoder_on_each(self, data, decoder):
        X, y, _ = data
        cv = StratifiedKFold(2)
        calibrated = CalibratedClassifierCV(decoder, cv=cv).fit(X, y)
        pairs = zip(calibrated.calibrated_classifiers_, cv.split(X, y), strict=True)
        members = []
        for member, (train, _) in pairs:
            by_hand = fit_on(decoder, X, y, train).predict_proba(X)
            np.testing.assert_array_equal(member.estimator.predict_proba(X), by_hand)
            members.append(member.predict_proba(X))
        np.testing.assert_allclose(calibrated.predict_proba(X), np.mean(members, axis=0))

    def test_voting_averages_the_probabilities(self, data, decoder, linear):
        X, y, _ = data
        voting = VotingClassifier(
            [("cnn", decoder), ("linear", linear)], voting="soft", weights=[3, 1]
        ).fit(X, y)
        mean = (
            3 * clone(decoder).fit(X, y).predict_proba(X) + clone(linear).fit(X, y).predict_proba(X)
        ) / 4
        np.testing.assert_allclose(voting.predict_proba(X), mean, rtol=1e-6)
        assert voting.predict(X).tolist() == voting.classes_[mean.argmax(axis=1)].tolist()

    def test_stacking_learns_from_predictions_out_of_fold(self, data, decoder, linear):
        X, y, _ = data
        cv = KFold(2)
        steps = [("cnn", decoder), ("linear", linear)]
        stacking = StackingClassifier(steps, LogisticRegression(), cv=cv).fit(X, y)
        columns = [
            cross_val_predict(model, X, y, cv=cv, method="predict_proba")[:, 1]
            for _, model in steps
        ]
        on_top = LogisticRegression().fit(np.column_stack(columns), y)
        refitted = [clone(model).fit(X, y).predict_proba(X)[:, 1] for _, model in steps]
        np.testing.assert_allclose(
            stacking.predict_proba(X), on_top.predict_proba(np.column_stack(refitted)), rtol=1e-6
        )

    def test_one_versus_rest_fits_a_network_for_each_class(self, slabs, decoder):
        X, y = slabs
        many = OneVsRestClassifier(decoder).fit(X, y)
        by_hand = np.column_stack(
            [
                clone(decoder).fit(X, (y == name).astype(int)).predict_proba(X)[:, 1]
                for name in np.unique(y)
            ]
        )
        by_hand /= by_hand.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(many.predict_proba(X), by_hand, rtol=1e-6)
        assert many.predict(X).tolist() == np.unique(y)[by_hand.argmax(axis=1)].tolist()


class TestDisplays:
    @pytest.fixture(autouse=True)
    def pyplot(self):
        matplotlib = pytest.importorskip("matplotlib", reason="pictures need Matplotlib")
        matplotlib.use("Agg")
        from matplotlib import pyplot

        yield
        pyplot.close("all")

    def test_confusion_matrix_counts_the_predictions(self, slabs, fitted_slab_decoder):
        from sklearn.metrics import ConfusionMatrixDisplay

        X, y = slabs
        shown = ConfusionMatrixDisplay.from_estimator(fitted_slab_decoder, X, y)
        expected = confusion_matrix(y, fitted_slab_decoder.predict(X))
        np.testing.assert_array_equal(shown.confusion_matrix, expected)
        assert [text.get_text() for text in shown.ax_.get_xticklabels()] == ["cat", "face", "house"]

    def test_roc_curve_is_that_of_the_second_class(self, data, decoder):
        from sklearn.metrics import RocCurveDisplay

        X, y, _ = data
        decoder.fit(X[:24], y[:24])
        shown = RocCurveDisplay.from_estimator(decoder, X[24:], y[24:])
        probability = decoder.predict_proba(X[24:])[:, 1]
        assert shown.roc_auc == pytest.approx(roc_auc_score(y[24:], probability))
        false, true, _ = roc_curve(y[24:], probability, pos_label="open")
        np.testing.assert_allclose(shown.ax_.get_lines()[0].get_data(), (false, true))


class TestVoxels:
    def test_permutation_importance_finds_the_informative_voxels(self, data, decoder):
        X, y, _ = data
        columns = flatten(X)
        pipe = make_pipeline(FunctionTransformer(as_slabs), decoder.set_params(epochs=20))
        pipe.fit(columns, y)
        result = permutation_importance(pipe, columns, y, n_repeats=3, random_state=0)
        mean = result.importances_mean.reshape(GRID)
        # A voxel that is the same in all samples cannot matter.
        assert not result.importances.reshape(*GRID, 3)[0, 0, 0].any()
        highest = np.unravel_index(mean.argmax(), GRID)
        assert highest in [(2, 3, 1), (3, 3, 1)]
        assert mean[2:4, 3, 1].mean() > 5 * np.abs(mean[..., 0]).mean()
        again = permutation_importance(pipe, columns, y, n_repeats=3, random_state=0)
        np.testing.assert_array_equal(again.importances, result.importances)

    def test_a_pipeline_passes_tables_on_if_it_is_asked_to(self, data):
        pandas = pytest.importorskip("pandas")
        table = pandas.DataFrame(flatten(data[0])[:, :5]).add_prefix("voxel")
        pipe = make_pipeline(VoxelZScorer(), LogisticRegression()).set_output(transform="pandas")
        pipe.fit(table, data[1])
        scores = pipe[:-1].transform(table)
        assert scores.columns.tolist() == table.columns.tolist()
        assert scores.index.equals(table.index)
        np.testing.assert_array_equal(scores, VoxelZScorer().fit_transform(table.to_numpy()))
        assert pipe[-1].feature_names_in_.tolist() == table.columns.tolist()

    def test_slabs_are_no_table_and_say_so(self):
        with pytest.raises(
            ValueError, match=r"NiftiSlabRotator gives slabs .* a table cannot hold"
        ):
            make_pipeline(NiftiSlabRotator()).set_output(transform="pandas")


class TestColumns:
    @pytest.fixture
    def table(self, tmp_path):
        """Paths of 24 maps in shuffled order, with their index, an age, and the label."""
        pandas = pytest.importorskip("pandas")
        rng = np.random.default_rng(0)
        y = np.array(["closed", "open"])[np.arange(24) % 2]
        volumes = rng.normal(5, 1, (24, 6, 7, 8)).astype(np.float32)
        volumes[y == "open", 2:4, 3:5, 3:5] += 4
        order = rng.permutation(24)
        for number in order:
            image = nibabel.Nifti1Image(volumes[number], np.eye(4))
            nibabel.save(image, tmp_path / f"{number:02}.nii")
        return pandas.DataFrame(
            {
                "path": [str(tmp_path / f"{number:02}.nii") for number in order],
                "age": rng.normal(30, 5, 24),
                "label": y[order],
            },
            index=order + 100,
        )

    @pytest.fixture
    def slab(self):
        return make_pipeline(
            NiftiSlabRotator(0, slab=(2, 6), crop=False), FunctionTransformer(flatten)
        )

    @pytest.mark.parametrize("column", ["path", ["path"], [0]])
    def test_images_are_one_column_beside_others(self, table, slab, column):
        features = ColumnTransformer([("brain", slab, column), ("age", "passthrough", ["age"])])
        found = features.fit_transform(table)
        expected = slab.fit_transform(table["path"].tolist())
        np.testing.assert_array_equal(found[:, :-1], expected)
        np.testing.assert_array_equal(found[:, -1], table["age"].to_numpy())
        np.testing.assert_array_equal(features.transform(table[5:9]), found[5:9])

    @pytest.mark.parametrize("kind", ["frame", "array"])
    def test_cross_validation_of_a_table(self, table, slab, kind):
        X = table if kind == "frame" else table[["path", "age"]].to_numpy(dtype=object)
        columns = (["path"], ["age"]) if kind == "frame" else ([0], [1])
        features = ColumnTransformer(
            [("brain", slab, columns[0]), ("age", "passthrough", columns[1])]
        )
        pipe = make_pipeline(features, StandardScaler(), LogisticRegression())
        cv = KFold(3, shuffle=True, random_state=0)
        scores = cross_val_score(pipe, X, table["label"], cv=cv, error_score="raise")
        assert scores.mean() > 0.9

    @pytest.mark.parametrize("as_array", [False, True])
    def test_a_column_may_hold_images(self, table, as_array):
        images = table[["path"]].map(nibabel.load)
        column = images.to_numpy() if as_array else images
        rotator = NiftiSlabRotator(0, slab=(2, 6)).fit(column)
        expected = rotator.transform(table["path"])
        np.testing.assert_array_equal(rotator.transform(column), expected)

    def test_a_row_must_be_a_single_volume(self, table, tmp_path):
        runs = nibabel.Nifti1Image(np.ones((6, 7, 8, 5), np.float32), np.eye(4))
        nibabel.save(runs, tmp_path / "run.nii")
        column = table[["path"]].assign(path=str(tmp_path / "run.nii"))[:3]
        with pytest.raises(ValueError, match=r"The 3 rows of X name images of 15 volumes"):
            NiftiSlabRotator(slab=(2, 6)).fit(column)
        with pytest.raises(TypeError, match="Pass one column"):
            NiftiSlabRotator(slab=(2, 6)).fit(table)


class TestHtml:
    @pytest.fixture
    def pipeline(self, decoder):
        steps = [
            ("slab", NiftiSlabRotator(slab=(2, 5))),
            ("zscore", VoxelZScorer()),
            ("flat", FunctionTransformer(flatten)),
            ("cnn", decoder),
        ]
        return DecodingPipeline(steps)

    def test_the_diagram_shows_each_step_with_its_parameters(self, pipeline):
        html = pipeline._repr_html_()
        for name in ("DecodingPipeline", "NiftiSlabRotator", "VoxelZScorer", "SlabCNNClassifier"):
            assert name in html
        for parameter in ("slab_reference", "std_threshold", "batch_norm_momentum", "validation"):
            assert parameter in html

    def test_boxes_link_to_no_page_that_is_not_there(self, pipeline):
        for estimator in (pipeline, *pipeline.named_steps.values(), VolumeCNNClassifier()):
            is_ours = type(estimator).__module__.startswith("skfmri")
            assert bool(estimator._get_doc_link()) is not is_ours
        assert "sklearn.preprocessing.FunctionTransformer.html" in pipeline._repr_html_()


class TestMetadata:
    @pytest.mark.parametrize("routing", [False, True])
    def test_sample_weights_reach_the_fit_of_each_fold(self, data, decoder, routing):
        X, y, groups = data
        weight = np.where(y == "open", 5.0, 1.0)
        cv = GroupKFold(2)
        params = {"sample_weight": weight}
        with config_context(enable_metadata_routing=routing):
            scorer = get_scorer("neg_log_loss")
            if routing:
                scorer = scorer.set_score_request(sample_weight=False)
                options = {"params": params | {"groups": groups}}
            else:
                options = {"params": params, "groups": groups}
            scores = cross_val_score(decoder, X, y, cv=cv, scoring=scorer, **options)
        by_hand, unweighted = [], []
        for train, test in cv.split(X, y, groups):
            is_open = (y[test] == "open").astype(int)
            for found, options in (
                (by_hand, {"sample_weight": weight[train]}),
                (unweighted, {}),
            ):
                proba = fit_on(decoder, X, y, train, **options).predict_proba(X[test])
                found.append(np.log(proba[np.arange(len(test)), is_open]).mean())
        np.testing.assert_allclose(scores, by_hand, rtol=1e-5)
        assert not np.allclose(scores, unweighted, rtol=1e-3)

    def test_a_scorer_gets_the_weights_that_it_asks_for(self, data, decoder):
        X, y, groups = data
        weight = np.linspace(0, 1, len(y))
        with config_context(enable_metadata_routing=True):
            scorer = make_scorer(accuracy_score).set_score_request(sample_weight=True)
            found = cross_validate(
                decoder.set_fit_request(sample_weight=False),
                X,
                y,
                cv=GroupKFold(2),
                scoring=scorer,
                params={"sample_weight": weight, "groups": groups},
            )["test_score"]
        by_hand = [
            fit_on(decoder, X, y, train).score(X[test], y[test], sample_weight=weight[test])
            for train, test in GroupKFold(2).split(X, y, groups)
        ]
        np.testing.assert_allclose(found, by_hand)

    def test_groups_reach_the_validation_split_of_each_fold(self, data, decoder):
        X, y, groups = data
        pipe = DecodingPipeline(
            [("zscore", VoxelZScorer()), ("cnn", decoder.set_params(patience=2))],
            validation=GroupShuffleSplit(1, test_size=1, random_state=0),
        )
        cv = GroupKFold(2)
        with config_context(enable_metadata_routing=True):
            found = cross_validate(
                pipe, X, y, cv=cv, params={"groups": groups}, return_estimator=True
            )
        for fitted, score, (train, test) in zip(
            found["estimator"], found["test_score"], cv.split(X, y, groups), strict=True
        ):
            by_hand = fit_on(pipe, X, y, train, groups=groups[train])
            assert fitted.validation_groups_.tolist() == by_hand.validation_groups_.tolist()
            assert set(fitted.validation_groups_) < set(groups[train])
            assert score == by_hand.score(X[test], y[test])

    def test_a_meta_estimator_routes_weights_to_the_decoder_in_it(self, data, decoder):
        X, y, _ = data
        weight = np.where(y == "open", 5.0, 1.0)
        with config_context(enable_metadata_routing=True):
            pipe = Pipeline([("zscore", VoxelZScorer()), ("cnn", decoder)])
            many = OneVsRestClassifier(pipe).fit(X, y, sample_weight=weight)
            alone = clone(pipe).fit(X, (y == "open").astype(int), sample_weight=weight)
        np.testing.assert_array_equal(many.predict_proba(X)[:, 1], alone.predict_proba(X)[:, 1])
        plain = clone(pipe).fit(X, (y == "open").astype(int))
        assert not np.allclose(many.predict_proba(X)[:, 1], plain.predict_proba(X)[:, 1], atol=0.01)
