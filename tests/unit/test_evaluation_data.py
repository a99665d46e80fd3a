from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.labelled import Columns, EvaluationData, read_evaluation_data
from schemas.errors import ConfigError, InputError
from schemas.fields import parse_text_template

ROWS = [("please refund", "billing"), ('a "quoted", text\nof two lines', "delivery")]


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_the_three_formats_read_alike(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"data{suffix}"
    write(path, {"text": [row[0] for row in ROWS], "label": [row[1] for row in ROWS], "id": [1, 2]})
    assert read_evaluation_data(path) == EvaluationData(*zip(*ROWS, strict=True))


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_other_column_names_and_whole_number_labels_can_be_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"data{suffix}"
    write(path, {"body": ["x", "y"], "queue": [7, 12]})
    assert read_evaluation_data(path, Columns("body", "queue")) == EvaluationData(("x", "y"), ("7", "12"))


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_a_file_without_the_columns_is_refused_with_those_it_has(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"data{suffix}"
    write(path, {"text": ["x"], "intent": ["y"]})
    with pytest.raises(ConfigError, match=r"no column 'label'.*it has text, intent"):
        read_evaluation_data(path)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
@pytest.mark.parametrize(("text", "label"), [(None, "a"), ("  ", "a"), ("secret", None), ("secret", "")])
def test_a_missing_text_or_label_is_refused_with_its_row(
    tmp_path: Path, suffix: str, text: str | None, label: str | None
) -> None:
    path = tmp_path / f"data{suffix}"
    write(path, {"text": ["fine", text], "label": ["a", label]})
    with pytest.raises(InputError, match=r"row 1, '(text|label)': expected a text") as caught:
        read_evaluation_data(path)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_a_file_without_rows_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"data{suffix}"
    write(path, {"text": [], "label": []})
    with pytest.raises(InputError, match="no rows"):
        read_evaluation_data(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data.parquet", b"PAR1 or so"),
        ("data.csv", b""),
        ("data.csv", b"text,label\nsecret\n"),
        ("data.csv", b"text,label\nsecret\xff,a\n"),
        ("data.jsonl", b'{"text": "secret"'),
        ("data.jsonl", b'["secret"]'),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused_without_quoting_it(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_evaluation_data(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_missing_file_and_an_unknown_ending_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_evaluation_data(tmp_path / "data.csv")
    with pytest.raises(ConfigError, match=r"ends in \.parquet, \.csv, \.jsonl"):
        read_evaluation_data(tmp_path / "data.xlsx")


def test_a_column_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("text,text,label\na,b,c\n")
    with pytest.raises(ConfigError, match="occurs twice"):
        read_evaluation_data(tmp_path / "data.csv")


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_columns_to_slice_by_are_read_as_text(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"data{suffix}"
    write(path, {"text": ["x", "y"], "label": ["a", "b"], "shop": ["north", None], "lines": [3, 12]})
    data = read_evaluation_data(path, Columns(slices=("shop", "lines")))
    assert data.slices == {"shop": ("north", ""), "lines": ("3", "12")}
    with pytest.raises(ConfigError, match="no column 'town'"):
        read_evaluation_data(path, Columns(slices=("town",)))


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_all_right_labels_of_a_row_are_read_from_json(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"data{suffix}"
    write(path, {"text": ["x", "y", "z"], "label": ["a", "b", "c"], "labels": ['["a", "b"]', "[]", None]})
    assert read_evaluation_data(path, Columns(labels="labels")).right_labels == (("a", "b"), (), ())
    assert read_evaluation_data(path).right_labels is None


def test_all_right_labels_of_a_row_may_be_a_list(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["x"], "label": ["a"], "labels": [["a", "b"]]}), tmp_path / "data.parquet")
    (tmp_path / "data.jsonl").write_text('{"text": "x", "label": "a", "labels": ["a", "b"]}\n')
    for name in ("data.parquet", "data.jsonl"):
        assert read_evaluation_data(tmp_path / name, Columns(labels="labels")).right_labels == (("a", "b"),)


@pytest.mark.parametrize("labels", ["a, b", '{"a": 1}', "7"])
def test_right_labels_that_are_no_list_are_refused(tmp_path: Path, labels: str) -> None:
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table({"text": ["x"], "label": ["a"], "labels": [labels]}), path)
    with pytest.raises(InputError, match="row 0, 'labels': expected a list of labels"):
        read_evaluation_data(path, Columns(labels="labels"))


TEMPLATE = parse_text_template("{merchant} | {amount:.2f}")


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_the_template_makes_the_text_unless_a_column_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"data{suffix}"
    write(path, {"text": ["x", "y"], "merchant": ["Shop", None], "amount": [7, 12], "label": ["a", "b"]})
    assert read_evaluation_data(path, Columns(text="", template=TEMPLATE)).texts == ("Shop | 7.00", " | 12.00")
    assert read_evaluation_data(path, Columns(template=TEMPLATE)).texts == ("x", "y")


def test_a_template_reaches_into_nested_fields(tmp_path: Path) -> None:
    nested = parse_text_template("{shop.name}")
    pq.write_table(pa.table({"shop": [{"name": "North"}], "label": ["a"]}), tmp_path / "data.parquet")
    (tmp_path / "data.jsonl").write_text('{"shop": {"name": "North"}, "label": "a"}\n')
    for name in ("data.parquet", "data.jsonl"):
        assert read_evaluation_data(tmp_path / name, Columns(text="", template=nested)).texts == ("North",)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_a_file_without_a_field_of_the_template_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"data{suffix}"
    write(path, {"merchant": ["Shop"], "label": ["a"]})
    with pytest.raises(ConfigError, match="no column 'amount'"):
        read_evaluation_data(path, Columns(text="", template=TEMPLATE))


@pytest.mark.parametrize(
    ("merchant", "amount", "found"), [(None, None, "all empty"), ("secret", "many", "'amount': expected a number")]
)
def test_a_row_the_template_makes_no_text_of_is_refused_without_quoting_it(
    tmp_path: Path, merchant: str | None, amount: str | None, found: str
) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps({"merchant": merchant, "amount": amount, "label": "a"}) + "\n")
    with pytest.raises(InputError, match=f"row 0: .*{found}") as caught:
        read_evaluation_data(path, Columns(text="", template=TEMPLATE))
    assert "secret" not in str(caught.value)
    assert "many" not in str(caught.value)


def write(path: Path, columns: dict[str, list[object]]) -> None:
    if path.suffix == ".parquet":
        types = {name: pa.string() for name, values in columns.items() if not any(isinstance(v, int) for v in values)}
        pq.write_table(pa.table({name: pa.array(values, types.get(name)) for name, values in columns.items()}), path)
        return
    names, rows = list(columns), list(zip(*columns.values(), strict=True))
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows))
        return
    cells = [["" if cell is None else '"' + str(cell).replace('"', '""') + '"' for cell in row] for row in rows]
    path.write_text("\n".join(",".join(row) for row in [names, *cells]) + "\n")


def test_white_space_around_a_label_is_no_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("text,label\nhello, travel\n")
    assert read_evaluation_data(tmp_path / "data.csv").labels == ("travel",)


def test_a_byte_order_mark_on_any_line_of_json_lines_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    line = b'\xef\xbb\xbf{"text": "x", "label": "a"}\r\n'
    path.write_bytes(line * 2)  # as `cat` of two files leaves it
    assert read_evaluation_data(path) == EvaluationData(("x", "x"), ("a", "a"))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (
            "data.csv",
            b"PK\x03\x04....xl/workbook.xml",
            "expected csv, found an Excel workbook (.xlsx); export the sheet",
        ),
        ("data.csv", b"\x1f\x8b\x08", "found gzip"),
        ("data.jsonl", '{"text": "x"}'.encode("utf-16"), "UTF-16 or UTF-32; convert it to UTF-8"),
        ("data.jsonl", b'[\n {"text": "x"}\n]', "line 1 is not a JSON object; the file seems to be one JSON array"),
        (
            "data.jsonl",
            b'{\n "text": "x"\n}',
            "line 1 is not a JSON object; the file seems to hold a JSON object over many",
        ),
        ("data.jsonl", b"text,label\nx,a\n", "the file seems to be no JSON"),
        ("data.csv", b"text,label\nx,a\n\ny\n", "line 4: expected 2 cells, found 1"),
        ("data.csv", b'text,label\n"x"y,a\n', "line 2: not readable as CSV: "),
        ("data.csv", b"text,label\nx,a\ntext,label\ny,b\n", "line 3: the header once more; remove it"),
        ("data.csv", b'text,label\nx,a\n\xef\xbb\xbf"text","label"\n', "line 3: the header once more; remove it"),
        ("data.csv", b"text,label\ncaf\xe9,a\n", "the file is not UTF-8; convert it to UTF-8"),
        ("data.parquet", b"text,label\nx,a\n", "it is text; name it by its format"),
        ("data.parquet", b"PK\x03\x04....xl/workbook.xml", "it is an Excel workbook"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_says_what_it_is(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=r"data\.") as caught:
        read_evaluation_data(tmp_path / name)
    assert says in str(caught.value)


def test_a_file_with_another_delimiter_or_a_column_of_almost_that_name_says_so(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    for content, says in (
        (b"text;label\nx;a\n", "separated by semicolons; write commas"),
        (b"Text,label\nx,a\n", "'Text'"),
    ):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=r"no column 'text'") as caught:
            read_evaluation_data(path)
        assert says in str(caught.value)


def test_a_byte_order_mark_within_a_csv_file_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_bytes(b'\xef\xbb\xbf"text",label\nx,a\n\xef\xbb\xbf"y",b\n')
    assert read_evaluation_data(tmp_path / "data.csv").texts == ("x", "y")


def test_a_file_of_a_table_whose_log_says_which_rows_hold_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "_delta_log").mkdir()
    pq.write_table(pa.table({"text": ["x"], "label": ["a"]}), tmp_path / "part-0.parquet")
    with pytest.raises(InputError, match="is a Delta table"):
        read_evaluation_data(tmp_path / "part-0.parquet")
