import nibabel
import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_validate
from sklearn.pipeline import make_pipeline

from skfmri import (
    NiftiSamples,
    NiftiSlabRotator,
    SlabCNNClassifier,
    VolumeCNNClassifier,
    VoxelZScorer,
)
from skfmri.datasets import make_eyes_open_closed
from skfmri.inspection import (
    layer_activations,
    mean_map,
    mean_sign,
    randomization_check,
    saliency,
    saliency_image,
    sign_consistency_image,
)

# Every method with settings that make it quick.
METHODS = {
    "gradient": {},
    "gradient_x_input": {},
    "integrated_gradients": {"n_steps": 4},
    "smoothgrad": {"n_steps": 4},
    "occlusion": {"patch_size": 3},
    "grad_cam": {},
}
TINY = {"filters": 2, "n_blocks": 1, "dense_units": (4,), "epochs": 3, "random_state": 0}


@pytest.fixture(scope="module")
def decoder(slabs):
    """A decoder whose convolution leaves 4 x 5 voxels; pooling drops the last column."""
    return SlabCNNClassifier(**TINY).fit(*slabs)


@pytest.fixture(scope="module")
def linear(slabs):
    return SlabCNNClassifier(n_blocks=0, dense_units=(), epochs=3, random_state=0).fit(*slabs)


@pytest.fixture(scope="module")
def members(slabs):
    return SlabCNNClassifier(**TINY, n_members=2, linear_path=1.0).fit(*slabs)


@pytest.fixture(scope="module")
def volumes(slabs):
    return VolumeCNNClassifier(**TINY).fit(*slabs)


def logits(decoder, X, classes):
    """Return the output before the softmax, up to a constant that all classes share."""
    proba = np.log(decoder.predict_proba(X).astype(float))
    return proba[np.arange(len(X)), np.searchsorted(decoder.classes_, classes)]


class TestActivations:
    def test_the_last_layer_gives_the_probabilities(self, decoder, slabs):
        found = layer_activations(decoder, slabs[0], "probabilities")
        np.testing.assert_allclose(found, decoder.predict_proba(slabs[0]), rtol=1e-6)
        np.testing.assert_array_equal(layer_activations(decoder, slabs[0], -1), found)

    def test_a_convolution_is_what_its_kernel_gives(self, decoder, slabs):
        kernel, bias = decoder.model_.get_layer("block1_convolution").get_weights()
        patch = slabs[0][:, 2:5, 1:4]
        expected = np.maximum(np.einsum("nxyc,xycf->nf", patch, kernel) + bias, 0)
        found = layer_activations(decoder, slabs[0], 1)
        assert found.shape == (20, 4, 5, 2)
        np.testing.assert_allclose(found[:, 2, 1], expected, rtol=1e-4, atol=1e-5)

    def test_3d_networks_keep_three_axes(self, volumes, slabs):
        assert layer_activations(volumes, slabs[0], "block1_convolution").shape == (20, 6, 7, 3, 2)

    def test_each_member_has_its_own_layers(self, members, slabs):
        first, second = (layer_activations(members, slabs[0], f"member{n}/dense1") for n in (1, 2))
        assert np.abs(first - second).max() > 1e-3
        np.testing.assert_array_equal(layer_activations(members, slabs[0], "dense1"), first)

    @pytest.mark.parametrize("layer", ["dense2", 10, -11, "member2/dense1"])
    def test_a_wrong_layer_gets_the_list_of_layers(self, decoder, slabs, layer):
        with pytest.raises(ValueError, match=f"no layer {layer!r}.*block1_convolution.*0 to 9"):
            layer_activations(decoder, slabs[0], layer)

    def test_members_are_named_if_there_are_several(self, members, slabs):
        with pytest.raises(ValueError, match="member1/ to member2/"):
            layer_activations(members, slabs[0], "member3/dense1")


class TestKnownAnswers:
    def test_the_gradient_of_a_linear_network_is_its_weights(self, linear, slabs):
        X, y = slabs
        kernel = linear.model_.get_layer("probabilities").kernel.numpy()
        expected = kernel.T[np.searchsorted(linear.classes_, y)].reshape(X.shape)
        for method, options in (("gradient", {}), ("smoothgrad", {"n_steps": 3})):
            found = saliency(linear, X, y, method=method, **options)
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)
        shares = expected * X
        for method, options in (
            ("gradient_x_input", {}),
            ("integrated_gradients", {}),
            ("occlusion", {"patch_size": 1}),
        ):
            found = saliency(linear, X, y, method=method, **options)
            np.testing.assert_allclose(found, shares, rtol=1e-3, atol=1e-5)

    def test_the_gradient_is_that_of_small_steps(self, decoder, slabs):
        X, _ = slabs
        found = saliency(decoder, X, "cat", method="gradient")
        other = saliency(decoder, X, "face", method="gradient")
        at, step = (slice(None), 3, 2, 1), 1e-2
        shifted = X.copy()
        shifted[at] += step
        # Probabilities fix the outputs only up to a constant, so compare a difference of two.
        before, after = (
            logits(decoder, x, ["cat"] * 20) - logits(decoder, x, ["face"] * 20)
            for x in (X, shifted)
        )
        slope = (found - other)[at]
        close = np.isclose((after - before) / step, slope, rtol=0.05, atol=2e-3)
        assert np.abs(slope).max() > 0.01
        # A step may cross the edge of a ReLU.
        assert close.mean() >= 0.8

    @pytest.mark.parametrize("name", ["decoder", "members", "volumes"])
    def test_integrated_gradients_sum_to_the_difference_of_outputs(self, request, slabs, name):
        X, _ = slabs
        decoder = request.getfixturevalue(name)
        maps = [
            saliency(decoder, X, label, n_steps=200).reshape(20, -1).sum(axis=1, dtype=float)
            for label in ("cat", "face")
        ]
        models = [decoder.model_]
        if decoder.n_members > 1:
            models = [decoder.model_.get_layer(f"member{n}") for n in (1, 2)]

        def gap(x):
            proba = [
                np.log(np.asarray(model(x.reshape(-1, *model.input_shape[1:])), float))
                for model in models
            ]
            return np.mean([p[:, 0] - p[:, 1] for p in proba], axis=0)

        expected = gap(X) - gap(np.zeros_like(X))
        error = np.abs(maps[0] - maps[1] - expected)
        assert error.max() < 0.01 * np.abs(expected).max()

    @pytest.mark.parametrize("method", [name for name in METHODS if name != "grad_cam"])
    def test_a_voxel_that_the_network_ignores_counts_for_nothing(self, decoder, slabs, method):
        options = {"patch_size": 1} if method == "occlusion" else METHODS[method]
        maps = saliency(decoder, *slabs, method=method, **options)
        assert not maps[:, :, 6].any()
        assert np.abs(maps[:, 1:5, 1:5]).max() > 1e-3

    def test_members_count_by_their_mean(self, members, slabs):
        X, y = slabs
        found = saliency(members, X, y, method="gradient")
        parts = []
        for n in (1, 2):
            one = members.model_.get_layer(f"member{n}")
            kernel = one.get_layer("linear_path").kernel.numpy()
            parts.append(kernel.T[np.searchsorted(members.classes_, y)].reshape(X.shape))
        # Three epochs hardly move the network away from the linear model it starts from.
        assert np.corrcoef(found.ravel(), np.mean(parts, axis=0).ravel())[0, 1] > 0.9

    def test_grad_cam_is_positive_and_the_same_in_all_slices(self, decoder, volumes, slabs):
        maps = saliency(decoder, *slabs, method="grad_cam")
        assert maps.min() == 0
        assert maps.max() > 0
        np.testing.assert_array_equal(maps[..., 0], maps[..., 2])
        assert np.ptp(saliency(volumes, *slabs, method="grad_cam"), axis=-1).max() > 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["decoder", "members", "volumes"])
def test_all_methods_take_all_networks(request, slabs, name, method):
    decoder = request.getfixturevalue(name)
    maps = saliency(decoder, slabs[0], method=method, **METHODS[method])
    assert maps.shape == slabs[0].shape
    assert maps.dtype == np.float32
    assert np.isfinite(maps).all()


def test_none_explains_the_predicted_class(decoder, slabs):
    X, _ = slabs
    np.testing.assert_array_equal(saliency(decoder, X), saliency(decoder, X, decoder.predict(X)))


def test_smoothgrad_follows_its_seed(decoder, slabs):
    maps = [
        saliency(decoder, *slabs, method="smoothgrad", n_steps=2, random_state=seed)
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(maps[0], maps[1])
    assert np.abs(maps[0] - maps[2]).max() > 0


@pytest.mark.parametrize(
    ("method", "defaults"),
    [
        ("integrated_gradients", {"n_steps": 64}),
        ("smoothgrad", {"n_steps": 64, "noise": 0.15, "random_state": 0}),
        ("occlusion", {"patch_size": 3}),
    ],
)
def test_the_options_of_a_method_have_the_documented_defaults(decoder, slabs, method, defaults):
    seed = {"random_state": 0} if method == "smoothgrad" else {}
    np.testing.assert_array_equal(
        saliency(decoder, *slabs, method=method, **seed),
        saliency(decoder, *slabs, method=method, **defaults),
    )


@pytest.mark.parametrize(
    ("method", "option", "message"),
    [
        ("gradient", {"n_steps": 3}, r"'gradient' has no option n_steps\. Its options: none"),
        ("gradient_x_input", {"random_state": 0}, r"no option random_state\. Its options: none"),
        ("integrated_gradients", {"noise": 0.1}, r"no option noise\. Its options: n_steps\."),
        ("smoothgrad", {"patch_size": 3}, "patch_size.*: n_steps, noise, random_state"),
        ("occlusion", {"n_steps": 3, "noise": 0.1}, r"option n_steps, noise\. .*: patch_size\."),
        ("grad_cam", {"patch_size": 3}, r"no option patch_size\. Its options: none"),
    ],
)
def test_an_option_that_the_method_does_not_have_is_refused(study, method, option, message):
    _, samples, estimators = study
    with pytest.raises(TypeError, match=message):
        saliency(estimators[0], samples, method=method, **option)
    with pytest.raises(TypeError, match=message):
        saliency_image(estimators, samples, method=method, **option)
    with pytest.raises(TypeError, match=message):
        sign_consistency_image(estimators, samples, method=method, **option)
    seedless = {name: value for name, value in option.items() if name != "random_state"}
    if seedless:
        with pytest.raises(TypeError, match=message):
            randomization_check(estimators[0], samples, method=method, **seedless)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "magic"}, "method must be one of gradient, .*, grad_cam, but is 'magic'"),
        ({"y": "dog"}, "the class 'dog'.*'cat', 'face', 'house'"),
        ({"y": ["cat", "face"]}, "y has 2 classes for 20 samples"),
        ({"n_steps": 0}, "n_steps must be an integer of at least 1"),
        ({"patch_size": 0, "method": "occlusion"}, "patch_size must be"),
        ({"noise": -1.0, "method": "smoothgrad"}, "noise must be"),
        ({"n_steps": 0, "method": "smoothgrad"}, "n_steps must be an integer of at least 1"),
    ],
)
def test_bad_options_are_refused(decoder, slabs, options, message):
    with pytest.raises(ValueError, match=message):
        saliency(decoder, slabs[0], **options)


def test_bad_estimators_and_samples_are_refused(decoder, linear, slabs):
    X, y = slabs
    with pytest.raises(TypeError, match="no network in LogisticRegression"):
        saliency(LogisticRegression(), X)
    with pytest.raises(NotFittedError):
        saliency(SlabCNNClassifier(), X)
    with pytest.raises(ValueError, match=r"fitted on volumes of shape \(6, 7, 3\)"):
        saliency(decoder, X[:, :5])
    with pytest.raises(ValueError, match="needs a convolution"):
        saliency(linear, X, y, method="grad_cam")
    with pytest.raises(TypeError, match="no NiftiSlabRotator"):
        saliency_image(make_pipeline(VoxelZScorer(), decoder), X)


class TestRandomizationCheck:
    def test_maps_of_a_shuffled_network_differ(self, decoder, slabs):
        X, y = slabs
        before = decoder.predict_proba(X)
        weights = decoder.model_.get_weights()
        table = randomization_check(decoder, X, y, method="gradient", random_state=0)
        assert table["layer"].tolist() == [
            "probabilities",
            "dense1_norm",
            "dense1",
            "block1_norm",
            "block1_convolution",
        ]
        assert table["correlation"].between(-1, 1).all()
        assert table["correlation"].iloc[-1] < 0.8
        np.testing.assert_array_equal(decoder.predict_proba(X), before)
        for one, other in zip(decoder.model_.get_weights(), weights, strict=True):
            np.testing.assert_array_equal(one, other)
        again = randomization_check(decoder, X, y, method="gradient", random_state=0)
        assert table.equals(again)

    def test_voxels_that_are_zero_whatever_the_network_do_not_make_maps_alike(self, decoder, slabs):
        X, y = np.array(slabs[0]), slabs[1]
        options = {"method": "gradient_x_input", "random_state": 0}
        X[:, 3:] = 0
        silenced = randomization_check(decoder, X, y, **options)["correlation"].iloc[-1]
        assert silenced < 0.7

    def test_a_map_that_ignores_the_network_would_be_noticed(self, members, slabs):
        X, y = slabs
        table = randomization_check(members, X, y, method="gradient", random_state=0)
        # The linear path dominates these maps, so shuffling it changes them.
        assert table.loc[table["layer"] == "linear_path", "correlation"].item() < 0.5


@pytest.fixture(scope="module")
def study():
    data = make_eyes_open_closed(24, random_state=0)
    samples = NiftiSamples(data.images, y=data.labels, groups=data.chunks)
    pipeline = make_pipeline(
        NiftiSlabRotator(),
        VoxelZScorer(),
        SlabCNNClassifier.for_small_samples(linear_path=100.0, random_state=0),
    )
    found = cross_validate(
        pipeline,
        samples,
        data.labels,
        groups=data.chunks,
        cv=GroupKFold(3),
        return_estimator=True,
    )
    assert found["test_score"].mean() > 0.75
    return data, samples, found["estimator"]


class TestImages:
    @pytest.mark.parametrize(
        "options",
        [{"method": "integrated_gradients", "n_steps": 8}, {"method": "gradient_x_input"}],
    )
    def test_the_map_finds_the_true_effect(self, study, options):
        data, samples, estimators = study
        image = saliency_image(estimators, samples, data.labels, **options)
        assert image.shape == (40, 51, 41)
        np.testing.assert_array_equal(image.affine, data.images.affine)
        rotator = estimators[0].steps[0][1]
        inside = np.isfinite(image.get_fdata())
        slab = rotator.inverse_transform(np.ones(rotator.slab_shape_)).get_fdata()
        assert (inside >= np.isfinite(slab)).all()
        assert inside.sum() < 1.2 * np.isfinite(slab).sum()
        effect = np.abs(data.effect.get_fdata())[inside]
        true = effect > 0.25 * effect.max()
        assert 0.02 < true.mean() < 0.2
        assert roc_auc_score(true, np.abs(image.get_fdata())[inside]) > 0.85

    def test_the_gradient_has_the_sign_of_the_effect(self, study):
        data, samples, estimators = study
        # Opening the eyes raises the values in the eyes and lowers them in visual cortex.
        image = saliency_image(estimators, samples[:16], "open", method="gradient")
        effect = data.effect.get_fdata()
        strong = np.abs(effect) > 0.5 * np.abs(effect).max()
        strong &= np.isfinite(image.get_fdata())
        agree = np.sign(image.get_fdata()[strong]) == np.sign(effect[strong])
        weights = np.abs(image.get_fdata()[strong])
        assert np.average(agree, weights=weights) > 0.8

    def test_agreement_lies_between_minus_one_and_one(self, study):
        _, samples, estimators = study
        image = sign_consistency_image(estimators, samples[:8], "open", method="gradient")
        assert isinstance(image, nibabel.Nifti1Image)
        values = image.get_fdata()[np.isfinite(image.get_fdata())]
        assert 1000 < values.size < 0.2 * np.prod(image.shape)
        assert set(np.round(np.unique(values) * 3).astype(int)) <= set(range(-3, 4))
        with pytest.raises(ValueError, match="two or more"):
            sign_consistency_image(estimators[:1], samples)

    def test_next_to_nothing_has_no_sign(self):
        maps = [[2.0, -2.0, 1e-4, 0.0], [1.0, 3.0, -1e-4, 0.0]]
        np.testing.assert_array_equal(mean_sign(maps), [1, 0, 0, 0])

    def test_a_voxel_counts_as_zero_for_networks_that_do_not_see_it(self):
        nan = np.nan
        maps = np.array([[4, -2, nan, nan], [2, nan, -6, nan]], np.float32)
        np.testing.assert_array_equal(mean_map(maps), [3, -1, -3, nan])
        np.testing.assert_array_equal(mean_sign(maps), [1, -0.5, -0.5, nan])
        assert mean_map(maps).dtype == mean_sign(maps).dtype == np.float32
        # A network that diverged must not pass for one that sees nothing.
        lost = [maps[0], np.full(4, nan)]
        assert np.isnan(mean_map(lost)).all()
        assert np.isnan(mean_sign(lost)).all()

    def test_one_pipeline_gives_the_transpose_of_its_mean_map_within_the_slab(self, study):
        _, samples, estimators = study
        image = saliency_image(estimators[0], samples[:8], "open", method="gradient")
        mean = saliency(estimators[0], samples[:8], "open", method="gradient").mean(axis=0)
        rotator = estimators[0].steps[0][1]
        expected = rotator.back_project(mean).get_fdata()
        outside = np.isnan(rotator.inverse_transform(np.ones(rotator.slab_shape_)).get_fdata())
        assert np.count_nonzero(expected[outside]) > 10_000
        expected[outside] = np.nan
        np.testing.assert_allclose(image.get_fdata(), expected, rtol=1e-6)
