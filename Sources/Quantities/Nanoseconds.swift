// SPDX-License-Identifier: Apache-2.0

/// Nanoseconds of a monotonic clock (CLOCK_MONOTONIC), the only time decisions are made in.
package typealias Nanoseconds = Int64

/// A source of time, passed in wherever time matters so that a simulation can be a loop.
package typealias Clock = () -> Nanoseconds
