"""ECW and MrSID: refused with the remedy, or made a GeoTIFF by the operator's own command."""

import sys

import pytest

from d4c_platform.model.errors import PermanentFailure, TransientFailure
from d4c_platform.settings import Settings
from d4c_platform.stages.platform import Platform
from d4c_platform.transforms import build
from d4c_platform.transforms.converter import convert
from d4c_platform_tests.transforms import images
from d4c_platform_tests.transforms import releases as r

FILES = {"ECW": (b"e\x02\x01\x02" + bytes(60), "D4C_CONVERT_ECW"), "MrSID": (b"msid" + bytes(60), "D4C_CONVERT_MRSID")}


@pytest.fixture
def ecw(tmp_path):
    path = tmp_path / "ortho {output}; touch gone.ecw"
    path.write_bytes(FILES["ECW"][0])
    return path


def python(code, *more):
    return f"{sys.executable} -c '{code}' {' '.join(more)} {{input}} {{output}}"


@pytest.mark.parametrize("kind", FILES)
def test_without_a_command_the_refusal_tells_how_to_set_one(tmp_path, kind):
    content, setting = FILES[kind]
    source = tmp_path / "ortho.tif"  # the name says nothing
    source.write_bytes(content)
    with pytest.raises(PermanentFailure) as caught:
        build(r.image_dataset(), r.IMAGE_VERSION, {source.name: source}, tmp_path / "w")
    assert kind in str(caught.value)
    assert f"set {setting} to a command" in str(caught.value)
    assert "{input} {output}" in str(caught.value)


def test_the_command_makes_the_image_and_gets_names_as_single_words(tmp_path, ecw):
    made = images.write(tmp_path / "answer.tif", images.rgb(64, 64))
    command = python(f'import shutil, sys; assert len(sys.argv) == 3; shutil.copy("{made}", sys.argv[2])')
    built = build(r.image_dataset(), r.IMAGE_VERSION, {ecw.name: ecw}, tmp_path / "w", {"ECW": command})
    assert built.rows == 64 * 64
    assert not list(tmp_path.rglob("gone*"))


def test_the_command_sees_no_secret_of_ours(tmp_path, ecw, monkeypatch):
    monkeypatch.setenv("D4C_ZENODO_TOKEN", "secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    code = 'import os, sys; sys.exit(str("secret" in os.environ.values()))'
    with pytest.raises(PermanentFailure, match="False"):
        convert("ECW", ecw, tmp_path / "out.tif", {"ECW": python(code)})


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("no-such-program {input} {output}", "cannot be run"),
        (python('import sys; sys.exit("no licence left")'), "no licence left"),
        (python("pass"), "left no GeoTIFF"),
        (python("import shutil, sys; shutil.copy(*sys.argv[1:])"), "left no GeoTIFF"),
        (python('import os, sys; os.symlink("/etc/hostname", sys.argv[2])'), "left no GeoTIFF"),
        ("decode {input}", "names its program"),
        ("decode 'x {input} {output}", "cannot be read"),
    ],
    ids=["missing", "fails", "nothing", "no-tiff", "link", "no-output", "quotes"],
)
def test_a_command_that_does_not_do_its_work_is_told(tmp_path, ecw, command, says):
    with pytest.raises(PermanentFailure, match=says) as caught:
        convert("ECW", ecw, tmp_path / "out.tif", {"ECW": command})
    assert caught.value.where == "D4C_CONVERT_ECW"


def test_a_command_that_hangs_is_ended_and_may_be_tried_again(tmp_path, ecw):
    with pytest.raises(TransientFailure, match="did not end"):
        convert("ECW", ecw, tmp_path / "out.tif", {"ECW": python("import time; time.sleep(60)")}, timeout_s=0.3)


def test_the_commands_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("D4C_CONVERT_ECW", "a {input} {output}")
    monkeypatch.setenv("D4C_CONVERT_MRSID", "b {input} {output}")
    with Platform(Settings.read()) as platform:
        assert platform.converters == {"ECW": "a {input} {output}", "MrSID": "b {input} {output}"}
