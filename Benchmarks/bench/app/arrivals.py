# SPDX-License-Identifier: Apache-2.0
"""When requests come: at fixed moments, at random, in bursts, and as in a trace of days."""
import math
import random

RATE = 500  # requests a second on average, of every kind of arrival
ASSETS = 0.3  # of the requests
FIXED, EXPONENTIAL, BURST, TRACE = "fixed", "exponential", "burst", "trace"
KINDS = (FIXED, EXPONENTIAL, BURST, TRACE)
EVERY, LASTS, PEAK = 5, 1, 3  # seconds from burst to burst and in one; times the average
STEP = 0.25  # seconds of a trace that have one rate


def trace(draw, seconds):
    """Requests a second, by steps: a day is half of the time, from a fifth of its noon at night;
    around it noise of a fifth, and here and there a step of thrice what it was.

    As in published traces of web services; generated, so that anybody has the same.
    """
    steps = math.ceil(seconds / STEP)
    rates = []
    for index in range(steps):
        day = 0.6 - 0.4 * math.cos(4 * math.pi * (index + 0.5) / steps)
        rates.append(day * draw.lognormvariate(0, 0.2) * (3 if draw.random() < 0.05 else 1))
    scale = RATE * steps / sum(rates)
    return [rate * scale for rate in rates]


def rates(kind, draw, seconds):
    """(rate, until) in order."""
    if kind == TRACE:
        return [(rate, STEP * (index + 1))
                for index, rate in enumerate(trace(draw, seconds))]
    if kind == BURST:
        rest = RATE * (EVERY - PEAK * LASTS) / (EVERY - LASTS)
        found, moment = [], 0.0
        while moment < seconds:
            middle = moment + (EVERY - LASTS) / 2
            found += [(rest, middle), (PEAK * RATE, middle + LASTS), (rest, moment + EVERY)]
            moment += EVERY
        return found
    return [(RATE, seconds)]


def arrivals(kind, seed, seconds):
    """(nanoseconds, 1 for an asset) of each request, in order; the same for the same seed."""
    draw = random.Random(f"{kind} {seed}")
    moments = []
    if kind == FIXED:
        moments = [index / RATE for index in range(int(RATE * seconds))]
    else:
        moment = 0.0
        for rate, until in rates(kind, draw, seconds):
            # A rate that ends takes its last interval with it: what is left is as random as ever.
            while (following := moment + draw.expovariate(rate)) < min(until, seconds):
                moments.append(following)
                moment = following
            moment = until
    return [(int(moment * 1e9), int(draw.random() < ASSETS)) for moment in moments]
