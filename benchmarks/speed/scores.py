"""Rows E, F and I: from a file or slabs to grouped scores."""

import os
import time

import numpy as np
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from training import flat_network, torch_network
from work import ANGLE, SLAB, rotation

N_EPOCHS = 30
SEARCHED = {"filters": [16, 32, 64], "dropout": [0.3, 0.5, 0.7]}


def _pipeline(**options):
    from skfmri import NiftiSlabRotator, SlabCNNClassifier, VoxelZScorer

    rotator = NiftiSlabRotator(angle=ANGLE, slab=SLAB)
    return make_pipeline(rotator, VoxelZScorer(), SlabCNNClassifier(random_state=0, **options))


def _scores(work, estimator, X, **options):
    options |= {"groups": work.groups, "cv": GroupKFold(work.n_groups)}
    return cross_val_score(estimator, X, work.labels, error_score="raise", **options)


def scores_skfmri(work):
    from skfmri import NiftiSamples

    pipeline = _pipeline(epochs=work.epochs(N_EPOCHS))
    return {"score": float(_scores(work, pipeline, NiftiSamples(work.volumes)).mean())}


def scores_stock(work):
    """Do the same with nilearn in a transformer, StandardScaler and scikeras' KerasClassifier."""
    import nibabel
    from nilearn.image import crop_img, resample_img
    from scikeras.wrappers import KerasClassifier
    from sklearn.base import BaseEstimator, TransformerMixin
    from sklearn.preprocessing import StandardScaler

    func = nibabel.load(work.volumes)

    class Slab(TransformerMixin, BaseEstimator):
        """Rotate with nilearn; learn the crop from the training volumes."""

        def fit(self, X, y=None):
            self.fit_transform(X)
            return self

        def fit_transform(self, X, y=None):
            rotated = self._rotate(X)
            self.box_ = crop_img(rotated, return_offset=True)[1]
            return self._cut(rotated)

        def transform(self, X):
            return self._cut(self._rotate(X))

        def _rotate(self, X):
            image = nibabel.Nifti1Image(np.moveaxis(X, 0, -1), rotation() @ func.affine)
            return resample_img(image, target_affine=func.affine, interpolation="continuous")

        def _cut(self, rotated):
            data = np.asarray(rotated.dataobj)[self.box_][:, :, slice(*SLAB)]
            return np.moveaxis(data, -1, 0).reshape(data.shape[-1], -1).astype(np.float32)

    network = KerasClassifier(
        flat_network, epochs=work.epochs(N_EPOCHS), batch_size=32, verbose=0, random_state=0
    )
    volumes = np.moveaxis(func.get_fdata(), -1, 0)
    pipeline = make_pipeline(Slab(), StandardScaler(), network)
    return {"score": float(_scores(work, pipeline, volumes).mean())}


def scores_skorch(work):
    """Train the same network in PyTorch through skorch, on ready-made slabs."""
    import torch
    from sklearn.preprocessing import FunctionTransformer, StandardScaler
    from skorch import NeuralNetClassifier

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = torch_network()

        def forward(self, X):
            X = X.reshape(-1, 40, 56, 3).permute(0, 3, 1, 2)
            return self.network(X)

    network = NeuralNetClassifier(
        Network,
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        optimizer__foreach=True,
        lr=0.001,
        max_epochs=work.epochs(N_EPOCHS),
        batch_size=32,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )
    slabs = work.slabs()
    flatten = FunctionTransformer(lambda X: X.reshape(len(X), -1))
    pipeline = make_pipeline(flatten, StandardScaler(), network)
    return {"score": float(_scores(work, pipeline, slabs).mean())}


def _search(work, network, X):
    grid = {name: values[:1] if work.quick else values for name, values in SEARCHED.items()}
    folds = GroupKFold(work.n_groups)
    search = GridSearchCV(network, grid, cv=folds, error_score="raise", refit=False)
    start = time.perf_counter()
    search.fit(X, work.labels, groups=work.groups)
    return {"seconds": time.perf_counter() - start, "score": float(search.best_score_)}


def search_skfmri(work):
    """Search over filters and dropout; "rest" is the fraction of time not spent in training."""
    from skfmri import SlabCNNClassifier
    from skfmri.networks import training

    trained, train_epoch = [0.0], training.train_epoch

    def timed(*arguments):
        start = time.perf_counter()
        logs = train_epoch(*arguments)
        trained[0] += time.perf_counter() - start
        return logs

    training.train_epoch = timed
    network = SlabCNNClassifier(epochs=work.epochs(10), random_state=0)
    found = _search(work, network, work.slabs())
    return found | {"rest": 1 - trained[0] / found["seconds"]}


def search_scikeras(work):
    from scikeras.wrappers import KerasClassifier

    network = KerasClassifier(
        flat_network,
        filters=32,
        dropout=0.5,
        epochs=work.epochs(10),
        batch_size=32,
        verbose=0,
        random_state=0,
    )
    slabs = work.slabs()
    return _search(work, network, slabs.reshape(len(slabs), -1))


def jobs_one(work):
    return _jobs(work, 1)


def jobs_two(work):
    return _jobs(work, 2)


def _jobs(work, n_jobs):
    """Score folds in workers; count the threads of TensorFlow in all of them together.

    "copies" is how often the file was decoded: each time, a new file replaces the decoded copy.
    """
    from skfmri import NiftiSamples

    pipeline = _pipeline(epochs=work.epochs(N_EPOCHS))
    samples = NiftiSamples(work.volumes)
    decoded = work.folder / f"decoded-{n_jobs}"
    decoded.unlink(missing_ok=True)
    threads = work.folder / f"threads-{n_jobs}"
    threads.unlink(missing_ok=True)

    def scorer(fitted, X, y):
        import tensorflow as tf

        found = tf.config.threading.get_intra_op_parallelism_threads() or os.cpu_count()
        with open(threads, "a") as file:
            file.write(f"{os.getpid()} {found}\n")
        with open(decoded, "a") as file:
            for path in os.scandir(os.environ["SKFMRI_CACHE"]):
                if path.name.endswith(".skfmri-copy"):
                    file.write(f"{path.inode()}\n")
        return fitted.score(X, y)

    score = _scores(work, pipeline, samples, n_jobs=n_jobs, scoring=scorer).mean()
    workers = dict(line.split() for line in threads.read_text().splitlines())
    return {
        "score": float(score),
        "threads": sum(map(int, workers.values())),
        "copies": len(set(decoded.read_text().split())),
    }
