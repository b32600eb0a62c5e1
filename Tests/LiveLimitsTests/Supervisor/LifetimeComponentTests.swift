// SPDX-License-Identifier: Apache-2.0
import Glibc
import Testing

@testable import LiveLimits
@testable import Quantities
@testable import Syscalls

/// A container whose init has ended, unless there is a descriptor for it.
private final class Ending: LifetimeSource {
  var initDescriptor: Int32 = -1
  var hasLostInit: Bool { initDescriptor < 0 }
  var hasMembers: Bool?
  let isReported: Bool
  private(set) var watches = 0

  init(hasMembers: Bool?, isReported: Bool) {
    (self.hasMembers, self.isReported) = (hasMembers, isReported)
  }

  func watchMembers(_ poller: borrowing Poller, token: UInt64) -> Bool {
    watches += 1
    return isReported
  }
}

extension [Effect] {
  fileprivate var ends: Bool { contains { if case .end = $0 { true } else { false } } }
  fileprivate var asksKeeper: Bool {
    contains { if case .tellKeeper(.askEnd) = $0 { true } else { false } }
  }
}

@Suite struct LifetimeComponentTests {
  /// Whether a process is left, as far as that is known, and whether the kernel reports the last one.
  @Test(
    arguments: [
      (false, false, true, false, false), (false, true, true, false, false),
      (true, true, false, true, false), (true, false, false, true, false),
      (nil, false, false, true, true), (nil, true, false, true, true),
    ] as [(Bool?, Bool, Bool, Bool, Bool)])
  func `it ends with its last process, and is looked at again until then`(
    hasMembers: Bool?, isReported: Bool, ends: Bool, isAgain: Bool, asksKeeper: Bool
  ) throws {
    let container = Ending(hasMembers: hasMembers, isReported: isReported)
    let component = try LifetimeComponent(container, try Poller())
    #expect(component.deadline != nil, "init was gone when the container was found")
    let first = component.handle(.deadline(0))
    #expect(first.ends == ends && !first.asksKeeper, "what has ended just now is reaped soon")
    #expect((component.deadline != nil) == isAgain)
    #expect(component.handle(.deadline(0)).asksKeeper == asksKeeper)
    #expect(container.watches == (isReported ? 1 : 2), "once, if it will be reported")
  }

  /// The kernel drops its report with the group if another one was less than 10 ms ago.
  @Test func `a second is waited for what is reported mostly`() throws {
    let component = try LifetimeComponent(
      Ending(hasMembers: true, isReported: true), try Poller())
    let now = monotonicNow()
    _ = component.handle(.deadline(now))
    #expect(try #require(component.deadline) - now >= 1_000_000_000)
  }

  @Test func `looks become rarer, down to one a second`() throws {
    let component = try LifetimeComponent(
      Ending(hasMembers: true, isReported: false), try Poller())
    var waits: [Nanoseconds] = []
    for _ in 0..<10 {
      let now = monotonicNow()
      _ = component.handle(.deadline(now))
      waits.append((component.deadline ?? now) - now)
    }
    #expect(waits[0] >= 10_000_000 && waits[0] < 1_000_000_000)
    #expect(waits[1] >= 20_000_000 && waits[9] >= 1_000_000_000)
  }

  @Test func `as long as its init lives nothing is looked at, and its end is an event`() throws {
    var ends: [Int32] = [0, 0]
    try #require(pipe(&ends) == 0)
    defer { for end in ends { close(end) } }
    let container = Ending(hasMembers: true, isReported: false)
    container.initDescriptor = ends[0]
    let component = try LifetimeComponent(container, try Poller())
    #expect(component.deadline == nil)
    _ = component.handle(.effect(.checkMembers))
    #expect(component.deadline == nil && container.watches == 0)
    let effects = component.handle(.readable(0))
    #expect(effects.contains { if case .initEnded = $0 { true } else { false } })
  }
}
