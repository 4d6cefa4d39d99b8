"""Tables as aligned text or as Markdown, one row at a time."""

FIRST_WIDTH, FEWEST = 28, 7


class Table:
    """Columns with these titles; the first is text, the others numbers."""

    def __init__(self, titles, markdown=False):
        self.markdown = markdown
        self.widths = [FIRST_WIDTH] + [max(len(title), FEWEST) for title in titles[1:]]
        self.row(titles)
        if markdown:
            print("|" + "---|" * len(titles), flush=True)

    def row(self, cells):
        if self.markdown:
            print("| " + " | ".join(cells) + " |", flush=True)
            return
        print(f"{cells[0]:{self.widths[0]}}  " + "  ".join(
            f"{cell:>{width}}" for cell, width in zip(cells[1:], self.widths[1:])), flush=True)


def number(value, digits=2):
    """"-" for None."""
    return "-" if value is None else f"{value:.{digits}f}"


def milliseconds(result):
    """An engine's time in three digits; "!" behind one whose outputs were wrong."""
    if "median_ms" not in result:
        return "-"
    time_ms = result["median_ms"]
    digits = 3 if time_ms < 1 else 2 if time_ms < 10 else 1 if time_ms < 100 else 0
    return f"{time_ms:.{digits}f}" + ("" if result["agrees"] else "!")
