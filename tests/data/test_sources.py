import concurrent.futures

from sdflow_jax.data.settings import DataSettings
from sdflow_jax.data.sources import open_source
from tests.tiny_world import write_pictures


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
