"""The web page in a real browser: Debian's chromium, driven by playwright. Screenshots stay in pytest's folder."""

import re
import shutil
import threading
import time
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx
import numpy as np
import pytest
import uvicorn
from PIL import Image

from clip_italian import languages
from clip_italian.search import update
from clip_italian.serve import run
from clip_italian.serve.app import create
from clip_italian.serve.encoder import SharedEncoder
from clip_italian.serve.metrics import Metrics
from clip_italian.serve.service import ServedIndex, Service
from clip_italian.serve.settings import Limits, access
from tests.serve.conftest import exif

CHROMIUM = shutil.which("chromium")
KEY = "0123456789abcdef"

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here; apt-get install chromium"),
]


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

    def start(keys=(), index=folder):
        metrics = Metrics()
        shared = SharedEncoder(encoder, metrics.observe_batch)
        service = Service(ServedIndex(index, shared), shared, "tiny", languages.get("it"), Limits())
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


@pytest.fixture(scope="module")
def travels(tmp_path_factory, encoder):
    """An index of 130 pictures in two folders, with camera, date and text, and every other one with a place."""
    room = tmp_path_factory.mktemp("travels")
    random = np.random.default_rng(0)
    for number in range(130):
        folder, day = ("2019/estate", "2019:08:12") if number < 80 else ("2020", "2020:01:06")
        path = room / "photos" / folder / f"{number:03}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        place = ((45.0, 27.0, 36.0), (9.0, 11.0, 24.0)) if number % 2 else None
        blocks = random.integers(0, 256, (6, 8, 3), np.uint8)
        metadata = exif(f"{day} 14:30:00", place)
        metadata[0x010E] = f"un mosaico di {number} colori"
        Image.fromarray(blocks).resize((400, 300), Image.Resampling.NEAREST).save(path, exif=metadata)
    update.build(room / "idx", [room / "photos"], update.Model(encoder, encoder.info["folder"]))
    return room / "idx"


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


def names(page):
    """The ids of the pictures in the page, in order."""
    return page.locator(".hits .open").evaluate_all("all => all.map(one => one.dataset.id)")


def viewer(page):
    return page.locator("#viewer")


def place(page):
    """The number of the picture in the viewer."""
    return int(re.sub(r"\D", "", viewer(page).locator(".position").inner_text()))


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


def look(page):
    """Open the first picture and wait until it is there, large."""
    hits(page).first.locator(".open").click()
    until(page, "document.querySelector('#viewer img').naturalWidth > 0")


def scroll_to_the_end(page):
    """Scroll down until all pictures have come."""
    deadline = time.monotonic() + 20
    while not page.locator(".end").is_visible():
        assert time.monotonic() < deadline
        page.mouse.wheel(0, 2_000)
        page.wait_for_timeout(20)


def search(page, words="un gatto"):
    page.get_by_label("Che cosa cerchi?").fill(words)
    page.keyboard.press("Enter")
    page.locator("#search .status", has_text="immagini su").wait_for()


def ranking(address, **params):
    """The ids that the API gives, of as many pictures as it gives at once."""
    answer = httpx.get(f"{address}v1/search", params={"k": 100} | params).json()
    more = httpx.get(f"{address}v1/search", params={"k": 100, "skip": 100} | params).json()
    return [hit["id"] for hit in answer["hits"] + more["hits"]]


def test_search_and_look_closer(served, page, tmp_path):
    page.goto(served())
    page.get_by_text("Scrivi qualche parola").wait_for()
    search(page, "un cerchio rosso")
    assert hits(page).count() >= 24
    assert "ms · modello tiny" in page.locator("#search .status").inner_text()
    loaded(page)
    page.screenshot(path=tmp_path / "search.png")
    look(page)
    page.screenshot(path=tmp_path / "viewer.png")
    name = names(page)[0]
    assert name.endswith(page.locator("#viewer-name").inner_text())
    page.get_by_role("button", name="Cerca immagini simili").click()
    page.locator("#search .filters", has_text="Come questa immagine").wait_for()
    until(page, "location.hash.includes('like=')")
    until(page, f"document.querySelector('.hits .open').dataset.id == '{name}'")


def test_more_pictures_come_on_scrolling(served, page, travels):
    address = served(index=travels)
    page.goto(address)
    search(page)
    assert hits(page).count() < 130
    scroll_to_the_end(page)
    page.get_by_text("Sono tutte.").wait_for()
    assert names(page) == ranking(address, text="un gatto")
    assert not page.get_by_role("button", name="Altre immagini").is_visible()


def test_pictures_that_come_twice_are_shown_once(served, page, travels):
    """As where copies are grouped anew, or the index has changed between two pages."""
    address = served(index=travels)

    def overlap(route):
        query = parse_qs(urlsplit(route.request.url).query)
        skip = int(query["skip"][0])
        changed = route.request.url.replace(f"skip={skip}", f"skip={max(0, skip - 30)}")
        route.continue_(url=changed)

    page.route("**/v1/search?*", overlap)
    page.goto(address)
    search(page)
    scroll_to_the_end(page)
    found = names(page)
    assert len(found) == len(set(found))
    assert found == ranking(address, text="un gatto")[: len(found)]
    assert len(found) >= 96


def test_the_page_holds_only_some_of_many_pictures(served, page, travels):
    address = served(index=travels)
    script = httpx.get(f"{address}search.js").text
    assert script.count("most = 480") == 1
    body = script.replace("most = 480", "most = 60")
    page.route("**/search.js", lambda route: route.fulfill(body=body, content_type="text/javascript"))
    page.goto(address)
    search(page)
    everything = ranking(address, text="un gatto")
    assert len(everything) > 100
    scroll_to_the_end(page)
    columns = page.evaluate("getComputedStyle(document.querySelector('.hits')).gridTemplateColumns.split(' ').length")
    last = names(page)
    assert 60 <= len(last) < 60 + columns
    assert last == everything[-len(last) :]
    watched = page.evaluate_handle("document.querySelector('.hits li')")
    before = watched.evaluate("one => one.getBoundingClientRect().top + scrollY")
    assert before > 0
    deadline = time.monotonic() + 20
    while names(page)[0] != everything[0]:  # and back
        assert time.monotonic() < deadline
        page.mouse.wheel(0, -1_500)
        page.wait_for_timeout(20)
    first = names(page)
    assert 24 <= len(first) <= 60 + columns
    assert first == everything[: len(first)]
    assert not page.get_by_role("button", name="Immagini precedenti").is_visible()


def test_pictures_that_go_do_not_move_those_on_the_screen(served, page, travels):
    address = served(index=travels)
    body = httpx.get(f"{address}search.js").text.replace("most = 480", "most = 60")
    page.route("**/search.js", lambda route: route.fulfill(body=body, content_type="text/javascript"))
    page.goto(address)
    search(page)
    for _ in range(10):
        page.mouse.wheel(0, 300)
        page.wait_for_timeout(50)
    kept = set()
    for way in ("onwards()", "backwards()", "onwards()"):
        page.wait_for_timeout(200)
        middle = "document.elementFromPoint(innerWidth / 2, innerHeight / 2).closest('li')"
        seen = page.evaluate_handle(middle)
        before, first = seen.evaluate("one => one.getBoundingClientRect().top"), names(page)[0]
        page.evaluate(way)
        page.wait_for_timeout(200)
        kept.add(names(page)[0] == first)
        assert seen.evaluate("one => one.getBoundingClientRect().top") == pytest.approx(before, abs=1)
    assert False in kept


def test_more_pictures_by_button(served, page, travels):
    page.add_init_script("window.IntersectionObserver = class { observe() {} unobserve() {} }")
    page.goto(served(index=travels))
    search(page)
    assert hits(page).count() == 24
    page.get_by_role("button", name="Altre immagini").focus()
    page.keyboard.press("Enter")
    until(page, "document.querySelectorAll('.hits li').length == 48")
    until(page, "document.activeElement == document.querySelectorAll('.hits .open')[24]")


def test_large_pictures_by_keyboard(served, page, travels, tmp_path):
    address = served(index=travels)
    page.goto(address)
    search(page)
    everything = ranking(address, text="un gatto")
    hits(page).first.locator(".open").focus()
    page.keyboard.press("Enter")
    until(page, "document.querySelector('#viewer img').naturalWidth == 400")
    page.keyboard.press("ArrowLeft")  # there is none before
    assert place(page) == 1
    for _ in range(30):  # beyond those fetched so far
        page.keyboard.press("ArrowRight")
    until(page, "document.querySelector('#viewer .position').textContent == 'Immagine 31'")
    assert page.locator("#viewer-name").inner_text() == everything[30].rsplit("/", 1)[1]
    page.keyboard.press("ArrowLeft")
    assert place(page) == 30
    for _ in range(12):  # the focus stays inside
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement == document.body || !!document.activeElement.closest('#viewer')")
    text = f"un mosaico di {int(everything[29][-7:-4])} colori"
    viewer(page).get_by_text(text).wait_for()
    assert page.locator("#viewer figure img").get_attribute("alt") == text
    page.keyboard.press("Escape")
    until(page, "!document.querySelector('#viewer').open")
    until(page, f"document.activeElement.dataset.id == '{everything[29]}'")
    assert names(page)[:30] == everything[:30]
    page.keyboard.press("Enter")
    assert viewer(page).is_visible()
    page.go_back()
    until(page, "!document.querySelector('#viewer').open")
    assert "text=un+gatto" in page.url
    page.go_forward()
    until(page, "document.querySelector('#viewer').open")
    assert place(page) == 30


def test_the_last_large_picture_is_the_end(served, page):
    page.goto(served() + "#search?text=gatto&folder=cerchio")
    hits(page).first.wait_for()
    count = hits(page).count()
    hits(page).last.locator(".open").click()
    assert place(page) == count
    assert page.get_by_role("button", name="Immagine successiva").get_attribute("aria-disabled") == "true"
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(100)
    assert place(page) == count
    page.get_by_role("button", name="Immagine precedente").click()
    assert place(page) == count - 1
    assert page.get_by_role("button", name="Immagine successiva").get_attribute("aria-disabled") == "false"


PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}


@pytest.mark.parametrize("page", [PHONE], indirect=True)
def test_a_finger_turns_large_pictures(served, page):
    page.goto(served())
    search(page)
    hits(page).first.locator(".open").tap()
    until(page, "document.querySelector('#viewer img').naturalWidth > 0")
    touch = page.context.new_cdp_session(page)

    def swipe(start, end):
        steps = [(start[0] + (end[0] - start[0]) * n / 5, start[1] + (end[1] - start[1]) * n / 5) for n in range(6)]
        for kind, points in [("touchStart", steps[:1]), *(("touchMove", [one]) for one in steps[1:]), ("touchEnd", [])]:
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in points]})

    swipe((300, 250), (80, 260))
    until(page, "document.querySelector('#viewer .position').textContent == 'Immagine 2'")
    swipe((80, 250), (300, 240))
    until(page, "document.querySelector('#viewer .position').textContent == 'Immagine 1'")
    swipe((200, 350), (190, 150))  # up is no turn
    page.wait_for_timeout(100)
    assert place(page) == 1


def test_similar_pictures_and_back(served, page):
    page.goto(served())
    search(page)
    page.mouse.wheel(0, 400)
    until(page, "scrollY >= 100")
    name, before, scrolled = names(page)[9], names(page), page.evaluate("scrollY")
    hits(page).nth(9).get_by_role("button", name="Simili").click()
    until(page, f"document.querySelector('.hits .open').dataset.id == '{name}'")
    assert page.get_by_label("Che cosa cerchi?").input_value() == ""
    until(page, "scrollY == 0")
    until(page, "document.querySelector('.filters img').naturalWidth > 0")
    address = page.url
    page.go_back()
    until(page, f"document.querySelector('.hits .open').dataset.id == '{before[0]}'")
    assert page.get_by_label("Che cosa cerchi?").input_value() == "un gatto"
    assert names(page) == before
    until(page, f"Math.abs(scrollY - {scrolled}) <= 1")
    page.goto("about:blank")
    page.goto(address)  # a link to similar pictures
    until(page, f"document.querySelector('.hits .open')?.dataset.id == '{name}'")
    page.get_by_role("button", name="Togli: Come questa immagine").click()
    assert page.evaluate("document.activeElement.id") == "query"
    assert page.locator(".filters button").count() == 0


def test_filters_are_in_the_address(served, page, travels, tmp_path):
    address = served(index=travels)
    page.goto(address)
    page.get_by_text("Altre opzioni").click()
    page.get_by_label("Solo nella cartella", exact=True).fill("2019")
    page.get_by_label("Dal giorno", exact=True).fill("2019-08-12")
    page.get_by_label("Al giorno", exact=True).fill("2019-08-31")
    page.get_by_label("Fotocamera").fill("pinhole")
    page.get_by_label("Vicino a").fill("45.46,9.19")
    page.get_by_label("Entro").fill("5km")
    search(page)
    days, circle = {"since": "2019-08-12", "until": "2019-08-31"}, {"near": "45.46,9.19", "within": "5km"}
    filters = {"folder": "2019", "camera": "pinhole"} | days | circle
    expected = ranking(address, text="un gatto", **filters)
    assert 0 < len(expected) <= 40
    scroll_to_the_end(page)
    assert names(page) == expected
    place, _, query = urlsplit(page.url).fragment.partition("?")
    assert (place, dict(parse_qsl(query))) == ("search", filters | {"text": "un gatto"})
    chips = page.locator(".filters button").all_inner_texts()
    assert any("31 ago 2019" in chip for chip in chips)
    assert any("45.46,9.19 (5km)" in chip for chip in chips)
    page.screenshot(path=tmp_path / "filters.png")
    link = page.url
    page.get_by_role("button", name="Togli: Al giorno").click()
    until(page, "!location.hash.includes('until')")
    page.get_by_label("Che cosa cerchi?").fill("una foto")
    page.keyboard.press("Enter")
    until(page, "location.hash.includes('una+foto')")
    page.go_back()
    page.go_back()
    until(page, "location.hash.includes('until')")
    assert page.get_by_label("Al giorno", exact=True).input_value() == "2019-08-31"
    until(page, "document.querySelector('.hits li')")
    page.goto("about:blank")
    page.goto(link)
    page.locator("#search .status", has_text="immagini su").wait_for()
    scroll_to_the_end(page)
    assert names(page) == expected
    assert page.get_by_label("Che cosa cerchi?").input_value() == "un gatto"


def test_back_leads_from_a_tab_to_the_search_and_to_the_start(served, page):
    page.goto(served())
    search(page)
    page.get_by_role("tab", name="Classifica").click()
    assert urlsplit(page.url).fragment == "classify"
    page.get_by_role("tab", name="Cerca").click()
    assert "text=un+gatto" in page.url
    page.get_by_role("tab", name="Classifica").click()
    page.go_back()
    until(page, "document.querySelectorAll('.hits li').length >= 24")
    assert page.get_by_role("tab", name="Cerca").get_attribute("aria-selected") == "true"
    while "text=" in page.url:
        page.go_back()
    page.get_by_text("Scrivi qualche parola").wait_for()
    assert hits(page).count() == 0
    assert page.get_by_label("Che cosa cerchi?").input_value() == ""


def test_dates_folders_and_maps(served, page, travels, tmp_path):
    page.goto(served(index=travels) + "#search?text=gatto&near=45.46,9.19&folder=2019")
    hits(page).first.wait_for()
    loaded(page)
    about = hits(page).first.locator(".facts").inner_text()
    assert about == "12 ago 2019 · 2019/estate"
    link = hits(page).first.get_by_role("link", name="Mappa (openstreetmap.org)")
    assert link.inner_text() == "Mappa"
    address = "https://www.openstreetmap.org/?mlat=45.46000&mlon=9.19000#map=15/45.46000/9.19000"
    assert link.get_attribute("href") == address
    assert (link.get_attribute("rel"), link.get_attribute("target")) == ("noopener noreferrer", "_blank")
    page.screenshot(path=tmp_path / "dates.png", full_page=True)
    look(page)
    facts = viewer(page).locator(".facts")
    facts.get_by_text("Pinhole 3").wait_for()
    assert "lunedì 12 agosto 2019" in facts.inner_text()
    assert "14:30" in facts.inner_text()
    assert facts.get_by_role("link", name="Mappa").get_attribute("rel") == "noopener noreferrer"
    page.screenshot(path=tmp_path / "facts.png")
    facts.get_by_role("button", name="Scattate qui vicino").click()
    until(page, "location.hash.includes('within=1km')")
    until(page, "!document.querySelector('#viewer').open")
    page.get_by_role("button", name="English").click()
    until(page, "document.querySelector('.hits .facts').textContent.includes('Aug 12, 2019')")


def test_pictures_without_a_place_have_no_map(served, page):
    page.goto(served() + "#search?text=gatto")
    hits(page).first.wait_for()
    assert page.locator(".hits a").count() == 0
    look(page)
    assert viewer(page).get_by_role("link").count() == 0


def test_download_in_full_size(served, page, travels, tmp_path):
    page.goto(served(index=travels, keys=[KEY]) + "#search?text=gatto&folder=2020")
    page.get_by_label("Chiave API").fill(KEY)
    page.keyboard.press("Enter")
    hits(page).first.wait_for()
    look(page)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Scarica").click()
    assert saved.value.suggested_filename == page.locator("#viewer-name").inner_text()
    saved.value.save_as(tmp_path / "saved.jpg")
    with Image.open(tmp_path / "saved.jpg") as image:
        assert (image.size, dict(image.getexif())) == ((400, 300), {})


def test_a_picture_that_is_gone(served, page, alters, photos):
    for path in photos.glob("*/*.png"):
        path.unlink()
    page.goto(served() + "#search?text=gatto")
    hits(page).first.get_by_text("il file non c'è più").wait_for()
    hits(page).first.locator(".open").click()
    viewer(page).get_by_text("il file non c'è più").wait_for()
    page.keyboard.press("ArrowRight")
    assert place(page) == 2


def test_examples_filters_and_nothing_found(served, page, tmp_path):
    page.goto(served())
    page.get_by_role("button", name="due cani sulla neve").click()
    page.get_by_text("immagini su 36").wait_for()
    assert page.get_by_label("Che cosa cerchi?").input_value() == "due cani sulla neve"
    page.get_by_text("Altre opzioni").click()
    page.get_by_label("Solo nella cartella", exact=True).fill("cerchio")
    page.keyboard.press("Enter")
    until(page, "document.querySelectorAll('.hits li').length < 24")
    assert all(one.startswith("cerchio/") for one in names(page))
    page.get_by_label("Solo nella cartella", exact=True).fill("Atlantide")
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
    page.locator("#like").get_by_role("button", name="Remove").click()
    page.route("**/v1/search*", lambda route: route.abort())
    page.get_by_label("What are you looking for?").fill("gatto")
    page.keyboard.press("Enter")
    page.get_by_text("Is it still running?").wait_for()
    page.reload()
    page.get_by_role("tab", name="Classify").wait_for()  # the language is remembered


def test_errors_while_turning_are_told_in_the_viewer(served, page, travels):
    page.add_init_script("window.IntersectionObserver = class { observe() {} unobserve() {} }")
    page.goto(served(index=travels) + "#search?text=gatto")
    hits(page).last.locator(".open").click()
    assert place(page) == 24
    page.route("**/v1/search*", lambda route: route.abort())
    page.keyboard.press("ArrowRight")
    viewer(page).get_by_text("È ancora in funzione?").wait_for()
    page.unroute("**/v1/search*")
    page.keyboard.press("ArrowRight")
    until(page, "document.querySelector('#viewer .position').textContent == 'Immagine 25'")
    assert not viewer(page).locator(".error").is_visible()


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
    hits(page).first.locator(".open").focus()
    page.keyboard.press("Enter")
    assert viewer(page).get_attribute("open") is not None
    page.keyboard.press("Escape")
    assert viewer(page).get_attribute("open") is None


@pytest.mark.parametrize("page", [PHONE | {"color_scheme": "dark"}], indirect=True)
def test_on_a_phone_in_the_dark(served, page, travels, tmp_path):
    address = served(index=travels)
    wide = "document.documentElement.scrollWidth"
    for tab in ("search", "classify", "locate", "model"):
        page.goto(f"{address}#{tab}")
        if tab == "search":
            page.get_by_role("button", name="un topolino").click()
            page.get_by_text("immagini su 130").wait_for()
            loaded(page)
        assert page.evaluate(wide) <= 360
        page.screenshot(path=tmp_path / f"phone-{tab}.png", full_page=tab == "search")
    page.goto("about:blank")
    page.goto(f"{address}#search?text=gatto&near=45.46,9.19&folder=2019/estate&camera=Pinhole+3&since=2019-08-01")
    hits(page).first.wait_for()
    page.get_by_text("Altre opzioni").tap()
    assert page.evaluate(wide) <= 360
    page.screenshot(path=tmp_path / "phone-filters.png")
    look(page)
    viewer(page).get_by_text("Pinhole 3").wait_for()
    assert page.evaluate(wide) <= 360
    assert page.evaluate("document.querySelector('#viewer').scrollWidth") <= 360
    page.screenshot(path=tmp_path / "phone-viewer.png")
    page.goto(f"{address}docs")
    assert page.evaluate(wide) <= 360
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
    page.get_by_text("immagini su 36").wait_for()  # the address has the search, the browser the key


def test_texts_have_enough_contrast(served):
    """WCAG 2.2's formula, 4.5 to 1 for text, on the colours of both schemes."""
    style = httpx.get(f"{served()}page.css").text
    light, dark = re.findall(r":root \{([^}]*--ink[^}]*)\}", style)

    def luminance(colour):
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return np.dot(linear, (0.2126, 0.7152, 0.0722))

    for scheme in (light, dark):
        colours = dict(re.findall(r"--([\w-]+): (#\w{6})", scheme))
        pairs = [(ink, paper) for ink in ("ink", "soft", "accent") for paper in ("page", "card")]
        for ink, paper in [*pairs, ("on-accent", "accent")]:
            darker, lighter = sorted((luminance(colours[ink]), luminance(colours[paper])))
            assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (ink, paper)
