"""The pages in a real browser: what a person sees while a run runs, and what a step's own page cannot do."""

# No `annotations` from __future__ here: KFP's compiler reads the real ones.

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
import websocket
from kfp import compiler, dsl

from localkfp import ThreadedLocalKfp

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
]
SECONDS = 60

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium here to look at the pages with")


@dsl.component(base_image="python:3.12")
def wait_for(file: str, lines: int) -> str:
    import time
    from pathlib import Path

    for number in range(lines):
        print("line", number)
    while not Path(file).exists():
        time.sleep(0.05)
    print("and it came")
    return "done"


@dsl.component(base_image="python:3.12")
def make_page(page: dsl.Output[dsl.HTML], after: str, api: str):
    with open(page.path, "w") as file:
        file.write(
            "<!doctype html><title>unchanged</title><style>body{color:rgb(1, 2, 3)}</style><p id=said>no script ran</p>"
            f"<img src=x onerror=\"document.getElementById('said').textContent='a handler ran'\">"
            f"<script>document.title='a script ran';fetch('{api}/localkfp/reset',{{method:'POST',mode:'no-cors'}})</script>"
            f"<form id=f method=post action='{api}/localkfp/reset'><button>go</button></form>"
        )


@dsl.component(base_image="python:3.12")
def fail(text: str):
    print(text)
    raise ValueError("no rows are left")


@dsl.pipeline(name="watched")
def watched(file: str, api: str):
    waited = wait_for(file=file, lines=500)
    make_page(after=waited.output, api=api)


@dsl.pipeline(name="failing")
def failing(text: str):
    failed = fail(text=text)
    wait_for(file="/", lines=1).after(failed)


class Browser:
    """One tab, told what to do over the browser's own debugging protocol."""

    def __init__(self, address: str) -> None:
        self.socket = websocket.create_connection(address, suppress_origin=True, timeout=SECONDS)
        self.number = 0

    def call(self, method: str, **parameters: Any) -> Any:
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while (answer := json.loads(self.socket.recv())).get("id") != self.number:
            pass
        if "navigated" in answer.get("error", {}).get("message", ""):  # the page went on while it was asked
            return self.call(method, **parameters)
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.until("document.readyState", "complete")

    def js(self, expression: str) -> Any:
        """The value of an expression in the page; of a promise what it comes to."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, expression: str, wanted: Any = True) -> None:
        """Return as soon as it is so."""
        end = time.monotonic() + SECONDS
        while (found := self.js(expression)) != wanted:
            assert time.monotonic() < end, f"{expression} is {found!r}, not {wanted!r}"
            time.sleep(0.02)

    def text(self, selector: str = "main") -> str:
        return str(self.js(f"document.querySelector({json.dumps(selector)}).innerText"))

    def step(self, path: str) -> str:
        """What stands in a box of the graph."""
        found = f"document.querySelector('.graph [data-path=\"{path}\"]')"
        return str(self.js(f"[...{found}.querySelectorAll('text')].map(text => text.textContent).join(' ')"))


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running browser, by the port on which it can be told what to do."""
    folder = tmp_path_factory.mktemp("chromium")
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={folder}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end, said = time.monotonic() + SECONDS, folder / "DevToolsActivePort"
    while not (said.exists() and said.read_text().count("\n")):
        assert process.poll() is None and time.monotonic() < end, "Chromium did not start"  # noqa: PT018
        time.sleep(0.02)
    yield said.read_text().splitlines()[0]
    process.terminate()
    process.wait(timeout=SECONDS)


@pytest.fixture
def browser(chromium: str) -> Iterator[Browser]:
    with urlopen(Request(f"http://127.0.0.1:{chromium}/json/new", method="PUT"), timeout=SECONDS) as answer:
        tab = Browser(json.load(answer)["webSocketDebuggerUrl"])
    tab.call("Page.enable")
    yield tab
    tab.call("Page.close")
    tab.socket.close()


@pytest.fixture
def start(kfp_server: ThreadedLocalKfp, client: Any, tmp_path: Path) -> Callable[..., str]:
    """Start a run of a pipeline; what comes back is its id."""

    def start(pipeline: Any, **arguments: Any) -> str:
        package = str(tmp_path / f"{pipeline.name}.yaml")
        compiler.Compiler().compile(pipeline, package)
        created = client.create_run_from_pipeline_package(package, arguments, run_name=f"{pipeline.name} run")
        return str(created.run_id)

    return start


def test_a_run_is_watched_to_its_end_without_reload(
    kfp_server: ThreadedLocalKfp, browser: Browser, start: Callable[..., str], tmp_path: Path
) -> None:
    come = tmp_path / "come"
    run_id = start(watched, file=str(come), api=kfp_server.url)

    browser.open(f"{kfp_server.url}/runs/{run_id}")
    browser.js("window.same = true; document.querySelector('#run-log summary').click()")
    browser.until("document.querySelector('[data-path=\"wait-for\"]').classList.contains('running')")
    assert browser.step("wait-for").startswith("wait-for ◐ running")
    assert browser.step("make-page") == "make-page ○ waiting"
    assert "running" in browser.text(".head")
    assert browser.js("document.title").startswith("watched run, running")
    browser.js("document.body.style.minHeight = '9000px'; scrollTo(0, 300)")

    come.touch()
    browser.until("document.querySelector('.head').innerText.includes('succeeded')")

    assert browser.step("wait-for").startswith("wait-for ✓ succeeded")
    assert browser.step("make-page").startswith("make-page ✓ succeeded")
    assert browser.js("[window.same, scrollY, document.querySelector('#run-log').open]") == [True, 300, True]
    assert browser.js("'live' in document.querySelector('main').dataset") is False
    browser.js("window.asked = 0; const old = fetch; window.fetch = (...all) => { asked++; return old(...all) }")
    time.sleep(1.5)
    assert browser.js("asked") == 0  # the run has ended, and so has the asking


def test_a_change_is_seen_within_a_second_and_a_half(
    kfp_server: ThreadedLocalKfp, browser: Browser, start: Callable[..., str], tmp_path: Path
) -> None:
    run_id = start(watched, file=str(tmp_path / "come"), api=kfp_server.url)
    browser.open(f"{kfp_server.url}/")
    browser.until("document.querySelector('tbody').innerText.includes('running')")

    seen = []
    for path in ("/", f"/runs/{run_id}"):
        browser.open(f"{kfp_server.url}{path}")
        with kfp_server.kfp.database.write() as db:
            db.execute("update runs set display_name = ? where run_id = ?", (f"seen on {path}", run_id))
        began = time.monotonic()
        browser.until(f"document.querySelector('main').innerText.includes('seen on {path}')")
        seen.append(time.monotonic() - began)

    assert max(seen) < 1.5


def test_a_log_grows_on_its_page_and_stays_where_it_is_read(
    kfp_server: ThreadedLocalKfp, browser: Browser, start: Callable[..., str], tmp_path: Path
) -> None:
    come = tmp_path / "come"
    run_id = start(watched, file=str(come), api=kfp_server.url)
    browser.open(f"{kfp_server.url}/runs/{run_id}")
    browser.until("!!document.querySelector('#tasks a')")
    browser.open(f"{kfp_server.url}{browser.js('''document.querySelector('#tasks a').getAttribute('href')''')}")
    browser.until("!!document.querySelector('pre') && document.querySelector('pre').innerText.includes('line 499')")

    pre = "document.querySelector('pre')"
    browser.js(f"{pre}.scrollTop = 100")
    come.touch()
    browser.until(f"{pre}.innerText.includes('and it came')")

    assert browser.js(f"{pre}.scrollTop") == 100
    browser.until("'live' in document.querySelector('main').dataset", False)
    browser.open(str(browser.js("location.href")))
    assert browser.js(f"{pre}.scrollTop + {pre}.clientHeight >= {pre}.scrollHeight - 4")  # read from its end


def test_a_failed_run_shows_where_and_why(
    kfp_server: ThreadedLocalKfp, browser: Browser, start: Callable[..., str]
) -> None:
    hostile = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>"
    run_id = start(failing, text=hostile)

    browser.open(f"{kfp_server.url}/runs/{run_id}")
    browser.until("document.querySelector('.head').innerText.includes('failed')")

    assert browser.step("fail").startswith("fail ✕ failed")
    assert browser.step("wait-for") == "wait-for \N{EN DASH} not run"
    assert "fail: ValueError: no rows are left" in browser.text("[role=alert]")
    assert hostile in browser.text()
    browser.open(f"{kfp_server.url}{browser.js('''document.querySelector('.graph a').getAttribute('href')''')}")
    assert hostile in browser.text("pre")
    assert "ValueError: no rows are left" in browser.text("pre")
    assert browser.js("window.hacked") is None
    browser.open(f"{kfp_server.url}/")
    assert "failing run" in browser.text("tbody")
    assert "✕ failed" in browser.text("tbody")


def test_a_page_that_a_step_wrote_is_seen_and_can_do_nothing(
    kfp_server: ThreadedLocalKfp, browser: Browser, start: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "come").touch()
    run_id = start(watched, file=str(tmp_path / "come"), api=kfp_server.url)
    browser.open(f"{kfp_server.url}/runs/{run_id}")
    browser.until("document.querySelector('.head').innerText.includes('succeeded')")
    url = browser.js("document.querySelector('iframe').src")

    browser.js("document.querySelector('iframe').closest('details').open = true")
    browser.until("!!document.querySelector('iframe').checkVisibility()")
    framed = browser.js(
        "(() => { try { return document.querySelector('iframe').contentDocument } catch { return null } })()"
    )
    browser.open(url)  # the same page by itself, as who follows its link sees it

    assert framed is None  # of no origin of ours
    assert browser.text("#said") == "no script ran"
    assert browser.js("[document.title, getComputedStyle(document.body).color, origin]") == [
        "unchanged",
        "rgb(1, 2, 3)",
        "null",
    ]
    browser.js("document.getElementById('f').submit()")
    time.sleep(0.3)
    with urlopen(f"{kfp_server.url}/apis/v2beta1/runs/{run_id}", timeout=SECONDS) as answer:
        assert json.load(answer)["state"] == "SUCCEEDED"  # nothing was reset


def test_buttons_work_in_a_browser(
    kfp_server: ThreadedLocalKfp, browser: Browser, start: Callable[..., str], tmp_path: Path
) -> None:
    run_id = start(watched, file=str(tmp_path / "come"), api=kfp_server.url)
    browser.open(f"{kfp_server.url}/runs/{run_id}")
    browser.until("document.querySelector('.head').innerText.includes('running')")

    browser.js("document.querySelector('form[action$=terminate] button').click()")
    browser.until("document.querySelector('.head')?.innerText.includes('canceled') ?? false")
    browser.until("document.querySelector('.acts').innerText.trim().split(/\\s+/).join(' ')", "Retry Archive")


@pytest.mark.parametrize("width", [420, 1280])
def test_no_page_is_wider_than_its_window(
    kfp_server: ThreadedLocalKfp, browser: Browser, start: Callable[..., str], width: int
) -> None:
    run_id = start(failing, text="x" * 500)
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
    browser.open(f"{kfp_server.url}/runs/{run_id}")
    browser.until("document.querySelector('.head').innerText.includes('failed')")
    task = browser.js("document.querySelector('.graph a').getAttribute('href')")

    for path in ("/", f"/runs/{run_id}", task, "/pipelines", "/experiments", "/recurringruns", "/nowhere"):
        browser.open(f"{kfp_server.url}{path}")

        assert browser.js("document.documentElement.scrollWidth") <= width, path


def test_a_link_that_the_client_prints_leads_to_the_page(
    kfp_server: ThreadedLocalKfp,
    browser: Browser,
    start: Callable[..., str],
    client: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_id = start(failing, text="hello")
    pipeline = client.upload_pipeline(str(tmp_path / "failing.yaml"), "failing")
    client.create_experiment("printed")
    printed = set(re.findall(r"http://\S+", capsys.readouterr().out))
    wanted = {"experiment_id=", f"/runs/{run_id}", f"/pipelines/{pipeline.pipeline_id}"}

    seen = set()
    for link in printed:
        browser.open(link)
        browser.until("location.hash", "")
        seen |= {one for one in wanted if one in browser.js("location.href")}
        browser.open("about:blank")

    assert seen == wanted
