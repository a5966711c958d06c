import concurrent.futures

from reliability.tiny_world import write_pictures
from sdflow_jax.data.settings import DataSettings
from sdflow_jax.data.sources import open_source


def settings(**given) -> DataSettings:
    usual = {"limits": {}, "folder": "", "splits": {}, "directory": ""}
    reading = {"annotation_batch_size": 1, "num_threads": 1, "prefetch": 1}
    return DataSettings(**{**usual, **reading, **given})


def test_folder_source_reads_the_folder(tmp_path, monkeypatch):
    write_pictures(tmp_path / "faces", 3, size=8)
    data = settings(
        source="folder",
        folder=str(tmp_path / "faces"),
        splits={"train": (0, 3)},
        num_threads=3,
        directory=str(tmp_path),
    )
    source, description = open_source(data, {}, 8)
    assert source.num_faces("train") == 3 and description["content"].keys() == {"train"}

    pools = []
    pool = concurrent.futures.ThreadPoolExecutor
    monkeypatch.setattr(
        concurrent.futures, "ThreadPoolExecutor", lambda size: pools.append(size) or pool(size)
    )
    ((ids, _),) = source.split("train")
    assert ids.tolist() == [0, 1, 2] and pools == [3]


def test_folder_source_takes_as_many_of_a_split_as_its_limit(tmp_path):
    write_pictures(tmp_path / "faces", 5, size=8)
    splits = {"train": (0, 3), "test": (3, 5)}
    faces = {"source": "folder", "folder": str(tmp_path / "faces"), "directory": str(tmp_path)}
    for limit, count in ((2, 2), (9, 3)):
        data = settings(**faces, splits=splits, limits={"train": limit})
        source, _ = open_source(data, {}, 8)
        assert source.num_faces("train") == count and source.num_faces("test") == 2
