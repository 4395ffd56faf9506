"""Settings that are chosen for the networks."""

# Chosen and measured by benchmarks/accuracy.py.
SMALL_SAMPLE = {
    "filters": 16,
    "n_blocks": 2,
    "dense_units": (64,),
    "batch_norm_momentum": 0.9,
    "linear_path": 100.0,
    "epochs": 30,
}
