"""
Search over filters and dropout
===============================

`GridSearchCV` can search every network setting by name, with groups kept together. How much is
there to gain?
"""

# %%
# Two of six groups are set aside before the search, to score its best setting.

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
# A small network keeps the search quick. Prefix the parameters of a step with the name of that
# step. With `memory`, the pipeline caches the output of its first steps for each training set, so
# only the network is refitted for each setting.

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
# The heat map shows mean scores over folds.

plot_search(search, "cnn__filters", "cnn__dropout")

# %%
# Is the best setting really better?
# ----------------------------------
# We tried nine settings on a few subjects. Their means are about as close together as the scores of
# one setting in different folds. So the winner is partly lucky, and its score is optimistically
# biased. The groups that were set aside give an unbiased score.

means = search.cv_results_["mean_test_score"]
spread = search.cv_results_["std_test_score"].mean()
held_out = search.score(test, test.y)
print(f"means from {means.min():.2f} to {means.max():.2f}, spread over folds {spread:.2f}")
print(f"best setting: {search.best_score_:.2f} in the search, {held_out:.2f} on other groups")

assert 0.7 < search.best_score_ < 0.98
assert 0.65 < held_out < 0.99
assert means.std() < 2 * spread

# %%
# One held-out part is one draw. :func:`~skfmri.evaluate_decoder` accepts a search like a pipeline.
# It then repeats the search inside each training set, and the score is that of a nested
# cross-validation. :doc:`/evaluation` shows how, and how to resume a long search.
