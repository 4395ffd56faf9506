"""A table of labels, four images, a network with its scores: what most users write."""

import pandas as pd
from sklearn.model_selection import GridSearchCV, GroupShuffleSplit, cross_val_score

from skfmri import (
    DecodingPipeline,
    DecodingResult,
    NiftiSamples,
    NiftiSlabRotator,
    RepeatedGroupKFold,
    SlabCNNClassifier,
    SlabCNNRegressor,
    VolumeCNNClassifier,
    VoxelZScorer,
    audit_leakage,
    clean_runs,
    evaluate_decoder,
    load,
    save,
)
from skfmri.inspection import saliency_image
from skfmri.plotting import plot_confusion, plot_map, plot_slab
from skfmri.report import write_report


def read_samples(folder: str) -> NiftiSamples:
    table = pd.read_csv(f"{folder}/labels.csv")
    paths = [f"{folder}/run-{number}_bold.nii.gz" for number in range(1, 5)]
    samples = NiftiSamples(paths, y=table["label"], groups=table["run"])
    return clean_runs(samples, high_pass=0.01, t_r=2.5)


def make_pipeline() -> DecodingPipeline:
    return DecodingPipeline(
        [
            ("slab", NiftiSlabRotator(angle="20deg", slab=(12, 15))),
            ("zscore", VoxelZScorer(mean_threshold=None)),
            ("cnn", SlabCNNClassifier(filters=[16, 32], dense_units=(64,), n_blocks=2)),
        ],
        validation=GroupShuffleSplit(1, test_size=0.2, random_state=0),
    )


def accuracies(result: DecodingResult) -> list[float]:
    return list(result.folds.query("model == 'decoder'")["accuracy"])


samples = read_samples("study")
samples = samples[samples.y != "rest"]
pipe = make_pipeline()
cv = RepeatedGroupKFold(4, n_repeats=2, random_state=0)
assert audit_leakage(pipe, samples, cv=cv).ok
print(cross_val_score(pipe, samples, samples.y, groups=samples.groups, cv=cv).mean())
search = GridSearchCV(pipe, {"cnn__dropout": [0.25, 0.5]}, cv=cv).fit(samples, samples.y)
result = evaluate_decoder(pipe, samples, cv=cv, ledger="folds.jsonl", random_state=0)
print(accuracies(result), *result.sentences(), sep="\n")
if result.permutation_test is not None:
    print(round(result.permutation_test.pvalue, 4))
save(pipe.fit(samples, samples.y), "model.skfmri", samples=samples, result=result)

decoder = load("model.skfmri")
fine_tuned = SlabCNNClassifier(initial_weights=pipe, frozen=("block1_convolution", "block1_norm"))
VolumeCNNClassifier(initial_weights=fine_tuned, frozen=["dense1"])
SlabCNNClassifier(linear_path="multiscale")
SlabCNNRegressor(linear_path=0.1)
print(decoder.predict(NiftiSamples("new.nii.gz")))
plot_slab(decoder["slab"], samples, cut_coords=(30, 50, -35))
axes = plot_map(saliency_image(decoder, samples), samples, title="saliency")
axes.set_title("what decides")
plot_confusion(result.predictions, normalize=None)
print(write_report("results", anatomy="T1.nii.gz").name)
