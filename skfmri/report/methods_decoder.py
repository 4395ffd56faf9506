"""Data, preprocessing or network in sentences that a paper can quote."""

import math
from statistics import median

from skfmri.evaluation.result import DECODER
from skfmri.report.words import by, counted, exact, joined, number, percent, ranged
from skfmri.spatial import angle_in_radians

INTERPOLATION = {
    "continuous": "cubic splines (Unser 1999)",
    "linear": "linear interpolation",
    "nearest": "nearest-neighbour interpolation",
}
# The command leaves it alone, and the 2-D network has no parameter for it.
POOL_SIZE = 2
NORMALIZATION = "batch normalization (Ioffe and Szegedy 2015; momentum {})"


def data_sentences(results):
    """Return what was decoded: how many volumes, of what, on which grid, in which groups."""
    source, counts = results.source, results.volumes_per_group()
    n_volumes, per_group = int(counts.to_numpy().sum()), ranged(counts.sum(axis=1))
    balance = joined(f"{n} {name}" for name, n in counts.sum().items())
    groups = counted(len(counts), "group")
    if results.is_simulated:
        return [
            f"The data are simulated, not measured: {counted(n_volumes, 'map')} of subjects with "
            f"their eyes closed or open ({balance}){_grid(results)}, drawn by "
            f"skfmri.datasets.make_eyes_open_closed with seed {source['seed']}, in {groups} of "
            f"simulated subjects with {per_group} maps each."
        ]
    if source["kind"] == "bids":
        named = f" (one per {source['groups']})"
    else:
        named = f" (column {source['columns']['group']!r} of the table of labels)"
    n_runs = results.data.get("n_runs")
    runs = f", from {counted(n_runs, 'run')}" if n_runs else ""
    sentences = [
        f"The data are {counted(n_volumes, 'volume')} of "
        f"{counted(len(results.classes), 'class', 'classes')} ({balance}){_grid(results)}, in "
        f"{groups}{named} of {per_group} volumes{runs}."
    ]
    if source["kind"] == "bids":
        sentences.append(_labelling(source))
    if source["classes"]:
        sentences.append(f"Only volumes labelled {joined(source['classes'], 'or')} were kept.")
    if source["drop"]:
        sentences.append(f"Volumes labelled {joined(source['drop'], 'or')} were left out.")
    if source.get("not_finite"):
        lost = counted(len(source["not_finite"]), "volume")
        sentences.append(f"Left out for NaN or infinite values: {lost}.")
    return sentences


def _labelling(source):
    """Return how volumes of a BIDS dataset got their labels."""
    chosen = [f"task {source['task']}"]
    if source["space"]:
        chosen.append(f"space {source['space']}")
    if source["derivatives"]:
        is_raw = source["derivatives"] == "."
        chosen.append("raw images" if is_raw else f"derivatives {source['derivatives']}")
    border = "kept" if source["keep_transitions"] else "left out"
    text = (
        "They were chosen and labelled by the events of a BIDS dataset (Gorgolewski et al. 2016; "
        f"{', '.join(chosen)}; column {source['label']!r}): a volume shows what happened "
        f"{exact(source['shift'])} s before, and volumes that show the border of an event were "
        f"{border}."
    )
    if source["duration"] is not None:
        text += f" Every event was taken to last {exact(source['duration'])} s."
    if source["max_gap"]:
        text += f" Events of one label within {exact(source['max_gap'])} s counted as one."
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
    steps = ["linearly detrended"]
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
    return [
        f"Before volumes were selected, the time series of each {run} was {joined(steps)} with "
        "nilearn."
    ]


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
    sentences = [done, _slices(results, rotator)]
    if steps:
        sentences.append("Grid and crop were learned from the training volumes of each fold alone.")
    return sentences


def _slices(results, rotator):
    shape = (results.record.get("slab") or {}).get("shape")
    extent = f" ({by(shape)} voxels in all)" if shape else ""
    if rotator["slab"] is None:
        return f"All slices{extent} were kept."
    first, end = rotator["slab"]
    start = "cropped volume" if rotator["slab_reference"] == "crop" else "uncropped grid"
    kept = f"Slice {first} of the last axis{extent} was kept"
    if end - first > 1:
        kept = f"Slices {first} to {end - 1} of the last axis{extent} were kept"
    return f"{kept}, counted from zero in the {start}."


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


def network_sentences(results):
    """Return the architecture of the network."""
    name, network = results.step(-1)
    rank = {"SlabCNNClassifier": 2, "VolumeCNNClassifier": 3}[name]
    n_parameters = (results.record.get("network") or {}).get("n_parameters")
    parts = [*_layers(network, rank)]
    parts.append(f"a softmax over {counted(len(results.classes), 'class', 'classes')}")
    if n_parameters:
        parts.append(f"{n_parameters:,} parameters in all")
    kind = "2-D convolutions, whose channels are the slices" if rank == 2 else "3-D convolutions"
    sentences = [f"The decoder is a network with {kind}: {'; '.join(parts)}."]
    if network["linear_path"] is not None:
        sentences.append(
            "The decision values of a logistic regression of all voxels (L2 penalty, C = "
            f"{exact(network['linear_path'])}), fitted beforehand and then kept, are added to "
            "those of the network, which start at zero."
        )
    return sentences


def _layers(network, rank):
    n_blocks, units, dropout = (network[n] for n in ("n_blocks", "dense_units", "dropout"))
    normalization = NORMALIZATION.format(exact(network["batch_norm_momentum"]))
    if n_blocks:
        filters = joined(network["filters"] * 2**block for block in range(n_blocks))
        padding = {"valid": "no padding", "same": "zero padding"}[network["padding"]]
        yield (
            f"{counted(n_blocks, 'block')} of a convolution "
            f"({by([network['kernel_size']] * rank)} voxels, {filters} filters, rectified linear "
            f"units, {padding}), {normalization} and maximum pooling over "
            f"{by([POOL_SIZE] * rank)} voxels"
        )
        normalization = "batch normalization"
    if dropout:
        yield f"dropout of {exact(dropout)} (Hinton et al. 2012)"
    if units:
        dropped = " and dropout" if dropout else ""
        yield (
            f"{counted(len(units), 'dense layer')} of {joined(map(exact, units))} rectified "
            f"linear units, each followed by {normalization}{dropped}"
        )


def training_sentences(results):
    """Return how the network was trained."""
    _, network = results.step(-1)
    patience, n_members = network["patience"], network["n_members"]
    upper_limit = "at most " if patience is not None else ""
    sentences = [
        "From Glorot uniform weights, cross-entropy was minimised by Adam (Kingma and Ba 2015; "
        f"learning rate {exact(network['learning_rate'])}) on batches of {network['batch_size']} "
        f"volumes for {upper_limit}{counted(network['epochs'], 'epoch')}."
    ]
    if patience is not None:
        kept = results.of_model("folds", DECODER).get("n_epochs")
        found = ""
        if kept is not None and kept.notna().all():
            found = f" (epoch {ranged(kept)}, median {exact(median(kept))})"
        validation = results.section("pipeline")["parameters"]["validation"]
        held_out = percent(validation["parameters"]["test_size"])
        sentences.append(
            f"In each fold {held_out} of the training groups, rounded up, were held out before any "
            f"step was fitted; training stopped after {counted(patience, 'epoch')} without a lower "
            f"loss on them, and the weights of the epoch with the lowest loss{found} were kept "
            "(Prechelt 2012)."
        )
    if n_members > 1:
        sentences.append(
            f"{n_members} such networks were trained from different random weights, and their "
            "probabilities averaged."
        )
    return sentences
