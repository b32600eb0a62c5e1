// SPDX-License-Identifier: Apache-2.0
import Glibc
import Quantities
import Testing

@testable import Syscalls

@Suite struct LockWaitTests {
  @Test func `a wait is over after its time, and not before`() {
    let start = monotonicNow()
    let wait = LockWait(for: 20_000_000, every: 1)
    while wait.pause() {}
    #expect(monotonicNow() - start >= 20_000_000)
  }

  @Test func `without patience there is no pause`() {
    #expect(!LockWait(for: 0).pause())
  }
}
