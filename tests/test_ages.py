"""The simulated ages leave the marks on the maps that they are said to leave, and no others."""

import numpy as np
import pytest
from scipy import ndimage
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from skfmri import NiftiSamples, NiftiSlabRotator
from skfmri.datasets import make_ages, make_eyes_open_closed

EFFECTS = {"linear_effect": (26, -20, -14), "nonlinear_effect": (26, -76, 6)}


def values(image):
    return np.asarray(image.dataobj)


def slabs(data):
    return NiftiSlabRotator().fit_transform(NiftiSamples(data.images)).reshape(len(data.ages), -1)


def fitted(data):
    """Weight of 1, u and u squared in each voxel, by least squares."""
    u = (data.ages - 50) / 30
    maps = values(data.images).reshape(-1, len(u)).T
    weights = np.linalg.lstsq(np.stack([np.ones_like(u), u, u**2], axis=1), maps, rcond=None)[0]
    return weights.reshape(3, *data.images.shape[:3])


# A second BLAS thread makes this many times slower if another process occupies the core.
@threadpool_limits.wrap(limits=1)
def r2(data, cv):
    ridge = make_pipeline(StandardScaler(), RidgeCV(alphas=np.logspace(2, 5, 7)))
    splits = cv.split(data.ages, groups=data.subjects if isinstance(cv, GroupKFold) else None)
    return cross_val_score(ridge, slabs(data), data.ages, cv=splits).mean()


@pytest.fixture(scope="module")
def data():
    return make_ages()


@pytest.fixture(scope="module")
def small():
    return make_ages(5, n_maps=3, n_sites=2, random_state=1)


def test_maps_are_those_of_the_eyes_in_shape_and_space(small):
    reference = make_eyes_open_closed(2, n_maps=1, n_chunks=1)
    assert small.images.shape == (40, 51, 41, 15)
    assert values(small.images).dtype == np.float32
    for image in (small.images, small.linear_effect, small.nonlinear_effect):
        np.testing.assert_array_equal(image.affine, reference.images.affine)
        assert image.shape[:3] == reference.effect.shape
        assert image.header["sform_code"] == 4
    filled = (values(reference.images) != 0).any(axis=-1)
    np.testing.assert_array_equal((values(small.images) != 0).all(axis=-1), filled)
    np.testing.assert_array_equal((values(small.images) != 0).any(axis=-1), filled)
    assert "5 subjects x 3 maps = 15 volumes" in small.DESCR
    assert "x 2 conditions x 1 map = 4 volumes" in reference.DESCR


def test_age_and_site_are_those_of_the_subject(small):
    assert small.subjects.tolist() == [i for i in range(5) for _ in range(3)]
    for numbers in (small.ages, small.sites):
        assert numbers.shape == (15,)
        np.testing.assert_array_equal(numbers.reshape(5, 3), numbers[::3, None].repeat(3, axis=1))


def test_maps_of_one_subject_differ_by_noise_only():
    none = make_ages(2, n_maps=2, n_sites=1, linear_size=0, nonlinear_size=0)
    one, same, other, _ = np.moveaxis(values(none.images), -1, 0)
    inside = one != 0
    assert np.std((one - same)[inside]) == pytest.approx(0.055 * np.sqrt(2), rel=0.05)
    noise_and_pattern = np.hypot(0.055, 0.06)
    assert np.std((one - other)[inside]) == pytest.approx(noise_and_pattern * np.sqrt(2), rel=0.1)


def test_ages_are_spread_evenly_and_shuffled(data):
    np.testing.assert_allclose(np.sort(data.ages), 20.3 + 0.6 * np.arange(100))
    assert abs(np.corrcoef(data.ages, data.subjects)[0, 1]) < 0.3


@pytest.mark.parametrize(("n_subjects", "n_sites"), [(11, 3), (7, 7), (5, 1)])
def test_sites_are_of_one_size(n_subjects, n_sites):
    sizes = np.bincount(make_ages(n_subjects, n_sites=n_sites).sites, minlength=n_sites)
    assert len(sizes) == n_sites
    assert sizes.min() >= sizes.max() - 1 >= 0


def test_no_site_is_older_than_another(data):
    assert np.ptp([data.ages[data.sites == site].mean() for site in range(4)]) < 2
    assert (np.array([np.ptp(data.ages[data.sites == site]) for site in range(4)]) > 55).all()


def test_each_site_adds_a_smooth_pattern(data):
    maps = values(data.images)
    inside = maps[..., 0] != 0

    def difference(one, other):
        return maps[..., one].mean(axis=-1) - maps[..., other].mean(axis=-1)

    of_sites = difference(data.sites == 0, data.sites == 1)
    of_chance = difference(data.subjects % 4 == 0, data.subjects % 4 == 1)
    smooth_sites, smooth_chance = (
        np.std(ndimage.gaussian_filter(field, 2)[ndimage.binary_erosion(inside, iterations=4)])
        for field in (of_sites, of_chance)
    )
    assert smooth_sites > 2 * smooth_chance


@pytest.mark.parametrize(("name", "centre"), EFFECTS.items())
def test_an_effect_lies_around_its_two_centres(small, name, centre):
    effect = values(small[name])
    peak = np.round(np.linalg.solve(small.images.affine, [*centre, 1])[:3]).astype(int)
    position = np.moveaxis(np.indices(effect.shape), 0, -1) * 4 + small.images.affine[:3, 3]
    distance = np.linalg.norm(np.abs(position - [0, *centre[1:]]) - [26, 0, 0], axis=-1)
    assert abs(effect[tuple(peak)]) == abs(effect).max()
    assert not effect[distance > 22.5].any()
    expected = np.exp(-0.5 * (distance / 9) ** 2) * effect[tuple(peak)]
    np.testing.assert_allclose(effect[effect != 0], expected[effect != 0], rtol=1e-5)


@pytest.mark.parametrize("name", EFFECTS)
def test_about_half_of_an_effect_is_in_the_default_slab(small, name):
    rotator = NiftiSlabRotator().fit(NiftiSamples(small.images))
    reached = np.isfinite(values(rotator.inverse_transform(np.ones(rotator.slab_shape_))))
    effect = values(small[name])
    assert 0.4 < effect[reached].sum() / effect.sum() < 0.6


def test_both_effects_are_recovered_by_least_squares(data):
    _, linear, nonlinear = fitted(data)
    for weights, name in ((linear, "linear_effect"), (nonlinear, "nonlinear_effect")):
        effect = values(data[name])
        there = effect != 0
        assert np.corrcoef(weights[there], effect[there])[0, 1] > 0.9
        assert np.polyfit(effect[there], weights[there], 1)[0] == pytest.approx(1, abs=0.1)


def test_the_nonlinear_region_says_nothing_about_age_itself(data):
    ages = data.ages
    for name, sees_age in (("linear_effect", True), ("nonlinear_effect", False)):
        region = values(data[name])
        means = np.tensordot(region, values(data.images), axes=3) / region.sum()
        with_age = abs(np.corrcoef(means, ages)[0, 1])
        with_distance = abs(np.corrcoef(means, (ages - 50) ** 2)[0, 1])
        seen, unseen = (with_age, with_distance) if sees_age else (with_distance, with_age)
        assert seen > 0.6
        assert unseen < 0.2


@pytest.mark.parametrize(
    ("name", "effect", "of_age"),
    [
        ("linear_size", "linear_effect", lambda u: u),
        ("nonlinear_size", "nonlinear_effect", lambda u: u**2),
    ],
)
def test_a_factor_scales_its_effect_and_nothing_else(name, effect, of_age):
    sizes = {"linear_size": 0, "nonlinear_size": 0}
    none, one, minus = (make_ages(4, **sizes | {name: size}) for size in (0, 1, -1.0))
    assert not values(none[effect]).any()
    np.testing.assert_array_equal(values(minus[effect]), -values(one[effect]))
    there = values(one[effect]) != 0
    change = values(one.images) - values(none.images)
    assert not change[~there].any()
    factors = np.linalg.lstsq(values(one[effect])[there][:, None], change[there], rcond=None)[0]
    # What remains is the gain of the subject.
    np.testing.assert_allclose(factors[0], of_age((one.ages - 50) / 30), rtol=0.1)
    np.testing.assert_allclose(values(none.images) - values(minus.images), change, atol=1e-6)


def test_no_effect_is_large_enough_for_a_negative_standard_deviation():
    maps = values(make_ages(2, n_sites=1, linear_size=20).images)
    assert maps[maps != 0].min() == np.float32(0.1)


def test_same_seed_same_data_other_seed_other_data(small):
    again = make_ages(5, n_maps=3, n_sites=2, random_state=1)
    other = make_ages(5, n_maps=3, n_sites=2, random_state=2)
    np.testing.assert_array_equal(values(small.images), values(again.images))
    np.testing.assert_array_equal(small.ages, again.ages)
    np.testing.assert_array_equal(small.sites, again.sites)
    assert not np.array_equal(values(small.images), values(other.images))
    assert not np.array_equal(small.ages, other.ages)


def test_a_ridge_on_the_default_slab_explains_half_of_the_variance(data):
    assert 0.35 < r2(data, GroupKFold(5)) < 0.65


def test_without_effect_only_a_random_split_predicts_age():
    none = make_ages(20, n_maps=4, linear_size=0, nonlinear_size=0)
    assert r2(none, GroupKFold(5)) < 0.1
    assert r2(none, KFold(5, shuffle=True, random_state=0)) > 0.5


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_subjects": 0}, ValueError, r"n_subjects must be an integer of at least 1, but is 0"),
        ({"n_subjects": 9.0}, TypeError, r"n_subjects must be an integer .* but is 9\.0\."),
        ({"n_maps": 0}, ValueError, r"n_maps must be an integer of at least 1, but is 0\."),
        ({"n_sites": 0}, ValueError, r"n_sites must be an integer of at least 1, but is 0\."),
        (
            {"n_subjects": 3},
            ValueError,
            r"3 subjects cannot be divided among 4 sites\. Choose n_sites of at most 3, or more",
        ),
        ({"linear_size": "big"}, ValueError, r"linear_size must be a finite number, .* 'big'\."),
        ({"nonlinear_size": np.nan}, ValueError, r"nonlinear_size must be a finite .* is nan\."),
    ],
)
def test_studies_that_cannot_be_simulated_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        make_ages(**arguments)
