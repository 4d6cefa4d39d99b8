"""The benchmarks' own arithmetic, and corf alone through a whole measurement."""

import argparse
import json
import os
import pathlib
import sys
import tempfile
import unittest
import xml.dom.minidom

import numpy as np

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "benchmarks"))

from chains.definition import chain_flops, fused_links, intermediate_bytes  # noqa: E402
from chains.measure import derive, measure_chain, summarize  # noqa: E402
from chains.plot import write_plot  # noqa: E402
from engines.contest import (EngineError, add_arguments, best_peer, complaints,  # noqa: E402
                             difference, speedup)
from engines.pace import Loops, Pace  # noqa: E402
from engines.tvm_records import tuned_model  # noqa: E402
from zoo.builder import write_model  # noqa: E402
from zoo.chains import DEFINITIONS, chain_model  # noqa: E402

CHAINS = {chain["name"]: chain for chain in json.loads(DEFINITIONS.read_text())["chains"]}


def timed(median_ms, agrees=True):
    return {"median_ms": median_ms, "agrees": agrees, "difference": 0.0 if agrees else 0.5}


class Comparison(unittest.TestCase):
    def test_difference_is_relative_to_the_expected_norm_over_all_outputs(self):
        expected = [np.array([[3.0, 0.0]]), np.array([4.0])]
        actual = [np.array([3.0, 0.0]), np.array([4.5])]
        self.assertAlmostEqual(difference(actual, expected), 0.1)
        self.assertIsNone(difference(actual[:1], expected))
        self.assertTrue(np.isnan(difference([np.array([np.nan])], [np.array([1.0])])))

    def test_an_engine_with_other_outputs_is_named_and_in_no_ratio(self):
        results = {"corf": timed(2.0), "onnxruntime": timed(3.0), "ncnn": timed(1.0, False),
                   "openvino": {"error": "no such operator"}}
        self.assertEqual(best_peer(results), "onnxruntime")
        self.assertEqual(speedup(results, "onnxruntime"), 1.5)
        self.assertIsNone(speedup(results, "ncnn"))
        self.assertIsNone(speedup(results, "openvino"))
        lines = complaints("model", results)
        self.assertEqual(len(lines), 2)
        self.assertIn("ncnn: outputs differ", lines[0])
        self.assertIn("openvino: no such operator", lines[1])


class OptionalEngine(unittest.TestCase):
    def test_tvm_is_left_out_where_it_is_not_installed(self):
        parser = argparse.ArgumentParser()
        add_arguments(parser, ["corf"])
        arguments = parser.parse_args(["--engines", "tvm", "--tvm-python", "no/such/python"])
        with self.assertRaisesRegex(EngineError, "not installed; run scripts/setup_peers --tvm"):
            tuned_model("model.onnx", {}, "inputs.npz", arguments)


class Definition(unittest.TestCase):
    def test_fused_links_and_their_bytes(self):
        chain = CHAINS["mb_16_96_24_112s2"]
        self.assertEqual(intermediate_bytes(chain), [96 * 112**2 * 4, 96 * 56**2 * 4])
        self.assertEqual(fused_links(chain, ["input/copy", "/layer0/Conv +1",
                                             "/layer1/Conv +1 -> /layer2/Conv +2"]), [False, True])
        winograd = [f"/layer{i}/Conv.rows -> /layer{i}/Conv.tiles -> /layer{i}/Conv +1"
                    for i in range(2)]
        self.assertEqual(fused_links(CHAINS["c3c3_64_56"], winograd), [False])
        self.assertEqual(fused_links(CHAINS["c3c3_64_56"], [" -> ".join(winograd)]), [True])
        attention = CHAINS["attn_12_128_64"]
        self.assertEqual(intermediate_bytes(attention), [12 * 128 * 128 * 4])
        self.assertEqual(fused_links(attention, ["/MatMul +1 -> /Softmax -> /MatMul_1"]), [True])
        self.assertEqual(fused_links(attention, ["key/copy -> /MatMul +1", "/MatMul_1"]), [False])

    def test_flops(self):
        self.assertEqual(chain_flops(CHAINS["c3c3_64_56"]), 2 * 2 * 64 * 64 * 9 * 56 * 56)
        expand, depthwise, project = 16 * 96 * 112**2, 96 * 9 * 56**2, 96 * 24 * 56**2
        self.assertEqual(chain_flops(CHAINS["mb_16_96_24_112s2"]),
                         2 * (expand + depthwise + project))
        self.assertEqual(chain_flops(CHAINS["mlp_16_768_3072"]), 2 * 2 * 16 * 768 * 3072)
        self.assertEqual(chain_flops(CHAINS["attn_12_128_64"]), 2 * 2 * 12 * 128 * 128 * 64)


class Summary(unittest.TestCase):
    def chain(self, corf, unfused, peer):
        return {"work_flops": 4e6, "engines": {"corf": timed(corf), "corf-unfused": timed(unfused),
                                               "onnxruntime": timed(peer)},
                "plans": {"corf": {"limit_ms": 1.0, "kernels_limit_ms": 1.0,
                                   "fused_links": [True, False], "saved_bytes": 600},
                          "corf-unfused": {"kernels_limit_ms": 2.5}}}

    def test_means_and_chains_below_the_bounds(self):
        chains = {"fast": self.chain(2.0, 4.0, 8.0), "slow": self.chain(2.0, 1.97, 1.0)}
        means = summarize(chains)
        self.assertAlmostEqual(means["best peer"]["geomean"], 2**0.5)
        self.assertEqual(means["best peer"]["below"], {"slow": 0.5})
        self.assertEqual(means["corf-unfused"]["below"], {})  # 0.985
        row = derive(chains["fast"])
        self.assertEqual((row["gflops"], row["limit_fraction"]), (2, 0.5))
        self.assertEqual((row["fused"], row["saved_bytes"]), ("1 of 2", 600))
        self.assertEqual(row["allowed_gain"], 2.5)

    def test_plot_has_a_bar_for_each_ratio(self):
        rows = {"a<b": {"vs_best_peer": 2.0, "vs_unfused": None},
                "c": {"vs_best_peer": 1.0, "vs_unfused": 1.5}}
        picture = xml.dom.minidom.parseString(write_plot(rows))
        bars = [rect for rect in picture.getElementsByTagName("rect")
                if rect.getAttribute("height") == "8"]
        widths = [float(bar.getAttribute("width")) for bar in bars]
        self.assertEqual(len(widths), 3)
        self.assertAlmostEqual(widths[0] / widths[1], 2.0, places=2)


class Measurement(unittest.TestCase):
    def test_both_plans_of_a_chain(self):
        parser = argparse.ArgumentParser()
        add_arguments(parser, ["corf", "corf-unfused"])
        arguments = parser.parse_args(["--corf", os.environ["CORF_COMMAND"], "--threads", "1",
                                       "--rounds", "2", "--min-time", "0.01"])
        definition = CHAINS["mb_160_960_320_7"]
        with tempfile.TemporaryDirectory() as folder:
            model = pathlib.Path(folder, "chain.onnx")
            write_model(chain_model(definition), model)
            with Pace(Loops(arguments.threads)) as pace:
                chain = measure_chain(definition, model, arguments, pace)
        for name in ("corf", "corf-unfused"):
            result = chain["engines"][name]
            self.assertTrue(result.get("agrees"), result)
            self.assertEqual(len(result["rounds_ms"]), 2)
            self.assertEqual(len(result["rounds_slowdown"]), 2)
            self.assertGreater(chain["plans"][name]["limit_ms"], 0)
        self.assertEqual(chain["plans"]["corf-unfused"]["saved_bytes"], 0)
        self.assertGreater(derive(chain)["vs_unfused"], 0)
        self.assertGreaterEqual(derive(chain)["allowed_gain"], 0.99)


if __name__ == "__main__":
    unittest.main()
