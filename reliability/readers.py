"""The readers of files that come from elsewhere, with good files of each to begin from."""

import io
import json
import pathlib
import random
import zipfile

import numpy as np
from PIL import Image

from converters import mobile_stylegan
from converters.errors import CheckpointError
from converters.ir_files import read_networks
from converters.npy_reader import read_npy
from converters.openvino_reader import read_graph
from converters.pickle_machine import PickleMachine
from converters.tensor_builders import CONSTRUCTORS, Storage, check_storage_identity
from converters.torch_reader import read_checkpoint
from reliability.checkpoint_writer import write_checkpoint
from reliability.fuzzing import Reader
from reliability.ir_writer import write_mapping, write_synthesis, write_wheel
from reliability.mutation import mutate
from reliability.tiny_world import random_arrays
from sdflow_jax.files import networks
from sdflow_jax.images.reading import ImageFileError, read_image

# Recorded files of PyTorch and NVIDIA, among them those of formats that nothing here writes.
GOLDEN = pathlib.Path(__file__).parent.parent / "tests" / "golden"

_MOBILE = {
    "resolution": 16,
    "style_dim": 4,
    "channels": {"4": 6, "8": 4},
    "num_mapping_layers": 2,
}
_CLASSIFIER = {
    "depth": 18,
    "num_attributes": 2,
    "num_age_thresholds": 0,
    "width": 1,
    "stem_pool": False,
    "head_sizes": (),
}
_GENERATOR = {
    "resolution": 8,
    "style_dim": 4,
    "channels": {"4": 2, "8": 2},
    "num_mapping_layers": 1,
}
_NETWORKS = {
    "ConditionalFlow": {"dim": 4, "num_conditions": 2, "hidden_sizes": (3,)},
    "LatentClassifier": {
        "num_styles": 2,
        "style_dim": 4,
        "hidden_sizes": (3,),
        "num_attributes": 2,
    },
    "Generator": _GENERATOR,
    "AttributeClassifier": _CLASSIFIER,
}


def _checkpoints(directory: pathlib.Path) -> list[bytes]:
    tree = {"a": {"weight": np.arange(6, dtype=np.float32).reshape(2, 3)}, "n": [1, 2.5, "x", None]}
    files = [write_checkpoint(directory / "own.pt", tree)]
    files += sorted((GOLDEN / "torch_files").glob("*.pth"))
    files += [GOLDEN / "nvidia_pkl" / "hostile_module_src.pkl"]
    return [file.read_bytes() for file in files]


def _attempt_checkpoint(content: bytes, rng: random.Random, directory: pathlib.Path) -> None:
    if content.startswith(b"PK") and rng.random() < 0.6:  # where no checksum stands in the way
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            _interpret(mutate(archive.read(name), rng))
        return
    path = directory / "c.pt"
    path.write_bytes(mutate(content, rng))
    read_checkpoint(path)


def _interpret(pickled: bytes) -> None:
    def load_storage(identity):
        dtype, _, count, _ = check_storage_identity(identity)
        if count > 4096:
            raise CheckpointError("larger than anything in these files")
        return Storage(dtype, count, memoryview(bytes(count * dtype.itemsize)))

    PickleMachine(memoryview(pickled), allowed=CONSTRUCTORS, load_storage=load_storage).load()


def _graphs(directory: pathlib.Path) -> list[bytes]:
    arrays = random_arrays("MobileStyleGAN", _MOBILE, 0)
    parameters = mobile_stylegan.restore(_MOBILE, arrays)
    wheel = write_wheel(directory / "random_face.whl", parameters).read_bytes()
    pairs = [graph(parameters) for graph in (write_mapping, write_synthesis)]
    # One piece: the length of the .xml, the .xml, the .bin.
    return [wheel, *(_joined(graph.xml(), bytes(graph.weights)) for graph in pairs)]


def _joined(xml: bytes, weights: bytes) -> bytes:
    return len(xml).to_bytes(4, "little") + xml + weights


def _attempt_graph(content: bytes, rng: random.Random, directory: pathlib.Path) -> None:
    if content.startswith(b"PK"):
        path = directory / "w.whl"
        path.write_bytes(mutate(content, rng))
        read_networks(path)
        return
    end = 4 + int.from_bytes(content[:4], "little")
    xml, weights = content[4:end], content[end:]
    if rng.random() < 0.8:
        xml = mutate(xml, rng)
    else:
        weights = mutate(weights, rng)
    read_graph(xml, weights)


def _pictures(directory: pathlib.Path) -> list[bytes]:
    del directory
    pixels = np.random.default_rng(0).integers(0, 256, (12, 12, 4), dtype=np.uint8)
    images = {
        mode: Image.fromarray(pixels).convert(mode) for mode in ("RGBA", "RGB", "L", "P", "1")
    }
    images["I;16"] = Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    wanted = [
        *(("PNG", mode, {"exif": exif}) for mode in images),
        *(("TIFF", mode, {}) for mode in images),
        *(("TIFF", "RGB", {"compression": name}) for name in ("tiff_lzw", "jpeg", "tiff_deflate")),
        *(("JPEG", mode, {"exif": exif}) for mode in ("RGB", "L")),
        ("JPEG", "RGB", {"progressive": True}),
        *(("WEBP", mode, {"lossless": mode == "RGBA"}) for mode in ("RGB", "RGBA")),
        ("GIF", "P", {"save_all": True, "append_images": [images["P"].rotate(90)]}),
        *(("BMP", mode, {}) for mode in ("RGB", "P")),
        *(("PPM", mode, {}) for mode in ("RGB", "I;16")),
    ]
    found = []
    for file_format, mode, options in wanted:
        stream = io.BytesIO()
        images[mode].save(stream, file_format, **options)
        found.append(stream.getvalue())
    # A program, to those who give it to Ghostscript.
    found.append(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n/x 1 def\n")
    return found


def _attempt_picture(content: bytes, rng: random.Random, directory: pathlib.Path) -> None:
    path = directory / "picture.png"
    path.write_bytes(mutate(content, rng))
    read_image(path)


def _network_files(directory: pathlib.Path) -> list[bytes]:
    found = []
    for name, arguments in _NETWORKS.items():
        path = directory / f"{name}.safetensors"
        arrays = random_arrays(name, arguments, 0)
        networks.save_arrays(path, name, arguments, arrays, notes={"attributes": "A,B"})
        found.append(path.read_bytes())
    return found


def _attempt_network(content: bytes, rng: random.Random, directory: pathlib.Path) -> None:
    path = directory / "n.safetensors"
    if rng.random() < 0.5:
        path.write_bytes(mutate(content, rng))
    else:  # a header that is well-formed around harm
        size = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + size])
        told = header["__metadata__"]
        name = rng.choice(["network", "arguments", "arguments", "attributes", "format"])
        told[name] = mutate(told[name].encode(), rng).decode("utf-8", "replace")
        encoded = json.dumps(header).encode()
        path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + content[8 + size :])
    networks.load_network(path)


def _arrays(directory: pathlib.Path) -> list[bytes]:
    del directory
    found = []
    for array in (np.zeros((1, 8), np.float32), np.zeros((3, 18, 4), np.float64), np.int64([1, 2])):
        stream = io.BytesIO()
        np.save(stream, array)
        found.append(stream.getvalue())
    return found


def _attempt_array(content: bytes, rng: random.Random, directory: pathlib.Path) -> None:
    path = directory / "a.npy"
    header = mutate(content[:128], rng) if rng.random() < 0.8 else content[:128]
    path.write_bytes(header + content[128:])
    np.asarray(read_npy(path)).sum()


READERS = {
    "fuzz-npy": Reader(20_000, CheckpointError, _arrays, _attempt_array),
    "fuzz-checkpoints": Reader(40_000, CheckpointError, _checkpoints, _attempt_checkpoint),
    "fuzz-ir": Reader(20_000, CheckpointError, _graphs, _attempt_graph),
    "fuzz-images": Reader(30_000, ImageFileError, _pictures, _attempt_picture),
    "fuzz-networks": Reader(10_000, networks.NetworkFileError, _network_files, _attempt_network),
}
