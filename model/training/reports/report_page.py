"""The page that reports have in common: headline numbers, sections of cards, everything inside one HTML file."""

import html
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Card:
    """A box of a section; body and note are HTML, the title is text and may be empty."""

    title: str
    body: str
    note: str = ""


@dataclass(frozen=True)
class Section:
    """A heading and the cards under it; those without a body are left out, and a section without cards too."""

    heading: str
    cards: Sequence[Card]


def render_page(
    title: str, summary: str, tiles: Iterable[tuple[str, str]], sections: Iterable[Section], footer: str
) -> str:
    """The whole page. title, summary, tiles (label, value) and footer are plain text."""
    boxes = "".join(
        f'<div class="tile"><div class="label">{html.escape(label)}</div><div class="value">{html.escape(value)}</div></div>'
        for label, value in tiles
    )
    return _PAGE.substitute(
        title=html.escape(title),
        summary=html.escape(summary),
        tiles=boxes,
        sections="".join(map(_section_html, sections)),
        footer=html.escape(footer),
    )


def _section_html(section: Section) -> str:
    cards = "".join(map(_card_html, [card for card in section.cards if card.body]))
    return f'<h2>{html.escape(section.heading)}</h2><section class="cards">{cards}</section>' if cards else ""


def _card_html(card: Card) -> str:
    note = f"<p>{card.note}</p>" if card.note else ""
    title = f"<h3>{html.escape(card.title)}</h3>" if card.title else ""
    return f'<article class="card">{title}{card.body}{note}</article>'


def folded(summary: str, text: str) -> str:
    """Plain text that opens at a click."""
    return f"<details><summary>{html.escape(summary)}</summary><pre>{html.escape(text)}</pre></details>"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of plain text."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


_PAGE = string.Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #f8fafc; color: #0f172a; font: 16px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 40px 24px 64px; }
h1 { margin: 0; font-size: 30px; letter-spacing: -.02em; }
h2 { margin: 40px 0 14px; font-size: 20px; }
.summary { margin: 6px 0 26px; color: #475569; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; }
.tile, .card { background: #fff; border: 1px solid #e2e8f0; border-radius: 12px; padding: 16px 18px; }
.tile .label { font-size: 13px; color: #64748b; }
.tile .value { font-size: 24px; font-weight: 650; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 5px 10px 5px 0; border-bottom: 1px solid #e2e8f0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); gap: 16px;
  align-items: start; }
.card h3 { margin: 0 0 12px; font-size: 16px; font-weight: 600; }
.card svg { width: 100%; height: auto; display: block; }
.card p { margin: 10px 0 0; font-size: 14px; color: #475569; }
.card p.which { margin: 10px 0 4px; font-size: 13px; color: #64748b; }
.mask { background: #dbeafe; color: #1e40af; border-radius: 5px; padding: 1px 5px; font: 600 14px ui-monospace, monospace; }
.guess { display: grid; grid-template-columns: 9em 1fr 4em; gap: 12px; align-items: center; margin: 5px 0; }
.guess code { font: 14px ui-monospace, monospace; overflow: hidden; text-overflow: ellipsis; }
.guess span { text-align: right; font-size: 14px; font-variant-numeric: tabular-nums; }
.track { background: #eef2f7; border-radius: 4px; height: 10px; }
.bar { background: #1d4ed8; border-radius: 4px; height: 10px; min-width: 2px; }
pre { margin: 0; overflow-x: auto; font: 13px/1.5 ui-monospace, monospace; }
details summary { cursor: pointer; font-size: 14px; color: #475569; }
details pre { margin-top: 12px; }
@media (max-width: 520px) {
  main { padding: 24px 12px 40px; }
  .tile, .card { padding: 12px 14px; }
  .guess { grid-template-columns: 6.5em 1fr 3.6em; gap: 8px; }
}
footer { margin-top: 36px; font-size: 13px; color: #64748b; overflow-wrap: anywhere; }
</style></head><body><main>
<h1>$title</h1>
<p class="summary">$summary</p>
<section class="tiles">$tiles</section>
$sections
<footer>$footer</footer>
</main></body></html>
""")
