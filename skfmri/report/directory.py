"""Files that a run of the command line leaves behind."""

import contextlib
import csv
import importlib.metadata
import os
import re
from pathlib import Path, PurePosixPath

import nibabel
import numpy as np
from filelock import Timeout
from sklearn.base import is_regressor

from skfmri._files import sole_lock, whole_file, write_json, write_text
from skfmri.evaluation import SubjectsResult
from skfmri.persistence import training_record
from skfmri.report.manifest import FORMAT, MANIFEST, VERSION, read_manifest, refuse_results
from skfmri.samples.nifti import stream_batches

LEDGER = "ledger.jsonl"
LEDGERS = "ledgers"
MAPS = "maps"
MEAN, SLAB = "mean.nii.gz", "slab.nii.gz"
SALIENCY, SIGN_CONSISTENCY = "saliency.nii.gz", "sign_consistency.nii.gz"
# Tables with the columns that every file has; a metric adds one of its own.
TABLES = {
    "folds": ("model", "repeat", "fold", "groups_held_out", "n_train", "n_test"),
    "predictions": ("model", "repeat", "fold", "sample", "group", "label", "predicted"),
    "groups": ("model", "group", "weight"),
    "learning_curves": ("fold", "epoch", "loss"),
    "summary": ("model", "metric", "score", "std", "low", "high", "chance"),
    "comparisons": ("baseline", "metric", "difference", "low", "high", "t", "df", "p_value"),
}
# One row per subject, model and metric, if each subject has a decoder of its own.
SUBJECTS = "subjects.csv"
SUBJECT_COLUMNS = ("subject", "model", "metric", "score", "std", "low", "high", "chance", "p_value")
# A class that is called 1, NA or nan is a name, not a number. Where a decoder predicts numbers, its
# labels and predictions are none of these.
TEXT_COLUMNS = {"model", "baseline", "metric", "groups_held_out", "group", "label", "predicted"}
TEXT_COLUMNS |= {"best_params", "subject"}
SETTINGS = "settings.json"
REPORT = "report.html"
LOCK = ".skfmri.lock"
FOLD_MAP = re.compile(rf"{MAPS}/fold\d{{3,}}\.nii\.gz")
SUBJECT_LEDGER = re.compile(rf"{LEDGERS}/[A-Za-z0-9][\w.-]*\.jsonl", re.ASCII)
NAMES = (
    LEDGER,
    *(f"{name}.csv" for name in TABLES),
    SETTINGS,
    MEAN,
    SLAB,
    SALIENCY,
    SIGN_CONSISTENCY,
    REPORT,
)


class ResultDirectory:
    """A directory of results, which one run has for itself while it goes on.

    Its manifest lists the files that skfmri wrote there. Only these are ever replaced or deleted.

    Used as a context manager: nobody else enters before it is left.

    Parameters
    ----------
    path : str or path-like
        The directory; made if there is none.

    Attributes
    ----------
    path : pathlib.Path
        The directory.
    command : str or None
        What wrote the results there, "decode" or "demo"; None if nothing did.
    listed : list of str
        Files that it lists as written by skfmri, relative to it.

    Raises
    ------
    ValueError
        If the directory cannot be written to, or is in use by another run.
    """

    def __init__(self, path):
        self.path = Path(path)

    def __enter__(self):
        held = contextlib.ExitStack()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            # First of all: what another run is writing is not ours to judge.
            held.enter_context(sole_lock(self.path / LOCK))
        except Timeout:
            raise ValueError(
                f"{self.path} is in use by another run of skfmri. Wait until it ends, or choose "
                "another directory."
            ) from None
        except OSError as error:
            raise ValueError(
                f"Results cannot be written to {self.path}: {error.strerror}."
            ) from error
        with held:
            self.command, names = read_manifest(self.path)
            # A manifest that was altered must not lead to files elsewhere.
            self.listed = [name for name in names if _is_result(name)]
            self._delete_parts()
            self._held = held.pop_all()
        return self

    def __exit__(self, *_):
        self._held.close()

    def claim(self, names, *, replace=False):
        """Raise ValueError if files may not be written; nothing is changed.

        Parameters
        ----------
        names : sequence of str
            Files and folders that are to be written.
        replace : bool, default=False
            Whether files that the manifest lists may be replaced.
        """
        there = [name for name in names if os.path.lexists(self.path / name)]
        own = {*self.listed, *(PurePosixPath(name).parent.as_posix() for name in self.listed)}
        foreign = [name for name in there if name not in own]
        if foreign:
            raise ValueError(
                f"{self.path} holds {', '.join(foreign)}, which no run of this version of skfmri "
                "lists as its own. Move that away, or choose another directory."
            )
        if there and not replace:
            refuse_results(self.path, there)

    def clear(self):
        """Delete the files that the manifest lists, and nothing else."""
        for name in self.listed:
            (self.path / name).unlink(missing_ok=True)
        for name in (MAPS, LEDGERS):
            with contextlib.suppress(OSError):  # it is not empty, or not there
                (self.path / name).rmdir()
        self.listed = []

    def register(self, names, command=None):
        """List files in the manifest, before they are written."""
        self.command = command or self.command
        self.listed = list(dict.fromkeys([*self.listed, *names]))
        about = {"format": FORMAT, "format_version": VERSION, "command": self.command}
        about |= {"skfmri": importlib.metadata.version("skfmri"), "files": self.listed}
        write_json(self.path / MANIFEST, about)

    def _delete_parts(self):
        """Delete what a run that was killed had not finished writing."""
        for name in (*self.listed, MANIFEST):
            path = self.path / name
            for part in path.parent.glob(f".{'[0-9a-f]' * 8}.{path.name}"):
                part.unlink(missing_ok=True)


def _is_result(name):
    if name in NAMES or name == SUBJECTS:
        return True
    patterns = (FOLD_MAP, SUBJECT_LEDGER)
    return isinstance(name, str) and any(pattern.fullmatch(name) for pattern in patterns)


def claim_file(path, overwrite):
    """Raise ValueError if a file may not be written, before any work is done."""
    if path is None:
        return
    path = Path(path)
    if not path.parent.is_dir():
        raise ValueError(f"{path} cannot be written: there is no directory {path.parent}.")
    if path.is_dir():
        raise ValueError(f"{path} is a directory. Name a file.")
    if os.path.lexists(path) and not overwrite:
        raise ValueError(f"{path} exists already. Choose another file, or pass --overwrite.")


def claim_model(path, directory, *, overwrite=False, resume=False):
    """Raise ValueError if a model may not be saved, before any work is done.

    Parameters
    ----------
    path : str or path-like or None
        The file for the model; None saves none.
    directory : str or path-like
        The directory of the results.
    overwrite : bool, default=False
        Whether a file that is there may be replaced.
    resume : bool, default=False
        Whether a model may be replaced that the run has saved before.
    """
    if path is None:
        return
    path = Path(path)
    claim_file(path, overwrite or (resume and _is_saved_model(path)))
    is_inside = path.resolve().parent == Path(directory).resolve()
    if is_inside and path.name in (*NAMES, MANIFEST, LOCK):
        raise ValueError(
            f"--model {path} is the name of another result. Choose another, such as model.skfmri."
        )


def _is_saved_model(path):
    try:
        training_record(path)
    except (ValueError, OSError):
        return False
    return True


def names_of_run(n_folds=None, *, has_maps=True, ledgers=None):
    """Return the files that a run may write, or their folders if their number is not known.

    Parameters
    ----------
    n_folds : int, default=None
        Number of folds; None if it is not known.
    has_maps : bool, default=True
        Whether there are maps.
    ledgers : sequence of str, default=None
        Names of the ledgers if each subject has a decoder of its own, or none if they are not known
        yet. None stands for one decoder.

    Returns
    -------
    names : list of str
    """
    names = list(NAMES)
    if ledgers is not None:
        names.remove(LEDGER)
        names += [SUBJECTS, *([f"{LEDGERS}/{name}" for name in ledgers] or [LEDGERS])]
    if not has_maps:
        return [name for name in names if name not in (SALIENCY, SIGN_CONSISTENCY)]
    if n_folds is None:
        return [*names, MAPS]
    return [*names, *(fold_map("", fold).as_posix() for fold in range(n_folds))]


def write_tables(directory, result, rows):
    """Write the tables of a result; a sample is named by its row among all volumes."""
    predictions = result.predictions.assign(sample=rows[result.predictions["sample"]])
    for name in TABLES:
        table = predictions if name == "predictions" else getattr(result, name)
        write_text(directory / f"{name}.csv", as_csv(table))
    if isinstance(result, SubjectsResult):
        write_text(directory / SUBJECTS, as_csv(result.subjects))


def as_csv(table):
    """Return a table as CSV from which pandas reads the same values."""
    text = table.to_csv(index=False, lineterminator="\n")
    if "\r" in text:
        # Python quotes no carriage return by itself, but every reader ends a row there.
        text = table.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    return text


def write_anatomy(directory, samples, rotator, watch=None):
    """Write the mean volume, and the slab of a fitted rotator on the native grid.

    Parameters
    ----------
    directory : pathlib.Path
        Where they go.
    samples : NiftiSamples
        Volumes; all are read once, a few at a time.
    rotator : NiftiSlabRotator
        Fitted.
    watch : callable, default=None
        Called with an iterator over batches and the number of volumes; yields the batches.
    """
    total = np.zeros(samples.grid_shape)
    batches = stream_batches(samples)
    for batch in batches if watch is None else watch(batches, len(samples)):
        total += np.nan_to_num(batch).sum(axis=0, dtype=np.float64)
    slab = rotator.inverse_transform(np.ones(rotator.slab_shape_, np.float32))
    _save(directory / MEAN, total / len(samples), slab)
    _save(directory / SLAB, np.isfinite(slab.get_fdata()), slab)


def save_fold_map(directory, options, fold, pipeline, X, y):
    """Write the mean saliency map of samples that a fitted pipeline has not seen."""
    from skfmri.inspection import saliency_image

    # Of numbers, y would name the target.
    image = saliency_image(pipeline, X, None if is_regressor(pipeline) else y, **options)
    path = fold_map(directory, fold)
    path.parent.mkdir(exist_ok=True)
    _save(path, image.get_fdata(), image)


def fold_map(directory, fold):
    """Return the path of the map of a fold."""
    return Path(directory) / MAPS / f"fold{fold + 1:03}.nii.gz"


def write_mean_maps(directory, n_folds):
    """Write mean and agreement in sign of the maps of all folds, or raise ValueError."""
    from skfmri.inspection import mean_map, mean_sign

    paths = [fold_map(directory, fold) for fold in range(n_folds)]
    missing = [path.name for path in paths if not path.exists()]
    if missing:
        raise ValueError(
            f"There is no mean map: {len(missing)} of {n_folds} maps are missing from "
            f"{paths[0].parent}, such as {missing[0]}. A resumed run makes no map of a fold that "
            "was finished before; start again with --overwrite to get all maps."
        )
    images = [nibabel.load(path) for path in paths]
    maps = [image.get_fdata(dtype=np.float32) for image in images]
    _save(directory / SALIENCY, mean_map(maps), images[0])
    _save(directory / SIGN_CONSISTENCY, mean_sign(maps), images[0])


def _save(path, volume, like):
    """Write a volume as float32 in the space of an image."""
    image = nibabel.Nifti1Image(np.asarray(volume, np.float32), like.affine, like.header)
    with whole_file(path) as part:
        nibabel.save(image, part)
