"""The built site in a browser: nothing scrolls sideways, no errors without a network, and the search finds things.

``make docs`` first, and Chromium (Debian's package). ``SITE=folder`` takes another build.
"""

import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

SITE = Path(os.environ.get("SITE", Path(__file__).parents[1] / "docs" / "_build" / "html"))
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

PAGES = [
    "index.html",
    "tutorial.html",
    "install.html",
    "how_to/index.html",
    "how_to/load_data.html",
    "how_to/preprocess.html",
    "how_to/few_labels.html",
    "how_to/prediction_intervals.html",
    "how_to/saving.html",
    "user_guide/missing.html",
    "user_guide/fusion.html",
    "user_guide/dependency.html",
    "user_guide/quality.html",
    "user_guide/refused.html",
    "benchmarks/few_labels.html",
    "benchmarks/dependency.html",
    "benchmarks/paper.html",
    "examples.html",
    "api.html",
    "generated/sklearn_mdm.MDMFusionClassifier.html",
    "about/faq.html",
    "about/comparison.html",
    "about/changelog.html",
    *(f"auto_examples/{path.name}" for path in sorted(SITE.glob("auto_examples/plot_*.html"))),
]
# Width of the window, and what the reader has chosen.
VIEWS = [(1280, "light"), (1280, "dark"), (390, "light")]
# Of letters to what is behind them, WCAG 2 level AA.
CONTRAST = 4.5
# What a reader would type, and a page that has to be among the first results.
SEARCHES = {
    "dependency_score": "MDMFusion",
    "save": "Save and load",
    "baseline": "baselines",
    "missing": "missing",
    "lam": "Tune lam",
    "explain": "Explain a sample",
    "imbalanced": "Cross-validate",
    "ColumnTransformer": "Preprocess",
}

# Loads each page in a frame of each width, and leaves what it measures in the document.
PROBE = """<!doctype html><link rel="icon" href="data:,"><body><script>
const tasks = TASKS, found = [];
const wait = ms => new Promise(done => setTimeout(done, ms));
const rgba = colour => { const [r, g, b, a = 1] = colour.match(/[\\d.]+/g).map(Number); return {rgb: [r, g, b], a}; };
const luminance = rgb => rgb.map(x => x / 255).map(x => x <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4)
  .reduce((sum, x, i) => sum + x * [.2126, .7152, .0722][i], 0);
function behind(element, style) {
  const layers = [];
  for (let at = element; at; at = at.parentElement) {
    layers.push(rgba(style(at).backgroundColor));
    if (layers.at(-1).a == 1) break;
  }
  return layers.reduceRight((under, {rgb, a}) => rgb.map((x, i) => a * x + (1 - a) * under[i]), [255, 255, 255]);
}
function pale(doc, style) {
  const bad = new Set();
  for (const element of doc.querySelectorAll("article *, nav *, header *, footer *")) {
    const own = [...element.childNodes].filter(node => node.nodeType == 3).map(node => node.data).join(" ").trim();
    if (!own || !element.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
    const ground = behind(element, style), {rgb, a} = rgba(style(element).color);
    const pair = [rgb.map((x, i) => a * x + (1 - a) * ground[i]), ground].map(luminance).sort((x, y) => y - x);
    const ratio = (pair[0] + .05) / (pair[1] + .05);
    if (ratio < CONTRAST) bad.add(`${element.tagName} ${element.className} ${ratio.toFixed(1)}: ${own.slice(0, 30)}`);
  }
  return [...bad].slice(0, 5);
}
async function visit({url, width, search, mode = "light"}) {
  localStorage.mode = localStorage.theme = mode;
  const frame = document.createElement("iframe");
  frame.style.cssText = `width:${width}px;height:900px;border:0`;
  frame.src = url;
  document.body.append(frame);
  await new Promise(done => frame.onload = done);
  const doc = frame.contentDocument, result = {url, width, mode};
  const style = element => frame.contentWindow.getComputedStyle(element);
  if (search) {
    for (let i = 0; i < 100 && doc.querySelectorAll("#search-results li").length < 5; i++) await wait(100);
    result.titles = [...doc.querySelectorAll("#search-results li")].slice(0, 12).map(li => li.innerText);
  } else {
    for (let i = 0; i < 50 && doc.querySelector(".math") && !doc.querySelector("mjx-container"); i++) await wait(100);
    const root = doc.documentElement;
    result.over = root.scrollWidth - frame.contentWindow.innerWidth;
    result.math = !doc.querySelector("span.math, div.math") || !!doc.querySelector("mjx-container");
    result.code = [...doc.querySelectorAll("div.highlight pre")].filter(
      pre => pre.scrollWidth > pre.clientWidth + 1 && width > 1000).map(pre => pre.innerText.slice(0, 80));
    result.tables = [...doc.querySelectorAll("table.table")].filter(
      table => table.parentElement.scrollWidth > table.parentElement.clientWidth + 1 && width > 1000
    ).map(table => table.innerText.slice(0, 60));
    result.foreign = frame.contentWindow.performance.getEntriesByType("resource").map(
      entry => entry.name).filter(name => !name.startsWith(location.origin) && !name.startsWith("data:"));
    result.pale = pale(doc, style);
    result.ground = luminance(behind(doc.body, style));
    // Figures have black letters: they stand on a card that is light, with a margin inside.
    result.cards = [...doc.querySelectorAll("article img")].filter(
      img => luminance(behind(img, style)) < .5 || (mode == "dark" && parseFloat(style(img).paddingLeft) < 4)
    ).map(img => img.src);
  }
  frame.remove();
  found.push(result);
}
(async () => {
  for (const task of tasks) await visit(task);
  const out = document.createElement("pre");
  out.id = "found";
  out.textContent = JSON.stringify(found);
  document.body.append(out);
})();
</script></body>"""


class Server(http.server.SimpleHTTPRequestHandler):
    """The folder of the site, and the probe."""

    def do_GET(self):
        if self.path != "/probe":
            super().do_GET()
            return
        body = PROBE.replace("TASKS", json.dumps(self.server.tasks)).replace("CONTRAST", str(CONTRAST)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_error(self, *args, **kwargs):
        """Remember what is not there."""
        self.server.gone.append(self.path)
        super().send_error(*args, **kwargs)

    def log_message(self, *args):
        """Print nothing."""


def browse(tasks, folder):
    """Return what the probe measures, and messages of the console and files that are not there.

    Nothing but this server can be reached.
    """
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Server, directory=SITE)) as server:
        server.tasks, server.gone = tasks, []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        command = [
            BROWSER,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            f"--user-data-dir={folder}",
            "--enable-logging=stderr",
            "--window-size=1400,1000",
            "--virtual-time-budget=600000",
            "--dump-dom",
            f"http://127.0.0.1:{server.server_port}/probe",
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
        server.shutdown()
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stdout[-2000:] + done.stderr[-2000:]
    text = found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    # The theme says which mode it is in.
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line and '"[PST]: ' not in line]
    return json.loads(text), console + server.gone


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium"),
    pytest.mark.skipif(not SITE.is_dir(), reason="the site is not built"),
]


def test_pages__in_a_browser__are_as_wide_as_the_window_and_without_errors(tmp_path):
    tasks = [{"url": f"/{page}", "width": width, "mode": mode} for width, mode in VIEWS for page in PAGES]
    found, console = browse(tasks, tmp_path)
    assert len(found) == len(tasks)
    assert not [(page["url"], page["width"], page["over"]) for page in found if page["over"] > 0]
    assert not [(page["url"], page["code"]) for page in found if page["code"]]
    assert not [(page["url"], page["tables"]) for page in found if page["tables"]]
    assert not [page["url"] for page in found if not page["math"]]
    assert not [(page["url"], page["mode"], page["pale"]) for page in found if page["pale"]]
    assert not [(page["url"], page["mode"], page["cards"]) for page in found if page["cards"]]
    assert all((page["ground"] < 0.1) == (page["mode"] == "dark") for page in found)
    assert not [page["foreign"] for page in found if page["foreign"]]
    assert not console, "\n".join(console)


def test_search__words_of_readers__finds_their_pages(tmp_path):
    tasks = [{"url": f"/search.html?q={word}", "width": 1280, "search": True} for word in SEARCHES]
    found, _ = browse(tasks, tmp_path)
    missed = {
        word: page["titles"]
        for (word, title), page in zip(SEARCHES.items(), found, strict=True)
        if title not in "\n".join(page["titles"])
    }
    assert not missed, missed


def test_probe__page_with_faults__sees_them(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "SITE", tmp_path)
    body = (
        "<div style='width:2000px'>wide</div><p style='color:#aaa'>pale</p>"
        "<img src='gone.png' alt=\"gone\"><img src='http://example.org/far.png'><script>missing()</script>"
    )
    (tmp_path / "page.html").write_text(f"<!doctype html><article>{body}</article>", encoding="utf-8")
    tasks = [{"url": "/page.html", "width": 390, "mode": mode} for mode in ("light", "dark")]
    found, console = browse(tasks, tmp_path / "profile")
    assert found[0]["over"] > 1000
    assert found[0]["pale"] == ["P  2.3: pale"]
    assert [len(page["cards"]) for page in found] == [0, 2]
    assert len(images_that_say_nothing()) == 1
    assert found[0]["foreign"] == ["http://example.org/far.png"]
    assert any("gone.png" in line for line in console)
    assert any("missing is not defined" in line for line in console)


def images_that_say_nothing():
    """Images of all pages without an alternative text, or with that which sphinx-gallery makes of a file's name.

    Thumbnails repeat, as a picture, the title beside them: theirs is empty, so that it is not read twice.
    """
    found = []
    for path in SITE.rglob("*.html"):
        text = re.sub(
            r'<div class="sphx-glr-thumbcontainer".*?</div>', "", path.read_text(encoding="utf-8"), flags=re.S
        )
        for image in re.findall(r"<img\b[^>]*>", text):
            said = re.search(r'\balt="([^"]*)"', image)
            if not said or not said[1] or said[1].startswith("plot "):
                found.append(f"{path.relative_to(SITE)}: {image}")
    return found


def test_images__of_every_page__say_what_they_show():
    assert not images_that_say_nothing()


def test_links__inside_the_site__have_a_page_and_an_anchor():
    texts = {
        path.resolve(): path.read_text(encoding="utf-8")
        for path in SITE.rglob("*.html")
        if "_static" not in path.relative_to(SITE).parts
    }
    anchors = {path: set(re.findall(r"\bid=\"([^\"]+)\"", text)) for path, text in texts.items()}
    dead = []
    for path, text in texts.items():
        for link in re.findall(r"\bhref=\"([^\"]+)\"", text):
            if re.match(r"[a-z]+:|//", link):
                continue
            page, _, anchor = link.partition("#")
            target = (path.parent / page.split("?")[0]).resolve() if page else path
            if not target.exists() or (anchor and target in anchors and anchor not in anchors[target]):
                dead.append(f"{path.name}: {link}")
    assert not dead, "\n".join(dead)
