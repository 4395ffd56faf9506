"""Files of networks that started from the weights of other decoders."""

import json
import zipfile

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline

import skfmri
from skfmri.estimators.origin import trained_on, weights_digest
from skfmri.evaluation.encoding import array_to_bytes
from skfmri.persistence import (
    archive,
    find_training_volumes,
    load,
    model_card,
    save,
    training_record,
)

from .conftest import AFFINE, Narrow


def volumes(seed):
    values = np.random.default_rng(seed).normal(size=(6, 5, 6, 3)).astype(np.float32)
    return skfmri.NiftiSamples.from_array(
        values, AFFINE, y=list("ab" * 3), groups=[1, 1, 2, 2, 3, 3]
    )


def fitted(samples, tiny, **options):
    decoder = skfmri.SlabCNNClassifier(**{**tiny, "random_state": 0, "epochs": 1, **options})
    return make_pipeline(skfmri.VoxelZScorer(None, None), decoder).fit(samples, samples.y)


@pytest.fixture(scope="module")
def chain(tiny, tmp_path_factory):
    """Paths of three models, of which each started from the one before, with their samples."""
    folder, source, found = tmp_path_factory.mktemp("chain"), None, []
    for seed in range(3):
        samples = volumes(seed)
        frozen = () if source is None else ("block1_norm",)
        path = folder / f"{seed}.skfmri"
        save(fitted(samples, tiny, initial_weights=source, frozen=frozen), path, samples=samples)
        found.append((path, samples))
        source = load(path)
    return found


def test_a_loaded_model_predicts_and_is_fitted_again_as_before(chain, tiny):
    (first, _), (path, samples), _ = chain
    model = fitted(samples, tiny, initial_weights=load(first), frozen=("block1_norm",))
    again = load(path)
    expected = model.predict_proba(samples)
    np.testing.assert_array_equal(again.predict_proba(samples), expected)
    np.testing.assert_array_equal(again.fit(samples, samples.y).predict_proba(samples), expected)
    assert weights_digest(again[-1].initial_weights) == weights_digest(load(first))


def test_a_file_holds_the_network_it_started_from_and_no_more(chain):
    with zipfile.ZipFile(chain[2][0]) as file:
        step = json.loads(file.read("model.json"))["parameters"]["steps"][1]
        n_arrays = sum(name.startswith("arrays/") for name in file.namelist())
    ((_, network),) = [("", part["estimator"]) for part in step["tuple"][1:]]
    source = network["parameters"]["initial_weights"]["estimator"]
    assert source["class"] == "SlabCNNClassifier"
    assert source["parameters"]["initial_weights"] is None
    assert n_arrays < 3 * len(load(chain[0][0])[-1]._members[0])


def test_volumes_of_all_fits_are_known(chain):
    path = chain[2][0]
    for _, samples in chain:
        assert find_training_volumes(path, samples).all()
    assert not find_training_volumes(path, volumes(7)).any()
    assert not find_training_volumes(chain[0][0], chain[1][1]).any()
    known = trained_on(load(path)[-1])
    assert (len(known.volumes), len(known.earlier), known.is_complete) == (6, 12, True)
    # A fit of the loaded model starts from the second one, and so has not seen the third samples.
    assert len(trained_on(load(path)[-1].initial_weights).digests) == 12


def test_record_and_card_say_where_weights_come_from(chain):
    fits = training_record(chain[2][0])["initial_weights"]
    assert [fit["frozen"] for fit in fits] == [["block1_norm"], []]
    assert [fit["samples"]["n_volumes"] for fit in fits] == [6, 6]
    card = model_card(chain[2][0])
    assert card.count("SlabCNNClassifier, trained on 6 volumes in 3 groups") == 2
    assert "layers that were not trained further: block1\\_norm" in card
    assert "initial_weights=SlabCNNClassifier(...)" in card
    assert training_record(chain[0][0])["initial_weights"] == []
    assert "Started from" not in model_card(chain[0][0])


def test_a_loaded_model_that_is_saved_again_keeps_what_is_known(chain, tmp_path):
    save(load(chain[2][0]), tmp_path / "again.skfmri")
    assert training_record(tmp_path / "again.skfmri") == training_record(chain[2][0])
    for _, samples in chain:
        assert find_training_volumes(tmp_path / "again.skfmri", samples).all()


def test_a_fit_in_between_that_nobody_recorded_is_told(chain, tiny, tmp_path):
    samples, path = volumes(5), tmp_path / "model.skfmri"
    between = fitted(samples, tiny, initial_weights=load(chain[0][0]))
    save(fitted(volumes(6), tiny, initial_weights=between), path)
    with pytest.warns(UserWarning, match="volumes of 2 of 3 fits that led to its weights"):
        assert find_training_volumes(path, chain[0][1]).all()
    assert model_card(path).count("trained on unknown volumes") == 1
    save(between, path)
    assert not trained_on(load(path)[-1]).is_complete


def test_a_network_of_the_user_may_be_the_source(tmp_path):
    samples, path = volumes(0), tmp_path / "model.skfmri"
    X = np.asarray(samples)
    source = Narrow(random_state=0).fit(X, samples.y)
    save(Started(source).fit(X, samples.y), path)
    with pytest.raises(ValueError, match=r"classes=\[Started\]"):
        load(path)
    again = load(path, classes=[Narrow, Started])
    assert weights_digest(again.initial_weights) == weights_digest(source)


def test_an_altered_file_cannot_name_another_kind_of_source(chain, tmp_path):
    manifest, members = archive.read_archive(chain[1][0])
    content = json.loads(members["model.json"])
    network = content["parameters"]["steps"][1]["tuple"][1]["estimator"]
    scorer = content["parameters"]["steps"][0]["tuple"][1]
    network["parameters"]["initial_weights"] = scorer
    members["model.json"] = archive.to_json(content)
    about = {name: manifest[name] for name in ("skfmri", "versions")}
    archive.write_archive(tmp_path / "altered.skfmri", members, about)
    with pytest.raises(ValueError, match="to a VoxelZScorer, which is not a network"):
        load(tmp_path / "altered.skfmri")


@pytest.mark.parametrize(
    ("fits", "message"),
    [
        ({}, r"initial_weights is \{\}"),
        ([{"class": "x", "frozen": []}], r"no initial_weights\.0\.samples"),
        ([{"class": "x", "frozen": [], "samples": {"n_volumes": 1}}], r"0\.samples\.n_groups"),
    ],
)
def test_an_altered_record_is_refused_with_its_place(chain, fits, message, tmp_path):
    manifest, members = archive.read_archive(chain[1][0])
    record = json.loads(members["training.json"]) | {"initial_weights": fits}
    members["training.json"] = archive.to_json(record)
    about = {name: manifest[name] for name in ("skfmri", "versions")}
    archive.write_archive(tmp_path / "altered.skfmri", members, about)
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "altered.skfmri")


def test_digests_of_earlier_fits_must_be_digests(chain, tmp_path):
    manifest, members = archive.read_archive(chain[1][0])
    members["initial_volumes.npy"] = array_to_bytes(np.zeros((3, 4)))
    about = {name: manifest[name] for name in ("skfmri", "versions")}
    archive.write_archive(tmp_path / "altered.skfmri", members, about)
    with pytest.raises(ValueError, match=r"initial_volumes\.npy cannot be read"):
        load(tmp_path / "altered.skfmri")


class Started(Narrow):
    """Starts from another decoder."""

    def __init__(self, initial_weights=None):
        super().__init__()
        self.initial_weights = initial_weights


def test_a_model_saved_again_with_other_samples_keeps_the_volumes_that_its_file_named(
    chain, tmp_path
):
    path, samples = chain[0]
    save(load(path), tmp_path / "again.skfmri", samples=samples[:2])
    assert find_training_volumes(tmp_path / "again.skfmri", samples).all()


def test_a_source_that_was_changed_after_the_fit_is_not_saved_as_the_one_before(
    chain, tiny, tmp_path
):
    (path, _), (_, samples), (_, others) = chain
    replaced, refitted = (fitted(samples, tiny, initial_weights=load(path)) for _ in range(2))
    replaced[-1].initial_weights = load(chain[2][0])
    refitted[-1].initial_weights.fit(others, others.y)
    for model in (replaced, refitted):
        with pytest.raises(ValueError, match=r"were replaced or fitted again.*Fit it again first"):
            save(model, tmp_path / "model.skfmri", samples=samples)
    save(replaced.fit(samples, samples.y), tmp_path / "model.skfmri", samples=samples)
