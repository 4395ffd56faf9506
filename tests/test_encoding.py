import json

import numpy as np
import pytest
from hypothesis import given, strategies as st

from skfmri.evaluation.encoding import array_from_bytes, array_to_bytes, decode, encode
from skfmri.persistence.archive import to_json

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(
        [np.float32(0.1), np.int8(-3), np.bool_(True), np.str_("a"), np.float64("nan")]
    ),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def refuse(value):
    raise TypeError


class TestEncoding:
    @given(plain)
    def test_plain_values_come_back_as_they_are(self, value):
        arrays = []
        content = json.loads(to_json(encode(value, arrays, refuse)))
        found = decode(content, arrays, {})
        assert repr(found) == repr(value)

    @pytest.mark.parametrize(
        "array",
        [
            np.arange(6, dtype=">i2").reshape(2, 3),
            np.asfortranarray(np.random.default_rng(0).normal(size=(3, 4))),
            np.zeros((0, 3), np.float32),
            np.array(3.5),
            np.array(["ä", "face"]),
            np.array([np.nan, -0.0, np.inf], np.float16),
        ],
    )
    def test_arrays_come_back_bit_by_bit(self, array):
        found = array_from_bytes(array_to_bytes(array))
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        assert found.tobytes() == array.tobytes()
        assert found.flags.f_contiguous == array.flags.f_contiguous
        assert found.flags.writeable

    def test_other_arrays_are_refused(self):
        for array in (np.zeros(2, "M8[s]"), np.zeros(2, [("a", int)]), np.array([1j])):
            with pytest.raises(TypeError, match="holds neither numbers nor text"):
                encode(array, [], refuse)
        with pytest.raises(TypeError):
            encode(np.array([object()], dtype=object), [], refuse)
