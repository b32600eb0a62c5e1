// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Control
@testable import LiveLimits

@Suite struct HookOrderTests {
  @Test(arguments: [(nil, 0), (17, 6 << 20)] as [(UInt64?, Int64)])
  func `what is asked for is read back`(outer: UInt64?, near: Int64) {
    let order = WatchRequest(
      group: 4711, outer: outer,
      limits: HookLimits(floor: 1, quiet: 2, margin: 3, near: near))
    #expect(WatchRequest(order.text) == order)
  }

  @Test(arguments: ["", "1 2 3 4 5", "1 2 3 4 5 6 7", "-1 2 3 4 5 6", "a b c d e f"])
  func `anything else is no order`(text: String) {
    #expect(WatchRequest(text) == nil)
  }
}
