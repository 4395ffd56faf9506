"""What the terminal shows of a long run while it lasts."""

import pickle
import re

import joblib
import nibabel
import numpy as np
import pandas as pd
import pytest
from rich.progress import Progress

import skfmri.cli.disk
from skfmri.cli import main
from skfmri.cli.arguments import make_parser
from skfmri.cli.inputs import read_inputs
from skfmri.cli.terminal import TimeLeftColumn, make_console, show_folds, show_phase, watched
from skfmri.estimators import SlabCNNClassifier
from skfmri.preprocessing import NiftiSlabRotator, clean_runs
from skfmri.samples import NiftiSamples

SHAPE = (12, 13, 10)
AFFINE = np.diag([3.0, 3, 3, 1])
ROW = {"model": "decoder", "accuracy": 0.5, "seconds_fit": 1.0, "seconds_predict": 0.0}
TINY = ["--filters", "2", "--n-blocks", "0", "--dense-units", "2", "--epochs", "1"]


@pytest.fixture(autouse=True)
def _terminal(tmp_path, monkeypatch):
    """Draw bars although nobody looks, and clean runs that others may have cleaned before."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("SKFMRI_CACHE", str(tmp_path / "cache"))


def make_volumes():
    volumes = np.random.default_rng(0).normal(10, 0.3, (24, *SHAPE)).astype(np.float32)
    volumes[:, 4:8, 4:9, 2:8] += 3
    return volumes


@pytest.fixture
def cleaned():
    samples = NiftiSamples.from_array(make_volumes(), AFFINE, runs=np.repeat(["a", "b", "c"], 8))
    return clean_runs(samples)


@pytest.fixture
def study(tmp_path):
    paths = []
    for number, part in enumerate(np.split(make_volumes(), 3)):
        paths.append(str(tmp_path / f"run{number}.nii.gz"))
        nibabel.save(nibabel.Nifti1Image(np.moveaxis(part, 0, -1), AFFINE), paths[-1])
    table = pd.DataFrame({"label": ["cat", "dog"] * 12, "group": np.repeat([1, 2, 3], 8)})
    table.to_csv(tmp_path / "labels.csv", index=False)
    return ["decode", *paths, "--labels", str(tmp_path / "labels.csv")]


def shown(capsys):
    """Lines that were drawn, without colours."""
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().out)
    return [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]


def runs_of(lines):
    """Runs of which the lines say that they are cleaned, in order, each once."""
    found = (re.match(r"(.*), cleaning run (\d) of (\d)", line) for line in lines)
    return list(dict.fromkeys(match.groups() for match in found if match))


def test_volumes_are_counted_while_they_are_read(capsys):
    batches = [np.zeros((2, 1)), np.zeros((3, 1))]
    read = watched(make_console(False), "looking", batches, 5)
    assert [len(batch) for batch in read] == [2, 3]
    lines = shown(capsys)
    assert "looking" in lines[0]
    assert "0/5" in lines[0]
    assert "5/5" in lines[-1]


def test_each_run_is_named_before_it_is_cleaned_and_not_if_it_is_kept(cleaned, capsys):
    rotator = NiftiSlabRotator(0.1, slab=(2, 5))
    with show_phase(make_console(False), "fitting", cleaned):
        rotator.fit(cleaned)
    assert runs_of(shown(capsys)) == [("fitting", str(n), "3") for n in (1, 2, 3)]
    with show_phase(make_console(False), "cutting", cleaned):
        rotator.transform(cleaned[8:])
    assert runs_of(shown(capsys)) == [("cutting", str(n), "3") for n in (2, 3)]
    with show_phase(make_console(False), "again", cleaned):
        rotator.transform(cleaned[8:])
    lines = shown(capsys)
    assert runs_of(lines) == []
    assert "again" in lines[0]
    rotator.transform(cleaned)
    assert shown(capsys) == []


def test_what_is_watched_is_pickled_and_hashed_like_any_other(cleaned):
    expected = joblib.hash(cleaned)
    with show_phase(make_console(True), "fitting", cleaned):
        assert joblib.hash(cleaned) == expected
        copy = pickle.loads(pickle.dumps(cleaned))
    np.testing.assert_array_equal(copy, cleaned)


def test_a_phase_that_fails_leaves_nobody_watching(cleaned, capsys):
    with pytest.raises(KeyError), show_phase(make_console(False), "fitting", cleaned):
        raise KeyError
    shown(capsys)
    np.asarray(cleaned)
    assert shown(capsys) == []


def test_quiet_shows_nothing(cleaned, capsys):
    console = make_console(True)
    with show_phase(console, "fitting", cleaned):
        np.asarray(cleaned)
    list(watched(console, "looking", [np.zeros(3)], 3))
    assert capsys.readouterr().out == ""


def test_a_file_or_pipe_gets_lines_and_no_bars(cleaned, capsys, monkeypatch):
    monkeypatch.delenv("FORCE_COLOR")
    console = make_console(False)
    console.print("before")
    list(watched(console, "looking", [np.zeros((3, 1))], 3))
    with show_phase(console, "fitting", cleaned):
        np.asarray(cleaned)
    with show_folds(console, 2) as on_fold:
        on_fold({"fold": 0, **ROW})
    console.print("after")
    assert capsys.readouterr().out == "before\nfold 1 of 2: accuracy 0.500, 1.0 s\nafter\n"


class TestTimeLeft:
    """Of four folds of ten seconds each, with a clock that only these tests move."""

    @pytest.fixture
    def left(self):
        """Return a function that moves the clock, ends folds and gives the time that is left."""
        now, column = [0.0], TimeLeftColumn()
        progress = Progress(get_time=lambda: now[0], disable=True)
        task = progress.add_task("folds", total=4)

        def after(seconds, n_done=0, **fields):
            now[0] += seconds
            progress.update(task, advance=n_done, **fields)
            return column.render(progress.tasks[0]).plain

        return after

    def test_nothing_is_said_before_the_first_fold_and_after_the_last(self, left):
        assert left(5) == ""
        assert left(5, n_done=1) == "0:00:30 left"
        assert left(30, n_done=3) == ""

    def test_it_counts_down_within_a_fold_and_never_below_zero(self, left):
        left(10, n_done=1)
        assert left(4) == "0:00:26 left"
        assert left(40) == "0:00:00 left"

    def test_it_keeps_up_with_the_pace(self, left):
        left(10, n_done=1)
        assert left(3600, n_done=1) == "1:00:10 left"

    def test_folds_of_an_earlier_run_took_no_time(self, left):
        assert left(1, n_done=2, kept=2) == ""
        assert left(9, n_done=1) == "0:00:10 left"


def test_folds_that_took_longer_than_the_run_so_far_are_those_of_an_earlier_one(capsys):
    with show_folds(make_console(False), 4) as on_fold:
        on_fold({"fold": 0, **ROW, "seconds_fit": 1000.0})
        on_fold({"fold": 1, **ROW, "seconds_fit": 0.0})
    lines = [line for line in shown(capsys) if line.startswith("folds")]
    assert re.search(r"2/4 0:00:00 0:00:00 left$", lines[-1])


@pytest.mark.usefixtures("undrawn")
def test_a_run_shows_its_phases_in_order(study, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(skfmri.cli.disk, "WORTH_SAYING", 1000)
    options = ["--clean", "--slab", "2:5", "--angle", "0.1", *TINY, "--no-baseline"]
    assert main([*study, "--out", str(tmp_path / "out"), *options]) == 0
    lines = shown(capsys)
    assert lines[0].startswith("up to about 0.0 GB in ")
    phases = ["looking at the volumes", "looking for leaks", "cutting the slab", "folds", "epochs"]
    phases += ["averaging the volumes", "averaging the maps", "writing the report"]
    started = [next(i for i, line in enumerate(lines) if line.startswith(p)) for p in phases]
    assert started == sorted(started)
    assert any("24/24" in line for line in lines[started[0] : started[1]])
    cleaned = runs_of(lines)
    assert {("cutting the slab", str(n), "3") for n in (1, 2, 3)} <= set(cleaned)
    # Nothing is left to be cleaned while the folds are trained.
    names = {path.name for path in (tmp_path / "cache").iterdir()}
    assert sum("-part-" in name for name in names) == 3


def test_permutations_that_train_anew_are_counted_after_the_folds(capsys):
    network = SlabCNNClassifier(epochs=1)

    def train():
        (bar,) = network._skl_callbacks
        bar.setup(network, None)
        bar.teardown(network, None)

    with show_folds(make_console(False), 3, network, 10) as on_fold:
        for fold in range(3):
            train()
            on_fold({**ROW, "fold": fold})
        for _ in range(15):
            train()
    lines = [line for line in shown(capsys) if line.startswith("permutations")]
    assert re.search(r"\b5/10\b", lines[-1])
    with show_folds(make_console(False), 3, network) as on_fold:
        for fold in range(3):
            train()
            on_fold({**ROW, "fold": fold})
    assert not any(line.startswith("permutations") for line in shown(capsys))


def test_decoded_copies_are_not_made_of_images_that_are_cleaned(study, tmp_path, monkeypatch):
    monkeypatch.setattr("skfmri.samples.sources.UNKEPT_BYTES", 0)
    cache = tmp_path / "cache"
    args = make_parser().parse_args([*study, "--out", "x", "--quiet", "--clean"])
    read_inputs(args)
    assert not cache.exists() or list(cache.iterdir()) == []
    args.clean = False
    read_inputs(args)
    assert len(list(cache.iterdir())) == 3
