"""The turns that engines take, the loops of pace.py around each, and what is told of both."""

import statistics
import time

from .engine import EngineError
from .pace import SLOW

MOST_NAMED = 8  # in the line below a table; the file of --json has all
FIRST_PAUSE_S = 0.05  # before a turn is taken again; doubles, for slow times last up to seconds


def take_turns(engines, rounds, seconds, pace, retakes, sleep=time.sleep):
    """{engine: its turns' results}, or a message in place of them where the engine failed.

    Each result has "again", how often the turn was taken again, and "slowdown", how many times as
    long as the fastest loop the slower of the two around it took.
    """
    turns = {name: [] for name in engines}
    order = list(engines)
    for _ in range(rounds):
        for name in order:
            if isinstance(turns[name], list):
                try:
                    turns[name].append(
                        steady_turn(engines[name], seconds, pace, retakes, sleep))
                except EngineError as error:
                    turns[name] = str(error)
        order = order[1:] + order[:1]
    for results in turns.values():
        if isinstance(results, list):
            for result in results:  # only now: the fastest loop may have come after a turn
                result["slowdown"] = pace.slowdown(result.pop("loop_ms"))
    return turns


def steady_turn(engine, seconds, pace, retakes, sleep):
    """A turn's result, "again" and "loop_ms", the time of the slower of the two loops around it.

    While the machine is slow the turn is taken again, `retakes` times at most. Of several that of
    the fastest loops is kept: the engine's own times have no part in the choice.
    """
    tries = []
    while len(tries) <= retakes:
        if tries:
            sleep(FIRST_PAUSE_S * 2 ** (len(tries) - 1))
        before_ms = pace.loop_ms()
        result = engine.turn(seconds)
        loop_ms = max(before_ms, pace.loop_ms())
        tries.append({**result, "loop_ms": loop_ms})
        if pace.slowdown(loop_ms) <= SLOW:
            break
    return {**min(tries, key=lambda result: result["loop_ms"]), "again": len(tries) - 1}


def summary(turns):
    """The median over the rounds, the rounds, and how steady the machine was during them."""
    rounds = [turn["median_ms"] for turn in turns]
    slowdowns = [turn["slowdown"] for turn in turns]
    return {"median_ms": statistics.median(rounds), "rounds_ms": rounds,
            "min_ms": min(turn["min_ms"] for turn in turns), "rounds_slowdown": slowdowns,
            "turns_again": sum(turn["again"] > 0 for turn in turns),
            "turns_disturbed": sum(slowdown > SLOW for slowdown in slowdowns)}


def steadiness(models):
    """{"turns", "again", "disturbed", "where"} of {model: {engine: result}}.

    where: {"model, engine": disturbed turns}. Results stored before these were counted are left
    out; None where there are no others.
    """
    counted = {f"{model}, {engine}": result for model, results in models.items()
               for engine, result in results.items() if "turns_disturbed" in result}
    if not counted:
        return None
    return {"turns": sum(len(result["rounds_ms"]) for result in counted.values()),
            "again": sum(result["turns_again"] for result in counted.values()),
            "disturbed": sum(result["turns_disturbed"] for result in counted.values()),
            "where": {name: result["turns_disturbed"] for name, result in counted.items()
                      if result["turns_disturbed"]}}


def steadiness_line(told):
    """What the tables say of steadiness()."""
    if told is None:
        return "Turns in slow times of the machine were not counted."
    line = (f"Of {told['turns']} turns {told['again']} were taken again because the machine was "
            f"slow, {told['disturbed']} stayed disturbed")
    where = [f"{name}: {count}" for name, count in told["where"].items()]
    if len(where) > MOST_NAMED:
        where[MOST_NAMED:] = [f"{len(where) - MOST_NAMED} more"]
    return f"{line} ({'; '.join(where)})." if where else f"{line}."
