"""Records that version 0.1 wrote, brought into the shape of today's."""

from skfmri.datasets.defaults import BIDS
from skfmri.estimators.defaults import SLAB_CNN, VOLUME_CNN
from skfmri.preprocessing.defaults import ROTATOR, ZSCORER


def upgrade_record(record, path):
    """Return a record with the sections of today.

    Version 0.1 kept all arguments of the command in one place. What the command could not set
    has had the same defaults since.

    Parameters
    ----------
    record : dict
        Content of ``settings.json``.
    path : pathlib.Path
        The file, for error messages.

    Returns
    -------
    record : dict

    Raises
    ------
    ValueError
        If an argument is missing.
    """
    settings = record.get("settings")
    if not isinstance(settings, dict) or not isinstance(record.get("data"), dict):
        return record
    sentences = record.get("sentences")
    if isinstance(sentences, list):
        # A dummy can be worse than chance, so being better than it means nothing.
        record = record | {"sentences": [text for text in sentences if " dummy" not in text]}
    try:
        return {
            **record,
            "source": _source(settings),
            "cleaning": _cleaning(settings),
            "pipeline": _pipeline(settings),
            "cross_validation": {
                "n_folds": settings["folds"],
                "n_repeats": settings["repeats"],
                "seed": settings["seed"],
                "n_permutations": settings["permutations"],
            },
        }
    except KeyError as error:
        raise ValueError(
            f"{path} is damaged: it has no setting {error}. Run the command again."
        ) from error


def _source(settings):
    if "images" not in settings:
        return {"kind": "simulated", "seed": settings["seed"]}
    kept = {name: settings[name] for name in ("images", "classes", "drop")}
    if settings.get("bids") is None:
        columns = {role: settings[f"{role}_column"] for role in ("label", "group", "run", "block")}
        return {"kind": "table", "labels": settings["labels"], "columns": columns, **kept}
    names = ("space", "derivatives", "groups", "shift", "keep_transitions", "max_gap")
    options = {name: settings[name] for name in names}
    options |= {"label": settings["label_column"], "duration": settings["event_duration"]}
    used = {n: getattr(BIDS, n) if value is None else value for n, value in options.items()}
    return {"kind": "bids", "root": settings["bids"], "task": settings["task"], **used, **kept}


def _cleaning(settings):
    if not settings.get("clean"):
        return None
    return {name: settings[name] for name in ("high_pass", "t_r", "confounds")}


def _pipeline(settings):
    defaults = {"2d": SLAB_CNN, "3d": VOLUME_CNN}[settings["network"]]
    network = {"2d": "SlabCNNClassifier", "3d": "VolumeCNNClassifier"}[settings["network"]]
    validation = None
    if settings["patience"] is not None:
        options = {"n_splits": 1, "test_size": 0.2, "random_state": settings["seed"]}
        validation = {"class": "GroupShuffleSplit", "parameters": options}
    return {
        "class": "DecodingPipeline",
        "parameters": {"validation": validation},
        "steps": {
            "slab": _step("NiftiSlabRotator", ROTATOR, settings, "n_jobs", "mask", "label"),
            "zscore": _step("VoxelZScorer", ZSCORER, settings),
            "cnn": _step(network, defaults, settings, *_not_set(defaults)),
        },
    }


def _not_set(defaults):
    """Return the parameters of a network that the command could not set."""
    fixed = ("padding", "pool_size", "strides", "dense_batch_norm", "optimizer", "loss", "verbose")
    fixed += ("class_weight", "callbacks", "random_state", "initial_weights", "frozen")
    return [name for name in fixed if hasattr(defaults, name)]


def _step(name, defaults, settings, *fixed):
    values = vars(defaults)
    parameters = {key: values[key] if key in fixed else settings[key] for key in values}
    return {"class": name, "parameters": parameters}
