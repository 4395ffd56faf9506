import warnings

import joblib
import nibabel
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skfmri import NiftiSamples, NiftiSlabRotator, audit_leakage, center_groups, clean_runs
from skfmri.persistence.provenance import check_record, describe_samples
from skfmri.preprocessing.centering import describe_balance
from skfmri.samples import centered, cleaned_files
from skfmri.samples.nifti import stream_batches, trace

GRID = (6, 7, 9)
SUBJECTS = np.repeat([3, 1, 2], [4, 2, 6])
LABELS = np.array(list("aabbabaaabbb"))


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("SKFMRI_CACHE", str(tmp_path / "store"))


@pytest.fixture
def volumes():
    rng = np.random.default_rng(0)
    offsets = 10 * rng.normal(size=(4, *GRID))[SUBJECTS]
    return (100 + offsets + rng.normal(size=(12, *GRID))).astype(np.float32)


def of_subjects(volumes, **about):
    about = {"y": LABELS, "groups": SUBJECTS, **about}
    return NiftiSamples.from_array(volumes, np.diag([2, 2, 2, 1]), **about)


def centred_by_numpy(volumes, subjects=SUBJECTS, *, scale=False):
    result = volumes.astype(np.float64)
    for subject in np.unique(subjects):
        here = subjects == subject
        result[here] -= result[here].mean(axis=0)
        if scale:
            spread = result[here].std(axis=0, ddof=1)
            result[here] /= np.where(spread > 0, spread, 1)
    return result


class TestCentring:
    @pytest.mark.parametrize("scale", [False, True])
    def test_it_equals_numpy(self, volumes, scale):
        found = np.asarray(center_groups(of_subjects(volumes), scale=scale))
        assert found.dtype == np.float32
        assert_allclose(found, centred_by_numpy(volumes, scale=scale), atol=2e-5)

    def test_by_may_be_smaller_than_groups(self, volumes):
        by = np.arange(12) // 2
        samples = of_subjects(volumes, y=None)
        assert_allclose(
            np.asarray(center_groups(samples, by=by)), centred_by_numpy(volumes, by), atol=2e-5
        )

    def test_order_labels_groups_and_runs_stay(self, volumes):
        samples = of_subjects(volumes, runs=np.arange(12) // 2)[::-1]
        found = center_groups(samples)
        for name in ("y", "groups", "runs"):
            assert_array_equal(getattr(found, name), getattr(samples, name))
        assert_array_equal(found.affine, samples.affine)
        assert_allclose(np.asarray(found[::-1]), centred_by_numpy(volumes), atol=2e-5)

    def test_subsets_keep_the_values_that_all_maps_of_a_group_gave(self, volumes):
        found = center_groups(of_subjects(volumes))
        chosen = [11, 0, 5, 0]
        assert_array_equal(np.asarray(found[chosen]), np.asarray(found)[chosen])
        assert_array_equal(np.asarray(found[:1]), np.asarray(found)[:1])

    def test_labels_have_no_part_in_it(self, volumes):
        plain = center_groups(of_subjects(volumes, y=None))
        other = center_groups(of_subjects(volumes, y=LABELS))
        assert_array_equal(np.asarray(plain), np.asarray(other))
        other.y = None
        assert joblib.hash(plain) == joblib.hash(other)

    @pytest.mark.parametrize("scale", [False, True])
    def test_voxels_that_do_not_vary_but_by_rounding_become_exactly_0(self, volumes, scale):
        volumes[:, 0] = 1234.567
        volumes[:, 1] = 1000 + 1e-4 * np.random.default_rng(1).normal(size=(12, *GRID[1:]))
        assert np.ptp(volumes[:4, 1], axis=0).max() > 0
        found = np.asarray(center_groups(of_subjects(volumes), scale=scale))
        assert not found[:, :2].any()
        assert found[:, 2:].all()

    def test_a_small_effect_on_a_large_offset_is_kept(self):
        effect = np.tile([0.5, -0.5], 6).reshape(12, 1, 1, 1) * np.ones(GRID)
        samples = of_subjects((3000 + effect).astype(np.float32), y=None)
        assert_array_equal(np.asarray(center_groups(samples)), effect.astype(np.float32))

    def test_values_that_are_not_finite_stay_so_and_do_not_spread(self, volumes):
        volumes[0, 0, 0, 0], volumes[1, 0, 0, 1] = np.nan, np.inf
        volumes[:, 5] = np.nan
        found = np.asarray(center_groups(of_subjects(volumes)))
        assert_array_equal(np.isfinite(found), np.isfinite(volumes))
        assert_allclose(
            found[1:4, 0, 0, 0], volumes[1:4, 0, 0, 0] - volumes[1:4, 0, 0, 0].mean(), atol=1e-5
        )

    def test_files_are_read_lazily_and_pickles_are_small(self, volumes, tmp_path):
        paths = []
        for subject in np.unique(SUBJECTS):
            paths.append(tmp_path / f"sub-{subject}.nii.gz")
            image = np.moveaxis(volumes[subject == SUBJECTS], 0, -1)
            nibabel.save(nibabel.Nifti1Image(image, np.diag([2, 2, 2, 1])), paths[-1])
        samples = NiftiSamples(paths)
        found = center_groups(samples)
        assert not (tmp_path / "store").exists()
        order = np.argsort(SUBJECTS, kind="stable")
        expected = centred_by_numpy(volumes)[order]
        assert_allclose(np.asarray(found), expected, atol=2e-5)
        assert_allclose(np.concatenate(list(stream_batches(found))), expected, atol=2e-5)
        sent = joblib.hash(found)
        assert len(joblib.numpy_pickle.pickle.dumps(found)) < 5000
        nibabel.save(nibabel.load(paths[0]), tmp_path / "copy.nii.gz")
        paths[0].write_bytes((tmp_path / "copy.nii.gz").read_bytes() + b"\0")
        assert joblib.hash(found) != sent
        with pytest.raises(ValueError, match="has changed since"):
            np.asarray(found)

    def test_a_mean_is_computed_once_for_all_processes(self, volumes, monkeypatch):
        calls = []

        def counted(*arguments, **options):
            calls.append(1)
            return group_moments(*arguments, **options)

        group_moments = centered.group_moments
        monkeypatch.setattr(centered, "group_moments", counted)
        for _ in range(2):
            found = center_groups(of_subjects(volumes))
            for position in (0, 4, 1, 11):
                found[position].get_fdata()
        assert len(calls) == 3

    def test_what_it_was_made_from_can_be_traced(self, volumes):
        samples = of_subjects(volumes)
        originals, parents, derivations = trace(center_groups(samples)[[7, 2]])
        assert_array_equal(np.asarray(originals), volumes[[7, 2]])
        assert [rows.tolist() for rows in parents] == [[0], [1]]
        settings = {"by": False, "scale": False, "maps_per_group": [2, 6]}
        assert derivations == [("center_groups", settings)]


class TestErrors:
    def test_one_map_alone_is_refused(self, volumes):
        by = np.repeat(["sub-1", "sub-2", "sub-3"], [1, 1, 10])
        with pytest.raises(ValueError, match=r"2 of 3 groups .*single volume.*: sub-1, sub-2\."):
            center_groups(of_subjects(volumes, groups=by))

    def test_what_lies_in_two_groups_is_refused(self, volumes):
        by = np.where(np.arange(12) < 5, "x", "y")
        with pytest.raises(ValueError, match=r"'x' lies in 2 groups \(1, 3\).*mix training and"):
            center_groups(of_subjects(volumes), by=by)

    def test_each_volume_needs_a_label(self, volumes):
        with pytest.raises(ValueError, match="Found 3 centring labels for 12 volumes"):
            center_groups(of_subjects(volumes), by=[1, 1, 2])
        with pytest.raises(ValueError, match="missing"):
            center_groups(of_subjects(volumes), by=np.where(np.arange(12) < 5, np.nan, 1))

    def test_an_array_is_refused(self, volumes):
        with pytest.raises(TypeError, match="center_groups needs images"):
            center_groups(volumes)

    def test_samples_without_groups_are_warned_of(self, volumes):
        samples = NiftiSamples.from_array(volumes, np.eye(4))
        with pytest.warns(UserWarning, match="carry no groups, so all 12 volumes.*Pass by="):
            center_groups(samples)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            center_groups(samples, by=np.zeros(12))


class TestBalance:
    @pytest.mark.parametrize(
        ("labels", "groups", "share"),
        [
            ("abab", [1, 1, 2, 2], 0),
            ("aabb", [1, 1, 2, 2], 1),
            ("aabaab", [1, 1, 1, 2, 2, 2], 0),
            ("aaababbb", [1, 1, 1, 1, 2, 2, 2, 2], 0.25),
        ],
    )
    def test_what_centring_takes_of_labels_is_their_variance_between_groups(
        self, labels, groups, share
    ):
        y, groups = np.array(list(labels)), np.array(groups)
        indicator = (y == "a").astype(float)
        left = centred_by_numpy(indicator, groups)
        found = describe_balance(y, groups)["removed_share"]
        assert found == pytest.approx(1 - left.var() / indicator.var())
        assert found == pytest.approx(share)

    def test_one_map_per_class_is_a_forced_choice(self):
        y, groups = np.array(["a", "b", "b", "a", "b", "b", "b", ""]), [0, 0, 1, 1, 1, 2, 2, 2]
        assert describe_balance(y, np.array(groups)) == {
            "n_groups": 3,
            "n_unbalanced": 2,
            "n_forced_choice": 1,
            "removed_share": pytest.approx(0.35, abs=0.3),
        }
        with_rest = describe_balance(np.array(["a", "b", ""]), np.zeros(3))
        assert with_rest["n_forced_choice"] == with_rest["n_unbalanced"] == 0

    def test_unbalanced_classes_are_warned_of_with_the_share(self, volumes):
        samples = of_subjects(volumes, y=list("aaabababaabb"))
        share = describe_balance(samples.y, SUBJECTS)["removed_share"]
        with pytest.warns(UserWarning, match=f"in 1 of 3 groups.*takes away {share:.0%} of the"):
            center_groups(samples)

    def test_balanced_classes_are_not(self, volumes):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            center_groups(of_subjects(volumes))


class TestChain:
    """On cleaned runs, only the blocks of voxels that a slab needs are read."""

    GRID = (21, 22, 47)
    RUNS = np.repeat([1, 0], [12, 15])

    @pytest.fixture
    def cleaned(self):
        volumes = np.zeros((27, *self.GRID), np.float32)
        inner = (slice(None), *[slice(4, length - 4) for length in self.GRID])
        rng = np.random.default_rng(0)
        volumes[inner] = rng.normal(100, 10, volumes[inner].shape)
        samples = NiftiSamples.from_array(volumes, np.diag([2, 2, 2, 1]), runs=self.RUNS)
        # As if volumes without a label were left out, which makes the means differ from 0.
        return clean_runs(samples)[np.arange(27) % 3 > 0]

    def in_memory(self, samples):
        about = {"groups": samples.groups, "runs": samples.runs}
        return NiftiSamples.from_array(np.asarray(samples), samples.affine, **about)

    @pytest.mark.parametrize("scale", [False, True])
    def test_a_slab_equals_that_of_whole_volumes(self, cleaned, scale, monkeypatch):
        calls = []

        def counted(path, volumes, blocks, clean):
            if "-part-" in path.name:
                calls.append(16 * len(blocks))
            return write_part(path, volumes, blocks, clean)

        write_part = cleaned_files.write_part
        monkeypatch.setattr("skfmri.samples.cleaned.write_part", counted)
        options = {"angle": 0.3, "slab": (15, 18), "interpolation": "linear"}
        lazy = center_groups(cleaned, scale=scale)
        slabs = (found := NiftiSlabRotator(**options).fit(lazy)).transform(lazy)
        assert 0 < sum(calls) < 1.4 * np.prod(self.GRID)
        whole = self.in_memory(lazy)
        by_numpy = centred_by_numpy(np.asarray(cleaned), cleaned.groups, scale=scale)
        assert_allclose(np.asarray(whole), by_numpy, atol=1e-5)
        expected = NiftiSlabRotator(**options)
        assert_allclose(slabs, expected.fit_transform(whole), atol=1e-5)
        assert found.crop_ == expected.crop_
        assert found.value_range_ == expected.value_range_

    def test_a_fold_of_one_group_equals_that_of_whole_volumes(self, cleaned):
        lazy = center_groups(cleaned, by=cleaned.runs)
        fold, whole = lazy[10:], self.in_memory(lazy[10:])
        options = {"angle": 0.3, "slab": (15, 18)}
        found, expected = NiftiSlabRotator(**options), NiftiSlabRotator(**options)
        assert_allclose(found.fit_transform(fold), expected.fit_transform(whole), atol=1e-4)

    def test_streams_equal_reads_and_keep_no_whole_runs(self, cleaned, tmp_path):
        lazy = center_groups(cleaned)
        streamed = np.concatenate(list(stream_batches(lazy)))
        assert not list((tmp_path / "store").glob("*-part-*"))
        assert_array_equal(streamed, np.asarray(lazy))
        in_turn = np.arange(len(lazy)).reshape(2, -1).T.ravel()
        assert_array_equal(np.concatenate(list(stream_batches(lazy[in_turn]))), streamed[in_turn])

    def test_it_may_be_centred_twice(self, cleaned):
        by = cleaned.runs * 2 + np.arange(len(cleaned)) % 2
        twice = center_groups(center_groups(cleaned), by=by, scale=True)
        names = [name for name, _ in trace(twice)[2]]
        assert names == ["clean_runs", "center_groups", "center_groups"]
        expected = centred_by_numpy(np.asarray(cleaned), by, scale=True)
        assert_allclose(np.asarray(twice), expected, atol=1e-5)


class TestAudit:
    def test_it_is_honest_if_no_centred_group_crosses_a_split(self, volumes):
        samples = center_groups(of_subjects(volumes))
        assert audit_leakage(None, samples, checks=["centred"]).passed == ("centred",)
        assert audit_leakage(None, of_subjects(volumes), checks=["centred"]).ok

    def test_a_split_through_a_centred_group_is_found(self, volumes):
        samples = center_groups(of_subjects(volumes, groups=np.ones(12)), by=SUBJECTS)
        splits = [(np.arange(6), np.arange(6, 12)), (np.arange(9), np.arange(9, 12))]
        (finding,) = audit_leakage(None, samples, cv=splits, checks=["centred"]).findings
        assert "Split 1 cuts through group 2, whose volumes were centred" in finding.message
        assert finding.train.tolist() == [6, 7, 8]
        assert finding.test.tolist() == [9, 10, 11]

    def test_it_is_found_behind_another_step_and_in_subsets(self, volumes):
        samples = of_subjects(volumes, y=np.tile(["a", "b"], 6), groups=np.ones(12))
        samples = center_groups(samples, by=SUBJECTS)
        samples = center_groups(samples, by=np.arange(12) // 2)[[0, 2, 4, 6, 8, 11]]
        splits = [([0, 1, 2], [3, 4, 5])]
        report = audit_leakage(None, samples, cv=splits, checks=["centred"])
        assert report.ok
        splits = [([0, 1, 2, 3], [4, 5])]
        assert len(audit_leakage(None, samples, cv=splits, checks=["centred"]).findings) == 1

    def test_an_array_does_not_say(self):
        X, y, groups = np.zeros((4, 2)), list("abab"), [1, 1, 2, 2]
        report = audit_leakage(None, X, y, groups=groups, checks=["centred"])
        assert "does not say whether it was centred" in report.skipped["centred"]

    def test_scaling_within_large_groups_is_not_taken_for_scaling_of_all_samples(self):
        volumes = np.random.default_rng(0).normal(size=(240, 6, 4, 4))
        about = {"y": np.tile(["a", "b"], 120), "groups": np.repeat([0, 1], 120)}
        runs = np.repeat(np.arange(4), 60)
        samples = NiftiSamples.from_array(volumes, np.eye(4), runs=runs, **about)
        checks = ["standardised"]
        assert audit_leakage(None, center_groups(samples, scale=True), checks=checks).ok
        samples.groups = np.zeros(240)
        together = center_groups(samples, scale=True)
        values = NiftiSamples.from_array(np.asarray(together), np.eye(4), runs=runs, **about)
        assert not audit_leakage(None, values, checks=checks).ok

    def test_forced_choice_and_unbalanced_classes_are_noted(self, volumes):
        pairs = of_subjects(volumes[:4], y=list("abba"), groups=[1, 1, 2, 2])
        options = {"checks": ["centred"]}
        (note,) = audit_leakage(None, center_groups(pairs), **options).notes
        assert note.startswith("2 of 2 groups that were centred hold one volume per class.")
        assert "forced choice" in note
        assert audit_leakage(None, pairs, **options).notes == ()
        with pytest.warns(UserWarning, match="not equally frequent"):
            samples = center_groups(of_subjects(volumes, y=list("aaababababab")))
        forced, unbalanced = audit_leakage(None, samples, **options).notes
        assert forced.startswith("1 of 3 groups that were centred hold one volume per class.")
        assert unbalanced.startswith("Classes are not equally frequent in 1 of 3 groups")

    def test_one_of_many_maps_per_class_is_no_forced_choice(self, volumes):
        samples = center_groups(of_subjects(volumes))[[0, 2, 6, 9]]
        assert audit_leakage(None, samples, checks=["centred"]).notes == ()


class TestRecordInAModel:
    def record(self, **more):
        about = {"grid_shape": [1, 1, 1], "affine": np.eye(4).tolist(), "cleaning": None}
        return {"samples": {**about, **more}, "result": None}

    def test_files_of_earlier_versions_know_no_derivations(self):
        assert check_record(self.record())["samples"]["derivations"] == {}

    def test_settings_are_read_as_they_were_written(self, volumes):
        found = describe_samples(center_groups(of_subjects(volumes), scale=True))["derivations"]
        assert check_record(self.record(derivations=found))["samples"]["derivations"] == found
        assert found["center_groups"]["maps_per_group"] == [2, 6]

    @pytest.mark.parametrize(
        ("derivations", "message"),
        [
            ("all", "samples.derivations is 'all'"),
            ({"center_groups": {"scale": True}}, "no samples.derivations.center_groups.by"),
            ({"center_groups": None}, "no samples.derivations.center_groups.by"),
            (
                {"center_groups": {"by": True, "scale": 1, "maps_per_group": [2, 2]}},
                "center_groups.scale is 1",
            ),
            (
                {"center_groups": {"by": True, "scale": True, "maps_per_group": [2]}},
                r"center_groups.maps_per_group is \[2\]",
            ),
        ],
    )
    def test_altered_settings_are_refused(self, derivations, message):
        with pytest.raises(ValueError, match=message):
            check_record(self.record(derivations=derivations))
