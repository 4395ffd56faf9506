"""The warning for splits that cut through groups: given when it is due, and only then."""

import copy
import gc
import pickle
import warnings

import joblib
import nibabel
import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    cross_val_score,
    learning_curve,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

import skfmri
from skfmri import RepeatedGroupKFold, SlabCNNClassifier, audit_leakage, evaluate_decoder
from skfmri.inspection import saliency
from skfmri.pipeline import DecodingPipeline
from skfmri.preprocessing import NiftiSlabRotator, VoxelZScorer, clean_runs
from skfmri.samples import NiftiSamples

AFFINE = np.diag([3.0, 3, 3, 1])
GROUPS = np.repeat(["ann", "ben", "eve", "joe"], 6)
CUT = r"(\d+) of \d+ volumes were not fitted on, but others of their groups were"
NO_GROUPS = r"carry no groups, so .* and \d+ of \d+ volumes were not fitted on"


def flatten(X):
    return X.reshape(len(X), -1)


def make_samples(groups=GROUPS):
    """Return 24 volumes of noise; new ones for each test, since the warning is given once."""
    volumes = np.random.default_rng(0).normal(5, 1, (24, 6, 7, 8)).astype(np.float32)
    y = np.tile(["closed", "open"], 12)
    return NiftiSamples.from_array(volumes, AFFINE, y=y, groups=groups)


@pytest.fixture
def samples():
    return make_samples()


@pytest.fixture
def pipe():
    return make_pipeline(
        NiftiSlabRotator(0.1, slab=(2, 5)), FunctionTransformer(flatten), GaussianNB()
    )


@pytest.fixture
def without_slab():
    return make_pipeline(VoxelZScorer(), FunctionTransformer(flatten), GaussianNB())


@pytest.fixture
def silence():
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield


def messages_of(caught):
    return [str(warning.message) for warning in caught if "not fitted on" in str(warning.message)]


class TestGiven:
    @pytest.mark.parametrize("cv", [5, KFold(5), KFold(3, shuffle=True, random_state=0)])
    def test_once_if_cross_validation_cuts_through_groups(self, samples, pipe, cv):
        with pytest.warns(UserWarning, match=CUT) as caught:
            cross_val_score(pipe, samples, samples.y, cv=cv, error_score="raise")
        (message,) = messages_of(caught)
        for words in (
            "an integer cv does",
            "cv=GroupKFold(5) with groups=samples.groups",
            'params={"groups": samples.groups}',
        ):
            assert words in message
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            pipe.fit(samples[::2], samples.y[::2]).predict_proba(samples)

    def test_by_a_search_without_cv(self, samples, pipe):
        search = GridSearchCV(pipe, {"gaussiannb__priors": [None]})
        with pytest.warns(UserWarning, match=CUT):
            search.fit(samples, samples.y)

    def test_with_the_share_and_a_group_that_was_cut(self, samples, pipe):
        pipe.fit(samples[:9], samples.y[:9])
        with pytest.warns(UserWarning, match="3 of 15 volumes .* such as of group 'ben'"):
            pipe.predict(samples[9:])

    def test_once_by_a_z_scorer_that_comes_first(self, samples, without_slab):
        with pytest.warns(UserWarning, match=CUT) as caught:
            cross_val_score(without_slab, samples, samples.y, cv=5, error_score="raise")
        assert len(messages_of(caught)) == 1

    def test_by_a_z_scorer_with_the_line_that_transforms(self, samples):
        scorer = VoxelZScorer().fit(samples[:9])
        with pytest.warns(UserWarning, match="3 of 15 volumes .* such as of group 'ben'") as caught:
            scorer.transform(samples[9:])
        assert caught[0].filename == __file__

    def test_for_maps_in_a_file_each(self, samples, pipe):
        listed = NiftiSamples(list(samples), y=samples.y, groups=GROUPS)
        with pytest.warns(UserWarning, match=CUT):
            cross_val_score(pipe, listed, listed.y, cv=5)

    def test_for_runs_that_serve_as_groups(self, pipe):
        volumes = np.asarray(make_samples())
        y = np.tile(["closed", "open"], 12)
        samples = NiftiSamples.from_array(volumes, AFFINE, y=y, runs=np.repeat([0, 1], 12))
        with pytest.warns(UserWarning, match=CUT):
            cross_val_score(pipe, samples, y, cv=KFold(3))

    def test_for_groups_that_were_assigned_later(self, pipe):
        samples = make_samples(None)
        samples.groups = GROUPS
        with pytest.warns(UserWarning, match=CUT):
            cross_val_score(pipe, samples, samples.y, cv=KFold(3))

    def test_in_other_words_if_nobody_named_groups(self, pipe):
        samples = make_samples(None)
        with pytest.warns(UserWarning, match=NO_GROUPS) as caught:
            cross_val_score(pipe, samples, samples.y, cv=3)
        (message,) = messages_of(caught)
        assert "NiftiSamples(images, groups=...)" in message
        cleaned = clean_runs(make_samples(None), detrend=False)
        with pytest.warns(UserWarning, match=NO_GROUPS):
            pipe.fit(cleaned[:12], samples.y[:12]).predict(cleaned[12:])

    def test_in_other_words_for_images_of_unknown_runs(self, samples, pipe):
        volumes = np.moveaxis(np.asarray(samples), 0, -1)
        images = [nibabel.Nifti1Image(half, AFFINE) for half in np.split(volumes, 2, axis=-1)]
        both = NiftiSamples(images, y=samples.y)
        with pytest.warns(UserWarning, match=NO_GROUPS):
            cross_val_score(pipe, both, both.y, cv=KFold(4))


@pytest.mark.usefixtures("silence")
class TestSilent:
    @pytest.mark.parametrize("routing", [False, True])
    def test_for_the_ways_out_that_it_names(self, samples, pipe, routing):
        y, groups = samples.y, samples.groups
        with config_context(enable_metadata_routing=routing):
            options = {"params": {"groups": groups}} if routing else {"groups": groups}
            options["error_score"] = "raise"
            cross_val_score(pipe, samples, y, cv=GroupKFold(4), **options)
            cross_val_score(
                pipe, samples, y, cv=RepeatedGroupKFold(4, n_repeats=1), error_score="raise"
            )
            search = GridSearchCV(pipe, {"gaussiannb__priors": [None]}, cv=GroupKFold(2))
            search.fit(samples, y, groups=groups).predict(samples)

    def test_for_whole_groups_and_training_samples_of_a_z_scorer(self, samples, without_slab):
        options = {"groups": samples.groups, "cv": GroupKFold(4), "error_score": "raise"}
        cross_val_score(without_slab, samples, samples.y, **options)
        without_slab.fit(samples[:9], samples.y[:9]).predict(samples[:9])
        without_slab.predict(make_samples())

    def test_for_a_z_scorer_that_was_fitted_on_arrays_since(self, samples):
        scorer = VoxelZScorer().fit(samples[:9])
        scorer.fit(np.asarray(samples[:9])).transform(samples[9:])

    def test_for_training_samples_whole_or_in_part(self, samples, pipe):
        pipe.fit(samples[:12], samples.y[:12])
        pipe.score(samples[:12], samples.y[:12])
        pipe.predict(samples[3:9])
        pipe.predict(samples[[5]])

    def test_for_learning_curves(self, samples, pipe):
        learning_curve(
            pipe,
            samples,
            samples.y,
            groups=samples.groups,
            cv=GroupKFold(4),
            train_sizes=[4, 8, 18],
            error_score="raise",
            shuffle=True,
            random_state=0,
        )

    def test_for_other_samples_whose_groups_have_the_same_names(self, samples, pipe):
        pipe.fit(samples[:9], samples.y[:9])
        pipe.predict(make_samples())

    def test_for_saliency_of_training_samples_and_of_whole_groups(self, samples, tiny):
        pipe = make_pipeline(
            NiftiSlabRotator(0.1, slab=(2, 5)), SlabCNNClassifier(random_state=0, **tiny)
        )
        pipe.fit(samples[:12], samples.y[:12])
        saliency(pipe, samples[:12], method="gradient")
        saliency(pipe, samples[12:], method="gradient")

    @pytest.mark.parametrize(
        "step", [NiftiSlabRotator(0.1, slab=(2, 5)), VoxelZScorer()], ids=["rotator", "scorer"]
    )
    def test_after_pickling_copying_and_loading(self, samples, step, tmp_path):
        step.fit(samples[:9])
        skfmri.save(step, tmp_path / "step.skfmri")
        for other in (
            pickle.loads(pickle.dumps(step)),
            copy.deepcopy(step),
            skfmri.load(tmp_path / "step.skfmri"),
        ):
            assert other.transform(samples).shape[0] == 24
        # What is remembered has no part in hashes, by which ledgers and caches go.
        expected = joblib.hash(step)
        again = clone(step).fit(make_samples()[:9])
        assert joblib.hash(again) == expected

    def test_for_the_evaluation_and_the_audit_of_groups_that_samples_do_not_carry(self, pipe):
        plain = make_samples(None)
        options = {"groups": GROUPS, "cv": GroupKFold(4)}
        evaluate_decoder(pipe, plain, **options, baseline=None, permutation=None, random_state=0)
        assert audit_leakage(pipe, plain, **options, checks=["groups", "transformers"]).ok
        assert set(plain.groups) == {0}

    def test_for_the_validation_of_a_pipeline(self, samples, tiny):
        steps = [
            ("slab", NiftiSlabRotator(0.1, slab=(2, 5))),
            ("cnn", SlabCNNClassifier(random_state=0, **tiny)),
        ]
        validation = GroupShuffleSplit(1, test_size=1, random_state=0)
        pipe = DecodingPipeline(steps, validation=validation)
        pipe.fit(samples, samples.y).predict(samples)
        plain = make_samples(None)
        pipe.fit(plain, plain.y, groups=GROUPS)

    def test_what_is_remembered_holds_no_volumes(self, pipe):
        samples = make_samples()
        rotator = pipe[0].fit(samples[:9])
        fitted = rotator._fitted_on
        assert fitted.volumes == set(range(9))
        assert fitted.groups == {"ann", "ben"}
        assert fitted.origin() is not None
        del samples
        gc.collect()
        assert fitted.origin() is None


def test_a_plain_pipeline_of_one_step_is_judged_as_well(samples):
    pipe = Pipeline([("slab", NiftiSlabRotator(0.1, slab=(2, 5)))])
    pipe.fit(samples[::2])
    with pytest.warns(UserWarning, match="12 of 12 volumes"):
        pipe.transform(samples[1::2])
