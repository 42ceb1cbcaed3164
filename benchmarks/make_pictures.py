"""Make the images of the docs from the files of the demo, with headless Chromium.

    python benchmarks/make_pictures.py checkpoints_demo highlights/arena_02

Writes docs/history.png, docs/timeline.png and docs/page.png.
"""

import argparse
import shutil
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.support.wait import WebDriverWait

DOCS_DIR = Path(__file__).resolve().parent.parent / "docs"


def take_screenshot(page_path: Path, image_path: Path) -> None:
    """Write a screenshot of a review page with its best section selected and the whole match on the timeline."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome")
    for switch in ("headless=new", "no-sandbox", "window-size=1360,900", "force-color-profile=srgb"):
        options.add_argument(f"--{switch}")
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver"))) as browser:
        browser.get(page_path.resolve().as_uri())
        wait = WebDriverWait(browser, 20)
        wait.until(lambda _: browser.execute_script("return edges !== null && video.readyState >= 2"))
        browser.execute_script("select(sections.toSorted((a, b) => scoreOf(b) - scoreOf(a))[0].id)")
        browser.execute_script("goToFrame(selectedSection().start + 60)")
        wait.until(lambda _: browser.execute_script("return !video.seeking && !changed"))
        browser.save_screenshot(str(image_path))


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ckpt_dir", type=Path, help="Folder of main.py's results; of several folds, the last is drawn.")
    parser.add_argument("stem", type=Path, help="Files of highlight_extractor.py, without their suffixes.")
    args = parser.parse_args()
    ckpt_dir, stem = args.ckpt_dir, args.stem
    shutil.copyfile(max(ckpt_dir.rglob("history.png")), DOCS_DIR / "history.png")
    shutil.copyfile(stem.with_name(f"{stem.name}_timeline.png"), DOCS_DIR / "timeline.png")
    take_screenshot(stem.with_name(f"{stem.name}.html"), DOCS_DIR / "page.png")
    print(*(DOCS_DIR / f"{name}.png" for name in ("history", "timeline", "page")), sep="\n")


if __name__ == "__main__":
    main()
