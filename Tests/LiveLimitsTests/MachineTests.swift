// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import LiveLimits

@Suite struct MachineTests {
  private static let lists: [(String, [Int32])] = [
    ("0\n", [0]), ("0-3\n", [0, 1, 2, 3]), ("0-1,4,6-7\n", [0, 1, 4, 6, 7]), ("", []), ("\n", []),
    ("x", []), ("3-1", []), ("1-2", [1, 2]),
  ]

  @Test(arguments: lists)
  func `reads a list of CPUs as the kernel writes it`(text: String, cpus: [Int32]) {
    #expect(Machine.cpus(inList: text) == cpus)
  }

  @Test func `this machine has something of everything`() {
    #expect(!Machine.onlineCPUs().isEmpty)
    #expect(Machine.memory() > 1 << 20)
  }
}
