"""Latency and throughput of one model in MLServer, on corf and on ONNX Runtime in the same server.

Usage: measure.py MODEL INPUT=SHAPE [--threads N] [--seconds S] [--callers N]
e.g.   measure.py build/zoo/mobilenet_v2.onnx input=1x3x224x224
(in the Python of scripts/setup_serving, with PYTHONPATH=build/python)

Binary requests over gRPC on loopback. Latency: one caller, the next request when the answer is there;
throughput: several callers at once. The two engines take turns.
"""

import argparse
import statistics
import threading
import time

import numpy as np
from loopback import CORF, ONNXRUNTIME, Server

TURNS = 4


def latencies_ms(server, name, feed, seconds):
    times_ms, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        start = time.perf_counter()
        server.binary(name, feed)
        times_ms.append(1e3 * (time.perf_counter() - start))
    return times_ms


def requests_per_second(server, name, feed, seconds, callers):
    counts = [0] * callers

    def call(caller):
        counts[caller] = len(latencies_ms(server, name, feed, seconds))

    threads = [threading.Thread(target=call, args=(i,)) for i in range(callers)]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.monotonic() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("input")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=8, help="of each measurement")
    parser.add_argument("--callers", type=int, default=4)
    arguments = parser.parse_args()
    name, _, shape = arguments.input.partition("=")
    extents = [int(extent) for extent in shape.split("x")]
    feed = {name: np.random.default_rng(0).standard_normal(extents).astype(np.float32)}
    with Server(arguments.model, {"corf": CORF, "onnxruntime": ONNXRUNTIME},
                threads=arguments.threads) as server:
        answers = {engine: server.binary(engine, feed) for engine in ("corf", "onnxruntime")}
        for key, array in answers["corf"].items():
            np.testing.assert_allclose(array, answers["onnxruntime"][key], rtol=1e-3, atol=1e-3)
        times_ms = {engine: [] for engine in answers}
        rates = {engine: [] for engine in answers}
        for _ in range(TURNS):
            for engine in answers:
                share = arguments.seconds / TURNS
                times_ms[engine] += latencies_ms(server, engine, feed, share)
                rates[engine].append(requests_per_second(server, engine, feed, share,
                                                         arguments.callers))
    print(f"| engine | p50 ms | p95 ms | requests/s, {arguments.callers} callers |\n|---|---|---|---|")
    for engine in answers:
        quantiles = statistics.quantiles(times_ms[engine], n=20)
        print(f"| {engine} | {statistics.median(times_ms[engine]):.2f} | {quantiles[18]:.2f} | "
              f"{statistics.median(rates[engine]):.0f} |")


if __name__ == "__main__":
    main()
