"""The decoding model in sentences that a paper can quote."""

from statistics import median

from skfmri.estimators.defaults import MULTISCALE_RIDGE
from skfmri.evaluation.result import DECODER
from skfmri.report.methods_numbers import RIDGE_CV, STANDARDIZED, loss_words
from skfmri.report.methods_trials import unit_of_samples
from skfmri.report.words import by, counted, exact, joined, percent, ranged, significant

# The command leaves it alone, and the 2-D network has no parameter for it.
POOL_SIZE = 2
NORMALIZATION = "batch normalization (Ioffe and Szegedy 2015; momentum {})"
NETWORKS = {
    "SlabCNNClassifier": 2,
    "SlabCNNRegressor": 2,
    "VolumeCNNClassifier": 3,
    "VolumeCNNRegressor": 3,
}


def ridge_words(results, scales=MULTISCALE_RIDGE.scales):
    """Return what a multiscale ridge is, for a list of smoothing widths in voxels."""
    targets = " on the indicators of the classes,"
    chosen = "strengths, mixture (stacking, Breiman 1996) and softmax temperature"
    if results.predicts_numbers:
        targets, chosen = "", "strengths and mixture (stacking, Breiman 1996)"
    return (
        f"a multiscale ridge: ridge regressions{targets} of voxels smoothed with Gaussians of "
        f"standard deviations {joined(map(exact, scales))} voxels, with {chosen} chosen by leaving "
        "each training group out in closed form"
    )


def decoder_sentences(results):
    """Return what the decoder is and how it was trained."""
    return [*_decoder(results), *_balance(results)]


def _balance(results):
    """Return how classes of different frequency were treated in training."""
    # Neither is known of results of version 0.1.
    sentences, weights = [], results.step(-1)[1].get("class_weight")
    if weights == "balanced":
        sentences.append("In training, classes were weighted in inverse proportion to their size.")
    if results.section("pipeline")["parameters"].get("undersample"):
        sentences.append(
            "In each training set, volumes of the more frequent classes were left out at random "
            "until all classes had the same number, for all models alike. Test sets were left as "
            "they were."
        )
    return sentences


def _decoder(results):
    name, parameters = results.step(-1)
    if name in NETWORKS:
        return [*_size(results), *network_sentences(results), *training_sentences(results)]
    if name in ("MultiscaleRidgeClassifier", "MultiscaleRidgeRegressor"):
        return [f"The decoder is {ridge_words(results, parameters['scales'])}."]
    if results.predicts_numbers:
        return [f"The decoder is a {RIDGE_CV}."]
    return [
        "The decoder is a logistic regression of all voxels (L2 penalty, C = "
        f"{exact(parameters['C'])})."
    ]


def _size(results):
    """Return which configuration of the network was chosen by the number of volumes."""
    size = results.section("size")
    if size is None or size["asked"] != "auto":
        return []
    few = "fewer than" if size["n_train"] < size["limit"] else "not fewer than"
    chosen = "for small samples" if size["name"] == "small" else "of the workshop notebook"
    return [
        f"The configuration {chosen} was used, since the smallest training set has "
        f"{counted(size['n_train'], unit_of_samples(results))}, {few} {exact(size['limit'])}."
    ]


def network_sentences(results):
    """Return the architecture of the network."""
    name, network = results.step(-1)
    rank = NETWORKS[name]
    n_parameters = (results.record.get("network") or {}).get("n_parameters")
    parts = [*_layers(network, rank)]
    parts.append(
        "a linear output"
        if results.predicts_numbers
        else f"a softmax over {counted(len(results.classes), 'class', 'classes')}"
    )
    if n_parameters:
        parts.append(f"{n_parameters:,} parameters in all")
    kind = "2-D convolutions, whose channels are the slices" if rank == 2 else "3-D convolutions"
    sentences = [f"The decoder is a network with {kind}: {'; '.join(parts)}."]
    return sentences + _linear_path(results, network["linear_path"])


def _linear_path(results, path):
    """Return which linear model a network starts from, if it starts from one."""
    outputs = "predictions" if results.predicts_numbers else "decision values"
    if path is None:
        return []
    if path == "multiscale":
        return [
            f"It starts from {ridge_words(results)}. The {outputs} of this linear model are added "
            "to those of the network, times a weight from 0 to 1 of the least loss on training "
            "groups held out from both; the weight is 0 if that lowers the loss by less than a "
            "standard error over groups."
        ]
    model = f"logistic regression of all voxels (L2 penalty, C = {exact(path)})"
    if results.predicts_numbers:
        model = f"ridge regression of all voxels (L2 penalty, strength {significant(1 / path)})"
    return [
        f"The {outputs} of a {model}, fitted beforehand and then kept, are added to those of the "
        "network, which start at zero."
    ]


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


def _start(network):
    """Return what weights training began with; results of version 0.1 name none."""
    fits = network.get("initial_weights")
    if not fits:
        return "Glorot uniform weights"
    return " and before that ".join(map(_fit, fits))


def _fit(fit):
    """Return one of the fits that initial weights come from."""
    samples = fit["samples"]
    if samples is None:
        return "the weights of a network trained on volumes that are not known"
    return (
        f"the weights of a network trained on {counted(samples['n_volumes'], 'volume')} in "
        f"{counted(samples['n_groups'], 'group')} ({joined(f['name'] for f in samples['files'])})"
    )


def _frozen(network):
    """Return which layers were not trained."""
    names = network.get("frozen")
    return [f"Not trained further: the layers {joined(names)}."] if names else []


def training_sentences(results):
    """Return how the network was trained."""
    _, network = results.step(-1)
    patience, n_members = network["patience"], network["n_members"]
    upper_limit = "at most " if patience is not None else ""
    loss = loss_words(network) if results.predicts_numbers else "cross-entropy"
    sentences = [
        f"From {_start(network)}, {loss} was minimised by Adam (Kingma and Ba 2015; "
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
    if results.predicts_numbers:
        sentences.append(STANDARDIZED)
    sentences += _frozen(network)
    if n_members > 1:
        sentences.append(
            f"{n_members} such networks were trained from different random weights, and their "
            f"{'predictions' if results.predicts_numbers else 'probabilities'} averaged."
        )
    return sentences
