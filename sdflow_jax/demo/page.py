"""The page: which part of it calls what, and shows what comes back.

Whatever belongs to one visitor is in that visitor's session (`gr.State`), which is dropped when the
page is closed or has not been used for an hour; the `Studio` is shared and keeps nothing. Pictures
travel inside the page's messages, so none lies on the disk; what is uploaded does for as long as it
takes to read it.
"""

import asyncio
import contextlib
import datetime
import functools
import pathlib
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import gradio as gr
import gradio.route_utils
from starlette.middleware import Middleware

from sdflow_jax.demo import markup
from sdflow_jax.demo.guard import Guard
from sdflow_jax.demo.photos import PhotoError, prepare_photo
from sdflow_jax.demo.settings import (
    HIGHEST,
    LOWEST,
    Settings,
    checked_seed,
    notes_in,
    png_with,
    settings_of,
)
from sdflow_jax.demo.studio import Edit, Face, Studio

SEEDS = (60_000, 60_002, 60_004, 60_005, 60_006, 60_009, 60_010, 60_012)
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
_THUMBNAIL = 128
_UNUSED_SECONDS = 3600
_WATCH_SECONDS = 60
_LARGEST_UPLOAD = 20 * 2**20
_LARGEST_REQUEST = _LARGEST_UPLOAD + 2**20  # with what a browser writes around the file
_MOST_STEPS = 200

# System fonts: a page that is opened asks nobody but its own server for anything.
_FONTS = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "sans-serif")
_FIXED_FONTS = ("ui-monospace", "Menlo", "Consolas", "monospace")

_HEAD = """
<header class="sd-head"><div><h1>SDFlow</h1>
<p>Change one attribute of a face and leave the rest. Pick a face, move the sliders, compare.</p></div>
<button type="button" class="sd-plain" id="sd-theme">Light / dark</button></header>
"""
_COMPARE = """
<div class="sd-compare"><label>Compare
<input type="range" id="sd-cut" min="0" max="100" step="1" value="50"
 aria-label="Where the face before editing ends and the edited one begins"></label>
<button type="button" class="sd-plain" id="sd-against" hidden>Compare with photo</button></div>
"""
_USE = """
<footer class="sd-use">
<p><strong>Use it responsibly.</strong> Edit photos only of people who agreed to it, say of every picture
that it was edited, and use none to deceive, harass or identify anybody.</p>
<p>The attributes are what an annotated data set calls by these names: categories of appearance, seen
through that data set's biases. A value tells what a classifier answers, and nothing about who a person
is. The pocket world's weights are for non-commercial research.</p>
<p>Photos stay on the machine that runs this page. They are read and deleted at once, and what this page
holds of them is forgotten when it is closed, or has not been used for an hour.</p>
</footer>
"""

# Pressed by clicking a face; `trigger` takes the seed to Python.
_PICK = """
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-seed]");
  if (button) trigger("select", { index: 0, value: Number(button.dataset.seed) });
});
"""


class _Upload(gradio.route_utils.GradioUploadFile):
    """A file that is being sent to the page, in a folder that no other file is put into.

    Gradio calls the folder after the content. Two visitors with one picture would share its file, and
    the first to have it read would delete it before the second.
    """

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.sha.update(secrets.token_bytes())


def _upload() -> gr.Image:
    """An upload whose file is handed over as it is: what it holds is for `prepare_photo` to say."""
    part = gr.Image(
        type="filepath",
        sources=["upload", "webcam", "clipboard"],
        label="A photo of one face, looking ahead; its middle square is used",
        height=220,
        elem_id="sd-upload",
    )
    # Gradio has checked before that the file is one that it has been sent. (A class of our own
    # would have it write a stub beside this module.)
    part.preprocess = lambda payload: payload and payload.path
    return part


def build_page(studio: Studio, *, seeds: tuple[int, ...] = SEEDS) -> gr.Blocks:
    """The page of a studio, to be launched with `launch_arguments`.

    Args:
      studio: warmed up.
      seeds: of the faces to pick from.
    """
    thumbnails = {seed: studio.thumbnail(seed, _THUMBNAIL) for seed in seeds}
    gradio.route_utils.GradioUploadFile = _Upload  # where Gradio's upload looks for it
    # Nothing counts visits, and files that a broken connection has left behind go after minutes.
    page = gr.Blocks(title="SDFlow", analytics_enabled=False, delete_cache=(60, 300))
    with page:
        parts = _lay_out(studio, thumbnails)
        _connect(page, studio, parts, seeds[0])

        async def forget(request: gr.Request):
            _forget(page.app, request.session_hash)

        page.unload(forget)
    page.queue(default_concurrency_limit=2, api_open=False)
    return page


def launch_arguments(host: str = "127.0.0.1") -> dict[str, Any]:
    """What the page's `launch` needs besides an address.

    Args:
      host: at which it will listen, and by whose name alone it may be asked for (`Guard`).
    """
    here = pathlib.Path(__file__).parent
    theme = gr.themes.Base(font=list(_FONTS), font_mono=list(_FIXED_FONTS), radius_size="lg")
    return {
        "theme": theme,
        "css": (here / "page.css").read_text(),
        "js": (here / "page.js").read_text(),
        "footer_links": [],
        "share": False,
        "ssr_mode": False,
        "mcp_server": False,
        "run_history": False,  # it would keep every visitor's pictures in the browser
        "enable_monitoring": False,
        "max_file_size": _LARGEST_UPLOAD,
        "state_session_capacity": 200,
        "app_kwargs": {
            "middleware": [Middleware(Guard, host=host, most_bytes=_LARGEST_REQUEST)],
            "lifespan": _forgetting,
        },
    }


@contextlib.asynccontextmanager
async def _forgetting(app) -> AsyncIterator[None]:
    """While the server runs, sessions that are not used any more are dropped."""

    async def watch():
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            _forget_unused(app)

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        task.cancel()


def _forget_unused(app) -> None:
    """Drop the sessions of which nothing has been asked for an hour.

    Gradio's own time to live counts from when a value was set last, not from when it was used; and
    it leaves in the session what the page showed.
    """
    now = datetime.datetime.now()
    for session, last_used in list(app.state_holder.time_last_used.items()):
        if (now - last_used).total_seconds() > _UNUSED_SECONDS:
            _forget(app, session)


def _forget(app, session: str) -> None:
    """Drop all that is held of one visitor, which Gradio keeps for an hour or until it needs the room."""
    sessions = app.state_holder
    with sessions.lock:
        sessions.session_data.pop(session, None)
        sessions.time_last_used.pop(session, None)
    # And what was made for it, but not fetched any more.
    unread = app.get_blocks()._queue.pending_messages_per_session
    while session in unread and not unread[session].empty():
        unread[session].get_nowait()


def _lay_out(studio: Studio, thumbnails) -> dict[str, Any]:
    """Place the page's parts; returns them by name."""
    parts: dict[str, Any] = {"face": gr.State(None)}
    gr.HTML(_HEAD)
    with gr.Row(elem_id="sd-main"):
        with gr.Column(scale=6, min_width=320):
            with gr.Column(elem_id="sd-view"):
                with gr.Column(elem_id="sd-stage"):
                    parts["after"] = gr.HTML(elem_id="sd-after")
                    parts["before"] = gr.HTML(elem_id="sd-before")
                gr.HTML(_COMPARE)
            parts["note"] = gr.HTML(elem_id="sd-about")
            parts["readings"] = gr.HTML(elem_id="sd-measured")
        with gr.Column(scale=5, min_width=320):
            with gr.Tabs():
                with gr.Tab("Faces"):
                    parts["faces"] = gr.HTML(markup.face_buttons(thumbnails), js_on_load=_PICK)
                with gr.Tab("Seed"), gr.Row(equal_height=True):
                    parts["seed"] = gr.Number(
                        value=60_000, precision=0, minimum=0, label="Seed", elem_id="sd-seed"
                    )
                    parts["sample"] = gr.Button("Sample", variant="primary", elem_id="sd-sample")
                    parts["next"] = gr.Button("Next seed", elem_id="sd-next")
                with gr.Tab("Photo", visible=studio.takes_photos):
                    parts["photo"] = _upload()
                    with gr.Row(equal_height=True):
                        parts["steps"] = gr.Slider(
                            10, _MOST_STEPS, 50, step=10, label="Refinement steps", buttons=[]
                        )
                        parts["refine"] = gr.Button("Refine the inversion", elem_id="sd-refine")
            with gr.Group(elem_id="sd-attributes"):
                parts["sliders"] = [
                    gr.Slider(
                        LOWEST,
                        HIGHEST,
                        0.5,
                        step=0.01,
                        label=markup.words(name),
                        elem_classes="sd-slider",
                        elem_id=f"sd-slider-{name}",
                        buttons=[],
                    )
                    for name in studio.attributes
                ]
            with gr.Row():
                parts["reset"] = gr.Button("Reset", elem_id="sd-reset", min_width=90)
                parts["download"] = gr.Button(
                    "Download PNG", variant="primary", elem_id="sd-download", min_width=120
                )
            parts["link"] = gr.Textbox(
                label="Link to these settings",
                interactive=False,
                buttons=["copy"],
                elem_id="sd-link",
            )
    with gr.Row(equal_height=True):
        parts["attribute"] = gr.Radio(
            [(markup.words(name), name) for name in studio.attributes],
            value=studio.attributes[0],
            label="A strip over targets of",
            scale=4,
        )
        parts["draw"] = gr.Button("Draw the strip", elem_id="sd-draw", scale=1, min_width=140)
    parts["strip"] = gr.HTML(elem_id="sd-strip")
    gr.HTML(_USE)
    parts["query"] = gr.Textbox(visible="hidden", elem_id="sd-query")
    parts["file"] = gr.JSON(visible="hidden")
    parts["settle"] = gr.Button(visible="hidden", elem_id="sd-settle")
    return parts


def _connect(page: gr.Blocks, studio: Studio, parts: dict[str, Any], first_seed: int) -> None:
    """Bind the page's parts to what they do."""
    face, sliders = parts["face"], parts["sliders"]
    shown = [parts[name] for name in ("after", "readings", "query")]
    everything = [face, parts["before"], parts["note"], parts["strip"], *shown, *sliders]
    actions = _Actions(studio, first_seed)
    # The pages' functions are no service for programs: that is what the package is for.
    bind = functools.partial(dict, api_visibility="private", show_progress="hidden")
    busy = bind(show_progress="minimal", show_progress_on=parts["note"])

    def told(event):
        """Afterwards the address and the link say what is shown."""
        event.then(None, parts["query"], parts["link"], js="(query) => sdAddress(query)", **bind())

    told(page.load(actions.open, None, everything, **busy))
    told(parts["faces"].select(actions.pick, None, everything, **busy))
    for trigger in (parts["sample"].click, parts["seed"].submit):
        told(trigger(actions.sample, parts["seed"], everything, **busy))
    told(
        parts["next"].click(
            actions.sample_next, parts["seed"], [parts["seed"], *everything], **busy
        )
    )
    told(
        parts["photo"].input(actions.upload, parts["photo"], [parts["photo"], *everything], **busy)
    )
    # One refinement at a time, in a lane of its own: it takes long, and nobody else waits for it.
    told(
        parts["refine"].click(
            actions.refine,
            [face, parts["steps"], *sliders],
            everything,
            concurrency_id="refinement",
            concurrency_limit=1,
            **bind(show_progress="full", show_progress_on=parts["note"]),
        )
    )
    for slider in sliders:
        slider.input(
            actions.follow, [face, *sliders], shown[:2], trigger_mode="always_last", **bind()
        ).then(None, js="() => sdFollowed()", **bind())
    told(
        parts["settle"].click(
            actions.settle, [face, *sliders], shown, trigger_mode="always_last", **bind()
        )
    )
    told(parts["reset"].click(actions.reset, face, [*shown, *sliders], **bind()))
    parts["draw"].click(
        actions.strip, [face, parts["attribute"], *sliders], parts["strip"], **bind()
    )
    parts["download"].click(actions.download, [face, *sliders], parts["file"], **bind()).success(
        None, parts["file"], None, js="(file) => sdDownload(file)", **bind()
    )


def _in_words(function: Callable) -> Callable:
    """A function whose expected failures are messages in the page."""

    @functools.wraps(function)
    def wrapped(*arguments, **options):
        with _failures_in_words():
            return function(*arguments, **options)

    return wrapped


@contextlib.contextmanager
def _failures_in_words() -> Iterator[None]:
    try:
        yield
    except (ValueError, FloatingPointError) as error:
        raise gr.Error(
            str(error), title="That did not work", duration=None, print_exception=False
        ) from error


class _Actions:
    """What the page's parts call. Every face comes from, and goes to, the visitor's own session."""

    def __init__(self, studio: Studio, first_seed: int):
        self.studio = studio
        self.first_seed = first_seed

    def open(self, request: gr.Request):
        """The page as its address asks for it."""
        settings, problems = settings_of(dict(request.query_params), self.studio.attributes)
        return self._show_seed(settings, problems)

    @_in_words
    def pick(self, event: gr.SelectData):
        return self._show_seed(Settings(checked_seed(event.value)))

    @_in_words
    def sample(self, seed):
        return self._show_seed(Settings(checked_seed(seed)))

    @_in_words
    def sample_next(self, seed):
        seed = checked_seed(checked_seed(seed) + 1)
        return (seed, *self._show_seed(Settings(seed)))

    @_in_words
    def upload(self, path: str | None):
        """A photo; or a picture that this page has made, whose face is sampled once more."""
        if path is None:
            return (None, *[gr.skip()] * (7 + len(self.studio.attributes)))
        file = pathlib.Path(path)
        try:
            notes = notes_in(file)
            photo = prepare_photo(file)
        finally:
            file.unlink(missing_ok=True)
        if notes.get("seed") is not None and isinstance(notes.get("targets"), dict):
            parts = {"seed": notes["seed"], **notes["targets"]}
            settings, _ = settings_of(parts, self.studio.attributes)
            if settings.seed is not None:
                gr.Info("The settings in this picture were taken over.")
                return (None, *self._show_seed(settings))
        return (None, *self._show(self.studio.invert(photo), {}))

    @_in_words
    def refine(self, face: Face | None, steps, *sliders, progress=gr.Progress()):  # noqa: B008
        if face is None or face.photo is None:
            raise PhotoError("There is no photo to refine the inversion of; upload one first.")
        targets = self.studio.targets(face, sliders)

        def report(done, num_steps):
            progress((done, num_steps), desc="Refining the inversion", unit="steps")

        refined = self.studio.invert(face.photo, num_steps=int(steps), report=report)
        return self._show(refined, targets)

    @_in_words
    def follow(self, face: Face | None, *sliders):
        targets = self.studio.targets(_present(face), sliders)
        edit = self.studio.follow(face, targets)
        return markup.after_layer(edit.picture), self._readings(face, edit, targets)

    @_in_words
    def settle(self, face: Face | None, *sliders):
        return self._edited(_present(face), self.studio.targets(face, sliders))

    @_in_words
    def reset(self, face: Face | None):
        return (*self._edited(_present(face), {}), *self.studio.sliders(face))

    def strip(self, face: Face | None, attribute, *sliders):
        """The strip, picture by picture."""
        with _failures_in_words():
            targets = self.studio.targets(_present(face), sliders)
            place = self.studio.attributes.index(attribute)
            cells = []
            yield markup.strip(attribute, cells, len(STRENGTHS))
            for strength in STRENGTHS:
                wanted = {**targets, attribute: strength}
                edit = self.studio.edit(face, wanted, self.studio.live_size)
                cells.append((strength, edit.picture, float(edit.measured[place])))
                yield markup.strip(attribute, cells, len(STRENGTHS))

    @_in_words
    def download(self, face: Face | None, *sliders):
        targets = self.studio.targets(_present(face), sliders)
        edit = self.studio.edit(face, targets, self.studio.full_size)
        content = png_with(edit.picture, self.studio.notes(face, targets, edit))
        name = f"sdflow-{'photo' if face.seed is None else face.seed}.png"
        return {"name": name, "content": markup.data_uri(content, "image/png")}

    def _show_seed(self, settings: Settings, problems=()):
        seed = self.first_seed if settings.seed is None else settings.seed
        return self._show(self.studio.sample(seed), settings.targets, problems)

    def _show(self, face: Face, targets, problems=()):
        """Everything of the page, for another face; problems are those of the link to it."""
        if face.photo is None:
            about = f"Sampled by seed {face.seed}."
        else:
            about = "Your photo, inverted" + (
                f" and refined by {face.num_steps} steps."
                if face.num_steps
                else ". Refining the inversion brings it closer to the photo."
            )
        # Here and not in a message that passes: it is why the page shows something else.
        about += "".join(f" The link was followed in part: {problem}." for problem in problems)
        values = [
            targets.get(name, start)
            for name, start in zip(self.studio.attributes, self.studio.sliders(face), strict=True)
        ]
        before = markup.before_stack(face.rendered, face.photo)
        return (face, before, markup.note(about), "", *self._edited(face, targets), *values)

    def _edited(self, face: Face, targets):
        edit = self.studio.edit(face, targets, self.studio.full_size)
        query = Settings(face.seed, targets).query()
        return markup.after_layer(edit.picture), self._readings(face, edit, targets), query

    def _readings(self, face: Face, edit: Edit, targets) -> str:
        columns = {"before": face.measured, "edited": edit.measured}
        if face.photo is not None:
            columns = {"photo": face.given, "inverted": face.measured, "edited": edit.measured}
        return markup.readings(self.studio.attributes, columns, targets, self.studio.measurement)


def _present(face: Face | None) -> Face:
    """A session's face, which is gone when the session has not been used for an hour."""
    if face is None:
        raise ValueError(
            "This page's face is forgotten, because it was closed or not used for an hour; pick one"
            " again."
        )
    return face
