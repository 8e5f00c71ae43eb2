"""The page in a browser: what it asks for, and what a reader can do with it."""

import json

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from mqar_bench.records.store import Store

#: Where a point of the first panel of fig3 is on the screen, by its line and place in it.
POINT = """
const plot = document.querySelector('#fig3 .plot');
const trace = plot.data.find((each) => each.points && each.key === arguments[0]);
const box = plot.getBoundingClientRect(), {xaxis, yaxis} = plot._fullLayout, i = arguments[1];
return [box.left + xaxis._offset + xaxis.d2p(trace.x[i]), box.top + yaxis._offset + yaxis.d2p(trace.y[i])];
"""


@pytest.fixture
def page(browser, made):
    """The page anew, light and wide, its fig3 drawn and in sight."""
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    paper(browser, "light")
    browser.get("about:blank")
    browser.get(f"file://{made[0]}/report.html")
    show(browser, "#fig3 .plot")
    until(browser, "return document.querySelector('#fig3 .plot .main-svg')")
    return browser


def show(browser, selector):
    browser.execute_script(
        "document.querySelector(arguments[0]).scrollIntoView({behavior: 'instant', block: 'center'})", selector
    )


def until(browser, script, *arguments):
    """What a script says once that is something."""
    return WebDriverWait(browser, 10, 0.05).until(lambda _: browser.execute_script(script, *arguments))


def paper(browser, scheme):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def mouse(browser, kind, at, **more):
    browser.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": kind, "x": at[0], "y": at[1], **more})


def hover(browser, line, i):
    """Move to a point; what the box says."""
    at = browser.execute_script(POINT, line, i)
    mouse(browser, "mouseMoved", (at[0] - 40, at[1] - 40))
    mouse(browser, "mouseMoved", at)
    return at, until(browser, "const tip = document.getElementById('tip'); return !tip.hidden && tip.innerText")


def click(browser, selector):
    browser.execute_script("document.querySelector(arguments[0]).click()", selector)


def record_title(browser):
    return until(
        browser, "return document.getElementById('record').open && document.querySelector('dialog h2').innerText"
    )


def seeds(made, line, i):
    """The records behind a point of fig3."""
    text = made[1].partition('id="drawings">')[2].partition("</script>")[0]
    (found,) = [each for each in json.loads(text)["fig3"]["panels"][0]["series"] if each["key"] == line]
    results = {result.run_id: result for result in Store(made[0] / "results").results("fig3")[0]}
    return [results[run_id] for run_id in found["runs"][i]]


def test_it_loads_without_an_error_or_a_request(page, made):
    page.get_log("browser"), page.get_log("performance")
    page.get(f"file://{made[0]}/report.html?again")
    for name in page.execute_script("return [...document.querySelectorAll('section')].map((each) => each.id)"):
        show(page, f"#{name}")
        until(page, "return new Promise((done) => setTimeout(() => done(true), 60))")
    assert page.execute_script("return document.documentElement.dataset.ready") == "true"
    drawn = "return [...document.querySelectorAll('.plot')].filter((each) => !each.querySelector('.main-svg')).length"
    assert page.execute_script(drawn) == 0
    assert page.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert [url.partition(":")[0] for url in asked if not url.startswith("data:")] == ["file"]
    assert page.title == "MQAR at scale demo"


def test_hovering_over_a_point_shows_its_runs_and_a_click_opens_them(page, made):
    behind = seeds(made, "RAM-Net", 0)
    at, said = hover(page, "RAM-Net", 0)
    assert "RAM-Net" in said and f"learning rate {behind[0].config.train.learning_rate:g}" in said
    for run in behind:
        assert f"{run.run_id[:8]}: seed {run.config.train.seed}, accuracy {run.accuracy:.4f}" in said
    for kind in ("mousePressed", "mouseReleased"):
        mouse(page, kind, at, button="left", clickCount=1)
    assert record_title(page).startswith(behind[0].run_id)
    text = page.find_element(By.ID, "record").text
    assert f"seed {behind[1].config.train.seed} ({behind[1].run_id[:8]})" in text and "mqar-bench run" in text
    until(page, "return document.querySelector('#learning .main-svg')")
    page.find_element(By.CSS_SELECTOR, "dialog .siblings a:not([aria-current])").click()
    until(page, "return document.querySelector('dialog h2').innerText.startsWith(arguments[0])", behind[1].run_id)
    page.find_element(By.CSS_SELECTOR, "dialog .close").click()
    assert not page.execute_script("return document.getElementById('record').open || location.hash")


def test_the_keyboard_goes_from_point_to_point(page, made):
    plot = page.find_element(By.CSS_SELECTOR, "#fig3 .plot")
    plot.send_keys(Keys.ARROW_RIGHT)
    first = page.find_element(By.ID, "tip").text
    plot.send_keys(Keys.ARROW_DOWN)
    assert first and page.find_element(By.ID, "tip").text not in ("", first)
    plot.send_keys(Keys.ENTER)
    assert record_title(page)


def test_the_legend_switches_lines(page):
    visible = (
        "return document.querySelectorAll('#fig3 .plot')[0].data.filter((t) => t.key === 'GLA' && t.visible).length"
    )
    shown = "return document.querySelectorAll('#fig3 .plot .scatterlayer .trace').length"
    button = "#fig3 .legend button[data-key='GLA']"
    before, lines = page.execute_script(visible), page.execute_script(shown)
    click(page, button)
    assert before > 0 and page.execute_script(visible) == 0
    assert until(page, f"{shown} < {lines}")
    assert page.find_element(By.CSS_SELECTOR, button).get_attribute("aria-pressed") == "false"
    page.find_element(By.CSS_SELECTOR, button).send_keys(Keys.SPACE)
    assert page.execute_script(visible) == before


def test_tables_sort_and_filter_and_open_runs(page, made):
    show(page, "#runs")
    until(page, "return document.querySelector('#runs table').dataset.live")
    column = "return [...document.querySelectorAll('#runs tbody tr')].map((row) => row.cells[arguments[0]].innerText)"
    click(page, "#runs thead tr:first-child th:nth-child(8)")
    until(page, "return document.querySelector('#runs th:nth-child(8)').ariaSort")
    up = [float(text) for text in page.execute_script(column, 7)]
    click(page, "#runs thead tr:first-child th:nth-child(8)")
    down = [float(text) for text in page.execute_script(column, 7)]
    assert up == sorted(up) and down == sorted(down, reverse=True)  # what failed has none, and is last
    assert down[0] > up[0]
    field = page.find_element(By.CSS_SELECTOR, "#runs input[aria-label='filter sweep']")
    field.send_keys("token")
    assert until(page, f"{column}.every((text) => text === 'token_wise')", 1)
    field.clear()
    field.send_keys("x")
    page.find_element(By.CSS_SELECTOR, "#runs .dt-search input").send_keys("failed")
    field.send_keys(Keys.BACKSPACE)
    until(
        page,
        f"const found = (() => {{ {column} }})(); return found.length && found.every((text) => text === 'failed')",
        11,
    )
    link = page.find_element(By.CSS_SELECTOR, "#runs tbody a")
    run = link.text
    page.execute_script("arguments[0].click()", link)
    assert record_title(page).startswith(run)


def test_what_a_record_says_is_text(page, made):
    evil = next(r for r in Store(made[0] / "results").results()[0] if r.status == "failed" and "script" in r.error)
    page.execute_script("location.hash = `run=${arguments[0]}`", evil.run_id)
    assert evil.config.mixer in record_title(page)
    assert evil.error in page.find_element(By.ID, "record").text
    assert page.title == "MQAR at scale demo" and not page.find_elements(By.CSS_SELECTOR, "img[src=x]")


@pytest.mark.parametrize("width", [320, pytest.param(360, marks=pytest.mark.slow), 800])
def test_nothing_is_wider_than_a_phone(page, width):
    device = {"width": width, "height": 700, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", device)
    until(page, "return document.querySelector('#fig3 .main-svg').clientWidth < arguments[0]", width)
    wide = "const root = document.documentElement; return root.scrollWidth - root.clientWidth"
    assert page.execute_script("return document.documentElement.clientWidth") == width
    page.execute_script("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    for name in page.execute_script("return [...document.querySelectorAll('section')].map((each) => each.id)"):
        show(page, f"#{name}")
    assert page.execute_script(wide) == 0
    click(page, "#runs tbody a")
    record_title(page)
    box = "const d = document.getElementById('record'), {left, right} = d.getBoundingClientRect();"
    left, right, over = page.execute_script(f"{box} return [left, right, d.scrollWidth - d.clientWidth]")
    assert left >= 0 and right <= width and over == 0


def test_dark_mode_is_dark_and_paper_is_white(page):
    look = (
        "const of = (s) => getComputedStyle(document.querySelector(s)); return [of('body').backgroundColor,"
        " of('body').color, of('#fig3 .xtitle').fill, document.querySelector('#fig3 .plot').data.at(-1).line.color]"
    )
    light = page.execute_script(look)
    paper(page, "dark")
    until(page, "return document.documentElement.classList.contains('dark')")
    dark = page.execute_script(look)
    assert light[0] == "rgb(255, 255, 255)" and dark[0] != light[0] and dark[1] != light[1] and dark[2] != light[2]
    page.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert page.execute_script(look)[2] == light[2]
    undrawn = "return [...document.querySelectorAll('.plot')].filter((each) => !each.querySelector('.main-svg')).length"
    assert page.execute_script(undrawn) == 0
    page.execute_script("dispatchEvent(new Event('afterprint'))")
    assert page.execute_script(look) == dark
