// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Cgroups

@Suite struct MachineTests {
  @Test func `this machine has something of everything`() {
    #expect(!Machine.onlineCPUs().isEmpty)
    #expect(Machine.memory() > 1 << 20)
  }
}
