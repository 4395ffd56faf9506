"""Rows J to N: runs of real size, their trials, studies of them, and many small files."""

import gzip
import importlib
import os
import time
from pathlib import Path

import numpy as np
from work import ANGLE, touch_memory

T_R, HIGH_PASS, N_CONFOUNDS = 2.0, 1 / 128, 24
N_SUBJECTS, N_RUNS = 4, 4
SMALL_SHAPE = (20, 24, 20)


def _shape(work):
    return (24, 28, 24, 60) if work.quick else (97, 115, 97, 150)


def _slab(work):
    return (10, 13) if work.quick else (46, 49)


def _affine(shape):
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = -np.array(shape[:3])
    return affine


def run_path(work, number=0):
    """Return the path of a run."""
    return str(work.folder / "runs" / f"run{number:02}.nii.gz")


def _confounds(work):
    return np.random.default_rng(1).normal(size=(_shape(work)[3], N_CONFOUNDS))


def prepare_runs(work):
    """Write one run of int16 with a head in an empty field of view, under as many names as runs."""
    import nibabel

    if Path(run_path(work)).exists():
        return
    os.makedirs(work.folder / "runs")
    shape, rng = _shape(work), np.random.default_rng(0)
    axes = [np.linspace(-1, 1, n) for n in shape[:3]]
    radius = sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij"))
    mean = 800 * (radius < 0.9) * (1 + 0.3 * rng.normal(size=shape[:3]))
    data = np.empty(shape, np.int16, order="F")
    for volume in range(shape[3]):
        noise = 15 * rng.standard_normal(shape[:3], np.float32)
        data[..., volume] = np.maximum(mean + (radius < 0.9) * (noise + 0.2 * volume), 0)
    nibabel.save(nibabel.Nifti1Image(data, _affine(shape)), run_path(work))
    for number in range(1, N_SUBJECTS * N_RUNS):
        os.link(run_path(work), run_path(work, number))


def prepare_small_files(work):
    """Write many files of one small volume each."""
    import nibabel

    folder = work.folder / "small"
    if folder.exists():
        return
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(_n_small(work)):
        volume = rng.normal(100, 10, size=SMALL_SHAPE).astype(np.int16)
        image = nibabel.Nifti1Image(volume, _affine(SMALL_SHAPE))
        nibabel.save(image, folder / f"volume{number:04}.nii.gz")


def _n_small(work):
    return 80 if work.quick else 1600


def _cleaned(work, numbers):
    from skfmri import NiftiSamples, clean_runs

    samples = NiftiSamples([run_path(work, number) for number in numbers])
    confounds = [_confounds(work) for _ in numbers]
    return clean_runs(samples, high_pass=HIGH_PASS, t_r=T_R, confounds=confounds)


def _slabs_of_runs(work, numbers):
    from skfmri import NiftiSlabRotator

    rotator = NiftiSlabRotator(angle=ANGLE, slab=_slab(work))
    return rotator.fit_transform(_cleaned(work, numbers))


def _load_cleaning():
    """Import what cleaning needs, which nilearn's side has before its time is taken."""
    for name in ("nilearn.signal", "skfmri.preprocessing.cleaning", "skfmri.preprocessing.slab"):
        importlib.import_module(name)


def _timed(work, function):
    touch_memory(work, 4 * 2**30)
    start = time.perf_counter()
    result = function()
    return {"seconds": time.perf_counter() - start, "result": result.nbytes / 2**20}


def run_skfmri(work):
    _load_cleaning()
    return _timed(work, lambda: _slabs_of_runs(work, [0]))


def run_nilearn(work):
    """Clean the native voxels whose centres lie in the slab."""
    from nilearn.maskers import NiftiMasker

    masker = NiftiMasker(
        _slab_mask(work),
        detrend=True,
        high_pass=HIGH_PASS,
        t_r=T_R,
        standardize="zscore_sample",
    )
    return _timed(work, lambda: masker.fit_transform(run_path(work), confounds=_confounds(work)))


def _slab_mask(work):
    """Return the native voxels with their centre in the slab, counted on the rotated grid."""
    import nibabel

    from skfmri import NiftiSlabRotator

    shape, affine = _shape(work), _affine(_shape(work))
    first = nibabel.load(run_path(work)).slicer[..., :1]
    rotator = NiftiSlabRotator(angle=ANGLE, slab=_slab(work)).fit(first)
    to_slab = np.linalg.inv(rotator.slab_affine_) @ affine
    centres = np.stack(np.meshgrid(*map(np.arange, shape[:3]), indexing="ij"), axis=-1)
    found = centres @ to_slab[:3, :3].T + to_slab[:3, 3]
    is_inside = ((found >= -0.5) & (found < np.array(rotator.slab_shape_) - 0.5)).all(axis=-1)
    return nibabel.Nifti1Image(is_inside.astype(np.uint8), affine)


def run_decompression(work):
    """Only decompress the file with zlib."""

    def decompress():
        with gzip.open(run_path(work)) as file:
            return np.frombuffer(file.read(), np.uint8)

    return _timed(work, decompress)


def clean_skfmri(work):
    """Clean whole volumes, which are kept in a file of the cache."""
    _load_cleaning()
    return _timed(work, lambda: np.asarray(_cleaned(work, [0])[:1]))


def clean_nilearn(work):
    from nilearn.image import clean_img

    def clean():
        return clean_img(
            run_path(work),
            detrend=True,
            high_pass=HIGH_PASS,
            t_r=T_R,
            standardize="zscore_sample",
            confounds=_confounds(work),
        ).get_fdata(dtype=np.float32)

    return _timed(work, clean)


def _events(work):
    """Return a table of brief events, as rapid as the run is long."""
    import pandas as pd

    n_volumes, n_trials = _shape(work)[3], 12 if work.quick else 60
    onsets = np.linspace(4, T_R * n_volumes - 20, n_trials)
    return pd.DataFrame({"onset": onsets, "duration": 1.0, "trial_type": "trial"})


def trials_skfmri(work):
    """Estimate all trials of the run with drift and confounds in the model, as slabs."""
    from skfmri import NiftiSamples, NiftiSlabRotator, clean_runs, estimate_trials

    # As for the other side, which has it before its time is taken.
    importlib.import_module("nilearn.glm.first_level")

    def estimate():
        samples = NiftiSamples(run_path(work))
        options = {"high_pass": HIGH_PASS, "t_r": T_R, "confounds": _confounds(work)}
        trials = estimate_trials(clean_runs(samples, standardize=False, **options), _events(work))
        return NiftiSlabRotator(angle=ANGLE, slab=_slab(work)).fit_transform(trials)

    return _timed(work, estimate)


def trials_nilearn(work):
    """Fit a model for each trial to the native voxels whose centres lie in the slab."""
    import pandas as pd
    from nilearn.glm.first_level import FirstLevelModel

    events, confounds = _events(work), pd.DataFrame(_confounds(work)).add_prefix("confound")
    mask = _slab_mask(work)

    def estimate():
        maps = []
        for number in range(len(events)):
            kinds = np.where(np.arange(len(events)) == number, "trial", "other")
            model = FirstLevelModel(
                t_r=T_R,
                hrf_model="glover",
                drift_model="cosine",
                high_pass=HIGH_PASS,
                noise_model="ols",
                signal_scaling=False,
                mask_img=mask,
            )
            model.fit(run_path(work), events.assign(trial_type=kinds), confounds=confounds)
            image = model.compute_contrast("trial", output_type="effect_size")
            maps.append(image.get_fdata(dtype=np.float32)[mask.get_fdata() > 0])
        return np.array(maps)

    return _timed(work, estimate)


def study_two(work):
    _load_cleaning()
    return _timed(work, lambda: _slabs_of_runs(work, [0, 1]))


def study_all(work):
    _load_cleaning()
    figures = _timed(work, lambda: _slabs_of_runs(work, range(N_SUBJECTS * N_RUNS)))
    cache = Path(os.environ["SKFMRI_CACHE"])
    kept = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
    whole = 4 * np.prod(_shape(work), dtype=float) * N_SUBJECTS * N_RUNS
    return figures | {"disk": kept / whole}


def study_continued(work):
    """Clean all runs after half of them were, as after a stop."""
    _slabs_of_runs(work, range(N_SUBJECTS * N_RUNS // 2))
    return _timed(work, lambda: _slabs_of_runs(work, range(N_SUBJECTS * N_RUNS)))


def _small_files(work, share):
    paths = sorted((work.folder / "small").iterdir())
    return [str(path) for path in paths[: round(share * len(paths))]]


def small_nibabel(work):
    import nibabel

    def read():
        paths = _small_files(work, 1)
        return np.stack([nibabel.load(path).get_fdata(dtype=np.float32) for path in paths])

    return _timed(work, read)


def small_skfmri(work):
    from skfmri import NiftiSamples

    return _timed(work, lambda: np.asarray(NiftiSamples(_small_files(work, 1))))


def small_skfmri_quarter(work):
    from skfmri import NiftiSamples

    return _timed(work, lambda: np.asarray(NiftiSamples(_small_files(work, 0.25))))
