import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

from .chromium import BINARIES, COMPLAINTS, Browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    found = [path for name in BINARIES if (path := shutil.which(name))]
    if not found:
        text = f"There is no Chromium: none of {', '.join(BINARIES)} is on the PATH"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{text}. Install it, such as with apt-get install chromium.")
        pytest.skip(f"{text}.")
    browser = Browser(found[0], tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@contextmanager
def photographed(browser, name, folder):
    """Keep a picture of the page where an assertion fails, and say where it is."""
    try:
        yield
    except AssertionError as error:
        folder = Path(os.environ.get("SKFMRI_SCREENSHOTS") or folder)
        folder.mkdir(parents=True, exist_ok=True)
        browser.photograph(folder / f"{name}.png")
        raise AssertionError(f"{error}\nThe page: {folder / name}.png") from error


class TestInABrowser:
    # 673 CSS pixels are what the margins leave of A4.
    @pytest.mark.parametrize(("media", "width"), [("", 390), ("", 1200), ("print", 673)])
    @pytest.mark.parametrize("name", ["ordinary", "awkward", "numbers"])
    def test_nothing_is_broken_cut_or_fetched(self, browser, name, media, width, request, tmp_path):
        report = request.getfixturevalue(name) / "report.html"
        found = browser.open(report, width, media)
        with photographed(browser, f"{name}-{media or 'screen'}-{width}", tmp_path):
            assert found["images"] == 8
            assert found["broken"] == []
            assert found["wide"] == []
            assert found["width"] <= width
            # The canvas of nilearn's viewer could be faster, says Chromium.
            complaints = [e for e in browser.named(*COMPLAINTS) if "readback" not in str(e)]
            assert complaints == []
            asked = [
                event["request"]["url"] for event in browser.named("Network.requestWillBeSent")
            ]
            assert [url for url in asked if not url.startswith("data:")] == [report.as_uri()]
