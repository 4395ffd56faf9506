"""What each row compares with which target."""

from collections.abc import Callable
from dataclasses import dataclass

import runs
import slabs
import training


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Parameters
    ----------
    letter, title : str
        Name of the row.
    sides : tuple of str
        Functions that run in turn.
    targets : callable
        Takes the medians and the work; returns tuples of what was compared, the value found, the
        largest value allowed, and the unit, which is empty for a ratio.
    prepare : callable, optional
        Called once with the work before any side runs.
    """

    letter: str
    title: str
    sides: tuple
    targets: Callable
    prepare: Callable | None = None


def _file_to_slabs(m, work):
    ours, zlib = m["slabs_skfmri"], m["slabs_skfmri_zlib"]
    notebook, raw = m["slabs_notebook"], m["slabs_decompression"]
    return [
        ("time / notebook", ours["seconds"] / notebook["seconds"], 1 / 15, ""),
        ("time without isal / notebook", zlib["seconds"] / notebook["seconds"], 1 / 15, ""),
        ("time / raw decompression", ours["seconds"] / raw["seconds"], 2, ""),
        ("time without isal / raw decompression", zlib["seconds"] / raw["seconds"], 2, ""),
        ("peak memory / notebook", ours["peak"] / notebook["peak"], 1 / 4, ""),
        ("largest difference of a value", slabs.largest_difference(work), 1e-5, "(values near 1)"),
    ]


def _one_volume(m, work):
    ours, matrices = m["volume_skfmri"], m["volume_skfmri_matrices"]
    peer = m["volume_nilearn"]
    return [
        ("time / resample_img", ours["seconds"] / peer["seconds"], 1 / 30, ""),
        ("time, not compiled / resample_img", matrices["seconds"] / peer["seconds"], 1 / 30, ""),
        ("largest difference of a value", peer["difference"], 1e-5, "(values near 1)"),
    ]


def _epoch(m, work):
    ours = m["epoch_skfmri"]["epoch"]
    return [
        ("time / PyTorch", ours / m["epoch_torch"]["epoch"], 1.0, ""),
        ("time / Keras", ours / m["epoch_keras"]["epoch"], 0.65, ""),
    ]


def _fits(m, work):
    return [
        ("time before the first epoch", m["fits_skfmri"]["before"], 0.3, "s"),
        ("growth of memory over the last 90 of 100 fits", m["memory_skfmri"]["growth"], 20, "MB"),
    ]


def _cross_validation(m, work):
    ours = m["scores_skfmri"]["process"]
    return [
        ("whole process / stock parts", ours / m["scores_stock"]["process"], 1 / 3, ""),
        ("whole process / skorch", ours / m["scores_skorch"]["process"], 1.0, ""),
    ]


def _search(m, work):
    ours, peer = m["search_skfmri"], m["search_scikeras"]
    return [
        ("time / scikeras", ours["seconds"] / peer["seconds"], 0.55, ""),
        ("share of time that is not training", 100 * ours["rest"], 5, "%"),
    ]


def _many_volumes(m, work):
    one, many = m["slabs_skfmri"], m["slabs_skfmri_many"]
    return [
        ("time / that of one tenth", many["seconds"] / one["seconds"], 10.5, ""),
        ("peak memory / that of one tenth", many["peak"] / one["peak"], 1.3, ""),
    ]


def _larger_than_memory(m, work):
    mapped, memory = m["large_mapped"], m["large_memory"]
    return [
        ("epoch / in memory", mapped["epoch"] / memory["epoch"], 1.3, ""),
        ("difference of accuracy", abs(mapped["accuracy"] - memory["accuracy"]), 0, "of 1"),
    ]


def _two_jobs(m, work):
    two = m["jobs_two"]
    return [
        ("whole process / n_jobs=1", two["process"] / m["jobs_one"]["process"], 1.0, ""),
        ("threads of all workers", two["threads"], 2, "threads"),
        ("how often the file was decoded", two["copies"], 1, "times"),
    ]


def _run_to_slabs(m, work):
    ours, raw = m["run_skfmri"], m["run_decompression"]
    return [
        ("time / NiftiMasker", ours["seconds"] / m["run_nilearn"]["seconds"], 1 / 3, ""),
        ("time / raw decompression", ours["seconds"] / raw["seconds"], 4, ""),
        ("peak memory", ours["peak"], 700, "MiB"),
    ]


def _run_to_volumes(m, work):
    ours = m["clean_skfmri"]
    return [
        ("time / clean_img", ours["seconds"] / m["clean_nilearn"]["seconds"], 1 / 35, ""),
        ("peak memory", ours["peak"], 1024, "MiB"),
    ]


def _trials(m, work):
    ours = m["trials_skfmri"]
    return [
        ("time / FirstLevelModel", ours["seconds"] / m["trials_nilearn"]["seconds"], 1 / 20, ""),
        ("time / that of cleaned volumes", ours["seconds"] / m["run_skfmri"]["seconds"], 1.2, ""),
        ("peak memory", ours["peak"], 700, "MiB"),
    ]


def _study(m, work):
    n_runs = runs.N_SUBJECTS * runs.N_RUNS
    two, all_runs, rest = m["study_two"], m["study_all"], m["study_continued"]
    per_run = all_runs["seconds"] / n_runs
    return [
        ("time per run / that of two runs", per_run / (two["seconds"] / 2), 1.15, ""),
        ("disk / float32 volumes", all_runs["disk"], 1 / 5, ""),
        ("time after half was done / whole", rest["seconds"] / all_runs["seconds"], 0.6, ""),
    ]


def _small_files(m, work):
    ours, quarter = m["small_skfmri"], m["small_skfmri_quarter"]
    return [
        ("time / nibabel", ours["seconds"] / m["small_nibabel"]["seconds"], 1.5, ""),
        ("time / that of a quarter", ours["seconds"] / quarter["seconds"], 4.4, ""),
    ]


ROWS = {
    row.letter: row
    for row in (
        Row(
            "A",
            "File name to slab array:",
            ("slabs_notebook", "slabs_decompression", "slabs_skfmri_zlib", "slabs_skfmri"),
            _file_to_slabs,
        ),
        Row(
            "B",
            "Slab of a volume in memory:",
            ("volume_nilearn", "volume_skfmri_matrices", "volume_skfmri"),
            _one_volume,
        ),
        Row(
            "C",
            "Training epoch of 245 volumes, validation on 62:",
            ("epoch_keras", "epoch_torch", "epoch_skfmri"),
            _epoch,
        ),
        Row(
            "D",
            "Second and later fits:",
            ("fits_keras", "fits_scikeras", "fits_skfmri", "memory_skfmri"),
            _fits,
        ),
        Row(
            "E",
            "6 folds, 30 epochs, file to scores:",
            ("scores_stock", "scores_skorch", "scores_skfmri"),
            _cross_validation,
        ),
        Row(
            "F",
            "GridSearchCV, 3 filters x 3 dropouts x 6 folds, 10 epochs:",
            ("search_scikeras", "search_skfmri"),
            _search,
        ),
        Row(
            "G",
            "3,840 volumes, file to slabs:",
            ("slabs_skfmri", "slabs_skfmri_many"),
            _many_volumes,
        ),
        Row(
            "H",
            "Slabs of 15 GB through a memory map, with 1.5 GB of private memory:",
            ("large_memory", "large_mapped"),
            _larger_than_memory,
            prepare=training.prepare_large,
        ),
        Row("I", "6 folds with n_jobs=2:", ("jobs_one", "jobs_two"), _two_jobs),
        Row(
            "J",
            "Run of 97 x 115 x 97 x 150, cleaned, file to slabs:",
            ("run_nilearn", "run_decompression", "run_skfmri"),
            _run_to_slabs,
            prepare=runs.prepare_runs,
        ),
        Row(
            "K",
            "The same run, whole volumes cleaned, file to cache file:",
            ("clean_nilearn", "clean_skfmri"),
            _run_to_volumes,
            prepare=runs.prepare_runs,
        ),
        Row(
            "L",
            "16 such runs of 4 subjects, file to slabs:",
            ("study_two", "study_all", "study_continued"),
            _study,
            prepare=runs.prepare_runs,
        ),
        Row(
            "M",
            "60 trials of the same run, one model each, file to slabs:",
            ("trials_nilearn", "run_skfmri", "trials_skfmri"),
            _trials,
            prepare=runs.prepare_runs,
        ),
        Row(
            "N",
            "1,600 small files of one volume, first read:",
            ("small_nibabel", "small_skfmri_quarter", "small_skfmri"),
            _small_files,
            prepare=runs.prepare_small_files,
        ),
    )
}
