"""Files of a result directory, read back."""

import json
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
from nibabel.affines import voxel_sizes

from skfmri._validation import shortened
from skfmri.evaluation.result import DECODER
from skfmri.evaluation.subjects import SEED_LEDGER
from skfmri.evaluation.words import is_error
from skfmri.report.directory import (
    LEDGER,
    LEDGERS,
    MEAN,
    SALIENCY,
    SETTINGS,
    SIGN_CONSISTENCY,
    SLAB,
    SUBJECT_COLUMNS,
    SUBJECTS,
    TABLES,
    TEXT_COLUMNS,
)
from skfmri.report.version_0_1 import upgrade_record

# Tables that a report is made of; those with learning curves may be absent.
READ = ("folds", "predictions", "summary", "comparisons", "learning_curves")
IMAGES = {"mean": MEAN, "slab": SLAB, "saliency": SALIENCY, "sign_consistency": SIGN_CONSISTENCY}
# Parts of the record with their kinds; those that may be None are not there in every run.
SECTIONS = dict.fromkeys(("settings", "data", "source", "pipeline", "cross_validation"), dict)
SECTIONS |= {"sentences": list, "leaks_ignored": list | None}
SECTIONS |= dict.fromkeys(
    (
        "centring",
        "cleaning",
        "network",
        "permutation_test",
        "saliency",
        "size",
        "slab",
        "subjects",
        "thresholds_chosen",
        "versions",
    ),
    dict | None,
)
TEXTS = ("sentences", "leaks_ignored")
# What a decoder may predict; records that do not say so are of classes.
CLASSES, NUMBERS = "classes", "numbers"
# Columns of counts and positions, and those that tell the rows of a table apart.
WHOLE = {"repeat", "fold", "sample", "n_train", "n_test", "epoch"}
KEYS = ("subject", "model", "baseline", "metric", "fold", "sample", "epoch")
# What is told of the numbers of a group.
NUMBER_COLUMNS = ("count", "nunique", "min", "mean", "max", "std")
DAMAGED = "Run the command again with --resume, which computes nothing twice."


class ReportError(ValueError):
    """What stands in the way of a report, with the file concerned."""


class Section(dict):
    """A part of the record; an entry that is missing means a damaged file."""

    def __init__(self, values, name, path):
        super().__init__(values)
        self.name, self.path = name, path

    def __missing__(self, key):
        raise ReportError(f"{self.path} is damaged: {self.name} has no {key!r}. {DAMAGED}")


@dataclass(frozen=True)
class Results:
    """What a result directory holds.

    Attributes
    ----------
    directory : pathlib.Path
        The directory.
    record : dict
        Content of ``settings.json``.
    folds, predictions, summary, comparisons, learning_curves : pandas.DataFrame
        Tables, with names as text. Labels are names of classes, or numbers.
    subjects : pandas.DataFrame
        Scores of each subject; without rows unless each has a decoder of its own.
    images : dict of str to nibabel.Nifti1Image
        Those of "mean", "slab", "saliency" and "sign_consistency" that there are.
    """

    directory: Path
    record: dict
    folds: pd.DataFrame
    predictions: pd.DataFrame
    summary: pd.DataFrame
    comparisons: pd.DataFrame
    learning_curves: pd.DataFrame
    subjects: pd.DataFrame
    images: dict

    def section(self, name):
        """Return a part of the record by its name; None if the run has none."""
        content = self.record[name]
        return None if content is None else Section(content, name, self.directory / SETTINGS)

    def step(self, number):
        """Return the class of a step of the pipeline, and its parameters.

        Parameters
        ----------
        number : int
            Position in the pipeline: 0 is the slab, 1 the z-scores, -1 the network.

        Returns
        -------
        name : str
            Name of its class.
        parameters : Section
        """
        steps = self.section("pipeline")["steps"]
        name = list(steps)[number]
        step = Section(steps[name], f"step {name}", self.directory / SETTINGS)
        return step["class"], Section(step["parameters"], f"step {name}", step.path)

    @property
    def data(self):
        """What is known of the data."""
        return self.record["data"]

    @property
    def source(self):
        """Where the data come from."""
        return self.section("source")

    @property
    def is_simulated(self):
        """Whether the data were simulated by the command."""
        return self.source["kind"] == "simulated"

    @property
    def predicts_numbers(self):
        """Whether the decoder predicts numbers, not classes."""
        return self.record["predicts"] == NUMBERS

    @property
    def number_name(self):
        """What the predicted number is called; None if the record does not tell."""
        return self.source.get("label") or self.source.get("columns", {}).get("label")

    @property
    def n_subjects(self):
        """Number of subjects that have a decoder of their own; 0 if there is one for all."""
        return self.subjects["subject"].nunique()

    @property
    def metrics(self):
        """Names of the metrics, the tested one first."""
        return list(dict.fromkeys(self.summary["metric"]))

    @property
    def metric_of_folds(self):
        """The metric that folds are compared in: the first one, of numbers the first error.

        A fold may hold a single number, so that other metrics have no value in it.
        """
        errors = [name for name in self.metrics if is_error(name)]
        return errors[0] if self.predicts_numbers and errors else self.metrics[0]

    @property
    def classes(self):
        """Names of the classes in the order of the record, then those only predictions name.

        There are none of numbers.
        """
        if self.predicts_numbers:
            return []
        named = list(self.data.get("volumes_per_class") or ())
        return list(dict.fromkeys([*map(str, named), *sorted(set(self.predictions["label"]))]))

    @property
    def models(self):
        """Names of the models, the decoder first."""
        return list(dict.fromkeys(self.folds["model"]))

    def of_model(self, table, model):
        """Return the rows of a model in "folds", "predictions" or "summary"."""
        rows = getattr(self, table)
        return rows[rows["model"] == model]

    def score(self, model):
        """Return the first metric of a model, as a dict of the summary; empty without one."""
        rows = self.of_model("summary", model)
        rows = rows[rows["metric"] == self.metrics[0]].to_dict("records")
        return rows[0] if rows else {}

    def samples(self):
        """Return one row of the predictions of the decoder for each sample."""
        # Each repeat predicts each sample once.
        return self.of_model("predictions", DECODER).drop_duplicates("sample")

    def volumes_per_group(self):
        """Return the number of volumes of each group and class.

        Returns
        -------
        counts : pandas.DataFrame of shape (n_groups, n_classes)
            Groups in the order of the record. Of numbers there is a single column.
        """
        counts = self.data.get("volumes_per_group")
        if self.predicts_numbers:
            counts = self.samples().groupby("group").size().to_frame("volumes")
            return counts.reindex(self._in_order(counts.index))
        if counts:
            counts = pd.DataFrame.from_dict(counts, orient="index").fillna(0).astype(int)
        else:
            rows = self.samples()
            counts = pd.crosstab(rows["group"], rows["label"])
        counts.index, counts.columns = counts.index.map(str), counts.columns.map(str)
        return counts.reindex(
            index=self._in_order(counts.index), columns=self.classes, fill_value=0
        )

    def numbers_per_group(self):
        """Return how the numbers to predict are distributed in each group.

        Returns
        -------
        table : pandas.DataFrame of shape (n_groups, 6)
            Groups in the order of the record; "count", "nunique", "min", "mean", "max" and "std" of
            their samples.
        """
        table = self.samples().groupby("group")["label"].agg(list(NUMBER_COLUMNS))
        return table.reindex(self._in_order(table.index))

    def _in_order(self, names):
        """Return names of groups in the order of the record, then those that it does not name."""
        known = [str(group) for group in self.data.get("groups", ())]
        return [name for name in dict.fromkeys([*known, *names]) if name in names]

    def voxel_sizes(self):
        """Return the sides of a voxel in mm, or None where nothing tells them."""
        sizes = self.data.get("voxel_sizes_mm")
        if sizes is None and "affine" in self.data:
            sizes = voxel_sizes(np.array(self.data["affine"], float)).tolist()
        return sizes


def read_results(directory):
    """Read a result directory of the command line.

    Parameters
    ----------
    directory : str or path-like
        The directory.

    Returns
    -------
    results : Results

    Raises
    ------
    ValueError
        If the directory or a file is missing, or if a file is damaged; the message names it.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise ValueError(
            f"There is no directory {directory}. Pass the one that 'skfmri decode' wrote, which "
            "its option --out names."
        )
    needed = [SETTINGS, *(f"{name}.csv" for name in READ if name != "learning_curves")]
    missing = [name for name in needed if not (directory / name).is_file()]
    record = None if SETTINGS in missing else _read_record(directory / SETTINGS)
    has_subjects = record is not None and record["subjects"] is not None
    if has_subjects and not (directory / SUBJECTS).is_file():
        missing.append(SUBJECTS)
    if missing:
        end = "Pass a directory that 'skfmri decode --out DIR' or 'skfmri demo' wrote."
        if (directory / LEDGER).is_file() or (directory / LEDGERS / SEED_LEDGER).is_file():
            end = "Its run did not end: the same command with --resume goes on and writes them."
        raise ValueError(
            f"{directory} is not a result directory: it has no {', '.join(missing)}. {end}"
        )
    # What predictions of numbers are is known from the record alone.
    numbers = ("label", "predicted") if record["predicts"] == NUMBERS else ()
    tables = {
        name: _read_table(directory / f"{name}.csv", TABLES[name], numbers=numbers) for name in READ
    }
    tables["subjects"] = pd.DataFrame(columns=list(SUBJECT_COLUMNS))
    if has_subjects:
        tables["subjects"] = _read_table(directory / SUBJECTS, SUBJECT_COLUMNS)
    results = Results(directory, record, **tables, images=_read_images(directory))
    for name in ("folds", "predictions", "summary"):
        if results.of_model(name, DECODER).empty:
            raise ValueError(
                f"{directory / name}.csv is damaged: it has no row of the decoder. {DAMAGED}"
            )
    if not results.score(DECODER):
        raise ValueError(
            f"{directory / 'summary'}.csv is damaged: it has no {results.metrics[0]} of the "
            f"decoder. {DAMAGED}"
        )
    return results


def _read_record(path):
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(record, dict) and "pipeline" not in record:
            record = upgrade_record(record, path)
    except (ValueError, TypeError, AttributeError, RecursionError, OSError) as error:
        raise ValueError(f"{path} is damaged: {shortened(error)}. {DAMAGED}") from error
    for name, kind in SECTIONS.items():
        if not isinstance(record, dict) or not isinstance(record.get(name), kind):
            raise ValueError(f"{path} is damaged: it holds no {name}. {DAMAGED}")
    if record.get("predicts", CLASSES) not in (CLASSES, NUMBERS):
        raise ValueError(
            f"{path} is damaged: it predicts {record['predicts']!r}, neither {CLASSES} nor "
            f"{NUMBERS}. {DAMAGED}"
        )
    for name in TEXTS:
        if not all(isinstance(text, str) for text in record.get(name) or ()):
            raise ValueError(f"{path} is damaged: its {name} are not all text. {DAMAGED}")
    missing = dict.fromkeys(("cleaning", "centring", "size", "subjects"))
    return {**missing, "predicts": CLASSES, **record}


def _read_table(path, columns, numbers=()):
    text_columns = TEXT_COLUMNS.difference(numbers)
    if not path.is_file():
        return pd.DataFrame(columns=list(columns))
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        if not isinstance(table.index, pd.RangeIndex):
            raise ValueError("its rows have more fields than its header")
        missing = [name for name in columns if name not in table]
        if missing:
            raise ValueError(f"it has no column {', '.join(missing)}")
        # A row that was cut short ends in empty fields, and no name is empty.
        names = [name for name in columns if name in text_columns]
        if names and (table[names].isna() | (table[names] == "")).any(axis=None):
            raise ValueError("a row ends before its last field")
        names = [name for name in table if name not in text_columns]
        values = table[names].replace({"": np.nan, "True": "1", "False": "0"})
        table[names] = values.apply(pd.to_numeric)
        _check_rows(table)
        if "label" in numbers and "label" in table and not np.isfinite(table["label"]).all():
            raise ValueError("its column label holds something else than finite numbers")
    except (ValueError, OverflowError, OSError) as error:
        raise ValueError(f"{path} is damaged: {shortened(error)}. {DAMAGED}") from error
    return table


def _check_rows(table):
    """Raise ValueError if counts are not whole numbers, or a row occurs twice."""
    for name in WHOLE.intersection(table):
        values = table[name].astype(float)
        if not (np.isfinite(values) & (values >= 0) & (values == np.floor(values))).all():
            raise ValueError(f"its column {name} holds something else than whole numbers")
        table[name] = values.astype(int)
    keys = [name for name in KEYS if name in table]
    if table.duplicated(keys).any():
        raise ValueError(f"rows have the same {', '.join(keys)}")


def _read_images(directory):
    images = {}
    for name, file in IMAGES.items():
        if (directory / file).is_file():
            images[name] = read_image(directory / file, DAMAGED)
    return images


def read_image(image, way_out="Check the file."):
    """Return an image or the path of one as a 3-D image in memory.

    Parameters
    ----------
    image : nibabel image or path-like
        With three axes, or more of length 1.
    way_out : str, default="Check the file."
        End of the error message.

    Returns
    -------
    image : nibabel.Nifti1Image
        float32.

    Raises
    ------
    ValueError
        If the file is missing or damaged, or holds more than one volume.
    """
    name = "The image"
    if not hasattr(image, "dataobj"):
        name = image
        if not Path(image).is_file():
            raise ValueError(f"There is no image {image}. Check the path.")
    try:
        image = image if hasattr(image, "dataobj") else nibabel.load(image)
        data = np.asarray(image.dataobj, dtype=np.float32)
    # A cut-off file raises whatever its compression does.
    except Exception as error:
        raise ValueError(f"{name} cannot be read: {error}. {way_out}") from error
    if data.ndim < 3 or any(length != 1 for length in data.shape[3:]):
        raise ValueError(
            f"{name} has the shape {' x '.join(map(str, data.shape))}. Pass a single 3-D volume."
        )
    return nibabel.Nifti1Image(data.reshape(data.shape[:3]), image.affine)
