"""What edits a command's photos: the networks of a run, or their programs as an earlier command kept them."""

import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from sdflow_jax.edit.prepared import PreparedEditor, place_of
from sdflow_jax.files.compiled_programs import keep_compiled_programs, traced_programs

if TYPE_CHECKING:
    from sdflow_jax.editor import Editor

AnyEditor: TypeAlias = "Editor | PreparedEditor"


def load_editor(
    workdir: pathlib.Path | None,
    size: int | None,
    *,
    may_prepare: bool,
    check: Callable[[AnyEditor], None],
    report: Callable[[str], None],
) -> AnyEditor:
    """An editor of one photo at a time, compiled or being compiled.

    Args:
      workdir: of a run; None for the pocket world.
      size: of its pictures; None for the usual one.
      may_prepare: whether nothing is asked but plain edits in pictures of that size.
      check: called with the editor before anything is compiled; it raises if that cannot do what is asked.
      report: called with a line before each step that takes long.

    Raises:
      OSError, ValueError: as `Editor.from_workdir` does.
    """
    are_kept = keep_compiled_programs() is not None
    report("loading the networks")
    directory = _traced_programs() if are_kept and may_prepare else None
    place = place_of(directory, workdir, size) if directory else None
    if place and (found := PreparedEditor.load(place.path)):
        place.note_missing_renderer(found.sizes[-1])
        check(found)
        found.compile(size=size)
        return found
    editor = _load(workdir)
    check(editor)
    if editor.inversion_encoder is None:  # which the first photo will be told
        return editor
    report("compiling, unless that was done before")
    if place:
        editor = PreparedEditor.of(editor, size, place.path)
    editor.compile(size=size)
    return editor


def _traced_programs() -> pathlib.Path | None:
    """Where they are kept; None where there is no place for them, as for a user without a home."""
    try:
        return traced_programs()
    except FileNotFoundError:
        return None


def _load(workdir: pathlib.Path | None) -> "Editor":
    # Here: what was prepared does without all that this imports.
    from sdflow_jax.editor import Editor

    # Photo by photo: one that cannot be edited leaves the others, and none waits for a batch.
    if workdir is None:
        return Editor.from_pretrained("pocket", batch_size=1)
    return Editor.from_workdir(workdir, batch_size=1)
