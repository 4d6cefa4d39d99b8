"""Models whose shapes depend on data, or whose values are not tensors, as programs have them.

With the argument "long" each is run 10,000 times on inputs of changing sizes, in flat memory.
"""

import pathlib
import sys
import unittest

import numpy as np
from onnx import TensorProto, helper, numpy_helper

import corf
from corf_command import value

LONG_RUNS = 10_000
MOST_GROWTH_BYTES = 16 << 20  # caches of executables fill up

F32, I64, BOOL, STRING = (TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL,
                          TensorProto.STRING)


def integers(name, *numbers):
    return numpy_helper.from_array(np.array(numbers, np.int64), name)


def scalar(name, number, dtype=np.float32):
    return numpy_helper.from_array(np.array(number, dtype), name)


def session(nodes, inputs, outputs, constants):
    graph = helper.make_graph(nodes, "program", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21),
                                                    helper.make_opsetid("ai.onnx.ml", 3)])
    return corf.InferenceSession(model.SerializeToString())


def sorting_loop():
    """y: x in ascending order, the least one of what is left in each step; places: where it was."""
    step = helper.make_graph(
        [helper.make_node("ArgMin", ["left"], ["place"], axis=0, keepdims=0),
         helper.make_node("Gather", ["left", "place"], ["least"]),
         helper.make_node("Unsqueeze", ["place", "first_axis"], ["places"]),
         helper.make_node("ScatterElements", ["left", "places", "taken"], ["next_left"]),
         helper.make_node("Identity", ["go"], ["goes_on"])],
        "step", [value("i", [], I64), value("go", [], BOOL), value("left", ["n"])],
        [value("goes_on", [], BOOL), value("next_left", ["n"]), value("least", []),
         value("place", [], I64)])
    return session(
        [helper.make_node("Size", ["x"], ["count"]),
         helper.make_node("Greater", ["x", "least_of_all"], ["is_kept"]),
         helper.make_node("Compress", ["x", "is_kept"], ["kept"], axis=0),
         helper.make_node("Size", ["kept"], ["steps"]),
         helper.make_node("Loop", ["steps", "", "kept"], ["rest", "y", "places"], body=step)],
        [value("x", ["n"])], [value("y", ["m"]), value("places", ["m"], I64)],
        [integers("first_axis", 0), scalar("taken", [np.inf]), scalar("least_of_all", 0)])


def beam_search_step():
    """The best `beams` continuations of histories [b, t] with logits [b, vocabulary].

    next: [beams, t + 1], scores: [beams].
    """
    return session(
        [helper.make_node("LogSoftmax", ["logits"], ["log_p"], axis=-1),
         helper.make_node("Unsqueeze", ["so_far", "last_axis"], ["column"]),
         helper.make_node("Add", ["log_p", "column"], ["all"]),
         helper.make_node("Shape", ["all"], ["extents"]),
         helper.make_node("Gather", ["extents", "one"], ["vocabulary"], axis=0),
         helper.make_node("Reshape", ["all", "flat"], ["candidates"]),
         helper.make_node("TopK", ["candidates", "beams"], ["scores", "places"]),
         helper.make_node("Div", ["places", "vocabulary"], ["beam"]),
         helper.make_node("Mod", ["places", "vocabulary"], ["token"]),
         helper.make_node("Gather", ["histories", "beam"], ["kept"]),
         helper.make_node("Unsqueeze", ["token", "last_axis"], ["tokens"]),
         helper.make_node("Concat", ["kept", "tokens"], ["next"], axis=1)],
        [value("histories", ["b", "t"], I64), value("logits", ["b", "v"]), value("so_far", ["b"]),
         value("beams", [1], I64)],
        [value("next", [None, None], I64), value("scores", [None])],
        [integers("last_axis", -1), integers("one", 1), integers("flat", -1)])


WORDS = ["corf", "fuses", "operators", "loops"]


def tokenizer():
    """ids [words of the text], mean [2] of their embeddings; unknown words have the last one."""
    table = np.arange(2 * (len(WORDS) + 1), dtype=np.float32).reshape(-1, 2)
    return session(
        [helper.make_node("StringNormalizer", ["text"], ["lower"], case_change_action="LOWER"),
         helper.make_node("StringSplit", ["lower"], ["words", "count"], delimiter=" "),
         helper.make_node("LabelEncoder", ["words"], ["ids_of_texts"], domain="ai.onnx.ml",
                          keys_strings=WORDS, values_int64s=range(len(WORDS)),
                          default_int64=len(WORDS)),
         helper.make_node("Reshape", ["ids_of_texts", "flat"], ["ids"]),
         helper.make_node("Gather", ["table", "ids"], ["rows"]),
         helper.make_node("ReduceMean", ["rows", "first_axis"], ["mean"], keepdims=0)],
        [value("text", [1], STRING)], [value("ids", ["n"], I64), value("mean", [2])],
        [numpy_helper.from_array(table, "table"), integers("first_axis", 0), integers("flat", -1)])


def detector_head():
    """rows [n, 6] of the boxes that are kept: corners, score and class."""
    return session(
        [helper.make_node("NonMaxSuppression", ["boxes", "scores", "most", "overlap", "least"],
                          ["selected"]),
         helper.make_node("Split", ["selected"], ["batch", "classes", "numbers"], axis=1,
                          num_outputs=3),
         helper.make_node("Squeeze", ["boxes", "first_axis"], ["all_boxes"]),
         helper.make_node("Squeeze", ["numbers", "one"], ["positions"]),
         helper.make_node("Gather", ["all_boxes", "positions"], ["kept_boxes"]),
         helper.make_node("GatherND", ["scores", "selected"], ["kept_scores"]),
         helper.make_node("Unsqueeze", ["kept_scores", "one"], ["score_column"]),
         helper.make_node("Cast", ["classes"], ["class_column"], to=F32),
         helper.make_node("Concat", ["kept_boxes", "score_column", "class_column"], ["rows"],
                          axis=1)],
        [value("boxes", [1, "n", 4]), value("scores", [1, "c", "n"])], [value("rows", ["m", 6])],
        [integers("most", 1000), scalar("overlap", [0.5]), scalar("least", [0.25]),
         integers("first_axis", 0), integers("one", 1)])


def running_scan():
    """sums, most: of the rows of x so far, from the last one to the first; total: the last sum."""
    step = helper.make_graph(
        [helper.make_node("Add", ["sum", "row"], ["next_sum"]),
         helper.make_node("Max", ["most", "row"], ["next_most"]),
         helper.make_node("Identity", ["next_sum"], ["sum_seen"]),
         helper.make_node("Identity", ["next_most"], ["most_seen"])],
        "step", [value("sum", [3]), value("most", [3]), value("row", [3])],
        [value("next_sum", [3]), value("next_most", [3]), value("sum_seen", [3]),
         value("most_seen", [3])])
    return session(
        [helper.make_node("NonZero", ["mask"], ["where"]),
         helper.make_node("Squeeze", ["where", "first_axis"], ["rows"]),
         helper.make_node("Gather", ["x", "rows"], ["kept"]),
         helper.make_node("Scan", ["zeros", "zeros", "kept"], ["total", "greatest", "sums", "most"],
                          body=step, num_scan_inputs=1, scan_input_directions=[1])],
        [value("x", ["n", 3]), value("mask", ["n"])],
        [value("total", [3]), value("sums", ["m", 3]), value("most", ["m", 3])],
        [numpy_helper.from_array(np.zeros(3, np.float32), "zeros"), integers("first_axis", 0)])


def separate_boxes(count):
    """Boxes of which none touches another."""
    corner = 3 * np.arange(count, dtype=np.float32)
    return np.stack([corner, corner, corner + 1, corner + 1], axis=1)[np.newaxis]


class PiecesTest(unittest.TestCase):
    def test_sorting_loop(self):
        program = sorting_loop()
        for count in (5, 1, 12, 5):
            x = np.random.default_rng(count).permutation(count).astype(np.float32) + 1
            given = np.concatenate([x[:1], [-1], x[1:]]).astype(np.float32)  # -1 is left out
            y, places = program.run(None, {"x": given})
            np.testing.assert_array_equal(y, np.sort(x))
            np.testing.assert_array_equal(places, np.argsort(x))
        y, places = program.run(None, {"x": np.zeros(4, np.float32)})
        self.assertEqual((y.shape, places.shape), ((0,), (0,)))

    def test_beam_search_step(self):
        program = beam_search_step()
        random = np.random.default_rng(0)
        for beams, length, vocabulary, wanted in ((3, 4, 11, 3), (1, 1, 7, 4), (4, 9, 5, 2)):
            histories = random.integers(0, vocabulary, (beams, length))
            logits = random.standard_normal((beams, vocabulary)).astype(np.float32)
            so_far = random.standard_normal(beams).astype(np.float32)
            wide = logits.astype(np.float64)
            log_p = wide - np.log(np.exp(wide).sum(axis=1, keepdims=True)) + so_far[:, np.newaxis]
            best = np.argsort(-log_p.ravel())[:wanted]
            following, scores = program.run(None, {"histories": histories, "logits": logits,
                                                   "so_far": so_far,
                                                   "beams": np.array([wanted])})
            np.testing.assert_allclose(scores, log_p.ravel()[best], rtol=1e-5, atol=1e-6)
            expected = np.concatenate([histories[best // vocabulary],
                                       (best % vocabulary)[:, np.newaxis]], axis=1)
            np.testing.assert_array_equal(following, expected)

    def test_tokenizer(self):
        program = tokenizer()
        for text, ids in (("Corf fuses loops", [0, 1, 3]), ("what", [4]), ("LOOPS loops", [3, 3])):
            found, mean = program.run(None, {"text": np.array([text])})
            np.testing.assert_array_equal(found, ids)
            rows = np.arange(10, dtype=np.float32).reshape(5, 2)[ids]
            np.testing.assert_allclose(mean, rows.mean(axis=0), rtol=1e-6)

    def test_detector_head(self):
        program = detector_head()
        for count in (0, 1, 1000, 3):
            boxes = separate_boxes(count)
            scores = np.linspace(0.9, 0.3, count, dtype=np.float32)[np.newaxis, np.newaxis]
            rows, = program.run(None, {"boxes": boxes, "scores": scores})
            expected = np.concatenate([boxes[0], scores[0].T, np.zeros((count, 1))], axis=1)
            np.testing.assert_array_equal(rows, expected.astype(np.float32))
        # The second box covers the first one and is better; the third scores too little.
        boxes = np.array([[[0, 0, 2, 2], [0, 0, 2, 1.9], [5, 5, 6, 6]]], np.float32)
        rows, = program.run(None, {"boxes": boxes,
                                   "scores": np.array([[[0.5, 0.8, 0.1]]], np.float32)})
        np.testing.assert_array_equal(rows, np.array([[0, 0, 2, 1.9, 0.8, 0]], np.float32))

    def test_running_scan(self):
        program = running_scan()
        for count in (4, 1, 9):
            x = np.random.default_rng(count).integers(0, 9, (count, 3)).astype(np.float32)
            mask = (np.arange(count) % 3 != 1).astype(np.float32)
            total, sums, most = program.run(None, {"x": x, "mask": mask})
            kept = x[mask != 0][::-1]
            np.testing.assert_array_equal(total, kept.sum(axis=0))
            np.testing.assert_array_equal(sums, np.cumsum(kept, axis=0))
            np.testing.assert_array_equal(most, np.maximum.accumulate(kept, axis=0))


def resident_bytes():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * 4096


class LongRunTest(unittest.TestCase):
    """Sizes change from run to run; more of them than executables are kept."""

    def check_flat(self, run):
        for number in range(24):
            run(number)
        before = resident_bytes()
        for number in range(LONG_RUNS):
            # Mostly sizes that are there already, for compiling takes its time.
            run(number if number % 1000 == 0 else number % 5)
        self.assertLess(resident_bytes() - before, MOST_GROWTH_BYTES)

    def test_sorting_loop(self):
        program = sorting_loop()

        def run(number):
            x = np.arange(number % 12, 0, -1, dtype=np.float32)
            y, _ = program.run(None, {"x": x})
            np.testing.assert_array_equal(y, x[::-1])
        self.check_flat(run)

    def test_beam_search_step(self):
        program = beam_search_step()

        def run(number):
            length = 1 + number % 12
            following, _ = program.run(None, {
                "histories": np.zeros((2, length), np.int64),
                "logits": np.eye(2, 6, dtype=np.float32), "so_far": np.zeros(2, np.float32),
                "beams": np.array([2])})
            self.assertEqual(following.shape, (2, length + 1))
            np.testing.assert_array_equal(following[:, -1], [0, 1])
        self.check_flat(run)

    def test_tokenizer(self):
        program = tokenizer()

        def run(number):
            ids, _ = program.run(None, {"text": np.array([" ".join(["loops"] * (1 + number % 12))])})
            np.testing.assert_array_equal(ids, [3] * (1 + number % 12))
        self.check_flat(run)

    def test_detector_head(self):
        program = detector_head()

        def run(number):
            count = number % 12 if number % 500 else 1000
            rows, = program.run(None, {"boxes": separate_boxes(count),
                                       "scores": np.full((1, 1, count), 0.5, np.float32)})
            self.assertEqual(rows.shape, (count, 6))
        self.check_flat(run)

    def test_running_scan(self):
        program = running_scan()

        def run(number):
            count = 1 + number % 12
            total, _, _ = program.run(None, {"x": np.ones((count, 3), np.float32),
                                             "mask": np.ones(count, np.float32)})
            np.testing.assert_array_equal(total, [count] * 3)
        self.check_flat(run)


if __name__ == "__main__":
    is_long = sys.argv[1:] == ["long"]
    unittest.main(argv=sys.argv[:1], defaultTest="LongRunTest" if is_long else "PiecesTest")
