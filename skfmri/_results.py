"""Files that a run of the command line leaves behind."""

import shutil
from pathlib import Path

import nibabel
import numpy as np

from skfmri._records import write_whole

LEDGER = "ledger.jsonl"
MAPS = "maps"
MEAN, SLAB = "mean.nii.gz", "slab.nii.gz"
SALIENCY, SIGN_CONSISTENCY = "saliency.nii.gz", "sign_consistency.nii.gz"
TABLES = ("folds", "predictions", "groups", "learning_curves", "summary", "comparisons")
SETTINGS = "settings.json"
REPORT = "report.html"
NAMES = (
    *(f"{name}.csv" for name in TABLES),
    SETTINGS,
    MEAN,
    SLAB,
    SALIENCY,
    SIGN_CONSISTENCY,
    REPORT,
)


def remove_run(directory):
    """Delete what goes on from an earlier run, and what a new one may not write again."""
    for name in (LEDGER, SALIENCY, SIGN_CONSISTENCY, REPORT):
        (directory / name).unlink(missing_ok=True)
    shutil.rmtree(directory / MAPS, ignore_errors=True)


def write_tables(directory, result, rows):
    """Write the tables of a `DecodingResult`; a sample is named by its row among all volumes."""
    predictions = result.predictions.assign(sample=rows[result.predictions["sample"]])
    for name in TABLES:
        table = predictions if name == "predictions" else getattr(result, name)
        write_whole(directory / f"{name}.csv", table.to_csv(index=False))


def write_anatomy(directory, samples, rotator):
    """Write the mean volume, and the slab of a fitted rotator on the native grid."""
    total = np.zeros(samples.grid_shape)
    for batch in samples.iter_batches():
        total += np.nan_to_num(batch).sum(axis=0, dtype=np.float64)
    _save(directory / MEAN, total / len(samples), samples.affine)
    slab = rotator.inverse_transform(np.ones(rotator.slab_shape_, np.float32))
    _save(directory / SLAB, np.isfinite(slab.get_fdata()), slab.affine)


def save_fold_map(directory, options, fold, pipeline, X, y):
    """Write the mean saliency map of samples that a fitted pipeline has not seen."""
    from skfmri.inspection import saliency_image

    image = saliency_image(pipeline, X, y, **options)
    path = fold_map(directory, fold)
    path.parent.mkdir(exist_ok=True)
    _save(path, image.get_fdata(), image.affine)


def fold_map(directory, fold):
    """Return the path of the map of a fold."""
    return Path(directory) / MAPS / f"fold{fold + 1:03}.nii.gz"


def write_mean_maps(directory, n_folds):
    """Write mean and agreement in sign of the maps of the folds; return how many there were."""
    from skfmri.inspection import mean_sign

    paths = [fold_map(directory, fold) for fold in range(n_folds)]
    images = [nibabel.load(path) for path in paths if path.exists()]
    if not images:
        return 0
    maps = np.array([image.get_fdata(dtype=np.float32) for image in images])
    _save(directory / SALIENCY, maps.mean(axis=0), images[0].affine)
    _save(directory / SIGN_CONSISTENCY, mean_sign(maps), images[0].affine)
    return len(images)


def _save(path, volume, affine):
    # Under another name first: a name stands for a file that is complete.
    part = path.with_name(f".{path.name}")
    nibabel.save(nibabel.Nifti1Image(np.asarray(volume, np.float32), affine), part)
    part.replace(path)
