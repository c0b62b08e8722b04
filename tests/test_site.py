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
    "examples.html",
    "api.html",
    "generated/sklearn_mdm.MDMFusionClassifier.html",
    "about/faq.html",
    "about/comparison.html",
    "about/changelog.html",
    "auto_examples/plot_quickstart.html",
]
WIDTHS = [1280, 390]
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
async function visit({url, width, search}) {
  const frame = document.createElement("iframe");
  frame.style.cssText = `width:${width}px;height:900px;border:0`;
  frame.src = url;
  document.body.append(frame);
  await new Promise(done => frame.onload = done);
  const doc = frame.contentDocument, result = {url, width};
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
    result.alt = [...doc.querySelectorAll("article img:not([alt])")].map(img => img.src);
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
        body = PROBE.replace("TASKS", json.dumps(self.server.tasks)).encode()
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
    tasks = [{"url": f"/{page}", "width": width} for width in WIDTHS for page in PAGES]
    found, console = browse(tasks, tmp_path)
    assert len(found) == len(tasks)
    assert not [(page["url"], page["width"], page["over"]) for page in found if page["over"] > 0]
    assert not [(page["url"], page["code"]) for page in found if page["code"]]
    assert not [(page["url"], page["tables"]) for page in found if page["tables"]]
    assert not [page["url"] for page in found if not page["math"]]
    assert not [page["alt"] for page in found if page["alt"]]
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
    body = "<div style='width:2000px'>wide</div><img src='gone.png'><img src='http://example.org/far.png'><script>missing()</script>"
    (tmp_path / "page.html").write_text(f"<!doctype html><article>{body}</article>", encoding="utf-8")
    found, console = browse([{"url": "/page.html", "width": 390}], tmp_path / "profile")
    assert found[0]["over"] > 1000
    assert len(found[0]["alt"]) == 2
    assert found[0]["foreign"] == ["http://example.org/far.png"]
    assert any("gone.png" in line for line in console)
    assert any("missing is not defined" in line for line in console)


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
