"""The model card of a saved model."""

import os
from pathlib import PurePath

import numpy as np
from sklearn.base import is_regressor

from skfmri._validation import describe_grid, printable
from skfmri.estimators.origin import SOURCE, fitted_network, last_network, trained_on

MOST_LISTED = 12
LIMITS = """\
- It takes volumes on the grid that it was trained on, in the same space and preprocessed in the
  same way. It predicts a class for any volume, even for one that shows none of its classes.
- Scores hold for new groups of the same kind, such as further runs of the same people if runs
  were held out. For other people, tasks or scanners they may be lower.
- It is a research tool and not meant for diagnosis.
"""
LIMITS_OF_NUMBERS = LIMITS.replace(
    "It predicts a class for any volume, even for one that shows none of its classes.",
    "It predicts a number for any volume, and numbers far from those that it was trained on are\n"
    "  extrapolated.",
)


def write_card(estimator, training, versions):
    """Return the model card of a fitted estimator as Markdown.

    Parameters
    ----------
    estimator : estimator
        Fitted pipeline, classifier or regressor.
    training : dict
        ``samples`` from `describe_samples` or None, ``result`` from `describe_result` or None, and
        ``initial_weights``, a list of fits.
    versions : dict of str to str
        Version of each package.

    Returns
    -------
    card : str
    """
    classes = getattr(estimator, "classes_", None)
    title = "A transformer of fMRI volumes"
    if is_regressor(estimator):
        title = "A decoder of numbers from fMRI volumes"
    elif classes is not None:
        title = f"A decoder of {_some(classes)} from fMRI volumes"
    sections = [
        f"# {title}\n\nA fitted `{type(estimator).__name__}` of skfmri {versions['skfmri']}.\n",
        _usage(),
        _training(training["samples"], estimator),
        *_initial_weights(training["initial_weights"], estimator),
        _scores(training["result"]),
        _settings(estimator),
        "## Limits\n\n" + (LIMITS_OF_NUMBERS if is_regressor(estimator) else LIMITS),
        "## Versions\n\n" + ", ".join(f"{name} {v}" for name, v in versions.items()) + "\n",
    ]
    return "\n".join(sections)


def _usage():
    return """\
## Use it

```python
import skfmri

decoder = skfmri.load("FILE")
decoder.predict(skfmri.NiftiSamples("IMAGE"))
```

or `skfmri predict FILE IMAGE` on the command line. Loading runs no code from the file.
"""


def _training(description, estimator):
    if description is None:
        return (
            "## Trained on\n\nUnknown: the model was saved without `samples`. Predictions for "
            "volumes that it was trained on look better than they are, and the file does not say "
            "which these are.\n"
        )
    sizes = describe_grid(f"{size:.3g}" for size in description["voxel_sizes_mm"])
    lines = [
        f"- {description['n_volumes']} volumes of {describe_grid(description['grid_shape'])} "
        f"voxels of {sizes} mm, in {description['n_groups']} groups and {description['n_runs']} "
        "runs",
        *_class_lines(description["volumes_per_group"]),
        *_held_out(estimator),
        *_region(estimator),
        f"- files: {_some([file['name'] for file in description['files']])}",
        f"- cleaning: {describe_cleaning(description['cleaning'])}",
        *_derived_lines(description["derivations"]),
        *_centring_lines(description["derivations"]),
    ]
    return "## Trained on\n\n" + "\n".join(lines) + "\n"


def _initial_weights(fits, estimator):
    """Return a section on the fits that the weights of a network come from, if there are any."""
    if not fits:
        return []
    frozen = trained_on(last_network(estimator)).fits[0]["frozen"]
    lines = [f"- the weights of a {describe_origin(fit)}" for fit in fits]
    if frozen:
        lines.append(f"- layers that were not trained further: {_some(frozen)}")
    return [
        "## Started from\n\nTraining did not begin with random weights but with these, the last "
        "ones first. Scores for volumes that they were trained on look better than they are.\n\n"
        + "\n".join(lines)
        + "\n"
    ]


def describe_origin(fit):
    """Describe in words a fit that the weights of a network come from."""
    samples = fit["samples"]
    if samples is None:
        return f"{_plain(fit['class'])}, trained on unknown volumes"
    return (
        f"{_plain(fit['class'])}, trained on {samples['n_volumes']} volumes in "
        f"{samples['n_groups']} groups; files: {_some([file['name'] for file in samples['files']])}"
    )


def _class_lines(counts):
    if counts is None:
        return []
    totals = {}
    for row in counts.values():
        for name, count in row.items():
            totals[name] = totals.get(name, 0) + count
    return [
        "- volumes per class: " + ", ".join(f"{_plain(k)} {n}" for k, n in totals.items()),
        f"- groups: {_some(list(counts))}",
    ]


def _held_out(estimator):
    if not hasattr(estimator, "validation_groups_") or estimator.refit:
        return []
    groups = _some(estimator.validation_groups_.tolist())
    return [f"- held out of these, to find the epoch to stop at: groups {groups}"]


def _region(estimator):
    """Return how large the region is to which the slab is restricted, if it is."""
    steps = [estimator, *(step for _, step in getattr(estimator, "steps", []))]
    masks = [getattr(step, "slab_mask_", None) for step in steps]
    return [
        f"- region: {mask.sum()} voxels in a box of {describe_grid(mask.shape)}"
        for mask in masks
        if mask is not None
    ]


def describe_cleaning(cleaning):
    """Describe in words how runs were cleaned."""
    if cleaning is None:
        return "the volumes as they are in the files"
    words = [name for name in ("detrend", "standardize") if cleaning[name]]
    if cleaning["high_pass"] is not None:
        times = " or ".join(f"{time:g}" for time in cleaning["t_r"])
        words.append(f"high_pass={cleaning['high_pass']:g} Hz with t_r={times} s")
    words += [name for name in ("confounds", "sample_masks") if cleaning[name]]
    return f"each run by clean_runs with {', '.join(words) or 'nothing to remove'}"


def _derived_lines(derivations):
    how = describe_derived(derivations)
    return [] if how is None else [f"- samples: {how}. Pass new ones that were made the same way"]


def describe_derived(derivations):
    """Describe in words how several volumes made one sample, or return None."""
    if "average_blocks" in derivations:
        return "the means of the volumes of blocks by average_blocks"
    for name, what in (
        ("estimate_trials", "single trials"),
        ("estimate_conditions", "all trials of a label in a run"),
    ):
        if name in derivations:
            given = derivations[name]
            times = {key: " or ".join(f"{t:g}" for t in given[key]) for key in ("t_r", "start")}
            method = f"method={given['method']}, " if "method" in given else ""
            return (
                f"estimates of {what} by {name} with {method}hrf_model={given['hrf_model']}, "
                f"t_r={times['t_r']} s and start={times['start']} s"
            )
    return None


def _centring_lines(derivations):
    if "center_groups" not in derivations:
        return []
    how = describe_centring(derivations["center_groups"])
    return [
        f"- centring: {how}. Centre new volumes in the same way, with about the same mixture of "
        "classes in each group"
    ]


def describe_centring(centring):
    """Describe in words how volumes were centred."""
    low, high = centring["maps_per_group"]
    counts = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    scaled = ", divided by their standard deviation" if centring["scale"] else ""
    return f"each group of {counts} volumes by center_groups{scaled}"


def _scores(result):
    if result is None:
        return "## Scores\n\nUnknown: the model was saved without `result`.\n"
    percent = f"{result['confidence']:.0%}"
    rows = [f"| model | metric | score | {percent} interval | chance |", "|---|---|---|---|---|"]
    for row in result["summary"]:
        cells = [_plain(row["model"]), _plain(row["metric"].replace("_", " "))]
        cells += [_number(row["score"]), f"{_number(row['low'])} to {_number(row['high'])}"]
        rows.append(f"| {' | '.join([*cells, _number(row['chance'])])} |")
    return (
        f"## Scores\n\nOf decoders with the same settings in {result['n_folds']} folds that hold "
        f"out whole groups, of which there are {result['n_groups']}. The model in this file was "
        "fitted afterwards and has not been scored itself.\n\n"
        + "\n".join(rows)
        + "\n\n"
        + "\n".join(f"- {_plain(sentence)}" for sentence in result["sentences"])
        + "\n"
    )


def _settings(estimator):
    lines = []
    for name, step in getattr(estimator, "steps", []):
        lines.append(f"{name}: {_call(step)}")
    call = _call(estimator, leave_out=("steps",))
    text = "\n".join(map(printable, [call, *lines])).replace("`", "'")
    return f"## Settings\n\n```\n{text}\n```\n"


def _call(estimator, leave_out=()):
    """Return an estimator as the call that creates it, with all parameters."""
    if not hasattr(estimator, "get_params"):
        return repr(estimator)
    parameters = estimator.get_params(deep=False)
    # A path reveals more about a machine than a model should.
    if isinstance(parameters.get("mask"), str | os.PathLike):
        parameters["mask"] = PurePath(parameters["mask"]).name
    texts = {name: _short(value) for name, value in parameters.items()}
    if parameters.get(SOURCE) is not None:
        # Another section describes it, without the paths that its parameters may hold.
        texts[SOURCE] = f"{type(fitted_network(parameters[SOURCE])).__name__}(...)"
    given = [f"{k}={text}" for k, text in texts.items() if k not in (*leave_out, "memory")]
    return f"{type(estimator).__name__}({', '.join(given)})"


def _some(values):
    """Return the first values as text, and how many more there are."""
    text = ", ".join(_plain(str(value)) for value in values[:MOST_LISTED])
    more = len(values) - MOST_LISTED
    return f"{text} and {more} more" if more > 0 else text


def _number(value):
    return "-" if value is None or not np.isfinite(value) else f"{value:.3f}"


def _short(value):
    text = " ".join(repr(value).split())
    # A memory address says nothing, and differs each time.
    text = f"{type(value).__name__}(...)" if " at 0x" in text else text
    return text if len(text) <= 120 else f"{text[:117]}..."


def _plain(text):
    """Return text that neither ends a table cell nor is taken for markup."""
    text = printable(" ".join(str(text).split()))
    for sign in "\\`*_[]<>|#":
        text = text.replace(sign, f"\\{sign}")
    return text
