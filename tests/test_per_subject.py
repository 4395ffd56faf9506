"""One decoder per subject from the command line."""

import html
import json
import re
import shutil

import nibabel
import numpy as np
import pandas as pd
import pytest

from skfmri.cli.commands import main
from skfmri.cli.subjects import separate_groups
from skfmri.report import write_report

N_RUNS, PER_RUN = 3, 8


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Return a folder with one image per subject, and a table of all volumes."""
    folder, rng = tmp_path_factory.mktemp("study"), np.random.default_rng(0)
    rows = []
    for subject in ("01", "02", "03"):
        y = np.tile(np.repeat(["face", "house"], PER_RUN // 2), N_RUNS)
        volumes = 100 + rng.normal(size=(7, 8, 6, len(y)))
        volumes[2:5, 2:6, 2:4] += 2 * (y == "house")
        nibabel.save(
            nibabel.Nifti1Image(volumes.astype(np.float32), np.diag([4.0, 4, 4, 1])),
            folder / f"{subject}.nii",
        )
        rows.append(
            pd.DataFrame(
                {
                    "label": y,
                    "group": np.repeat(np.arange(1, 1 + N_RUNS), PER_RUN),
                    "subject": subject,
                    "event": np.arange(len(y)),
                }
            )
        )
    pd.concat(rows).to_csv(folder / "labels.csv", index=False)
    return folder


def decode(study, out, *options, table="labels.csv", column=("--subject-column", "subject")):
    images = [str(study / f"{name}.nii") for name in ("01", "02", "03")]
    slab = ("--angle", "0", "--slab", "1:4", "--mean-threshold", "none")
    return main(
        [
            *("decode", *images, "--labels", str(study / table), "--per-subject", *column),
            *("--out", str(out), "--decoder", "linear", "--no-baseline", "--quiet", *slab),
            *("--block-column", "event"),
            *options,
        ]
    )


@pytest.fixture(scope="module")
def run(study, tmp_path_factory):
    out = tmp_path_factory.mktemp("results") / "out"
    assert decode(study, out) == 0
    return out


class TestResults:
    def test_a_subject_has_a_row_with_its_scores(self, run):
        table = pd.read_csv(run / "subjects.csv", dtype={"subject": str})
        own = table[(table["model"] == "decoder") & (table["metric"] == "accuracy")]
        assert own["subject"].tolist() == ["01", "02", "03"]
        assert (own["score"] > 0.7).all()
        assert own["p_value"].notna().all()
        summary = pd.read_csv(run / "summary.csv").iloc[0]
        assert summary["score"] == pytest.approx(own["score"].mean())

    def test_no_subject_trains_the_decoder_of_another(self, run):
        folds = pd.read_csv(run / "folds.csv", dtype={"subject": str})
        own = folds[folds["model"] == "decoder"]
        assert len(own) == 9
        assert (own["n_train"] == (N_RUNS - 1) * PER_RUN).all()

    def test_groups_that_subjects_share_are_made_different(self, run):
        groups = pd.read_csv(run / "groups.csv")["group"].unique()
        assert sorted(groups) == sorted(f"0{s} {r}" for s in (1, 2, 3) for r in (1, 2, 3))

    def test_the_manifest_lists_all_files(self, run):
        listed = json.loads((run / "manifest.json").read_text())["files"]
        found = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()} - {
            "manifest.json"
        }
        assert found <= set(listed)
        assert {"ledgers/subject-01.jsonl", "subjects.csv", "maps/fold009.nii.gz"} <= found

    def test_the_record_has_a_seed_per_subject(self, run):
        seeds = json.loads((run / "settings.json").read_text())["subjects"]["random_states"]
        assert list(seeds) == ["01", "02", "03"]
        assert len(set(seeds.values())) == 3


def page_of(directory):
    """Return the text of a report without its tags, pictures and style."""
    text = (directory / "report.html").read_text()
    text = re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)
    text = html.unescape(re.sub(r"<[^>]*>", " ", text))
    return re.sub(r"\s+", " ", text)


class TestReport:
    def test_shows_the_subjects_and_their_mean(self, run):
        page = page_of(run)
        assert "Subjects 3, each with a decoder" in page
        assert "Subject Decoder accuracy Decoder balanced accuracy 95% interval Chance p 01" in page
        assert "mean accuracy" in page
        assert "SD of subjects" in page
        assert "Means are over subjects, each the mean over its folds." in page
        assert "Fold Subject Held-out groups" in page
        source = (run / "report.html").read_text()
        assert re.search(r'alt="Accuracy of 3 subjects, from [\d.]+ to [\d.]+, mean', source)

    def test_methods_say_how_subjects_were_decoded_and_tested(self, run):
        page = page_of(run)
        for sentence in (
            "Each of 3 subjects had a decoder, trained and tested on its volumes alone.",
            "each of the 9 groups was tested once, by a decoder trained on the other groups of "
            "this subject: 16 volumes for training and 8 for testing in each fold.",
            "are means over subjects of the mean over folds.",
            "(as in Stelzer et al. 2013)",
            "not that most can (Allefeld et al. 2016).",
            "The mean accuracy of 3 subjects was",
        ):
            assert sentence in page
        assert "10.1016/j.neuroimage.2012.09.063" in page

    def test_can_be_made_again_from_the_files(self, run):
        before = (run / "report.html").read_text()
        assert main(["report", str(run), "--quiet"]) == 0
        assert (run / "report.html").read_text() == before

    def test_needs_the_table_of_subjects(self, run, tmp_path):
        shutil.copytree(run, tmp_path / "out")
        (tmp_path / "out" / "subjects.csv").unlink()
        with pytest.raises(ValueError, match=r"it has no subjects\.csv"):
            write_report(tmp_path / "out")

    def test_a_table_of_somebody_else_is_not_read(self, run, tmp_path):
        shutil.copytree(run, tmp_path / "out")
        record = json.loads((tmp_path / "out" / "settings.json").read_text())
        record["subjects"] = None
        (tmp_path / "out" / "settings.json").write_text(json.dumps(record))
        (tmp_path / "out" / "subjects.csv").write_text("something,else\n1,2\n")
        write_report(tmp_path / "out")
        assert "Subjects 3" not in page_of(tmp_path / "out")


@pytest.mark.usefixtures("undrawn")
class TestResume:
    def test_the_same_command_goes_on(self, study, run, tmp_path, monkeypatch):
        from skfmri.report import directory

        calls = []

        def stop(*args, **options):
            calls.append(args)
            if len(calls) == 4:
                raise OSError("stopped")
            directory.save_fold_map(*args, **options)

        monkeypatch.setattr("skfmri.cli.decode.save_fold_map", stop)
        assert decode(study, tmp_path / "out") == 2
        before = (tmp_path / "out" / "ledgers" / "subject-01.jsonl").read_bytes()
        monkeypatch.undo()
        assert decode(study, tmp_path / "out", "--resume") == 0
        after = (tmp_path / "out" / "ledgers" / "subject-01.jsonl").read_bytes()
        assert after.startswith(before)
        for name in ("predictions.csv", "subjects.csv", "summary.csv"):
            assert (tmp_path / "out" / name).read_text() == (run / name).read_text()

    def test_overwriting_leaves_what_skfmri_did_not_make(self, study, tmp_path):
        out = tmp_path / "out"
        assert decode(study, out, "--no-maps") == 0
        (out / "ledgers" / "mine.txt").write_text("keep")
        assert decode(study, out, "--no-maps", "--overwrite", "--seed", "1") == 0
        assert (out / "ledgers" / "mine.txt").read_text() == "keep"

    def test_foreign_ledgers_are_refused(self, study, tmp_path, capsys):
        (tmp_path / "ledgers").mkdir()
        assert decode(study, tmp_path) == 2
        assert "holds ledgers, which no run" in capsys.readouterr().err


class TestRefusals:
    def test_a_model(self, study, tmp_path, capsys):
        assert decode(study, tmp_path / "out", "--model", str(tmp_path / "m.skfmri")) == 2
        assert "--model saves one decoder, but --per-subject" in capsys.readouterr().err

    def test_no_column_of_subjects(self, study, tmp_path, capsys):
        assert decode(study, tmp_path / "out", column=()) == 2
        assert "add --subject-column NAME" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                ("02", "group", "1"),
                "1 of 3 subjects cannot be decoded alone: 02 has one group only",
            ),
            (("02", "label", "face"), "02 has no sample of house. Leave them out: name the others"),
            (("02", "subject", ""), "names no subject in 24 labelled rows, first in row 25"),
        ],
    )
    def test_subjects_that_cannot_be_decoded(self, study, tmp_path, capsys, change, message):
        table = pd.read_csv(study / "labels.csv", dtype=str)
        subject, column, value = change
        table.loc[table["subject"] == subject, column] = value
        table.to_csv(study / "changed.csv", index=False)
        assert decode(study, tmp_path / "out", table="changed.csv") == 2
        assert message in capsys.readouterr().err

    def test_folds_that_a_subject_is_too_small_for(self, study, tmp_path, capsys):
        assert decode(study, tmp_path / "out", "--folds", "4") == 2
        assert "--folds 4 is not possible with 3 groups" in capsys.readouterr().err


def test_groups_are_separated_only_if_subjects_share_them():
    groups, subjects = pd.Series(["1", "2", "1"]), pd.Series(["x", "x", "y"])
    assert separate_groups(groups, subjects).tolist() == ["x 1", "x 2", "y 1"]
    assert separate_groups(groups, pd.Series(["x", "y", "x"])).tolist() == ["1", "2", "1"]
