"""Parameter descriptions that several docstrings share."""

from __future__ import annotations

import inspect
import re
from textwrap import indent
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Documented = TypeVar("Documented")

PLACEHOLDER = re.compile(r"^( *)\{(\w+)\}$", re.MULTILINE)


def fill_docstring(texts: Mapping[str, str]) -> Callable[[Documented], Documented]:
    """Return a decorator that fills shared texts into a docstring.

    A line of the docstring that consists of a name in braces, such as ``{dropout}``, is replaced
    by the text of that name, with the indentation of the line.

    Parameters
    ----------
    texts : dict of str to str
        Texts by name, indented at will.

    Returns
    -------
    decorator : callable
        For functions and classes; raises KeyError if a docstring names a text that does not exist.
    """

    def fill(documented: Documented) -> Documented:
        def text_of(match):
            if match[2] not in texts:
                raise KeyError(
                    f"The docstring of {documented.__qualname__} asks for {match[0].strip()}, but "
                    f"the texts are {', '.join(texts)}."
                )
            return indent(inspect.cleandoc(texts[match[2]]), match[1])

        # Under python -OO there are no docstrings.
        if documented.__doc__:
            documented.__doc__ = PLACEHOLDER.sub(text_of, documented.__doc__)
        return documented

    return fill
