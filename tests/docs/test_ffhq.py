"""The way of docs/ffhq.md from downloads to curves, by its own commands, with stand-ins for what is downloaded."""

import csv
import dataclasses
import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from sdflow_jax import pocket_faces
from sdflow_jax.files.config_files import read_config
from sdflow_jax.pocket.renderer import RendererMissing, find_renderer
from tests.docs.fences import ROOT, fences
from tests.docs.stand_in import BROKEN, TWO, WITHOUT, write_photos

needs_dlib = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("dlib", "face_recognition_models")),
    reason="not installed: the extra `align`",
)

COMMANDS = [words for fence in fences(ROOT / "docs" / "ffhq.md") for words in fence.commands]

# What the page calls what is downloaded or converted, and what stands for it here.
STAND_INS = {
    "PHOTOS": "photos.zip",
    "img_align_celeba": "faces",
    "list_attr_celeba.txt": "labels.csv",
    "list_eval_partition.txt": "partition.txt",
    "FFHQ": "faces",
    "CELEBA_HQ": "faces",
    "networks/identity_encoder.safetensors": "pocket:identity_encoder",
}
NUM_FACES = 16
ATTRIBUTES = ("Eyeglasses", "Male", "Young")

SMALL_CLASSIFIER = {
    "data.crop": "()",
    "data.image_size": 128,
    "network.depth": 18,
    "network.width": 8,
    "network.head_sizes": "()",
    "optimizer.warmup_steps": 1,
    "optimizer.decay_steps": 4,
    "training.num_steps": 4,
    "training.batch_size": 4,
    "training.checkpoint_every": 2,
    "validation.every": 2,
}
SMALL_RUN = {
    "networks.generator": "pocket:generator",
    "networks.inversion_encoder": "pocket:inversion_encoder",
    "data.splits.train": "(0,8)",
    "data.splits.validation": "(8,10)",
    "data.splits.test": "(10,16)",
    "flow.hidden_sizes": "(32,)",
    "semantic_encoder.depth": 18,
    "semantic_encoder.width": 8,
    "semantic_encoder.hidden_sizes": "(8,)",
    "training.num_steps": 2,
    "training.batch_size": 4,
    "training.sample_every": 2,
    "training.checkpoint_every": 2,
    "training.num_sample_faces": 2,
}


def typed(*start: str) -> list[str]:
    """The one command of the page's steps that begins with these words, with stand-ins for its files."""
    found = [words for words in COMMANDS if words[: len(start)] == list(start)]
    assert found, f"the page has no command {' '.join(start)}"
    return [stood_in(word) for word in found[0]]


def stood_in(word: str) -> str:
    name, equals, value = word.rpartition("=")
    return name + equals + STAND_INS.get(value, value)


def test_the_page_names_all_that_is_stood_in_for():
    values = {word.rpartition("=")[2] for words in COMMANDS for word in words}
    assert STAND_INS.keys() <= values


@dataclasses.dataclass(frozen=True)
class Shell:
    """Types commands in a folder, as a reader would."""

    folder: pathlib.Path

    def __call__(self, words: list[str], options: dict | None = None, *more: str) -> str:
        given = [f"--config.{key}={value}" for key, value in (options or {}).items()]
        program = [
            str(ROOT / word) if word.endswith(".py") and not word.startswith("-") else word
            for word in words[1:]
        ]
        program = [word.replace("=configs/", f"={ROOT}/configs/") for word in program]
        result = subprocess.run(
            [sys.executable, *program, *given, *more],
            cwd=self.folder,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "JAX_PLATFORMS": "cpu",
                "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
                "JAX_COMPILATION_CACHE_DIR": str(self.folder / "compiled"),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        (self.folder / "output.txt").open("a").write(f"$ {' '.join(words)}\n{result.stdout}\n")
        assert result.returncode == 0, result.stdout
        return result.stdout


def enlarged(faces: np.ndarray, side: int) -> np.ndarray:
    resized = [
        Image.fromarray(face).resize((side, side), Image.Resampling.BICUBIC) for face in faces
    ]
    return np.stack([np.asarray(face) for face in resized])


def check_alignment(folder: pathlib.Path, names: list[str], side: int) -> None:
    """All faces are there, upright, and the report tells of the rest."""
    rows = list(csv.DictReader((folder / "report.csv").open()))
    results = {(row["photo"], row["file"]): row["result"] for row in rows}
    assert {file for _, file in results if file} == set(names)
    assert results[WITHOUT, ""] == "no face"
    assert {results[name, ""] for name in BROKEN} == {"unreadable"}
    for name in names:
        assert Image.open(folder / name).size == (side, side)


@needs_dlib
def test_photographs_become_faces_in_their_places(tmp_path):
    faces = pocket_faces(5).images
    names = write_photos(tmp_path / "photos.zip", enlarged(faces, 256))
    told = Shell(tmp_path)(
        typed("python", "-m", "sdflow_jax.align"), None, "--size=128", "--jobs=1"
    )
    assert "5 faces of 7 photos; 1 photos without a face, 2 photos that cannot be read" in told
    check_alignment(tmp_path / "faces", names, 128)
    for place, name in enumerate(names):
        found = np.asarray(Image.open(tmp_path / "faces" / name), np.float64)
        likeness = [np.corrcoef(found.ravel(), other.ravel())[0, 1] for other in faces]
        # Upright, and the face itself: mirrored or turned, it would be like none of them.
        assert np.argmax(likeness) == place and max(likeness) > 0.8


@needs_dlib
@pytest.mark.full
def test_from_photographs_to_curves(tmp_path):
    shell = Shell(tmp_path)
    names = write_photos(tmp_path / "photos.zip", large_faces())
    shell(typed("python", "-m", "sdflow_jax.align"))
    check_alignment(tmp_path / "faces", names, 1024)

    write_labels(tmp_path, names)
    for config in ("configs/classifier.py", "configs/classifier.py:evaluation"):
        shell(typed("python", "train.py", f"--config={config}"), SMALL_CLASSIFIER)
    shell(typed("python", "train.py", "--config=configs/ffhq.py"), SMALL_RUN)
    assert list((tmp_path / "runs" / "ffhq" / "samples").iterdir())

    evaluate = typed("python", "evaluate.py")
    few = ("--num_faces=6", "--batch_size=6", "--strengths=0,1", "--num_samples=2")
    own = [word for word in evaluate if not word.startswith("--faces=")]
    for words, results in ((evaluate, "evaluation_on_faces"), (own, "evaluation")):
        shell(words, None, *few)
        folder = tmp_path / "runs" / "ffhq" / results
        assert (folder / "preservation.png").stat().st_size
        assert json.loads((folder / "summary.json").read_text())["num_faces"] == 6


def large_faces() -> np.ndarray:
    """Of 1024 pixels, from the renderer if there is one."""
    faces = pocket_faces(NUM_FACES)
    try:
        find_renderer()
    except RendererMissing:
        return enlarged(faces.images, 1024)
    from sdflow_jax import Editor
    from sdflow_jax.images.pixels import to_bytes

    editor = Editor.from_pretrained()
    return np.asarray(to_bytes(editor.synthesize(faces.w_plus, size=1024)))


def write_labels(folder: pathlib.Path, names: list[str]) -> None:
    """Labels of any kind, both answers to each question in each split, and a partition.

    The photo of one face is named as it was before it was aligned.
    """
    labeled = [name if name.startswith(TWO) else name.removesuffix("-1.png") for name in names]
    rows = [",".join(("image", *ATTRIBUTES))]
    lines = []
    for place, name in enumerate(labeled):
        rows.append(",".join([name, *(str(place >> bit & 1) for bit in range(len(ATTRIBUTES)))]))
        lines.append(f"{name} {0 if place < 8 else 1}")
    (folder / "labels.csv").write_text("\n".join(rows))
    (folder / "partition.txt").write_text("\n".join(lines))


def test_what_is_made_smaller_exists():
    for name, options in (("classifier", SMALL_CLASSIFIER), ("ffhq", SMALL_RUN)):
        config = read_config(ROOT / "configs" / f"{name}.py")
        keys = {key for key, _ in config.items(preserve_field_references=True)}
        assert {key.partition(".")[0] for key in options} <= keys
