"""Messages of the library in the words of the command line."""

import ast
import re

from skfmri.cli.values import typed

# Parameters whose option has another name.
OPTIONS = {
    "n_members": "--members",
    "n_permutations": "--permutations",
    "n_repeats": "--repeats",
    "n_splits": "--folds",
    "n_jobs": "--jobs",
    "random_state": "--seed",
    "duration": "--event-duration",
    "label": "--label-column",
    "runs": "--run-column",
}
NAMES = {
    *OPTIONS,
    *("angle", "axis", "slab", "slab_reference", "crop", "interpolation", "mask"),
    *("std_threshold", "mean_threshold", "clean", "detrend", "high_pass", "t_r"),
    *("filters", "n_blocks", "kernel_size", "dense_units", "dropout", "batch_norm_momentum"),
    *("linear_path", "learning_rate", "epochs", "batch_size", "patience"),
    *("task", "space", "derivatives", "subjects", "entities", "groups", "classes"),
    *("samples", "exclude", "overlap_tolerance", "rest", "class_weight", "undersample"),
    *("shift", "keep_transitions", "max_gap", "confounds", "initial_weights", "frozen"),
}
# These are what data have, too: "groups must be ..." need not speak of the option.
WORDS = {"groups", "runs", "classes", "label", "samples", "rest"}


def _any_of(names):
    return "|".join(sorted(names, key=len, reverse=True))


VALUE = r"""(?:"[^"]*"|'[^']*'|\([^()]*\)|\[[^\]]*\]|\{[^{}]*\}|-?\w+(?:[.+-]\w+)*)"""
# What follows a slash or a dot is part of a path.
SET = re.compile(rf"(?<![-\w./\\])({_any_of(NAMES)})=({VALUE})?")
# A word such as "slab" is a parameter only if it is what must be something, and none is in quotes.
NAMED = re.compile(
    rf"(?<![-\w./\\'\"])(?:({_any_of(name for name in NAMES if '_' in name)})(?![-\w])"
    rf"|({_any_of(NAMES - WORDS)})(?= must\b))"
)
# Advice that differs on the command line.
PHRASES = {
    "repeat the same call: it continues": "repeat the command with --resume: it continues",
    "classes contains": "--classes names",
    "exclude contains": "--exclude names",
    "exclude leaves": "--exclude leaves",
    '"" means that the name must not have the entity': "res- means that the name has no res",
    "as runs=": "with --run-column",
    "out with sample_masks=": "out of skfmri decode with --drop-nonfinite",
    "out before, with samples[samples.finite]": "out of skfmri decode with --drop-nonfinite",
    "Leave such samples out of the training data": "Leave such volumes out with --drop-nonfinite",
    "need no cleaning: leave it out": "need no --clean",
    # Of a network that starts from a saved one.
    "frozen names": "--frozen names",
    "out of frozen": "out of --frozen",
    "Leave them out of the samples, samples[~find_training_volumes(path, samples)], or": "Leave "
    "their labels empty, or",
    "Save that decoder with save(..., samples=), and start from what load returns": "Save that "
    "decoder with skfmri decode --model",
    # Of one decoder per subject.
    "Leave them out, for example with samples[~np.isin(samples.subjects, names)].": "Leave them "
    "out: name the others with --subjects, or leave the labels of their volumes empty.",
    "Pass their runs as groups=.": "Make groups of their runs: --groups run, or --group-column.",
    "Pass samples of two subjects or more, or use evaluate_decoder.": "Give volumes of two "
    "subjects or more, or leave --per-subject out.",
    # Times that a command finds by itself.
    " (t_r=, start=)": "",
    # Of centring.
    "group each as by=": "group each with --center-groups COLUMN",
    "subject of each volume, as by=": "subject of each volume, with --center-groups COLUMN",
    "with by= of center_groups": "with --center-groups COLUMN",
    "a region with label=": "a region with --mask FILE:",
    ', a larger slab or region, or padding="same"': ", or a larger slab or region",
    "or None to turn it off": "or 'none' to turn it off",
    "or None for none": "or 'none' for no threshold",
    "Choose smaller filters, dense_units": "Choose smaller --filters, --dense-units",
    'or a text in degrees such as "20 deg"': "or in degrees as 20deg",
}
# A message may pass here twice.
CACHE = re.compile(r"(?<!--cache or )SKFMRI_CACHE\b")
# A function of Python, and several sentences of scikit-learn about its own classes.
CALL = re.compile(r" or numpy\.\w+\([^()]*\)")
NOT_FINITE = re.compile(r"(Input X contains (?:NaN|infinity)).*", re.DOTALL)


def in_options(message):
    """Return a message with options in place of parameters, such as ``--slab all``.

    Parameters
    ----------
    message : str
        Message of an error or a warning of the library.

    Returns
    -------
    message : str
        In one line.
    """
    message = " ".join(message.split())
    for phrase, replacement in PHRASES.items():
        message = message.replace(phrase, replacement)
    message = CACHE.sub("--cache or SKFMRI_CACHE", message)
    message = NOT_FINITE.sub(r"\1. The model takes finite values only.", message)
    message = SET.sub(_with_value, CALL.sub("", message))
    return NAMED.sub(lambda found: option_of(found[1] or found[2]), message)


def option_of(name):
    """Return what a parameter is called on the command line."""
    return OPTIONS.get(name, "--" + name.replace("_", "-"))


def describe_error(error):
    """Return the message of an error in one line, with the file that it is about."""
    if not isinstance(error, OSError) or error.strerror is None:
        return in_options(str(error))
    # Without the number that str(error) begins with.
    message = in_options(error.strerror)
    if error.filename is not None and str(error.filename) not in message:
        message = f"{error.filename}: {message}"
    return message


def _with_value(found):
    """Return a parameter with its value as it would be typed."""
    name, text = found.groups()
    if text is None:
        return option_of(name)
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return found[0]
    if isinstance(value, bool):
        return option_of(name if value else f"no_{name}")
    return f"{option_of(name)} {typed(value, name)}"
