"""Linear models where networks are usual: as decoders of the command, and in saliency maps."""

import json

import nibabel
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

import skfmri
from skfmri import MultiscaleRidgeClassifier, NiftiSamples, VoxelZScorer
from skfmri.cli.commands import main
from skfmri.evaluation import linear_baseline, multiscale_baseline
from skfmri.inspection import saliency
from skfmri.report.methods import methods_paragraphs
from skfmri.report.results import read_results

# What each is compared with.
OTHERS = {"linear": "a multiscale ridge:", "multiscale": "logistic regression (L2 penalty, C = 1)"}
SLAB = ["--slab", "2:5", "--angle", "0.1"]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Four groups of ten volumes of 7 x 8 x 9, as an image with its table of labels."""
    directory = tmp_path_factory.mktemp("study")
    rng, y = np.random.default_rng(0), np.tile(["face", "house"], 20)
    volumes = rng.normal(5, 1, size=(40, 7, 8, 9)).astype(np.float32)
    volumes[y == "house", 2:5, 2:6, 1:8] += 1
    samples = NiftiSamples.from_array(
        volumes, np.diag([3.0, 3, 3, 1]), y=y, groups=np.repeat(np.arange(4), 10)
    )
    image = directory / "maps.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.moveaxis(volumes, 0, -1), np.diag([3.0, 3, 3, 1])), image)
    table = pd.DataFrame({"label": y, "group": samples.groups})
    table.to_csv(directory / "labels.csv", index=False)
    return image, directory / "labels.csv", samples


@pytest.mark.parametrize("decoder", ["linear", "multiscale"])
def test_a_linear_model_is_decoded_with_mapped_described_and_saved(study, decoder, tmp_path):
    image, labels, samples = study
    out, model = tmp_path / "out", tmp_path / "model.skfmri"
    argv = ["decode", image, "--labels", labels, "--out", out, "--model", model, *SLAB]
    assert main([*map(str, argv), "--decoder", decoder, "--quiet"]) == 0
    record = json.loads((out / "settings.json").read_text())
    assert record["network"] is record["size"] is None
    assert record["saliency"] == {"method": "gradient_x_input", "n_folds": 4}
    results = read_results(out)
    others = {"linear", "multiscale"} - {decoder}
    assert set(results.models) == {"decoder", "dummy", *others}
    text = dict(methods_paragraphs(results))
    named = {"linear": "logistic regression", "multiscale": "multiscale ridge"}
    assert text["Decoder"].startswith(f"The decoder is a {named[decoder]}")
    assert f"compared with {OTHERS[decoder]}" in text["Cross-validation"]
    assert "the gradient times the input" in text["Maps"]
    # The blob, in the slab.
    values = results.images["saliency"].get_fdata()
    assert np.nanmean(values[2:5, 2:6, 3:5]) > 3 * abs(np.nanmean(values[:2, :, 3:5]))
    loaded = skfmri.load(model)
    assert (loaded.predict(samples) == samples.y).mean() > 0.9


def test_options_of_a_network_are_refused_by_name(study, tmp_path, capsys):
    argv = ["decode", study[0], "--labels", study[1], "--out", tmp_path / "out", *SLAB]
    assert main([*map(str, argv), "--decoder", "multiscale", "--epochs", "3"]) == 2
    assert "--decoder multiscale is not a network, so --epochs means" in capsys.readouterr().err


class TestSaliency:
    @pytest.fixture(scope="class")
    @classmethod
    def slabs(cls):
        rng, y = np.random.default_rng(0), np.tile(["a", "b", "c"], 12)
        return rng.normal(size=(36, 5, 6, 2)), y, np.repeat(np.arange(4), 9)

    @pytest.mark.parametrize("make", [linear_baseline, multiscale_baseline])
    def test_maps_add_up_to_the_decision_values(self, slabs, make):
        X, y, groups = slabs
        estimator = make(Pipeline([("zscore", VoxelZScorer()), ("any", LogisticRegression())]))
        options = {"ridge__groups": groups} if make is multiscale_baseline else {}
        estimator.fit(X, y, **options)
        maps = saliency(estimator, X, "b", method="gradient_x_input")
        assert maps.shape == X.shape
        expected = estimator.decision_function(X)[:, 1] - estimator[-1].intercept_[1]
        np.testing.assert_allclose(maps.sum(axis=(1, 2, 3)), expected, atol=1e-4)
        equal = saliency(estimator, X, "b", method="integrated_gradients")
        np.testing.assert_array_equal(maps, equal)

    def test_two_classes_have_opposite_maps_of_half_the_weights(self, slabs):
        X, y, groups = slabs
        X, y, groups = X[y != "c"], y[y != "c"], groups[y != "c"]
        ridge = MultiscaleRidgeClassifier().fit(X, y, groups=groups)
        of_a, of_b = (saliency(ridge, X, name, method="gradient") for name in "ab")
        np.testing.assert_array_equal(of_a, -of_b)
        np.testing.assert_allclose(2 * of_b[0].ravel(), ridge.coef_[0], rtol=1e-5)
        predicted = saliency(ridge, X, method="gradient")
        is_b = ridge.predict(X) == "b"
        np.testing.assert_array_equal(predicted[is_b], of_b[is_b])

    def test_methods_that_need_a_network_are_refused(self, slabs):
        X, y, groups = slabs
        ridge = MultiscaleRidgeClassifier().fit(X, y, groups=groups)
        with pytest.raises(ValueError, match="'occlusion' needs a network"):
            saliency(ridge, X, method="occlusion")
