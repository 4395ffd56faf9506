"""BIDS datasets as they are: names, tables and files that differ from the rule."""

import json
import re
import shutil
import warnings

import nibabel
import numpy as np
import pandas as pd
import pytest
from nilearn.glm.first_level import compute_regressor

from skfmri.cli.commands import main
from skfmri.datasets import load_bids_runs, load_bids_samples
from tests.bids_trees import write_events, write_image, write_study

TABLE = "sub-01/func/sub-01_task-see_events.tsv"
IMAGE = "sub-01/func/sub-01_task-see_bold.nii.gz"
BLOCKS = [(0, 10, "face"), (10, 10, "house")]


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("SKFMRI_CACHE", str(tmp_path / "store"))


@pytest.fixture
def study(tmp_path):
    return write_study(tmp_path / "study")


@pytest.fixture
def many(tmp_path):
    """Two subjects, each with two runs."""
    root = tmp_path / "many"
    for subject in ("43", "44"):
        for run in ("1", "2"):
            stem = f"sub-{subject}/func/sub-{subject}_task-see_run-{run}"
            write_image(root / f"{stem}_bold.nii.gz", seed=int(subject + run))
            write_events(root / f"{stem}_events.tsv", BLOCKS)
    return root


def write_motion(study, volumes):
    """Write preprocessed images with motion at some volumes, and return confounds to scrub them."""
    image = "sub-01_task-see_space-MNI_desc-preproc_bold.nii.gz"
    path = write_image(study / "derivatives/fmriprep/sub-01/func" / image)
    motion = np.zeros(20)
    motion[volumes] = 9
    columns = {"framewise_displacement": motion, "std_dvars": 0.0}
    columns |= dict.fromkeys(("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"), 0.0)
    confounds = path.with_name("sub-01_task-see_desc-confounds_timeseries.tsv")
    pd.DataFrame(columns).to_csv(confounds, sep="\t", index=False)
    return {"strategy": ("motion", "scrub"), "motion": "basic", "scrub": 0}


def labels(study, **options):
    """Labels of the volumes, as one letter each."""
    samples = load_bids_runs(study, task="see", shift=4, **options).samples
    return "".join(name[:1] or "." for name in samples.y)


def runs_of(root, **options):
    return load_bids_runs(root, task="see", **options).table["run"].tolist()


class TestNumbersOfRuns:
    """A pipeline may write run-1 where the raw dataset has run-01."""

    @pytest.fixture
    def preprocessed(self, tmp_path):
        root = tmp_path / "raw"
        events, sidecar = "sub-01_task-see_run-01_events.tsv", "sub-01_task-see_run-01_bold.json"
        write_events(root / "sub-01/func" / events, BLOCKS)
        (root / "sub-01/func" / sidecar).write_text('{"RepetitionTime": 2.0, "StartTime": 3.0}')
        name = "sub-01/func/sub-01_task-see_run-1_space-MNI_desc-preproc_bold.nii.gz"
        write_image(root / "derivatives/fmriprep" / name)
        return root

    def test_find_events_and_sidecars_with_other_zeros(self, preprocessed):
        table = load_bids_runs(preprocessed, task="see").table
        assert table["events"].item().endswith("_run-01_events.tsv")
        assert table["start"].item() == 3.0

    def test_may_be_asked_for_with_other_zeros(self, preprocessed):
        assert runs_of(preprocessed, entities={"run": "001"}) == ["sub-01_run-1"]
        with pytest.raises(ValueError, match=r"has run-2. Those found have run-1"):
            runs_of(preprocessed, entities={"run": "02"})

    def test_are_one_run_however_they_are_written(self, many):
        source = many / "sub-43/func/sub-43_task-see_run-1_bold.nii.gz"
        shutil.copy(source, source.with_name("sub-43_task-see_run-01_bold.nii.gz"))
        with pytest.raises(ValueError, match="2 images show the run sub-43_run-01: same names"):
            runs_of(many)

    def test_do_not_make_numbers_of_names(self, study):
        write_image(study / "sub-1/func/sub-1_task-see_bold.nii.gz")
        with pytest.raises(ValueError, match=r"no events for .*sub-1_task-see_bold"):
            runs_of(study, subjects=["1"])


class TestExcludedRuns:
    def test_are_named_by_all_parts_or_some(self, many):
        left = ["sub-43_run-2", "sub-44_run-1", "sub-44_run-2"]
        assert runs_of(many, exclude=["sub-43_run-1"]) == left
        assert runs_of(many, exclude=["sub-43_task-see_run-01"]) == left
        assert runs_of(many, exclude=["sub-44", "run-2"]) == ["sub-43_run-1"]

    def test_need_no_events(self, many):
        (many / "sub-43/func/sub-43_task-see_run-2_events.tsv").unlink()
        with pytest.raises(ValueError, match="no events for"):
            runs_of(many)
        assert len(runs_of(many, exclude=["sub-43_run-2"])) == 3

    @pytest.mark.parametrize(
        ("exclude", "message"),
        [
            (["sub-45"], "exclude contains 'sub-45', .* The runs are sub-43_run-1, sub-43_run-2"),
            (["43_run-1"], "exclude contains '43_run-1'"),
            ("sub-43", "exclude must be a list of runs"),
            (["sub-43", "sub-44"], "exclude leaves none of 4 runs"),
        ],
    )
    def test_that_do_not_exist_or_are_all_are_refused(self, many, exclude, message):
        with pytest.raises(ValueError, match=message):
            runs_of(many, exclude=exclude)


class TestOverlaps:
    ROWS = ((0, 12, "face"), (10, 10, "house"))

    def test_name_the_tolerance_that_accepts_them(self, study):
        write_events(study / TABLE, self.ROWS)
        with pytest.raises(ValueError, match="overlap_tolerance=2 to leave out") as caught:
            labels(study)
        found = float(re.search(r"overlap_tolerance=([\d.]+)", str(caught.value))[1])
        # Volumes show 1, 3, 5 ... s: that at 11 s is under both labels.
        assert labels(study, overlap_tolerance=found) == "..fffff.hhhh........"
        assert labels(study, overlap_tolerance=2, keep_transitions=True) == "..fffff.hhhh........"

    def test_of_more_files_are_counted_with_the_longest(self, many):
        for number, path in enumerate(sorted(many.rglob("*_events.tsv"))[:3]):
            write_events(path, [(0, 10 + 0.1 * (number + 1), "face"), (10, 10, "house")])
        with pytest.raises(ValueError, match=r"2 more files.*overlap_tolerance=0.3 "):
            runs_of(many)
        assert len(runs_of(many, overlap_tolerance=0.3)) == 4

    def test_within_an_event_leave_the_rest_of_it(self, study):
        write_events(study / TABLE, [(0, 20, "face"), (6, 4, "house")])
        expected = "..fff..fffff........"
        with pytest.warns(UserWarning, match="1 of 2 events .* those under two labels are left"):
            found = labels(study, overlap_tolerance=4, keep_transitions=True)
        assert found == expected

    def test_of_one_label_are_one_event(self, study):
        write_events(study / TABLE, [(0, 10, "face"), (8, 12, "face"), (9, 1, "face")])
        assert labels(study) == "..ffffffffff........"

    def test_of_one_label_are_one_event_around_another(self, study):
        write_events(study / TABLE, [(0, 10, "face"), (4, 2, "house"), (8, 12, "face")])
        # The face goes on at 10 s.
        with pytest.warns(UserWarning, match="1 of 2 events"):
            assert labels(study, overlap_tolerance=6) == "..ff.fffffff........"

    def test_do_not_matter_to_trials(self, study):
        write_events(study / TABLE, self.ROWS)
        found = load_bids_runs(study, task="see", samples="trials")
        assert set(found.samples.y) == {""}
        assert found.events.drop(columns="run").to_numpy().tolist() == [
            [0.0, 12.0, "face"],
            [10.0, 10.0, "house"],
        ]


def merged(spans):
    """Spans of time of which those that touch are one."""
    result = []
    for onset, end in sorted(spans):
        if result and onset <= result[-1][1] + 0.01:
            result[-1][1] = max(end, result[-1][1])
        else:
            result.append([onset, end])
    return result


def test_labels_are_those_of_a_loop_over_volumes_and_events(study):
    rng = np.random.default_rng(0)
    for _ in range(40):
        rows = [(rng.uniform(-3, 22), rng.uniform(0, 9), rng.choice(["a", "b"])) for _ in range(6)]
        # Alone, so that there is a volume with a label.
        rows.append((31.5, 4, "a"))
        write_events(study / TABLE, rows)
        keep = bool(rng.integers(2))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            options = {"overlap_tolerance": 99, "keep_transitions": keep}
            found = load_bids_runs(study, task="see", shift=4, **options).samples.y
        spans = {
            label: merged([(onset, onset + lasts) for onset, lasts, name in rows if name == label])
            for label in "ab"
        }
        for volume, label in enumerate(found):
            time, shown, is_near = 1 + 2 * volume - 4, [], False
            for name, stretches in spans.items():
                for onset, end in stretches:
                    shown += [name] * (onset <= time < end)
                    is_near |= min(abs(time - onset), abs(time - end)) < 0.99
            expected = shown[0] if len(shown) == 1 and (keep or not is_near) else ""
            assert label == expected


class TestRest:
    def test_is_what_shows_no_event_and_no_border(self, study):
        write_events(study / TABLE, [(0, 10, "face"), (20, 10, "house")])
        # The first two volumes show what came before the run; 10, 20 and 30 s are borders.
        assert labels(study, rest="rest") == "..fffffrrrrrhhhhhrrr"
        shifted = load_bids_runs(study, task="see", shift=3, rest="rest").samples.y
        assert "".join(name[:1] or "." for name in shifted) == "..ffff.rrrr.hhhh.rrr"

    def test_may_have_a_longer_name_than_any_label(self, study):
        found = load_bids_runs(study, task="see", shift=4, rest="nothing at all")
        assert set(found.samples.y) == {"", "face", "house", "nothing at all"}

    def test_is_not_what_another_event_fills(self, study):
        write_events(study / TABLE, [(0, 10, "face"), (10, 6, None), (20, 10, "key")])
        assert labels(study, rest="rest", classes=["face"]) == "..fffff...rr.....rrr"
        write_events(study / TABLE, [(0, 10, "face"), (13, 0, "key")])
        assert labels(study, rest="rest", classes=["face"]) == "..fffffrrrrrrrrrrrrr"

    def test_is_not_a_gap_inside_a_block(self, study):
        write_events(study / TABLE, [(0, 4, "face"), (6, 4, "face")])
        assert labels(study, rest="rest")[:7] == "..ffrff"
        assert labels(study, rest="rest", max_gap=2)[:7] == "..fffff"

    def test_of_each_pause_is_a_block(self, study):
        write_events(study / TABLE, [(0, 10, "face"), (20, 10, "house")])
        found = load_bids_runs(study, task="see", shift=4, rest="rest")
        expected = [-1] * 2 + [0] * 5 + [2] * 5 + [1] * 5 + [3] * 3
        assert found.blocks.tolist() == expected

    def test_of_one_run_is_no_block_of_the_next(self, many):
        found = load_bids_runs(many, task="see", rest="rest")
        for block in set(found.blocks) - {-1}:
            here = found.blocks == block
            assert len(set(found.samples.y[here])) == len(set(found.samples.runs[here])) == 1

    def test_may_be_among_the_classes(self, study):
        assert labels(study, rest="rest", classes=["face", "rest"]) == "..fffff.....fffffrrr"

    @pytest.mark.parametrize("rest", ["", " ", 1])
    def test_needs_a_name(self, study, rest):
        with pytest.raises(ValueError, match="rest must be a label"):
            labels(study, rest=rest)


def test_blanks_around_labels_do_not_count(study):
    write_events(study / TABLE, [(0, 10, " face"), (10, 10, "house "), (20, 10, " n/a ")])
    assert labels(study, classes=["house", " face "]) == "..fffffhhhhh........"
    assert set(load_bids_runs(study, task="see").samples.y) == {"", "face", "house"}


class TestEventsWithoutVolumes:
    SHORT = tuple((2.5 * number, 1.0, "ab"[number % 2]) for number in range(8))

    def test_are_told_with_the_way_out(self, study):
        write_events(study / TABLE, [*self.SHORT, (24, 10, "a")])
        with pytest.warns(
            UserWarning, match=r"^1 of 9 events have a volume: they last 1 s"
        ) as told:
            labels(study)
        message = str(told[0].message)
        assert 'Pass samples="trials" to estimate' in message
        # These come in turn.
        assert "max_gap" not in message

    def test_are_an_error_if_there_is_no_other(self, study):
        write_events(study / TABLE, self.SHORT)
        with pytest.raises(ValueError, match=r'^None of 8 events has a volume.*samples="trials"'):
            labels(study)
        assert len(load_bids_runs(study, task="see", samples="trials").events) == 8

    def test_that_follow_each_other_with_one_label_are_told_the_gap(self, study):
        rows = [(2 * number, 0.5, "face" if number < 5 else "house") for number in range(10)]
        write_events(study / TABLE, rows)
        with pytest.raises(ValueError, match=r"Pass max_gap=1.5 to join"):
            labels(study)
        assert labels(study, max_gap=1.5) == "..ffff.hhhh........."

    def test_are_not_told_what_they_already_have(self, study):
        write_events(study / TABLE, [(2.5 * number, 0.1, "a") for number in range(5)])
        with pytest.raises(ValueError, match="None of 5") as caught:
            load_bids_runs(study, task="see", shift=4.2, keep_transitions=True)
        assert "keep_transitions" not in str(caught.value)

    def test_do_not_matter_if_they_are_few(self, study):
        # The last of 10 begins after the run.
        rows = [(4 * number, 4, "ab"[number % 2]) for number in range(9)] + [(60, 4, "a")]
        write_events(study / TABLE, rows)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            labels(study)

    def test_count_those_whose_volumes_the_confounds_flag(self, study):
        # The volumes of the second of three events.
        scrub = write_motion(study, slice(6, 13))
        with pytest.warns(UserWarning, match="^2 of 3 events have a volume"):
            labels(study, confounds=scrub)


class TestFilesWithoutContent:
    def test_are_named_and_counted(self, many):
        images = sorted(many.rglob("*_bold.nii.gz"))
        for image in images[1:3]:
            image.unlink()
            image.symlink_to("../../.git/annex/objects/xx/yy")
        message = f"{images[1].name} is a link of git-annex .*`datalad get`.* first of 2 .* among 4"
        with pytest.raises(ValueError, match=message):
            runs_of(many)

    def test_that_are_empty_are_named(self, many):
        image = min(many.rglob("*_bold.nii.gz"))
        image.write_bytes(b"")
        with pytest.raises(ValueError, match=f"{image.name} is empty.*`datalad get`"):
            runs_of(many)

    @pytest.mark.parametrize("name", [TABLE, "task-see_bold.json"])
    def test_may_be_tables_and_sidecars(self, study, name):
        (study / name).unlink()
        (study / name).symlink_to("../.git/annex/objects/xx/yy")
        with pytest.raises(ValueError, match=r"is a link of git-annex .*`datalad get`"):
            runs_of(study)
        (study / name).unlink()
        (study / name).write_text("/annex/objects/MD5E-s1--00\n")
        with pytest.raises(ValueError, match="is a placeholder of git-annex"):
            runs_of(study)


def test_files_may_begin_with_a_byte_order_mark(study):
    for path in (study / TABLE, study / "task-see_bold.json"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert labels(study) == "..fffffhhhhhfffff..."


def test_a_sidecar_that_holds_no_fields_is_named(study):
    (study / "task-see_bold.json").write_text("[2.0]")
    with pytest.raises(ValueError, match=r"task-see_bold.json is a list, but a sidecar is"):
        labels(study)


class TestTreesOfICAAROMA:
    STEM = "derivatives/fmriprep/sub-01/func/sub-01_task-see_"
    DENOISED = "space-MNI6_desc-smoothAROMAnonaggr_bold.nii.gz"

    @pytest.fixture
    def tree(self, study):
        write_image(study / f"{self.STEM}space-MNI9_desc-preproc_bold.nii.gz")
        write_image(study / f"{self.STEM}{self.DENOISED}")
        table = pd.DataFrame(
            {name: np.arange(20.0) for name in ("csf", "white_matter", "cosine00")}
        )
        table.to_csv(study / f"{self.STEM}desc-confounds_timeseries.tsv", sep="\t", index=False)
        (study / f"{self.STEM}desc-confounds_timeseries.json").write_text("{}")
        return study

    def test_give_the_preprocessed_images(self, tree):
        image = load_bids_runs(tree, task="see").table["image"].item()
        assert image.endswith("_desc-preproc_bold.nii.gz")

    def test_name_the_way_to_the_denoised_ones(self, tree):
        with pytest.raises(ValueError, match=r'pass entities={"desc": "smoothAROMAnonaggr"}'):
            runs_of(tree, space="MNI6")
        options = {"space": "MNI6", "entities": {"desc": "smoothAROMAnonaggr"}}
        image = load_bids_runs(tree, task="see", **options).table["image"].item()
        assert image.endswith(self.DENOISED)

    def test_name_it_for_the_preset(self, tree):
        message = r'Pass entities={"desc": "smoothAROMAnonaggr"} and space="MNI6", which chooses'
        with pytest.raises(ValueError, match=message):
            runs_of(tree, confounds="ica_aroma")
        (tree / f"{self.STEM}{self.DENOISED}").unlink()
        with pytest.raises(
            ValueError, match=r"There are no such images.*simple, scrubbing, compcor"
        ):
            runs_of(tree, confounds="ica_aroma")

    def test_are_loaded_that_way_with_the_preset(self, tree):
        options = {"space": "MNI6", "entities": {"desc": "smoothAROMAnonaggr"}}
        found = load_bids_runs(tree, task="see", confounds="ica_aroma", **options)
        assert "csf" in found.confounds[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--space", "x"], "has space-x"),
        (["--entities", "res-2"], "has res-2. Those found have no res"),
        (["--exclude", "sub-45"], "--exclude names 'sub-45'"),
        (["--exclude", "sub-43,sub-44"], "--exclude leaves none of 4 runs"),
        (["--label-column", "kind"], "the one that holds the labels with --label-column."),
        (["--classes", "x"], "--classes names 'x'"),
        (["--event-duration", "0.5"], "Pass --samples trials to estimate"),
        (["--event-duration", "11"], "list those to keep in --classes"),
        (["--event-duration", "11"], "pass --overlap-tolerance 1 to"),
        (["--groups", "session"], "Choose --groups run or --groups subject."),
        (["--confounds", "ica_aroma"], "Choose another preset: simple"),
        (["--samples", "trials", "--shift", "5"], "--shift has no effect with --samples trials"),
        (["--samples", "conditions", "--rest", "r"], "--rest has no effect with --samples cond"),
        (["--derivatives", "x"], "There is no folder"),
    ],
)
def test_errors_on_the_command_line_name_options(many, tmp_path, capsys, options, message):
    argv = ["decode", "--bids", str(many), "--task", "see", "--out", str(tmp_path / "out")]
    assert main([*argv, *options]) == 2
    said = capsys.readouterr().err.replace(str(tmp_path), "")
    assert message in said
    assert re.findall(r"\b[a-z_]+=", said) == []


def test_versions_of_a_run_on_the_command_line_are_chosen_with_options(study, tmp_path, capsys):
    for res in ("1", "2"):
        write_image(study / f"derivatives/x/sub-01/func/sub-01_task-see_res-{res}_bold.nii.gz")
    argv = ["decode", "--bids", str(study), "--task", "see", "--out", str(tmp_path / "out")]
    assert main(argv) == 2
    said = capsys.readouterr().err
    assert "Choose one with --space or --entities, such as --entities res-2; res- means" in said


def test_a_way_out_for_denoised_images_names_options(study, tmp_path, capsys):
    stem = "derivatives/fmriprep/sub-01/func/sub-01_task-see_space-"
    for name in ("MNI9_desc-preproc", "MNI6_desc-smoothAROMAnonaggr"):
        write_image(study / f"{stem}{name}_bold.nii.gz")
    argv = ["decode", "--bids", str(study), "--task", "see", "--out", str(tmp_path / "out")]
    assert main([*argv, "--space", "MNI6"]) == 2
    assert "pass --entities desc-smoothAROMAnonaggr." in capsys.readouterr().err


class TestKindsOfSamples:
    def test_are_checked(self, study):
        with pytest.raises(
            ValueError, match="samples must be one of volumes, blocks, trials, cond"
        ):
            load_bids_samples(study, task="see", samples="runs")

    @pytest.mark.parametrize(
        ("name", "value"),
        [("shift", 5), ("keep_transitions", True), ("max_gap", 1), ("rest", "r")],
    )
    def test_that_need_no_labels_of_volumes_take_nothing_for_them(self, study, name, value):
        message = f"{name}= has no effect with samples='trials'"
        with pytest.raises(ValueError, match=message):
            load_bids_samples(study, task="see", samples="trials", **{name: value})

    def test_are_the_means_of_cleaned_volumes_of_an_event(self, many):
        found = load_bids_samples(many, task="see", samples="blocks", shift=4)
        volumes = load_bids_samples(many, task="see", shift=4)
        assert found.y.tolist() == ["face", "house"] * 4
        whole = np.asarray(volumes)
        for number, (run, label) in enumerate(zip(found.runs, found.y, strict=True)):
            here = (volumes.runs == run) & (volumes.y == label)
            np.testing.assert_allclose(np.asarray(found)[number], whole[here].mean(0), atol=1e-5)

    def test_are_means_without_the_volumes_that_confounds_flag(self, study):
        options = {"task": "see", "shift": 4, "confounds": write_motion(study, [3, 4, 9])}
        found = load_bids_samples(study, samples="blocks", **options)
        volumes = load_bids_samples(study, **options)
        assert volumes.y.tolist() == ["face"] * 3 + ["house"] * 4 + ["face"] * 5
        expected = [part.mean(axis=0) for part in np.split(np.asarray(volumes), [3, 7])]
        np.testing.assert_allclose(np.asarray(found), expected, atol=1e-5)

    def test_of_raw_volumes_are_their_means_too(self, many):
        found = load_bids_samples(many, task="see", samples="blocks", shift=4, clean=False)
        volumes = load_bids_samples(many, task="see", shift=4, clean=False)
        first = np.asarray(volumes[(volumes.runs == found.runs[0]) & (volumes.y == "face")])
        np.testing.assert_allclose(np.asarray(found)[0], first.mean(axis=0), rtol=1e-6)

    def test_are_trials_in_the_order_of_events_with_runs_and_groups(self, many):
        rows = [(3 * number, 1, "ab"[number % 2]) for number in range(8)] + [(28, 1, None)]
        for path in many.rglob("*_events.tsv"):
            write_events(path, rows)
        found = load_bids_samples(many, task="see", samples="trials", groups="subject")
        assert found.y.tolist() == list("abababab") * 4
        assert found.runs[::8].tolist() == runs_of(many, samples="trials")
        assert found.groups[::16].tolist() == ["sub-43", "sub-44"]
        chosen = load_bids_samples(many, task="see", samples="trials", classes=["b"])
        # Other events have their part in the model all the same.
        np.testing.assert_array_equal(np.asarray(chosen), np.asarray(found[found.y == "b"]))
        conditions = load_bids_samples(many, task="see", samples="conditions")
        assert conditions.y.tolist() == ["a", "b"] * 4

    def test_are_estimated_at_the_times_of_volumes(self, study):
        """A voxel that follows the response of nilearn exactly has estimates of 1 and 2."""
        onsets, times = np.array([2.0, 9, 16, 24]), 0.7 + 2.0 * np.arange(20)
        size = np.array([1.0, 2, 1, 2])
        response = sum(
            compute_regressor([[onset], [1], [weight]], "glover", times)[0][:, 0]
            for onset, weight in zip(onsets, size, strict=True)
        )
        rng = np.random.default_rng(0)
        volumes = np.multiply.outer(rng.uniform(1, 2, (3, 4, 5)), response) + 100
        image = nibabel.Nifti1Image(volumes, np.eye(4))
        image.header.set_zooms((1, 1, 1, 2))
        image.header.set_xyzt_units("mm", "sec")
        nibabel.save(image, study / IMAGE)
        sidecar = study / "sub-01/func/sub-01_task-see_bold.json"
        sidecar.write_text(json.dumps({"StartTime": 0.7}))
        write_events(
            study / TABLE, [(o, 1, f"size{w:g}") for o, w in zip(onsets, size, strict=True)]
        )
        options = {"task": "see", "samples": "conditions", "standardize": False}
        one, two = np.asarray(load_bids_samples(study, **options))
        np.testing.assert_allclose(two / one, 2, rtol=1e-3)
        one, two = np.asarray(load_bids_samples(study, clean=False, **options))
        np.testing.assert_allclose(two, 2 * one, rtol=1e-3)

    def test_of_runs_without_events_name_the_runs_to_exclude(self, many):
        write_events(many / "sub-44/func/sub-44_task-see_run-1_events.tsv", [])
        with pytest.raises(ValueError, match=r'no events.*exclude=\["sub-44_run-1"\]'):
            load_bids_samples(many, task="see", samples="trials")
        options = {"samples": "trials", "exclude": ["sub-44_run-1"]}
        assert len(load_bids_samples(many, task="see", **options)) == 6
