"""Write the frozen model that every later version must read; to be run once per format version.

Never run it again for a format version that is released: files of users cannot be made anew either.
"""

from pathlib import Path

import keras
import numpy as np
from sklearn.model_selection import GroupShuffleSplit

import skfmri

HERE = Path(__file__).parent
AFFINE = np.array([[-3.0, 0, 0, 12], [0, 3, 0, -13], [0, 0, 3, -15], [0, 0, 0, 1]])


def main():
    rng = np.random.default_rng(0)
    labels = np.array(["cat", "face", "house"])[np.arange(24) % 3]
    volumes = rng.integers(80, 120, size=(24, 9, 10, 11)).astype(np.float32)
    volumes[labels == "face", 2:5, 3:6, 2:9] += 25
    volumes[labels == "house", 5:8, 5:8, 2:9] += 25
    groups = np.repeat(["sub-1", "sub-2", "sub-3", "sub-4"], 6)
    samples = skfmri.NiftiSamples.from_array(volumes, AFFINE, y=labels, groups=groups)
    network = skfmri.SlabCNNClassifier(
        filters=2,
        n_blocks=1,
        dense_units=(4,),
        linear_path=1.0,
        optimizer=keras.optimizers.SGD(0.05, momentum=0.9),
        class_weight={"cat": 1.0, "face": 1.0, "house": 1.5},
        batch_size=8,
        epochs=4,
        patience=2,
        random_state=0,
    )
    pipeline = skfmri.DecodingPipeline(
        [
            ("slab", skfmri.NiftiSlabRotator(0.1, slab=(2, 5))),
            ("zscore", skfmri.VoxelZScorer()),
            ("cnn", network),
        ],
        validation=GroupShuffleSplit(1, test_size=1, random_state=0),
        refit=True,
    )
    result = skfmri.evaluate_decoder(pipeline, samples, random_state=0)
    pipeline.fit(samples, samples.y)
    skfmri.save(pipeline, HERE / "model_v1.skfmri", samples=samples, result=result)
    np.savez_compressed(
        HERE / "model_v1.npz",
        volumes=volumes[:6].astype(np.uint8),
        affine=AFFINE,
        probabilities=pipeline.predict_proba(samples[:6]),
    )


if __name__ == "__main__":
    main()
