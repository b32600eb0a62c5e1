# SPDX-License-Identifier: Apache-2.0
"""What other recommenders say of a load, by the rules and constants of their sources.

Each is fed with the mean use of intervals as long as it samples at; two hours of them.
"""

SECOND = 1_000_000_000


def means(schedule, interval, seconds):
    """The mean use of each interval in CPUs, where each request runs when it arrives."""
    found = [0.0] * (seconds // interval)
    for arrival, work, _ in schedule:
        index = int(arrival // SECOND) // interval
        if index < len(found):
            found[index] += work / SECOND / interval
    return found


def percentile(values, part):
    """The nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-part * len(ordered) // 1) - 1))]


def exponential(values, part, first, growth=1.05):
    """A percentile of a histogram with exponential buckets: the end of its bucket.

    pkg/recommender/util/histogram.go of the Vertical Pod Autoscaler; Koordinator uses it, too. What
    is two hours old weighs as much as what is new to half-lives of half a day and more. A sample
    weighs as much as its use, a tenth of a CPU at the least.
    """
    buckets = {}
    for value in values:
        bucket, start, size = 0, 0.0, first
        while start + size <= value:
            start, size, bucket = start + size, size * growth, bucket + 1
        total = buckets.setdefault(bucket, [start + size, 0.0])
        total[1] += max(value, 0.1)
    wanted = part * sum(weight for _, weight in buckets.values())
    below = 0.0
    for bucket in sorted(buckets):
        below += buckets[bucket][1]
        if below >= wanted:
            return buckets[bucket][0]
    return 0.0


def vpa(schedule, seconds):
    """Its target: p90 of minutes, 15 % more, at least 25m."""
    return max(0.025, exponential(means(schedule, 60, seconds), 0.9, 0.01) * 1.15)


def koordinator(schedule, seconds):
    """Its peak predictor: p95 of minutes, 10 % more."""
    return exponential(means(schedule, 60, seconds), 0.95, 0.025) * 1.1


def krr(schedule, seconds):
    """Its strategy simple_limit: p96 of steps of 75 s is the limit."""
    return max(0.01, percentile(means(schedule, 75, seconds), 0.96))


def autopilot(schedule, seconds):
    """The moving-window rule for a serving job: p95 of seconds, each with its use as its weight,
    15 % more; the highest of the windows."""
    samples = means(schedule, 1, seconds)
    most = 0.0
    for start in range(0, len(samples), 300):
        window = sorted(samples[start:start + 300])
        wanted, below = 0.95 * sum(window), 0.0
        for value in window:
            below += value
            if below >= wanted:
                most = max(most, value)
                break
    return most * 1.15


RULES = {"VPA": vpa, "KRR simple_limit": krr, "Koordinator": koordinator, "Autopilot": autopilot}
