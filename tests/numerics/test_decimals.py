"""The oracle is `float`, bit for bit."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coreset.numerics.decimals import NotDecimal, parse_decimals, word_position


def bits(values):
    return [struct.pack("<d", value) for value in values]


FORMS = ["{:.6E}", "{:.11E}", "{:.17g}", "{:+.3f}", "{!r}", "{:.25f}", "{:.0f}.", "{:e}"]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(FORMS), st.sampled_from(" \n\t\r")),
        max_size=30,
    )
)
def test_any_number_in_any_form_is_that_of_float(numbers):
    words = [form.format(value) for value, form, _ in numbers]
    text = "".join(f"{word}{white}" for word, (_, _, white) in zip(words, numbers, strict=True)).encode()
    values, end = parse_decimals(text, len(text))
    assert bits(values) == bits(map(float, words))
    assert text[:end].split() == text.split()


def test_a_million_numbers_as_vasp_writes_them():
    rng = np.random.default_rng(0)
    words = [f"{value:.11E}" for value in rng.normal(size=100_000) * 10.0 ** rng.integers(-30, 30, 100_000)]
    values, _ = parse_decimals("\n".join(words).encode(), 200_000)
    assert np.array_equal(values, np.array(words, dtype=np.float64))


def test_no_more_are_read_than_asked_for():
    values, end = parse_decimals(b" 1 2.5\n3 x", 3)
    assert (values.tolist(), end) == ([1.0, 2.5, 3.0], 8)
    assert parse_decimals(b"", 5)[0].tolist() == parse_decimals(b" \n", 5)[0].tolist() == []


def test_an_exponent_that_left_its_letter_no_room():
    values, _ = parse_decimals(b"0.12345678901-100 -.5+101", 2)
    assert values.tolist() == [0.12345678901e-100, -0.5e101]


@pytest.mark.parametrize("word", b"nan inf - . 1e 1.0.0 0x1p3 1_0 1e400 ***** 1,5 \xff 1D+00".split())
def test_a_word_that_is_no_finite_number_is_named_with_its_place(word):
    with pytest.raises(NotDecimal) as caught:
        parse_decimals(b"1.0\n2.0 " + word + b" 3.0", 4)
    assert caught.value.position == 8
    assert caught.value.word == word.decode("ascii", "backslashreplace")


def test_where_a_word_stands():
    text = b"  1.0 22\n\n 3"
    assert [word_position(text, index) for index in range(4)] == [2, 6, 11, 12]
