import pytest
from hypothesis import given
from hypothesis import strategies as st

from d4c_platform.torrents.bencode import MAX_DEPTH, BadBencoding, bdecode, bencode, dictionary_spans

values = st.recursive(
    st.integers(-(2**63), 2**63) | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.binary(max_size=10), inner, max_size=5),
    max_leaves=30,
)


@given(values)
def test_what_was_encoded_decodes_to_itself(value):
    assert bdecode(bencode(value)) == value


@given(st.binary(max_size=200) | values.map(bencode).flatmap(lambda b: st.integers(0, len(b)).map(lambda cut: b[:cut])))
def test_whatever_decodes_is_the_only_encoding_of_its_value(data):
    """No second spelling: an info-hash stands for exactly one dictionary."""
    try:
        value = bdecode(data)
    except BadBencoding:
        return
    assert bencode(value) == data


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "offset 0"),
        (b"i1e2:ab", "4 bytes follow"),
        (b"i01e", "not an integer"),
        (b"i-0e", "not an integer"),
        (b"i--1e", "not an integer"),
        (b"ie", "not an integer"),
        (b"i1", "no end"),
        (b"i" + b"9" * 100_000 + b"e", "more than"),
        (b"99999999999999999999:a", "longer than the data"),
        (b"5:abc", "2 bytes longer"),
        (b"01:a", "neither"),
        (b"l", "neither"),
        (b"d1:b0:1:a0:e", "out of order"),
        (b"d1:a0:1:a0:e", "repeated"),
        (b"di1e0:e", "neither"),
        (b"d1:a", "neither"),
        (b"l" * 100_000, f"more than {MAX_DEPTH} deep"),
        (b"d1:a" * 100_000, f"more than {MAX_DEPTH} deep"),
    ],
)
def test_hostile_input_ends_in_a_sentence_with_its_offset(data, reason):
    with pytest.raises(BadBencoding, match=reason) as caught:
        bdecode(data)
    assert "offset" in str(caught.value)


def test_depth_is_bounded_for_the_spans_of_a_dictionary_too():
    with pytest.raises(BadBencoding, match="deep"):
        dictionary_spans(b"d1:a" + b"l" * 10_000)


def test_spans_cut_out_the_values_as_they_stand():
    data = bencode({b"a": [1, 2], b"info": {b"x": b"y"}})
    assert {key: data[start:end] for key, (start, end) in dictionary_spans(data).items()} == {
        b"a": b"li1ei2ee",
        b"info": b"d1:x1:ye",
    }


@pytest.mark.parametrize("value", [True, 1.5, None])
def test_what_bencoding_cannot_say_is_refused(value):
    with pytest.raises(TypeError, match="bencoding knows no"):
        bencode(value)
