"""What `corf tune` finds and keeps."""

import json
import os
import pathlib
import subprocess
import unittest

import numpy as np

from corf_command import CORF, CommandTest, constant, corf, linear_model, make_model, value
from onnx import helper


def chain_model():
    """Two matrix products with a Relu between them."""
    random = np.random.default_rng(0)
    weights = [constant(name, random.standard_normal((64, 64)).astype(np.float32))
               for name in ("a", "b")]
    nodes = [helper.make_node("MatMul", ["x", "a"], ["p"], name="first"),
             helper.make_node("Relu", ["p"], ["q"], name="relu"),
             helper.make_node("MatMul", ["q", "b"], ["y"], name="second")]
    return make_model(nodes, [value("x", [256, 64])], [value("y", [256, 64])], weights)


class TuneTest(CommandTest):
    def setUp(self):
        super().setUp()
        self.model = self.write("chain.onnx", chain_model())
        self.cache = pathlib.Path(self.model).parent / "cache"

    def corf(self, *arguments):
        """The command with a cache of its own."""
        return subprocess.run([CORF, *map(str, arguments)], capture_output=True, text=True,
                              timeout=300, check=False,
                              env={**os.environ, "XDG_CACHE_HOME": str(self.cache)})

    def plans(self):
        return sorted((self.cache / "corf" / "plans").glob("*.plan"))

    def inspect_plan(self, *arguments):
        done = self.corf("inspect", self.model, "--stage", "plan", "--threads", 2, *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def test_keeps_a_plan_that_other_commands_carry_out(self):
        done = self.corf("tune", self.model, "--threads", 2, "--time-limit", 20, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        result = json.loads(done.stdout)
        self.assertGreater(result["num_measured"], 2)
        self.assertGreater(result["predicted_ms"], 0)
        self.assertGreater(result["tuned_ms"], 0)
        self.assertFalse(result["out_of_time"])
        [plan] = self.plans()
        # Another plan in its place is what inspect shows: it is really read.
        unfused = self.inspect_plan("--plan", "unfused").stdout
        plan.write_text(unfused)
        self.assertEqual(self.inspect_plan().stdout, unfused)

    def test_is_for_the_threads_it_was_measured_with(self):
        self.assertEqual(self.corf("tune", self.model, "--threads", 1).returncode, 0)
        self.assertEqual(len(self.plans()), 1)
        self.assertEqual(self.corf("tune", self.model, "--threads", 2).returncode, 0)
        self.assertEqual(len(self.plans()), 2)

    def test_a_damaged_plan_is_left_aside(self):
        before = self.inspect_plan().stdout
        self.assertEqual(self.corf("tune", self.model, "--threads", 2).returncode, 0)
        for content in ("", "plan\ngroup compute {", "nonsense"):
            self.plans()[0].write_text(content)
            done = self.inspect_plan()
            self.assertEqual(done.stdout, before)
            self.assertIn("does not fit", done.stderr)

    def test_stops_at_the_time_limit(self):
        done = self.corf("tune", self.model, "--threads", 2, "--time-limit", 0.001, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(json.loads(done.stdout)["out_of_time"])

    def test_a_cache_that_cannot_be_written_is_an_error(self):
        self.cache.write_text("a file where a folder should be")
        done = self.corf("tune", self.model, "--threads", 2)
        self.assertEqual(done.returncode, 1)
        self.assertIn("cannot write", done.stderr)

    def test_open_shapes_are_asked_for(self):
        done = corf("tune", self.write("linear.onnx", linear_model()))
        self.assertEqual(done.returncode, 1)
        self.assertIn("batch", done.stderr)


if __name__ == "__main__":
    unittest.main()
