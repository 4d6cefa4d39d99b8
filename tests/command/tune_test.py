"""What `corf tune` finds and keeps."""

import contextlib
import json
import os
import pathlib
import shutil
import sqlite3
import subprocess
import unittest

import numpy as np

from corf_command import (CORF, CommandTest, Terminal, constant, corf, linear_model, make_model,
                          value)
from onnx import helper


def product_model(seed=0):
    """A small matrix product; `seed`: of the weights."""
    weights = np.random.default_rng(seed).standard_normal((16, 16)).astype(np.float32)
    return make_model([helper.make_node("MatMul", ["x", "w"], ["y"], name="product")],
                      [value("x", [4, 16])], [value("y", [4, 16])], [constant("w", weights)])


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
        # The machine's figures are those of the other tests: to measure it takes seconds.
        usual = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
        (self.cache / "corf").mkdir(parents=True)
        for file in (usual / "corf").glob("calibration-*.json"):
            shutil.copy(file, self.cache / "corf")

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

    def tune(self, model, *arguments):
        done = self.corf("tune", model, "--threads", 2, "--json", *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def test_a_model_with_other_weights_measures_nothing(self):
        model = self.write("product.onnx", product_model())
        first = self.tune(model)
        self.assertEqual(first["num_known"], 0)
        self.assertGreater(first["num_measured"], 1)
        retrained = self.tune(self.write("retrained.onnx", product_model(seed=1)))
        self.assertEqual(retrained["num_measured"], 0)
        self.assertEqual(retrained["num_known"], first["num_measured"])
        self.assertEqual(self.tune(model, "--anew")["num_known"], 0)

    def test_goes_on_after_an_interrupt(self):
        terminal = Terminal([CORF, "tune", self.model, "--threads", "2"],
                            {**os.environ, "XDG_CACHE_HOME": str(self.cache)})
        terminal.interrupt_when(lambda: self.num_times() >= 4)
        status, text = terminal.wait()
        self.assertEqual(status, 1, text)
        self.assertIn("interrupted: the times of", text)
        self.assertEqual(len(self.plans()), 1, text)  # the best up to then
        kept = self.num_times()
        self.assertEqual(self.tune(self.model, "--time-limit", 3)["num_known"], kept)

    def num_times(self):
        file = self.cache / "corf" / "times.sqlite"
        if not file.exists():
            return 0
        with contextlib.closing(sqlite3.connect(file)) as times:
            try:
                [(count,)] = times.execute("SELECT count(*) FROM times")
            except sqlite3.OperationalError:  # the table is about to be made
                return 0
            return count

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
        shutil.rmtree(self.cache)
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
