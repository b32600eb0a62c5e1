# SPDX-License-Identifier: Apache-2.0
"""What Benchmarks/run and Benchmarks/thresholds measure with; the standard library is enough."""
