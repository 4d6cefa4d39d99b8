"""The chains' ratios as bars, drawn as SVG."""

import html

SERIES = [("vs_best_peer", "against the best peer", "#2b6cb0"),
          ("vs_unfused", "against corf's unfused plan", "#ed8936")]
LABEL_WIDTH, PLOT_WIDTH, VALUE_WIDTH = 230, 520, 60
BAR, GAP, TOP = 9, 8, 50


def write_plot(chains):
    """SVG text for {chain: {"vs_best_peer", "vs_unfused"}}; ratios of None have no bar."""
    ratios = [row[key] for row in chains.values() for key, _, _ in SERIES if row[key]]
    scale = PLOT_WIDTH / (max([*ratios, 1.0]) * 1.02)
    row_height = BAR * len(SERIES) + GAP
    height = TOP + row_height * len(chains) + 20
    width = LABEL_WIDTH + PLOT_WIDTH + VALUE_WIDTH
    shapes = [f'<rect width="{width}" height="{height}" fill="white"/>']
    shapes += _legend()
    for i, (name, row) in enumerate(chains.items()):
        y = TOP + i * row_height
        shapes.append(_text(LABEL_WIDTH - 8, y + row_height / 2, name, "end"))
        shapes += _bars(row, y, scale)
    one = LABEL_WIDTH + scale
    shapes.append(f'<line x1="{one:.1f}" y1="{TOP - 6}" x2="{one:.1f}" y2="{height - 14}" '
                  'stroke="#333" stroke-dasharray="3 3"/>')
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            'font-family="sans-serif" font-size="11">\n' + "\n".join(shapes) + "\n</svg>\n")


def _legend():
    shapes = [_text(LABEL_WIDTH, 16, "Speed of corf (1 = as fast)")]
    for i, (_, title, colour) in enumerate(SERIES):
        x = LABEL_WIDTH + i * 200
        shapes.append(f'<rect x="{x}" y="24" width="10" height="10" fill="{colour}"/>')
        shapes.append(_text(x + 15, 33, title))
    return shapes


def _bars(row, y, scale):
    shapes = []
    for i, (key, _, colour) in enumerate(SERIES):
        if row[key]:
            length, top = row[key] * scale, y + i * BAR
            shapes.append(f'<rect x="{LABEL_WIDTH}" y="{top}" width="{length:.1f}" '
                          f'height="{BAR - 1}" fill="{colour}"/>')
            shapes.append(_text(LABEL_WIDTH + length + 4, top + BAR - 1, f"{row[key]:.2f}"))
    return shapes


def _text(x, y, text, anchor="start"):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'
