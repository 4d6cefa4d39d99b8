"""The turns of engines, on a machine and with loops that are made up."""

import pathlib
import sys
import unittest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "benchmarks"))

from engines.engine import EngineError  # noqa: E402
from engines.pace import FIRST_LOOPS, LEAST_LOOP_MS, Loops, Pace  # noqa: E402
from engines.turns import (FIRST_PAUSE_S, steadiness, steadiness_line, summary,  # noqa: E402
                           take_turns)

FAST_MS = 10.0
SLOW_MS = 20.0


class MadeUpLoops:
    """Loops of FAST_MS until `then` is set; after that these, and FAST_MS once they are over."""

    def __init__(self):
        self.then = []
        self.products = None

    def time_ms(self, products):
        self.products = products
        return self.then.pop(0) if self.then else FAST_MS


class Ticking:
    """An engine whose n-th turn takes n ms, and which fails at the turn `fails_at`."""

    def __init__(self, log, name, fails_at=None):
        self.log, self.name, self.fails_at, self.turns = log, name, fails_at, 0

    def turn(self, seconds):
        self.turns += 1
        if self.turns == self.fails_at:
            raise EngineError("gave up")
        self.log.append(self.name)
        return {"median_ms": self.turns, "min_ms": self.turns}


class Turns(unittest.TestCase):
    def setUp(self):
        self.log, self.pauses, self.loops = [], [], MadeUpLoops()
        self.pace = Pace(self.loops, sleep=lambda seconds: None)

    def take(self, engines, rounds, loop_times_ms=(), retakes=2):
        self.loops.then = list(loop_times_ms)
        return take_turns(engines, rounds, 0, self.pace, retakes, self.pauses.append)

    def test_another_engine_begins_each_round(self):
        self.take({name: Ticking(self.log, name) for name in "abc"}, 3)
        self.assertEqual("".join(self.log), "abcbcacab")

    def test_the_others_go_on_without_an_engine_that_fails(self):
        turns = self.take({"a": Ticking(self.log, "a", fails_at=2), "b": Ticking(self.log, "b")}, 3)
        self.assertEqual(turns["a"], "gave up")
        self.assertEqual([turn["median_ms"] for turn in turns["b"]], [1, 2, 3])

    def test_a_turn_with_fast_loops_is_taken_once(self):
        turns = self.take({"a": Ticking(self.log, "a")}, 1, [11.25, 11.25])
        self.assertEqual(turns["a"], [{"median_ms": 1, "min_ms": 1, "again": 0, "slowdown": 1.125}])
        self.assertEqual(self.pauses, [])

    def test_a_turn_is_taken_again_after_a_slow_loop_before_or_after_it(self):
        slow_before, slow_after = [SLOW_MS, FAST_MS], [FAST_MS, SLOW_MS]
        turns = self.take({"a": Ticking(self.log, "a")}, 1, slow_before + slow_after)
        self.assertEqual((turns["a"][0]["median_ms"], turns["a"][0]["again"]), (3, 2))
        self.assertEqual(self.pauses, [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S])
        told = summary(turns["a"])
        self.assertEqual((told["turns_again"], told["turns_disturbed"]), (1, 0))

    def test_of_disturbed_turns_the_one_with_the_fastest_loops_stays(self):
        turns = self.take({"a": Ticking(self.log, "a")}, 1, [20, 20, 14, 15, 10, 20])
        self.assertEqual((turns["a"][0]["median_ms"], turns["a"][0]["again"]), (2, 2))
        told = summary(turns["a"])
        self.assertEqual((told["turns_again"], told["turns_disturbed"]), (1, 1))
        self.assertEqual(told["rounds_slowdown"], [1.5])

    def test_a_faster_loop_later_shows_that_a_turn_was_disturbed(self):
        turns = self.take({"a": Ticking(self.log, "a")}, 2, [FAST_MS, FAST_MS, 5, 5])
        told = summary(turns["a"])
        self.assertEqual(told["rounds_slowdown"], [2.0, 1.0])
        self.assertEqual((told["turns_again"], told["turns_disturbed"]), (0, 1))


class Told(unittest.TestCase):
    def test_turns_of_all_models_and_where_some_stayed_disturbed(self):
        def result(rounds, again, disturbed):
            return {"rounds_ms": [1.0] * rounds, "turns_again": again, "turns_disturbed": disturbed}
        models = {"x": {"corf": result(3, 1, 0), "ncnn": {"error": "no such operator"}},
                  "y": {"corf": result(3, 2, 2), "stored before": {"rounds_ms": [1.0]}}}
        told = steadiness(models)
        self.assertEqual(told, {"turns": 6, "again": 3, "disturbed": 2, "where": {"y, corf": 2}})
        line = steadiness_line(told)
        self.assertIn("Of 6 turns 3 were taken again", line)
        self.assertIn("2 stayed disturbed (y, corf: 2).", line)
        told["where"] = {f"{i}, corf": 1 for i in range(20)}
        self.assertIn("; 7, corf: 1; 12 more).", steadiness_line(told))
        self.assertIsNone(steadiness({"y": {"stored before": {"rounds_ms": [1.0]}}}))
        self.assertIn("not counted", steadiness_line(None))


class Loop(unittest.TestCase):
    def test_is_made_long_enough_and_compared_with_the_fastest(self):
        class Proportional:
            asked = []

            def time_ms(self, products):
                self.asked.append(products)
                return products * 0.3

        pauses = []
        pace = Pace(Proportional(), pauses.append)
        self.assertEqual(pace.products, 32)
        self.assertGreaterEqual(pace.best_ms, LEAST_LOOP_MS)
        self.assertEqual((len(pauses), Proportional.asked[-FIRST_LOOPS:]),
                         (FIRST_LOOPS, [32] * FIRST_LOOPS))
        self.assertEqual(pace.slowdown(2 * pace.best_ms), 2)

    def test_runs_on_as_many_cpus_as_there_are(self):
        loops = Loops(2)
        try:
            self.assertGreater(loops.time_ms(1), 0)
            self.assertIn(len(loops.children), (1, 2))
        finally:
            loops.close()
        self.assertTrue(all(child.returncode is not None for child in loops.children))


if __name__ == "__main__":
    unittest.main()
