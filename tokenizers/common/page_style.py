"""The look that all report pages share: light and dark, on a phone and on a screen, numbers that fit their boxes."""

import html
from collections.abc import Iterable

# Name of a colour in the style -> by day, at night.
COLORS = {
    "page": ("#f8fafc", "#0b1120"),
    "card": ("#ffffff", "#151e2e"),
    "line": ("#e2e8f0", "#2b3a52"),
    "track": ("#eef2f7", "#263449"),
    "ink": ("#0f172a", "#e6edf6"),
    "soft": ("#475569", "#a9b7ca"),
    "faint": ("#64748b", "#8fa0b7"),
    "axis": ("#334155", "#b6c3d4"),
    "bar": ("#1d4ed8", "#7aa5ff"),
    "bar-soft": ("#8fb3f5", "#5b7fc4"),
    "level": ("#b45309", "#f0a94e"),
    "mask": ("#dbeafe", "#1e3a6e"),
    "mask-ink": ("#1e40af", "#cfe0ff"),
    "curve-1": ("#c2410c", "#fb923c"),
    "curve-2": ("#047857", "#4ade9d"),
    "curve-3": ("#7e22ce", "#c597ff"),
    "curve-4": ("#be185d", "#ff85b6"),
    "curve-5": ("#0e7490", "#4fd3ec"),
    "curve-6": ("#a16207", "#e9c349"),
    "curve-7": ("#3f6212", "#a3d65c"),
}


def day(name: str) -> str:
    """A colour by day, as charts are drawn."""
    return COLORS[name][0]


def in_colors_of_the_page(svg: str) -> str:
    """A chart whose colours follow the page at night; alone it keeps those of the day."""
    for name, (by_day, _) in COLORS.items():
        if by_day != "#ffffff":
            svg = svg.replace(by_day, f"var(--{name}, {by_day.upper()})")
    return svg


def _variables(night: bool) -> str:
    return " ".join(f"--{name}: {values[night]};" for name, values in COLORS.items())


def tiles_html(tiles: Iterable[tuple[str, str]]) -> str:
    """Boxes with a number each (label, value), plain text. A value says how long it is: its letters shrink to fit."""
    return "".join(
        f'<div class="tile"><div class="label">{html.escape(label)}</div>'
        f'<div class="value" style="--length: {max(1, len(value))}">{html.escape(value)}</div></div>'
        for label, value in tiles
    )


PAGE_STYLE = (
    f"""
:root {{ color-scheme: light dark; {_variables(False)} }}
@media (prefers-color-scheme: dark) {{ :root {{ {_variables(True)} }} }}
"""
    + """
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, "Segoe UI", Roboto, sans-serif;
  -webkit-text-size-adjust: 100%; }
main { max-width: 1080px; margin: 0 auto; padding: 40px 24px 64px; }
h1 { margin: 0; font-size: 30px; letter-spacing: -.02em; overflow-wrap: anywhere; }
h2 { margin: 40px 0 14px; font-size: 20px; }
.summary { margin: 6px 0 26px; color: var(--soft); overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 150px), 1fr)); gap: 12px; }
.tile, .card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 16px 18px; min-width: 0; }
.tile { container-type: inline-size; }
.tile .label { font-size: 13px; color: var(--faint); }
.tile .value { font-size: clamp(13px, calc(100cqi / (var(--length) * .74)), 24px); line-height: 36px; font-weight: 650;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); gap: 16px;
  align-items: start; }
.card h3 { margin: 0 0 12px; font-size: 16px; font-weight: 600; overflow-wrap: anywhere; }
.card svg { width: 100%; height: auto; display: block; }
.card p { margin: 10px 0 0; font-size: 14px; color: var(--soft); overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 5px 10px 5px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td:last-child { overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
.track { background: var(--track); border-radius: 4px; height: 10px; }
.bar { background: var(--bar); border-radius: 4px; height: 10px; min-width: 2px; }
details summary { cursor: pointer; font-size: 14px; color: var(--soft); }
details pre { margin-top: 12px; }
@media (max-width: 520px) {
  main { padding: 24px 12px 40px; }
  h1 { font-size: 25px; }
  .tiles { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 10px; }
  .tile, .card { padding: 12px 14px; }
}
footer { margin-top: 36px; font-size: 13px; color: var(--faint); overflow-wrap: anywhere; }
"""
)
