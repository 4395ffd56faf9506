"""Pictures of a report, as data inside the page with a text alternative."""

import base64
import io
from dataclasses import dataclass

import nibabel
import numpy as np
import pandas as pd
from nibabel.affines import apply_affine

from skfmri._validation import digits_apart, printable
from skfmri.evaluation.result import DECODER, DUMMY
from skfmri.plotting import (
    plot_confusion,
    plot_folds,
    plot_learning_curves,
    plot_map,
    plot_predicted,
    plot_probabilities,
    plot_residuals,
    plot_slab,
    plot_subjects,
)
from skfmri.plotting._viewer import interactive_map
from skfmri.report.words import (
    counted,
    joined,
    number,
    percent,
    score,
    score_range,
    significant,
    upper,
    words_of,
)

LONGEST_NAME = 18
CHART = (5.6, 3.5)
SQUARE, WIDE = (4.4, 4.4), (8.4, 3.5)
BRAIN = (7, 2.7)
# Room for the scale of a map, which every map then has at the same place.
MAP_FRAME = (0, 0, 0.93, 1)
# Share of the largest value of a map below which nothing is drawn; mean signs below the other are
# those of folds that disagree.
SMALLEST = 0.05
SMALLEST_SIGN = 0.5
ROUNDING = 1e-3
STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    # The same results give the same bytes.
    "svg.hashsalt": "skfmri",
    # A class may be called $5.
    "text.parse_math": False,
}


@dataclass(frozen=True)
class Picture:
    """An image inside the page.

    Attributes
    ----------
    source : str
        Data URI.
    alt : str
        What it shows, in words.
    """

    source: str
    alt: str


def slab_picture(results, anatomy):
    """Return the slab on an anatomy."""
    slab = results.images["slab"]
    inside = np.isfinite(slab.get_fdata()) & (slab.get_fdata() > 0)
    alt = (
        f"Sections through the volume with the {_marked(results)} marked: "
        f"{counted(int(inside.sum()), 'voxel')}, {percent(inside.mean())} of the grid"
    )
    if inside.any():
        places = apply_affine(slab.affine, np.argwhere(inside))
        ends = zip("xyz", places.min(axis=0), places.max(axis=0), strict=True)
        reach = [f"{axis} {number(low, 0)} to {number(high, 0)} mm" for axis, low, high in ends]
        alt += f", from {joined(reach)}"
    return _drawn(lambda ax: plot_slab(slab, anatomy, ax=ax), f"{alt}.", BRAIN, "png")


def _marked(results):
    has_region = (results.record.get("slab") or {}).get("n_in_region")
    return "region in the slab" if has_region else "slab"


def saliency_picture(results, anatomy):
    """Return the saliency map on an anatomy."""
    image, values, place = _map(results, "saliency")
    largest, threshold = _sizes(values)
    alt = "Saliency map, mean over folds"
    if largest:
        alt += (
            f": values from {significant(values.min())} to {significant(values.max())} in "
            f"{counted(values.size, 'voxel')} of the slab, {percent((values > 0).mean())} of them "
            f"positive, the largest in size at {_point(place)}"
        )
    return _drawn_map(image, anatomy, f"{alt}.", threshold, place, "saliency")


def saliency_browser(results, anatomy):
    """Return the saliency map as a page to look around in, or None if there is nothing to see."""
    image, values, _ = _map(results, "saliency")
    if 1 in image.shape or 1 in anatomy.shape:
        return None
    return interactive_map(image, anatomy, _sizes(values)[1])


def sign_picture(results, anatomy):
    """Return the map of sign consistency, cut at the largest saliency."""
    image, values, _ = _map(results, "sign_consistency")
    place = _map(results, "saliency")[2]
    alt = "Map of sign consistency"
    if values.size:
        alt += (
            f": of {counted(values.size, 'voxel')} of the slab, "
            f"{percent((values > 1 - ROUNDING).mean())} are positive in all folds, "
            f"{percent((values < ROUNDING - 1).mean())} negative in all folds"
        )
    return _drawn_map(image, anatomy, f"{alt}.", SMALLEST_SIGN, place, "mean sign")


def _sizes(values):
    """Return the largest absolute value of a map, and that from which on values are drawn."""
    largest = float(np.abs(values).max(initial=0))
    # One digit, since the scale shows it.
    return largest, float(f"{SMALLEST * largest:.0e}")


def _map(results, name):
    """Return a map that is 0 outside the slab, its values inside, and the place of the largest."""
    image = results.images[name]
    values = np.nan_to_num(image.get_fdata(dtype=np.float32))
    slab = results.images.get("slab")
    # Splines carry a trace of every voxel far beyond the slab.
    inside = values != 0
    if slab is not None and slab.shape == values.shape:
        inside = np.nan_to_num(slab.get_fdata()) > 0
    values = np.where(inside, values, 0)
    voxel = np.unravel_index(np.abs(values).argmax(), values.shape)
    place = apply_affine(image.affine, voxel)
    return nibabel.Nifti1Image(values, image.affine), values[inside], place


def _point(place):
    parts = [f"{axis} = {number(mm, 0)}" for axis, mm in zip("xyz", place, strict=True)]
    return f"{joined(parts)} mm"


def fold_picture(results):
    """Return the scores of each fold, decoder and baselines; None if there are none."""
    metric = results.metric_of_folds
    rows = results.folds[results.folds["model"] != DUMMY]
    if metric not in rows or not rows[metric].notna().any():
        return None
    chance = results.summary.loc[results.summary["metric"] == metric, "chance"].iloc[0]
    spans = [
        f"{model} from {score_range(metric, scores.min(), scores.max())}"
        for model, scores in rows.dropna(subset=[metric]).groupby("model", sort=False)[metric]
    ]
    alt = f"{words_of(metric)} of each fold: {joined(spans)}."
    chance = chance if np.isfinite(chance) else None
    width = max(CHART[0], 1.6 + 1.2 * rows["model"].nunique())

    def draw(ax):
        plot_folds(rows, metric=metric, chance=chance, ax=ax).set_ylabel(words_of(metric))

    return _drawn(draw, upper(alt), (width, CHART[1]))


def curve_pictures(results):
    """Return the learning curves, those of the loss last."""
    table = results.learning_curves.dropna(axis="columns", how="all")
    pictures = []
    for metric in ("accuracy", "mean_absolute_error", "loss"):
        if metric not in table:
            continue
        means = table.groupby("epoch").mean(numeric_only=True)
        parts = [
            f"{name} from {number(curve.iloc[0])} to {number(curve.iloc[-1])}"
            for name, curve in (
                ("training", means[metric].dropna()),
                ("validation", means.get(f"val_{metric}", means[metric][:0]).dropna()),
            )
            if len(curve)
        ]
        n_folds = counted(table["fold"].nunique(), "fold")
        alt = (
            f"Learning curve of the {words_of(metric)}, mean over {n_folds}, from epoch "
            f"{means.index[0]:.0f} to epoch {means.index[-1]:.0f}: {joined(parts)}."
        )

        def draw(ax, metric=metric):
            plot_learning_curves(table, metric=metric, ax=ax)

        pictures.append(_drawn(draw, alt, CHART))
    return pictures


def subject_picture(results):
    """Return the scores of the decoders of all subjects."""
    metric, table = results.metrics[0], results.subjects
    rows = table[(table["model"] == DECODER) & (table["metric"] == metric)]
    scores = rows["score"]
    alt = (
        f"{upper(words_of(metric))} of {counted(len(rows), 'subject')}, from "
        f"{score_range(metric, scores.min(), scores.max())}, mean {score(metric, scores.mean())}."
    )
    return _drawn(
        lambda ax: plot_subjects(table, metric=metric, ax=ax),
        alt,
        (CHART[0], 1.4 + 0.28 * len(rows)),
    )


def confusion_picture(results):
    """Return the confusion matrix of the decoder."""
    rows = results.of_model("predictions", DECODER)
    right = (rows["label"] == rows["predicted"]).groupby(rows["label"]).mean()
    shares = [
        f"{name} {number(right[name], 2)} correct" for name in results.classes if name in right
    ]
    side = max(3.6, 1.8 + 0.5 * len(shares))
    rows = with_short_names(rows, short_names(results.classes))
    return _drawn(
        lambda ax: plot_confusion(rows, ax=ax),
        f"Confusion matrix: {', '.join(shares)}.",
        (side + 0.8, side),
    )


def probability_picture(results):
    """Return the histograms of the probabilities, or None."""
    rows = results.of_model("predictions", DECODER)
    classes = results.classes
    if not all(f"p_{name}" in rows and rows[f"p_{name}"].notna().any() for name in classes):
        return None
    of = None
    if len(classes) == 2:
        of = classes[1]
        shown = rows[f"p_{classes[1]}"].groupby(rows["label"]).median()
        title = f"Histograms of the probability of {classes[1]} by true class"
    else:
        own = np.array([row[f"p_{row['label']}"] for row in rows.to_dict("records")])
        shown = rows.assign(own=own).groupby("label")["own"].median()
        title = "Histograms of the probability given to the true class"
    medians = [f"{number(shown[name], 2)} for {name}" for name in classes if name in shown]
    short = short_names(classes)
    rows = with_short_names(rows, short)
    return _drawn(
        lambda ax: plot_probabilities(rows, of=short.get(of), ax=ax),
        f"{title}: median {', '.join(medians)}.",
        CHART,
    )


def predicted_picture(results):
    """Return the predicted against the true numbers, or None if no prediction is finite."""
    rows = _finite_predictions(results)
    if rows.empty:
        return None
    n_digits = {column: digits_apart(rows[column], 4) for column in ("label", "predicted")}
    spans = [
        f"{name} from {significant(rows[column].min(), n_digits[column])} to "
        f"{significant(rows[column].max(), n_digits[column])}"
        for name, column in (("true", "label"), ("predicted", "predicted"))
    ]
    n_samples = rows["sample"].nunique()
    alt = f"Predicted against true numbers of {counted(n_samples, 'volume')}: {joined(spans)}."
    return _drawn(lambda ax: plot_predicted(rows, ax=ax), alt, SQUARE)


def residual_picture(results):
    """Return how far predictions are off in each group, or None if none is finite."""
    rows = _finite_predictions(results)
    if rows.empty:
        return None
    names = results.volumes_per_group().index
    short = short_names(names)
    rows["group"] = pd.Categorical(rows["group"].map(short), short.values())
    residuals = rows["predicted"] - rows["label"]
    alt = (
        f"Predicted minus true numbers in {counted(len(names), 'group')}: from "
        f"{significant(residuals.min(), 4)} to {significant(residuals.max(), 4)}, mean "
        f"{significant(residuals.mean())}."
    )
    return _drawn(lambda ax: plot_residuals(rows, ax=ax), alt, WIDE)


def _finite_predictions(results):
    """Return the predictions of the decoder that can be drawn; a network may diverge."""
    rows = results.of_model("predictions", DECODER)
    return rows[np.isfinite(rows["predicted"])].copy()


def short_names(names):
    """Return for each class or group a short name that no other has."""
    short = {}
    for name in names:
        text = printable(name)
        if len(text) > LONGEST_NAME:
            half = LONGEST_NAME // 2
            text = f"{text[:half]}\N{HORIZONTAL ELLIPSIS}{text[1 - half :]}"
        # Matplotlib leaves names that begin with an underscore out of its legends.
        text = f" {text}" if text.startswith("_") else text
        while text in short.values():
            text += "'"
        short[name] = text
    return short


def with_short_names(predictions, short):
    """Return predictions with short names of classes."""
    table = predictions.rename(columns={f"p_{name}": f"p_{text}" for name, text in short.items()})
    for column in ("label", "predicted"):
        table[column] = table[column].map(short)
    return table


def _drawn_map(image, anatomy, alt, threshold, place, label):
    """Return a map on an anatomy; all maps of one anatomy are of one size."""
    return _drawn(
        lambda ax: plot_map(
            image, anatomy, threshold=threshold, cut_coords=place, label=label, ax=ax
        ),
        alt,
        BRAIN,
        "png",
        frame=MAP_FRAME,
    )


def _drawn(draw, alt, size, kind="svg", *, frame=None):
    """Return what a function draws into axes, cropped unless the place of the axes is given."""
    # Here, since skfmri.plotting above says how to install it where it is missing.
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(size)
        draw(figure.add_subplot() if frame is None else figure.add_axes(frame))
        file = io.BytesIO()
        # A date would make two reports of the same results differ.
        options = {"metadata": {"Date": None}} if kind == "svg" else {"dpi": 190}
        if frame is None:
            options |= {"bbox_inches": "tight", "pad_inches": 0.03}
        figure.savefig(file, format=kind, **options)
    text = base64.b64encode(file.getvalue()).decode()
    mime = {"svg": "image/svg+xml", "png": "image/png"}[kind]
    return Picture(f"data:{mime};base64,{text}", alt)
