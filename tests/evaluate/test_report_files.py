"""The files of a report: HTML that stands alone, Markdown, pictures and data; the same results, the same bytes."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from errata.evaluate.report.drawing import DARK, LIGHT, Panel, spread, svg
from errata.evaluate.report.files import names, write
from errata.evaluate.report.gather import gather
from errata.evaluate.report.page import Page
from errata.evaluate.report.plots import plots
from made_results import add, figure, results, stream, whole

VOID = {"meta", "link", "br", "img", "hr", "path", "use", "rect"}
PAPER = {"light": "#ffffff", "dark": "#14171b"}


class Reader(HTMLParser):
    """Open tags, ids, addresses and texts by tag; a tag that closes another than the last open one is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text: dict[str, list[str]] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src", "action", "data", "srcset", "poster", "xlink:href"):
                self.addresses.append(value or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and data.strip():
            self.text.setdefault(self.open[-1], []).append(data.strip())


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return gather(whole(tmp_path_factory.mktemp("results") / "r"))


@pytest.fixture(scope="module")
def report(page: Page, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("reports") / "one"
    return {path.name: path.read_bytes() for path in write(page, out)}


@pytest.fixture(scope="module")
def html(report: dict[str, bytes]) -> str:
    return report["report.html"].decode()


def test_what_was_promised_is_written(page: Page, report: dict[str, bytes]):
    assert list(report) == names(page)
    assert set(report) == {"report.html", "report.md", "report.json", "decay.png", "balance.png", "collapse.png"}
    assert all(data.startswith(b"\x89PNG\r\n") for name, data in report.items() if name.endswith(".png"))


def test_the_same_results_give_the_same_bytes(page: Page, report: dict[str, bytes], tmp_path: Path):
    (tmp_path / "report.html").write_text("an earlier report")
    assert {path.name: path.read_bytes() for path in write(page, tmp_path)} == report


def test_the_page_is_whole_and_needs_nothing_from_outside(html: str):
    reader = Reader(html)
    assert reader.open == [], "every tag is closed"
    assert len(reader.ids) == len(set(reader.ids)), "drawings do not share ids"
    own = {f"#{id}" for id in reader.ids}
    assert all(address in own or address == "data:," for address in reader.addresses), reader.addresses
    assert set(re.findall(r"url\((#[^)]*)\)", html)) <= own
    assert not re.search(r"https?:|url\((?!#)|@import|//[a-z]", html)
    assert not {"script", "iframe", "object"} & set(reader.tags)


def test_the_page_says_what_was_measured(html: str):
    text = Reader(html).text
    assert text["h1"] == ["A made comparison"]
    assert "95.0%" in text["strong"], "the best is bold"
    assert "50.0%" in text["td"]
    assert "[90.0, 99.0] n=40" in text["small"]
    assert any("the disabling edit is e3 (The capital of e3 is → Paris)" in part for part in text["p"])
    assert "the target is not reachable" in text["td"]
    assert {"m0", "d0", "2026-01-01T00:00:00Z"} <= set(text["dd"])
    assert "title: A made comparison" in text["code"][-1]
    assert "a <b>" in text["td"], "answers are no markup"
    assert "a <b>" not in html


def test_drawings_say_in_words_what_they_show(html: str):
    told = re.findall(r'<svg [^>]*role="img" aria-label="([^"]*)"', html)
    assert len(told) == html.count("<svg") == 6, "four panels over the stream, balance and collapse"
    assert any("ft 95.0% [90.0, 99.0] after 1, 50.0% [45.0, 55.0] after 4" in text for text in told)
    assert "ft from 110 to 900" in told[-1]


def test_drawings_take_their_colours_from_the_page(html: str):
    drawn = "".join(re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL))
    assert not re.findall(r"#[0-9a-f]{6}\b", drawn), "every colour follows the scheme"
    used = set(re.findall(r"var\((--[a-z0-9-]+)\)", drawn))
    assert {"--ink", "--grid", "--series-0", "--series-1"} <= used
    assert all(f"{name}:" in html for name in used)


@pytest.mark.parametrize(("palette", "paper"), [(LIGHT, PAPER["light"]), (DARK, PAPER["dark"])])
def test_labels_can_be_read_on_the_page(html: str, palette: tuple[str, ...], paper: str):
    assert f"--paper: {paper}" in html
    assert all(contrast(colour, paper) >= 4.5 for colour in palette)


def contrast(one: str, other: str) -> float:
    """WCAG's contrast ratio."""
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (x / 12.92 if x <= 0.03928 else ((x + 0.055) / 1.055) ** 2.4 for x in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_markdown_has_the_tables_and_the_pictures(report: dict[str, bytes]):
    lines = report["report.md"].decode().splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("| Method | Reliability |"))
    columns = len(lines[at].split("|"))
    assert set(lines[at + 1]) <= set("| -")
    assert len(lines[at + 1].split("|")) == columns
    assert lines[at + 2].startswith("| grace | **95.0%** \\[90.0, 99.0\\] n=40 | **98.0%** ")
    assert lines[at + 3].startswith("| ft | 50.0% \\[45.0, 55.0\\] n=40 | 20.0% ")
    assert lines[at + 4] == "", "two methods"
    assert "![Edits that hold, and what they leave](balance.png)" in lines
    assert any(line.startswith("| Spain\\| | Madrid | Madrid | Paris |") for line in lines), "a prompt's bar is escaped"


def test_the_data_are_json_without_nan(report: dict[str, bytes]):
    def refuse(name: str) -> None:
        raise AssertionError(name)

    data = json.loads(report["report.json"], parse_constant=refuse)
    assert data["entrants"][1]["checkpoints"][1]["figures"]["reliability"]["value"] == 0.5
    assert data["entrants"][1]["collapse"]["edits"] == 3
    assert data["missing"] == []


def test_a_ruined_model_can_be_drawn(tmp_path: Path):
    made = results(tmp_path / "r", "ft")
    ruin = {"perplexity.change": figure(1e300, 1e200, 1e304), "reliability": figure(0.0, 0.0, 0.1)}
    add(made, "ft", {1: ruin, 4: ruin}, lines=stream(4, [100, 1e300, float("nan"), float("inf")]))
    page = gather(made)
    files = write(page, tmp_path / "out")
    assert "×1e+300" in files[0].read_text()
    assert json.loads(files[2].read_text())["entrants"][0]["looks"][2]["perplexity"] is None


def test_a_perplexity_that_multiplies_is_drawn_from_its_start_up(tmp_path: Path):
    made = results(tmp_path / "r", "ft")
    add(made, "ft", {1: {"perplexity.change": figure(0.0)}, 4: {"perplexity.change": figure(40.0)}})
    (panel,) = next(plot for plot in plots(gather(made)) if plot.name == "decay").panels
    axes = Figure().subplots()
    panel.draw(axes)
    low, high = axes.get_ylim()
    assert 0.8 < low < 1
    assert 41 < high < 50


def test_nothing_measured_is_still_a_page(tmp_path: Path):
    page = gather(results(tmp_path / "r"))
    assert plots(page) == []
    html = write(page, tmp_path / "out")[0].read_text()
    assert "Nothing has been measured yet." in html
    assert "grace has not been started" in html
    assert Reader(html).open == []


def test_labels_keep_apart_and_in_order():
    placed = spread([0.5, 0.5, 0.52, 0.0], 0.1)
    assert placed[3] == 0.0
    assert placed[2] > placed[0] > placed[1], "of equals the first is highest"
    assert min(b - a for a, b in zip(sorted(placed), sorted(placed)[1:], strict=False)) >= 0.1 - 1e-9
    assert all(0 <= height <= 1 for height in spread([1.0, 1.0, 1.0], 0.2))
    assert len(set(spread([0.3] * 30, 0.1))) == 30, "closer where they would not fit"


def test_marks_in_words_do_not_break_a_drawing():
    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1])

    text = svg(Panel("a < b & c", 'says "a < b"', draw), "x")
    assert 'aria-label="says &quot;a &lt; b&quot;"' in text
    assert Reader(text).open == []
