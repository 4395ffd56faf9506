"""
Search over filters and dropout
===============================

`GridSearchCV` reaches every setting of the network by its name, with groups kept whole. How much is
there to gain?
"""

# %%
# Two of six groups are put aside before the search, to score what it finds.

from tempfile import TemporaryDirectory

from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from skfmri import (
    NiftiSamples,
    NiftiSlabRotator,
    RepeatedGroupKFold,
    SlabCNNClassifier,
    VoxelZScorer,
)
from skfmri.datasets import make_eyes_open_closed
from skfmri.plotting import plot_search

data = make_eyes_open_closed(n_subjects=24, random_state=0)
samples = NiftiSamples(data.images, y=data.labels, groups=data.chunks)
train, test = samples[samples.groups < 4], samples[samples.groups >= 4]

# %%
# A small network keeps the search quick. Parameters of a step are written with the name of the step
# before them. With `memory` the pipeline keeps what its first steps made of each training set, so
# that only the network is fitted anew for each setting.

cache = TemporaryDirectory()
cnn = SlabCNNClassifier(
    n_blocks=2, dense_units=(64,), batch_norm_momentum=0.9, epochs=12, random_state=0
)
pipe = Pipeline(
    [
        ("slab", NiftiSlabRotator(angle=0.35, slab=(12, 15))),
        ("zscore", VoxelZScorer()),
        ("cnn", cnn),
    ],
    memory=cache.name,
)
search = GridSearchCV(
    pipe,
    {"cnn__filters": [4, 8, 16], "cnn__dropout": [0.0, 0.25, 0.5]},
    cv=RepeatedGroupKFold(n_splits=2, n_repeats=2, random_state=0),
)
search.fit(train, train.y)
cache.cleanup()
print("best:", search.best_params_)

# %%
# The heat map shows the mean score over folds.

plot_search(search, "cnn__filters", "cnn__dropout")

# %%
# Is the best one better?
# -----------------------
# Nine settings were tried on a few subjects. Their means lie about as close together as the scores
# of one setting in different folds, so the winner owes part of its place to luck, and its score is
# too good to report. The groups that were put aside give an honest one.

means = search.cv_results_["mean_test_score"]
spread = search.cv_results_["std_test_score"].mean()
held_out = search.score(test, test.y)
print(f"means from {means.min():.2f} to {means.max():.2f}, spread over folds {spread:.2f}")
print(f"best setting: {search.best_score_:.2f} in the search, {held_out:.2f} on other groups")

assert 0.7 < search.best_score_ < 0.98
assert 0.65 < held_out < 0.99
assert means.std() < 2 * spread

# %%
# One held-out part is one draw. :func:`~skfmri.evaluate_decoder` takes a search as it takes a
# pipeline: it then searches anew inside each training set, and the score is that of a nested
# cross-validation. :doc:`/evaluation` shows how, and how a long search is resumed.
