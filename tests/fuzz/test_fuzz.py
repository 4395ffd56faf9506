"""A few hundred mutants of every kind of file; python -m tests.fuzz tries many more."""

import collections
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from . import driver
from .driver import CLEAR, FAILURE, KINDS, RIGHT, Kind, load_kind, outcomes
from .mutations import CANARY, Mutant, altered_bytes, altered_value

CHECKOUT = Path(__file__).parents[2]
MUTANTS = {
    "headers": 300,
    "bodies": 300,
    "tables": 300,
    "ledgers": 200,
    "bundles": 200,
    "results": 150,
    "pages": 4,
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SKFMRI_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", KINDS)
def test_a_mutant_gives_the_right_answer_or_an_error_that_names_the_file(name, tmp_path):
    found = list(outcomes(load_kind(name), range(MUTANTS[name]), tmp_path))
    failures = [outcome for outcome in found if outcome.verdict == FAILURE]
    assert not failures, "\n\n".join(
        f"{name} --seed {o.seed}: {o.what}\n{o.message}" for o in failures
    )
    counts = collections.Counter(outcome.verdict for outcome in found)
    # Mutants that are all refused, or all harmless, would show nothing.
    assert len(found) < 10 or min(counts[RIGHT], counts[CLEAR]) > len(found) / 10


class TestTheHarness:
    """What would be a failure is one."""

    def verdict(self, check, tmp_path, **options):
        def mutate(rng, material, folder):
            return Mutant(folder / "file.txt", "nothing", ("file.txt",))

        kind = Kind(lambda folder: None, mutate, check)
        (outcome,) = outcomes(kind, [0], tmp_path, **options)
        return outcome.verdict

    def test_an_error_must_name_the_file_shortly(self, tmp_path):
        def refuse(text):
            def check(mutant, material):
                raise ValueError(text)

            return check

        texts = {"file.txt is damaged": CLEAR, "damaged": FAILURE, "file.txt " * 400: FAILURE}
        for number, (text, expected) in enumerate(texts.items()):
            folder = tmp_path / str(number)
            folder.mkdir()
            assert self.verdict(refuse(text), folder) == expected

    @pytest.mark.parametrize("raised", [KeyError, TypeError, AssertionError, RecursionError])
    def test_other_errors_are_failures(self, tmp_path, raised):
        def check(mutant, material):
            raise raised("file.txt")

        assert self.verdict(check, tmp_path) == FAILURE

    def test_endless_work_is_ended(self, tmp_path, monkeypatch):
        def check(mutant, material):
            try:
                while True:
                    pass
            except Exception as error:
                raise ValueError("file.txt is damaged") from error

        monkeypatch.setattr(driver, "SECONDS", 0.1)
        assert self.verdict(check, tmp_path) == FAILURE

    def test_memory_that_is_asked_for_in_vain_is_not_explained_away(self, tmp_path):
        def check(mutant, material):
            try:
                np.zeros(2**60, np.int8)
            except Exception as error:
                raise ValueError("file.txt is damaged") from error

        assert self.verdict(check, tmp_path) == FAILURE

    @pytest.mark.parametrize("is_refused", [False, True])
    def test_much_memory_is_noticed_where_it_is_counted(self, tmp_path, is_refused):
        def check(mutant, material):
            np.ones(120_000_000, np.int8)
            if is_refused:
                raise ValueError("file.txt is damaged")

        verdict = self.verdict(check, tmp_path, counts_memory=True)
        assert verdict == FAILURE

    def test_a_path_that_was_followed_is_noticed(self, tmp_path):
        def check(mutant, material):
            (mutant.path.parent / CANARY).mkdir()

        assert self.verdict(check, tmp_path) == FAILURE

    def test_the_same_seed_gives_the_same_mutant(self, tmp_path):
        for name in ("headers", "bodies", "tables", "results"):
            kind = load_kind(name)
            material = kind.prepare(_new(tmp_path / name / "sound"))
            written = []
            for attempt in ("one", "two"):
                folder = _new(tmp_path / name / attempt)
                kind.mutate(random.Random(7), material, folder)
                files = sorted(path for path in folder.rglob("*") if path.is_file())
                written.append([path.read_bytes() for path in files])
            assert written[0] == written[1]

    def test_changes_reach_every_part(self):
        rng, seen = random.Random(0), set()
        for _ in range(300):
            _, what = altered_value(rng, {"a": [1, {"b": 2}], "c": None}, Path("/nowhere"))
            seen.add(what.split()[0])
        assert seen == {"a", "a/0", "a/1", "a/1/b", "c"}
        assert {altered_bytes(rng, b"0123456789")[0][:1] for _ in range(300)} > {b"", b"0", b"1"}

    def test_the_command_prints_a_table_of_counts(self):
        command = [sys.executable, "-m", "tests.fuzz", "--kinds", "tables", "--mutants", "3"]
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONSAFEPATH"}
        done = subprocess.run(
            command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=True
        )
        assert "| tables | 3 |" in done.stdout


def _new(folder):
    folder.mkdir(parents=True)
    return folder
