import base64
import json
import re
import warnings
from xml.etree import ElementTree

import nibabel
import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.metrics import precision_score, recall_score, roc_auc_score

from skfmri.report import pictures, write_report
from skfmri.report.results import read_results
from skfmri.report.words import MINUS, typeset

from .pages import AWKWARD, Page, methods_of, page_of, plain, write_results


class TestThePage:
    def test_has_its_sections_in_order_each_in_the_table_of_contents(self, page):
        headings = [element["text"] for element in page.all("h2")]
        assert headings == [
            *("Data", "Slab", "Scores", "Folds", "Learning curves", "Confusion matrix"),
            *("Probabilities", "Maps", "Methods", "References", "Settings", "Software"),
        ]
        links = [a for a in page.all("a") if a["href"].startswith("#")]
        assert [a["text"] for a in links] == headings
        assert [a["href"] for a in links] == [f"#{h2['id']}" for h2 in page.all("h2")]
        assert page.all("html")[0]["lang"] == "en"
        assert page.all("meta", name="viewport")

    @pytest.mark.parametrize("name", ["page", "awkward_page"])
    def test_holds_every_image_and_says_what_it_shows(self, name, request):
        images = request.getfixturevalue(name).all("img")
        assert len(images) == 8
        for image in images:
            assert re.match(r"data:image/(png|svg\+xml);base64,", image["src"])
            assert re.search(r"\d", image["alt"])

    @pytest.mark.parametrize("name", ["page", "awkward_page"])
    def test_refers_to_nothing_outside_but_for_links_to_publications(self, name, request):
        for element in request.getfixturevalue(name).elements:
            for attribute in ("src", "href", "srcset", "action", "data", "poster"):
                value = element.get(attribute, "")
                if "//" in value and not value.startswith("data:"):
                    assert element["tag"] == "a"
                    assert value.startswith("https://doi.org/10.")
            assert element["tag"] != "script"
            assert "url(" not in element.get("style", "")

    def test_style_loads_nothing(self, page):
        (style,) = page.all("style")
        assert not re.search(r"url\(|@import|//", style["text"])

    def test_alt_text_gives_the_numbers_of_the_confusion_matrix(self, page, ordinary):
        rows = pd.read_csv(ordinary / "predictions.csv")
        rows = rows[rows["model"] == "decoder"]
        right = (rows["label"] == rows["predicted"]).groupby(rows["label"]).mean()
        shares = f"closed {right['closed']:.2f} correct, open {right['open']:.2f} correct"
        alt = f"Confusion matrix: {shares}."
        assert page.all("img", alt=alt)

    def test_begins_with_the_answer(self, page, ordinary):
        sentences = json.loads((ordinary / "settings.json").read_text())["sentences"]
        (header,) = page.all("header")
        assert "p = " in " ".join(sentences)
        for sentence in sentences:
            assert typeset(sentence) in header["text"]
        assert page.all("p", **{"class": "answer"})[0]["text"] == typeset(sentences[0])
        assert not page.all("div", **{"class": "warning"})

    def test_shows_scores_of_folds_with_their_mean_and_standard_deviation(self, page, ordinary):
        folds = pd.read_csv(ordinary / "folds.csv")
        scores = folds.loc[folds["model"] == "decoder", "accuracy"]
        text = page.section("folds")
        assert f"Mean {scores.mean():.3f}" in text
        assert f"SD {scores.std():.3f}" in text

    def test_counts_volumes_of_each_group_and_class(self, page):
        text = page.section("data")
        assert "Volumes 16" in text
        assert "Group closed open All 0 2 2 4 1 2 2 4" in text
        assert "All 8 8 16 Share 0.500 0.500 1.000" in text

    def test_shows_differences_with_intervals_and_p(self, page, ordinary):
        row = pd.read_csv(ordinary / "comparisons.csv").iloc[2]
        assert (row["baseline"], row["metric"]) == ("dummy", "accuracy")
        shown = f"dummy accuracy +{row['difference']:.3f} +{row['low']:.3f} to +{row['high']:.3f}"
        assert shown in page.section("scores")

    def test_draws_the_folds_of_decoder_and_baselines_with_chance(self, page, ordinary):
        folds = pd.read_csv(ordinary / "folds.csv").groupby("model")["accuracy"]
        spans = [
            f"{model} from {folds.min()[model]:.3f} to {folds.max()[model]:.3f}"
            for model in ("decoder", "linear")
        ]
        assert page.all("img", alt=f"Accuracy of each fold: {spans[0]} and {spans[1]}.")

    def test_shows_recall_precision_and_roc_auc_of_each_class(self, page, ordinary):
        rows = pd.read_csv(ordinary / "predictions.csv")
        rows = rows[rows["model"] == "decoder"]
        recall = recall_score(rows["label"], rows["predicted"], labels=["open"], average=None)
        precision = precision_score(rows["label"], rows["predicted"], labels=["open"], average=None)
        areas = [
            roc_auc_score(fold["label"] == "open", fold["p_open"])
            for _, fold in rows.groupby("fold")
        ]
        shown = f"open 8 {recall[0]:.3f} {precision[0]:.3f} {np.mean(areas):.3f}"
        assert shown in page.section("confusion")

    def test_says_when_and_by_which_command_it_was_made(self, page):
        assert "Date 2026-11-28 14:05+01:00 Command skfmri demo --seed 7" in page.section("data")

    def test_many_images_fold_out(self, tmp_path):
        names = [f"sub-{number:02}.nii.gz" for number in range(12)]
        source = {
            "kind": "table",
            "images": names,
            "labels": "labels.csv",
            "not_finite": [],
            "columns": {"label": "label", "group": "subject", "run": None, "block": None},
            "classes": None,
            "drop": None,
        }
        page = page_of(write_results(tmp_path, record={"source": source}))
        assert "Images 12" in page.section("data")
        (folded,) = (part for part in page.all("details") if "Names of the images" in part["text"])
        assert plain(folded["text"]).endswith(" ".join(names))

    def test_the_map_can_be_looked_around_in_without_a_network(self, page):
        (frame,) = page.all("iframe")
        assert "<canvas" in frame["srcdoc"]
        assert "brainsprite" in frame["srcdoc"].lower()
        assert not re.search(r"(src|href)=.https?:", frame["srcdoc"])
        (part,) = page.all("details", **{"class": "browser"})
        assert f"{max(len(frame['srcdoc']) / 1e6, 0.1):.1f} MB" in part["text"]

    def test_all_maps_are_of_one_size(self, ordinary):
        results = read_results(ordinary)
        anatomy = results.images["mean"]
        sizes = {
            base64.b64decode(draw(results, anatomy).source.partition(",")[2])[16:24]
            for draw in (pictures.saliency_picture, pictures.sign_picture)
        }
        assert len(sizes) == 1

    def test_says_that_a_map_is_not_where_information_is(self, page):
        text = page.section("maps")
        assert "Integrated gradients (Sundararajan et al. 2017; 16 steps" in text
        assert "It does not show where information is" in text

    def test_is_small(self, ordinary, awkward):
        assert (ordinary / "report.html").stat().st_size < 1e6
        assert (awkward / "report.html").stat().st_size < 3e6

    def test_is_the_same_for_the_same_results(self, ordinary, tmp_path):
        again = write_report(ordinary, path=tmp_path / "again.html")
        assert again.read_bytes() == (ordinary / "report.html").read_bytes()

    def test_can_be_read_by_a_program_that_reads_tables_aloud(self, page):
        tables = page.all("table")
        assert len(page.all("caption")) == len(tables) == 9
        assert all(element.get("scope") in ("col", "row") for element in page.all("th"))
        for box in page.all("div", **{"class": "scroll"}):
            assert box["tabindex"] == "0"
            assert box["aria-label"]


class TestAwkwardNames:
    def test_stay_text(self, awkward_page, awkward):
        text = (awkward / "report.html").read_text(encoding="utf-8")
        assert "<script" not in text
        assert "<identical>" not in text
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
        data = awkward_page.section("data")
        assert all(name in data for name in AWKWARD)
        assert "sub-47<b>&xxx" in data

    def test_stay_what_they_are(self, awkward):
        results = read_results(awkward)
        assert results.classes == sorted(AWKWARD)
        assert set(results.predictions["label"]) == set(AWKWARD)
        assert results.volumes_per_group().to_numpy().tolist() == 48 * [9 * [2]]

    def test_stay_apart_in_pictures(self):
        short = pictures.short_names(AWKWARD)
        assert len(set(short.values())) == len(AWKWARD)
        assert max(map(len, short.values())) <= pictures.LONGEST_NAME + 1
        assert not any(name.startswith("_") for name in short.values())

    def test_leaks_that_were_ignored_stand_in_the_header(self, awkward_page):
        (box,) = awkward_page.all("div", **{"class": "leak"})
        assert "Do not trust these scores" in box["text"]
        assert "Split 0 has <identical> volumes on both sides." in box["text"]


HOSTILE = ["a\x00b", "\x1b[31mred", "\r\n", "=cmd|' /C calc'!A0", "\u202ederas", "\u65e5\u672c"]
ESCAPED = [r"a\x00b", r"\x1b[31mred", r"\r\n", "=cmd|' /C calc'!A0", r"\u202ederas", "\u65e5\u672c"]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A directory of results whose names would move a cursor, end a row or begin a formula."""
    record = {"source": {"kind": "simulated", "seed": 7}, "leaks_ignored": ["Split \x07 leaks."]}
    directory = tmp_path_factory.mktemp("hostile")
    write_results(directory, HOSTILE, ["s\x001", "s\x9b2", "s3", "s4"], record=record)
    with warnings.catch_warnings():
        # What lacks a glyph is named by tests of pictures.
        warnings.filterwarnings("ignore", message=".* in none of the fonts")
        write_report(directory)
    return directory


class TestNamesOfControlCharacters:
    def test_are_shown_as_escapes(self, hostile):
        page = Page((hostile / "report.html").read_text(encoding="utf-8"))
        (confusion,) = [t for t in page.all("table") if t["text"].strip().startswith("Predictions")]
        for name in ESCAPED:
            assert name in confusion["text"]
        assert r"s\x001" in page.section("data")
        assert r"s\x9b2" in page.section("data")
        assert r"Split \x07 leaks." in page.all("header")[0]["text"]

    def test_leave_no_character_that_a_page_or_a_picture_must_not_have(self, hostile):
        text = (hostile / "report.html").read_text(encoding="utf-8")
        forbidden = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]")
        assert not forbidden.search(text)
        images = Page(text).all("img")
        drawings = [i["src"].split(",")[1] for i in images if "svg" in i["src"][:20]]
        assert len(drawings) == 5
        for drawing in drawings:
            ElementTree.fromstring(base64.b64decode(drawing))

    def test_come_back_from_the_tables_as_they_were(self, hostile):
        results = read_results(hostile)
        assert set(results.predictions["label"]) == set(results.classes) == set(HOSTILE)
        assert set(results.folds["groups_held_out"]) == {"s\x001", "s\x9b2", "s3", "s4"}


class TestWhatMayBeAbsent:
    def test_a_better_linear_model_is_a_warning(self, tmp_path):
        page = page_of(write_results(tmp_path, decoder=DummyClassifier(strategy="uniform")))
        (warning,) = page.all("div", **{"class": "warning"})
        assert "The decoder is worse than linear by" in warning["text"]
        assert "Recommended here: logistic regression" in page.all("header")[0]["text"]

    def test_images_of_an_older_version(self, tmp_path):
        write_results(tmp_path, volumes=[])
        record = json.loads((tmp_path / "settings.json").read_text())
        for name in ("slab", "network", "saliency"):
            del record[name]
        for name in ("volumes_per_group", "voxel_sizes_mm", "n_runs"):
            del record["data"][name]
        (tmp_path / "settings.json").write_text(json.dumps(record))
        page = page_of(tmp_path)
        assert "slab.nii.gz and mean.nii.gz are not in the directory" in page.section("slab")
        assert "saliency.nii.gz and mean.nii.gz are not" in page.section("maps")
        assert "Group closed open All 0 2 2 4" in page.section("data")
        assert "Voxel size 4 x 4 x 4 mm" in page.section("data")
        assert len(page.all("img")) == 5
        assert "Maps" not in methods_of(tmp_path)

    def test_maps(self, tmp_path):
        page = page_of(write_results(tmp_path, volumes=["mean", "slab"], record={"saliency": None}))
        assert "The run was made without maps." in page.section("maps")
        assert len(page.all("img")) == 6

    def test_baseline_probabilities_curves_and_scores(self, tmp_path):
        def poor(result):
            for table in (result.summary, result.folds, result.comparisons):
                numbers = table.columns.intersection(["score", "low", "high", "std", "p_value"])
                table[numbers] = np.nan
            result.folds["accuracy"] = np.nan
            result.comparisons["difference"] = np.nan
            for name in ("p_closed", "p_open"):
                del result.predictions[name]

        write_results(tmp_path, change=poor, argv=["--no-baseline"])
        (tmp_path / "learning_curves.csv").write_text("fold,epoch,loss,accuracy\n")
        page = page_of(tmp_path)
        assert "left no learning curves" in page.section("curves")
        assert "gave no probabilities" in page.section("probabilities")
        assert "decoder accuracy none none none 0.500" in page.section("scores")
        assert "Mean none" in page.section("folds")
        assert "nan" not in page.section("scores") + page.section("folds")
        assert "Accuracy has no mean" in page.section("methods")
        assert "logistic regression" not in page.section("methods")

    def test_validation_curves_are_described_where_there_are_some(self, tmp_path, page):
        assert "No groups were held out for validation" in page.section("curves")
        curves = {"loss": [3.0, 2, 1], "accuracy": [0.5, 0.6, 0.7]}
        curves |= {f"val_{name}": values for name, values in curves.items()}
        validated = page_of(write_results(tmp_path, curves=curves, argv=["--patience", "2"]))
        assert "held out of training for early stopping" in validated.section("curves")
        alts = [image["alt"] for image in validated.all("img")]
        assert any("validation from 3.000 to 1.000" in alt for alt in alts)

    def test_an_anatomy_of_the_users_own_is_drawn_on(self, ordinary, tmp_path):
        volume = np.random.default_rng(1).random((14, 16, 18))
        image = nibabel.Nifti1Image(volume.astype(np.float32), np.diag([2.0, 2, 2, 1]))
        page = page_of(ordinary, path=tmp_path / "report.html", anatomy=image)
        assert "on the given anatomy" in page.section("slab")
        far = nibabel.Nifti1Image(
            image.get_fdata(), nibabel.affines.from_matvec(np.eye(3), [500] * 3)
        )
        with pytest.raises(ValueError, match="The anatomy does not fit the results"):
            write_report(ordinary, path=tmp_path / "far.html", anatomy=far)
        assert not (tmp_path / "far.html").exists()


def test_the_command_leaves_a_report_of_its_run(decoded):
    page = Page((decoded / "report.html").read_text(encoding="utf-8"))
    assert page.all("h1")[0]["text"] == "Decoding cat or dog"
    assert len(page.all("img")) == 8
    said = plain(page.section("methods"))
    assert "18 volumes of 2 classes (9 cat and 9 dog)" in said
    assert "rotated by 0.1 rad" in said
    assert "averaged over 3 folds" in said
    record = json.loads((decoded / "settings.json").read_text())
    assert f"{record['network']['n_parameters']:,} parameters" in said
    shown = {row["text"].split()[0] for row in page.all("tr")}
    assert record["settings"].keys() | record["versions"].keys() <= shown


def test_numbers_in_sentences_are_those_of_the_tables():
    given = "Worse: -0.057, 95% interval -0.110 to +0.005, p = 0.000999. See ds-12 (p = 4.2e-07)."
    expected = "Worse: -0.057, 95% interval -0.110 to +0.005, p = 0.001. See ds-12 (p < 0.0001)."
    expected = expected.replace("-0", f"{MINUS}0")
    assert typeset(given) == expected
