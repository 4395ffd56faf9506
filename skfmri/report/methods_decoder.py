"""Data or preprocessing in sentences that a paper can quote."""

import math
from pathlib import PurePath

from skfmri.datasets.defaults import BIDS
from skfmri.report.methods_numbers import number_sentence
from skfmri.report.methods_trials import is_estimated, unit_of_samples
from skfmri.report.words import (
    by,
    counted,
    counted_range,
    exact,
    joined,
    number,
    ranged,
    upper,
)
from skfmri.spatial import angle_in_radians

INTERPOLATION = {
    "continuous": "cubic splines (Unser 1999)",
    "linear": "linear interpolation",
    "nearest": "nearest-neighbour interpolation",
}


def data_sentences(results):
    """Return what was decoded: how many volumes, of what, on which grid, in which groups."""
    source, counts = results.source, results.volumes_per_group()
    n_volumes, per_group = int(counts.to_numpy().sum()), counts.sum(axis=1)
    balance = joined(f"{n} {name}" for name, n in counts.sum().items())
    groups = counted(len(counts), "group")
    if results.is_simulated:
        return [
            f"The data are simulated, not measured: {counted(n_volumes, 'map')} of subjects with "
            f"their eyes closed or open ({balance}){_grid(results)}, drawn by "
            f"skfmri.datasets.make_eyes_open_closed with seed {source['seed']}, in {groups} of "
            f"simulated subjects with {ranged(per_group)} maps each."
        ]
    if source["kind"] == "bids":
        named = f" (one per {source['groups']})"
    else:
        named = f" (column {source['columns']['group']!r} of the table of labels)"
    n_runs = results.data.get("n_runs")
    runs = f", from {counted(n_runs, 'run')}" if n_runs else ""
    unit = unit_of_samples(results)
    of_classes = f" of {counted(len(results.classes), 'class', 'classes')} ({balance})"
    sentences = [
        f"The data are {counted(n_volumes, unit)}{'' if results.predicts_numbers else of_classes}"
        f"{_grid(results)}, in {groups}{named} of {counted_range(per_group, unit)}{runs}."
    ]
    if results.predicts_numbers:
        sentences.append(number_sentence(results))
    if source["kind"] == "bids":
        sentences.append(_labelling(source, estimated=is_estimated(results)))
    if source["classes"]:
        # A name for rest is one of the labels that were asked for.
        kept = dict.fromkeys([*source["classes"], *filter(None, [source.get("rest")])])
        sentences.append(f"Only {unit}s labelled {joined(kept, 'or')} were kept.")
    if source["drop"]:
        sentences.append(f"{upper(unit)}s labelled {joined(source['drop'], 'or')} were left out.")
    if source.get("not_finite"):
        lost = counted(len(source["not_finite"]), "volume")
        sentences.append(f"Left out for NaN or infinite values: {lost}.")
    return sentences


def _labelling(source, *, estimated):
    """Return how volumes of a BIDS dataset got their labels."""
    chosen = [f"task {source['task']}"]
    if source["space"]:
        chosen.append(f"space {source['space']}")
    if source["derivatives"]:
        is_raw = source["derivatives"] == "."
        chosen.append("raw images" if is_raw else f"derivatives {source['derivatives']}")
    text = (
        "They were chosen and labelled by the events of a BIDS dataset (Gorgolewski et al. 2016; "
        f"{', '.join(chosen)}; column {source['label']!r})."
    )
    if not estimated:
        border = "kept" if source["keep_transitions"] else "left out"
        text = (
            f"{text.removesuffix('.')}: a volume shows what happened {exact(source['shift'])} s "
            f"before, and volumes that show the border of an event were {border}."
        )
    if source["duration"] is not None:
        text += f" Every event was taken to last {exact(source['duration'])} s."
    if source["max_gap"]:
        text += f" Events of one label within {exact(source['max_gap'])} s counted as one."
    # None of this is in results of version 0.1.
    if source.get("rest"):
        text += f" Volumes that show no event were labelled {source['rest']}."
    if source.get("overlap_tolerance", 0) > BIDS.overlap_tolerance:
        text += (
            " Events of different labels overlapped by up to "
            f"{exact(source['overlap_tolerance'])} s; volumes that show both were left out."
        )
    if source.get("exclude"):
        text += f" Left out: {joined(source['exclude'])}."
    return text


def _grid(results):
    shape, sizes = results.data.get("grid_shape"), results.voxel_sizes()
    if not shape:
        return ""
    return f" on a grid of {by(shape)} voxels" + (f" of {by(sizes)} mm" if sizes else "")


def cleaning_sentences(results):
    """Return how drift and scale of time series were removed."""
    source, cleaning = results.source, results.section("cleaning")
    if results.is_simulated:
        return []
    if cleaning is None:
        return ["No cleaning of time series was part of the analysis."]
    is_named = source["kind"] == "bids" or source["columns"]["run"]
    run = "run" if is_named else "run (the volumes of one group in one image)"
    # Version 0.1 always removed the trend.
    steps = ["linearly detrended"] if cleaning.get("detrend", True) else []
    if cleaning["high_pass"]:
        steps.append(
            f"high-pass filtered at {exact(cleaning['high_pass'])} Hz (Butterworth filter, "
            f"repetition time {exact(cleaning['t_r'])} s)"
        )
    confounds = cleaning["confounds"]
    if confounds:
        names = confounds if isinstance(confounds, str) else joined(confounds)
        steps.append(f"freed of confounds of fMRIPrep (Esteban et al. 2019; {names})")
    steps.append("standardised to mean 0 and standard deviation 1 in each voxel")
    later = "responses were estimated" if is_estimated(results) else "volumes were selected"
    return [f"Before {later}, the time series of each {run} was {joined(steps)} with nilearn."]


def slab_sentences(results):
    """Return how the slab was cut out of the volumes."""
    _, rotator = results.step(0)
    steps = []
    angle = angle_in_radians(rotator["angle"])
    if angle:
        steps.append(
            f"rotated by {exact(angle)} rad ({number(math.degrees(angle), 1)} degrees) about the "
            f"world {rotator['axis']} axis, resampled with "
            f"{INTERPOLATION[rotator['interpolation']]}"
        )
    if rotator["crop"]:
        steps.append(
            "cropped to the planes that hold data in any training volume, with a margin of "
            "one plane"
        )
    done = f"Each volume was {' and '.join(steps)}." if steps else "Volumes were not rotated."
    sentences = [done, _slices(results, rotator), *_region(results, rotator)]
    if steps:
        sentences.append("Grid and crop were learned from the training volumes of each fold alone.")
    return sentences


def _slices(results, rotator):
    shape = (results.record.get("slab") or {}).get("shape")
    # With a region this is the shape of its box, not of whole slices.
    extent = f" ({by(shape)} voxels in all)" if shape and not rotator.get("mask") else ""
    if rotator["slab"] is None:
        return f"All slices{extent} were kept."
    first, end = rotator["slab"]
    start = "cropped volume" if rotator["slab_reference"] == "crop" else "uncropped grid"
    kept = f"Slice {first} of the last axis{extent} was kept"
    if end - first > 1:
        kept = f"Slices {first} to {end - 1} of the last axis{extent} were kept"
    return f"{kept}, counted from zero in the {start}."


def _region(results, rotator):
    """Return to which region the slab was restricted, if it was."""
    if not rotator.get("mask"):
        return []
    slab = results.record.get("slab") or {}
    extent = f", {by(slab['shape'])} voxels with {slab['n_in_region']} in the region"
    return [
        f"The slab was cut to the box of a region ({region_words(rotator)}{extent}), which was "
        "brought to its grid by nearest neighbour. Voxels outside the region were set to 0 after "
        "the resampling."
    ]


def region_words(rotator):
    """Return what a region is called: the file of its mask without folders, and its labels.

    Parameters
    ----------
    rotator : dict
        Parameters of a `NiftiSlabRotator` with a mask.

    Returns
    -------
    words : str
    """
    label, name = rotator.get("label"), PurePath(rotator["mask"]).name
    if label is None:
        return name
    labels = label if isinstance(label, list | tuple) else [label]
    return f"{'label' if len(labels) == 1 else 'labels'} {joined(labels)} of {name}"


def zscore_sentences(results):
    """Return how voxels were scaled."""
    _, scorer = results.step(1)
    rules = []
    if scorer["std_threshold"] is not None:
        rules.append(f"voxels with a standard deviation below {_least(scorer)} were set to 0")
    if scorer["mean_threshold"] is not None:
        rules.append(f"means below {exact(scorer['mean_threshold'])} were not subtracted")
    exceptions = f"; {joined(rules)}" if rules else ""
    sentences = [
        "Each voxel was z-scored with the mean and standard deviation of the training volumes of "
        f"the fold{exceptions}."
    ]
    return sentences + _chosen_thresholds(results)


def _chosen_thresholds(results):
    """Return why thresholds are not the defaults, if the command has chosen them."""
    effects = {
        "std_threshold": "for standard deviations would have set {} that vary to 0",
        "mean_threshold": "for means would have left {} uncentred",
    }
    found = results.record.get("thresholds_chosen") or {}
    lost = [
        f"that of {exact(choice['default'])} "
        + effects[name].format(f"{choice['n_lost']} of {counted(choice['n_voxels'], 'voxel')}")
        for name, choice in found.items()
    ]
    if not lost:
        return []
    return [
        f"Defaults that did not suit the units of the data were replaced: {joined(lost)}. This "
        "choice was made once, from all volumes without their labels."
    ]


def _least(scorer):
    """Return in words the spread that a voxel needs."""
    if scorer["std_threshold"] == "auto":
        return "0.05 of the median standard deviation of the voxels that vary"
    return exact(scorer["std_threshold"])
