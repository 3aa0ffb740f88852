"""Checks the built documentation site: `python -m tests.check_site build/site [--axe axe.min.js] [--shots FOLDER]`.

Every page is opened in Chromium as a file, light on a wide window and dark on a narrow one. The command prints each problem, then
a line of counts, and ends with 1 if there was a problem: a request to anywhere but the site, an error in the console, an image
that does not load, a page wider than its window, a link to a missing page or anchor. With --axe, the rules of axe-core for WCAG
2.2 AA count, too. Without Chromium a line says that the check was skipped.
"""

import argparse
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.chromium import NAMES, Page

WINDOWS = {"light": (1280, 900, False), "dark": (390, 844, True)}
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
LOADED = "document.readyState === 'complete'"
BROKEN = "[...document.images].filter(image => image.complete && !image.naturalWidth).map(image => image.src)"
TOO_WIDE = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
# Long files have the colours of the code on the other pages, word by word.
SCOPE = "{exclude: location.pathname.includes('/source/') ? ['.highlight'] : []}"
VIOLATIONS = """axe.run(%s, {runOnly: %s, resultTypes: ["violations"]}).then(found => found.violations.map(one =>
    `${one.id} (${one.impact}), ${one.nodes.length} times: ${one.nodes[0].target} ${one.nodes[0].html.slice(0, 120)}`))"""


class Links(HTMLParser):
    """The ids, and the addresses that links, images, scripts and style sheets name, of one page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.ids += filter(None, [named.get("id")])
        self.addresses += filter(None, [named.get("href"), named.get("src")])


def broken_links(site: Path) -> list[str]:
    """Links within the site that lead nowhere, and ids that a page has twice."""
    pages = {path.resolve(): Links(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    found = []
    for path, page in pages.items():
        name = path.relative_to(site.resolve())
        found += [f"{name}: the id {each!r} twice" for each in sorted({each for each in page.ids if page.ids.count(each) > 1})]
        for address in page.addresses:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            wanted = unquote(parts.fragment)
            if not target.exists() or (wanted and target in pages and wanted not in pages[target].ids):
                found.append(f"{name}: a link to {address}, which is not there")
    return found


def problems(page: Page, path: Path, axe: str) -> list[str]:
    """Of one page, as it is shown now."""
    page.events.clear()
    page.call("Page.navigate", url=path.resolve().as_uri())
    page.wait_for(f"location.pathname.endsWith({path.name!r}) && {LOADED}")
    found = [f"asks for {url}" for url in page.requests() if not url.startswith(("file:", "data:"))]
    found += page.problems() + [f"{image} does not load" for image in page.value(BROKEN)]
    if page.value(TOO_WIDE):
        found.append("is wider than its window")
    if axe:
        page.value(axe + "; true")
        found += page.value(VIOLATIONS % (SCOPE, RULES))
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Checks the built documentation site.")
    parser.add_argument("site", type=Path)
    parser.add_argument("--axe", type=Path, help="axe.min.js of npm's package axe-core")
    parser.add_argument("--shots", type=Path, help="folder for a picture of every page in each window")
    args = parser.parse_args(arguments)
    axe = args.axe.read_text(encoding="utf-8") if args.axe else ""
    found = broken_links(args.site)
    print(*found, sep="\n", end="\n" if found else "", flush=True)
    pages = sorted(args.site.rglob("*.html"))
    if not any(map(shutil.which, NAMES)):
        print("skipped: there is no chromium, so links alone are checked")
    else:
        with Page() as page:
            for theme, (width, height, dark) in WINDOWS.items():
                page.resize(width, height, dark)
                for path in pages:
                    name = path.relative_to(args.site).as_posix()
                    of_page = [f"{name}, {theme}: {each}" for each in problems(page, path, axe)]
                    print(*of_page, sep="\n", end="\n" if of_page else "", flush=True)
                    found += of_page
                    if args.shots:
                        page.screenshot(args.shots / f"{re.sub('[/.]', '-', name)}-{theme}.png")
    print(f"{len(pages)} pages, {len(found)} problems")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
