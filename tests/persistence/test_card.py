import zipfile

import numpy as np
import pytest

import skfmri
from skfmri.persistence import model_card, save, training_record

AFFINE = np.array([[-3.0, 0, 0, 12], [0, 3, 0, -13], [0, 0, 3, -15], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def card(models, samples, tmp_path_factory):
    path = tmp_path_factory.mktemp("card") / "model.skfmri"
    result = skfmri.evaluate_decoder(models["linear"], samples, baseline=None, random_state=0)
    save(models["linear"], path, samples=samples, result=result)
    return path, result


class TestModelCard:
    def test_it_tells_scores_data_settings_and_versions(self, card):
        path, result = card
        text = model_card(path)
        row = result.summary.iloc[0]
        numbers = f"{row['score']:.3f} | {row['low']:.3f} to {row['high']:.3f} | 0.500"
        assert f"| decoder | accuracy | {numbers} |" in text
        assert "in 3 folds that hold out whole groups, of which there are 3" in text
        assert "24 volumes of 9 x 10 x 11 voxels of 3 x 3 x 3 mm, in 3 groups" in text
        assert "volumes per class: cat 12, house 12" in text
        assert "groups: s1, s2, s3" in text
        assert "slab: NiftiSlabRotator(angle=0.1, " in text
        assert "linear: LogisticRegression(C=1.0, " in text
        assert f"skfmri {skfmri.__version__}, scikit-learn " in text
        assert 'skfmri.load("FILE")' in text
        record = training_record(path)["result"]
        assert record["summary"][0]["score"] == row["score"]
        assert record["sentences"] == result.sentences()

    def test_it_lies_in_the_file_as_its_readme(self, card):
        with zipfile.ZipFile(card[0]) as file:
            assert file.read("README.md").decode() == model_card(card[0])

    def test_groups_that_stopped_the_training_are_named(self, saved, models):
        name = models["network"].validation_groups_[0]
        expected = f"held out of these, to find the epoch to stop at: groups {name}"
        assert expected in model_card(saved / "network.skfmri")

    def test_names_cannot_break_its_tables(self, tmp_path):
        X, y = np.zeros((4, 3, 4, 5)), np.array(["a|b", "`c` *d*"] * 2)
        samples = skfmri.NiftiSamples.from_array(X, AFFINE, y=y, groups=["<b>", "[x](y)"] * 2)
        save(skfmri.VoxelZScorer().fit(samples), tmp_path / "model.skfmri", samples=samples)
        text = model_card(tmp_path / "model.skfmri")
        assert r"\`c\` \*d\* 2, a\|b 2" in text
        assert r"groups: \<b\>, \[x\](y)" in text
