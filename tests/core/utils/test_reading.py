"""Files from elsewhere are read literally, and what goes beyond a limit is refused at once."""

import pytest

from forehand.utils.reading import (
    DEPTH,
    YAML_BYTES,
    Unreadable,
    parse_json,
    parse_yaml,
    read_json,
    read_json_lines,
    read_yaml,
    require_literal,
)


def bomb(levels: int) -> str:
    """A YAML text whose value would hold 9 ** levels strings."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels)]
    return "\n".join(lines)


def test_values_are_as_omegaconf_reads_them():
    text = "{a: 1e-3, b: -2E5, c: 1.5e3, d: 0.5, e: 12, f: 1e, g: 2020-01-01, h: 'x', i: null, j: true, k: 12e3x}"
    assert parse_yaml(text) == {
        "a": 1e-3,
        "b": -2e5,
        "c": 1.5e3,
        "d": 0.5,
        "e": 12,
        "f": "1e",
        "g": "2020-01-01",
        "h": "x",
        "i": None,
        "j": True,
        "k": "12e3x",
    }


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (bomb(12), "line 2: it refers to 'a0' with an alias"),
        ("a: &a [*a]", "alias"),
        ("[" * 10_000, f"nested more than {DEPTH} deep"),
        ("{a: " * 10_000, f"nested more than {DEPTH} deep"),
        ("[" + "x," * 50_000 + "]", "more than 20000 values"),
        ("a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("{a: 1, b: 2, a: 3}", "key 'a' twice"),
        ("a: [1", "while parsing"),
        ("{[a]: 1}", "unhashable"),
    ],
)
def test_yaml_that_is_refused(text, reason):
    with pytest.raises(Unreadable, match=reason):
        parse_yaml(text)


@pytest.mark.parametrize("text", ["[" * 1_000_000, '{"a": 1', "9" * 5000])
def test_json_that_is_refused(text):
    with pytest.raises(Unreadable, match="not JSON"):
        parse_json(text)


def test_a_file_is_read_up_to_its_limit(tmp_path):
    path = tmp_path / "file"
    path.write_text("[1, 2]")
    assert read_json(path, most=6) == read_yaml(path) == [1, 2]
    with pytest.raises(Unreadable, match="larger than 5 bytes"):
        read_json(path, most=5)
    path.write_text("#" * (YAML_BYTES + 1))
    with pytest.raises(Unreadable, match="larger than"):
        read_yaml(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(Unreadable, match="not UTF-8"):
        read_json(path)


def test_lines_are_read_one_by_one_up_to_their_limit(tmp_path):
    path = tmp_path / "lines"
    path.write_text('{"a": 1}\n\n[2, 3]\n   \n')
    assert list(read_json_lines(path, most=9)) == [(1, {"a": 1}), (3, [2, 3])]
    with pytest.raises(Unreadable, match="line 1 is larger than 8 bytes"):
        list(read_json_lines(path, most=8))
    for content, reason in ((b"1\n\n{", "line 3: it is not JSON"), (b"1\n\xff\xfe\n", "line 2: .*decode")):
        path.write_bytes(content)
        with pytest.raises(Unreadable, match=reason):
            list(read_json_lines(path))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"a": [1, {"b": "${oc.env:HOME}"}]}, r"a\[1\]\.b holds an interpolation, '\${oc\.env:HOME}'"),
        ({"${x}": 1}, "holds an interpolation"),
        ("${x}", "it holds an interpolation"),
        ({"a": 10**30}, "a holds a number of more than 64 bits"),
    ],
)
def test_only_values_are_literal(value, reason):
    require_literal({"a": [1, 2.5, None, True, "$x {y}"]})
    with pytest.raises(Unreadable, match=reason):
        require_literal(value)
