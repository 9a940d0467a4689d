"""rounds.py - how race.py and attnres.py take times: functions side by side, in rounds.

A round takes all of them in a new random order, each for some milliseconds without a pause, so that clock and power
drift hit all alike.  A number is the median over rounds; the first one warms up.  Needs PyTorch and a GPU.
"""
import random
import statistics

import torch


def milliseconds(run, calls):
    """Of one call."""
    a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    a.record()
    for _ in range(calls):
        run()
    b.record()
    b.synchronize()
    return a.elapsed_time(b) / calls


def medians(runs, rounds, budget):
    """Milliseconds of a call of each of `runs`, by name; budget: of each in a round."""
    calls, times = {}, {name: [] for name in runs}
    for name, run in runs.items():
        milliseconds(run, 2)
        calls[name] = max(2, int(budget / max(milliseconds(run, 3), 1e-3)))
    for n in range(rounds + 1):
        for name in random.sample(list(runs), len(runs)):
            ms = milliseconds(runs[name], calls[name])
            if n:
                times[name].append(ms)
    return {name: statistics.median(t) for name, t in times.items()}
