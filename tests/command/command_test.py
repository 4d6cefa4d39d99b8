"""What the subcommands print and write, and their exit status."""

import json
import unittest

import numpy as np
import onnx

from corf_command import CommandTest, constant, corf, linear_model, make_model, value
from onnx import TensorProto, helper, numpy_helper

BENCH_KEYS = {"median_ms", "min_ms", "mean_ms", "p50_ms", "p90_ms", "p95_ms", "p99_ms", "runs",
              "runs_per_second", "version", "isa", "compile_ms", "threads", "concurrency", "streams",
              "warmup_s", "plan", "plan_hash", "work_flops", "executed_flops", "memory", "gflops",
              "limit_ms", "limit_fraction", "in_pieces"}


class RunTest(CommandTest):
    def setUp(self):
        super().setUp()
        self.model = self.write("linear.onnx", linear_model())

    def test_writes_outputs(self):
        x = self.write("x.npy", np.array([[1, 0, 2], [-1, -1, -1]], np.float32))
        out = self.folder / "new" / "out"
        self.check_succeeds("run", self.model, "--input", f"x={x}", "--output-dir", out)
        np.testing.assert_array_equal(np.load(out / "y.npy"),
                                      np.array([[11.5, 0], [0, 0]], np.float32))
        self.assertEqual([path.name for path in out.iterdir()], ["y.npy"])

    def test_json(self):
        out = self.folder / "out"
        result = json.loads(self.check_succeeds("run", self.model, "--shape", "x=4x3", "--json",
                                                "--threads", 2, "--output-dir", out))
        self.assertEqual(result["outputs"], [{"name": "y", "dtype": "f32", "shape": [4, 2],
                                              "file": str(out / "y.npy")}])
        self.assertEqual(result["threads"], 2)
        self.assertEqual(result["plan"], "auto")
        self.assertTrue(result["plan_hash"])

    def test_symbol_gives_shape(self):
        result = json.loads(self.check_succeeds("run", self.model, "--shape", "batch=5", "--json"))
        self.assertEqual(result["outputs"][0]["shape"], [5, 2])

    def test_constant_is_no_input(self):
        result = json.loads(self.check_succeeds("inspect", self.fixed_model(), "--constant",
                                                "x=1", "--json"))
        self.assertEqual([entry["name"] for entry in result["inputs"]], ["z"])
        out = self.folder / "out"
        z = self.write("z.npy", np.array([1, 2], np.float32))
        self.check_succeeds("run", self.fixed_model(), "--constant", "x=10,0.5", "--input",
                            f"z={z}", "--output-dir", out)
        np.testing.assert_array_equal(np.load(out / "y.npy"), np.array([11, 2.5], np.float32))
        self.check_fails("run", self.fixed_model(), "--constant", "w=1",
                         says=["'w'", "no input; there are x, z"])
        self.assertEqual(corf("run", self.fixed_model(), "--constant", "w").returncode, 2)

    def fixed_model(self):
        return self.write("add.onnx", make_model(
            [helper.make_node("Add", ["x", "z"], ["y"])], [value("x", [2]), value("z", [2])],
            [value("y", [2])]))

    def test_random_inputs_are_seeded(self):
        def run(seed):
            out = self.folder / f"out{seed}"
            self.check_succeeds("run", self.model, "--shape", "x=8x3", "--seed", seed,
                                "--output-dir", out)
            return np.load(out / "y.npy")

        np.testing.assert_array_equal(run(1), run(1))
        self.assertFalse(np.array_equal(run(1), run(2)))

    def test_same_bits_at_any_thread_count(self):
        outputs = []
        for threads in (1, 2, 3, 5):
            out = self.folder / f"out{threads}"
            self.check_succeeds("run", self.model, "--shape", "x=64x3", "--threads", threads,
                                "--output-dir", out)
            outputs.append((out / "y.npy").read_bytes())
        self.assertEqual(len(set(outputs)), 1)

    def test_output_names_become_file_names(self):
        names = ["a/b", "a_b", "../c", ""]
        model = self.write("names.onnx", make_model(
            [helper.make_node("Relu", ["x"], [name or "d"]) for name in names],
            [value("x", [2])], [value(name or "d", [2]) for name in names]))
        out = self.folder / "out"
        self.check_succeeds("run", model, "--output-dir", out)
        self.assertEqual(sorted(path.name for path in out.iterdir()),
                         ["_._c.npy", "a_b-2.npy", "a_b.npy", "d.npy"])


class PiecesTest(CommandTest):
    """Models that cannot be compiled as a whole."""

    def setUp(self):
        super().setUp()
        self.selecting = self.write("selecting.onnx", make_model(
            [helper.make_node("Mul", ["x", "x"], ["squares"], name="square"),
             helper.make_node("NonZero", ["x"], ["where"], name="where"),
             helper.make_node("ReduceSum", ["squares"], ["sum"], name="add", keepdims=0)],
            [value("x", ["n"])],
            [value("where", [1, "m"], TensorProto.INT64), value("sum", [])]))
        self.words = self.write("words.onnx", make_model(
            [helper.make_node("StringConcat", ["a", "b"], ["both"]),
             helper.make_node("StringSplit", ["both"], ["parts", "count"], delimiter="-")],
            [value("a", [2], TensorProto.STRING), value("b", [2], TensorProto.STRING)],
            [value("both", [2], TensorProto.STRING), value("parts", [2, 2], TensorProto.STRING),
             value("count", [2], TensorProto.INT64)], opset=20))

    def test_run_writes_what_there_is(self):
        x = self.write("x.npy", np.array([0, 3, 0, -4], np.float32))
        out = self.folder / "out"
        self.assertIn("run in pieces", self.check_succeeds(
            "run", self.selecting, "--input", f"x={x}", "--output-dir", out))
        np.testing.assert_array_equal(np.load(out / "where.npy"), [[1, 3]])
        np.testing.assert_array_equal(np.load(out / "sum.npy"), np.float32(25))
        result = json.loads(self.check_succeeds("run", self.selecting, "--shape", "x=4", "--json"))
        self.assertIs(result["in_pieces"], True)

    def test_run_takes_and_writes_strings(self):
        arguments = []
        for name, texts in (("a", ["grün-", "x"]), ("b", ["blau", "-y"])):
            tensor = helper.make_tensor(name, TensorProto.STRING, [2],
                                        [text.encode() for text in texts])
            path = self.write(f"{name}.pb", tensor.SerializeToString())
            arguments += ["--input", f"{name}={path}"]
        out = self.folder / "out"
        self.assertIn("'gr", self.check_succeeds("run", self.words, *arguments, "--output-dir", out))
        np.testing.assert_array_equal(np.load(out / "both.npy"), ["grün-blau", "x-y"])
        np.testing.assert_array_equal(np.load(out / "parts.npy"), [["grün", "blau"], ["x", "y"]])
        np.testing.assert_array_equal(np.load(out / "count.npy"), [2, 2])
        self.check_fails("run", self.words, *arguments[:2],
                         says=["'b'", "a tensor of strings", "--input b=FILE.pb"])

    def test_run_writes_the_items_of_a_sequence(self):
        model = self.write("sequence.onnx", make_model(
            [helper.make_node("SplitToSequence", ["x"], ["rows"], axis=0)], [value("x", [2, 3])],
            [helper.make_tensor_sequence_value_info("rows", TensorProto.FLOAT, None)]))
        x = self.write("x.npy", np.arange(6, dtype=np.float32).reshape(2, 3))
        out = self.folder / "out"
        self.check_succeeds("run", model, "--input", f"x={x}", "--output-dir", out)
        self.assertEqual(sorted(path.name for path in out.iterdir()), ["rows[0].npy", "rows[1].npy"])
        np.testing.assert_array_equal(np.load(out / "rows[1].npy"), [[3, 4, 5]])

    def test_bench(self):
        result = json.loads(self.check_succeeds("bench", self.selecting, "--shape", "x=4", "--json",
                                                "--min-time", 0.02, "--concurrency", 2))
        self.assertIs(result["in_pieces"], True)
        self.assertGreater(result["runs"], 0)
        self.check_fails("bench", self.selecting, "--shape", "x=4", "--profile",
                         says=["in pieces", "--profile"])

    def test_compare(self):
        for reference in ("evaluate", "unfused"):
            result = json.loads(self.check_succeeds("compare", self.selecting, "--shape", "x=4",
                                                    "--reference", reference, "--json"))
            self.assertIs(result["passed"], True)
            self.assertIn("sum", [output["name"] for output in result["outputs"]])

    def test_values_that_decide_shapes_are_inputs(self):
        model = self.write("reshape.onnx", make_model(
            [helper.make_node("Reshape", ["x", "shape"], ["y"])],
            [value("x", [6]), value("shape", [2], TensorProto.INT64)], [value("y", [None, None])]))
        shape = self.write("shape.npy", np.array([3, 2]))
        result = json.loads(self.check_succeeds("run", model, "--input", f"shape={shape}", "--json"))
        self.assertEqual(result["outputs"][0]["shape"], [3, 2])
        self.assertIs(result["in_pieces"], False)
        self.check_succeeds("compare", model, "--input", f"shape={shape}")

    def test_inspect_says_how_a_model_is_run(self):
        for model, runs in ((self.selecting, "in_pieces"), (self.words, "in_pieces"),
                            (self.write("linear.onnx", linear_model()), "whole")):
            result = json.loads(self.check_succeeds("inspect", model, "--json"))
            self.assertEqual(result["runs"], runs)


class BenchTest(CommandTest):
    def setUp(self):
        super().setUp()
        self.model = self.write("linear.onnx", linear_model(batch=16))

    def test_json(self):
        result = json.loads(self.check_succeeds("bench", self.model, "--json", "--min-time", 0.05,
                                                "--threads", 1, "--plan", "unfused"))
        self.assertEqual(set(result), BENCH_KEYS)
        self.assertLessEqual(result["min_ms"], result["median_ms"])
        self.assertLessEqual(result["median_ms"], result["p95_ms"])
        self.assertEqual(result["threads"], 1)
        self.assertEqual(result["plan"], "unfused")
        self.assertGreaterEqual(result["work_flops"], 2 * 16 * 3 * 2)
        self.assertGreater(result["limit_ms"], 0)
        self.assertAlmostEqual(result["limit_fraction"], result["limit_ms"] / result["median_ms"])

    def test_several_callers(self):
        for streams, threads in (("auto", 3), ("latency", 3), ("throughput", 3), ("2", 3)):
            result = json.loads(self.check_succeeds(
                "bench", self.model, "--json", "--min-time", 0.05, "--warmup", 0.01,
                "--concurrency", 4, "--streams", streams, "--threads", threads))
            self.assertEqual((result["concurrency"], result["streams"], result["threads"]),
                             (4, streams, threads))
            times = [result[f"{key}_ms"] for key in ("min", "p50", "p90", "p95", "p99")]
            self.assertEqual(times, sorted(times))
            self.assertGreaterEqual(result["runs"], 4 * 3)
            # The measured time holds the runs of each caller one after the other.
            seconds = result["runs"] / result["runs_per_second"]
            self.assertGreaterEqual(seconds * 1e3 * 4, result["mean_ms"] * result["runs"] * 0.999)
            self.assertGreater(result["memory"]["peak_resident_bytes"], 1 << 20)
        self.assertIn("4 at a time", self.check_succeeds("bench", self.model, "--min-time", 0.02,
                                                         "--concurrency", 4))

    def test_profile_and_trace(self):
        trace = self.folder / "trace.json"
        result = json.loads(self.check_succeeds("bench", self.model, "--json", "--min-time", 0.05,
                                                "--threads", 2, "--profile", "--trace", trace))
        steps = result["profile"]
        self.assertGreaterEqual(len(steps), 1)
        self.assertAlmostEqual(sum(step["share"] for step in steps), 1)
        events = json.loads(trace.read_text())["traceEvents"]
        lanes = {event["tid"]: event["args"]["name"] for event in events if event["ph"] == "M"}
        self.assertEqual(lanes, {1: "worker 0", 2: "worker 1"})
        for lane in lanes:
            bars = [event for event in events if event["ph"] == "X" and event["tid"] == lane]
            self.assertEqual([bar["name"] for bar in bars], [step["label"] for step in steps])
            for bar, after in zip(bars, bars[1:]):
                self.assertLessEqual(bar["ts"] + bar["dur"], after["ts"] + 1e-6)
        self.assertIn("product", self.check_succeeds("bench", self.model, "--min-time", 0.05,
                                                     "--profile"))

    def test_serve(self):
        lines = self.check_succeeds("bench", self.model, "--serve",
                                    stdin="measure 0.02\nmeasure 0\n").splitlines()
        self.assertEqual(len(lines), 3)
        self.assertIn("plan_hash", json.loads(lines[0]))
        for line in lines[1:]:
            self.assertLessEqual({"median_ms", "min_ms", "p95_ms", "runs"}, set(json.loads(line)))

    def test_serve_refuses_other_requests(self):
        result = corf("bench", self.model, "--serve", stdin="measure fast\n")
        self.assertEqual(result.returncode, 1)
        self.assertIn("measure SECONDS", result.stderr)


class ReduceTest(CommandTest):
    """Compare's smallest part of a model that is off."""

    def model_and_input(self, shift):
        """Products around (p + shift) - shift, which loses p's digits in float32 if shift is large."""
        random = np.random.default_rng(0)
        weights = [constant(name, random.standard_normal((16, 16)).astype(np.float32))
                   for name in ("a", "b", "c")]
        nodes = [helper.make_node("MatMul", ["x", "a"], ["p"], name="first"),
                 helper.make_node("Relu", ["p"], ["q"], name="relu"),
                 helper.make_node("Add", ["q", "shift"], ["r"], name="add"),
                 helper.make_node("Sub", ["r", "shift"], ["s"], name="subtract"),
                 helper.make_node("MatMul", ["s", "b"], ["t"], name="second"),
                 helper.make_node("MatMul", ["t", "c"], ["y"], name="third")]
        model = self.write("shifted.onnx", make_model(
            nodes, [value("x", [8, 16]), value("shift", [16])], [value("y", [8, 16])], weights))
        shift = self.write("shift.npy", np.full((16,), shift, np.float32))
        return [model, "--input", f"shift={shift}"]

    def test_finds_the_two_nodes_and_writes_what_shows_them(self):
        folder = self.folder / "small"
        done = corf("compare", *self.model_and_input(1e6), "--reduce", folder)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("a part of 2 nodes", done.stdout)
        part = onnx.load(folder / "model.onnx")
        onnx.checker.check_model(part)
        self.assertEqual([node.name for node in part.graph.node], ["add", "subtract"])
        self.assertEqual([one.name for one in part.graph.input], ["q", "shift"])
        inside, outside = (numpy_helper.to_array(onnx.load_tensor(folder / "test_data_set_0" / name))
                           for name in ("input_0.pb", "output_0.pb"))
        np.testing.assert_allclose(outside, inside, rtol=1e-6)  # exact sums cancel
        # By itself it is off as well, on the input that was written.
        self.assertEqual(corf("compare", folder / "model.onnx",
                              "--input", f"q={folder}/test_data_set_0/input_0.pb",
                              "--input", f"shift={folder}/test_data_set_0/input_1.pb").returncode, 1)

    def test_leaves_nothing_where_all_is_right(self):
        folder = self.folder / "small"
        self.check_succeeds("compare", *self.model_and_input(1), "--reduce", folder)
        self.assertFalse(folder.exists())


class InspectTest(CommandTest):
    def setUp(self):
        super().setUp()
        self.model = self.write("linear.onnx", linear_model(metadata={"author": "test"}))

    def test_overview(self):
        text = self.check_succeeds("inspect", self.model)
        for words in ("opset 13", "x  f32 batchx3", "y  f32", "1  MatMul", "author = test"):
            self.assertIn(words, text)

    def test_json(self):
        result = json.loads(self.check_succeeds("inspect", self.model, "--shape", "x=2x3",
                                                "--json"))
        self.assertEqual(result["inputs"], [{"name": "x", "dtype": "f32", "shape": ["batch", 3]}])
        self.assertEqual(result["operators"], {"Add": 1, "MatMul": 1, "Relu": 1})
        self.assertEqual(result["metadata"], {"author": "test"})
        self.assertIs(result["supported"], True)

    def test_names_every_unsupported_node(self):
        model = self.write("odd.onnx", make_model(
            [helper.make_node("NoSuchOperator", ["x"], ["a"], name="first"),
             helper.make_node("Relu", ["a"], ["b"]),
             helper.make_node("Strange", ["b"], ["y"], name="second", domain="my.domain")],
            [value("x", [2])], [value("y", [2])]))
        result = json.loads(self.check_succeeds("inspect", model, "--json"))
        self.assertIs(result["supported"], False)
        for word in ("first", "NoSuchOperator", "second", "Strange"):
            self.assertIn(word, result["unsupported"])

    def test_names_inputs_whose_values_decide_shapes(self):
        model = self.write("reshape.onnx", make_model(
            [helper.make_node("Reshape", ["x", "shape"], ["y"])],
            [value("x", [4]), value("shape", [2], TensorProto.INT64)], [value("y", [None, None])]))
        result = json.loads(self.check_succeeds("inspect", model, "--json"))
        self.assertEqual(result["deciding_inputs"], ["shape"])
        self.assertIs(result["supported"], None)
        self.assertIn("inputs 'shape'", self.check_succeeds("inspect", model))
        given = json.loads(self.check_succeeds("inspect", model, "--json", "--constant",
                                               "shape=2,2"))
        self.assertEqual(given["deciding_inputs"], [])
        self.assertIs(given["supported"], True)

    def test_names_unsupported_operators_without_shapes(self):
        model = self.write("open.onnx", make_model(
            [helper.make_node("NoSuchOperator", ["x"], ["a"], name="first"),
             helper.make_node("Strange", ["a"], ["y"], name="second", domain="my.domain"),
             helper.make_node("Unheard", ["x"], ["unused"], name="third")],
            [value("x", ["batch", 2])], [value("y", ["batch", 2])]))
        result = json.loads(self.check_succeeds("inspect", model, "--json"))
        self.assertIs(result["supported"], False)
        for word in ("2 nodes", "first", "NoSuchOperator", "second", "Strange", "my.domain"):
            self.assertIn(word, result["unsupported"])
        self.assertNotIn("third", result["unsupported"])
        self.assertIn("NoSuchOperator", self.check_succeeds("inspect", model))
        self.check_fails("inspect", model, "--stage", "graph", says=["first", "second"])

        known = self.check_succeeds("inspect", self.model)
        self.assertIn("Every node is supported with the open dimensions at 64.", known)
        self.assertIn("--shape", known)
        result = json.loads(self.check_succeeds("inspect", self.model, "--json"))
        self.assertIs(result["supported"], None)

    def test_says_with_open_shapes_what_a_run_would(self):
        late = self.write("late.onnx", make_model(
            [helper.make_node("NonZero", ["x"], ["y"], name="where")],
            [value("x", ["batch", 2])],
            [helper.make_tensor_value_info("y", TensorProto.INT64, None)]))
        result = json.loads(self.check_succeeds("inspect", late, "--json"))
        self.assertIs(result["supported"], None)
        overview = self.check_succeeds("inspect", late)
        for word in ("piece by piece", "where", "'x'"):
            self.assertIn(word, overview)

        picky = self.write("picky.onnx", make_model(
            [helper.make_node("Add", ["x", "c"], ["y"], name="sum")],
            [value("x", ["batch", "width"])], [value("y", ["batch", "width"])],
            [constant("c", np.ones(37, np.float32))]))
        self.assertIs(json.loads(self.check_succeeds("inspect", picky, "--json"))["supported"], None)
        strict = self.write("strict.onnx", make_model(
            [helper.make_node("Reshape", ["x", "s"], ["y"], name="turn")],
            [value("x", ["batch", "width"])], [value("y", [3, 37])],
            [constant("s", np.array([3, 37], np.int64))]))
        self.assertIn("depends on the open shapes", self.check_succeeds("inspect", strict))

    def test_stages(self):
        for stage in ("graph", "loop", "llvm", "asm"):
            with self.subTest(stage=stage):
                text = self.check_succeeds("inspect", self.model, "--stage", stage, "--shape",
                                           "x=2x3")
                self.assertGreater(len(text), 100)


class CompareTest(CommandTest):
    def test_references(self):
        model = self.write("linear.onnx", linear_model())
        for reference in ("evaluate", "unfused"):
            with self.subTest(reference=reference):
                result = json.loads(self.check_succeeds("compare", model, "--shape", "x=7x3",
                                                        "--reference", reference, "--json"))
                self.assertIs(result["passed"], True)
                self.assertEqual([output["name"] for output in result["outputs"]], ["y"])
                self.assertLess(result["outputs"][0]["relative_l2"], 1e-6)

    def test_no_elements(self):
        model = self.write("linear.onnx", linear_model())
        for reference in ("evaluate", "unfused"):
            with self.subTest(reference=reference):
                result = json.loads(self.check_succeeds("compare", model, "--shape", "x=0x3",
                                                        "--reference", reference, "--json"))
                self.assertIs(result["passed"], True)
                self.assertEqual(result["outputs"][0]["max_abs"], 0)

    def test_halves_are_rounded(self):
        # One rounding of the result is more than float32 may be off, and no fault.
        for dtype, unit in ((TensorProto.FLOAT16, 2.0**-11), (TensorProto.BFLOAT16, 2.0**-8)):
            weights = helper.make_tensor("w", dtype, [64, 64],
                                         np.linspace(-1, 1, 64 * 64, dtype=np.float32).tolist())
            model = self.write("halves.onnx", make_model(
                [helper.make_node("MatMul", ["x", "w"], ["y"])],
                [helper.make_tensor_value_info("x", dtype, [3, 64])],
                [helper.make_tensor_value_info("y", dtype, [3, 64])], [weights]))
            with self.subTest(dtype=dtype):
                result = json.loads(self.check_succeeds("compare", model, "--json"))
                self.assertIs(result["passed"], True)
                self.assertLess(1e-4, result["outputs"][0]["relative_l2"])
                self.assertLess(result["outputs"][0]["relative_l2"], unit)


class CompileTest(CommandTest):
    def setUp(self):
        super().setUp()
        self.model = self.write("linear.onnx", linear_model(metadata={"author": "test"}))
        self.compiled = self.folder / "linear.corf"

    def test_runs_like_the_model(self):
        result = json.loads(self.check_succeeds("compile", self.model, "--shape", "x=2x3", "-o",
                                                self.compiled, "--json"))
        self.assertEqual(result["file"], str(self.compiled))
        x = self.write("x.npy", np.array([[1, 0, 2], [-1, -1, -1]], np.float32))
        out = self.folder / "out"
        self.check_succeeds("run", self.compiled, "--input", f"x={x}", "--output-dir", out)
        np.testing.assert_array_equal(np.load(out / "y.npy"),
                                      np.array([[11.5, 0], [0, 0]], np.float32))
        bench = json.loads(self.check_succeeds("bench", self.compiled, "--json", "--min-time", 0))
        self.assertEqual(bench["plan_hash"], result["plan_hash"])
        overview = json.loads(self.check_succeeds("inspect", self.compiled, "--json"))
        self.assertEqual(overview["inputs"], [{"name": "x", "dtype": "f32", "shape": [2, 3]}])
        self.assertEqual(overview["metadata"], {"author": "test"})
        self.assertIs(overview["supported"], True)

    def test_has_its_shapes_only(self):
        self.check_succeeds("compile", self.model, "--shape", "x=2x3", "-o", self.compiled)
        self.check_fails("run", self.compiled, "--shape", "x=4x3", says=["'x'", "2x3", "4x3"])
        self.check_fails("compare", self.compiled, says=[".onnx"])
        self.check_fails("inspect", self.compiled, "--stage", "loop", says=[".onnx"])

    def test_failures_leave_the_file_alone(self):
        self.compiled.write_bytes(b"precious")
        self.check_fails("compile", self.model, "-o", self.compiled, says=["'x'"])
        self.assertEqual(self.compiled.read_bytes(), b"precious")
        self.check_fails("compile", self.model, "--shape", "x=2x3", "-o",
                         self.folder / "none" / "linear.corf", says=["linear.corf"])

    def test_damaged_file(self):
        self.check_succeeds("compile", self.model, "--shape", "x=2x3", "-o", self.compiled)
        content = self.compiled.read_bytes()
        for size in (9, len(content) // 2, len(content) - 1):
            self.check_fails("run", self.write("cut.corf", content[:size]), says=["cut.corf"])
        positions = [i for i, byte in enumerate(content) if byte != 0]  # not the padding
        for position in positions[::len(positions) // 20]:
            changed = bytearray(content)
            changed[position] ^= 1
            self.check_fails("run", self.write("changed.corf", bytes(changed)),
                             says=["changed.corf"] if position > 8 else [])


class UsageTest(CommandTest):
    def test_usage_errors(self):
        model = self.write("linear.onnx", linear_model())
        for arguments in ([], ["frobnicate"], ["run"], ["run", model, "--frobnicate"],
                          ["run", model, "--shape", "x"], ["run", model, "--shape", "x=1xx3"],
                          ["run", model, "--shape", "x=-1x3"], ["run", model, "--input", "x"],
                          ["run", model, "--isa", "mmx"], ["run", model, "--threads", "many"],
                          ["bench", model, "--plan", "best"], ["bench", model, "--min-time", "-1"],
                          ["inspect", model, "--stage", "nothing"],
                          ["compare", model, "--reference", "nothing"]):
            with self.subTest(arguments=arguments):
                result = corf(*arguments)
                self.assertEqual(result.returncode, 2, result)
                self.assertEqual(result.stdout, "")
                self.assertTrue(result.stderr)

    def test_help(self):
        for command in ("run", "bench", "inspect", "compare", "compile", "conformance"):
            self.assertIn("Example", self.check_succeeds(command, "--help"))
        self.assertRegex(self.check_succeeds("--version"), r"^\d+\.\d+\.\d+\n$")


if __name__ == "__main__":
    unittest.main()
