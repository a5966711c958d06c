"""The page as a visitor has it, in Debian's Chromium: `apt-get install chromium chromium-driver`."""

import collections
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse

import pytest
from PIL import Image

from sdflow_jax.demo.settings import notes_in

gradio = pytest.importorskip("gradio", reason='needs gradio: pip install "sdflow_jax[demo]"')
selenium = pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install selenium")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER), reason="needs Debian's packages chromium and chromium-driver"
    ),
]
ROOT = pathlib.Path(__file__).parents[2]
_FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run"
    " --disable-background-networking --disable-component-update --disable-sync"
    " --window-size=1280,1400"
)
_START_SECONDS = 900  # loading and compiling, on two slow cores that others use as well
_SECONDS = 120
_QUIET_SECONDS = 0.5  # longer than a slider waits before it asks for its full picture


class Page:
    """A browser with the page open, and short words for what a visitor looks at and does."""

    def __init__(self, address: str, folder: pathlib.Path):
        options = selenium.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in (*_FLAGS.split(), f"--user-data-dir={folder / 'profile'}"):
            options.add_argument(flag)
        self.downloads = folder / "downloads"
        options.add_experimental_option(
            "prefs", {"download.default_directory": str(self.downloads)}
        )
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        service = selenium.ChromeService(DRIVER)
        self.driver = selenium.Chrome(options=options, service=service)
        self.address = address
        self._hosts = collections.Counter()
        self._answers = set()  # that are still being sent, by the browser's number

    def open(self, query: str = "") -> None:
        self.rest()
        self.driver.get(f"{self.address}/{query}")
        self.until(lambda: self.size("#sd-after img") > 0)
        self.until(lambda: "=" in self.link() or "seed" in self.driver.current_url)

    def until(self, condition, seconds: float = _SECONDS):
        """Wait for a condition; the page may be rebuilding what is looked at."""
        end = time.monotonic() + seconds
        failure = None
        while time.monotonic() < end:
            try:
                if found := condition():
                    return found
            except Exception as error:  # gone, or not there yet
                failure = error
            time.sleep(0.1)
        raise AssertionError("the page did not get there in time") from failure

    def rest(self) -> None:
        """Wait until all that was asked of the server has been answered, follow-ups included.

        A page that is left before that reports its broken connection as an error.
        """
        quiet_since = time.monotonic()

        def is_at_rest():
            nonlocal quiet_since
            self._watch()
            if self._answers:
                quiet_since = time.monotonic()
            return time.monotonic() - quiet_since > _QUIET_SECONDS

        self.until(is_at_rest)

    def find(self, selector: str):
        return self.driver.find_element("css selector", selector)

    def source(self, selector: str) -> str:
        return self.find(selector).get_attribute("src")

    def size(self, selector: str) -> int:
        code = "return document.querySelector(arguments[0])?.naturalWidth ?? 0"
        return self.driver.execute_script(code, selector)

    def readings(self) -> dict[str, list[str]]:
        """Attribute -> before, edited, and asked for."""
        code = """return [...document.querySelectorAll("#sd-measured tbody tr")].map(
            (row) => [row.dataset.attribute, ...[...row.cells].slice(1).map((c) => c.innerText)])"""
        return {name: [x.strip() for x in rest] for name, *rest in self.driver.execute_script(code)}

    def link(self) -> str:
        return self.find("#sd-link textarea, #sd-link input").get_attribute("value")

    def text(self) -> str:
        return self.driver.execute_script("return document.body.innerText")

    def press(self, selector: str, *keys: str) -> None:
        element = self.find(selector)
        for key in keys:
            element.send_keys(key)

    def click(self, selector: str) -> None:
        element = self.find(selector)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def tab(self, name: str) -> None:
        code = """[...document.querySelectorAll('button[role=tab]')]
            .find((tab) => tab.innerText.includes(arguments[0])).click()"""
        self.driver.execute_script(code, name)

    def requests(self) -> collections.Counter:
        """Hosts that have been asked for anything."""
        self._watch()
        return self._hosts

    def _watch(self) -> None:
        """Read what has gone over the network since the last time."""
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            kind, told = message["method"], message["params"]
            if kind in ("Network.requestWillBeSent", "Network.webSocketCreated"):
                address = urllib.parse.urlsplit(told.get("url") or told["request"]["url"])
                if address.scheme in ("http", "https", "ws", "wss"):
                    self._hosts[address.netloc] += 1
                if address.path.endswith(("/queue/join", "/queue/data", "/upload")):
                    self._answers.add(told["requestId"])
            elif kind in ("Network.loadingFinished", "Network.loadingFailed"):
                self._answers.discard(told["requestId"])


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of the page of the pocket world, and the folder of its temporary files."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("server")
    process = subprocess.Popen(
        [sys.executable, "-m", "sdflow_jax.demo", "--port", str(port)],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder), "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        text=True,
    )
    watch = threading.Timer(_START_SECONDS, process.kill)
    watch.start()
    told = next((line for line in process.stdout if "the page is at" in line), None)
    watch.cancel()
    assert told is not None, "the page did not start"
    yield f"http://127.0.0.1:{port}", folder
    process.send_signal(signal.SIGINT)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
    assert not list(folder.glob("sdflow-demo-*")), "temporary files were left behind"


@pytest.fixture(scope="module")
def page(server, tmp_path_factory):
    page = Page(server[0], tmp_path_factory.mktemp("browser"))
    page.open()
    yield page
    page.driver.quit()


def files_of(server) -> list[pathlib.Path]:
    return [x for x in server[1].glob("sdflow-demo-*/**/*") if x.is_file()]


def sample(page, seed: int) -> None:
    page.tab("Seed")
    page.until(lambda: page.find("#sd-seed input").is_displayed())
    before = page.source("#sd-before img")
    field = page.find("#sd-seed input")
    field.clear()
    field.send_keys(str(seed))
    page.click("#sd-sample")
    page.until(lambda: page.source("#sd-before img") != before and f"seed={seed}" in page.link())


def test_a_face_is_sampled_and_edited_by_keyboard(page, server):
    sample(page, 60_001)
    assert page.size("#sd-after img") >= 128
    for name, key in (("Eyeglasses", "\ue014"), ("Young", "\ue012")):  # right, left
        before, picture = page.readings(), page.source("#sd-after img")
        page.press(
            f"#sd-slider-{name} input[type=range]",
            *[key] * 12,
            "\ue00f" if key == "\ue014" else "\ue00e",
        )
        page.until(
            lambda p=picture, n=name: page.source("#sd-after img") != p and f"{n}=" in page.link()
        )
        after = page.until(lambda b=before: page.readings() != b and page.readings())
        assert after[name][0] == before[name][0] and after[name][2] != "–"
    assert {"Eyeglasses", "Young"} <= urllib.parse.parse_qs(page.link().partition("?")[2]).keys()
    assert page.driver.current_url == page.link()


def test_a_link_opens_what_was_shown(page):
    page.open("?seed=60004&Young=1&Eyeglasses=0&Male=old")
    page.until(lambda: "Young=1" in page.link())
    assert page.link().endswith("?seed=60004&Eyeglasses=0&Young=1")
    page.until(lambda: "Male must be a number" in page.text())
    assert page.find("#sd-slider-Young input[type=range]").get_attribute("value") == "1"


def test_the_download_holds_its_settings(page):
    page.open("?seed=60004&Young=1")
    page.click("#sd-download")
    (file,) = page.until(lambda: list(page.downloads.glob("*.png")))
    notes = notes_in(file)
    assert file.name == "sdflow-60004.png"
    assert notes["seed"] == 60004 and notes["targets"] == {"Young": 1.0}
    with Image.open(file) as image:
        assert image.size == (page.size("#sd-after img"),) * 2


def test_a_strip_shows_five_strengths(page):
    page.click("#sd-draw")
    page.until(lambda: len(page.driver.find_elements("css selector", "#sd-strip img")) == 5)


def upload(page, file: pathlib.Path) -> None:
    page.tab("Photo")
    page.until(lambda: page.find("#sd-upload input[type=file]"))
    page.find("#sd-upload input[type=file]").send_keys(str(file))


@pytest.mark.parametrize("name", ["notes.txt", "notes.png"])
def test_a_file_that_is_no_picture_is_told(page, tmp_path, server, name):
    page.open()
    picture = page.source("#sd-after img")
    (tmp_path / name).write_text("This is no picture.")
    upload(page, tmp_path / name)
    words = "Invalid file type" if name.endswith("txt") else "cannot be opened as a picture"
    page.until(lambda: words in page.text())
    assert page.source("#sd-after img") == picture
    assert not files_of(server)


def test_a_photo_is_inverted_and_not_kept(page, tmp_path, server):
    page.open()
    photo = tmp_path / "photo.jpg"
    data = pytest.importorskip("skimage.data", reason="needs a photo: pip install scikit-image")
    Image.fromarray(data.astronaut()[:280, 90:390]).save(photo)  # in the public domain
    upload(page, photo)
    page.until(lambda: page.size("#sd-before .sd-photo") > 0)
    page.until(lambda: "seed" not in page.link())  # the link follows the picture
    assert len(page.readings()["Young"]) == 4  # photo, inverted, edited, asked for
    page.click("#sd-against")
    assert page.find("#sd-before .sd-photo").is_displayed()
    assert not page.find("#sd-before .sd-tag-rendered").is_displayed()
    page.click("#sd-against")
    assert not page.find("#sd-before .sd-photo").is_displayed()
    assert page.find("#sd-before .sd-tag-rendered").is_displayed()
    assert not files_of(server)


def test_two_visitors_do_not_see_each_other(page, server, tmp_path):
    other = Page(server[0], tmp_path)
    try:
        other.open("?seed=60012")
        page.open("?seed=60005")
        assert page.source("#sd-before img") != other.source("#sd-before img")
        shown = other.source("#sd-after img")
        page.press("#sd-slider-Male input[type=range]", "\ue010")  # to its end
        page.until(lambda: "Male=1.5" in page.link())
        assert other.source("#sd-after img") == shown and "Male" not in other.link()
    finally:
        other.driver.quit()


def test_a_phone_shows_all_of_it(page):
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        page.open()
        width = page.driver.execute_script("return document.documentElement.scrollWidth")
        assert width <= 390
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_nothing_came_from_elsewhere_and_nothing_failed(page, server):
    """Last: of all that the tests above have done."""
    page.rest()
    hosts = page.requests()
    assert set(hosts) == {urllib.parse.urlsplit(server[0]).netloc} and hosts.total() > 50
    errors = [entry for entry in page.driver.get_log("browser") if entry["level"] == "SEVERE"]
    assert not errors
