"""Explanations and profiles: dicts that notebooks show as tables."""

from __future__ import annotations

import html
from typing import Any, Sequence


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    def cells(tag: str, row: Sequence[Any]) -> str:
        return "".join(f"<{tag} style='text-align:{'right' if isinstance(cell, float) else 'left'}'>"
                       f"{f'{cell:.4g}' if isinstance(cell, float) else html.escape(str(cell))}"
                       f"</{tag}>" for cell in row)

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return (f"<table><caption>{html.escape(title)}</caption><thead><tr>{cells('th', heads)}</tr>"
            f"</thead><tbody>{body}</tbody></table>")


class Explanation(dict):
    """What runs as one kernel, and why.

    {"groups": [{"nodes": [names of the model's nodes], "predicted_ms": float (0: unknown),
                 "num_steps": int (of a profile, in order),
                 "links": [{"producer", "consumer", "mapping", "strategy", "why"}]}]}
    """

    def _repr_html_(self) -> str:
        rows = []
        for group in self["groups"]:
            links = "; ".join(f"{link['producer']} -> {link['consumer']}: {link['strategy']}"
                              for link in group["links"])
            rows.append((" + ".join(group["nodes"]), float(group["predicted_ms"]), links))
        return _table(f"{len(rows)} kernels", ("nodes", "predicted ms", "links"), rows)


class Profile(dict):
    """Where the time of one run went.

    {"time_ms": float, "steps": [{"label", "start_ms", "time_ms", "work_flops", "executed_flops",
                                  "compulsory_bytes", "limit_ms"}]}
    """

    def _repr_html_(self) -> str:
        rows = []
        for step in self["steps"]:
            time_ms = step["time_ms"]
            gflops = step["work_flops"] / time_ms / 1e6 if time_ms > 0 else 0.0
            limit = 100.0 * step["limit_ms"] / time_ms if time_ms > 0 else 0.0
            rows.append((step["label"], float(time_ms), float(gflops), float(limit)))
        return _table(f"{self['time_ms']:.4g} ms", ("step", "ms", "GFLOP/s", "% of its limit"),
                      rows)


def explanation(groups: list[dict[str, Any]]) -> Explanation:
    return Explanation(groups=groups)


def profile(steps: list[dict[str, Any]]) -> Profile:
    end_ms = max((step["start_ms"] + step["time_ms"] for step in steps), default=0.0)
    return Profile(time_ms=end_ms, steps=steps)
