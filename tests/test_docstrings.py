import inspect

import pytest

from skfmri.docstrings import fill_docstring

TEXTS = {
    "factor": """
        factor : float, default=2.0
            Multiplies `data`:

            all of it.
        """,
    "what": "Numbers.",
}


def test_texts_take_the_indentation_of_their_place():
    @fill_docstring(TEXTS)
    def scale(data, kind="a", factor=2.0):
        """Scale.

        Parameters
        ----------
        data : array
            {what}
        kind : {"a", "b"}, default="a"
            Not a {what} of ours.
        {factor}

        Returns
        -------
        scaled : array
        """

    assert inspect.getdoc(scale) == (
        "Scale.\n\nParameters\n----------\ndata : array\n    Numbers.\n"
        'kind : {"a", "b"}, default="a"\n    Not a {what} of ours.\n'
        "factor : float, default=2.0\n    Multiplies `data`:\n\n    all of it.\n\n"
        "Returns\n-------\nscaled : array"
    )


def test_classes_are_filled_too():
    @fill_docstring(TEXTS)
    class Scaler:
        """Scale.

        {what}
        """

    assert inspect.getdoc(Scaler) == "Scale.\n\nNumbers."


def test_a_text_that_does_not_exist_is_an_error_with_those_that_do():
    def scale(data):
        """Scale.

        {data}
        """

    with pytest.raises(KeyError, match=r"scale asks for \{data\}, but the texts are factor, what"):
        fill_docstring(TEXTS)(scale)


def test_without_a_docstring_nothing_is_filled():
    def scale(data):
        return data

    assert fill_docstring(TEXTS)(scale) is scale
    assert scale.__doc__ is None
