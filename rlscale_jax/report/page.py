"""The report as one HTML page that needs no other file."""

import html
from collections.abc import Sequence

from rlscale_jax.report.figures import Missing, Picture
from rlscale_jax.report.tables import Table

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
figure { margin: 2rem 0; } img { max-width: 100%; height: auto; } figcaption, .note { color: #555; font-size: .9rem; }
table { border-collapse: collapse; font-size: .85rem; margin: .5rem 0 1.5rem; }
td, th { padding: .2rem .7rem; border-bottom: 1px solid #ddd; text-align: right; }
td:first-child, th:first-child, td:last-child { text-align: left; }
pre { overflow-x: auto; font-size: .8rem; } code { background: #f3f3f3; padding: .1rem .3rem; }
.missing { border-left: 4px solid #E69F00; padding: .3rem 1rem; margin: 1rem 0; background: #fdf7ea; }
"""


def page(title: str, sections: Sequence[tuple[str, str]]) -> str:
    """A whole page from (heading, HTML body) pairs."""
    body = "\n".join(f"<section><h2>{html.escape(head)}</h2>\n{text}</section>" for head, text in sections)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{STYLE}</style></head>\n<body><h1>{html.escape(title)}</h1>\n{body}\n</body></html>\n"
    )


def picture(item: Picture | Missing) -> str:
    """A figure with its caption, or the word on what is missing."""
    source = f" <small>(paper: {html.escape(item.paper)})</small>" if item.paper else ""
    if isinstance(item, Missing):
        return (
            f'<div class="missing"><b>{html.escape(item.title)}</b>{source}: {html.escape(item.reason)}. '
            f"To make it: <code>{html.escape(item.command)}</code></div>\n"
        )
    return (
        f"<figure><h3>{html.escape(item.title)}{source}</h3>"
        f'<img alt="{html.escape(item.title)}" src="{item.data_uri()}">'
        f"<figcaption>{html.escape(item.caption)}</figcaption></figure>\n"
    )


def paragraphs(lines: Sequence[str]) -> str:
    """One paragraph a line, escaped."""
    return "".join(f"<p>{html.escape(line)}</p>\n" for line in lines)


def preformatted(text: str) -> str:
    """Aligned text as it is."""
    return f"<pre>{html.escape(text)}</pre>\n"


def table(item: Table) -> str:
    """A table with title and caption."""
    source = f" <small>(paper: {html.escape(item.paper)})</small>" if item.paper else ""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in item.header)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>\n" for row in item.rows)
    note = f'<p class="note">{html.escape(item.caption)}.</p>\n' if item.caption else ""
    return f"<h3>{html.escape(item.title)}{source}</h3>\n<table><tr>{head}</tr>\n{body}</table>\n{note}"
