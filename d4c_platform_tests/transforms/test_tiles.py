"""Tiles are described from what they hold, MBTiles become PMTiles, and an archive made to break a reader is refused."""

import gzip
import hashlib
import io
import json
import random
import sqlite3
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pmtiles.reader import MmapSource, Reader
from pmtiles.tile import Compression, Entry, TileType, deserialize_header, serialize_directory, serialize_header, zxy_to_tileid
from pmtiles.writer import Writer

from d4c_platform.model.errors import PermanentFailure
from d4c_platform.transforms import artifact_of, build, checks, mbtiles, pmtiles_file
from d4c_platform_tests.transforms import releases as r
from d4c_platform_tests.transforms.test_picture_changes import DIGESTS
from d4c_platform_tests.transforms.test_same_bytes import elsewhere

COLUMNS = "(zoom_level integer, tile_column integer, tile_row integer, tile_data blob)"
PNG = b"\x89PNG\r\n\x1a\n"
LAYERS = {"vector_layers": [{"id": "roads", "fields": {"name": "String", "lanes": "Number"}}, {"id": "lakes", "fields": {}}]}
BOUNDS = {"min_lon_e7": -1_410_000_000, "min_lat_e7": 600_000_000, "max_lon_e7": -1_230_000_000, "max_lat_e7": 700_000_000}


def packed(content):
    return gzip.compress(content, mtime=0)


def vector_tiles(count=40):
    return {zxy_to_tileid(6, x, y): packed(b"tile %d" % (x % 3)) for x in range(count // 8) for y in range(8)}


def pmtiles(path, tiles=None, metadata=LAYERS, **header):
    """An archive by the library's own writer."""
    with path.open("wb") as file:
        writer = Writer(file)
        for number, data in sorted((tiles or vector_tiles()).items()):
            writer.write_tile(number, data)
        writer.finalize({"tile_type": TileType.MVT, "tile_compression": Compression.GZIP, **BOUNDS, **header}, metadata)
    return path


def database(path, tiles, metadata=None, sql=None):
    """An MBTiles; `tiles` as (zoom, column, row from the south, bytes)."""
    said = {"name": "Roads", "format": "pbf", "bounds": "-141,60,-123,70", "json": json.dumps(LAYERS), **(metadata or {})}
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE metadata (name text, value text)")
        db.executemany("INSERT INTO metadata VALUES (?, ?)", said.items())
        for statement in sql or [
            "CREATE TABLE tiles (zoom_level integer, tile_column integer, tile_row integer, tile_data blob)"
        ]:
            db.execute(statement)
        if tiles:
            db.executemany("INSERT INTO tiles VALUES (?, ?, ?, ?)", tiles)
    db.close()
    return path


def built(tmp_path, source):
    return build(r.tiles_dataset(), r.IMAGE_VERSION, {source.name: source}, tmp_path / "work")


def refusal(tmp_path, source):
    with pytest.raises(PermanentFailure) as caught:
        built(tmp_path, source)
    assert caught.value.remedy
    return str(caught.value)


def test_a_pmtiles_archive_passes_through_and_is_described(tmp_path):
    source = pmtiles(tmp_path / "roads.pmtiles")
    made = built(tmp_path, source)
    assert made.path.read_bytes() == source.read_bytes()
    assert (made.role, made.media_type, made.crs) == ("pmtiles", "application/vnd.pmtiles", "EPSG:3857")
    assert made.bbox == (-141.0, 60.0, -123.0, 70.0)
    assert dict(made.counts) == {"different_tiles": 3, "max_zoom": 6, "min_zoom": 6, "source_rows": 40}
    assert dict(made.facts) == {
        "layers": "lakes, roads", "source_format": "PMTiles", "tile_compression": "gzip", "tile_type": "mvt",
    }  # fmt: skip
    assert [(c.name, c.type) for c in made.columns] == [("roads/lanes", "Number"), ("roads/name", "String")]
    verdicts = checks.check(r.tiles_dataset(), made, made.path, None)
    assert [v for v in verdicts if not v.passed] == []
    assert artifact_of(made, r.IMAGE_VERSION, DIGESTS).file == f"{r.IMAGE_VERSION}.pmtiles"


def test_an_archive_with_leaf_directories_is_read_whole(tmp_path):
    chosen = random.Random(1)
    tiles = {n: chosen.randbytes(chosen.randint(1, 300)) for n in chosen.sample(range(21_845, 87_381), 16_000)}
    made = built(tmp_path, pmtiles(tmp_path / "a.pmtiles", tiles, tile_compression=Compression.NONE))
    assert deserialize_header(made.path.read_bytes()[:127])["leaf_directory_length"] > 0
    assert (made.rows, made.counts["different_tiles"]) == (len(tiles), len(set(tiles.values())))


def test_a_damaged_archive_blocks_publication(tmp_path):
    made = built(tmp_path, pmtiles(tmp_path / "a.pmtiles"))
    made.path.write_bytes(made.path.read_bytes()[:-1])
    assert [v.check for v in checks.check(r.tiles_dataset(), made, made.path, None) if not v.passed] == ["format"]


def test_the_logical_hash_knows_tiles_and_metadata_and_no_packing(tmp_path):
    def of(name, tiles=None, metadata=LAYERS, **header):
        return pmtiles_file.read(pmtiles(tmp_path / name, tiles, metadata, **header)).logical_hash

    tiles = vector_tiles()
    repacked = {n: gzip.compress(gzip.decompress(d), 1, mtime=7) for n, d in tiles.items()}
    plain = {n: gzip.decompress(d) for n, d in tiles.items()}
    expected = of("a")
    assert of("repacked", repacked) == of("plain", plain, tile_compression=Compression.NONE) == expected
    first = min(tiles)
    fewer = {n: d for n, d in tiles.items() if n != first}
    others = {
        of("b", tiles | {first: packed(b"x")}),
        of("c", fewer),
        of("d", metadata={}),
        of("e", tiles | {max(tiles) + 9: tiles[first]}),
    }
    assert len({expected, *others}) == 5


def altered(path, **fields):
    """The archive with other numbers in its header."""
    data = path.read_bytes()
    header = deserialize_header(data[:127]) | fields
    path.write_bytes(serialize_header(header) + data[127:])
    return path


def assembled(path, directory, leaves=b"", data=None, metadata=b"{}", **fields):
    """An archive of parts as they are given."""
    data = data or packed(b"tile") * 3
    header = {
        "root_offset": 127,
        "root_length": len(directory),
        "metadata_offset": 127 + len(directory),
        "metadata_length": len(metadata),
        "leaf_directory_offset": 127 + len(directory) + len(metadata),
        "leaf_directory_length": len(leaves),
        "tile_data_offset": 127 + len(directory) + len(metadata) + len(leaves),
        "tile_data_length": len(data),
        "clustered": True,
        "internal_compression": Compression.GZIP,
        "tile_compression": Compression.GZIP,
        "tile_type": TileType.MVT,
        "min_zoom": 0,
        "max_zoom": 4,
        **BOUNDS,
        **fields,
    }
    if header["internal_compression"] is Compression.GZIP:
        metadata = packed(metadata)
        header["metadata_length"] = len(metadata)
        header["leaf_directory_offset"] = 127 + len(directory) + len(metadata)
        header["tile_data_offset"] = header["leaf_directory_offset"] + len(leaves)
        header |= fields
    path.write_bytes(serialize_header(header) + directory + metadata + leaves + data)
    return path


def directory(*entries):
    return serialize_directory([Entry(*e) for e in entries])


def varints(*numbers):
    out = io.BytesIO()
    for number in numbers:
        while number > 127:
            out.write(bytes([number & 127 | 128]))
            number >>= 7
        out.write(bytes([number]))
    return packed(out.getvalue())


UNPACKED = 1 << 20
TILE = len(packed(b"tile"))


def test_the_assembled_archive_is_sound_before_it_is_broken(tmp_path):
    assert built(tmp_path, assembled(tmp_path / "a.pmtiles", directory((0, 0, TILE, 1), (1, TILE, TILE, 4)))).rows == 5


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"root_offset": 1 << 40}, "its root would end"),
        ({"root_length": 1 << 63}, "its root would end"),
        ({"tile_data_length": 1 << 40}, "its tile data would end"),
        ({"metadata_offset": 3}, "its metadata would end"),
        ({"min_zoom": 7}, "zooms go from 7 to 6"),
        ({"max_zoom": 5, "min_zoom": 0}, "outside the header's zooms"),
        ({"tile_type": TileType.UNKNOWN}, "does not say what its tiles are"),
        ({"tile_type": TileType.PNG}, "is no PNG"),
        ({"tile_compression": Compression.BROTLI}, "something else than gzip"),
        ({"internal_compression": Compression.ZSTD}, "something else than gzip"),
        ({"min_lon_e7": 0, "max_lon_e7": -1}, "its bounds are"),
        ({"max_lat_e7": 910_000_000}, "its bounds are"),
        ({"addressed_tiles_count": 41}, "addressed tiles count is 41 in the header and 40"),
        ({"tile_contents_count": 4}, "tile contents count is 4 in the header and 3"),
        ({"metadata_length": 5}, "metadata cannot be read"),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path, fields, says):
    assert says in refusal(tmp_path, altered(pmtiles(tmp_path / "a.pmtiles"), **fields))


@pytest.mark.parametrize(
    ("root", "more", "says"),
    [
        (directory((5, 0, TILE, 1), (5, TILE, TILE, 1)), {}, "not in order"),
        (directory((0, 0, TILE, 1), (1, 0, TILE, 9), (3, 0, TILE, 1)), {}, "not in order"),
        (directory((0, 0, 0, 1)), {}, "has no bytes"),
        (directory((0, 3 * TILE, TILE, 1)), {}, "beyond its part"),
        (directory((0, 1 << 62, TILE, 1)), {}, "beyond its part"),
        (directory((0, 0, TILE, 1 << 60)), {}, "outside the header's zooms"),
        (directory((0, 0, TILE, 1 << 63)), {}, "beyond every zoom"),
        (directory((0, 0, TILE, 1), (1, 1, TILE, 1), (2, 0, 3 * TILE, 1)), {}, "cannot be read"),
        (directory((0, 0, TILE, 1), (1, TILE, TILE - 4, 1)), {}, "the tile 1/0/0 cannot be read"),
        (directory((0, 0, 2 * TILE, 1)), {}, "something follows it"),
        (directory(), {}, "holds no tile"),
        (varints(1 << 40), {}, "cannot hold"),
        (varints(1, 0, 1), {}, "cannot hold"),
        (varints(1, 0, 1, TILE, 1, 9), {}, "something follows"),
        (varints(1, 0, 1, TILE, 0), {}, "follows another"),
        (varints(1, 1 << 70, 1, TILE, 1), {}, "64 bits"),
        (packed(b"\x80"), {}, "cut short"),
        (b"no gzip at all", {}, "no sound gzip"),
        (directory((0, 0, TILE, 1))[:-3], {}, "cut short"),
        (packed(bytes(UNPACKED + 1)), {}, "unpacks to more than"),
        (directory((0, 0, TILE, 1)), {"metadata": b"[1]"}, "no JSON object"),
        (directory((0, 0, TILE, 1)), {"metadata": b"[" * 100_000}, "metadata cannot be read"),
        (directory((0, 0, TILE, 1)), {"metadata": bytes(UNPACKED + 1)}, "unpacks to more than"),
    ],
)
def test_a_directory_that_lies_is_refused(tmp_path, monkeypatch, root, more, says):
    monkeypatch.setattr(pmtiles_file, "MOST_DIRECTORY", UNPACKED)
    assert says in refusal(tmp_path, assembled(tmp_path / "a.pmtiles", root, **more))


def test_a_directory_that_names_itself_ends(tmp_path):
    leaf = directory((0, 0, 60, 0))
    for _ in range(5):  # its length stands in it
        leaf = directory((0, 0, len(leaf), 0))
    assert "named twice" in refusal(tmp_path, assembled(tmp_path / "a.pmtiles", leaf, leaves=leaf))
    sound = directory((0, 0, TILE, 1))
    many = directory(*((n, 0, len(sound), 0) for n in range(1000)))
    assert "named twice" in refusal(tmp_path, assembled(tmp_path / "b.pmtiles", many, leaves=sound))


def test_directories_nested_too_deeply_are_refused(tmp_path):
    leaves, root = b"", directory((0, 0, TILE, 1))
    for _ in range(pmtiles_file.MOST_DEPTH + 1):
        offset, leaves = len(leaves), leaves + root
        root = directory((0, offset, len(root), 0))
    assert "nested deeper" in refusal(tmp_path, assembled(tmp_path / "a.pmtiles", root, leaves=leaves))


def test_tiles_that_overlap_so_that_few_bytes_name_many_are_refused(tmp_path):
    data = bytes(range(1, 200))
    entries = ((n, n, 100, 1) for n in range(50))
    source = assembled(tmp_path / "a.pmtiles", directory(*entries), data=data, tile_compression=Compression.NONE)
    assert "overlap" in refusal(tmp_path, source)


def test_a_tile_that_unpacks_without_end_is_refused(tmp_path):
    bomb = packed(bytes(pmtiles_file.MOST_TILE + 1))
    source = assembled(tmp_path / "a.pmtiles", directory((0, 0, len(bomb), 1)), data=bomb)
    assert "unpacks to more than" in refusal(tmp_path, source)


def test_more_entries_than_can_be_checked_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(pmtiles_file, "MOST_ENTRIES", 10)
    assert "more than 10 entries" in refusal(tmp_path, pmtiles(tmp_path / "a.pmtiles"))


@pytest.mark.parametrize("content", [b"", b"PMTiles", b"PMTiles\x02" + bytes(200), b"PMTiles\x03" + bytes(200), b"<html>"])
def test_what_is_no_archive_is_refused(tmp_path, content):
    source = tmp_path / "a.pmtiles"
    source.write_bytes(content)
    assert "PMTiles" in refusal(tmp_path, source)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 600), value=st.integers(0, 255), cut=st.integers(0, 600))
def test_whatever_byte_is_wrong_an_archive_is_read_or_refused_and_never_breaks_the_reader(tmp_path, at, value, cut):
    path = tmp_path / "a.pmtiles"
    if not path.exists():
        pmtiles(path)
    data = bytearray(path.read_bytes())
    data[at % len(data)] = value
    broken = tmp_path / "b.pmtiles"
    broken.write_bytes(data[: len(data) - cut % 7 * (cut % 2)])
    try:
        pmtiles_file.read(broken)
    except PermanentFailure:
        return


# MBTiles


def some_tiles(zoom=5, side=8):
    return [(zoom, x, row, packed(b"tile %d" % (x * row % 5))) for x in range(side) for row in range(side)]


def test_mbtiles_become_pmtiles_with_the_same_tiles_each_stored_once(tmp_path):
    tiles = some_tiles()
    made = built(tmp_path, database(tmp_path / "roads.mbtiles", tiles))
    with made.path.open("rb") as file:
        reader = Reader(MmapSource(file))
        for zoom, x, row, data in tiles:
            assert reader.get(zoom, x, 31 - row) == data
        header, metadata = reader.header(), reader.metadata()
    assert header["clustered"]
    assert (header["addressed_tiles_count"], header["tile_contents_count"]) == (64, 5)
    assert metadata == {"name": "Roads", **LAYERS}
    assert (made.bbox, made.rows, made.facts["source_format"]) == ((-141.0, 60.0, -123.0, 70.0), 64, "MBTiles")
    assert [c.name for c in made.columns] == ["roads/lanes", "roads/name"]


def test_the_order_of_rows_and_the_process_do_not_show(tmp_path):
    tiles = some_tiles()
    source = database(tmp_path / "a.mbtiles", tiles)
    made = built(tmp_path, source)
    here = [hashlib.sha256(made.path.read_bytes()).hexdigest(), made.logical_hash]
    shuffled = built(tmp_path / "2", database(tmp_path / "b.mbtiles", tiles[::-1]))
    assert shuffled.path.read_bytes() == made.path.read_bytes()
    assert elsewhere(tmp_path, r.tiles_dataset(), r.IMAGE_VERSION, {source.name: source}) == here


def test_tiles_that_are_not_packed_yet_are_packed_and_images_are_not(tmp_path):
    plain = [(z, x, row, gzip.decompress(data)) for z, x, row, data in some_tiles()]
    packed_, raw = database(tmp_path / "a.mbtiles", some_tiles()), database(tmp_path / "b.mbtiles", plain)
    assert built(tmp_path / "1", raw).logical_hash == built(tmp_path / "2", packed_).logical_hash
    pictures = [(3, x, 0, PNG + b"%d" % x) for x in range(3)]
    made = built(tmp_path / "3", database(tmp_path / "c.mbtiles", pictures, {"format": "png", "json": "{}"}))
    assert (made.facts["tile_type"], made.facts["tile_compression"]) == ("png", "none")
    assert made.path.read_bytes().endswith(b"".join(sorted(d for *_, d in pictures))) or made.rows == 3


def test_a_view_over_a_map_of_images_is_read(tmp_path):
    sql = [
        "CREATE TABLE map (zoom_level integer, tile_column integer, tile_row integer, tile_id text)",
        "CREATE TABLE images (tile_id text, tile_data blob)",
        "CREATE VIEW tiles AS SELECT zoom_level, tile_column, tile_row, tile_data FROM map JOIN images USING (tile_id)",
        "INSERT INTO map VALUES (1, 0, 0, 'a'), (1, 1, 0, 'a')",
        f"INSERT INTO images VALUES ('a', x'{packed(b'tile').hex()}')",
    ]
    assert built(tmp_path, database(tmp_path / "a.mbtiles", [], sql=sql)).rows == 2


PAIR = ["CREATE TABLE map (a)", "CREATE TABLE images (a)", *["INSERT INTO map VALUES (1), (2), (3)"] * 40]
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT 1, 0, 0, x'00' FROM n WHERE i < 0"
PLACE = "SELECT 1 AS zoom_level, 0 AS tile_column, 0 AS tile_row"
CROSS = f"{PLACE}, a.a AS tile_data FROM map a, map b, map c, map d, map e WHERE a.a = 9"


@pytest.mark.parametrize(
    ("tiles", "metadata", "sql", "says"),
    [
        ([], {}, None, "holds no tile"),
        (some_tiles(), {"format": "tiff"}, None, "'tiff'"),
        (some_tiles(), {"bounds": "1,2,3"}, None, "its bounds"),
        (some_tiles(), {"bounds": "nan,0,1,1"}, None, "its bounds"),
        (some_tiles(), {"json": "{"}, None, "json of its metadata"),
        (some_tiles(), {"scheme": "xyz"}, None, "scheme"),
        (some_tiles(), {"format": "png"}, None, "is no PNG"),
        ([(3, 0, 0, PNG)], {}, None, "is no MVT"),
        ([*some_tiles(), some_tiles()[0]], {}, None, "one tile twice"),
        ([(3, 8, 0, b"x")], {}, None, "no tile 3/8/0"),
        ([(31, 0, 0, b"x")], {}, None, "no tile 31/0/0"),
        ([(-1, 0, 0, b"x")], {}, None, "no tile -1/0/0"),
        ([("a", 0, 0, b"x")], {}, None, "no numbers for its place"),
        ([(0, 0, 0, "text")], {}, None, "or no bytes"),
        ([(0, 0, 0, packed(b"x")[:-2])], {}, None, "cut short"),
        ([(0, 0, 0, packed(bytes(40 << 20)))], {}, None, "unpacks to more"),
        ([], {}, ["CREATE TABLE other (a)"], "has no tiles"),
        ([], {}, ["CREATE TABLE tiles (a)"], "no such column"),
        ([], {}, [f"CREATE VIEW tiles AS {ENDLESS}"], "something else than a map"),
        ([], {}, [*PAIR, f"CREATE VIEW tiles(zoom_level, tile_column, tile_row, tile_data) AS {ENDLESS}"], "authorized"),
        ([], {}, [*PAIR, f"CREATE VIEW tiles AS {CROSS}"], "interrupted"),
        ([], {}, [*PAIR, f"CREATE VIEW tiles AS {PLACE}, readfile('/etc/passwd') AS tile_data"], "readfile"),
        ([], {}, [*PAIR, f"CREATE VIEW tiles AS {PLACE}, randomblob(9) AS tile_data"], "randomblob"),
        ([], {}, [f"CREATE TABLE tiles {COLUMNS}", "CREATE VIRTUAL TABLE v USING fts5(a)"], "made by a module"),
    ],
)  # fmt: skip
def test_a_database_that_is_no_honest_mbtiles_is_refused(tmp_path, monkeypatch, tiles, metadata, sql, says):
    monkeypatch.setattr(mbtiles, "MOST_STEPS", 2_000)
    assert says in refusal(tmp_path, database(tmp_path / "a.mbtiles", tiles, metadata, sql))


def test_a_database_that_is_cut_is_refused_and_never_written(tmp_path):
    source = database(tmp_path / "a.mbtiles", some_tiles(side=32))
    source.write_bytes(source.read_bytes()[:-5000])
    before = source.read_bytes()
    source.chmod(0o444)
    assert "not sound" in refusal(tmp_path, source)
    assert source.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mbtiles", "work"]


def test_more_tiles_than_can_be_converted_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(mbtiles, "MOST_ENTRIES", 63)
    assert "more than 63 tiles" in refusal(tmp_path, database(tmp_path / "a.mbtiles", some_tiles()))


def test_the_archive_of_a_zip_is_found_and_a_release_without_one_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(pmtiles(tmp_path / "a.pmtiles"), "deep/roads.pmtiles")
    assert built(tmp_path, tmp_path / "a.zip").rows == 40
    with pytest.raises(PermanentFailure, match="several tile archives"):
        build(r.tiles_dataset(), r.IMAGE_VERSION, r.by_name(tmp_path / "a.zip", tmp_path / "a.pmtiles"), tmp_path / "2")
