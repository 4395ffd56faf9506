"""Mistakes that a type checker finds, each with the code of its error."""

from pathlib import Path

import numpy as np

from skfmri import (
    DecodingPipeline,
    DecodingResult,
    MultiscaleRidgeClassifier,
    NiftiSamples,
    NiftiSlabRotator,
    RepeatedGroupKFold,
    SlabCNNClassifier,
    VoxelZScorer,
    audit_leakage,
    average_blocks,
    center_groups,
    clean_runs,
    estimate_trials,
    evaluate_decoder,
    load,
    save,
)
from skfmri.datasets import load_bids_samples, make_eyes_open_closed
from skfmri.inspection import saliency
from skfmri.plotting import plot_map
from skfmri.statistics import bootstrap_interval


def make_mistakes(samples: NiftiSamples, network: SlabCNNClassifier) -> None:
    NiftiSamples("bold.nii.gz", groups="run")  # error: arg-type
    NiftiSamples(np.zeros((9, 4, 4, 4)))  # error: arg-type
    NiftiSamples("bold.nii.gz", labels=[1, 2])  # error: call-arg
    NiftiSamples.from_array(np.zeros((9, 4, 4, 4)))  # error: call-arg
    print(samples["face"])  # error: call-overload
    samples.groups = None  # error: assignment
    print(samples.label)  # error: attr-defined
    print(samples[0].y)  # error: attr-defined
    clean_runs(samples, t_r="2.5")  # error: arg-type
    average_blocks(samples, "block")  # error: arg-type
    center_groups(samples, by="subject")  # error: arg-type
    estimate_trials(samples, ["events.tsv"], method="glm")  # error: arg-type
    load_bids_samples("study")  # error: call-arg
    load_bids_samples("study", task="faces", groups="chunk")  # error: arg-type
    make_eyes_open_closed(n_subjects="all")  # error: arg-type
    NiftiSlabRotator(axis="w")  # error: arg-type
    NiftiSlabRotator(slab=3)  # error: arg-type
    NiftiSlabRotator(slice=(12, 15))  # error: call-arg
    NiftiSlabRotator().fit(np.zeros((9, 4, 4, 4)))  # error: arg-type
    VoxelZScorer(std_threshold="automatic")  # error: arg-type
    VoxelZScorer().transform("bold.nii.gz")  # error: arg-type
    SlabCNNClassifier(filters="many")  # error: arg-type
    SlabCNNClassifier(pool_size=2)  # error: call-arg
    SlabCNNClassifier(initial_weights="model.skfmri")  # error: arg-type
    SlabCNNClassifier(frozen=3)  # error: arg-type
    SlabCNNClassifier(linear_path="single")  # error: arg-type
    network.fit(samples)  # error: call-arg
    network.predict(Path("bold.nii.gz"))  # error: arg-type
    MultiscaleRidgeClassifier(scales=2)  # error: arg-type
    DecodingPipeline("svm")  # error: arg-type
    RepeatedGroupKFold(n_repeats="ten")  # error: arg-type
    evaluate_decoder("svm", samples)  # error: arg-type
    evaluate_decoder(network, samples, cv="loo")  # error: arg-type
    evaluate_decoder(network, samples, permutation="all")  # error: arg-type
    print(evaluate_decoder(network, samples).accuracy)  # error: attr-defined
    audit_leakage(network, samples, groups="run")  # error: arg-type
    saliency(network, "bold.nii.gz")  # error: arg-type
    plot_map(samples)  # error: arg-type
    bootstrap_interval(0.5)  # error: arg-type
    save(network)  # error: call-arg
    save(network, "model.skfmri", result=0.8)  # error: arg-type
    load(3)  # error: arg-type


def read_mistakes(result: DecodingResult) -> float:
    result.confusion(normalize="row")  # error: arg-type
    print(result.permutation_test.pvalue)  # error: union-attr
    return result.sentences()  # error: return-value
