"""
A custom network
================

Write a function that returns a Keras model, and a short class that refers to it. The class is then
a classifier like those of skfmri.
"""

# %%
# The function takes the shape of one sample and the number of classes, followed by its settings as
# keyword arguments. This is a residual network: each block adds the output of two convolutions to
# their input, so a block can also pass its input through unchanged.

import keras
from keras import layers
from sklearn.model_selection import GridSearchCV, GroupShuffleSplit
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC

from skfmri import (
    DecodingPipeline,
    NiftiSamples,
    NiftiSlabRotator,
    RepeatedGroupKFold,
    SlabCNNClassifier,
    VoxelZScorer,
    evaluate_decoder,
)
from skfmri.datasets import make_eyes_open_closed
from skfmri.evaluation import linear_baseline
from skfmri.inspection import saliency_image
from skfmri.plotting import plot_map


def residual_network(input_shape, n_classes, *, width=8, n_blocks=2, dropout=0.5):
    """Return blocks of two convolutions whose output is added to their input."""
    inputs = keras.Input(input_shape)
    x = layers.Conv2D(width, 3, padding="same", activation="relu", name="first")(inputs)
    for number in range(1, n_blocks + 1):
        y = layers.Conv2D(width, 3, padding="same", activation="relu", name=f"a{number}")(x)
        y = layers.Conv2D(width, 3, padding="same", name=f"b{number}")(y)
        x = layers.Activation("relu", name=f"sum{number}")(layers.Add()([x, y]))
        x = layers.MaxPooling2D(name=f"pooling{number}")(x)
    x = layers.Dropout(dropout)(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(n_classes, "softmax", name="probabilities")(x))


class ResidualClassifier(SlabCNNClassifier):
    """Classify slabs with a residual network."""

    network_function = staticmethod(residual_network)

    def __init__(
        self, width=8, n_blocks=2, dropout=0.5, epochs=20, patience=None, random_state=None
    ):
        super().__init__(
            n_blocks=n_blocks,
            dropout=dropout,
            epochs=epochs,
            patience=patience,
            random_state=random_state,
        )
        self.width = width


# %%
# Every parameter that the class shares with its function is passed to the function. The others,
# such as `epochs`, control training.

network = ResidualClassifier(width=4).build_network((40, 56, 3), n_classes=2)
print(f"{network.count_params():,} parameters")

assert network.get_layer("first").filters == 4

# %%
# It can replace the built-in classifiers
# ---------------------------------------
# In a pipeline with validation groups, it stops early. We compare it with a logistic regression and
# a support vector machine on the same slabs and folds: any scikit-learn classifier can be the last
# step.

data = make_eyes_open_closed(n_subjects=24, random_state=0)
samples = NiftiSamples(data.images, y=data.labels, groups=data.chunks)
pipe = DecodingPipeline(
    [
        ("slab", NiftiSlabRotator(angle=0.35, slab=(12, 15))),
        ("zscore", VoxelZScorer()),
        ("cnn", ResidualClassifier(patience=8)),
    ],
    validation=GroupShuffleSplit(1, test_size=1, random_state=0),
)
linear = linear_baseline(pipe)
svm = Pipeline([*linear.steps[:-1], ("svm", SVC(kernel="linear"))])
cv = RepeatedGroupKFold(n_splits=3, n_repeats=1, random_state=0)
result = evaluate_decoder(
    pipe, samples, cv=cv, baseline={"linear": linear, "linear SVM": svm}, random_state=0
)
print(result)

# %%

scores = result.summary[result.summary["metric"] == "accuracy"].set_index("model")["score"]
assert 0.65 < scores["decoder"] < 0.97
assert 0.75 < scores["linear"] < 0.97

# %%
# Search over its settings
# ------------------------
# `width` is a parameter like any other.

plain = Pipeline([*pipe.steps[:-1], ("cnn", ResidualClassifier(epochs=12, random_state=0))])
search = GridSearchCV(
    plain,
    {"cnn__width": [2, 8]},
    cv=RepeatedGroupKFold(n_splits=2, n_repeats=1, random_state=0),
)
search.fit(samples, samples.y)
for width, score in zip((2, 8), search.cv_results_["mean_test_score"], strict=True):
    print(f"width {width}: {score:.2f}")

assert search.best_estimator_["cnn"].model_.get_layer("first").filters in (2, 8)
assert 0.6 < search.best_score_ < 0.98

# %%
# Look inside
# -----------
# Maps and activations require only the softmax at the end.

image = saliency_image(search.best_estimator_, samples[::6], "open", method="gradient")
plot_map(image, samples, cut_coords=(30, 56, -39), title="gradient of 'open', residual network")

# %%
# :doc:`/bring_your_own_network` has the rules for custom networks, and the reasons for them.
