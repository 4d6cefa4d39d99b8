"""What `corf explain` says of small graphs whose plans are known: with `--plan fused` all that can
be one kernel is one, so that what the machine has measured decides nothing."""

import json
import unittest

import numpy as np

from corf_command import CommandTest, constant, make_model, value
from onnx import TensorProto, helper


class Builder:
    """A model of nodes one after the other, each named after its output."""

    def __init__(self, *shape):
        self.random = np.random.default_rng(0)
        self.nodes, self.constants = [], []
        self.inputs = [value("x", shape)]

    def weights(self, *shape):
        name = f"w{len(self.constants)}"
        self.constants.append(constant(name, self.random.standard_normal(shape).astype(np.float32)))
        return name

    def node(self, operator, name, *inputs, outputs=None, **attributes):
        self.nodes.append(helper.make_node(operator, inputs, outputs or [name], name=name,
                                           **attributes))
        return name

    def conv(self, name, x, channels, outputs, kernel=1, **attributes):
        weights = self.weights(outputs, channels // attributes.get("group", 1), kernel, kernel)
        return self.node("Conv", name, x, weights, pads=[kernel // 2] * 4, **attributes)

    def product(self, name, x, columns, rows):
        return self.node("MatMul", name, x, self.weights(rows, columns))

    def model(self, **outputs):
        return make_model(self.nodes, self.inputs,
                          [value(name, shape) for name, shape in outputs.items()], self.constants)


def two_convolutions(kernel):
    b = Builder(1, 16, 24, 24)
    b.conv("second", b.conv("first", "x", 16, 16), 16, 16, kernel)
    return b


class ExplainGraphsTest(CommandTest):
    def links(self, model, *arguments, plan="fused", threads=2):
        path = self.write("model.onnx", model)
        result = json.loads(self.check_succeeds("explain", path, "--threads", threads, "--json",
                                                "--no-measure", "--verify-each",
                                                "--no-winograd", *arguments,
                                                *(("--plan", plan) if plan else ())))
        return {(link["producer"], link["consumer"]): link
                for group in result["groups"] for link in group["links"]}

    def check(self, link, strategy, why):
        self.assertEqual(link["strategy"], strategy, link)
        self.assertRegex(link["why"], why)

    def test_what_is_computed_where_it_is_read(self):
        b = Builder(1, 16, 24, 24)
        b.node("Relu", "clip", b.conv("first", "x", 16, 16))
        links = self.links(b.model(clip=[1, 16, 24, 24]))
        self.check(links["first", "clip"], "inline", "computes where the other reads")

    def test_rows_that_no_window_shares(self):
        links = self.links(two_convolutions(1).model(second=[1, 16, 24, 24]))
        self.check(links["first", "second"], "stream", r"^ring of \d+ rows$")

    def test_rows_at_seams(self):
        model = two_convolutions(3).model(second=[1, 16, 24, 24])
        self.check(self.links(model)["first", "second"], "recompute", "made by both sides")
        self.check(self.links(model, threads=1)["first", "second"], "stream", r"^ring of \d+ rows$")

    def test_pooled_over_the_whole_image(self):
        b = Builder(1, 16, 24, 24)
        b.conv("second", b.node("GlobalAveragePool", "pool", b.conv("first", "x", 16, 16)), 16, 64)
        links = self.links(b.model(second=[1, 64, 1, 1]))
        between = [link for (_, to), link in links.items() if to == "second"]
        self.assertTrue(between)
        for link in between:
            self.check(link, "materialise", "read as a whole")

    def test_read_by_others_too(self):
        model = two_convolutions(3).model(second=[1, 16, 24, 24], first=[1, 16, 24, 24])
        self.check(self.links(model)["first", "second"], "materialise",
                   "(written by two workers|another worker would zero)")
        # The caller's copy, in the caller's order, is made beside the ring.
        self.check(self.links(model, threads=1)["first", "second"], "stream", r"^ring of \d+ rows$")

    def test_a_routine_between(self):
        b = Builder(4, 32)
        b.product("first", "x", 32, 32)
        b.nodes.append(helper.make_node("TopK", ["first", "k"], ["largest", "places"], name="top",
                                        axis=1))
        b.constants.append(constant("k", np.array([8], np.int64)))
        b.product("second", "largest", 16, 8)
        model = make_model(b.nodes, b.inputs,
                           [value("second", [4, 16]), value("places", [4, 8], TensorProto.INT64)],
                           b.constants)
        links = self.links(model)
        for (producer, consumer), link in links.items():
            if "top" in (producer, consumer):
                self.check(link, "materialise", "(a routine makes or takes|does not read it)")

    def test_columns_become_rows(self):
        b = Builder(24, 32)
        b.product("first", "x", 48, 32)
        b.node("Transpose", "turned", "first", perm=[1, 0])
        b.product("second", "turned", 16, 24)
        links = self.links(b.model(second=[48, 16]))
        # The strips run along the columns of the one, which are the rows of the other.
        self.check(links["first", "second"], "stream", "ring of 24 rows")

    def test_attention_in_one_kernel(self):
        b = Builder(4, 32, 16)
        b.inputs += [value("k", [4, 16, 32]), value("v", [4, 32, 16])]
        b.node("MatMul", "scores", "x", "k")
        b.node("Softmax", "weights", "scores", axis=-1)
        b.node("MatMul", "sums", "weights", "v")
        links = self.links(b.model(sums=[4, 32, 16]))
        streams = [link for link in links.values() if link["strategy"] == "stream"]
        self.assertGreaterEqual(len(streams), 2, links)
        self.assertFalse([link for (_, to), link in links.items()
                          if to.startswith("sums") and link["strategy"] == "materialise"], links)

    def test_parts_of_a_concatenation(self):
        b = Builder(1, 8, 24, 24)
        b.conv("squeeze", "x", 8, 8)
        b.node("Concat", "both", b.conv("one", "squeeze", 8, 16), b.conv("three", "squeeze", 8, 16, 3),
               axis=1)
        b.conv("next", "both", 32, 8)
        links = self.links(b.model(next=[1, 8, 24, 24]))
        self.check(links["squeeze", "three"], "recompute", "made by both sides")
        for part in ("one", "three"):
            self.check(links[part, "next"], "stream", r"^ring of \d+ rows$")

    def test_two_results_of_one_kernel(self):
        b = Builder(1, 16, 24, 24)
        b.conv("first", "x", 16, 16)
        for name in ("left", "right"):
            b.conv(name, "first", 16, 16)
        links = self.links(b.model(left=[1, 16, 24, 24], right=[1, 16, 24, 24]))
        for name in ("left", "right"):
            self.check(links["first", name], "stream", r"^ring of \d+ rows$")

    def test_a_ring_that_others_read_too(self):
        b = Builder(1, 16, 24, 24)
        b.conv("second", b.conv("first", "x", 16, 16), 16, 16, 3)
        b.node("GlobalMaxPool", "most", "first")
        links = self.links(b.model(second=[1, 16, 24, 24], most=[1, 16, 1, 1]))
        self.check(links["first", "second"], "recompute", "made by both sides.*stored as well")
        self.check(links["first", "most"], "materialise", "read as a whole|reads neither|other groups")

    def check_scattered(self, model, plan, why):
        path = self.write("plan.txt", plan.encode())
        links = self.links(model, "--force-plan", path, plan=None)
        self.check(links["first", "second"], "scatter", why)

    def test_chunks_of_channels_are_scattered(self):
        b = Builder(24, 32)
        b.product("second", b.product("first", "x", 64, 32), 16, 64)
        model = b.model(second=[24, 16])
        plan = """plan
group compute {
  stage
  node "first"
  store "first"
  stage
  node "second"
  store "second"
  strips 0 by 8 scatter 2 by 16 split 0 1
  schedule vector n 16 tile - unroll - reduce k steps 1 prefetch none order m, n block - 0 split - 1
  schedule vector n 16 tile - unroll - reduce k steps 1 prefetch none order m, n block - 0 split - 1
}
"""
        self.check_scattered(model, plan, "16 channels at a time, added to partial results 4 times")

    def test_rows_are_scattered(self):
        plan = """plan
group compute {
  stage
  node "first"
  store "first"
  stage
  node "second"
  node "second/copy"
  store "second/copy"
  strips 2 by 2 rows 5 of 1 split 0 1
  schedule vector m 16 tile ow 6 unroll - reduce c steps 1 prefetch none order oh, m, ow block - 0 split - 1
  schedule vector m 16 tile ow 6 unroll - reduce c, kh, kw steps 1 prefetch none order oh, m, ow block - 0 split - 1
}
"""
        self.check_scattered(two_convolutions(3).model(second=[1, 16, 24, 24]), plan,
                             "ring of 2 rows, each added to partial results of 4 rows in 3 steps")

    def test_a_kernel_that_was_tried(self):
        links = self.links(two_convolutions(3).model(second=[1, 16, 24, 24]), plan="auto")
        link = links["first", "second"]
        if link["strategy"] == "materialise":
            self.assertRegex(link["why"], r"one kernel from '.*' to '.*' is predicted to take")
        else:
            self.assertEqual(link["strategy"], "recompute", link)

    def test_as_asked_for(self):
        links = self.links(two_convolutions(1).model(second=[1, 16, 24, 24]), plan="unfused")
        self.check(links["first", "second"], "materialise", "as asked for")


if __name__ == "__main__":
    unittest.main()
