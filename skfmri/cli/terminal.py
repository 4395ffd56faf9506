"""What a run shows on the terminal."""

from contextlib import contextmanager, nullcontext
from datetime import timedelta

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from skfmri._validation import describe_grid, digits_apart, printable
from skfmri.cli.nonfinite import name_volumes
from skfmri.cli.values import typed
from skfmri.cli.wording import option_of
from skfmri.evaluation.result import DECODER, DUMMY
from skfmri.evaluation.words import is_error, metric_in_words, score_in_words
from skfmri.report.words import counted, ranged
from skfmri.samples.cleaned import watched_runs

# Of the metrics of a regressor, those for which there is room.
METRICS_OF_NUMBERS = ("r2", "neg_mean_absolute_error", "pearson")


class _Terminal(Console):
    """A console that writes control characters of names out, also inside tables."""

    def render_str(self, text, **options):
        return super().render_str(printable(text), **options)


def make_console(is_quiet, *, is_stderr=False):
    """Return the terminal, which shows names as they are, brackets included.

    Parameters
    ----------
    is_quiet : bool
        Whether to show nothing.
    is_stderr : bool, default=False
        Whether to write to the standard error, since the standard output is for a table.
    """
    return _Terminal(quiet=is_quiet, stderr=is_stderr, markup=False, highlight=False)


def print_inputs(console, inputs):
    """Print how many volumes of each class, or which numbers, there are, and what is left out."""
    samples, unit = inputs.samples, inputs.unit
    if samples.y.dtype.kind == "f":
        low, high, mean = samples.y.min(), samples.y.max(), samples.y.mean()
        n_digits = digits_apart(samples.y, 4)
        named = f"numbers from {low:.{n_digits + 2}g} to {high:.{n_digits + 2}g}, "
        named += f"mean {mean:.{n_digits}g}"
    else:
        classes, counts = np.unique(samples.y, return_counts=True)
        named = ", ".join(f"{n} {name}" for name, n in zip(classes, counts, strict=True))
    console.print(
        f"{len(samples)} {unit}s of {describe_grid(samples.grid_shape)}: {named}; "
        f"{len(np.unique(samples.groups))} groups"
    )
    if inputs.centring is not None:
        n_groups, n_maps = inputs.centring["n_groups"], ranged(inputs.centring["maps_per_group"])
        column = inputs.centring["column"]
        by = f", by {column}" if column else ""
        console.print(f"{counted(n_groups, 'group')} of {n_maps} {unit}s are centred{by}")
    if inputs.n_unlabelled:
        verb = "is" if inputs.n_unlabelled == 1 else "are"
        console.print(f"{counted(inputs.n_unlabelled, unit)} without a label {verb} left out")
    if inputs.not_finite is not None:
        n_lost = len(inputs.not_finite)
        verb = "is" if n_lost == 1 else "are"
        console.print(
            f"{counted(n_lost, 'volume')} with NaN or infinite values {verb} left out: "
            f"{name_volumes(inputs.not_finite)}"
        )


def print_region(console, rotator):
    """Print how large the region in the slab of a fitted rotator is, if it is restricted to one."""
    mask = rotator.slab_mask_
    if mask is not None:
        console.print(
            f"region: {counted(int(mask.sum()), 'voxel')} in a slab of {describe_grid(mask.shape)}"
        )


def print_size(console, size, unit):
    """Print which size of the network was chosen for the number of samples, and why.

    Parameters
    ----------
    console : rich.console.Console
        The terminal.
    size : dict or None
        From `choose_size`; None if the decoder is not a network.
    unit : str
        What one sample is called.
    """
    if size is None or size["asked"] == size["name"]:
        return
    n_train = counted(size["n_train"], unit)
    reason = f"a fold trains on {n_train}, fewer than {size['limit']}"
    other = "notebook"
    if size["name"] == other:
        reason, other = f"each fold trains on at least {n_train}", "small"
    console.print(f"--size {size['name']} is used, since {reason}; --size {other} overrides this")


def print_thresholds(console, choices):
    """Print which thresholds were chosen in place of their defaults, and why.

    Parameters
    ----------
    console : rich.console.Console
        The terminal.
    choices : dict of str to dict
        From `choose_thresholds`.
    """
    for name, found in choices.items():
        option, default = option_of(name), typed(found["default"])
        effect = "set {} that vary to 0" if name == "std_threshold" else "leave {} uncentred"
        share = f"{found['n_lost']} of {counted(found['n_voxels'], 'voxel')}"
        console.print(
            f"{option} {typed(found['value'])} is used: the default, {default}, would "
            f"{effect.format(share)}; {option} {default} overrides this"
        )


def print_result(console, result):
    """Print a row per fold, the means, and the answers in words."""
    folds = result.folds.pivot(index="fold", columns="model", values=list(result.metrics))
    baselines = [name for name in result.folds["model"].unique() if name != DECODER]
    about = result.folds[result.folds["model"] == DECODER].set_index("fold")
    metrics = result.metrics if result.classes is not None else METRICS_OF_NUMBERS
    shown = [(metric, DECODER) for metric in metrics]
    shown += [(result.metrics[0], name) for name in baselines if name != DUMMY]
    table = Table(show_footer=False)
    table.add_column("fold", justify="right")
    longest = about["groups_held_out"].astype(str).str.len().max()
    # Other columns give way first, unless many groups are held out at a time.
    table.add_column("groups held out", no_wrap=bool(longest <= len("standard deviation")))
    for metric, model in shown:
        title = metric_in_words(metric).replace("_", " ")
        table.add_column(title if model == DECODER else f"{model} {title}", justify="right")
    for fold, row in about.iterrows():
        scores = [_score(column[0], folds.loc[fold, column]) for column in shown]
        table.add_row(str(fold + 1), row["groups_held_out"], *scores)
    table.add_section()
    summary = result.summary.set_index(["metric", "model"])
    # A regressor has one score for the predictions of all folds.
    first = "mean" if result.classes is not None else "all folds"
    for name, key in ((first, "score"), ("standard deviation", "std"), ("chance level", "chance")):
        values = [_score(column[0], summary.loc[column, key], key) for column in shown]
        table.add_row("", name, *values)
    console.print(table)
    for sentence in result.sentences():
        console.print(sentence)


def _score(metric, value, key="score"):
    """Return a score or its standard deviation as text; a dash where it is not defined."""
    if not np.isfinite(value):
        return "-"
    # A standard deviation is not negative, unlike the score of an error.
    return score_in_words(metric, -value if key == "std" and is_error(metric) else value)


class TimeLeftColumn(ProgressColumn):
    """About how long the rest of a task takes.

    rich knows the pace of the last seconds, in which no fold may end. This is the pace from the
    beginning to the end of the last step, so that the time counts down while a step lasts. Steps
    that an earlier run has finished, the field ``kept`` of the task, took no time.
    """

    def __init__(self):
        super().__init__()
        self._last_steps = {}

    def render(self, task):
        """Return the time that is left, or nothing before that can be said."""
        if task.total is None or task.elapsed is None:
            return Text("")
        n_done, seconds = self._last_steps.get(task.id, (0, 0.0))
        if n_done != task.completed:
            n_done, seconds = task.completed, task.elapsed
            self._last_steps[task.id] = n_done, seconds
        n_kept = task.fields.get("kept", 0)
        if n_done <= n_kept or task.finished:
            return Text("")
        left = seconds / (n_done - n_kept) * (task.total - n_kept) - task.elapsed
        return Text(f"{timedelta(seconds=max(0, round(left)))} left", style="progress.remaining")


def _progress(console, *counts):
    """Return bars that vanish when they are done, and that a file or a pipe does not show."""
    columns = (TextColumn("{task.description}"), BarColumn(), *counts, TimeElapsedColumn())
    return Progress(
        *columns,
        TimeLeftColumn(),
        console=console,
        transient=True,
        disable=not console.is_interactive,
    )


def watched(console, text, batches, n_volumes):
    """Yield batches of volumes while a bar shows how many have been read.

    Parameters
    ----------
    console : rich.console.Console
        The terminal.
    text : str
        What is done with them.
    batches : iterable of ndarray
        A few volumes at a time.
    n_volumes : int
        How many there are in all.
    """
    with _progress(console, MofNCompleteColumn()) as progress:
        task = progress.add_task(text, total=n_volumes)
        for batch in batches:
            yield batch
            progress.advance(task, len(batch))


@contextmanager
def show_phase(console, text, samples=None):
    """Show what is being done, and which run is cleaned for it, as long as it takes.

    Parameters
    ----------
    console : rich.console.Console
        The terminal.
    text : str
        What is done.
    samples : NiftiSamples, default=None
        What it is done with. While a run of theirs is cleaned, this is shown.
    """
    with _progress(console) as progress:
        task = progress.add_task(text, total=None)

        def on_run(number, n_runs):
            progress.update(
                task,
                description=f"{text}, cleaning run {number + 1} of {n_runs}",
                completed=number,
                total=n_runs,
                refresh=True,
            )

        with nullcontext() if samples is None else watched_runs(samples, on_run):
            yield


class EpochBar:
    """Callback of scikit-learn that shows how far the network in training is.

    Parameters
    ----------
    progress : rich.progress.Progress
        Where the bar appears while a network is trained.
    on_end : callable, default=None
        Called without arguments when a network is trained.
    """

    def __init__(self, progress, on_end=None):
        self.progress, self.on_end = progress, on_end

    def setup(self, estimator, context):
        """Show the bar."""
        total = estimator.epochs * estimator.n_members
        self.bar = self.progress.add_task("epochs", total=total)

    def on_fit_task_begin(self, estimator, context):
        """Do nothing; scikit-learn calls it."""

    def on_fit_task_end(self, estimator, context):
        """Advance the bar after an epoch."""
        if context.task_name == "epoch":
            self.progress.advance(self.bar)

    def teardown(self, estimator, context):
        """Remove the bar."""
        self.progress.remove_task(self.bar)
        if self.on_end is not None:
            self.on_end()


@contextmanager
def show_folds(console, n_folds, network=None, n_permutations=0):
    """Give a function that shows each fold on the terminal when it is done.

    When all folds are done, the permutations that train anew are shown.

    Parameters
    ----------
    console : rich.console.Console
        The terminal.
    n_folds : int
        Number of folds.
    network : estimator, default=None
        Unfitted, of which each fold fits a copy; its epochs are shown too. Copies in other
        processes do not reach the terminal, so pass it for one fold at a time only.
    n_permutations : int, default=0
        Largest number of permutations, each of which trains one network per fold.

    Yields
    ------
    on_fold : callable
        For `evaluate_decoder`.
    """
    with _progress(console, MofNCompleteColumn()) as progress:
        task = progress.add_task("folds", total=n_folds)
        permutations = progress.add_task(
            "permutations", total=n_permutations, visible=False, start=False
        )

        n_trained = n_kept = 0

        def on_network():
            nonlocal n_trained
            # A fold is done only after its network has predicted, so these are of permutations.
            if progress.tasks[0].finished:
                n_trained += 1
                progress.update(permutations, completed=n_trained / n_folds, visible=True)

        def on_fold(row):
            nonlocal n_kept
            if row["model"] != DECODER:
                return
            seconds = row["seconds_fit"] + row["seconds_predict"]
            # A fold that took longer than this run so far was finished by an earlier one.
            n_kept += seconds > progress.tasks[0].elapsed
            progress.update(task, advance=1, kept=n_kept)
            if progress.tasks[0].finished:
                progress.start_task(permutations)
            subject = f"subject {row['subject']}, " if "subject" in row else ""
            metric = "accuracy" if "accuracy" in row else "neg_mean_absolute_error"
            progress.console.print(
                f"{subject}fold {row['fold'] + 1} of {n_folds}: {metric_in_words(metric)} "
                f"{score_in_words(metric, row[metric])}, {seconds:.1f} s"
            )

        if network is None:
            yield on_fold
            return
        network.set_callbacks(EpochBar(progress, on_network))
        try:
            yield on_fold
        finally:
            network.set_callbacks()
