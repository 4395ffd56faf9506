import errno
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import warnings
import zlib
from pathlib import Path

import keras
import numpy as np
import pytest
from joblib import Parallel, delayed
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skfmri import SlabCNNClassifier
from skfmri.evaluation.fingerprints import fingerprint, parameters_of, versions
from skfmri.evaluation.folds import fit_and_predict
from skfmri.evaluation.ledger import Ledger
from skfmri.evaluation.outcomes import check_outcome, check_score
from skfmri.preprocessing import VoxelZScorer

DATA = Path(__file__).parent / "data"
WORK = {"samples": "a1", "filters": "32", "random_state": 0}
CONTENTS = {
    "float32": np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32),
    "float64": np.array([0.1, np.nan, np.inf, -0.0, 5e-324]),
    "integers": np.arange(4, dtype=np.int16),
    "labels": np.array(["face", "house é"]),
    "booleans": np.array([True, False]),
    "objects": np.array(["a", 1, None], dtype=object),
    "empty": np.empty((0, 3)),
    "nested": {"loss": [0.1, 0.2], "none": None, "text": "line\nbreak\ttab"},
    "scalar": np.float32(0.1),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.jsonl"


@pytest.fixture
def three_records(path):
    with Ledger(path, WORK) as ledger:
        for number in range(3):
            ledger.add(f"unit{number}", {"score": number / 3})
    return path


def reopen(path, identity=WORK):
    """Return all that a ledger gives back for three units."""
    with Ledger(path, identity) as ledger:
        return [ledger.get(f"unit{number}") for number in range(3)]


class TestContents:
    def test_every_kind_comes_back_bit_by_bit(self, path):
        with Ledger(path, WORK) as ledger:
            ledger.add("unit", CONTENTS)
            fresh = ledger.get("unit")
        with Ledger(path, WORK) as ledger:
            assert ledger.n_found == 1
            stored = ledger.get("unit")
        for content in (fresh, stored):
            for name, value in CONTENTS.items():
                if isinstance(value, np.ndarray):
                    assert content[name].dtype == value.dtype
                    assert content[name].shape == value.shape
                    np.testing.assert_array_equal(content[name], value)
            assert np.signbit(content["float64"][3])
            assert content["nested"] == CONTENTS["nested"]
            assert content["scalar"] == np.float32(0.1)

    def test_what_was_never_added_is_none(self, three_records):
        with Ledger(three_records, WORK) as ledger:
            assert ledger.get("unit9") is None

    def test_the_file_comes_with_the_first_record(self, path):
        with Ledger(path, WORK):
            pass
        assert list(path.parent.iterdir()) == []

    def test_missing_directories_are_made(self, tmp_path):
        with Ledger(tmp_path / "deep" / "er" / "run.jsonl", WORK) as ledger:
            ledger.add("unit", {})
        assert [p.name for p in (tmp_path / "deep" / "er").iterdir()] == ["run.jsonl"]


class TestDamage:
    def test_a_record_torn_anywhere_is_dropped_and_can_be_added_again(self, three_records):
        whole = three_records.read_bytes()
        start = whole.rindex(b"\n")
        for end in range(start, len(whole)):
            three_records.write_bytes(whole[:end])
            assert reopen(three_records) == [{"score": 0.0}, {"score": 1 / 3}, None]
            with Ledger(three_records, WORK) as ledger:
                ledger.add("unit2", {"score": 2 / 3})
            assert three_records.read_bytes() == whole

    def test_a_header_torn_anywhere_is_a_new_ledger(self, three_records):
        header = three_records.read_bytes().split(b"\n")[0]
        for end in range(len(header)):
            three_records.write_bytes(header[:end])
            assert reopen(three_records) == [None] * 3

    def test_a_damaged_record_inside_is_told_and_the_others_count(self, three_records):
        lines = three_records.read_bytes().split(b"\n")
        lines[2] = lines[2].replace(b"0.33", b"0.34")
        three_records.write_bytes(b"\n".join(lines))
        with pytest.warns(UserWarning, match=r"1 records of .*run.jsonl are damaged"):
            assert reopen(three_records) == [{"score": 0.0}, None, {"score": 2 / 3}]

    @pytest.mark.parametrize("content", [b"fold,accuracy\n1,0.9\n", bytes(range(256)), b"{"])
    def test_another_file_is_left_alone(self, path, content):
        path.write_bytes(content)
        if content == b"{":  # the beginning of a header
            assert reopen(path) == [None] * 3
            return
        with pytest.raises(ValueError, match="is not a ledger of skfmri"):
            reopen(path)
        assert path.read_bytes() == content

    def test_the_format_of_an_earlier_version_is_refused_with_the_way_out(self, path):
        content = (DATA / "results_v0.1.0" / "ledger.jsonl").read_bytes()
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"of another version of skfmri. Finish the run with"):
            reopen(path)
        assert path.read_bytes() == content

    def test_a_damaged_header_is_refused(self, three_records):
        damaged = three_records.read_bytes().replace(b'"32"', b'"16"', 1)
        three_records.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"The first line of .* is damaged"):
            reopen(three_records)
        assert three_records.read_bytes() == damaged


def forge(path, place, edit):
    """Change a line of a ledger as somebody would who repairs its checksum."""
    lines = path.read_bytes().split(b"\n")
    content = json.loads(lines[place].rpartition(b"\t")[0])
    text = json.dumps(edit(content) or content).encode()
    lines[place] = b"%s\t%08x" % (text, zlib.crc32(text))
    path.write_bytes(b"\n".join(lines))


FORGED = {
    "no arrays": lambda record: record.pop("arrays") and None,
    "no content": lambda record: record.pop("content") and None,
    "an array that is not there": lambda record: record.update(content={"array": 7}),
    "an unknown kind": lambda record: record.update(content={"pickle": "gASV"}),
    "bytes that are none": lambda record: record.update(arrays=["!"]),
    "arrays that are none": lambda record: record.update(arrays=["aGVsbG8="], content={"array": 0}),
    "text that has no bytes": lambda record: record.update(arrays=["\ud800"]),
}


class TestForgery:
    """Files whose checksums are right, but whose contents no run has written."""

    @pytest.mark.parametrize("what", FORGED)
    def test_a_record_that_cannot_be_read_is_refused_by_file_and_key(self, three_records, what):
        forge(three_records, 2, FORGED[what])
        message = r"record unit1 of .*run.jsonl was altered: .*Delete its line, or choose another"
        with pytest.raises(ValueError, match=message):
            reopen(three_records)

    def test_content_that_is_not_what_was_asked_for_is_refused_too(self, three_records):
        def check(content):
            return content["score"] < content["limit"]

        with (
            Ledger(three_records, WORK) as ledger,
            pytest.raises(ValueError, match=r"record unit1 of .*run.jsonl was altered: 'limit'"),
        ):
            ledger.get("unit1", check)

    @pytest.mark.parametrize("value", [3, "text", [3], {"key": 3}, {"kez": "unit1"}, None])
    def test_a_line_that_is_not_a_record_counts_as_damaged(self, three_records, value):
        forge(three_records, 2, lambda _: value)
        if value is None:
            value = three_records.read_bytes().split(b"\n")
            value[2] = b"not JSON\t%08x" % zlib.crc32(b"not JSON")
            three_records.write_bytes(b"\n".join(value))
        with pytest.warns(UserWarning, match=r"1 records of .*run.jsonl are damaged"):
            assert reopen(three_records) == [{"score": 0.0}, None, {"score": 2 / 3}]

    @pytest.mark.parametrize("identity", [None, 3, [["samples", "a1"]]])
    def test_a_first_line_without_an_identity_is_refused(self, three_records, identity):
        forge(three_records, 0, lambda header: header.update(identity=identity))
        with pytest.raises(ValueError, match=r"The first line of .*run.jsonl is damaged"):
            reopen(three_records)


class TestJoined:
    def join(self, path, identity):
        """Append another ledger to one of three records."""
        other = path.with_name("other.jsonl")
        with Ledger(other, identity) as ledger:
            ledger.add("unit3", {"score": 1.0})
        path.write_bytes(path.read_bytes() + b"\n" + other.read_bytes())

    def test_the_same_computation_in_two_files_goes_on_from_both(self, three_records):
        self.join(three_records, WORK)
        with Ledger(three_records, WORK) as ledger:
            assert ledger.n_found == 4
            assert ledger.get("unit3") == {"score": 1.0}

    def test_two_computations_are_refused(self, three_records):
        self.join(three_records, WORK | {"filters": "16"})
        before = three_records.read_bytes()
        with pytest.raises(ValueError, match=r"run.jsonl holds records of several computations"):
            reopen(three_records)
        assert three_records.read_bytes() == before


class TestOutcomes:
    def outcome(self, **options):
        outcome = {
            "classes": np.array(["cat", "dog"]),
            "predict": np.array(["cat", "dog", "dog"]),
            "predict_proba": np.full((3, 2), 0.5, np.float32),
            "decision_function": np.zeros(3),
            "seconds_fit": 1.5,
            "seconds_predict": 0.1,
            "history": {"loss": [1.0, np.nan], "accuracy": [0.5, 0.6]},
            "n_epochs": None,
            "best_params": "C=1",
        }
        return {**outcome, **options}

    def test_those_of_fits_are_sound(self):
        check_outcome(self.outcome(), 3)
        check_outcome(self.outcome(history={}, n_epochs=4), 3)
        check_score({"score": np.float64(0.5)})
        X, y = np.random.default_rng(0).normal(size=(12, 2)), np.arange(12) % 3
        train, test = np.arange(6), np.arange(6, 12)
        found = fit_and_predict(LogisticRegression(), X, y, y // 2, train, test)
        check_outcome(found, 6)

    @pytest.mark.parametrize(
        ("altered", "message"),
        [
            ({"classes": np.zeros((2, 2))}, "classes are not an array"),
            ({"classes": "ab"}, "classes are not an array"),
            ({"predict": np.array(["cat"])}, "predict is not an array of 3 samples"),
            ({"predict": np.array(["cat", "dog", "cow"])}, "predicts 'cow', which is not a class"),
            ({"predict_proba": np.zeros((3, 3))}, "predict_proba is of 3 classes, not 2"),
            ({"predict_proba": np.array([["a", "b"]] * 3)}, "predict_proba holds <U1"),
            ({"decision_function": 0.5}, "decision_function is not an array of 3 samples"),
            ({"seconds_fit": "long"}, "seconds_fit is 'long'"),
            ({"history": {"accuracy": [1.0]}}, "history has no loss"),
            ({"history": {"loss": ["low"]}}, "history of loss holds something else than numbers"),
            ({"history": {"loss": [1.0], "accuracy": []}}, "curves of different lengths"),
            ({"n_epochs": 2.5}, "n_epochs is 2.5"),
            ({"best_params": {}}, "best_params are not text"),
        ],
    )
    def test_altered_ones_are_not(self, altered, message):
        with pytest.raises(ValueError, match=message):
            check_outcome(self.outcome(**altered), 3)

    @pytest.mark.parametrize("name", ["classes", "predict", "seconds_fit", "seconds_predict"])
    def test_those_that_lack_a_part_are_not(self, name):
        outcome = self.outcome()
        del outcome[name]
        with pytest.raises(ValueError, match=f"it has no {name}"):
            check_outcome(outcome, 3)

    @pytest.mark.parametrize("outcome", [3, {}, {"score": None}, {"score": "high"}])
    def test_a_score_is_a_number(self, outcome):
        with pytest.raises(ValueError, match="it has no score"):
            check_score(outcome)
        with pytest.raises(ValueError, match="it has no classes"):
            check_outcome(outcome, 3)


class TestIdentity:
    def test_other_work_is_refused_with_all_that_differs(self, three_records):
        before = three_records.read_bytes()
        other = {"samples": "a1", "filters": "16", "dropout": "0.5", "random_state": 0}
        message = (
            "belongs to another computation: filters is 16 here and 32 there; dropout is 0.5 here "
            "and None there. Choose another file"
        )
        with pytest.raises(ValueError, match=message):
            reopen(three_records, other)
        assert three_records.read_bytes() == before
        assert reopen(three_records)[2] == {"score": 2 / 3}

    def test_the_file_decides_what_is_free(self, three_records):
        with Ledger(three_records, WORK | {"random_state": 9}, free=["random_state"]) as ledger:
            assert ledger.identity["random_state"] == 0
        with pytest.raises(ValueError, match="random_state is 9 here and 0 there"):
            reopen(three_records, WORK | {"random_state": 9})


class TestOneWriter:
    def test_a_second_one_is_refused_while_the_first_is_there(self, three_records):
        code = (
            "import sys; from skfmri.evaluation.ledger import Ledger\n"
            f"with Ledger(sys.argv[1], {WORK!r}):\n"
            "    print('open', flush=True)\n"
            "    sys.stdin.read()"
        )
        command = [sys.executable, "-c", code, str(three_records)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout.readline().strip() == b"open"
        with pytest.raises(ValueError, match="is being written by another run"):
            reopen(three_records)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert reopen(three_records)[0] == {"score": 0.0}

    def test_the_same_process_cannot_open_it_twice(self, three_records):
        twice = pytest.raises(ValueError, match="is being written by another run")
        with Ledger(three_records, WORK), twice:
            reopen(three_records)
        assert reopen(three_records)[0] == {"score": 0.0}

    def test_workers_of_one_run_lose_no_line(self, path):
        def work(ledger, worker):
            for number in range(100):
                ledger.add(f"{worker}-{number}", {"values": np.arange(number)})
            return ledger.get("first")["score"]

        with Ledger(path, WORK) as ledger:
            ledger.add("first", {"score": 1})
            assert Parallel(2)(delayed(work)(ledger, worker) for worker in range(4)) == [1] * 4
        with Ledger(path, WORK) as ledger:
            assert ledger.n_found == 401
            for worker in range(4):
                assert ledger.get(f"{worker}-99")["values"].tolist() == list(range(99))

    def test_a_line_torn_by_a_killed_worker_spoils_no_other(self, three_records):
        with Ledger(three_records, WORK) as ledger:
            with open(three_records, "ab") as file:
                file.write(b'\n{"key": "torn", "cont')
            pickle.loads(pickle.dumps(ledger)).add("after", {"score": 7})
        with pytest.warns(UserWarning, match="1 records"):
            reopen(three_records)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            with Ledger(three_records, WORK) as ledger:
                assert ledger.get("after") == {"score": 7}
                assert ledger.n_found == 4

    def test_threads_lose_no_line(self, path):
        with Ledger(path, WORK) as ledger:
            threads = [
                threading.Thread(
                    target=lambda name=name: [ledger.add(f"{name}{i}", {}) for i in range(50)]
                )
                for name in "abc"
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        with Ledger(path, WORK) as ledger:
            assert ledger.n_found == 150

    def test_threads_that_begin_a_file_at_once_lose_no_line(self, tmp_path):
        def add(ledger, barrier, name):
            barrier.wait()
            ledger.add(name, {})

        # One race seldom has a loser.
        for number in range(200):
            barrier = threading.Barrier(4)
            with Ledger(tmp_path / f"{number}.jsonl", WORK) as ledger:
                threads = [threading.Thread(target=add, args=(ledger, barrier, n)) for n in "abcd"]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
            with Ledger(tmp_path / f"{number}.jsonl", WORK) as ledger:
                assert ledger.n_found == 4
        assert not list(tmp_path.glob(".*"))


FILL = """
import resource, signal, sys
from skfmri.evaluation.ledger import Ledger
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
with Ledger(sys.argv[1], {"a": 1}) as ledger:
    for number in range(1000):
        try:
            ledger.add(f"unit{number}", {"text": "x" * 100})
        except OSError as error:
            print(number, error.errno, error)
            break
"""


class TestFullDisk:
    def test_what_is_there_stays_and_the_error_says_so(self, path):
        result = subprocess.run(
            [sys.executable, "-c", FILL, str(path)], capture_output=True, text=True, check=True
        )
        number, code, message = result.stdout.split(" ", 2)
        assert int(code) == errno.EFBIG
        assert "could not be written to" in message
        assert "All earlier ones are safe" in message
        assert path.stat().st_size == 5000
        with Ledger(path, {"a": 1}) as ledger:
            assert ledger.n_found == int(number) > 10
            ledger.add("more", {})
        with Ledger(path, {"a": 1}) as ledger:
            assert ledger.n_found == int(number) + 1

    def test_a_directory_is_no_ledger(self, tmp_path):
        with pytest.raises(ValueError, match=r"is a directory\. Name a file"), Ledger(tmp_path, {}):
            pass

    def test_a_directory_that_cannot_be_written_is_named(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(OSError, match=r"A ledger cannot be kept at .*run.jsonl"):
            reopen(tmp_path / "file" / "run.jsonl")


class TestUnits:
    def test_what_cannot_be_kept_is_refused_by_name(self, path):
        with Ledger(path, WORK) as ledger, pytest.raises(TypeError, match="holds a set"):
            ledger.add("unit", {"labels": {1, 2}})
        assert not path.exists()


class TestWhatIsComputed:
    def test_parameters_of_keras_are_told_by_their_settings(self):
        def told(rate):
            return parameters_of(SlabCNNClassifier(optimizer=keras.optimizers.SGD(rate)))

        # Their pickles hold the time of pickling, and names that Keras numbers.
        assert told(0.1) == told(0.1) != told(0.2)
        assert "learning_rate" in str(told(0.1))

    def test_fingerprints_tell_values_apart_and_equal_ones_not(self):
        array = np.arange(6.0).reshape(2, 3)
        values = [1, 1.5, "1", [1], {"a": 1}, {"a": array}, {"a": array + 1}, None, array[:, ::-1]]
        digests = [fingerprint(value) for value in values]
        assert len(set(digests)) == len(values)
        assert fingerprint({"a": array.copy(), "b": 2}) == fingerprint({"b": 2, "a": array})

    def test_parameters_are_those_of_all_nested_estimators(self):
        pipeline = make_pipeline(VoxelZScorer(), LogisticRegression(C=3))
        search = GridSearchCV(pipeline, {"logisticregression__C": [1, 2]}, cv=GroupKFold(3))
        found = parameters_of(search)
        assert found["estimator__logisticregression__C"] == "3"
        assert found["estimator__voxelzscorer__std_threshold"] == "0.05"
        assert found["cv"].startswith("GroupKFold(n_splits=3")
        assert found["param_grid"] == "{'logisticregression__C': [1, 2]}"
        assert "n_jobs" not in found
        assert "estimator__memory" not in found

    def test_candidates_of_a_search_count_with_their_parameters(self):
        pipeline = make_pipeline(VoxelZScorer(), LogisticRegression())

        def found(C, n_jobs=None):
            candidates = [LogisticRegression(C=C, n_jobs=n_jobs), LogisticRegression()]
            return parameters_of(GridSearchCV(pipeline, {"logisticregression": candidates}))

        assert found(3) != found(2)
        assert found(3) == found(3, n_jobs=2)

    @pytest.mark.parametrize("wrap", [FrozenEstimator, lambda inside: make_pipeline(inside)])
    def test_so_do_estimators_inside_candidates(self, wrap):
        def found(C):
            candidates = [wrap(LogisticRegression(C=C))]
            return parameters_of(GridSearchCV(make_pipeline(None), {"none": candidates}))

        assert found(3) != found(2)
        assert found(3) == found(3)

    def test_parameters_read_the_same_in_another_process(self):
        estimator = make_pipeline(
            FunctionTransformer(np.nan_to_num, kw_args={"a": np.arange(3)}),
            LogisticRegression(random_state=np.random.RandomState(3)),
        )
        here = parameters_of(estimator)
        code = "import pickle, sys; from skfmri.evaluation.fingerprints import parameters_of\n"
        code += (
            "sys.stdout.buffer.write(pickle.dumps(parameters_of(pickle.load(sys.stdin.buffer))))"
        )
        result = subprocess.run(
            [sys.executable, "-c", code],
            input=pickle.dumps(estimator),
            capture_output=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": "7"},
        )
        there = pickle.loads(result.stdout)
        assert there == here
        assert "0x" not in str(here)

    def test_versions_name_what_scores_depend_on(self):
        assert versions()["numpy"] == np.__version__
        assert versions()["tensorflow"]
