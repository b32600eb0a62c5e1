// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import CPUSets
@testable import LiveLimits
@testable import Quantities

@Suite struct RefusedPartitionsTests {
  private func groups(_ neighbour: String) -> [UnifiedGroup] {
    [("/own", "1"), ("/other", neighbour)].enumerated().map {
      UnifiedGroup(
        path: $1.0, inode: UInt64($0 + 1), cpus: CPUSet(list: $1.1) ?? CPUSet(), exclusive: nil)
    }
  }

  @Test func `a refusal holds as long as the tree is the one that was refused`() {
    var refused = RefusedPartitions()
    refused.refuse(1, in: groups("0"))
    let isForgotten = refused.forgetOvertaken(by: groups("0"))
    #expect(!isForgotten)
    refused.settle(groups("0"))
    refused.look(at: groups("0"))
    #expect(refused.inodes == [1])
    refused.look(at: groups("0-1"))
    #expect(refused.inodes == [])
  }

  @Test func `what somebody's write in the same moment had refused is asked for again, once`() {
    var refused = RefusedPartitions()
    refused.refuse(1, in: groups("0-1"))
    let isForgotten = refused.forgetOvertaken(by: groups("0"))
    #expect(isForgotten)
    #expect(refused.inodes == [])
    refused.refuse(1, in: groups("0"))
    let isForgottenAgain = refused.forgetOvertaken(by: groups("0"))
    #expect(!isForgottenAgain)
  }

  @Test func `before others get sets only what somebody wrote just then counts`() {
    var refused = RefusedPartitions()
    refused.refuse(1, in: groups("0"))
    refused.forgetIfOvertaken(by: groups("0"))
    #expect(refused.inodes == [1])
    // What is written because of the refusal is no reason to forget it.
    refused.forgetIfOvertaken(by: groups("0-1"))
    #expect(refused.inodes == [1])
    refused.refuse(1, in: groups("0"))
    refused.forgetIfOvertaken(by: groups("0-1"))
    #expect(refused.inodes == [])
  }
}
