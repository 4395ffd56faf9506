"""Types of public signatures, with decorators that keep them.

Other modules import the types for type checkers only, so that nothing here takes time to load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import numpy as np
    from nibabel.filebasedimages import FileBasedImage
    from numpy.typing import NDArray

    from skfmri.samples import NiftiSamples

Function = TypeVar("Function", bound="Callable[..., Any]")

FilePath: TypeAlias = "str | os.PathLike[str]"
ImageOrPath: TypeAlias = "FileBasedImage | FilePath"
# A column of a table is an array of objects.
Images: TypeAlias = (
    "ImageOrPath | Sequence[ImageOrPath] | Iterator[ImageOrPath] | NDArray[np.object_]"
)
ImageSamples: TypeAlias = "NiftiSamples | Images"
# Unlike numpy.typing.ArrayLike never a single number or text, so that a path or the name of a
# column in place of values is an error.
Values: TypeAlias = "SupportsArray | list[Any] | tuple[Any, ...] | range"
Volumes: TypeAlias = "NiftiSamples | Values"

# None, if the user has not asked for or given such a thing. To a type checker it is anything, so
# that programs need not check what they know.
KnownByUser: TypeAlias = Any

Shape: TypeAlias = "tuple[int, ...]"
GridShape: TypeAlias = tuple[int, int, int]
Box: TypeAlias = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
PerBlock: TypeAlias = "int | tuple[int, ...] | Sequence[int | tuple[int, ...]]"

Axis: TypeAlias = Literal["x", "y", "z"]
Interpolation: TypeAlias = Literal["continuous", "linear", "nearest"]
Padding: TypeAlias = Literal["valid", "same"]
LinearPath: TypeAlias = float | Literal["multiscale"] | None
OutputActivation: TypeAlias = Literal["softmax", "linear"]
Normalize: TypeAlias = Literal["true", "pred", "all"]
GroupsOf: TypeAlias = Literal["run", "subject", "session"]
SamplesOf: TypeAlias = Literal["volumes", "blocks", "trials", "conditions"]
SplineOrder: TypeAlias = Literal[0, 1, 3]

RandomState: TypeAlias = "int | np.random.RandomState | None"
RandomGenerator: TypeAlias = "int | np.random.Generator | None"
CrossValidation: TypeAlias = "int | Splitter | Iterable[tuple[Values, Values]] | None"
Scoring: TypeAlias = "str | Callable[..., Any] | Sequence[str] | Mapping[str, Any] | None"


class SupportsArray(Protocol):
    """What numpy takes for an array, such as a column of a table."""

    def __array__(self) -> NDArray[Any]:
        """Return the values."""
        ...


class Estimator(Protocol):
    """What learns from samples with labels, such as a classifier, pipeline or search."""

    def fit(self, X: Any, y: Any, /) -> Any:
        """Learn."""
        ...


class Splitter(Protocol):
    """What divides samples into training and test sides."""

    def split(self, X: Any, y: Any = ..., groups: Any = ...) -> Iterator[tuple[Any, Any]]:
        """Yield the positions of training and test samples."""
        ...

    def get_n_splits(self, X: Any = ..., y: Any = ..., groups: Any = ...) -> int:
        """Return the number of splits."""
        ...


def with_callbacks(method: Function) -> Function:
    """Let `fit` pass callbacks on as scikit-learn's decorator does, with the type of `fit`."""
    from sklearn.callback import with_callbacks

    return with_callbacks(method)
