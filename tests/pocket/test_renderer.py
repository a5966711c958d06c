import os

import pytest

from converters import mobile_stylegan
from reliability.ir_writer import write_files
from sdflow_jax.pocket import renderer
from tests.filled_networks import filled_arrays, filled_network

TINY = {
    "resolution": 32,
    "style_dim": 6,
    "channels": {"4": 12, "8": 8, "16": 5},
    "num_mapping_layers": 2,
}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "sdflow_jax"


@pytest.fixture
def package(tmp_path, monkeypatch, cache):
    """A small package of the same structure, installed under a name of its own."""
    arrays = filled_arrays("MobileStyleGAN", TINY)
    folder = tmp_path / "site" / "tiny_random_face"
    write_files(folder / "data", mobile_stylegan.restore(TINY, arrays))
    (folder / "__init__.py").write_text("raise AssertionError('nobody needs to run it')\n")
    monkeypatch.syspath_prepend(folder.parent)
    monkeypatch.setattr(renderer, "_PACKAGE", folder.name)
    monkeypatch.setattr(renderer, "_CODES", (8, 6))
    return folder


@pytest.fixture
def generator():
    """Another network for the same codes."""
    return filled_network("MobileStyleGAN", TINY, seed=1)


def test_an_installed_package_is_converted_once(package, cache, generator):
    found = renderer.load_renderer(generator)
    assert found.resolution == 32
    (path,) = cache.iterdir()
    assert path == renderer.find_renderer()
    assert path.name.startswith("mobile_stylegan-") and path.suffix == ".safetensors"
    first = path.stat()
    assert renderer.load_renderer(generator) is not None
    assert path.stat().st_mtime_ns == first.st_mtime_ns


@pytest.mark.parametrize("damage", ["cut", "changed", "text"])
def test_a_damaged_conversion_is_made_again(package, cache, damage):
    path = renderer.find_renderer()
    whole = path.read_bytes()
    broken = {"cut": whole[:-9], "changed": whole[:-1] + bytes([whole[-1] ^ 1]), "text": b"no"}
    path.write_bytes(broken[damage])
    assert renderer.find_renderer() == path
    assert path.read_bytes() == whole


def test_what_a_killed_conversion_left_goes_and_one_under_way_stays(package, cache):
    for name in ("killed", "under-way"):
        (cache / f".converting-{name}").mkdir(parents=True)
    os.utime(cache / ".converting-killed", (0, 0))
    path = renderer.find_renderer()
    assert {file.name for file in cache.iterdir()} == {path.name, ".converting-under-way"}


def test_other_files_have_another_name(package, cache):
    first = renderer.find_renderer()
    (package / "data" / "NOTES").write_text("a new release")
    assert renderer.find_renderer() != first


def test_without_the_package_one_line_says_how_to_get_it(cache, monkeypatch, generator):
    monkeypatch.setattr(renderer, "_PACKAGE", "no_such_package")
    monkeypatch.setattr(renderer, "_CODES", (8, 6))
    with pytest.warns(
        UserWarning, match=r"shown at 32 pixels: .*`pip install .*random-face"
    ) as told:
        assert renderer.load_renderer(generator) is None
    assert "\n" not in str(told[0].message) and not cache.exists()


def test_an_unknown_package_and_a_cache_that_is_a_file_are_reasons(package, cache, generator):
    cache.parent.mkdir()
    cache.write_text("in the way")
    with pytest.warns(UserWarning, match="sdflow_jax: File exists"):
        assert renderer.load_renderer(generator) is None
    cache.unlink()
    (package / "data" / "MappingNetwork.xml").write_text("<net/>")
    with pytest.warns(UserWarning, match="another than known"):
        assert renderer.load_renderer(generator) is None
    assert not list(cache.iterdir())  # nothing half-made is left


def test_a_generator_of_other_codes_has_no_renderer(package, cache, recwarn):
    arguments = {**TINY, "style_dim": 4}
    assert renderer.load_renderer(filled_network("MobileStyleGAN", arguments)) is None
    assert not cache.exists() and not recwarn
