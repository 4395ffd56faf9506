"""Write the frozen linear baseline that every later version must read; run once, by 0.1.0.

One of its steps is a function that 0.1.0 stored by a private name.
"""

from pathlib import Path

import numpy as np

import skfmri
from skfmri.evaluation import linear_baseline

HERE = Path(__file__).parent
AFFINE = np.array([[-3.0, 0, 0, 12], [0, 3, 0, -13], [0, 0, 3, -15], [0, 0, 0, 1]])


def main():
    rng = np.random.default_rng(0)
    labels = np.array(["face", "house"])[np.arange(16) % 2]
    volumes = rng.integers(80, 120, size=(16, 9, 10, 11)).astype(np.float32)
    volumes[labels == "face", 2:5, 3:6, 2:9] += 25
    groups = np.repeat(["run 1", "run 2"], 8)
    samples = skfmri.NiftiSamples.from_array(volumes, AFFINE, y=labels, groups=groups)
    pipeline = skfmri.DecodingPipeline(
        [
            ("slab", skfmri.NiftiSlabRotator(0.1, slab=(2, 5))),
            ("zscore", skfmri.VoxelZScorer()),
            ("cnn", skfmri.SlabCNNClassifier()),
        ]
    )
    baseline = linear_baseline(pipeline).fit(samples, samples.y)
    skfmri.save(baseline, HERE / "baseline_v1.skfmri", samples=samples)
    np.savez_compressed(
        HERE / "baseline_v1.npz",
        volumes=volumes[:4].astype(np.uint8),
        affine=AFFINE,
        probabilities=baseline.predict_proba(samples[:4]),
    )


if __name__ == "__main__":
    main()
