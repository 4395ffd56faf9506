from .architecture import (
    convolutional_network as convolutional_network,
    per_block as per_block,
    smallest_input as smallest_input,
)
