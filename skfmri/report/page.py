"""The page of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from skfmri._files import write_text
from skfmri._validation import printable, shortened
from skfmri.evaluation.result import DECODER
from skfmri.evaluation.words import is_error
from skfmri.report import pictures, tables
from skfmri.report.directory import MEAN, REPORT
from skfmri.report.methods import methods_paragraphs, n_maps, saliency_words
from skfmri.report.methods_decoder import region_words
from skfmri.report.methods_numbers import (
    explained_sentences,
    is_repeated,
    map_words,
    number_words,
    variation_words,
)
from skfmri.report.methods_trials import unit_of_samples
from skfmri.report.references import cited
from skfmri.report.results import DAMAGED, IMAGES, ReportError, read_image, read_results
from skfmri.report.words import (
    by,
    counted,
    counted_range,
    exact,
    joined,
    number,
    ranged,
    typeset,
    upper,
    words_of,
)
from skfmri.spatial import angle_in_radians

if TYPE_CHECKING:
    from skfmri._types import FilePath, ImageOrPath

MOST_NAMED = 3


def write_report(
    directory: FilePath, *, path: FilePath | None = None, anatomy: ImageOrPath | None = None
) -> Path:
    """Write a report of a result directory as one HTML file that needs nothing else.

    The page holds its pictures and asks for no network, so it can be mailed, archived and opened
    years later. It shows what was decoded, how well and compared with what, with a methods
    paragraph for a paper.

    Parameters
    ----------
    directory : str or path-like
        What ``skfmri decode`` or ``skfmri demo`` wrote.
    path : str or path-like, default=None
        The file to write; None stands for ``report.html`` in the directory.
    anatomy : image or path-like, default=None
        Image on which slab and maps are drawn; None takes the mean of the decoded volumes.

    Returns
    -------
    path : pathlib.Path
        The file, which appears only when it is complete.

    Raises
    ------
    ValueError
        If there is no such directory, if it lacks results, or if a file in it or the anatomy is
        damaged.

    Notes
    -----
    Parts of a run that are absent, such as maps, are named in their place.

    Examples
    --------
    >>> from skfmri.report import write_report
    >>> write_report("results")  # doctest: +SKIP
    PosixPath('results/report.html')
    """
    results = read_results(directory)
    if anatomy is not None:
        anatomy = read_image(anatomy)
    path = results.directory / REPORT if path is None else Path(path)
    if not path.parent.is_dir():
        raise ValueError(f"There is no directory {path.parent} to write {path.name} to. Make it.")
    try:
        page = render(results, anatomy)
    except ReportError:
        raise
    except Exception as error:  # altered values may fail anywhere
        raise ReportError(
            f"No report can be made of {directory}: its settings.json or one of its tables holds "
            f"what no run writes ({type(error).__name__}: {shortened(error)}). {DAMAGED}"
        ) from error
    write_text(path, page)
    return path


def render(results, anatomy=None):
    """Return the page of some results.

    Parameters
    ----------
    results : Results
        From `read_results`.
    anatomy : nibabel.Nifti1Image, default=None
        As in `write_report`.

    Returns
    -------
    page : str
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        # A page may hold no NUL, and a name must not look like another.
        finalize=lambda value: printable(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    paragraphs = methods_paragraphs(results)
    slab, maps = _brains(results, anatomy)
    return environment.get_template("template.html").render(
        title=_title(results),
        sentences=[typeset(sentence) for sentence in results.record["sentences"]],
        leaks=results.record.get("leaks_ignored") or [],
        facts=_facts(results),
        groups=tables.group_table(results),
        slab=slab,
        subjects=_subjects(results),
        scores=[tables.score_table(results), tables.comparison_table(results)],
        explained=_explained(results),
        permutations=_permutations(results),
        folds=_folds(results),
        images=_images(results),
        curves=_curves(results),
        **_predictions(results),
        maps=maps,
        paragraphs=paragraphs,
        references=cited(" ".join(text for _, text in paragraphs) + " Nichols et al. 2017"),
        settings=[tables.settings_table(results), tables.parameter_table(results)],
        versions=tables.version_table(results),
        directory=results.directory.resolve().name,
    )


def _title(results):
    if results.predicts_numbers:
        return f"Predicting {results.number_name or 'numbers'}"
    classes = results.classes
    if len(classes) > MOST_NAMED:
        return f"Decoding {len(classes)} classes"
    return f"Decoding {joined(classes, 'or')}"


def _facts(results):
    """Return what is known of the data, as names and values."""
    source, data, counts = results.source, results.data, results.volumes_per_group()
    sizes, unit = results.voxel_sizes(), unit_of_samples(results)
    facts = {
        f"{upper(unit)}s": exact(int(counts.to_numpy().sum())),
        **_labels(results, counts),
        "Subjects": f"{results.n_subjects}, each with a decoder" if results.n_subjects else None,
        "Groups": f"{len(counts)}, of {counted_range(counts.sum(axis=1), unit)}",
        "Centred": _centred(results),
        "Grid": f"{by(data['grid_shape'])} voxels" if data.get("grid_shape") else None,
        "Voxel size": f"{by(sizes)} mm" if sizes else None,
    }
    if results.is_simulated:
        facts["Origin"] = "simulated by skfmri demo, with a known effect; nothing was measured"
    else:
        facts["Runs"] = exact(data["n_runs"]) if data.get("n_runs") else None
        images = source["images"]
        facts["Images"] = ", ".join(images) if len(images) <= MOST_NAMED else exact(len(images))
        facts["Labels"] = source.get("labels")
        facts["Dataset"] = source.get("root")
    rotator = results.step(0)[1]
    facts["Region"] = region_words(rotator) if rotator.get("mask") else None
    # Neither is known of results of version 0.1.
    facts["Date"] = results.record.get("date")
    facts["Command"] = results.record.get("command_line")
    return {name: value for name, value in facts.items() if value}


def _labels(results, counts):
    """Return which classes there are, or how the numbers to predict are distributed."""
    if not results.predicts_numbers:
        return {"Classes": joined(f"{name} ({n})" for name, n in counts.sum().items())}
    return {"Numbers": f"{number_words(results)}, {variation_words(results)}"}


def _images(results):
    """Return the names of the images if they are too many for the facts."""
    images = results.source.get("images") or []
    return images if len(images) > MOST_NAMED else []


def _folds(results):
    n_folds = counted(len(results.of_model("folds", DECODER)), "fold")
    metric = results.metric_of_folds
    values = "errors" if is_error(metric) else "scores"
    caption = (
        f"{upper(words_of(metric))} on the held-out groups of {n_folds}: a line joins the {values} "
        "of one fold, and bars are means."
    )
    picture = pictures.fold_picture(results)
    return {"picture": picture, "caption": caption, "table": tables.fold_table(results)}


def _centred(results):
    """Return within what volumes were centred, or None."""
    centring = results.section("centring")
    if centring is None:
        return None
    within = f" of the same {centring['column']}" if centring["column"] else ""
    n_groups, n_maps = counted(centring["n_groups"], "group"), ranged(centring["maps_per_group"])
    return f"within {n_groups} of {n_maps} {unit_of_samples(results)}s{within}"


def _missing(results, names, anatomy=True):
    """Return why something cannot be shown, or None."""
    lacking = [IMAGES[name] for name in names if name not in results.images]
    if not anatomy:
        lacking.append(MEAN)
    if not lacking:
        return None
    verb = "is" if len(lacking) == 1 else "are"
    return (
        f"Not shown: {joined(lacking)} {verb} not in the directory. Results of earlier versions of "
        "skfmri have no images; run the command again to get them."
    )


def _brains(results, anatomy):
    """Return what is shown of the slab and of the maps."""
    if anatomy is None:
        shown_on = "the mean of the decoded volumes"
        mean = results.images.get("mean")
        return _slab(results, mean, shown_on), _maps(results, mean, shown_on)
    try:
        return tuple(part(results, anatomy, "the given anatomy") for part in (_slab, _maps))
    except ValueError as error:
        raise ReportError(
            f"The anatomy does not fit the results: {error} Pass an image of the same head in the "
            "same space, or leave it out."
        ) from error


def _slab(results, anatomy, shown_on):
    note = _missing(results, ["slab"], anatomy is not None)
    if note:
        return {"note": note}
    about = results.record.get("slab") or {}
    caption = f"The slab in native space, on {shown_on}."
    if about.get("shape"):
        caption += f" It has {by(about['shape'])} voxels"
        if about.get("n_in_region"):
            caption += f", {about['n_in_region']} of them in the region,"
        if about.get("first_slice") is not None:
            grid = "rotated grid" if angle_in_radians(results.step(0)[1]["angle"]) else "grid"
            caption += f" and begins at slice {about['first_slice']} of the {grid}"
        caption += "."
    return {"picture": pictures.slab_picture(results, anatomy), "caption": caption}


def _subjects(results):
    """Return what is shown of subjects with a decoder each, or None."""
    if not results.n_subjects:
        return None
    caption = (
        f"{upper(words_of(results.metrics[0]))} of each subject with its interval over groups, "
        "chance for the class balance of the subject, and the mean over subjects."
    )
    return {
        "picture": pictures.subject_picture(results),
        "caption": caption,
        "table": tables.subject_table(results),
    }


def _explained(results):
    """Return how the means, intervals and tests of the scores came about."""
    if results.predicts_numbers:
        return " ".join(explained_sentences(results))
    has_comparison = not results.comparisons.empty
    if results.n_subjects:
        text = (
            "Means are over subjects, each the mean over its folds. The intervals of the means "
            "come from drawing whole subjects."
        )
        if has_comparison:
            text += " The t-test of the differences is the paired one over subjects."
    else:
        text = (
            "Means are over folds. The intervals of the means come from drawing whole groups, "
            "because volumes of one group are alike; they do not cover the variation from other "
            "training volumes."
        )
        if has_comparison:
            text += (
                " The t-test of the differences allows for the training volumes that folds share."
            )
    return f"{text} Chance is the score of a decoder that knows nothing but the class balance."


def _permutations(results):
    test = results.record.get("permutation_test")
    if not test:
        reason = results.record.get("untested")
        return reason and f"No claim about chance: {reason}"
    shuffled = "of the labels within groups"
    if test.get("scheme") == "groups":
        shuffled = "of the labels of whole groups"
    kept = "" if test.get("refitted", True) else " with the predictions kept"
    return (
        f"Permutation test: {tables.p_value(test['p_value'])} after "
        f"{counted(test['n_permutations'], 'permutation')} {shuffled}{kept}, for "
        f"{words_of(results.metrics[0])}."
    )


def _curves(results):
    table = results.learning_curves
    metric, scale = "accuracy", ""
    if results.predicts_numbers:
        metric, scale = "mean_absolute_error", " of standardised numbers"
    if not table.reindex(columns=[metric, "loss"]).notna().any(axis=None):
        return {"note": "The decoder left no learning curves."}
    validated = "val_loss" in table and table["val_loss"].notna().any()
    n_folds = table["fold"].nunique()
    caption = f"{upper(words_of(metric))} and loss{scale} on training volumes, mean of "
    caption += counted(n_folds, "fold")
    caption += " with a band from the lowest to the highest" if n_folds > 1 else ""
    caption += (
        ", and on the groups held out of training for early stopping."
        if validated
        else ". No groups were held out for validation, so these curves cannot show when "
        "overfitting began."
    )
    return {"pictures": pictures.curve_pictures(results), "caption": caption}


def _predictions(results):
    """Return what is shown of the predictions of classes, or of numbers."""
    parts = dict.fromkeys(("confusion", "probabilities", "predicted", "residuals"))
    if not results.predicts_numbers:
        return parts | {
            "confusion": _confusion(results),
            "probabilities": _probabilities(results),
        }
    picture = pictures.predicted_picture(results)
    if picture is None:
        note = {"note": "Not shown: no prediction is a finite number."}
        return parts | {"predicted": note, "residuals": note}
    is_constant = (results.numbers_per_group()["nunique"] == 1).all()
    residuals = {"picture": pictures.residual_picture(results), "is_sorted": is_constant}
    predicted = {"picture": picture, "is_repeated": is_repeated(results)}
    return parts | {"predicted": predicted, "residuals": residuals}


def _confusion(results):
    return {
        "picture": pictures.confusion_picture(results),
        "tables": [tables.confusion_table(results), tables.class_table(results)],
    }


def _probabilities(results):
    picture = pictures.probability_picture(results)
    if picture is None:
        return {"note": "The decoder gave no probabilities."}
    return {"picture": picture, "n_classes": len(results.classes)}


def _maps(results, anatomy, shown_on):
    about = results.record.get("saliency")
    if "saliency" not in results.images and "saliency" in results.record and not about:
        return {"note": "The run was made without maps."}
    note = _missing(results, ["saliency"], anatomy is not None)
    if note:
        return {"note": note}
    n_folds = counted(n_maps(results), "fold")
    method = upper(saliency_words(about)) if about else "Saliency"
    explained = "the output for the true class"
    meaning = "Positive values supported the true class, negative values another one."
    if results.predicts_numbers:
        explained, meaning = "the predicted number", map_words(about)
    maps = [
        (
            pictures.saliency_picture(results, anatomy),
            f"{method} of {explained}, mean over held-out volumes and over {n_folds}, on "
            f"{shown_on}. {meaning} Values below {pictures.SMALLEST:.0%} of the largest are not "
            "drawn.",
        )
    ]
    if "sign_consistency" in results.images:
        maps.append(
            (
                pictures.sign_picture(results, anatomy),
                f"Mean sign of the map over {n_folds}: 1 where all agree on positive, "
                f"{number(-1, 0)} where all agree on negative. Voxels where more than a quarter of "
                "the folds disagree are not drawn.",
            )
        )
    browser = pictures.saliency_browser(results, anatomy)
    return {
        "maps": maps,
        # A page in itself, so it is not text of this one.
        "browser": browser and Markup.escape(browser),
        "megabytes": browser and f"{max(len(browser) / 1e6, 0.1):.1f}",
    }
