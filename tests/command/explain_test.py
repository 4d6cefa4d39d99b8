"""What `corf explain` says of plans."""

import json
import re
import unittest
from xml.etree import ElementTree

import numpy as np

from corf_command import CommandTest, constant, corf, linear_model, make_model, value
from onnx import helper

STRATEGIES = {"inline", "scatter", "stream", "recompute", "materialise"}
MAPPINGS = {"one-to-one", "one-to-many", "many-to-one", "many-to-many", "reorganising"}


def chain_model(size=64):
    """An inverted residual: 1x1, depthwise 3x3, 1x1, the input added."""
    random = np.random.default_rng(0)

    def weights(name, *shape):
        return constant(name, random.standard_normal(shape).astype(np.float32))

    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], name="expand"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Conv", ["b", "w2"], ["c"], name="depthwise", group=96,
                         pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["c", "w3"], ["d"], name="project"),
        helper.make_node("Add", ["d", "x"], ["y"], name="sum")]
    shape = [1, 24, size, size]
    return make_model(nodes, [value("x", shape)], [value("y", shape)],
                      [weights("w1", 96, 24, 1, 1), weights("w2", 96, 1, 3, 3),
                       weights("w3", 24, 96, 1, 1)])


class ExplainTest(CommandTest):
    def setUp(self):
        super().setUp()
        self.model = self.write("chain.onnx", chain_model())

    def explain(self, *arguments):
        return json.loads(self.check_succeeds("explain", self.model, "--threads", 2, "--json",
                                              *arguments))

    def links(self, result):
        """The links by names of what they join."""
        return {(link["producer"], link["consumer"]): link
                for group in result["groups"] for link in group["links"]}

    def test_json(self):
        result = self.explain()
        self.assertEqual(set(result), {"groups"})
        for group in result["groups"]:
            self.assertEqual(set(group), {"nodes", "predicted_ms", "measured_ms", "links"})
            self.assertGreater(group["measured_ms"], 0)
            self.assertGreater(group["predicted_ms"], 0)
            for link in group["links"]:
                self.assertEqual(set(link), {"producer", "consumer", "mapping", "strategy", "why"})
                self.assertIn(link["strategy"], STRATEGIES)
                self.assertIn(link["mapping"], MAPPINGS)
                self.assertIn(link["consumer"], group["nodes"])
                self.assertTrue(link["why"])
        nodes = [node for group in result["groups"] for node in group["nodes"]]
        self.assertEqual(len(nodes), len(set(nodes)))
        for name in ("expand", "depthwise", "project"):
            self.assertIn(name, nodes)

    def test_unfused_plan_keeps_operators_apart(self):
        result = self.explain("--plan", "unfused", "--no-measure")
        links = self.links(result)
        link = links["relu", "depthwise"]
        self.assertEqual(link["strategy"], "materialise")
        self.assertEqual(link["mapping"], "many-to-many")
        self.assertIn("asked for", link["why"])
        self.assertEqual(links["expand", "relu"]["strategy"], "inline")
        self.assertEqual(links["expand", "relu"]["mapping"], "one-to-one")
        self.assertTrue(all(group["measured_ms"] is None for group in result["groups"]))

    def test_given_plan_streams(self):
        """A plan by hand: all three convolutions in strips of eight rows."""
        text = self.check_succeeds("inspect", self.model, "--threads", 2, "--stage", "plan",
                                   "--plan", "unfused")
        body = [line for line in text.splitlines()
                if line.split()[:1] in (["node"], ["store"], ["schedule"], ["group"])]
        groups, schedules = [], []
        for line in body:
            if line.startswith("group"):
                groups.append([])
            elif line.split()[0] == "schedule":
                schedules.append(line)
            else:
                groups[-1].append(line)
        plan = "plan\ngroup compute {\n"
        for lines in groups:
            plan += "  stage\n" + "\n".join(lines) + "\n"
        plan += "  strips 2 by 8 split 0 2\n"
        # Scalar schedules fit any strips.
        axes = self.axes_of_stages(plan)
        plan += "".join(axes) + "}\n"
        path = self.write("plan.txt", plan.encode())
        links = self.links(self.explain("--no-measure", "--force-plan", path))
        streams = [link for link in links.values() if link["strategy"] in ("stream", "recompute")]
        self.assertEqual(len(streams), len(groups) - 1, links)
        for link in streams:
            self.assertRegex(link["why"], r"ring of \d+ rows")
        # The depthwise convolution's windows reach over the seam between the two workers.
        self.assertEqual(links["relu", "depthwise"]["strategy"], "recompute")
        self.assertEqual(links["depthwise", "project"]["strategy"], "stream")

    def axes_of_stages(self, plan):
        """Schedules for the stages of a plan that has none: what the command says is missing."""
        schedules = []
        while True:
            text = plan + "".join(schedules) + "  schedule vector none 1\n}\n"
            message = corf("inspect", self.model, "--threads", 2, "--stage", "plan",
                           "--force-plan", self.write("part.txt", text.encode())).stderr
            if "more schedules than nests" in message:
                return schedules
            _, _, axes = message.partition("it has")
            self.assertTrue(axes, message)
            parallel, _, reduction = axes.strip().partition("|")

            def listed(part):
                return ", ".join(axis.partition("=")[0] for axis in part.split()) or "-"

            schedules.append(f"  schedule vector - 1 tile - unroll - reduce {listed(reduction)} "
                             f"steps 1 prefetch none order {listed(parallel)} block - 0 split - "
                             "1\n")

    def test_files(self):
        page, graph = self.folder / "plan.html", self.folder / "plan.dot"
        out = self.check_succeeds("explain", self.model, "--threads", 2, "--html", page, "--dot",
                                  graph)
        self.assertIn("predicted ms", out)
        self.assertIn("depthwise", out)
        self.assertIn("depthwise", page.read_text())
        text = graph.read_text()
        self.assertTrue(text.startswith("digraph plan {"))
        self.assertIn('"relu" -> "depthwise"', text)
        self.assertEqual(text.count("{"), text.count("}"))

    def test_page(self):
        """Totals, machine, time line and roofline stand on the page, and nothing comes from elsewhere."""
        page, picture = self.folder / "plan.html", self.folder / "plan.svg"
        self.check_succeeds("explain", self.model, "--threads", 2, "--html", page, "--svg", picture)
        text = page.read_text()
        version = self.check_succeeds("--version").strip()
        for word in ("of the machine&#39;s limit", "worker 1", "multiply-adds, ", "GFLOP/s", version,
                     "LLVM", 'data-measured="'):
            self.assertIn(word.replace("&#39;", "'"), text)
        self.assertNotIn("http", text)
        steps = len(ElementTree.fromstring(re.search("<svg.*?</svg>", text, re.S)[0]).findall("rect"))
        self.assertGreaterEqual(steps, 2)
        root = ElementTree.fromstring(picture.read_text())
        words = "".join(root.itertext())
        for name in ("expand", "depthwise", "project", "one kernel"):
            self.assertIn(name, words)

    def test_names_are_escaped(self):
        model = self.write("odd.onnx", make_model(
            [helper.make_node("Relu", ["x"], ["a"], name='<b>"&'),
             helper.make_node("Softmax", ["a"], ["y"], name="soft\\max")],
            [value("x", [2, 3])], [value("y", [2, 3])]))
        page, graph = self.folder / "plan.html", self.folder / "plan.dot"
        self.check_succeeds("explain", model, "--no-measure", "--html", page, "--dot", graph)
        self.assertNotIn("<b>", page.read_text())

    def test_symbolic_shapes(self):
        model = self.write("linear.onnx", linear_model())
        result = json.loads(self.check_succeeds("explain", model, "--shape", "batch=7", "--json"))
        self.assertEqual([group["nodes"] for group in result["groups"]][0][0], "product")
        self.check_fails("explain", model, says=["batch"])

    def test_help_has_an_example(self):
        self.assertIn("corf explain mobilenet.onnx", self.check_succeeds("explain", "--help"))


if __name__ == "__main__":
    unittest.main()
