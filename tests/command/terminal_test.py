"""What the command shows on a terminal, what it suggests, and what `corf doctor` says."""

import json
import os
import re
import unittest

from corf_command import CORF, CommandTest, Terminal, corf, linear_model
from explain_test import chain_model


class TerminalTest(CommandTest):
    def test_explain_fits_the_terminal(self):
        model = self.write("chain.onnx", chain_model())
        for columns in (60, 80, 130):
            status, text = Terminal([CORF, "explain", model], columns=columns).wait()
            self.assertEqual(status, 0, text)
            lines = text.splitlines()
            self.assertLessEqual(max(map(len, lines)), columns)
            self.assertIn("groups,", lines[-1] + lines[-2])
        # Elsewhere a line is a line, for whatever reads it.
        self.assertIn("depthwise", self.check_succeeds("explain", model))

    def test_tune_says_what_it_measures(self):
        model = self.write("chain.onnx", chain_model(size=112))
        status, text = Terminal(
            [CORF, "tune", model, "--time-limit", "6"],
            {**os.environ, "XDG_CACHE_HOME": str(self.folder)}, columns=150).wait()
        self.assertEqual(status, 0, text)
        drawn = re.findall(r"tuning \[[# ]*\] (\d+) %  (\d+) s left at most  "
                           r"(\d+) kernels measured, 0 known, now (\w+)", text)
        self.assertTrue(drawn, text)
        for share, left_s, _, _ in drawn:
            self.assertAlmostEqual(float(left_s), 6 * (1 - float(share) / 100), delta=0.6)
        self.assertGreater(int(drawn[-1][2]), 0)
        self.assertIn("\x1b[K", text.rpartition(", now ")[2])  # erased in the end

    def test_nothing_is_drawn_elsewhere(self):
        model = self.write("linear.onnx", linear_model(batch=4))
        self.assertEqual(corf("bench", model, "--min-time", 2.5).stderr, "")


class SuggestionTest(CommandTest):
    def suggestion(self, *arguments):
        done = corf(*arguments)
        self.assertEqual(done.returncode, 2)
        return re.findall(r"Did you mean '([^']*)'\?", done.stderr)

    def test_unknown_commands(self):
        for typed, meant in (("rnu", "run"), ("benhc", "bench"), ("explane", "explain"),
                             ("compere", "compare"), ("tun", "tune"), ("doctro", "doctor")):
            self.assertEqual(self.suggestion(typed, "model.onnx"), [meant])

    def test_unknown_options(self):
        self.assertEqual(self.suggestion("bench", "m.onnx", "--thread", "2"), ["--threads"])
        self.assertEqual(self.suggestion("bench", "m.onnx", "--tread=2"), ["--threads"])

    def test_what_is_near_nothing(self):
        self.assertEqual(self.suggestion("xylophone"), [])
        self.assertEqual(self.suggestion("bench", "m.onnx", "--quantise-weights"), [])
        self.assertEqual(self.suggestion("x" * 100_000), [])


class DoctorTest(CommandTest):
    def test_json(self):
        result = json.loads(self.check_succeeds("doctor", "--json"))
        self.assertIn(result["isa"],
                      ("sse2", "avx2", "avx2vnni", "avx512", "avx512vnni", "avx512bf16", "amx"))
        self.assertTrue(result["compiler"].startswith("LLVM "))
        self.assertEqual(result["version"], corf("--version").stdout.strip())
        self.assertEqual(result["cpus_allowed"], len(os.sched_getaffinity(0)))
        for figure in ("l1_bytes", "fma_gflops_core", "fma_gflops_all", "memory_gbps_all",
                       "l1_gbps_core", "l2_gbps_core", "l3_gbps_core", "memory_bytes"):
            self.assertGreater(result[figure], 0, figure)
        self.assertGreater(result["l1_gbps_core"], result["l3_gbps_core"])

    def test_says_what_keeps_it_from_full_speed(self):
        one_cpu = {min(os.sched_getaffinity(0))}
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, one_cpu)
        try:
            result = json.loads(self.check_succeeds("doctor", "--json"))
        finally:
            os.sched_setaffinity(0, before)
        self.assertEqual(result["cpus_allowed"], 1)
        if os.cpu_count() > 1:
            self.assertIn("may use 1 of", result["findings"][0])

    def test_text(self):
        text = self.check_succeeds("doctor", "--threads", 1)
        for word in ("CPU", "ISA", "caches", "calibration", "GFLOP/s", "limits", "LLVM"):
            self.assertIn(word, text)


if __name__ == "__main__":
    unittest.main()
