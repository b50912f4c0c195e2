"""YAML is read as kubectl reads it. The table was recorded with `kubectl annotate --local -o json` of kubectl 1.32."""

import json
from pathlib import Path

import pytest

from helios_crds import Document, ResourceError, load_documents, load_paths
from helios_crds.yaml import dump

AS_KUBECTL = [
    ("100_000_000", 100000000),
    ("yes", True),
    ("on", True),
    ("y", True),
    ("No", False),
    ("off", False),
    ("0o17", 15),
    ("017", 15),
    ("0x_1F", 31),
    ("0o_17", 15),
    ("0b11", 3),
    ("-0b11", -3),
    ("09", 9),
    ("+5", 5),
    ("0", 0),
    ("1e3", 1000),
    ("1.0", 1),
    ("1_0.5", 10.5),
    (".5", 0.5),
    ("100000000000000000000", 100000000000000000000),
    ("2024-01-02", "2024-01-02"),
    ("12:30:45", "12:30:45"),
    ("~", None),
    ("null", None),
    ("+", "+"),
    ("nope", "nope"),
    ("!!str 5", "5"),
    ('"100"', "100"),
    ("'yes'", "yes"),
]


@pytest.mark.parametrize(("text", "value"), AS_KUBECTL)
def test_scalar_is_read_as_kubectl_does(text: str, value: object) -> None:
    read = load_documents(f"a: {text}")[0].value["a"]

    assert read == value
    assert type(read) is type(value)


def test_key_that_looks_like_a_switch_becomes_its_word() -> None:
    assert load_documents("n: 1\n1: 2\n")[0].value == {"false": 1, "1": 2}


def test_merge_keys_and_aliases_are_resolved() -> None:
    value = load_documents("base: &b {x: 1, y2: 2}\nderived:\n  <<: *b\n  x: 3\n")[0].value

    assert value["derived"] == {"x": 3, "y2": 2}


def test_empty_documents_are_dropped_and_lists_taken_apart() -> None:
    text = "---\n---\nkind: List\nitems:\n  - kind: A\n    spec: {x: 1}\n  - kind: B\n"

    documents = load_documents(text, "two.yaml")

    assert [document.kind for document in documents] == ["A", "B"]
    assert documents[0].line(("spec", "x")) == 6


BAD = [
    ("a: 1\nb:\n  c: 1\n  c: 2\n", "f.yaml:4: b.c: is given twice; the first is in line 3"),
    ("a: [1\nb: 2\n", "f.yaml:2: is not valid YAML"),
    ("a: .inf\n", "f.yaml:1: a: .inf is not a number that JSON can hold"),
    ("a: !own x\n", "f.yaml:1: a: !!!own does not fit 'x'"),
    ("a: !!int x\n", "f.yaml:1: a: !!int does not fit 'x'"),
    ("a: &x [*x]\n", "f.yaml:1: is an alias of one of its parents"),
    ("a: \x07\n", "f.yaml: is not valid YAML: special characters are not allowed"),
    ("? [a]\n: 1\n", "f.yaml:1: a key must be a plain value"),
    ("[" * 5000, "f.yaml: is nested too deeply"),
    ("a: 1e999\n", "f.yaml:1: a: the number is too large"),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_what_is_no_yaml_is_refused_with_file_and_line(text: str, message: str) -> None:
    with pytest.raises(ResourceError) as caught:
        load_documents(text, "f.yaml")

    assert message in str(caught.value)


def test_alias_bomb_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]

    with pytest.raises(ResourceError, match="expands to over"):
        load_documents("\n".join(lines), "bomb.yaml")


def test_folder_is_read_sorted_and_not_deeper(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("kind: B\n")
    (tmp_path / "a.yml").write_text("kind: A\n")
    (tmp_path / "c.json").write_text('{"kind": "C"}')
    (tmp_path / "notes.txt").write_text("kind: D\n")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "e.yaml").write_text("kind: E\n")

    assert [document.kind for document in load_paths([tmp_path])] == ["A", "B", "C"]


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"a: 1\nb: \xe9\n")

    with pytest.raises(ResourceError, match=r"latin.yaml:2: is not UTF-8: byte 0xe9 at offset 8"):
        load_paths([latin])
    with pytest.raises(ResourceError, match=r"missing.yaml: cannot be read: No such file"):
        load_paths([tmp_path / "missing.yaml"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ResourceError, match=r"holds no \.yaml"):
        load_paths([tmp_path / "empty"])


def test_dump_is_read_back_as_it_was() -> None:
    value = {
        "y": "n",
        "on": ["yes", "1e3", "1_000", "0o17", "", "~", "a: b", "*", "2024-01-02", "x\ny\n", " lead", "é", ".inf"],
        "n": {"a": [], "b": {}, "c": 1, "d": True, "e": None, "f": 1.5},
    }

    text = dump(value)

    assert load_documents(text)[0].value == value
    assert '"y": "n"' in text
    assert "&" not in dump([value, value])


def test_document_without_the_usual_fields_has_empty_names() -> None:
    values: tuple[object, ...] = (
        None,
        [],
        "text",
        {"metadata": []},
        {"kind": 3, "apiVersion": None, "metadata": {"name": 1}},
    )
    for value in values:
        document = Document(json.loads(json.dumps(value)))

        assert (document.kind, document.api_version, document.name) == ("", "", "")
