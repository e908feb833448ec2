"""The report of a build: one HTML file with its account, histograms and samples, which opens offline in any browser."""

import html
import string
from collections.abc import Iterable, Mapping, Sequence

from clozekit.pipelines.dataset.data_card import DATA_CARD_FILE, render_data_card
from clozekit.pipelines.dataset.dataset_summary import Summary, summarize
from clozekit.pipelines.dataset.manifest import Manifest, SplitInfo
from clozekit.pipelines.storage.files import join
from clozekit.tokenizers.common.page_style import PAGE_STYLE, tiles_html
from clozekit.tokenizers.storage.file_systems import write_bytes_whole

REPORT_FILE = "report.html"
_MOST_BARS = 20


def write_build_report(directory: str, manifest: Manifest, side_directory: str) -> None:
    """Writes the data card and the report beside the manifest, which does not name them: they decide nothing."""
    summary = summarize(directory, manifest, side_directory)
    write_bytes_whole(join(directory, DATA_CARD_FILE), render_data_card(summary).encode())
    write_bytes_whole(join(directory, REPORT_FILE), render_build_report(summary).encode())


def render_build_report(summary: Summary) -> str:
    """The whole page; everything is inside it."""
    manifest = summary.manifest
    total = summary.account[0][1]
    kept = sum(number for name, number in summary.account if name.startswith("kept"))
    tokens = sum(split.tokens for split in manifest.splits.values())
    rows = sum(split.rows for split in manifest.splits.values())
    tiles = [
        ("documents in", f"{total:,}"),
        ("kept", f"{kept / total:.1%}" if total else "-"),
        ("tokens", f"{tokens:,}"),
        ("rows", f"{rows:,}"),
        ("fill rate", f"{tokens / (rows * manifest.sequence_length):.2%}"),
        ("shards", f"{sum(len(split.shards) for split in manifest.splits.values()):,}"),
    ]
    charts = [("What became of the documents", bars(_brief_account(summary)))]
    if summary.rules:
        charts.append(("Rejected, by rule", bars({_in_words(rule): number for rule, number in summary.rules.items()})))
    if summary.languages:
        charts.append(("Languages", bars(summary.languages)))
    charts += [(f"Lengths in {name}, tokens", columns(split)) for name, split in manifest.splits.items()]
    dropped = "".join(_sample(one.text, _in_words(one.rule)) for one in summary.dropped)
    files = len(manifest.inputs)
    return _PAGE.substitute(
        summary=html.escape(
            f"Rows of up to {manifest.sequence_length} tokens; {manifest.tokenizer.class_name} with"
            f" {manifest.tokenizer.vocabulary_size:,} pieces; {files:,} input file{'' if files == 1 else 's'}"
        ),
        style=PAGE_STYLE,
        tiles=tiles_html(tiles),
        charts="".join(
            f'<article class="card"><h3>{html.escape(title)}</h3>{chart}</article>' for title, chart in charts
        ),
        kept="".join(_sample(text) for text in summary.kept),
        dropped=f'<h2>Samples of what was dropped</h2><section class="cards">{dropped}</section>' if dropped else "",
        settings=html.escape(_settings(manifest.settings)),
        dataset=manifest.dataset_sha256,
    )


def _in_words(rule: str) -> str:
    # So that a long one breaks between its words.
    return rule.replace("_", " ")


def _brief_account(summary: Summary) -> dict[str, int]:
    """The account with one line for all rules, which have a chart of their own: what came in, what was kept, the rest."""
    brief: dict[str, int] = {}
    for name, number in summary.account:
        name = "rejected by a rule" if name.startswith("rejected: ") else name
        brief[name] = brief.get(name, 0) + number
    first = [name for name in brief if name == summary.account[0][0] or name.startswith("kept")]
    rest = sorted((name for name in brief if name not in first), key=lambda name: (-brief[name], name))
    return {name: brief[name] for name in (*first, *rest)}


def bars(numbers: Mapping[str, int]) -> str:
    """A bar for each name, the longest for the highest number; what is beyond the first 20 is summed up."""
    shown = list(numbers.items())[:_MOST_BARS]
    rest = list(numbers.values())[_MOST_BARS:]
    if rest:
        shown.append((f"{len(rest):,} more", sum(rest)))
    most = max(number for _, number in shown)
    # All counts of a chart get the room of the longest.
    digits = max(len(f"{number:,}") for _, number in shown)
    lines = "".join(
        f'<div class="line"><span class="name">{html.escape(name)}</span><div class="track">'
        f'<div class="bar" style="width:{number / most if most else 0:.2%}"></div></div><span>{number:,}</span></div>'
        for name, number in shown
    )
    return f'<div style="--digits: {digits}">{lines}</div>'


def columns(split: SplitInfo) -> str:
    """The length histogram as an SVG of columns with its two ends named."""
    counts: Sequence[int] = split.length_histogram
    most, width = max(counts), 600 / len(counts)
    drawn = "".join(
        _column(index, number, most, width, split.histogram_bin_width) for index, number in enumerate(counts)
    )
    return (
        f'<svg viewBox="0 0 600 190" role="img">{drawn}<text x="0" y="186">1</text><text x="600" y="186"'
        f' text-anchor="end">{len(counts) * split.histogram_bin_width}</text></svg><p>documents or parts of long ones; the'
        f" highest column is {most:,}</p>"
    )


def _column(index: int, number: int, most: int, width: float, bin_width: int) -> str:
    height = 165 * number / most
    return (
        f'<rect x="{index * width:.1f}" y="{168 - height:.1f}" width="{width * 0.88:.1f}" height="{height:.1f}">'
        f"<title>{index * bin_width + 1} to {(index + 1) * bin_width} tokens: {number:,}</title></rect>"
    )


def _sample(text: str, rule: str | None = None) -> str:
    what = f"<h3>{html.escape(rule)}</h3>" if rule else ""
    return f'<article class="card">{what}<pre>{html.escape(text)}</pre></article>'


def _settings(settings: Mapping[str, Mapping[str, object]]) -> str:
    def lines() -> Iterable[str]:
        for group, values in settings.items():
            yield f"{group}:"
            yield from (f"  {name}: {value}" for name, value in values.items())

    return "\n".join(lines())


_PAGE = string.Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Clozekit dataset</title>
<style>$style
.tiles { margin-bottom: 28px; }
rect { fill: var(--bar); }
text { font: 13px system-ui, sans-serif; fill: var(--faint); }
.line { display: grid; grid-template-columns: minmax(7em, 15em) minmax(2em, 1fr) calc(var(--digits) * 1ch); gap: 12px;
  align-items: center; margin: 6px 0; font-size: 14px; font-variant-numeric: tabular-nums; }
.line span { text-align: right; }
.line .name { text-align: left; overflow-wrap: anywhere; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; font: 13px/1.5 ui-monospace, monospace; }
@media (max-width: 520px) { .line { grid-template-columns: minmax(5em, 9em) minmax(2em, 1fr) calc(var(--digits) * 1ch); gap: 8px; } }
</style></head><body><main>
<h1>Clozekit dataset</h1>
<p class="summary">$summary</p>
<section class="tiles">$tiles</section>
<section class="cards">$charts</section>
<h2>Samples of what was kept, as the tokenizer reads it</h2>
<section class="cards">$kept</section>
$dropped
<h2>Settings</h2>
<article class="card"><pre>$settings</pre></article>
<footer>dataset sha256 $dataset</footer>
</main></body></html>
""")
