"""Measures the chains of chains.json: corf's chosen plan, its unfused plan, and the other engines.

How: engines/contest.py. Run by build/venv-peers/bin/python (scripts/setup_peers).
"""

import argparse
import contextlib
import json
import pathlib
import statistics
import subprocess
import sys

BENCHMARKS = pathlib.Path(__file__).resolve().parents[1]
if str(BENCHMARKS) not in sys.path:
    sys.path.insert(0, str(BENCHMARKS))

from chains.definition import chain_flops, fused_links, intermediate_bytes  # noqa: E402
from chains.plot import write_plot  # noqa: E402
from engines.contest import (PEERS, PLANS, REPOSITORY, USUAL_PEERS, EngineError,  # noqa: E402
                             add_arguments, best_peer, complaints, corf_options, measure_model,
                             run_corf, settings, speedup)
from engines.pace import Loops, Pace  # noqa: E402
from engines.table import Table, milliseconds, number  # noqa: E402
from engines.turns import steadiness, steadiness_line  # noqa: E402
from zoo.chains import DEFINITIONS  # noqa: E402

SLOWER_THAN_PEER, SLOWER_THAN_UNFUSED = 1.0, 0.98  # chains below are listed


def measure_chain(definition, model, arguments, pace):
    """{"plans": what corf says of its own, "engines": measure_model's results}."""
    plans = {}
    for name, plan in PLANS.items():
        if name in arguments.engines:
            try:
                plans[name] = describe_plan(definition, model, arguments, plan)
            except EngineError:
                continue  # measure_model reports it
    return {"work_flops": chain_flops(definition), "plans": plans,
            "engines": measure_model(model, arguments, {}, pace)}


def describe_plan(definition, model, arguments, plan):
    """{"limit_ms", "kernels_limit_ms", "kernels", "fused_links", "saved_bytes"}.

    kernels_limit_ms: of all kernels, each at its own limit. saved_bytes: of the tensors between
    complex operators that are never stored as a whole.
    """
    answer = json.loads(run_corf([arguments.corf, "bench", model, "--json", "--profile",
                                  "--min-time", "0", *corf_options(arguments, {}, plan)]))
    kernels = [step["label"] for step in answer["profile"]]
    links = fused_links(definition, kernels)
    return {"limit_ms": answer["limit_ms"],
            "kernels_limit_ms": sum(step["limit_ms"] for step in answer["profile"]),
            "kernels": kernels, "fused_links": links,
            "saved_bytes": sum(size for size, fused in zip(intermediate_bytes(definition), links)
                               if fused)}


def allowed_gain(plans):
    """What fusing can gain by the kernels' limits (multiply-adds and compulsory memory traffic)."""
    limits = [plans.get(name, {}).get("kernels_limit_ms") for name in ("corf-unfused", "corf")]
    return limits[0] / limits[1] if all(limits) else None


def derive(chain):
    """Ratios and rates of one chain's results; None for what was not measured."""
    engines, plan = chain["engines"], chain["plans"].get("corf")
    time_ms = engines.get("corf", {}).get("median_ms")
    peer = best_peer(engines)
    derived = {"best_peer": peer, "vs_best_peer": speedup(engines, peer) if peer else None,
               "vs_unfused": speedup(engines, "corf-unfused"),
               "allowed_gain": allowed_gain(chain["plans"]),
               "gflops": None, "limit_fraction": None, "fused": None, "saved_bytes": None}
    if time_ms and plan:
        derived.update(gflops=chain["work_flops"] / (time_ms * 1e6),
                       limit_fraction=plan["limit_ms"] / time_ms,
                       fused=f"{sum(plan['fused_links'])} of {len(plan['fused_links'])}",
                       saved_bytes=plan["saved_bytes"])
    return derived


def print_row(table, name, chain, arguments):
    derived = derive(chain)
    fraction, saved = derived["limit_fraction"], derived["saved_bytes"]
    table.row([name] + [milliseconds(chain["engines"].get(engine, {}))
                        for engine in arguments.engines] +
              [number(derived["gflops"], 0),
               number(fraction and fraction * 100, 0), derived["fused"] or "-",
               number(None if saved is None else saved / 1e6, 1),
               number(derived["vs_unfused"]), number(derived["allowed_gain"]),
               number(derived["vs_best_peer"]),
               derived["best_peer"] or "-"])
    for line in complaints(name, chain["engines"]):
        print(line, file=sys.stderr)


def make_table(arguments):
    return Table(["chain (ms)", *arguments.engines, "GFLOP/s", "% limit", "fused", "MB saved",
                  "vs unfused", "allowed", "vs best", "best peer"], arguments.markdown)


def summarize(chains):
    """Geometric means, and the chains where corf loses."""
    derived = {name: derive(chain) for name, chain in chains.items()}
    columns = {"best peer": {name: row["vs_best_peer"] for name, row in derived.items()},
               "corf-unfused": {name: row["vs_unfused"] for name, row in derived.items()},
               "corf-unfused where fused": {
                   name: derived[name]["vs_unfused"] for name, chain in chains.items()
                   if any(chain["plans"].get("corf", {}).get("fused_links", []))}}
    for peer in PEERS:
        columns[peer] = {name: speedup(chain["engines"], peer) for name, chain in chains.items()}
    means = {}
    for other, ratios in columns.items():
        ratios = {name: ratio for name, ratio in ratios.items() if ratio}
        if not ratios:
            continue
        bound = SLOWER_THAN_UNFUSED if "unfused" in other else SLOWER_THAN_PEER
        means[other] = {"geomean": statistics.geometric_mean(ratios.values()),
                        "chains": len(ratios), "bound": bound,
                        "below": {name: ratio for name, ratio in ratios.items() if ratio < bound}}
    return means


def print_summary(means):
    print()
    for other, mean in means.items():
        print(f"corf is {mean['geomean']:.2f} times as fast as {other} (geometric mean of "
              f"{mean['chains']} chains)")
        if other in ("best peer", "corf-unfused") and mean["below"]:
            below = sorted(mean["below"].items(), key=lambda item: item[1])
            print(f"  below {mean['bound']:.2f}: " +
                  ", ".join(f"{name} {ratio:.2f}" for name, ratio in below))


def chain_models(folder, names):
    """{name: path}, written first where they are missing."""
    subprocess.run([sys.executable, "-m", "zoo.chains", "--out", str(folder), "--only", *names],
                   check=True, cwd=BENCHMARKS, stderr=subprocess.DEVNULL)
    return {name: folder / f"{name}.onnx" for name in names}


def main():
    definitions = {chain["name"]: chain
                   for chain in json.loads(DEFINITIONS.read_text())["chains"]}
    names = list(definitions)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--models", type=pathlib.Path, default=REPOSITORY / "build" / "chains",
                        metavar="DIR", help="where the chains are, or are written (%(default)s)")
    parser.add_argument("--plot", type=pathlib.Path, metavar="FILE.svg",
                        help="draw the speed against the best peer and the unfused plan")
    add_arguments(parser, [*PLANS, *USUAL_PEERS])
    arguments = parser.parse_args()

    report = {**settings(arguments), "chains": {}}
    chains = report["chains"]
    for file in arguments.files or []:
        stored = json.loads(file.read_text())
        report.update({name: stored.get(name) for name in settings(arguments)})
        chains.update(stored["chains"])
    models = {} if arguments.files else chain_models(arguments.models, arguments.only)
    table = make_table(arguments)
    with Pace(Loops(arguments.threads)) if models else contextlib.nullcontext() as pace:
        for name in arguments.only:
            if name in models:
                chains[name] = measure_chain(definitions[name], models[name], arguments, pace)
            if name in chains:
                print_row(table, name, chains[name], arguments)
    report["summary"] = summarize(chains)
    report["turns"] = steadiness({name: chain["engines"] for name, chain in chains.items()})
    print_summary(report["summary"])
    print(steadiness_line(report["turns"]))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    if arguments.plot:
        arguments.plot.write_text(write_plot({name: derive(chain)
                                              for name, chain in chains.items()}))


if __name__ == "__main__":
    main()
