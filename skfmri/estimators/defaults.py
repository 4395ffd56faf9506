"""Default settings of the estimators."""

from types import SimpleNamespace

_BOTH = {
    "kernel_size": 3,
    "n_blocks": 3,
    "dropout": 0.5,
    "batch_norm_momentum": 0.99,
    "linear_path": None,
    "n_members": 1,
    "initial_weights": None,
    "frozen": (),
    "optimizer": "adam",
    "learning_rate": 0.001,
    "loss": "sparse_categorical_crossentropy",
    "epochs": 125,
    "patience": None,
    "batch_size": 32,
    "class_weight": None,
    "callbacks": None,
    "random_state": None,
    "verbose": 0,
}

# Every parameter of SlabCNNClassifier: the network of the workshop notebook.
SLAB_CNN = SimpleNamespace(**_BOTH, filters=32, padding="valid", dense_units=(1024, 256, 64))

# Every parameter of VolumeCNNClassifier: a third axis multiplies voxels, so layers are narrower.
VOLUME_CNN = SimpleNamespace(
    **_BOTH,
    filters=16,
    pool_size=2,
    strides=1,
    padding="same",
    dense_units=(256, 64),
    dense_batch_norm=True,
)


def _of_regressor(classifier):
    settings = {k: v for k, v in vars(classifier).items() if k != "class_weight"}
    return SimpleNamespace(**settings | {"loss": "mean_squared_error"})


# Every parameter of SlabCNNRegressor and VolumeCNNRegressor: the same networks.
SLAB_CNN_REGRESSOR = _of_regressor(SLAB_CNN)
VOLUME_CNN_REGRESSOR = _of_regressor(VOLUME_CNN)

# The value of `linear_path` that stands for the ridge.
MULTISCALE = "multiscale"
# Every parameter of MultiscaleRidgeClassifier and MultiscaleRidgeRegressor.
MULTISCALE_RIDGE = SimpleNamespace(
    scales=(0, 0.5, 1),
    alphas=(0.001, 0.01, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000),
)

# A decoder that is trained on fewer samples is set up for small samples, unless the user decides.
SMALL_SAMPLE_LIMIT = 1000

# What `for_small_samples` sets instead, in any class; measured by benchmarks/accuracy.py.
SMALL_SAMPLE = {
    "filters": 16,
    "n_blocks": 2,
    "dense_units": (64,),
    "batch_norm_momentum": 0.9,
    "linear_path": MULTISCALE,
    "learning_rate": 0.003,
    "epochs": 30,
}
