"""Epochs and steps as tasks that scikit-learn's callbacks watch and can stop."""

import io
import pickle
import warnings

import joblib
import keras
import numpy as np
import pytest
from rich.console import Console
from rich.progress import Progress
from sklearn.base import clone
from sklearn.callback import CallbackContext, ProgressBar, ScoringMonitor
from sklearn.model_selection import GridSearchCV, GroupKFold, GroupShuffleSplit

from skfmri import SlabCNNClassifier, VolumeCNNClassifier
from skfmri.cli.terminal import EpochBar, show_folds
from skfmri.evaluation import evaluate_decoder
from skfmri.pipeline import DecodingPipeline
from skfmri.preprocessing import NiftiSlabRotator, VoxelZScorer
from skfmri.samples import NiftiSamples

EPOCHS = 4


class Watcher:
    """A callback that records each task, and stops epochs on request."""

    def __init__(self, stop=lambda context: False):
        self.begun, self.ended, self.calls, self.given = [], [], [], []
        self.stop = stop

    def setup(self, estimator, context):
        self.calls.append("setup")

    def on_fit_task_begin(self, estimator, context):
        self.begun.append(path_of(context))

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, metadata=None):
        self.ended.append(path_of(context))
        self.given.append((X, y, metadata))
        return context.task_name == "epoch" and self.stop(context)

    def teardown(self, estimator, context):
        self.calls.append("teardown")


class Propagated(Watcher):
    max_propagation_depth = None


class Keeper(Watcher):
    """A callback that asks for the fitted estimator at the end of each task."""

    def __init__(self):
        super().__init__()
        self.views = {}

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        self.views[path_of(context)] = fitted_estimator


def path_of(context):
    """Return ``fit/member 1/epoch 0``: names and numbers from the root to a task."""
    own = f"{context.task_name} {context.task_id}" if context.parent else context.task_name
    return f"{path_of(context.parent)}/{own}" if context.parent else own


def after(n_epochs):
    return lambda context: context.task_id == n_epochs - 1


def assert_same_weights(one, other):
    for mine, theirs in zip(one, other, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.fixture
def decoder(tiny):
    return SlabCNNClassifier(**tiny | {"epochs": EPOCHS, "random_state": 0})


@pytest.fixture(scope="module")
def samples():
    """Twenty-four volumes of 6 x 7 x 8 in four groups, of two labels."""
    rng = np.random.default_rng(0)
    y = np.array(["closed", "open"])[np.arange(24) % 2]
    volumes = rng.normal(5, 0.3, size=(24, 6, 7, 8)).astype(np.float32)
    volumes[y == "open", 2:4, 3:5, 2:6] += 1
    affine = np.diag([3.0, 3, 3, 1])
    return NiftiSamples.from_array(volumes, affine, y=y, groups=np.repeat(range(4), 6))


@pytest.fixture
def pipeline(decoder):
    steps = [
        ("slab", NiftiSlabRotator(0.1, slab=(2, 5))),
        ("zscore", VoxelZScorer()),
        ("cnn", decoder),
    ]
    return DecodingPipeline(steps)


@pytest.fixture
def validated(pipeline):
    split = GroupShuffleSplit(1, test_size=1, random_state=0)
    return pipeline.set_params(validation=split, cnn__patience=3)


class TestTasksOfANetwork:
    @pytest.mark.parametrize("epochs", [None, 2])
    def test_each_epoch_is_a_task_of_the_fit(self, slabs, decoder, epochs):
        watcher = Watcher()
        decoder.set_callbacks(watcher).fit(*slabs, epochs=epochs)
        paths = [f"fit/epoch {n}" for n in range(epochs or EPOCHS)]
        assert watcher.begun == ["fit", *paths]
        assert watcher.ended == [*paths, "fit"]
        assert watcher.calls == ["setup", "teardown"]

    def test_the_number_of_epochs_is_known_beforehand(self, slabs, decoder):
        class Counter(Watcher):
            def on_fit_task_begin(self, estimator, context):
                self.begun.append(context.max_subtasks)

        counter = Counter()
        decoder.set_callbacks(counter).fit(*slabs)
        decoder.set_params(n_members=2).fit(*slabs, epochs=1)
        assert counter.begun == [EPOCHS, *[0] * EPOCHS, 2, 1, 0, 1, 0]

    def test_members_are_a_level_above_epochs(self, slabs, decoder):
        watcher = Watcher()
        decoder.set_params(n_members=2).set_callbacks(watcher).fit(*slabs, epochs=2)
        of_members = [
            [f"fit/member {m}/epoch 0", f"fit/member {m}/epoch 1", f"fit/member {m}"]
            for m in (0, 1)
        ]
        assert watcher.ended == [*of_members[0], *of_members[1], "fit"]
        assert sorted(watcher.begun) == sorted(watcher.ended)

    @pytest.mark.parametrize("weighted", [False, True])
    def test_every_task_is_given_the_training_data_as_fit_got_them(self, slabs, decoder, weighted):
        X, y = (part.tolist() for part in slabs)
        weight = np.arange(len(y)) % 3 if weighted else None
        watcher = Watcher()
        decoder.set_callbacks(watcher).fit(X, y, sample_weight=weight)
        assert len(watcher.given) == EPOCHS + 1
        for found_X, found_y, metadata in watcher.given:
            assert found_X is X
            assert found_y is y
            assert metadata is None if weight is None else metadata["sample_weight"] is weight

    def test_callbacks_are_torn_down_when_training_fails(self, slabs, decoder):
        class Failing(Watcher):
            def on_fit_task_end(self, estimator, context):
                raise RuntimeError("no disk left")

        failing = Failing()
        with pytest.raises(RuntimeError, match="no disk left"):
            decoder.set_callbacks(failing).fit(*slabs)
        assert failing.calls == ["setup", "teardown"]
        assert not hasattr(decoder, "classes_")
        expected = clone(decoder).set_callbacks().fit(*slabs)
        assert_same_weights(decoder.set_callbacks().fit(*slabs)._members, expected._members)

    def test_keras_classes_are_refused_with_the_parameter_for_them_left_alone(self, decoder):
        with pytest.raises(TypeError, match="FitCallback"):
            decoder.set_callbacks(keras.callbacks.EarlyStopping())
        assert decoder.callbacks is None


class TestCost:
    """Watching changes no result, and what is not asked for is not done."""

    @pytest.mark.parametrize("cls", [SlabCNNClassifier, VolumeCNNClassifier])
    @pytest.mark.parametrize("n_members", [1, 2])
    def test_weights_and_history_are_those_of_a_fit_without(self, slabs, tiny, cls, n_members):
        decoder = cls(**tiny, random_state=0, n_members=n_members)
        watched = clone(decoder).set_callbacks(Keeper(), ScoringMonitor(scoring="accuracy"))
        watched.fit(*slabs)
        decoder.fit(*slabs)
        assert_same_weights(watched._members, decoder._members)
        assert watched.history_ == decoder.history_

    @pytest.mark.parametrize(
        ("callbacks", "n_copies"), [([], 1), ([Watcher()], 1), ([Keeper()], 1 + EPOCHS)]
    )
    def test_weights_are_copied_only_for_who_asks(
        self, slabs, decoder, monkeypatch, callbacks, n_copies
    ):
        copies = []
        get_weights = keras.Model.get_weights
        monkeypatch.setattr(
            keras.Model, "get_weights", lambda model: copies.append(1) or get_weights(model)
        )
        decoder.set_callbacks(*callbacks).fit(*slabs)
        assert len(copies) == n_copies

    def test_no_task_is_made_for_an_epoch_that_nobody_watches(self, slabs, decoder, monkeypatch):
        made = []
        subcontext = CallbackContext.subcontext
        monkeypatch.setattr(
            CallbackContext,
            "subcontext",
            lambda task, **options: made.append(task) or subcontext(task, **options),
        )
        decoder.fit(*slabs)
        assert made == []
        decoder.set_callbacks(Watcher()).fit(*slabs)
        assert len(made) == EPOCHS


class TestFittedView:
    def test_after_an_epoch_it_is_a_fit_of_so_many_epochs(self, slabs, decoder):
        keeper = Keeper()
        decoder.set_callbacks(keeper).fit(*slabs)
        for n_epochs in range(1, EPOCHS + 1):
            view = keeper.views[f"fit/epoch {n_epochs - 1}"]
            by_hand = clone(decoder).set_callbacks().fit(*slabs, epochs=n_epochs)
            np.testing.assert_array_equal(
                view.predict_proba(slabs[0]), by_hand.predict_proba(slabs[0])
            )
            assert view.history_ == by_hand.history_
            assert view.n_epochs_ == n_epochs
            assert view.classes_.tolist() == by_hand.classes_.tolist()
        whole = keeper.views["fit"]
        assert whole is not decoder
        np.testing.assert_array_equal(
            whole.predict_proba(slabs[0]), decoder.predict_proba(slabs[0])
        )

    def test_of_members_it_is_the_one_that_is_trained(self, slabs, decoder):
        keeper = Keeper()
        decoder.set_params(n_members=2).set_callbacks(keeper).fit(*slabs)
        by_hand = clone(decoder).set_callbacks().fit(*slabs, epochs=2)
        for number in (0, 1):
            view = keeper.views[f"fit/member {number}/epoch 1"]
            assert view.n_members == 1
            assert_same_weights(view._members, [by_hand._members[number]])
            assert keeper.views[f"fit/member {number}"] is None
        assert keeper.views["fit"].n_members == 2

    def test_monitored_scores_are_those_of_shorter_fits(self, slabs, decoder):
        X, y = slabs
        monitor = ScoringMonitor(scoring=["accuracy", "neg_log_loss"])
        decoder.set_callbacks(monitor).fit(X, y)
        table = monitor.get_logs().data_as_pandas
        of_epochs = table[table["task_name"] == "epoch"].sort_values("task_id")
        by_hand = [
            clone(decoder).set_callbacks().fit(X, y, epochs=n).score(X, y)
            for n in range(1, EPOCHS + 1)
        ]
        assert of_epochs["accuracy"].tolist() == by_hand
        assert of_epochs["neg_log_loss"].is_monotonic_increasing
        assert table.loc[table["task_name"] == "fit", "accuracy"].tolist() == [decoder.score(X, y)]


class TestStop:
    def test_training_ends_after_the_epoch_in_which_a_callback_asks(self, slabs, decoder):
        watcher = Watcher(after(2))
        decoder.set_callbacks(watcher).fit(*slabs)
        by_hand = clone(decoder).set_callbacks().fit(*slabs, epochs=2)
        assert decoder.n_epochs_ == 2
        assert decoder.history_ == by_hand.history_
        assert_same_weights(decoder._members, by_hand._members)
        assert watcher.ended == ["fit/epoch 0", "fit/epoch 1", "fit"]

    def test_patience_still_goes_back_to_the_best_epoch(self, slabs, decoder):
        X, y = slabs
        # A step so large that the validation loss soon rises again.
        decoder.set_params(learning_rate=0.3, patience=50)
        options = {"validation_data": (X[14:], y[14:])}
        stopped = clone(decoder).set_callbacks(Watcher(after(4))).fit(X[:14], y[:14], **options)
        losses = stopped.history_["val_loss"]
        best = int(np.argmin(losses)) + 1
        assert len(losses) == 4 > best
        assert stopped.n_epochs_ == best
        by_hand = clone(decoder).fit(X[:14], y[:14], epochs=best, **options)
        assert_same_weights(stopped._members, by_hand._members)

    def test_one_member_may_stop_before_the_others(self, slabs, decoder):
        first = Watcher(lambda context: context.parent.task_id == 0)
        decoder.set_params(n_members=2).set_callbacks(first).fit(*slabs)
        assert sum("member 0/epoch" in path for path in first.ended) == 1
        assert sum("member 1/epoch" in path for path in first.ended) == EPOCHS
        assert decoder.n_epochs_ == round((1 + EPOCHS) / 2)
        assert len(decoder.history_["loss"]) == EPOCHS

    def test_callbacks_of_keras_are_called_beside_them(self, slabs, decoder):
        epochs = []
        of_keras = keras.callbacks.LambdaCallback(on_epoch_end=lambda n, logs: epochs.append(n))
        decoder.set_params(callbacks=[of_keras]).set_callbacks(Watcher(after(3))).fit(*slabs)
        assert epochs == [0, 1, 2]

    def test_a_pipeline_refits_for_the_epochs_that_were_found(self, samples, validated):
        validated.set_params(refit=True, cnn__patience=10)
        validated["cnn"].set_callbacks(Watcher(after(3)))
        validated.fit(samples, samples.y)
        losses = validated.validation_history_["val_loss"]
        assert len(losses) == 3
        best = int(np.argmin(losses)) + 1
        assert validated["cnn"].n_epochs_ == best == len(validated["cnn"].history_["loss"])


class TestTasksOfAPipeline:
    def fit(self, pipeline, samples):
        watcher = Propagated()
        with warnings.catch_warnings():
            # scikit-learn warns of each step that takes no callbacks.
            warnings.simplefilter("error")
            pipeline.set_callbacks(watcher).fit(samples, samples.y, groups=samples.groups)
        assert sorted(watcher.begun) == sorted(watcher.ended)
        return watcher.ended

    def test_each_step_is_a_task_and_so_are_the_epochs_in_it(self, samples, pipeline):
        assert self.fit(pipeline, samples) == [
            "fit/fit 0",
            "fit/fit 1",
            *[f"fit/fit 2/epoch {n}" for n in range(EPOCHS)],
            "fit/fit 2",
            "fit",
        ]

    @pytest.mark.parametrize("refit", [False, True])
    def test_with_validation_there_are_two_tasks_and_two_more_to_refit(
        self, samples, validated, refit
    ):
        ended = self.fit(validated.set_params(refit=refit), samples)
        outer = [path for path in ended if path.count("/") == 1]
        tasks = ["fit/fit-transform 0", "fit/fit 1", "fit/fit-transform 2", "fit/fit 3"]
        assert outer == tasks[: 4 if refit else 2]
        for number in (0, 2) if refit else (0,):
            start = f"fit/fit-transform {number}"
            found = [path.removeprefix(start) for path in ended if path.startswith(start)]
            assert found == ["/fit 0", "/fit 1", "/fit-transform-final-estimator 2", ""]
        n_epochs = len(validated.validation_history_["loss"])
        assert sum(path.startswith("fit/fit 1/epoch") for path in ended) == n_epochs
        if refit:
            n_epochs = validated["cnn"].n_epochs_
            assert sum(path.startswith("fit/fit 3/epoch") for path in ended) == n_epochs

    def test_watching_changes_no_prediction(self, samples, validated):
        validated.set_params(refit=True)
        plain = clone(validated).fit(samples, samples.y).predict_proba(samples)
        validated.set_callbacks(Propagated()).fit(samples, samples.y)
        np.testing.assert_array_equal(validated.predict_proba(samples), plain)

    def test_transformers_are_not_fitted_again_if_a_memory_holds_them(
        self, samples, validated, tmp_path
    ):
        validated.set_params(memory=str(tmp_path))
        assert "fit/fit-transform 0/fit 1" in self.fit(validated, samples)
        again = self.fit(clone(validated).set_callbacks(), samples)
        assert "fit/fit-transform 0/fit 1" not in again
        assert "fit/fit 1/epoch 0" in again


class TestSearch:
    def test_a_search_shows_candidates_folds_and_epochs(self, samples, pipeline):
        watcher = Propagated()
        search = GridSearchCV(pipeline, {"cnn__filters": [1, 2]}, cv=GroupKFold(2))
        search.set_callbacks(watcher).fit(samples, samples.y, groups=samples.groups)
        of_network = [path for path in watcher.ended if "/epoch" in path]
        expected = [f"fit/search 0/fit {n}/fit 2/epoch {e}" for n in range(4) for e in range(4)]
        expected += [f"fit/fit 1/fit 2/epoch {e}" for e in range(4)]
        assert of_network == expected

    def test_workers_report_to_one_bar_and_one_log(self, samples, pipeline, capsys):
        monitor = ScoringMonitor(scoring="accuracy")
        pipeline["cnn"].set_callbacks(monitor)
        grid = {"cnn__filters": [1, 2]}
        search = GridSearchCV(pipeline, grid, cv=GroupKFold(2), n_jobs=2, error_score="raise")
        search.set_callbacks(ProgressBar(max_propagation_depth=None))
        search.fit(samples, samples.y, groups=samples.groups)
        shown = capsys.readouterr().out
        for line in ("GridSearchCV - fit ", "GridSearchCV - search #0", "fit-final-estimator"):
            assert line in shown
        (log,) = monitor.get_logs(select="all")
        table = log.data_as_pandas
        # Two candidates in two folds, and the best one fitted again; an entry for each whole fit.
        assert (table["task_name"] == "epoch").sum() == 5 * EPOCHS
        assert (table["task_name"] == "fit").sum() == 5
        last = table[(table["task_name"] == "epoch") & (table["task_id"] == EPOCHS - 1)]
        at_the_end = table[table["task_name"] == "fit"]
        assert last["accuracy"].tolist() == at_the_end["accuracy"].tolist()

    def test_members_report_from_workers(self, slabs, decoder):
        monitor = ScoringMonitor(scoring="accuracy")
        decoder.set_params(n_members=2).set_callbacks(monitor)
        alone = clone(decoder).fit(*slabs)
        with joblib.parallel_config(n_jobs=2):
            decoder.fit(*slabs)
        one, two = (log.data for log in monitor.get_logs(select="all"))
        assert [row["task_id_path"] for row in one] == [row["task_id_path"] for row in two]
        assert len(one) == 2 * EPOCHS + 1
        np.testing.assert_allclose(decoder.history_["loss"], alone.history_["loss"], rtol=1e-4)

    def test_copies_keep_the_callbacks(self, slabs, decoder):
        monitor = ScoringMonitor(scoring="accuracy")
        decoder.set_callbacks(monitor).fit(*slabs)
        clone(decoder).fit(*slabs)
        again = pickle.loads(pickle.dumps(decoder))
        np.testing.assert_array_equal(
            again.predict_proba(slabs[0]), decoder.predict_proba(slabs[0])
        )
        again.fit(*slabs)
        assert len(monitor.get_logs(select="all")) == 2

    def test_folds_of_an_evaluation_share_the_callbacks_of_the_decoder(self, samples, pipeline):
        cv = GroupKFold(2)
        options = {"cv": cv, "baseline": None, "n_bootstraps": 100, "random_state": 0}
        plain = evaluate_decoder(pipeline, samples, **options).folds
        monitor = ScoringMonitor(scoring="accuracy")
        pipeline["cnn"].set_callbacks(monitor)
        watched = evaluate_decoder(pipeline, samples, **options).folds
        logs = monitor.get_logs(select="all")
        assert [len(log.data) for log in logs] == 2 * [EPOCHS + 1]
        columns = [name for name in plain if not name.startswith("seconds")]
        assert watched[columns].equals(plain[columns])


class TestCommandLine:
    def test_the_bar_of_a_network_counts_epochs_while_it_is_trained(self, slabs, decoder):
        progress = Progress(console=Console(file=io.StringIO()))
        seen = []

        class Reader(Watcher):
            def on_fit_task_end(self, estimator, context):
                seen.append([(bar.description, bar.completed, bar.total) for bar in progress.tasks])

        decoder.set_params(n_members=2).set_callbacks(EpochBar(progress), Reader())
        decoder.fit(*slabs, epochs=2)
        counts = [1, 2, 2, 3, 4, 4, 4]  # an entry for each epoch, each member and the whole
        assert seen == [[("epochs", count, 2 * EPOCHS)] for count in counts]
        assert progress.tasks == []

    def test_folds_and_epochs_are_shown_and_the_network_is_left_as_it_was(self, slabs, decoder):
        console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=80)
        rows = {"model": "decoder", "accuracy": 0.75, "seconds_fit": 2, "seconds_predict": 1}
        with show_folds(console, 2, decoder) as on_fold:
            for fold in range(2):
                clone(decoder).fit(*slabs)
                on_fold(rows | {"fold": fold})
        shown = console.file.getvalue()
        assert "fold 2 of 2: accuracy 0.750, 3.0 s" in shown
        assert f"0/{EPOCHS}" in shown.partition("epochs")[2]
        with pytest.raises(RuntimeError), show_folds(console, 2, decoder):
            raise RuntimeError
        assert not hasattr(decoder, "_skl_callbacks")
