"""The page that reports have in common: headline numbers, sections of cards, everything inside one HTML file."""

import html
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from clozekit.tokenizers.common.page_style import PAGE_STYLE, tiles_html


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
    return _PAGE.substitute(
        title=html.escape(title),
        summary=html.escape(summary),
        tiles=tiles_html(tiles),
        style=PAGE_STYLE,
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
<style>$style
.card p.which { margin: 10px 0 4px; font-size: 13px; color: var(--faint); }
.mask { background: var(--mask); color: var(--mask-ink); border-radius: 5px; padding: 1px 5px; font: 600 14px ui-monospace, monospace; }
.guess { display: grid; grid-template-columns: 9em 1fr 4em; gap: 12px; align-items: center; margin: 5px 0; }
.guess code { font: 14px ui-monospace, monospace; overflow: hidden; text-overflow: ellipsis; }
.guess span { text-align: right; font-size: 14px; font-variant-numeric: tabular-nums; }
.key { display: inline-block; width: 18px; height: 4px; border-radius: 2px; vertical-align: middle; margin-right: 6px; }
pre { margin: 0; overflow-x: auto; font: 13px/1.5 ui-monospace, monospace; }
@media (max-width: 520px) { .guess { grid-template-columns: 6.5em 1fr 3.6em; gap: 8px; } }
</style></head><body><main>
<h1>$title</h1>
<p class="summary">$summary</p>
<section class="tiles">$tiles</section>
$sections
<footer>$footer</footer>
</main></body></html>
""")
