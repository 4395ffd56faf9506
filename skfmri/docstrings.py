"""Parameter descriptions that several docstrings share."""

import inspect
import re
from textwrap import indent

PLACEHOLDER = re.compile(r"^( *)\{(\w+)\}$", re.MULTILINE)


def fill_docstring(texts):
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

    def fill(documented):
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
