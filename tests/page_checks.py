"""Checkers of HTML pages: axe-core for accessibility, in Chromium, and the W3C's Nu checker for HTML, which needs Java.

npm install --prefix tests/web --no-package-lock
python -m tests.page_checks FILE.html ...
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from shutil import which

import pytest

from tests.chromium import Page

MODULES = Path(__file__).parent / "web" / "node_modules"
INSTALL = "npm install --prefix tests/web --no-package-lock"
WIDE, PHONE = 1200, 390


def accessibility(page: Page) -> list[str]:
    """What axe-core finds on the page that is open, by all its rules. Skips the test where it is not installed."""
    script = MODULES / "axe-core" / "axe.min.js"
    if not script.exists():
        pytest.skip(f"there is no axe-core: {INSTALL}")
    page.value(f"{script.read_text(encoding='utf-8')}; true")
    found = page.value("axe.run(document, { resultTypes: ['violations'] })")
    assert len(found["passes"]) > 5
    return [
        f"{each['id']}: {each['help']}: {node['html'][:120]} {node['failureSummary']}"
        for each in found["violations"]
        for node in each["nodes"][:3]
    ]


def html_errors(files: Sequence[Path]) -> list[str]:
    """What the Nu checker finds in HTML files. Skips the test where it or Java is not installed."""
    jar = MODULES / "vnu-jar" / "build" / "dist" / "vnu.jar"
    if which("java") is None:
        pytest.skip("there is no java: install Debian's default-jre-headless")
    if not jar.exists():
        pytest.skip(f"there is no vnu-jar: {INSTALL}")
    command = ["java", "-Xss4m", "-jar", str(jar), "--format", "json", "--exit-zero-always", *map(str, files)]
    found = json.loads(subprocess.run(command, check=True, stderr=subprocess.PIPE).stderr)["messages"]
    # It takes pictures in the page for refused by the policy; `Page.problems` has what the browser refuses.
    kept = [each for each in found if not each["message"].startswith("Resource violates Content Security Policy")]
    return [f"{Path(each['url']).name}, line {each.get('lastLine')}: {each['message']} {each.get('extract')!r}" for each in kept]


def _problems(file: Path, width: int, dark: bool) -> list[str]:
    with Page() as page:
        page.resize(width, 900, dark)
        page.open(file)
        found, own = accessibility(page), ("data:", file.resolve().as_uri())
        outside = [url for url in page.requests() if not url.startswith(own)]
        shown = f"{file}, {width} pixels wide, {'dark' if dark else 'light'}"
        print(f"{shown}: {len(found)} violations by axe-core, {len(outside)} requests to elsewhere")
        return found + outside + page.problems()


def main(files: Sequence[str]) -> int:
    """Prints what both checkers find, and the number of requests; returns 1 if they find anything, 2 if one is missing."""
    try:
        problems = html_errors([Path(file) for file in files])
        for file in files:
            for width, dark in ((WIDE, False), (WIDE, True), (PHONE, False)):
                problems += _problems(Path(file), width, dark)
    except pytest.skip.Exception as missing:
        print(missing, file=sys.stderr)
        return 2
    print(f"{len(problems)} problems", *sorted(set(problems)), sep="\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
