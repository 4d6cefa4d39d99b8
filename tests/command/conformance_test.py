"""`corf conformance` on folders of backend tests that pass, fail and are not supported."""

import json
import unittest

import numpy as np
from onnx import helper, numpy_helper

from corf_command import CommandTest, corf, linear_model, make_model, value


class ConformanceTest(CommandTest):
    def make_case(self, name, model, inputs, outputs):
        folder = self.folder / name
        data_set = folder / "test_data_set_0"
        data_set.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(model)
        for prefix, arrays in (("input", inputs), ("output", outputs)):
            for i, array in enumerate(arrays):
                (data_set / f"{prefix}_{i}.pb").write_bytes(
                    numpy_helper.from_array(np.asarray(array, np.float32)).SerializeToString())

    def make_good_case(self):
        self.make_case("good", linear_model(), [[[1, 0, 2]]], [[[11.5, 0]]])

    def test_all_pass(self):
        self.make_good_case()
        self.assertEqual(self.check_succeeds("conformance", self.folder),
                         "1 passed, 0 failed, 0 unsupported\n")
        self.assertEqual(self.check_succeeds("conformance", self.folder / "good"),
                         "1 passed, 0 failed, 0 unsupported\n")

    def test_failures_and_unsupported(self):
        self.make_good_case()
        self.make_case("wrong_value", linear_model(), [[[1, 0, 2]]], [[[11.6, 0]]])
        self.make_case("wrong_shape", linear_model(), [[[1, 0, 2]]], [[11.5, 0]])
        self.make_case("no_input", linear_model(), [], [[[11.5, 0]]])
        self.make_case("odd", make_model(
            [helper.make_node("NoSuchOperator", ["x"], ["y"])], [value("x", [2])],
            [value("y", [2])]), [[1, 2]], [[1, 2]])
        result = corf("conformance", self.folder)
        self.assertEqual(result.returncode, 1)
        self.assertTrue(result.stdout.endswith("1 passed, 3 failed, 1 unsupported\n"))
        self.assertIn("is 11.5 instead of 11.6", result.stdout)
        self.assertIn("NoSuchOperator", result.stdout)
        self.assertIn("not supported, by reason:\n"
                      "     1  NoSuchOperator: the operator is not supported\n", result.stdout)
        report = json.loads(corf("conformance", self.folder, "--json").stdout)
        self.assertEqual([report[key] for key in ("passed", "failed", "unsupported")], [1, 3, 1])
        self.assertEqual(len(report["cases"]), 5)
        self.assertEqual(report["reasons"], [
            {"count": 1, "reason": "NoSuchOperator: the operator is not supported"}])

    def test_reasons_are_counted_whatever_the_names_and_shapes(self):
        for i in range(3):
            self.make_case(f"random{i}", make_model(
                [helper.make_node("NoSuch", ["x"], ["y"], name=f"random{i}")],
                [value("x", [2 + i])], [value("y", [2 + i])]), [[1] * (2 + i)], [[1] * (2 + i)])
        self.make_case("odd", make_model(
            [helper.make_node("Odd", ["x"], ["y"])], [value("x", [2])],
            [value("y", [2])]), [[1, 2]], [[1, 2]])
        output = self.check_succeeds("conformance", self.folder)
        self.assertTrue(output.endswith(
            "not supported, by reason:\n"
            "     3  NoSuch: the operator is not supported\n"
            "     1  Odd: the operator is not supported\n"
            "0 passed, 0 failed, 4 unsupported\n"), output)

    def test_random_numbers_are_not_the_case_s(self):
        self.make_case("random", make_model(
            [helper.make_node("RandomNormalLike", ["x"], ["y"])], [value("x", [2])],
            [value("y", [2])], opset=22), [[1, 2]], [[1, 2]])
        self.assertIn("     1  RandomNormalLike: ran; random numbers are not the case's\n",
                      self.check_succeeds("conformance", self.folder))

    def test_every_plan(self):
        self.make_good_case()
        for plan in ("auto", "unfused", "fused"):
            self.assertEqual(self.check_succeeds("conformance", self.folder, "--plan", plan),
                             "1 passed, 0 failed, 0 unsupported\n")

    def test_skip(self):
        self.make_good_case()
        self.make_case("wrong_value", linear_model(), [[[1, 0, 2]]], [[[11.6, 0]]])
        self.make_case("wrong_shape", linear_model(), [[[1, 0, 2]]], [[11.5, 0]])
        self.assertEqual(self.check_succeeds("conformance", self.folder, "--skip", "wrong_v*",
                                             "--skip", "*_shape"),
                         "1 passed, 0 failed, 0 unsupported\n")

    def test_nothing_there(self):
        self.check_fails("conformance", self.folder, says=["no model.onnx"])
        self.check_fails("conformance", self.folder / "none", says=["none"])


if __name__ == "__main__":
    unittest.main()
