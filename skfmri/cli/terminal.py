"""Progress of a run of the command line on the terminal."""

from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from skfmri.evaluation.result import DECODER


class EpochBar:
    """Callback of scikit-learn that shows how far the network in training is.

    Parameters
    ----------
    progress : rich.progress.Progress
        Where the bar appears while a network is trained.
    """

    def __init__(self, progress):
        self.progress = progress

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


@contextmanager
def show_folds(console, n_folds, network=None):
    """Give a function that shows each fold on the terminal when it is done.

    Parameters
    ----------
    console : rich.console.Console
        The terminal.
    n_folds : int
        Number of folds.
    network : estimator, default=None
        Unfitted, of which each fold fits a copy; its epochs are shown too. Copies in other
        processes do not reach the terminal, so pass it for one fold at a time only.

    Yields
    ------
    on_fold : callable
        For `evaluate_decoder`.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("folds", total=n_folds)

        def on_fold(row):
            if row["model"] == DECODER:
                progress.advance(task)
                progress.console.print(
                    f"fold {row['fold'] + 1} of {n_folds}: accuracy {row['accuracy']:.3f}, "
                    f"{row['seconds_fit'] + row['seconds_predict']:.1f} s"
                )

        if network is None:
            yield on_fold
            return
        network.set_callbacks(EpochBar(progress))
        try:
            yield on_fold
        finally:
            network.set_callbacks()
