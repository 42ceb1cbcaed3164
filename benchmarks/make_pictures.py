"""Makes the README's pictures out of what the demo's training and highlight_extractor.py wrote, with headless Chromium.

python benchmarks/make_pictures.py checkpoints highlights/arena_02     docs/history.png, timeline.png and page.png
"""

import shutil
import sys
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.support.wait import WebDriverWait

DOCS_DIR = Path(__file__).resolve().parent.parent / "docs"


def photograph(page_path: Path, picture_path: Path) -> None:
    """Write a picture of a page with its second section selected and zoomed out to the whole match."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome")
    for switch in ("headless=new", "no-sandbox", "window-size=1360,900", "force-color-profile=srgb"):
        options.add_argument(f"--{switch}")
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver"))) as browser:
        browser.get(page_path.resolve().as_uri())
        wait = WebDriverWait(browser, 20)
        wait.until(lambda _: browser.execute_script("return edges !== null && video.readyState >= 2"))
        browser.execute_script("select((sections[1] || sections[0]).id); goToFrame(selectedSection().start + 60)")
        wait.until(lambda _: browser.execute_script("return !video.seeking && !changed"))
        browser.save_screenshot(str(picture_path))


if __name__ == "__main__":
    ckpt_dir, stem = map(Path, sys.argv[1:])
    shutil.copyfile(ckpt_dir / "history.png", DOCS_DIR / "history.png")
    shutil.copyfile(stem.with_name(f"{stem.name}_timeline.png"), DOCS_DIR / "timeline.png")
    photograph(stem.with_name(f"{stem.name}.html"), DOCS_DIR / "page.png")
    print(*(DOCS_DIR / f"{name}.png" for name in ("history", "timeline", "page")), sep="\n")
