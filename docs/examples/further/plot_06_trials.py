"""
Trials of a rapid event-related study
=====================================

If trials follow each other every few seconds, each volume shows several of them, and no label fits
it. Here, a study with known patterns is decoded per volume and per trial.
"""

# %%
# Four runs of 160 volumes, each of which takes 2 s. A trial of one of two classes comes every 2 to
# 6 s, in random order. Each class has a pattern in a small region, which the haemodynamic response
# spreads over time; slow drift and noise are added.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from nilearn.glm.first_level import compute_regressor

from skfmri import (
    DecodingPipeline,
    NiftiSamples,
    NiftiSlabRotator,
    VoxelZScorer,
    average_blocks,
    clean_runs,
    estimate_trials,
    evaluate_decoder,
)
from skfmri.evaluation import linear_baseline

N_RUNS, N_VOLUMES, T_R, GRID = 4, 160, 2.0, (12, 14, 8)
AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
rng = np.random.default_rng(0)
region = np.zeros(GRID, bool)
region[3:8, 4:9, 2:6] = True
patterns = {name: rng.normal(size=GRID) * region for name in ("face", "house")}
times = T_R * np.arange(N_VOLUMES)


def simulate_run(run):
    """Return volumes of one run, and a table of its events."""
    onsets = 4 + np.cumsum(rng.uniform(2, 6, 70))
    names = rng.permutation(["face", "house"] * 35)
    events = pd.DataFrame({"run": run, "onset": onsets, "duration": 1.0, "trial_type": names})
    drift = rng.normal(size=GRID) * np.linspace(-1, 1, N_VOLUMES)[:, None, None, None]
    volumes = 100 + 10 * drift + rng.normal(0, 4, size=(N_VOLUMES, *GRID))
    for name, of_class in events.groupby("trial_type"):
        condition = of_class[["onset", "duration"]].assign(amplitude=1.0).to_numpy().T
        response, _ = compute_regressor(condition, "glover", times)
        volumes += 3 * response[:, 0, None, None, None] * patterns[name]
    return volumes, events


runs, tables = zip(*map(simulate_run, range(N_RUNS)), strict=True)
events = pd.concat(tables)
samples = NiftiSamples.from_array(
    np.concatenate(runs).astype("float32"), AFFINE, runs=np.repeat(range(N_RUNS), N_VOLUMES)
)

# %%
# The responses to the first trials of a run overlap: every volume shows several of them.

figure, axes = plt.subplots(figsize=(7, 2.6), layout="constrained")
for trial in tables[0][:9].itertuples():
    condition = np.array([[trial.onset], [trial.duration], [1.0]])
    response, _ = compute_regressor(condition, "glover", times)
    axes.plot(times, response, color="C0" if trial.trial_type == "face" else "C1")
    axes.axvline(trial.onset, ymax=0.06, color="0.3")
axes.set(xlim=(0, 60), xlabel="Time (s)", ylabel="Expected response")
axes.set_title("First nine trials: face (blue), house (orange)", fontsize="medium")

# %%
# Three kinds of samples come from the same runs, which are cleaned first. Volumes get the label of
# the trial that began about 5 s before. Means average the volumes of one trial. For each trial,
# :func:`~skfmri.estimate_trials` fits a model with one regressor for the trial and one for all
# others. It cleans the regressors as the runs were cleaned, so it needs only the events.

cleaned = clean_runs(samples, standardize=False, high_pass=0.01, t_r=T_R)
trials = estimate_trials(cleaned, events)

labels, trial_of = [], []
for table in tables:
    shown = np.searchsorted(table["onset"], times - 5, side="right") - 1
    is_late = times - 5 - table["onset"].to_numpy()[shown] > 3
    trial_of.append(np.where((shown < 0) | is_late, -1, shown))
    labels.append(np.where(trial_of[-1] < 0, "", table["trial_type"].to_numpy()[shown]))
cleaned.y = np.concatenate(labels)
kinds = {
    "volumes": cleaned[cleaned.y != ""],
    "means": average_blocks(cleaned, np.concatenate(trial_of)),
    "trials": trials,
}

# %%
# The runs are the groups, so one run is held out at a time. Estimates of one run share its noise;
# :func:`~skfmri.audit_leakage` finds a split that puts them on both sides.

steps = [
    ("slab", NiftiSlabRotator(angle=0, slab=(2, 6))),
    ("zscore", VoxelZScorer(std_threshold="auto", mean_threshold=None)),
]
decoder = linear_baseline(DecodingPipeline([*steps, ("cnn", None)]))
results = {
    name: evaluate_decoder(decoder, of_kind, baseline=None, random_state=0).summary.iloc[0]
    for name, of_kind in kinds.items()
}
table = pd.DataFrame(results).T[["score", "low", "high"]].astype(float)
table["samples"] = [len(of_kind) for of_kind in kinds.values()]
table.round(2)

# %%
figure, axes = plt.subplots(figsize=(4.5, 3), layout="constrained")
spread = [table["score"] - table["low"], table["high"] - table["score"]]
axes.bar(table.index, table["score"], yerr=spread, capsize=4, color="0.7")
axes.axhline(0.5, color="0.3", linestyle=":")
axes.set(ylabel="Accuracy, held-out runs", ylim=(0.4, 1))

assert table.loc["trials", "score"] > table.loc["volumes", "score"] + 0.03
assert abs(table.loc["trials", "score"] - table.loc["means", "score"]) < 0.05

# %%
# Trials are easier to decode than volumes. Here, means come close to them, because the noise of one
# volume is independent of that of the next. They mix neighbouring trials, though, and the more so
# the faster these follow each other.
#
# The estimates are also close to the truth: the mean difference of the two classes, voxel by voxel,
# resembles the difference of the patterns.

values = np.asarray(trials)
found = values[trials.y == "face"].mean(axis=0) - values[trials.y == "house"].mean(axis=0)
expected = patterns["face"] - patterns["house"]
correlation = np.corrcoef(found[region], expected[region])[0, 1]
print(f"correlation of found and true difference: {correlation:.2f}")

assert correlation > 0.9
