import warnings

import nibabel
import numpy as np
import pandas as pd
import pytest
from nilearn.glm.first_level import (
    FirstLevelModel,
    compute_regressor,
    make_first_level_design_matrix,
)

from skfmri import (
    NiftiSamples,
    NiftiSlabRotator,
    average_blocks,
    center_groups,
    clean_runs,
    estimate_conditions,
    estimate_trials,
)
from skfmri.samples.nifti import trace
from skfmri.temporal.cleaning import cleaning_matrix

GRID, AFFINE = (4, 5, 6), np.diag([2.0, 3.0, 4.0, 1.0])
T_R, START, LENGTHS = 1.5, 0.75, (90, 80)
RUNS = np.repeat(["second", "first"], LENGTHS)


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("SKFMRI_CACHE", str(tmp_path / "store"))


@pytest.fixture
def samples():
    drift = np.concatenate([np.linspace(0, 30, n) for n in LENGTHS])
    volumes = np.random.default_rng(0).normal(100, 5, (len(RUNS), *GRID))
    volumes += drift[:, np.newaxis, np.newaxis, np.newaxis]
    volumes[:, 0] = 0
    return NiftiSamples.from_array(
        volumes.astype(np.float32),
        AFFINE,
        runs=RUNS,
        groups=np.where(RUNS == "first", 1, 2),
        subjects=np.where(RUNS == "first", "s1", "s2"),
    )


@pytest.fixture
def events():
    rng = np.random.default_rng(1)
    tables = []
    for _ in LENGTHS:
        onsets = 3 + np.cumsum(rng.uniform(4, 9, 12))
        table = {"onset": onsets, "duration": rng.uniform(0, 3, 12), "trial_type": list("abcb" * 3)}
        tables.append(pd.DataFrame(table))
    return tables


def image_of(samples, run):
    data = np.moveaxis(np.asarray(samples)[run == RUNS], 0, -1).astype(np.float64)
    return nibabel.Nifti1Image(data, AFFINE)


def nilearn_betas(image, events, wanted, confounds=None):
    """Estimates of some trial types by nilearn's model of one run, as arrays."""
    mask = nibabel.Nifti1Image(np.ones(GRID, np.uint8), AFFINE)
    model = FirstLevelModel(
        t_r=T_R,
        slice_time_ref=START / T_R,
        hrf_model="glover",
        drift_model=None,
        noise_model="ols",
        signal_scaling=False,
        mask_img=mask,
        minimize_memory=False,
    )
    if confounds is not None:
        confounds = pd.DataFrame(confounds).add_prefix("c")
    with warnings.catch_warnings():
        # nilearn divides by the variance of voxels that never vary.
        warnings.simplefilter("ignore")
        model.fit(image, events[["onset", "duration", "trial_type"]], confounds=confounds)
        maps = [model.compute_contrast(name, output_type="effect_size") for name in wanted]
    return np.array([each.get_fdata() for each in maps])


def all_separate(events):
    return events.assign(trial_type=[f"t{i:02}" for i in range(len(events))])


def lss_betas(image, events, confounds=None):
    """A loop of models, one for each trial."""
    found = []
    for i in range(len(events)):
        one = events.assign(trial_type=np.where(np.arange(len(events)) == i, "trial", "other"))
        found.append(nilearn_betas(image, one, ["trial"], confounds)[0])
    return np.array(found)


def lsa_betas(image, events, confounds=None):
    separate = all_separate(events)
    return nilearn_betas(image, separate, separate["trial_type"], confounds)


BETAS = {"lss": lss_betas, "lsa": lsa_betas}


def assert_equal(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.ptp(expected))


@pytest.mark.parametrize("method", ["lss", "lsa"])
def test_estimates_equal_those_of_nilearn(samples, events, method):
    trials = estimate_trials(samples, events, method=method, t_r=T_R, start=START)
    found = np.asarray(trials)
    for run, table in zip(("second", "first"), events, strict=True):
        assert_equal(found[trials.runs == run], BETAS[method](image_of(samples, run), table))


@pytest.mark.parametrize("method", ["lss", "lsa"])
def test_drift_and_confounds_are_as_if_in_the_same_model(samples, events, method):
    confounds = np.random.default_rng(2).normal(size=(len(RUNS), 4))
    # Confounds that follow the trials are what makes cleaning first and fitting then go wrong.
    frames = START + T_R * np.arange(LENGTHS[0])
    trial = events[0][["onset", "duration"]].assign(one=1.0).to_numpy().T
    confounds[: LENGTHS[0], 0] += 3 * compute_regressor(trial, "glover", frames)[0][:, 0]
    cleaned = clean_runs(samples, standardize=False, confounds=confounds)
    found = np.asarray(
        estimate_trials(cleaned, events[:1] + events[1:], method=method, t_r=T_R, start=START)
    )
    nuisance = np.c_[confounds[: LENGTHS[0]], np.arange(LENGTHS[0])]
    assert_equal(found[:12], BETAS[method](image_of(samples, "second"), events[0], nuisance))


def test_without_detrending_the_constant_is_in_the_model(samples, events):
    confounds = np.random.default_rng(2).normal(3, 1, size=(len(RUNS), 2))
    options = {"detrend": False, "standardize": False, "confounds": confounds}
    found = np.asarray(
        estimate_trials(clean_runs(samples, **options), events, t_r=T_R, start=START)
    )
    nuisance = confounds[: LENGTHS[0]]
    assert_equal(found[:12], lss_betas(image_of(samples, "second"), events[0], nuisance))


def design_of(events, frames):
    """The regressor of each trial, by nilearn's design matrix."""
    separate = all_separate(events)[["onset", "duration", "trial_type"]]
    design = make_first_level_design_matrix(frames, separate, hrf_model="glover", drift_model=None)
    return design[sorted(separate["trial_type"])].to_numpy()


@pytest.mark.parametrize("method", ["lss", "lsa"])
@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("is_scrubbed", [False, True])
def test_a_filter_counts_in_the_regressors_too(samples, events, method, standardize, is_scrubbed):
    mask = np.delete(np.arange(90), [0, 1, 20, 21, 50]) if is_scrubbed else np.arange(90)
    confounds = np.random.default_rng(2).normal(size=(len(RUNS), 2))
    cleaned = clean_runs(
        samples,
        standardize=standardize,
        high_pass=0.01,
        t_r=T_R,
        confounds=confounds,
        sample_masks=[mask, None],
    )
    trials = estimate_trials(cleaned, events, method=method, start=START)
    matrix = cleaning_matrix(
        mask, confounds[:90], detrend=True, high_pass=0.01, t_r=T_R, center=standardize
    )
    design = matrix @ design_of(events[0], START + T_R * np.arange(90))[mask]
    data = np.asarray(cleaned, dtype=np.float64)[: len(mask)].reshape(len(mask), -1)
    expected = []
    for i in range(12):
        others = np.delete(design, i, axis=1)
        if method == "lss":
            others = others.sum(axis=1, keepdims=True)
        model = np.c_[design[:, i], others]
        expected.append(np.linalg.lstsq(model, data, rcond=None)[0][0])
    assert_equal(np.asarray(trials)[:12].reshape(12, -1), np.array(expected))


def test_a_filter_before_a_plain_model_would_give_something_else(samples, events):
    cleaned = clean_runs(samples, standardize=False, high_pass=0.02, t_r=T_R)
    found = np.asarray(estimate_trials(cleaned, events, start=START))[:12]
    plain = lss_betas(image_of(cleaned, "second"), events[0])
    assert np.abs(found - plain).max() > 0.05 * np.ptp(plain)


def test_no_label_enters_a_trial(samples, events):
    found = np.asarray(estimate_trials(samples, events, t_r=T_R))
    for table in events:
        table["trial_type"] = np.random.default_rng(3).permutation(table["trial_type"])
    np.testing.assert_array_equal(np.asarray(estimate_trials(samples, events, t_r=T_R)), found)


def test_conditions_equal_those_of_nilearn(samples, events):
    conditions = estimate_conditions(samples, events, t_r=T_R, start=START)
    assert conditions.y.tolist() == list("abc") * 2
    assert conditions.runs.tolist() == ["second"] * 3 + ["first"] * 3
    expected = nilearn_betas(image_of(samples, "first"), events[1], list("abc"))
    assert_equal(np.asarray(conditions)[3:], expected)


def test_trials_without_a_label_are_modelled_but_are_no_condition(samples, events):
    expected = nilearn_betas(image_of(samples, "second"), events[0], list("ac"))
    events[0]["trial_type"] = events[0]["trial_type"].replace("b", None)
    conditions = estimate_conditions(samples, events, t_r=T_R, start=START)
    assert conditions.y.tolist() == list("acabc")
    assert_equal(np.asarray(conditions)[:2], expected)
    trials = estimate_trials(samples, events, t_r=T_R, start=START)
    assert trials.y.tolist()[:4] == ["a", "", "c", ""]


def test_each_trial_has_its_label_and_those_of_its_run(samples, events):
    trials = estimate_trials(samples, events, t_r=T_R)
    assert trials.shape == (24, *GRID)
    assert trials.y.tolist() == list("abcb" * 6)
    assert trials.runs.tolist() == ["second"] * 12 + ["first"] * 12
    assert trials.groups.tolist() == [2] * 12 + [1] * 12
    assert trials.subjects.tolist() == ["s2"] * 12 + ["s1"] * 12
    del events[0]["trial_type"], events[1]["trial_type"]
    assert estimate_trials(samples, events, t_r=T_R).y is None


def test_labels_may_be_numbers(samples, events):
    events = [table.assign(trial_type=np.arange(12) % 2) for table in events]
    assert estimate_trials(samples, events, t_r=T_R).y.dtype.kind == "i"


@pytest.mark.parametrize("form", ["one table", "paths", "csv", "shuffled rows of volumes"])
def test_events_may_come_in_any_form(samples, events, tmp_path, form):
    expected = np.asarray(estimate_trials(samples, events, t_r=T_R))
    if form == "one table":
        given = pd.concat([events[1].assign(run="first"), events[0].assign(run="second")])
    elif form == "paths":
        for i, table in enumerate(events):
            table.to_csv(tmp_path / f"{i}_events.tsv", sep="\t", index=False)
        given = [str(tmp_path / "0_events.tsv"), tmp_path / "1_events.tsv"]
    elif form == "csv":
        given = tmp_path / "events.csv"
        pd.concat([events[0].assign(run="second"), events[1].assign(run="first")]).to_csv(given)
    else:
        samples, given = samples[np.r_[np.arange(90)[::-1], 90:170]], events
    np.testing.assert_allclose(
        np.asarray(estimate_trials(samples, given, t_r=T_R)), expected, atol=1e-4
    )


class TestTimeBetweenVolumes:
    def saved(self, samples, tmp_path, unit="msec", value=1500):
        paths = []
        for run in ("second", "first"):
            image = image_of(samples, run)
            image.header.set_xyzt_units("mm", unit)
            image.header.set_zooms((2, 3, 4, value))
            paths.append(tmp_path / f"{run}.nii.gz")
            nibabel.save(image, paths[-1])
        return paths

    @pytest.mark.parametrize("is_path", [True, False])
    @pytest.mark.parametrize("is_cleaned", [True, False])
    def test_is_that_of_the_header_which_is_recorded(
        self, samples, events, tmp_path, is_path, is_cleaned
    ):
        images = self.saved(samples, tmp_path)
        if not is_path:
            images = [nibabel.load(path) for path in images]
            images = [nibabel.Nifti1Image(i.get_fdata(), i.affine, i.header) for i in images]
        raw = NiftiSamples(images)
        trials = estimate_trials(clean_runs(raw) if is_cleaned else raw, events)
        name, settings = trace(trials)[2][-1]
        assert name == "estimate_trials"
        assert settings == {"method": "lss", "hrf_model": "glover", "t_r": [1.5], "start": [0.0]}

    def test_is_not_guessed_from_a_header_without_unit(self, samples, events, tmp_path):
        raw = NiftiSamples(self.saved(samples, tmp_path, "unknown", 1))
        with pytest.raises(ValueError, match=r"run 0 is unknown.*second.nii.gz does not .* t_r="):
            estimate_trials(raw, events)

    def test_is_unknown_if_the_unit_of_the_header_is_damaged(self, samples, events, tmp_path):
        paths = self.saved(samples, tmp_path)
        for path in paths:
            image = nibabel.load(path)
            image.header["xyzt_units"] = 2 + 56
            nibabel.save(nibabel.Nifti1Image(image.dataobj, None, image.header), path)
        with pytest.raises(ValueError, match="time between the volumes of run 0 is unknown"):
            estimate_trials(NiftiSamples(paths), events)

    def test_is_that_of_the_cleaning(self, samples, events):
        cleaned = clean_runs(samples, high_pass=0.01, t_r=[T_R, 2.0])
        trials = estimate_trials(cleaned, events, start=[0, 0.5])
        assert trace(trials)[2][-1][1]["t_r"] == [1.5, 2.0]
        assert trace(trials)[2][-1][1]["start"] == [0.0, 0.5]
        with pytest.raises(ValueError, match=r"t_r is 1.5 s, but run first was cleaned with t_r=2"):
            estimate_trials(cleaned, events, t_r=T_R)


class TestTrialsOutsideTheirRun:
    @pytest.mark.parametrize(
        ("onset", "duration"), [(-2.0, 1.0), (500.0, 1.0), (130.0, 5.0), (130.0, 0.5), (-40.0, 1.0)]
    )
    def test_are_named_and_left_out_but_stay_in_the_models(self, samples, events, onset, duration):
        extra = pd.DataFrame({"onset": [onset], "duration": [duration], "trial_type": ["late"]})
        events[0] = pd.concat([events[0], extra])
        with pytest.warns(UserWarning, match=f"1 of 25 trials .* run second: {onset:g} s .late"):
            trials = estimate_trials(samples, events, t_r=T_R)
        assert len(trials) == 24
        assert "late" not in trials.y
        if -24 < onset < 140:
            without = np.asarray(estimate_trials(samples, [events[0][:-1], events[1]], t_r=T_R))
            assert np.abs(np.asarray(trials) - without).max() > 1e-3

    def test_are_refused_if_there_are_no_others(self, samples, events):
        with pytest.raises(ValueError, match=r"24 of 24 trials begin before .* Check the onsets"):
            estimate_trials(samples, [table.assign(onset=1e4) for table in events], t_r=T_R)

    def test_a_response_in_volumes_left_out_was_not_seen(self, samples, events):
        events[0] = events[0].assign(onset=np.r_[20.0, 40 + 7 * np.arange(11)])
        masks = [np.delete(np.arange(90), np.arange(15, 21)), None]
        cleaned = clean_runs(samples, sample_masks=masks)
        with pytest.warns(UserWarning, match="1 of 24 trials .* run second: 20 s"):
            assert len(estimate_trials(cleaned, events, t_r=T_R)) == 23


class TestTrialsThatCannotBeToldApart:
    def test_are_named_if_they_occur_twice(self, samples, events):
        events[0].loc[5, ["onset", "duration"]] = events[0].loc[4, ["onset", "duration"]]
        onset = events[0].loc[4, "onset"]
        with pytest.raises(ValueError, match=rf"^2 of 24 trials .* run second: {onset:g} s .a"):
            estimate_trials(samples, events, method="lsa", t_r=T_R)

    def test_two_at_a_time_are_all_that_a_run_has(self, samples, events):
        events[0] = pd.DataFrame({"onset": [9.0, 9.0], "duration": 1.0})
        with pytest.raises(ValueError, match="2 of 14 trials cannot be told apart from others"):
            estimate_trials(samples, events, t_r=T_R)

    def test_more_trials_than_volumes(self, samples, events):
        many = pd.DataFrame({"onset": np.arange(95) * 1.2, "duration": 0.1})
        with pytest.raises(ValueError, match='choose method="lss"'):
            estimate_trials(samples, [many, events[1]], method="lsa", t_r=T_R)
        trials = estimate_trials(samples, [many, events[1]], t_r=T_R)
        # More results than volumes are kept in the same way.
        assert np.isfinite(np.asarray(trials)).all()
        assert_equal(np.asarray(trials)[-12:], np.asarray(trials[95:]))

    def test_a_confound_that_is_the_response(self, samples, events):
        frames = START + T_R * np.arange(90)
        confounds = [design_of(events[0], frames)[:, :1], None]
        cleaned = clean_runs(samples, confounds=confounds)
        onset = events[0].loc[0, "onset"]
        with pytest.raises(ValueError, match=f"confounds that were removed: run second: {onset:g}"):
            estimate_trials(cleaned, events, t_r=T_R, start=START)

    def test_a_single_trial_has_no_others(self, samples, events):
        one = events[0][3:4].reset_index(drop=True)
        found = np.asarray(estimate_trials(samples, [one, events[1]], t_r=T_R, start=START))[0]
        design = design_of(one, START + T_R * np.arange(90))
        data = np.asarray(samples, np.float64)[:90].reshape(90, -1)
        expected = np.linalg.lstsq(np.c_[design, np.ones(90)], data, rcond=None)[0][0]
        assert_equal(found.ravel(), expected)


class TestTimesOfVolumes:
    def test_volumes_that_were_left_out_count(self, samples, events):
        second = NiftiSamples.from_array(np.asarray(samples)[:90], AFFINE)
        kept = np.delete(np.arange(90), [0, 1, 2, 40])
        found = np.asarray(estimate_trials(second[kept], events[:1], t_r=T_R))
        cleaned = clean_runs(second, detrend=False, standardize=False, sample_masks=[kept])
        expected = np.asarray(estimate_trials(cleaned, events[:1], t_r=T_R))
        assert_equal(found, expected)
        with pytest.warns(UserWarning, match="have gaps"):
            cleaned = clean_runs(second[kept], detrend=False, standardize=False)
        assert_equal(np.asarray(estimate_trials(cleaned, events[:1], t_r=T_R)), expected)

    def test_runs_before_in_the_same_image_do_not_count(self, samples, events):
        expected = np.asarray(estimate_trials(samples, events, t_r=T_R))
        first = NiftiSamples.from_array(np.asarray(samples)[90:], AFFINE)
        assert_equal(np.asarray(estimate_trials(first, events[1:], t_r=T_R)), expected[12:])
        # Without the run before, nothing says that the first volume is not the 91st of its run.
        with pytest.raises(ValueError, match=r"12 of 12 trials begin before .* times of the vol"):
            estimate_trials(samples[90:], events[1:], t_r=T_R)
        trials = estimate_trials(samples[90:], events[1:], t_r=T_R, start=-90 * T_R)
        # nilearn rounds onsets to other fractions of a volume than if these begin at 0.
        found = np.asarray(trials)[:, 1:]
        assert np.corrcoef(found.ravel(), expected[12:, 1:].ravel())[0, 1] > 0.999

    def test_files_of_one_volume_follow_each_other(self, samples, events, tmp_path):
        for i, volume in enumerate(samples[90:]):
            nibabel.save(volume, tmp_path / f"{i:02}.nii")
        files = NiftiSamples(str(tmp_path / "*.nii"))
        found = np.asarray(estimate_trials(files, events[1:], t_r=T_R))
        assert_equal(found, np.asarray(estimate_trials(samples, events, t_r=T_R))[12:])


class TestErrors:
    def test_a_selection_of_cleaned_volumes(self, samples, events):
        cleaned = clean_runs(samples)[5:]
        with pytest.raises(ValueError, match="Of the cleaned run second, 85 of 90 volumes"):
            estimate_trials(cleaned, events, t_r=T_R)

    def test_samples_that_are_no_time_series(self, samples, events):
        means = average_blocks(samples, np.arange(len(RUNS)) // 10)
        with pytest.raises(ValueError, match="samples come from average_blocks"):
            estimate_trials(means, events, t_r=T_R)

    def test_names_of_methods_and_models(self, samples, events):
        with pytest.raises(ValueError, match="method must be one of 'lss', 'lsa', but is 'ls'"):
            estimate_trials(samples, events, method="ls", t_r=T_R)
        with pytest.raises(ValueError, match="hrf_model must be one of 'glover', 'spm', but is"):
            estimate_trials(samples, events, hrf_model="fir", t_r=T_R)

    @pytest.mark.parametrize(
        ("start", "message"), [([1, 2, 3], "3 values of start for 2"), ("a", "'a'")]
    )
    def test_start(self, samples, events, start, message):
        with pytest.raises(ValueError, match=message):
            estimate_trials(samples, events, t_r=T_R, start=start)

    def test_tables(self, samples, events, tmp_path):
        first, second = events
        for given, message in [
            (events[:1], "Found 1 tables of events for 2 runs"),
            (first, "Found 1 tables of events for 2 runs"),
            ([first, second.drop(columns="onset")], "run first have no column 'onset', but 'dur"),
            ([first, second[:0]], "Run first has no events"),
            (first.assign(run="second"), "Run first has no events"),
            ([first.assign(duration=-1), second], "12 without a valid duration, first in row 0"),
            ([first.assign(onset="soon"), second], r"valid onset, first in row 0 \('soon'\)"),
        ]:
            with pytest.raises(ValueError, match=message):
                estimate_trials(samples, given, t_r=T_R)
        for given in (7, [7, 8]):
            with pytest.raises(TypeError, match="table"):
                estimate_trials(samples, given, t_r=T_R)
        (tmp_path / "bad.tsv").write_bytes(b"\xff\xfe\x00 1")
        with pytest.raises(ValueError, match=r"bad.tsv cannot be read as a table of events"):
            estimate_trials(samples, [tmp_path / "bad.tsv", second], t_r=T_R)

    def test_conditions_without_labels(self, samples, events):
        with pytest.raises(ValueError, match="No trial has a label"):
            estimate_conditions(samples, [t.drop(columns="trial_type") for t in events], t_r=T_R)

    def test_a_run_of_two_volumes(self, samples, events):
        with pytest.raises(ValueError, match="has 2 volumes; estimation needs at least 3"):
            estimate_trials(samples[:92], events, t_r=T_R)


def test_a_slab_keeps_only_what_it_needs(events, tmp_path):
    grid = (5, 6, 40)
    volumes = np.random.default_rng(0).normal(100, 5, (len(RUNS), *grid)).astype(np.float32)
    volumes[..., :3] = 7
    samples = NiftiSamples.from_array(volumes, AFFINE, runs=RUNS)
    trials = estimate_trials(clean_runs(samples), events, t_r=T_R)
    options = {"angle": 0.2, "slab": (14, 16), "interpolation": "linear"}
    rotator = NiftiSlabRotator(**options).fit(trials)
    slabs = rotator.transform(trials)
    sizes = [path.stat().st_size for path in (tmp_path / "store").glob("*-part-*")]
    assert 0 < sum(sizes) < 0.6 * 4 * len(trials) * np.prod(grid)
    in_memory = NiftiSamples.from_array(np.asarray(trials), AFFINE, runs=trials.runs)
    other = NiftiSlabRotator(**options).fit(in_memory)
    assert rotator.crop_ == other.crop_
    np.testing.assert_allclose(slabs, other.transform(in_memory), atol=1e-4 * np.abs(slabs).max())


def test_centred_trials_are_computed_from_the_same_blocks(events, tmp_path):
    grid = (5, 6, 40)
    volumes = np.random.default_rng(0).normal(100, 5, (len(RUNS), *grid)).astype(np.float32)
    samples = NiftiSamples.from_array(volumes, AFFINE, runs=RUNS)
    trials = estimate_trials(clean_runs(samples), events, t_r=T_R)
    centred = center_groups(trials)
    slabs = NiftiSlabRotator(angle=0, slab=(14, 16)).fit_transform(centred)
    sizes = [path.stat().st_size for path in (tmp_path / "store").glob("*-part-*")]
    assert 0 < sum(sizes) < 2 * 0.3 * 4 * len(trials) * np.prod(grid)
    expected = np.asarray(trials)
    for run in ("first", "second"):
        expected[trials.runs == run] -= expected[trials.runs == run].mean(axis=0)
    np.testing.assert_allclose(slabs, expected[..., 14:16], atol=1e-4 * np.abs(expected).max())
    assert [name for name, _ in trace(centred)[2]][1:] == ["estimate_trials", "center_groups"]


def test_every_trial_shows_its_whole_run(samples, events):
    _, parents, derivations = trace(estimate_trials(clean_runs(samples), events, t_r=T_R)[[3, 20]])
    assert [len(rows) for rows in parents] == [90, 80]
    assert [name for name, _ in derivations] == ["clean_runs", "estimate_trials"]


def test_voxels_that_never_vary_are_0(samples, events):
    trials = np.asarray(estimate_trials(samples, events, t_r=T_R))
    assert (trials[:, 0] == 0).all()
    still = NiftiSamples.from_array(
        np.full((170, *GRID), 1000.1) + 1e-4 * (np.arange(170) % 2)[:, None, None, None],
        AFFINE,
        runs=RUNS,
    )
    # What varies in the last digits only would be noise of no meaning.
    assert (np.asarray(estimate_trials(still, events, t_r=T_R)) == 0).all()
