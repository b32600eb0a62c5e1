// SPDX-License-Identifier: Apache-2.0
package import Quantities

/// A millisecond.
package let ms: Nanoseconds = 1_000_000
/// A mebibyte, in bytes.
package let mebibyte: Int64 = 1 << 20
