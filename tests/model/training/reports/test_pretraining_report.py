"""Reports: what the log holds and nothing else, whole and offline; charts with the same bytes for the same log."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from clozekit.model.tasks.fill_mask import Guess
from clozekit.model.training.reports.pretraining_report import Filled, Report, render_report, run_tiles
from clozekit.model.training.reports.report_charts import Line, line, line_chart, thinned
from clozekit.model.training.reports.report_page import Card, Section, render_page, table
from clozekit.pipelines.dataset.manifest import Manifest

FULL = {
    "tokens_per_second": 900.0,
    "padded_tokens_per_second": 1000.0,
    "useful_token_share": 0.9,
    "data_wait_share": 0.01,
    "step_seconds": 0.25,
    "model_flops_utilization": 0.4,
    "memory_bytes": 2_000_000_000,
    "cost": 1.5,
}
METRICS = {"loss": 2.0, "perplexity": 7.39, "accuracy": 0.5}


def log_of(**more: Any) -> list[dict[str, Any]]:
    common = {"loss": 3.0, "accuracy": 0.25, "learning_rate": 1e-3, "gradient_norm": 1.5, "skipped_steps": 0}
    train = [{"kind": "train", "step": step, "tokens_seen": 100 * step, **common, **more} for step in (10, 20)]
    return [*train, {"kind": "validation", "step": 20, "num_predictions": 7, **METRICS}]


def report_of(log: list[dict[str, Any]], manifest: Manifest) -> str:
    tiles = run_tiles(METRICS, log, 0.1)
    filled = [Filled("<b> [MASK]", [[Guess("&x", 0.75, 1, "x")]])]
    return render_report(Report("A & B", "a run", tiles, log, 0.1, manifest, "seed: 0\n", filled))


def headings(page: str) -> list[str]:
    return re.findall(r"<h[23]>(.*?)</h[23]>", page)


class Tags(HTMLParser):
    """Every tag must be closed; addresses that the page would load are collected."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br"):
            self.open.append(tag)
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href") and tag != "use"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_full_log_is_shown_in_full(dataset: tuple[str, Manifest]) -> None:
    page = report_of(log_of(**FULL), dataset[1])
    assert headings(page) == [
        *("Training", "Loss", "Masked accuracy", "Learning rate", "Gradient norm", "Skipped steps"),
        *("Filled masks", '&lt;b&gt; <mark class="mask">[MASK]</mark>'),
        *(
            "Speed",
            "Tokens a second",
            "Useful tokens",
            "Data wait",
            "Step time",
            "Model FLOPs utilisation",
            "Memory",
            "Cost",
        ),
        *("Dataset", "Lengths of the packed pieces", "Configuration"),
    ]
    assert "MFU = FLOPs a token x tokens a second, padding included / (devices x peak FLOPs a second of one)" in page
    tiles = dict(re.findall(r'<div class="label">(.*?)</div><div class="value"[^>]*>(.*?)</div>', page))
    assert tiles["tokens a second"] == "900"
    assert (tiles["MFU"], tiles["useful tokens"], tiles["data wait"], tiles["cost"]) == (
        "40.0%",
        "90.0%",
        "1.0%",
        "1.50",
    )
    assert "skipped steps" not in tiles


def test_only_what_the_log_holds_is_shown(dataset: tuple[str, Manifest]) -> None:
    page = report_of(log_of(tokens_per_second=5.0, model_flops_utilization=None), dataset[1])
    found = headings(page)
    assert "Tokens a second" in found
    assert not {"MFU", "Model FLOPs utilisation", "Useful tokens", "Memory", "Cost", "Step time", "Data wait"} & {
        *found
    }
    assert "MFU" not in page


@pytest.mark.slow
def test_the_page_is_whole_offline_and_made_for_phones(dataset: tuple[str, Manifest]) -> None:
    page = report_of(log_of(**FULL), dataset[1])
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert tags.loaded == []
    assert not re.search(r"@import|url\(\s*['\"]?(?!#)", page)
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    assert page.count("<svg role=") == page.count("<svg") > 8
    assert report_of(log_of(**FULL), dataset[1]) == page


def test_a_long_number_fits_its_box_and_colours_follow_the_night(dataset: tuple[str, Manifest]) -> None:
    log = log_of(**FULL)
    tiles = run_tiles({**METRICS, "perplexity": 11_208_898.4}, log, 0.1)
    page = render_report(Report("run", "a run", tiles, log, 0.1, dataset[1], "seed: 0\n"))
    # The letters are as large as so many of them have room for; looked at in Chromium at 390 and 1280 pixels.
    assert '<div class="value" style="--length: 12">11,208,898.4</div>' in page
    assert "container-type: inline-size" in page and "100cqi / (var(--length)" in page
    assert "@media (prefers-color-scheme: dark) { :root { --page: " in page
    # In a chart no colour is without its other one.
    drawn = re.sub(r"<style.*?</style>", "", page, flags=re.DOTALL)
    plain = {color for color in re.findall(r"(?<!, )#[0-9a-f]{6}\b", drawn) if color not in ("#000000", "#ffffff")}
    assert plain == set() and "var(--axis, #334155)" in drawn and "var(--bar, #1D4ED8)" in drawn


def test_skipped_steps_are_counted_and_a_norm_that_is_no_number_is_a_gap(dataset: tuple[str, Manifest]) -> None:
    log = log_of()
    log[1] |= {"skipped_steps": 3, "gradient_norm": float("inf")}
    assert ("skipped steps", "3") in run_tiles(METRICS, log, 0.1)
    norm = line(log, "train", "gradient_norm", "norm")
    assert (norm.steps, norm.values[0], norm.values[1] != norm.values[1]) == ([10, 20], 1.5, True)
    assert "Gradient norm" in headings(report_of(log, dataset[1]))


def test_events_are_listed(dataset: tuple[str, Manifest]) -> None:
    event = {"kind": "event", "step": 11, "event": "went_back", "from_step": 20, "reason": "the loss is no number"}
    page = report_of([*log_of(), event], dataset[1])
    assert "<td>11</td><td>went back</td><td>from_step 20, reason the loss is no number</td>" in page
    assert "Events" not in headings(report_of(log_of(), dataset[1]))


def test_long_curves_are_thinned_to_means() -> None:
    assert thinned(Line("x", [1, 2, 3, 4, 5], [1.0, 3.0, float("nan"), 4.0, 5.0]), 3) == ([2, 4, 5], [2.0, 4.0, 5.0])
    assert thinned(Line("x", [1, 2], [1.0, 3.0]), 3) == ([1, 2], [1.0, 3.0])
    assert line_chart("none", [Line("x", [], [])], "y") == ""


def test_what_stands_in_a_page_is_escaped() -> None:
    page = render_page(
        "<t>", "<s>", [("<l>", "<v>")], [Section("<h>", [Card("<c>", table(["<th>"], [["<td>"]]))])], "<f>"
    )
    for letter in ("t", "s", "l", "v", "h", "c", "th", "td", "f"):
        assert f"&lt;{letter}&gt;" in page
    assert render_page("t", "s", [], [Section("empty", [Card("c", "")])], "f").count("<h2>") == 0


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_share_may_be_nothing_or_everything(value: float, dataset: tuple[str, Manifest]) -> None:
    assert "Data wait" in headings(report_of(log_of(data_wait_share=value), dataset[1]))
