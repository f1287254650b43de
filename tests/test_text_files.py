"""Rows from JSON, JSON lines and CSV: every value as the file has it, and a clear line for what cannot be read."""

from __future__ import annotations

import csv
import json

import pytest

from charts.text_files import BadText, read_rows

ROWS = [{"question": "Wie groß?", "answer": "5"}, {"question": "多少\u2028?", "answer": "NA"}]
LINES = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)
LIST = json.dumps(ROWS, ensure_ascii=False, indent=1)


def written(folder, name: str, content: str | bytes):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.jsonl", LINES),
        ("a.jsonl", LINES.replace("\n", "\r\n\r\n") + "\n"),
        ("a.ndjson", LINES),
        ("a.json", LINES),
        ("a.json", LIST),
        ("a.jsonl", LIST),
        ("a.json", f'{{"data": {LIST}}}'),
        ("a.csv", "question,answer\nWie groß?,5\n多少\u2028?,NA\n"),
        ("a.csv", 'question, answer\r\n"Wie groß?","5"\r\n\r\n"多少\u2028?",NA'),
        ("a.tsv", "question\tanswer\nWie groß?\t5\n多少\u2028?\tNA\n"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_the_same_rows_from_every_form_and_every_marked_encoding(tmp_path, name, text, encoding):
    assert read_rows(written(tmp_path, name, text.encode(encoding))) == ROWS


def test_json_lines_of_one_row_and_of_no_row(tmp_path):
    assert read_rows(written(tmp_path, "a.jsonl", '{"answer": 1}')) == [{"answer": 1}]
    assert read_rows(written(tmp_path, "b.jsonl", "")) == []
    assert read_rows(written(tmp_path, "c.csv", "")) == []
    assert read_rows(written(tmp_path, "d.jsonl", "[1]\n5\n")) == [{}, {}]


def test_a_csv_cell_may_hold_commas_lines_and_a_long_table(tmp_path):
    table = json.dumps({"columns": ["a"], "rows": [["7"]] * 50_000})
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["question", "answer", "table"], ["one,\ntwo", "", table], ["short"]])
    limit = csv.field_size_limit()
    assert read_rows(path) == [
        {"question": "one,\ntwo", "answer": None, "table": table},
        {"question": "short", "answer": None, "table": None},
    ]
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "question;answer\nq;5", r"separated by semicolons \(';'\)"),
        ("a.csv", "question\tanswer\nq\t5", "separated by tabs"),
        ("a.csv", "question|answer\nq|5", "separated by bars"),
        ("a.csv", "answer,answer\n1,2", "two columns are called 'answer'"),
        ("a.csv", "question,answer\nq,1\nq,3,5", "line 3: 3 cells, and 2 columns"),
        ("a.csv", 'question,answer\nq,"1\nq,3', "line 3: not CSV"),
        ("a.csv", "question,answer\nWie groß?,5".encode("latin-1"), "byte 0xdf in line 2 is not UTF-8; if it is GBK"),
        ("a.json", LIST.encode("gbk", "replace"), "in line 7 is not UTF-8; if it is GBK, Latin-1 or Windows-1252"),
        ("a.jsonl", LINES.encode("utf-16-le"), "if it is UTF-16 without a mark"),
        ("a.jsonl", '{"answer": "5"}'.encode("utf-16-be"), "if it is UTF-16 without a mark"),
        ("a.jsonl", b"\xff\xfe{\0", "line 1: not JSON"),
        ("a.jsonl", '{"answer": 1}\n{"answer": }', "line 2: not JSON"),
        ("a.json", "[1, 2", "not JSON"),
        ("a.json", "5", "holds no list of rows"),
        ("a.jsonl", "[" * 100_000, "line 1: not JSON"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_file(tmp_path, name, content, words):
    path = written(tmp_path, name, content)
    with pytest.raises(BadText, match=words) as error:
        read_rows(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)
