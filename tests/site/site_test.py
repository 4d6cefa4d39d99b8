"""Builds the documentation site and looks at it."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CORF = os.environ.get("CORF_COMMAND", "build/corf")
CHROMIUM = shutil.which("chromium")
# Set by the page itself: how far its content, or that of a table, reaches beyond what is seen.
OVERFLOW = """<script>addEventListener("load", () => { document.title = "beyond " + Math.max(
...[document.documentElement, ...document.querySelectorAll(".md-typeset__scrollwrap")].map(
one => one.scrollWidth - one.clientWidth)); });</script>"""


def corf(*arguments):
    return subprocess.run([CORF, *map(str, arguments)], capture_output=True, text=True, check=True,
                          cwd=ROOT).stdout


def pixels_beyond(page, width):
    """How many pixels of the page's content a window of this width cuts off or has to scroll to."""
    with tempfile.TemporaryDirectory() as profile:
        copy = page.with_name("measured_" + page.name)
        copy.write_text(page.read_text().replace("</body>", OVERFLOW + "</body>"))
        try:
            text = subprocess.run(
                [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
                 f"--user-data-dir={profile}", f"--window-size={width},1200",
                 "--virtual-time-budget=3000", copy.as_uri()],
                capture_output=True, text=True, check=True, timeout=120).stdout
        finally:
            copy.unlink()
    return int(re.search(r"<title>beyond (-?\d+)</title>", text)[1])


class SiteTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.site = cls.folder / "site"
        # Strict: a dead link or a page that nothing leads to ends it.
        done = subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir",
                               cls.site], cwd=ROOT, capture_output=True, text=True, check=False,
                              env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})
        assert done.returncode == 0, done.stdout + done.stderr

    def test_every_document_has_a_page(self):
        for source in (ROOT / "docs").glob("*.md"):
            page = self.site / ("" if source.stem == "index" else source.stem) / "index.html"
            self.assertTrue(page.is_file(), source)

    def test_operators_are_the_importers(self):
        text = (self.site / "operators" / "index.html").read_text()
        for one in json.loads(corf("operators", "--json")):
            self.assertIn(f"<td>{one['name']}</td>", text)

    def test_nothing_is_loaded_from_elsewhere(self):
        for page in self.site.rglob("*.html"):
            for address in re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="(http[^"]*)"',
                                      page.read_text()):
                self.fail(f"{page.name} loads {address}")

    @unittest.skipUnless(CHROMIUM, "chromium is not installed")
    def test_pages_fit_the_window(self):
        for name in ("", "speed", "operators", "fusion"):
            for width in (1280, 1920):
                page = self.site / name / "index.html"
                self.assertLessEqual(pixels_beyond(page, width), 0, f"{name} at {width}")

    @unittest.skipUnless(CHROMIUM, "chromium is not installed")
    def test_reports_fit_the_window(self):
        model = ROOT / "build/zoo/mobilenet_v2.onnx"
        if not model.exists():
            self.skipTest("the model zoo is not there")
        page = self.folder / "plan.html"
        corf("explain", model, "--html", page)
        for width in (1280, 1500, 1920):
            self.assertLessEqual(pixels_beyond(page, width), 0, f"at {width}")


if __name__ == "__main__":
    unittest.main()
