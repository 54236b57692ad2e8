"""Pictures of a study's page for README and gallery: `python docs/screenshots.py reports/mine/report.html`.

Needs Chromium and its driver, and what the extra `test` installs. Writes docs/_static/page*.png.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from selenium import webdriver

STATIC = Path(__file__).parent / "_static"
PICTURES = {"page": (1280, 1330, "light"), "page-dark": (1280, 1330, "dark"), "page-phone": (390, 1500, "light")}
"""Name → width and height in pixels, colour scheme."""


def main(page: Path) -> None:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("chromium-browser")
    for flag in ("headless", "no-sandbox", "disable-gpu", "hide-scrollbars", "disable-dev-shm-usage"):
        options.add_argument(f"--{flag}")
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        for name, (width, height, scheme) in PICTURES.items():
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
            driver.get(page.resolve().as_uri())
            picture = Image.open(io.BytesIO(driver.get_screenshot_as_png()))
            picture.convert("RGB").quantize(128).save(STATIC / f"{name}.png", optimize=True)
    finally:
        driver.quit()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
