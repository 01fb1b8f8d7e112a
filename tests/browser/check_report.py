"""The report in a real browser: `make test-report`. Headless Chromium at desktop and phone width, no network."""
import base64
import json
import os
import re
import shutil
import subprocess
import time

import pytest
import websocket

from common.paths import ORIGINAL
from data import sets
from evaluation import claims, report

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-component-update", "--disable-background-networking",
         "--remote-debugging-port=0", "--remote-allow-origins=*")
PATIENCE = 120  # seconds: a busy machine starts a browser slowly
WIDTHS = {"desktop": 1280, "phone": 390}
FIRST = """JSON.stringify({
  bottoms: [...document.querySelectorAll(".lede, .answer figure, .claim")].map(part =>
      part.getBoundingClientRect().bottom),
  paper: getComputedStyle(document.body).backgroundColor, ink: getComputedStyle(document.body).color})"""
LOOK = """JSON.stringify({
  window: innerWidth, width: document.documentElement.clientWidth, needs: document.documentElement.scrollWidth,
  tables: [...document.querySelectorAll("table")].map(table => [table.caption.textContent, table.rows.length]),
  points: [...document.querySelectorAll(".claim thead th:nth-child(2), .shares thead th:last-child")].map(part =>
      part.getBoundingClientRect().right),
  boxed: [...document.querySelectorAll("table")].every(table => table.parentElement.className == "wide"),
  beyond: [...document.querySelectorAll("body *")].filter(part => !part.parentElement.closest(".wide")
      && part.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
      .map(part => part.outerHTML.slice(0, 80)),
  pictures: [...document.images].map(picture => [picture.naturalWidth, picture.alt]),
  links: [...document.querySelectorAll("nav a")].map(link => !!document.querySelector(link.getAttribute("href")))})"""


class Page:
    """One page of a browser, spoken to over its debugging socket."""

    def __init__(self, address):
        self.socket = websocket.create_connection(address, timeout=PATIENCE, suppress_origin=True)
        self.number, self.events = 0, []

    def ask(self, method, **parameters):
        """The answer to one command; events that come before it are kept."""
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while (message := json.loads(self.socket.recv())).get("id") != self.number:
            self.events.append(message)
        assert "error" not in message, message
        return message["result"]

    def wait_for(self, event):
        """Read until an event has come."""
        while not any(message.get("method") == event for message in self.events):
            self.events.append(json.loads(self.socket.recv()))


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """The debugging address of a headless Chromium with an empty profile, which is ended afterwards."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert program, "no Chromium: apt-get install -y chromium"
    profile = tmp_path_factory.mktemp("profile")
    process = subprocess.Popen([program, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
                               stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    port_file, until = profile / "DevToolsActivePort", time.monotonic() + PATIENCE
    while not (port_file.exists() and len(port_file.read_text().split()) == 2):
        assert process.poll() is None and time.monotonic() < until, "Chromium did not start"
        time.sleep(0.2)
    port, path = port_file.read_text().split()
    yield f"ws://127.0.0.1:{port}", path
    process.terminate()
    process.wait(PATIENCE)


@pytest.fixture(scope="module")
def written(tmp_path_factory, scored_run):
    """report.html of three made-up runs with pictures, whose names are long or hostile."""
    folder, data = tmp_path_factory.mktemp("runs"), sets.load("digits", image_size=8)
    label = "<script>throw 1</script> digits of a name that is rather long for a narrow screen"
    runs = [scored_run(folder / f"seed_{seed}", seed=seed, label=label, data=data) for seed in range(3)]
    flags = ["--dataset_name", "digits", "--run_dir", *(str(run.layout.run_dir) for run in runs)]
    claims.main(flags)
    report.main(flags)
    return runs[0].layout.result(ORIGINAL, "report.html")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", WIDTHS)
def test_report_at_this_width(browser, written, device, scheme):
    address, path = browser
    target = Page(address + path).ask("Target.createTarget", url="about:blank")["targetId"]
    page, width = Page(f"{address}/devtools/page/{target}"), WIDTHS[device]
    for domain in ("Page", "Runtime", "Log", "Network"):
        page.ask(f"{domain}.enable")
    page.ask("Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1,
             mobile=device == "phone")
    page.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    page.ask("Page.navigate", url=written.as_uri())
    page.wait_for("Page.loadEventFired")
    first = json.loads(page.ask("Runtime.evaluate", expression=FIRST)["result"]["value"])
    save_screenshot(page, written.with_name(f"{device}-{scheme}-first.png"), whole=False)
    # The sentence, the figure and the three claims are on the first screen.
    assert len(first["bottoms"]) == 5 and max(first["bottoms"]) <= 844, first
    light = [sum(map(int, re.findall(r"\d+", first[name]))) > 3 * 128 for name in ("paper", "ink")]
    assert light == [scheme == "light", scheme == "dark"]
    page.ask("Runtime.evaluate", expression="document.querySelectorAll('details').forEach(part => part.open = true)")
    seen = json.loads(page.ask("Runtime.evaluate", expression=LOOK)["result"]["value"])
    save_screenshot(page, written.with_name(f"{device}-{scheme}.png"))
    # clientWidth is the window less a scroll bar.
    # Verdicts, and the exposed members' last version, need no scrolling.
    assert len(seen["points"]) >= 4 and max(seen["points"]) <= seen["width"], seen["points"]
    assert seen["window"] == width and seen["needs"] <= seen["width"] and not seen["beyond"], seen
    assert len(seen["tables"]) > 10 and all(caption and rows > 1 for caption, rows in seen["tables"]) and seen["boxed"]
    assert len(seen["pictures"]) > 12 and all(natural > 0 and alt for natural, alt in seen["pictures"])
    assert len(seen["links"]) > 8 and all(seen["links"])
    complaints = {"Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"}
    assert not [message for message in page.events if message["method"] in complaints]
    asked = {message["params"]["request"]["url"].split(":")[0] for message in page.events
             if message["method"] == "Network.requestWillBeSent"}
    assert asked <= {"file", "data"}


def save_screenshot(page, path, whole=True):
    """The page, or what of it is on the screen, as PNG; with COMPLEAK_SCREENSHOTS also into that folder."""
    shot = page.ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
    path.write_bytes(base64.b64decode(shot["data"]))
    assert path.stat().st_size > 20_000
    if os.environ.get("COMPLEAK_SCREENSHOTS"):
        shutil.copy(path, os.environ["COMPLEAK_SCREENSHOTS"])
