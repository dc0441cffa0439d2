"""How values are written on the page: numbers, durations, moments, and a model card."""

from datetime import datetime, timezone

from markdown_it import MarkdownIt
from markupsafe import Markup

from components.report.charts import number


def card(text: object) -> Markup:
    """Markdown as HTML: raw HTML stays text, nothing is loaded or linked, headings go below the page's own."""
    markdown = MarkdownIt("js-default", {"html": False}).disable(["image", "link", "autolink"])
    tokens = markdown.parse(str(text))
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + 2)}"
    return Markup(markdown.renderer.render(tokens, markdown.options, {}))


def num(value: object) -> str:
    """A number short enough to compare by eye; what is none stays as it was written."""
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if 1000 <= abs(value) < 1e12 else f"{value:.4g}"
    return str(value)


def share(value: object) -> str:
    """A score or share with three decimals, so that a column lines up."""
    return f"{value:.3f}" if isinstance(value, (int, float)) and not isinstance(value, bool) else num(value)


def signed(value: object) -> str:
    """A difference: its sign is the news, so it is always there."""
    return f"{value:+.4f}" if isinstance(value, (int, float)) and not isinstance(value, bool) else num(value)


def seconds(value: object) -> str:
    """A duration as people say it."""
    total = number(value)
    if not total >= 0 or total == float("inf"):
        return "\N{EN DASH}"
    if total < 60:
        return f"{total:.1f} s"
    minutes, rest = divmod(round(total), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def size(value: object) -> str:
    """Bytes in the unit that leaves the fewest digits."""
    amount = number(value)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} GB"


def parse_time(value: object) -> datetime | None:
    """The moment in UTC; None for what is no moment."""
    try:
        moment = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError:
        return None
    return moment.astimezone(timezone.utc) if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def when(value: object) -> str:
    """A moment to the second, always in UTC and saying so."""
    moment = value if isinstance(value, datetime) else parse_time(value)
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment else "\N{EN DASH}"
