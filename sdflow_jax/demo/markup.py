"""Pieces of the page: pictures and numbers as HTML. Pictures are in the text itself, never in files."""

import base64
import html
import io
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

_QUALITY = 90


def data_uri(content: bytes, kind: str) -> str:
    """Bytes as an address that holds them."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def image_tag(pixels: UInt8[np.ndarray, "h w 3"], description: str, *, name: str = "") -> str:
    """A picture as a tag.

    Args:
      pixels: of the picture.
      description: for those who do not see it.
      name: its class in the style sheet.
    """
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=_QUALITY)
    source = data_uri(stream.getvalue(), "image/jpeg")
    side = pixels.shape[0]
    return (
        f'<img class="{name}" src="{source}" alt="{html.escape(description)}"'
        f' width="{side}" height="{side}" decoding="sync" draggable="false">'
    )


def words(attribute: str) -> str:
    """An attribute's name for people: "Wearing_Hat" is "Wearing hat"."""
    return attribute.replace("_", " ").capitalize()


def face_buttons(thumbnails: Mapping[int, UInt8[np.ndarray, "s s 3"]]) -> str:
    """Faces to pick from, a button each, by seed."""
    buttons = (
        f'<button type="button" class="sd-face" data-seed="{seed}" aria-label="Face of seed {seed}">'
        f"{image_tag(pixels, '')}</button>"
        for seed, pixels in thumbnails.items()
    )
    return f'<div class="sd-faces">{"".join(buttons)}</div>'


def before_stack(
    rendered: UInt8[np.ndarray, "s s 3"], photo: UInt8[np.ndarray, "r r 3"] | None
) -> str:
    """What the edited face is compared with; the style sheet shows the photo where it is chosen."""
    label = "sampled" if photo is None else "inverted"
    parts = [
        image_tag(rendered, f"The {label} face, before editing", name="sd-rendered"),
        f'<span class="sd-tag sd-tag-rendered">{label}</span>',
    ]
    if photo is not None:
        parts += [
            image_tag(photo, "The photo, cropped", name="sd-photo"),
            '<span class="sd-tag sd-tag-photo">photo</span>',
        ]
    return f'<div class="sd-layer">{"".join(parts)}</div>'


def after_layer(pixels: UInt8[np.ndarray, "s s 3"]) -> str:
    """The edited face, under what it is compared with."""
    picture = image_tag(pixels, "The edited face", name="sd-edited")
    return f'<div class="sd-layer">{picture}<span class="sd-tag sd-tag-edited">edited</span></div>'


def readings(
    attributes: Sequence[str],
    columns: Mapping[str, Float[np.ndarray, " a"]],
    targets: Mapping[str, float],
    caption: str,
) -> str:
    """A table of what is measured in each picture, and of what was asked for.

    Args:
      attributes: names of the semantic variables.
      columns: heading -> the semantic variables of that picture.
      targets: attribute name -> wanted value, of those that are edited.
      caption: by what it is measured, and in what.
    """
    headings = "".join(f'<th scope="col">{html.escape(heading)}</th>' for heading in columns)
    rows = []
    for place, name in enumerate(attributes):
        cells = "".join(_bar(float(values[place])) for values in columns.values())
        asked = f"{targets[name]:.2f}" if name in targets else "–"
        rows.append(
            f'<tr data-attribute="{html.escape(name)}"><th scope="row">{html.escape(words(name))}'
            f"</th>{cells}<td>{asked}</td></tr>"
        )
    return (
        '<table class="sd-readings"><caption>'
        f"{html.escape(caption)}</caption>"
        f'<thead><tr><td></td>{headings}<th scope="col">asked for</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def strip(
    attribute: str,
    cells: Sequence[tuple[float, UInt8[np.ndarray, "s s 3"], float]],
    num_cells: int,
) -> str:
    """A face at rising targets of one attribute.

    Args:
      attribute: its name.
      cells: target, picture, and the measured value of the attribute.
      num_cells: to come in all; those that are not there yet are empty frames.
    """
    name = words(attribute)
    figures = [
        f"<figure>{image_tag(pixels, f'{name} at {strength:g}')}"
        f"<figcaption><b>{strength:g}</b> measured {measured:.2f}</figcaption></figure>"
        for strength, pixels, measured in cells
    ]
    figures += ['<figure class="sd-empty"><div></div><figcaption>…</figcaption></figure>'] * (
        num_cells - len(cells)
    )
    return (
        f'<div class="sd-strip" tabindex="0" role="group" aria-label="{html.escape(name)} by'
        f' strength">{"".join(figures)}</div>'
    )


def note(text: str) -> str:
    """A line about what is shown, which is read out when it changes."""
    return f'<p class="sd-note" role="status">{html.escape(text)}</p>'


def _bar(value: float) -> str:
    share = 100 * min(max(value, 0.0), 1.0)
    return f'<td style="--share: {share:.1f}%"><span class="sd-bar"></span>{value:.2f}</td>'
