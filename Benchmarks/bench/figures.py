# SPDX-License-Identifier: Apache-2.0
"""Medians, percentiles and ratios, and how they are written."""
import random
import statistics


def percentile(values, percent):
    """The nearest-rank percentile: always one of the values."""
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]


def median(values):
    return statistics.median(values)


def summary(values):
    """What is published of a sample."""
    return {
        "n": len(values), "min": min(values), "p50": median(values),
        "p90": percentile(values, 90), "p99": percentile(values, 99), "max": max(values),
    }


def interval(values):
    """Where the median lies with 95 % confidence, whatever the distribution: order statistics."""
    ordered, count = sorted(values), len(values)
    reach = 0.98 * count ** 0.5
    low = max(0, int(count / 2 - reach))
    return ordered[low], ordered[count - 1 - low]


class Pairs:
    """Two things measured in alternation: the peer, and us."""

    def __init__(self, pairs):
        self.pairs = pairs
        self.peer = [peer for peer, _ in pairs]
        self.ours = [ours for _, ours in pairs]

    @property
    def difference(self):
        """The median of what a pair differs by."""
        return median(self.differences)

    @property
    def ratio_of_medians(self):
        return median(self.ours) / median(self.peer)

    def ratio_interval(self, samples=2000):
        """Where the ratio of medians lies with 95 % confidence: the bootstrap, over pairs.

        Drawn with a seed of its own, so that the same pairs give the same interval.
        """
        draw = random.Random(1)
        ratios = sorted(
            Pairs(draw.choices(self.pairs, k=len(self.pairs))).ratio_of_medians
            for _ in range(samples))
        return percentile(ratios, 2.5), percentile(ratios, 97.5)

    @property
    def median_ratio(self):
        """The median of the ratios pair by pair: what the machine did in between cancels out."""
        return median(self.ratios)

    @property
    def ratios(self):
        return [ours / peer for peer, ours in self.pairs]

    @property
    def differences(self):
        return [ours - peer for peer, ours in self.pairs]

    def published(self):
        return {
            "peer_ns": summary(self.peer), "ours_ns": summary(self.ours),
            "median_difference_ns": self.difference,
            "ratio_of_medians": round(self.ratio_of_medians, 4),
            "median_of_ratios": round(self.median_ratio, 4),
            "median_of_ratios_95": [round(end, 4) for end in interval(self.ratios)],
            "median_difference_ns_95": interval(self.differences),
            "pairs_ns": self.pairs,
        }


def with_interval(values, digits=2):
    """The median, and where it lies; of five values these are the smallest and the largest."""
    low, high = interval(values)
    return f"{median(values):.{digits}f} ({low:.{digits}f}, {high:.{digits}f})"


def milliseconds(nanoseconds, digits=2):
    return f"{nanoseconds / 1e6:.{digits}f} ms"


def spread(values):
    """Median, minimum and 90th percentile in milliseconds."""
    return "{:.2f} ({:.2f}, {:.2f})".format(
        median(values) / 1e6, min(values) / 1e6, percentile(values, 90) / 1e6)


def verdict(value, limit, text):
    """The goal and whether it is met; missing it is a row like any other."""
    return f"{text}: {'met' if value <= limit else 'MISSED'}"
