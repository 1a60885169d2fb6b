"""The web page in a real browser: Debian's chromium, driven by playwright. Screenshots stay in pytest's folder."""

import re
import shutil
import threading
import time

import pytest
import uvicorn

from clip_italian import languages
from clip_italian.serve import run
from clip_italian.serve.app import create
from clip_italian.serve.encoder import SharedEncoder
from clip_italian.serve.metrics import Metrics
from clip_italian.serve.service import ServedIndex, Service
from clip_italian.serve.settings import Limits, access

CHROMIUM = shutil.which("chromium")
KEY = "0123456789abcdef"

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here; apt-get install chromium")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as engine:
        started = engine.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.fixture
def served(folder, encoder):
    """Starts services at free ports; gives their addresses."""
    running = []

    def start(keys=()):
        metrics = Metrics()
        shared = SharedEncoder(encoder, metrics.observe_batch)
        service = Service(ServedIndex(folder, shared), shared, "tiny", languages.get("it"), Limits())
        listening = run.listen(run.Address("127.0.0.1", 0))
        server = uvicorn.Server(
            uvicorn.Config(create(service, access("127.0.0.1", keys, (), ()), metrics), log_level="warning")
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        running.append((server, thread, listening))
        return f"http://127.0.0.1:{listening.getsockname()[1]}/"

    yield start
    for server, thread, listening in running:
        server.should_exit = True
        thread.join(20)
        listening.close()


@pytest.fixture
def page(browser, request, tmp_path):
    """A page that fails the test on script errors, refused content, and requests to anywhere else."""
    options = getattr(request, "param", {})
    context = browser.new_context(locale="it-IT", **options)
    context.set_default_timeout(20_000)
    opened = context.new_page()
    wrong = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda line: wrong.append(line.text) if "Content Security Policy" in line.text else None)
    opened.on(
        "request",
        lambda one: wrong.append(one.url) if not one.url.startswith(("http://127.0.0.1", "blob:", "data:")) else None,
    )
    yield opened
    context.close()
    assert wrong == []


def hits(page):
    return page.locator("#search .hits li")


def until(page, expression):
    """Wait for a condition; playwright's own way needs eval, which the page forbids."""
    deadline = time.monotonic() + 20
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(20)


def loaded(page):
    """Wait for the first thumbnails."""
    until(
        page, "[...document.querySelectorAll('.hits img')].slice(0, 4).every(one => one.complete && one.naturalWidth)"
    )


def test_search_and_look_closer(served, page, tmp_path):
    page.goto(served())
    page.get_by_text("Scrivi qualche parola").wait_for()
    page.get_by_label("Che cosa cerchi?").fill("un cerchio rosso")
    page.keyboard.press("Enter")
    page.get_by_text("immagini su 36").wait_for()
    assert hits(page).count() == 24
    assert "ms · modello tiny" in page.locator("#search .status").inner_text()
    loaded(page)
    page.screenshot(path=tmp_path / "search.png")
    page.get_by_role("button", name="Altre immagini").click()
    until(page, "document.querySelectorAll('.hits li').length > 24")
    hits(page).first.get_by_role("button").click()
    until(page, "document.querySelector('#viewer img').naturalWidth > 0")
    page.screenshot(path=tmp_path / "viewer.png")
    name = page.locator("#viewer-name").inner_text()
    page.get_by_role("button", name="Cerca immagini simili").click()
    until(page, "document.querySelector('#like-file').files.length == 1")
    page.locator(".hits b").first.get_by_text(name, exact=True).wait_for()


def test_examples_filters_and_nothing_found(served, page, tmp_path):
    page.goto(served())
    page.get_by_role("button", name="due cani sulla neve").click()
    page.get_by_text("immagini su 36").wait_for()
    assert page.get_by_label("Che cosa cerchi?").input_value() == "due cani sulla neve"
    page.get_by_text("Altre opzioni").click()
    page.get_by_label("Solo nella cartella").fill("cerchio")
    page.keyboard.press("Enter")
    until(page, "document.querySelectorAll('.hits li').length < 24")
    assert all(one.startswith("cerchio/") for one in page.locator(".hits b").all_inner_texts())
    page.get_by_label("Solo nella cartella").fill("Atlantide")
    page.keyboard.press("Enter")
    page.get_by_text("Nessuna immagine trovata").wait_for()
    assert hits(page).count() == 0
    page.screenshot(path=tmp_path / "nothing.png")


def test_errors_are_told_in_the_language_of_the_page(served, page, photos, tmp_path):
    page.goto(served())
    page.get_by_role("button", name="Cerca", exact=True).click()
    alert = page.locator("#search [role=alert]")
    assert alert.inner_text() == "Scrivi che cosa cercare, o scegli un'immagine."
    page.get_by_text("Altre opzioni").click()
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    page.locator("#like-file").set_input_files(broken)
    page.get_by_role("button", name="Cerca", exact=True).click()
    page.get_by_text("Così non si può cercare").wait_for()
    assert "picture 1: not a picture in a known format" in alert.inner_text()
    page.screenshot(path=tmp_path / "error.png")
    page.get_by_role("button", name="English").click()
    page.get_by_text("This cannot be asked.").wait_for()
    assert page.locator("html").get_attribute("lang") == "en"
    page.get_by_role("button", name="Remove").click()
    page.route("**/v1/search*", lambda route: route.abort())
    page.get_by_label("What are you looking for?").fill("gatto")
    page.keyboard.press("Enter")
    page.get_by_text("Is it still running?").wait_for()
    page.reload()
    page.get_by_role("tab", name="Classify").wait_for()  # the language is remembered


def test_classify_and_locate(served, page, photos, tmp_path):
    page.goto(served() + "#classify")
    page.get_by_role("button", name="Classifica", exact=True).click()
    page.get_by_text("Scegli prima un'immagine.").wait_for()
    page.locator("#classify-picture-file").set_input_files(photos / "cerchio" / "rosso-0.png")
    page.get_by_label("Etichette").fill("gatto, foto, nero")
    page.get_by_role("button", name="Classifica", exact=True).click()
    outcome = page.locator("#classify .labels tr, #classify [role=alert]:has-text('non sa ancora farlo')")
    outcome.first.wait_for()
    page.screenshot(path=tmp_path / "classify.png")
    shares = page.locator("#classify progress").evaluate_all("all => all.map(one => one.value)")
    assert not shares or (len(shares) == 3 and sum(shares) == pytest.approx(1, abs=1e-3))
    page.get_by_role("tab", name="Localizza").click()
    page.locator("#locate-picture-file").set_input_files(photos / "cerchio" / "rosso-0.png")
    page.get_by_label("Che cosa devo trovare?").fill("un cerchio")
    page.get_by_role("button", name="Localizza", exact=True).click()
    page.locator("#locate .overlay:visible").wait_for()
    assert re.match(r"[\d.,]+ passaggi del modello · ", page.locator("#locate .status").inner_text())
    page.screenshot(path=tmp_path / "locate.png")


def test_by_keyboard_alone(served, page):
    page.goto(served())
    page.get_by_role("tab", name="Cerca").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "tab-classify"
    page.keyboard.press("End")
    page.get_by_text("Immagini nell'indice").wait_for()
    assert page.url.endswith("#model")
    page.keyboard.press("Home")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "query"
    page.keyboard.type("gatto")
    page.keyboard.press("Enter")
    page.get_by_text("immagini su 36").wait_for()
    hits(page).first.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert page.locator("#viewer").get_attribute("open") is not None
    page.keyboard.press("Escape")
    assert page.locator("#viewer").get_attribute("open") is None


@pytest.mark.parametrize("page", [{"viewport": {"width": 360, "height": 740}, "color_scheme": "dark"}], indirect=True)
def test_on_a_phone_in_the_dark(served, page, tmp_path):
    address = served()
    for tab in ("search", "classify", "locate", "model"):
        page.goto(f"{address}#{tab}")
        if tab == "search":
            page.get_by_role("button", name="un topolino").click()
            page.get_by_text("immagini su 36").wait_for()
            loaded(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.screenshot(path=tmp_path / f"phone-{tab}.png")
    page.goto(f"{address}docs")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(int(part) for part in background[4:-1].split(",")) < 150


def test_a_key_is_asked_for_once(served, page):
    page.goto(served(keys=[KEY]))
    page.get_by_role("button", name="due cani sulla neve").click()
    page.get_by_label("Chiave API").fill(KEY)
    page.keyboard.press("Enter")
    page.get_by_text("immagini su 36").wait_for()
    loaded(page)
    page.reload()
    page.get_by_role("button", name="un topolino").click()
    page.get_by_text("immagini su 36").wait_for()
