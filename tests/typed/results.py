"""Types of results, as a type checker sees them."""

from collections.abc import Iterator
from typing import Any, assert_type

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from nibabel import Nifti1Image
from numpy.typing import NDArray

from skfmri import (
    DecodingPipeline,
    DecodingResult,
    MultiscaleRidgeClassifier,
    NiftiSamples,
    NiftiSlabRotator,
    RepeatedStratifiedGroupKFold,
    SlabCNNClassifier,
    SubjectsResult,
    VolumeCNNClassifier,
    VoxelZScorer,
    average_blocks,
    center_groups,
    clean_runs,
    estimate_trials,
    evaluate_decoder,
    evaluate_subjects,
)
from skfmri.datasets import block_groups, block_labels, fetch_haxby_samples, load_bids_samples
from skfmri.evaluation import LeakageReport, chance_level
from skfmri.inspection import layer_activations, mean_map, saliency, saliency_image
from skfmri.persistence import find_training_volumes, model_card, training_record
from skfmri.plotting import plot_activations, plot_map, plot_voxel_statistics
from skfmri.spatial import rotated_grid, rotation_matrix
from skfmri.statistics import (
    Interval,
    PermutationTest,
    TTestResult,
    bootstrap_interval,
    corrected_resampled_t_test,
    permute_labels,
    sequential_permutation_test,
)


def check_samples(samples: NiftiSamples) -> None:
    assert_type(samples[0], Nifti1Image)
    assert_type(samples[2:], NiftiSamples)
    assert_type(samples[[0, 3]], NiftiSamples)
    assert_type(samples[np.arange(4)], NiftiSamples)
    assert_type(samples[np.isin(samples.y, ["open"])], NiftiSamples)
    assert_type(samples.groups, NDArray[Any])
    assert_type(samples.affine, NDArray[np.float64])
    assert_type(samples.shape, tuple[int, int, int, int])
    assert_type(samples.finite, NDArray[np.bool_])
    assert_type(next(samples.iter_batches(2)), NDArray[np.float32])
    assert_type(clean_runs(samples), NiftiSamples)
    assert_type(average_blocks(samples, samples.runs), NiftiSamples)
    assert_type(estimate_trials(samples, ["events.tsv"], method="lsa"), NiftiSamples)
    assert_type(center_groups(samples, by=samples.subjects), NiftiSamples)
    assert_type(fetch_haxby_samples(1), NiftiSamples)
    assert_type(load_bids_samples("study", task="faces"), NiftiSamples)
    assert_type(NiftiSamples.from_array(np.asarray(samples), samples.affine), NiftiSamples)
    assert_type(block_groups(100, 4), NDArray[np.intp])
    assert_type(block_labels(["open", "closed"], 4, 2), NDArray[Any])
    samples.y = ["open", "closed"]
    samples.y = None
    samples.groups = range(2)


def check_steps(samples: NiftiSamples) -> None:
    rotator = NiftiSlabRotator(slab=None, interpolation="linear").fit(samples)
    assert_type(rotator, NiftiSlabRotator)
    assert_type(rotator.slab_affine_, NDArray[np.float64])
    assert_type(rotator.slab_shape_, tuple[int, int, int])
    slabs = rotator.transform("new.nii.gz")
    assert_type(slabs, NDArray[np.float32])
    assert_type(rotator.inverse_transform(slabs), Nifti1Image)
    zscorer = VoxelZScorer(std_threshold="auto").fit(slabs)
    assert_type(zscorer.mask_, NDArray[np.bool_])
    assert_type(zscorer.transform(slabs), NDArray[Any])
    network = SlabCNNClassifier.for_small_samples(epochs=4).fit(slabs, samples.y)
    assert_type(network, SlabCNNClassifier)
    assert_type(network.history_, dict[str, list[float]])
    assert_type(network.predict_proba(slabs), NDArray[np.float32])
    assert_type(VolumeCNNClassifier(pool_size=(2, 2, 1)).score(slabs, samples.y), float)
    ridge = MultiscaleRidgeClassifier(scales=[0, 1]).fit(slabs, samples.y)
    assert_type(ridge.coef_, NDArray[np.float64])
    pipeline = DecodingPipeline([("zscore", zscorer), ("cnn", network)])
    assert_type(pipeline.fit(slabs, samples.y, groups=samples.groups), DecodingPipeline)
    splits = RepeatedStratifiedGroupKFold(2).split(slabs, samples.y, samples.groups)
    assert_type(splits, Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]])


def check_evaluation(samples: NiftiSamples, report: LeakageReport) -> None:
    ridge = MultiscaleRidgeClassifier()
    result = evaluate_decoder(ridge, samples, cv=RepeatedStratifiedGroupKFold(2), baseline=None)
    assert_type(result, DecodingResult)
    assert_type(result.permutation_test, PermutationTest | None)
    assert_type(result.sentences(), list[str])
    of_subjects = evaluate_subjects(ridge, samples, subjects=samples.groups)
    assert_type(of_subjects, SubjectsResult)
    assert_type(of_subjects.results["sub-01"], DecodingResult)
    assert_type(report.ok, bool)
    assert_type(report.findings[0].message, str)
    assert_type(chance_level(samples.y), float)
    assert_type(bootstrap_interval([0.5, 0.7]), Interval)
    assert_type(bootstrap_interval([0.5, 0.7]).low, float)
    assert_type(corrected_resampled_t_test([0.1, 0.2], 80, [20, 21]), TTestResult)
    assert_type(permute_labels(samples.y, samples.groups, random_state=0), NDArray[Any])
    assert_type(sequential_permutation_test(0.8, iter([0.5, 0.6])), PermutationTest)


def check_pictures(samples: NiftiSamples, network: SlabCNNClassifier, path: str) -> None:
    activations = layer_activations(network, samples, 0)
    assert_type(activations, NDArray[np.float32])
    assert_type(plot_activations(activations[0]), Figure)
    assert_type(saliency(network, samples, method="smoothgrad"), NDArray[np.float32])
    image = saliency_image([network, network], samples)
    assert_type(image, Nifti1Image)
    assert_type(plot_map(image, "T1.nii.gz"), Axes)
    assert_type(plot_voxel_statistics(samples), Figure)
    assert_type(mean_map([activations]), NDArray[np.float32])
    assert_type(find_training_volumes(path, samples), NDArray[np.bool_])
    assert_type(model_card(path), str)
    assert_type(training_record(path), dict[str, Any])
    grid = rotated_grid(samples.grid_shape, samples.affine, rotation_matrix(0.35, "x"))
    assert_type(grid, tuple[NDArray[np.float64], tuple[int, int, int]])
