"""What was decoded by which decoder, in sentences that a paper can quote."""

import inspect
import math
from statistics import median

from skfmri.evaluation.result import DECODER
from skfmri.report.words import by, counted, exact, joined, number, ranged

INTERPOLATION = {
    "continuous": "cubic splines (Unser 1999)",
    "linear": "linear interpolation",
    "nearest": "nearest-neighbour interpolation",
}
NORMALIZATION = "batch normalization (Ioffe and Szegedy 2015; momentum {})"


def data_sentences(results):
    """Return what was decoded: how many volumes, of what, on which grid, in which groups."""
    settings, counts = results.settings, results.volumes_per_group()
    n_volumes, per_group = int(counts.to_numpy().sum()), ranged(counts.sum(axis=1))
    balance = joined(f"{n} {name}" for name, n in counts.sum().items())
    groups = counted(len(counts), "group")
    if results.is_simulated:
        return [
            f"The data are simulated, not measured: {counted(n_volumes, 'map')} of subjects with "
            f"their eyes closed or open ({balance}){_grid(results)}, drawn by "
            f"skfmri.datasets.make_eyes_open_closed with seed {settings['seed']}, in {groups} of "
            f"simulated subjects with {per_group} maps each."
        ]
    column, n_runs = settings.get("group_column"), results.data.get("n_runs")
    named = f" (column {column!r} of the table of labels)" if column else ""
    if settings.get("bids"):
        named = f" (one per {settings['groups'] or 'run'})"
    sentences = [
        f"The data are {counted(n_volumes, 'volume')} of "
        f"{counted(len(results.classes), 'class', 'classes')} ({balance}){_grid(results)}, in "
        f"{groups}{named} of {per_group} volumes"
        + (f", from {counted(n_runs, 'run')}" if n_runs else "")
        + ".",
        *_labelling(settings),
    ]
    if settings.get("classes"):
        sentences.append(f"Only volumes labelled {joined(settings['classes'], 'or')} were kept.")
    if settings.get("drop"):
        sentences.append(f"Volumes labelled {joined(settings['drop'], 'or')} were left out.")
    return sentences


def _labelling(settings):
    """Return how volumes of a BIDS dataset got their labels; nothing for other data."""
    if not settings.get("bids"):
        return []
    # Other runs do not need the loaders.
    from skfmri.datasets import load_bids_runs

    shift = settings["shift"]
    if shift is None:
        shift = inspect.signature(load_bids_runs).parameters["shift"].default
    chosen = [f"task {settings['task']}"]
    if settings["space"]:
        chosen.append(f"space {settings['space']}")
    if settings["derivatives"]:
        is_raw = settings["derivatives"] == "."
        chosen.append("raw images" if is_raw else f"derivatives {settings['derivatives']}")
    border = "kept" if settings["keep_transitions"] else "left out"
    text = (
        "They were chosen and labelled after the events of a BIDS dataset (Gorgolewski et al. "
        f"2016; {', '.join(chosen)}; column {settings['label_column']!r}): a volume shows what "
        f"happened {exact(shift)} s before, and volumes that show the border of an event were "
        f"{border}."
    )
    if settings["event_duration"] is not None:
        text += f" Every event was taken to last {exact(settings['event_duration'])} s."
    if settings["max_gap"]:
        text += f" Events of one label within {exact(settings['max_gap'])} s counted as one."
    return [text]


def _grid(results):
    shape, sizes = results.data.get("grid_shape"), results.voxel_sizes()
    if not shape:
        return ""
    return f" on a grid of {by(shape)} voxels" + (f" of {by(sizes)} mm" if sizes else "")


def cleaning_sentences(results):
    """Return how drift and scale of time series were removed."""
    settings = results.settings
    if results.is_simulated:
        return []
    if not settings.get("clean"):
        return ["No cleaning of time series was part of the analysis."]
    is_named = settings.get("run_column") or settings.get("bids")
    run = "run" if is_named else "run (the volumes of one group in one image)"
    steps = ["linearly detrended"]
    if settings.get("high_pass"):
        steps.append(
            f"high-pass filtered at {exact(settings['high_pass'])} Hz (Butterworth filter, "
            f"repetition time {exact(settings['t_r'])} s)"
        )
    if settings.get("confounds"):
        confounds = settings["confounds"]
        names = confounds if isinstance(confounds, str) else joined(confounds)
        steps.append(f"freed of confounds of fMRIPrep (Esteban et al. 2019; {names})")
    steps.append("standardised to mean 0 and standard deviation 1 in each voxel")
    return [
        f"Before volumes were selected, the time series of each {run} was {joined(steps)} with "
        "nilearn."
    ]


def slab_sentences(results):
    """Return how the slab was cut out of the volumes."""
    settings, steps = results.settings, []
    if settings["angle"]:
        steps.append(
            f"rotated by {exact(settings['angle'])} rad "
            f"({number(math.degrees(settings['angle']), 1)} degrees) about the world "
            f"{settings['axis']} axis, resampled with {INTERPOLATION[settings['interpolation']]}"
        )
    if settings["crop"]:
        steps.append(
            "cropped to the planes that hold data in any training volume, with a margin of "
            "one plane"
        )
    done = f"Each volume was {' and '.join(steps)}." if steps else "Volumes were not rotated."
    learned = "Grid and crop were learned from the training volumes of each fold alone."
    return [done, _slices(results), *([learned] if steps else [])]


def _slices(results):
    settings = results.settings
    shape = (results.record.get("slab") or {}).get("shape")
    extent = f" ({by(shape)} voxels in all)" if shape else ""
    if settings["slab"] is None:
        return f"All slices{extent} were kept."
    first, end = settings["slab"]
    start = "cropped volume" if settings["slab_reference"] == "crop" else "uncropped grid"
    kept = f"Slice {first} of the last axis{extent} was kept"
    if end - first > 1:
        kept = f"Slices {first} to {end - 1} of the last axis{extent} were kept"
    return f"{kept}, counted from zero in the {start}."


def zscore_sentences(settings):
    """Return how voxels were scaled."""
    rules = []
    if settings["std_threshold"] is not None:
        least = exact(settings["std_threshold"])
        rules.append(f"voxels with a standard deviation below {least} were set to 0")
    if settings["mean_threshold"] is not None:
        rules.append(f"means below {exact(settings['mean_threshold'])} were not subtracted")
    return [
        "Each voxel was z-scored with the mean and standard deviation of the training volumes of "
        "the fold" + (f"; {joined(rules)}" if rules else "") + "."
    ]


def network_sentences(results):
    """Return the architecture of the network."""
    settings = results.settings
    is_flat = settings["network"] == "2d"
    n_parameters = (results.record.get("network") or {}).get("n_parameters")
    parts = [*_layers(settings, 2 if is_flat else 3)]
    parts.append(f"a softmax over {counted(len(results.classes), 'class', 'classes')}")
    if n_parameters:
        parts.append(f"{n_parameters:,} parameters in all")
    kind = "2-D convolutions, whose channels are the slices" if is_flat else "3-D convolutions"
    sentences = [f"The decoder is a network with {kind}: {'; '.join(parts)}."]
    if settings["linear_path"] is not None:
        sentences.append(
            "The decision values of a logistic regression of all voxels (L2 penalty, C = "
            f"{exact(settings['linear_path'])}), fitted beforehand and then kept, are added to "
            "those of the network, which start at zero."
        )
    return sentences


def _layers(settings, rank):
    n_blocks, units, dropout = (settings[n] for n in ("n_blocks", "dense_units", "dropout"))
    normalization = NORMALIZATION.format(exact(settings["batch_norm_momentum"]))
    if n_blocks:
        filters = joined(settings["filters"] * 2**block for block in range(n_blocks))
        # The defaults of the two classifiers, which the command leaves alone.
        padding = {2: "no padding", 3: "zero padding"}[rank]
        yield (
            f"{counted(n_blocks, 'block')} of a convolution "
            f"({by([settings['kernel_size']] * rank)} voxels, {filters} filters, rectified linear "
            f"units, {padding}), {normalization} and maximum pooling over {by([2] * rank)} voxels"
        )
        normalization = "batch normalization"
    if dropout:
        yield f"dropout of {exact(dropout)} (Hinton et al. 2012)"
    if units:
        yield (
            f"{counted(len(units), 'dense layer')} of {joined(map(exact, units))} rectified "
            f"linear units, each followed by {normalization}" + " and dropout" * bool(dropout)
        )


def training_sentences(results):
    """Return how the network was trained."""
    settings = results.settings
    patience, n_members = settings["patience"], settings["n_members"]
    sentences = [
        "From Glorot uniform weights, cross-entropy was minimised by Adam (Kingma and Ba 2015; "
        f"learning rate {exact(settings['learning_rate'])}) on batches of {settings['batch_size']} "
        f"volumes for {'at most ' if patience is not None else ''}"
        f"{counted(settings['epochs'], 'epoch')}."
    ]
    if patience is not None:
        kept = results.of_model("folds", DECODER).get("n_epochs")
        found = ""
        if kept is not None and kept.notna().all():
            found = f" (epoch {ranged(kept)}, median {exact(median(kept))})"
        sentences.append(
            "In each fold 20% of the training groups, rounded up, were held out before any step "
            f"was fitted; training stopped after {counted(patience, 'epoch')} without a lower loss "
            f"on them, and the weights of the epoch with the lowest loss{found} were kept "
            "(Prechelt 2012)."
        )
    if n_members > 1:
        sentences.append(
            f"{n_members} such networks were trained from different random weights, and their "
            "probabilities averaged."
        )
    return sentences
