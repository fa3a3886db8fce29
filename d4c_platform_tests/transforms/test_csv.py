"""CSVs: one typed table, in which every row and every value of the files is found again."""

import datetime as dt
import gzip
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.transforms import build, csv_stage
from d4c_platform.transforms.logical_hash import of_file
from d4c_platform_tests.places import ROOT
from d4c_platform_tests.transforms import releases as r

TABLE_BOUND = 1000 << 20  # measured: 650
PROGRAM = """
import json, pathlib, sys
from d4c_platform.transforms import build, parquet
from d4c_platform_tests.transforms import releases as r
parquet.COMPRESSION_LEVEL = 1  # the time it saves is not what is measured
file = pathlib.Path(sys.argv[1])
built = build(r.csv_dataset(members="*.csv"), r.TABLE_VERSION, r.by_name(file), pathlib.Path(sys.argv[2]))
# Not ru_maxrss: it survives fork and exec, and would tell the peak of the process that started this one.
peak_kib = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"rows": built.rows, "rss": peak_kib * 1024}))
"""


def table(tmp_path: Path, data: bytes | Path, name="streets.csv", **declared):
    path = data if isinstance(data, Path) else tmp_path / name
    if isinstance(data, bytes):
        path.write_bytes(data)
    return build(r.csv_dataset(**declared), r.TABLE_VERSION, r.by_name(path), tmp_path / "work")


def rows_of(built):
    return pq.read_table(built.path).to_pylist()


def zipped(tmp_path: Path, **files: bytes) -> Path:
    path = tmp_path / "addresses.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", "/") + ".csv", data)
    return path


def refused(tmp_path, data, **declared):
    with pytest.raises(PermanentFailure) as caught:
        table(tmp_path, data, **declared)
    assert r.TABLE_VERSION in str(caught.value)
    assert caught.value.file
    assert caught.value.remedy
    return str(caught.value)


# -- values -------------------------------------------------------------------------------------------------------------


def test_a_column_is_text_unless_it_is_declared(tmp_path):
    built = table(tmp_path, b"No,Opened,Name\n007,2020-01-01,\xc3\x8ele\n", columns=[r.column("opened", "date32[day]")])
    assert rows_of(built) == [{"no": "007", "opened": dt.date(2020, 1, 1), "name": "Île"}]
    assert [(c.name, c.type) for c in built.columns] == [("no", "string"), ("opened", "date32[day]"), ("name", "string")]


def test_every_declared_type_is_read_as_it_is_spelt(tmp_path):
    kinds = ["string", "bool", "int32", "int64", "double", "date32[day]", "timestamp[us]", "timestamp[us, tz=UTC]"]
    values = ["a", "True", "-7", "9007199254740993", "1.5e3", "2021-05-11", "2021-05-11 08:30", "2021-05-11T08:30:00.5+02:00"]
    header = ",".join(f"c{i}" for i in range(len(kinds)))
    declared = [r.column(f"c{i}", kind) for i, kind in enumerate(kinds)]
    built = table(tmp_path, f"{header}\n{','.join(values)}\n{',' * (len(kinds) - 1)}\n".encode(), columns=declared)
    assert [c.type for c in built.columns] == kinds
    first, last = rows_of(built)
    assert list(first.values())[:6] == ["a", True, -7, 9007199254740993, 1500.0, dt.date(2021, 5, 11)]
    assert first["c6"].isoformat() == "2021-05-11T08:30:00"
    assert first["c7"] == dt.datetime(2021, 5, 11, 6, 30, 0, 500_000, dt.UTC)
    assert set(last.values()) == {None}
    assert of_file(built.path, tmp_path) == built.logical_hash


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *[("int64", v) for v in ("1.0", "1_000", "x", "9223372036854775808")],
        *[("int32", "2147483648"), ("double", "1,5"), ("double", "nan"), ("double", "1e999"), ("bool", "yes")],
        *[("date32[day]", v) for v in ("2021-02-30", "2021/05/11", "11-05-2021")],
        *[("timestamp[us]", "2021-05-11T08:30Z"), ("timestamp[us, tz=UTC]", "2021-05-11T08:30")],
    ],
)
def test_a_value_that_is_not_what_its_column_is_declared_to_be_is_named_with_its_line(tmp_path, kind, value):
    said = refused(tmp_path, f'a,n\nx,\ny,"{value}"\n'.encode(), columns=[r.column("n", kind)])
    assert f"line 3: n is '{value}', which is no" in said


def test_a_type_that_no_csv_can_have_is_refused(tmp_path):
    assert "declared as decimal128(9, 2)" in refused(tmp_path, b"n\n1\n", columns=[r.column("n", "decimal128(9, 2)")])


def test_headers_become_lower_case_words_and_no_two_are_alike(tmp_path):
    built = table(tmp_path, "Numéro civique,A b,a-B,c1,C0\n1,2,3,4,5\n".encode())
    assert rows_of(built) == [{"numero_civique": "1", "a_b": "2", "a_b_2": "3", "c1": "4", "c0": "5"}]
    assert pq.read_schema(built.path).field("a_b_2").metadata[b"original_name"] == b"a-B"


fields = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=6)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    values=st.lists(st.tuples(fields, fields, st.integers(-(2**63), 2**63 - 1)), max_size=6), delimiter=st.sampled_from(",;|\t")
)
def test_every_value_comes_back_as_it_was_written(tmp_path, values, delimiter):
    text = [delimiter.join('"' + str(f).replace('"', '""') + '"' for f in row) + "\n" for row in (("a", "b", "n"), *values)]
    built = table(tmp_path, "".join(text).encode(), delimiter=delimiter, columns=[r.column("n", "int64")])
    found = [tuple(row.values()) for row in rows_of(built)]
    wanted = [(a or None, b or None, n) for a, b, n in values]
    assert sorted(found, key=repr) == sorted(wanted, key=repr)


# -- files --------------------------------------------------------------------------------------------------------------


def test_the_members_of_a_zip_are_one_table_and_every_row_is_counted(tmp_path):
    files = {f"Addresses__Address_{p}": f"id,city\n{p}1,A\n{p}2,B\n".encode() for p in (10, 24)}
    path = zipped(tmp_path, **files, Locations__Location_10=b"id,x,y\n1,2,3\n", ReadMe=b"no table")
    built = table(tmp_path, path, members="addresses/address_*.csv", key=("id",))
    assert [row["id"] for row in rows_of(built)] == ["101", "102", "241", "242"]
    assert dict(built.counts) == {"source_files": 2, "source_rows": 4}


def test_several_csvs_without_a_declared_choice_are_refused_by_name(tmp_path):
    said = refused(tmp_path, zipped(tmp_path, a=b"x\n1\n", b=b"x\n2\n"))
    assert "holds 2 CSV files (a.csv, b.csv)" in said
    assert "`members`" in said


def test_a_choice_that_nothing_is_named_like_is_refused(tmp_path):
    assert "no file in the archive is named c*.csv (a.csv)" in refused(
        tmp_path, zipped(tmp_path, a=b"x\n1\n"), members="c*.csv"
    )


def test_members_with_other_columns_are_refused_and_both_named(tmp_path):
    said = refused(tmp_path, zipped(tmp_path, a=b"x,y\n1,2\n", b=b"x,z\n1,2\n"), members="*.csv")
    assert "addresses.zip/b.csv does not have the columns of addresses.zip/a.csv: column 2 is z instead of y" in said
    said = refused(tmp_path, zipped(tmp_path, a=b"x,y\n1,2\n", b=b"x\n1\n"), members="*.csv")
    assert "column 2 is missing instead of y" in said


def test_a_wrong_value_of_a_later_member_is_named_with_its_own_line(tmp_path):
    many = b"n\n" + b"1\n" * 200_000
    path = zipped(tmp_path, a=many, b=many, c=b"n\n1\n2\nx\n4\n")
    said = refused(tmp_path, path, members="*.csv", columns=[r.column("n", "int64")])
    assert "line 4: n is 'x'" in said
    assert "addresses.zip/c.csv" in said


def test_a_gzipped_file_gives_the_same_bytes_as_a_plain_one(tmp_path):
    data = b"a,b\n1,2\n"
    plain = table(tmp_path, data).path.read_bytes()
    assert table(tmp_path, gzip.compress(data), name="streets.csv.gz").path.read_bytes() == plain
    said = refused(tmp_path, gzip.compress(data * 1000)[:-9])
    assert "not a sound gzip" in said


@pytest.mark.parametrize(("encoding", "text"), [("cp1252", "Œuvre à l’Île"), ("utf-16", "Île"), ("utf-8", "Île")])
def test_text_is_read_in_its_declared_encoding(tmp_path, encoding, text):
    assert rows_of(table(tmp_path, f"nom\n{text}\n".encode(encoding), encoding=encoding)) == [{"nom": text}]


def test_the_working_directory_keeps_nothing_but_the_table(tmp_path):
    built = table(tmp_path, b"a\n1\n")
    assert list((tmp_path / "work").iterdir()) == [built.path]


# -- what is refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("encoding", "byte"), [("utf-8", b"\xe9"), ("cp1252", b"\x81")])
def test_bytes_that_are_no_text_are_named_with_their_line(tmp_path, encoding, byte):
    said = refused(tmp_path, b"nom,n\nA,1\nB" + byte + b",2\n", encoding=encoding)
    assert f"line 3: byte {byte[0]:#04x} is not {encoding}" in said
    assert "`encoding`" in said


def test_the_line_of_a_wrong_byte_is_known_however_the_file_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_stage, "CHUNK_BYTES", 3)
    assert "line 5: byte 0xe9 is not utf-8" in refused(tmp_path, b"nom,n\nA,1\nB,2\nC,3\nD\xe9,4\n")


def test_an_encoding_that_does_not_exist_is_refused(tmp_path):
    assert "encoding latin-99 is none that is known" in refused(tmp_path, b"a\n1\n", encoding="latin-99")


def test_a_ragged_row_is_named_with_its_line(tmp_path):
    assert "line 3 has 3 fields where the header has 2: 3,4,5" in refused(tmp_path, b"a,b\n1,2\n3,4,5\n")


def test_a_quote_that_never_closes_is_refused(tmp_path):
    assert "the record that begins on line 2 has a quote that never closes" in refused(tmp_path, b'a,b\n1,"2\n3,4\n')


def test_a_key_that_is_no_column_is_refused_with_the_columns_there_are(tmp_path):
    assert "there is no column id (there are a, b)" in refused(tmp_path, b"a,b\n1,2\n", key=("id",))


# -- the same bytes, in bounded memory ----------------------------------------------------------------------------------


def test_the_order_of_rows_and_how_they_are_parted_do_not_show(tmp_path):
    lines = [f"{i % 7},{i}\n" for i in range(300)]
    layouts = [[lines], [lines[::-1]], [lines[:100], lines[100:]]]
    made = set()
    for n, parts in enumerate(layouts):
        folder = tmp_path / str(n)
        folder.mkdir()
        path = zipped(folder, **{f"p{i}": ("a,b\n" + "".join(p)).encode() for i, p in enumerate(parts)})
        built = table(folder, path, members="*.csv", key=("b",), columns=[r.column("b", "int32")])
        made.add((built.path.read_bytes(), built.logical_hash))
        assert [row["b"] for row in rows_of(built)] == list(range(300))
    assert len(made) == 1


def test_a_table_of_many_rows_stays_in_bounds(tmp_path):
    path = tmp_path / "addresses.zip"
    filling = ",".join(f"some text of column {i} that takes its room" for i in range(8))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for part in range(4):
            with archive.open(f"{part}.csv", "w") as file:
                file.write(b"id,a,b,c,d,e,f,g,h\n")
                for i in range(0, 100_000, 10_000):
                    file.write("".join(f"{(i + n) * 4 + part},{filling}\n" for n in range(10_000)).encode())
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, path, tmp_path / "w"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["rows"] == 400_000
    assert found["rss"] < TABLE_BOUND, found
