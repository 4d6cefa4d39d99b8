"""Faults of models, inputs and files: exit status 1, one message naming what is wrong, nothing
half-written."""

import os
import sys
import pathlib
import unittest

import numpy as np
from onnx import TensorProto, helper

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "command"))
from corf_command import CommandTest, constant, linear_model, make_model, value


class ModelTest(CommandTest):
    def check_refused(self, content, *says):
        """`run`, `inspect --stage` and `compare` all refuse the model, and nothing is written."""
        model = self.write("model.onnx", content)
        out = self.folder / "out"
        self.check_fails("inspect", model, "--stage", "graph", says=says)
        self.check_fails("compare", model, says=says)
        message = self.check_fails("run", model, "--output-dir", out, says=says)
        self.assertFalse(out.exists())
        return message

    def test_missing_file(self):
        self.check_fails("run", self.folder / "none.onnx", says=["none.onnx"])
        self.check_fails("inspect", self.folder / "none.onnx", says=["none.onnx"])

    def test_folder(self):
        self.check_fails("run", self.folder, says=[self.folder.name])

    @unittest.skipIf(os.geteuid() == 0, "root may read everything")
    def test_unreadable_file(self):
        model = self.write("model.onnx", linear_model())
        model.chmod(0)
        self.check_fails("run", model, says=["model.onnx"])

    def test_empty_and_foreign_files(self):
        self.check_refused(b"")
        self.check_refused(b"\0" * 1000)
        self.check_refused(b"#!/bin/sh\necho hello\n" * 20)

    def test_no_graph(self):
        self.check_refused(b"\x08\x08")  # ir_version alone

    def test_cycle(self):
        self.check_refused(make_model(
            [helper.make_node("Add", ["x", "b"], ["a"], name="one"),
             helper.make_node("Relu", ["a"], ["b"], name="two")],
            [value("x", [2])], [value("b", [2])]), "cycl")

    def test_undefined_value(self):
        self.check_refused(make_model(
            [helper.make_node("Add", ["x", "nowhere"], ["y"], name="sum")],
            [value("x", [2])], [value("y", [2])]), "nowhere")

    def test_output_that_nothing_computes(self):
        self.check_refused(make_model([helper.make_node("Relu", ["x"], ["y"])],
                                      [value("x", [2])], [value("z", [2])]), "z")

    def test_value_defined_twice(self):
        self.check_refused(make_model(
            [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Neg", ["x"], ["y"])],
            [value("x", [2])], [value("y", [2])]), "y")

    def test_inconsistent_types(self):
        self.check_refused(make_model(
            [helper.make_node("Add", ["x", "i"], ["y"], name="mixed")],
            [value("x", [2]), value("i", [2], TensorProto.INT64)], [value("y", [2])]),
            "mixed", "f32", "i64")

    def test_inconsistent_shapes(self):
        self.check_refused(make_model(
            [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")],
            [value("x", [2, 3]), value("w", [4, 5])], [value("y", [2, 5])]),
            "product", "2x3", "4x5")
        self.check_refused(make_model(
            [helper.make_node("Conv", ["x", "w"], ["y"], name="filter")],
            [value("x", [1, 3, 8, 8]), value("w", [4, 5, 3, 3])], [value("y", [1, 4, 6, 6])]),
            "filter")

    def test_too_few_inputs(self):
        self.check_refused(make_model([helper.make_node("Conv", ["x"], ["y"], name="filter")],
                                      [value("x", [1, 3, 8, 8])], [value("y", [1, 4, 6, 6])]),
                           "filter")

    def test_constant_of_the_wrong_size(self):
        w = constant("w", np.ones((2, 2), np.float32))
        w.raw_data = w.raw_data[:-3]
        self.check_refused(make_model([helper.make_node("MatMul", ["x", "w"], ["y"])],
                                      [value("x", [2, 2])], [value("y", [2, 2])], [w]), "w")

    def test_sizes_that_overflow(self):
        w = constant("w", np.ones((2, 2), np.float32))
        del w.dims[:]
        w.dims.extend([1 << 40, 1 << 40])
        self.check_refused(make_model([helper.make_node("MatMul", ["x", "w"], ["y"])],
                                      [value("x", [2, 2])], [value("y", [2, 2])], [w]), "w")
        self.check_refused(make_model([helper.make_node("Relu", ["x"], ["y"])],
                                      [value("x", [1 << 40, 1 << 40])],
                                      [value("y", [1 << 40, 1 << 40])]), "x")

    def test_missing_external_data(self):
        w = constant("w", np.ones((2, 2), np.float32))
        w.ClearField("raw_data")
        w.data_location = TensorProto.EXTERNAL
        entry = w.external_data.add()
        entry.key, entry.value = "location", "weights.bin"
        self.check_refused(make_model([helper.make_node("MatMul", ["x", "w"], ["y"])],
                                      [value("x", [2, 2])], [value("y", [2, 2])], [w]),
                           "weights.bin")

    def test_external_data_outside_of_the_folder(self):
        w = constant("w", np.ones((2, 2), np.float32))
        w.ClearField("raw_data")
        w.data_location = TensorProto.EXTERNAL
        entry = w.external_data.add()
        entry.key, entry.value = "location", "../../etc/passwd"
        self.check_refused(make_model([helper.make_node("MatMul", ["x", "w"], ["y"])],
                                      [value("x", [2, 2])], [value("y", [2, 2])], [w]), "w")

    def test_every_unsupported_node_is_named(self):
        self.check_refused(make_model(
            [helper.make_node("NoSuchOperator", ["x"], ["a"], name="first"),
             helper.make_node("Relu", ["a"], ["b"]),
             helper.make_node("Strange", ["b"], ["y"], name="second", domain="my.domain")],
            [value("x", [2])], [value("y", [2])]), "first", "NoSuchOperator", "second", "Strange")

    def test_indices_beyond_the_axis(self):
        """Gather, GatherElements and GatherND fail in the run, as Scatter does."""
        for operator, shape in (("Gather", [2]), ("GatherElements", [2, 3]), ("GatherND", [1, 2])):
            with self.subTest(operator=operator):
                model = self.write("gather.onnx", make_model(
                    [helper.make_node(operator, ["x", "i"], ["y"], name="pick")],
                    [value("x", [4, 3]), value("i", shape, TensorProto.INT64)],
                    [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]))
                indices = np.zeros(shape, np.int64)
                inside = self.write("inside.npy", indices)
                self.check_succeeds("run", model, "--input", f"i={inside}")
                indices.flat[0] = 4
                outside = self.write("outside.npy", indices)
                self.check_fails("run", model, "--input", f"i={outside}",
                                 says=["pick", "index 4 is out of range", "4 elements"])

    def test_a_value_that_has_to_be_known(self):
        """The message names the input and the option, and following it helps."""
        model = self.write("late.onnx", make_model(
            [helper.make_node("Cast", ["k"], ["wide"], to=TensorProto.INT64),
             helper.make_node("Reshape", ["x", "wide"], ["y"], name="turn")],
            [value("x", [6]), value("k", [2], TensorProto.INT32)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]))
        self.check_fails("run", model, says=["turn", "its shape", "'k'", "--constant k=VALUE"])
        self.check_succeeds("run", model, "--constant", "k=2,3")

    def test_element_types_that_an_operator_does_not_take(self):
        for operator, kind in (("Relu", TensorProto.BOOL), ("Exp", TensorProto.INT64),
                               ("GlobalMaxPool", TensorProto.INT32), ("Not", TensorProto.FLOAT)):
            with self.subTest(operator=operator):
                self.check_refused(make_model(
                    [helper.make_node(operator, ["x"], ["y"], name="mistyped")],
                    [value("x", [1, 1, 2, 2], kind)], [value("y", [1, 1, 2, 2], kind)]),
                    "mistyped", "element type")

    def test_unknown_opset(self):
        self.check_refused(make_model([helper.make_node("Relu", ["x"], ["y"])],
                                      [value("x", [2])], [value("y", [2])], opset=999), "999")


class InputTest(CommandTest):
    def setUp(self):
        super().setUp()
        self.model = self.write("model.onnx", linear_model())
        self.out = self.folder / "out"

    def check_run_fails(self, *arguments, says):
        self.check_fails("run", self.model, "--output-dir", self.out, *arguments, says=says)
        self.assertFalse(self.out.exists())

    def test_open_dimension(self):
        self.check_run_fails(says=["'x'", "batch"])

    def test_unknown_names(self):
        x = self.write("x.npy", np.ones((2, 3), np.float32))
        self.check_run_fails("--input", f"nobody={x}", says=["nobody", "x"])
        self.check_run_fails("--shape", "nobody=2x3", says=["nobody", "x"])

    def test_wrong_shape(self):
        for shape in ((2, 4), (3,), (2, 3, 1), ()):
            x = self.write("x.npy", np.ones(shape, np.float32))
            self.check_run_fails("--input", f"x={x}", says=["'x'", "batchx3"])
        self.check_run_fails("--shape", "x=2x4", says=["'x'", "2x4"])
        self.check_run_fails("--shape", "batch=2x4", says=["batch"])

    def test_contradicting_shapes(self):
        x = self.write("x.npy", np.ones((2, 3), np.float32))
        self.check_run_fails("--input", f"x={x}", "--shape", "x=4x3", says=["x", "2x3", "4x3"])
        self.check_run_fails("--input", f"x={x}", "--shape", "batch=4", says=["batch"])

    def test_wrong_type(self):
        x = self.write("x.npy", np.ones((2, 3), np.float64))
        self.check_run_fails("--input", f"x={x}", says=["'x'", "f32", "f64"])

    def test_same_input_twice(self):
        x = self.write("x.npy", np.ones((2, 3), np.float32))
        self.check_run_fails("--input", f"x={x}", "--input", f"x={x}", says=["x", "twice"])

    def test_missing_input_file(self):
        self.check_run_fails("--input", f"x={self.folder}/none.npy", says=["none.npy"])

    def test_shape_beyond_memory(self):
        self.check_run_fails("--shape", f"batch={1 << 61}", says=[])


class OutputTest(CommandTest):
    def setUp(self):
        super().setUp()
        self.model = self.write("model.onnx", linear_model(batch=2))

    def test_output_folder_is_a_file(self):
        file = self.write("out", b"precious")
        self.check_fails("run", self.model, "--output-dir", file, says=["out"])
        self.assertEqual(file.read_bytes(), b"precious")

    def test_output_file_cannot_be_replaced(self):
        (self.folder / "out" / "y.npy").mkdir(parents=True)
        self.check_fails("run", self.model, "--output-dir", self.folder / "out", says=["y.npy"])
        self.assertEqual([path.name for path in (self.folder / "out").iterdir()], ["y.npy"])

    def test_trace_in_no_folder(self):
        self.check_fails("bench", self.model, "--min-time", "0", "--trace",
                         self.folder / "none" / "trace.json", says=["trace.json"])


if __name__ == "__main__":
    unittest.main()
