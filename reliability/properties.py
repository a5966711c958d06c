"""What must hold of the public functions for whatever they are given, tried by hypothesis."""

from collections.abc import Callable

import hypothesis
import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from reliability.parts import Context, Row
from reliability.small_editor import ATTRIBUTES, NUM_STYLES, SIZE, STYLE_DIM, small_editor
from sdflow_jax.editor import Editor
from sdflow_jax.images.inputs import as_faces
from sdflow_jax.images.pixels import to_bytes, to_signed
from sdflow_jax.images.reading import ImageFileError, rgb_pixels

_FULL = 500  # examples of each property

_finite = st.floats(-1, 1, width=32)
_semantic = st.floats(-2, 3, width=32)  # far beyond what training covers
_any_float = st.floats(width=32)
_counts = st.integers(1, 5)


def _codes(elements=_finite):
    shapes = st.tuples(_counts, st.just(NUM_STYLES), st.just(STYLE_DIM))
    return shapes.flatmap(lambda shape: arrays.arrays(np.float32, shape, elements=elements))


def _faces(count: int, elements=_finite):
    return arrays.arrays(np.float32, (count, SIZE, SIZE, 3), elements=elements)


def properties(editor: Editor) -> dict[str, Callable[[], None]]:
    """Name -> a property that hypothesis tries when it is called."""

    @hypothesis.given(arrays.arrays(np.uint8, arrays.array_shapes(min_dims=1, max_dims=4)))
    def bytes_survive_the_way_to_signed_and_back(pixels):
        signed = np.asarray(to_signed(pixels))
        assert signed.dtype == np.float32 and signed.shape == pixels.shape
        assert (np.abs(signed) <= 1).all()
        np.testing.assert_array_equal(to_bytes(signed), pixels)

    @hypothesis.given(
        arrays.arrays(np.float32, (2, 3), elements=st.floats(-(2.0**100), 2.0**100, width=32))
    )
    def any_finite_float_becomes_a_byte(values):
        found = np.asarray(to_bytes(values))
        assert found.dtype == np.uint8
        assert (found[values >= 1] == 255).all() and (found[values <= -1] == 0).all()

    modes = st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB"])

    @hypothesis.given(modes, arrays.arrays(np.uint8, (6, 5, 3)), st.integers(0, 10))
    def a_picture_of_any_mode_becomes_rgb(mode, pixels, orientation):
        image = Image.fromarray(pixels)
        if mode == "LAB":  # only from bytes
            image = Image.frombytes("LAB", image.size, pixels.tobytes())
        elif mode != "RGB":
            image = image.convert(mode)
        image.getexif()[0x0112] = orientation
        found = rgb_pixels(image)
        assert found.dtype == np.uint8 and found.shape in ((6, 5, 3), (5, 6, 3))

    shapes = arrays.array_shapes(min_dims=0, max_dims=5, max_side=9)
    types = st.sampled_from(
        [np.uint8, np.int32, np.int64, np.float16, np.float32, np.float64, bool]
    )

    @hypothesis.given(st.data())
    def any_array_is_faces_or_refused(data):
        shape = data.draw(st.one_of(shapes, st.sampled_from([(8, 8, 3), (2, 8, 8, 3)])))
        images = data.draw(arrays.arrays(data.draw(types), shape))
        try:
            found = as_faces(images, SIZE)
        except (ValueError, ImageFileError):
            return
        pixels = found.pixels
        assert pixels.dtype == np.float32 and pixels.ndim == 4 and pixels.shape[3] == 3
        assert np.isfinite(pixels).all() and (np.abs(pixels) <= 1.001).all()
        assert found.is_single == (images.ndim == 3)

    @hypothesis.given(_codes(), st.dictionaries(st.sampled_from(ATTRIBUTES), _semantic))
    def edits_keep_shape_and_are_finite_or_say_so(w_plus, targets):
        try:
            found = editor.edit(w_plus, None, targets)
        except FloatingPointError:
            return
        assert found.shape == w_plus.shape and found.dtype == np.float32
        assert np.isfinite(found).all()

    @hypothesis.given(_codes(), st.lists(_semantic, min_size=5, max_size=5))
    def one_target_for_each_face_is_as_one_by_one(w_plus, values):
        values = np.asarray(values[: len(w_plus)], np.float32)
        together = editor.edit(w_plus, None, {"Young": values})
        for i, value in enumerate(values):  # fixed steps: no face depends on its neighbors
            alone = editor.edit(w_plus[i], None, {"Young": value})
            assert alone.shape == (NUM_STYLES, STYLE_DIM)
            np.testing.assert_allclose(alone, together[i], rtol=1e-4, atol=1e-4)

    @hypothesis.given(_codes(_any_float))
    def codes_that_are_not_finite_are_refused_by_their_place(w_plus):
        is_finite = np.isfinite(w_plus).all((1, 2))
        try:
            found = editor.synthesize(w_plus)
        except ValueError as error:
            assert not is_finite.all() and f"face {np.argmin(is_finite)} " in str(error)
            return
        assert is_finite.all()
        assert found.shape == (len(w_plus), SIZE, SIZE, 3) and found.dtype == np.float32

    @hypothesis.given(arrays.arrays(np.float32, arrays.array_shapes(min_dims=1, max_dims=4)))
    def codes_of_other_shapes_are_refused(w_plus):
        rest = w_plus.shape[-2:]
        hypothesis.assume(w_plus.ndim not in (2, 3) or rest[1:] != (STYLE_DIM,))
        for function in (editor.synthesize, lambda codes: editor.edit(codes, None, {})):
            try:
                function(w_plus)
            except ValueError:
                continue
            raise AssertionError(f"codes of shape {w_plus.shape} were taken")

    @hypothesis.given(_any_float, st.sampled_from([*ATTRIBUTES, "Smiling", ""]))
    def targets_are_finite_and_known_or_refused(value, name):
        w_plus = np.zeros((1, NUM_STYLES, STYLE_DIM), np.float32)
        try:
            editor.edit(w_plus, None, {name: value})
        except ValueError as error:
            assert not np.isfinite(value) or name not in ATTRIBUTES, error
        except FloatingPointError:
            assert abs(value) > 3
        else:
            assert np.isfinite(value) and name in ATTRIBUTES

    @hypothesis.given(_counts.flatmap(_faces))
    def readings_are_in_range_and_inversions_finite(images):
        read, w_plus = editor.read(images), editor.invert(images)
        assert read.shape == (len(images), len(ATTRIBUTES)) and w_plus.shape[0] == len(images)
        assert (read >= 0).all() and (read <= 1).all() and np.isfinite(w_plus).all()

    @hypothesis.given(st.lists(st.integers(0, 2**31), min_size=1, max_size=5))
    def seeds_mean_the_same_faces_alone_and_together(seeds):
        together = editor.codes_of_seeds(seeds)
        assert together.shape == (len(seeds), NUM_STYLES, STYLE_DIM)
        np.testing.assert_allclose(editor.codes_of_seeds(seeds[0]), together[0], rtol=1e-5)

    found = dict(locals())
    return {
        name.replace("_", " "): function
        for name, function in found.items()
        if hasattr(function, "hypothesis")
    }


def attempt(check: Callable[[], None], examples: int, seed: int) -> str:
    """Try a property; what is wrong, if anything, with the smallest example that was found."""
    limits = hypothesis.settings(
        max_examples=examples,
        deadline=None,  # a first call compiles
        database=None,  # the seed tells all
        print_blob=False,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    try:
        limits(hypothesis.seed(seed)(check))()
    except Exception as error:  # whatever the property or the function under it raises
        notes = " ".join(getattr(error, "__notes__", ()))
        return f"{type(error).__name__}: {' '.join(f'{error} {notes}'.split())[:400]}"
    return ""


def run(context: Context) -> list[Row]:
    """All properties."""
    rows = []
    for name, check in properties(small_editor()).items():
        examples = context.count(_FULL)
        wrong = attempt(check, examples, context.seed)
        rows.append(Row(name, examples, 0 if wrong else examples, "", [wrong] if wrong else []))
    return rows
