"""Uses a server's page in a browser, as a person does: a scan, its slices, questions, weights, on a phone as well.

The arguments are the server's address, a scan, the browser's program and a folder for screenshots.
"""

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

# What a scan or a question says must never become markup.
MARKUP = "<img src=x onerror=document.title=1> Which plane is shown?"


def shown(page, selector="#place-text"):
    return page.inner_text(selector)


def ask(page, number):
    page.focus("#question")
    page.keyboard.press("Enter")
    page.locator(".answer").nth(number).wait_for()
    page.locator(".answer .stop").first.wait_for(state="detached")
    return shown(page, ".answer .text")


def use(page, address, scan):
    page.goto(address)
    page.set_input_files("#file", scan)
    page.locator("#viewer:not([hidden])").wait_for()
    assert shown(page).startswith("1 of 32, in the scan 1 of 32"), shown(page)

    page.focus("#place")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert shown(page).startswith("3 of 32"), shown(page)
    page.hover("#frame")
    page.mouse.wheel(0, 100)
    page.locator("#place-text", has_text="4 of 32,").wait_for()

    first = ask(page, 0)
    assert first and "No answer" not in first, first
    page.fill("#question", MARKUP)
    assert ask(page, 1), "an answer"
    assert page.title() == "Med-2E3" and MARKUP in shown(page, ".answer h3")
    bars = page.locator(".answer").first.locator(".bar")
    assert bars.count() == 32, bars.count()
    bars.nth(7).click()
    assert shown(page).startswith("8 of 32"), shown(page)
    assert bars.nth(7).get_attribute("aria-selected") == "true"
    page.locator(".bars").first.focus()
    page.keyboard.press("End")
    assert shown(page).startswith("32 of 32"), shown(page)

    before = page.evaluate("document.getElementById('slice').toDataURL()")
    page.select_option("#window", "bone")
    page.locator("#status", has_text="voxels").wait_for()
    same = f"document.getElementById('slice').toDataURL() === '{before}'"
    for _ in range(100):
        if not page.evaluate(same):
            break
        page.wait_for_timeout(50)
    assert not page.evaluate(same), "another window shows other greys"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is wider than the screen"
    assert page.locator(".warning").is_visible()


def listen(page):
    """A list that gets whatever goes wrong on the page."""
    faults = []
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", lambda dialog: faults.append(dialog.message))
    return faults


def main():
    address, scan, browser, folder = sys.argv[1:]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for width, scheme in [(1280, "light"), (390, "dark")]:
            page = chromium.new_page(viewport={"width": width, "height": 850}, color_scheme=scheme)
            faults = listen(page)
            use(page, address, scan)
            assert faults == [], faults
            page.screenshot(path=Path(folder) / f"page-{width}.png", full_page=True)
            page.close()
        chromium.close()


main()
