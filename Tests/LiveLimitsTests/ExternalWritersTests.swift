// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Control
@testable import LiveLimits
@testable import State

@Suite struct ExternalWritersTests {
  @Test(
    arguments: [
      (1, "systemd", .serviceManager, .named("systemd")),
      (1, nil, .serviceManager, .process(1)),
      (7, "runc", .runtime, .named("runc")), (7, "crun", .runtime, .named("crun")),
      (7, "runc:[2:INIT]", .runtime, .named("runc:[2:INIT]")),
      (7, "sh", .other, .named("sh")), (7, "", .other, .named("")),
      // Who is gone may have been any of them, and who is in another namespace, too.
      (7, nil, .unknown, .process(7)), (0, nil, .unknown, nil),
    ] as [(Int32, String?, ExternalWrites.Writers, RecordEntry.Writer?)])
  func `a writer is of a kind and has a name`(
    process: Int32, name: String?, kind: ExternalWrites.Writers, writer: RecordEntry.Writer?
  ) {
    var heard = ExternalWriters()
    heard.add(process, name: name)
    #expect(heard.kinds == kind)
    #expect(heard.last == writer)
  }

  @Test func `several are all heard, and the last one that is known is told`() {
    var heard = ExternalWriters()
    #expect(heard.kinds == .unknown && heard.last == nil)
    heard.add(1, name: "systemd")
    heard.add(7, name: "runc")
    heard.add(0, name: nil)
    #expect(heard.kinds == [.serviceManager, .runtime])
    #expect(heard.last == .named("runc"))
  }

  @Test func `a name is asked for once, and an answer that comes too late is none`() {
    var heard = ExternalWriters()
    let isAsked = [heard.add(7, at: 0), heard.add(7, at: 1)]
    #expect(isAsked == [true, false], "once it has been asked for")
    #expect(heard.last == .process(7) && heard.kinds == .unknown)
    #expect(heard.asked?.until == 10_000_000)
    heard.answer(8, "runc")
    #expect(heard.kinds == .unknown, "nobody has asked for that one")
    heard.answer(7, "runc")
    #expect(heard.kinds == .runtime && heard.last == .named("runc"))
    #expect(heard.asked?.until == 0)
    let isAskedAgain = heard.add(9, at: 2)
    #expect(isAskedAgain)
    heard.answer(9, "")
    #expect(heard.kinds == .runtime && heard.last == .process(9), "it is gone")
  }

  @Test func `systemd and who is in another namespace need no name`() {
    var heard = ExternalWriters()
    let isAsked = [heard.add(1, at: 0), heard.add(0, at: 0)]
    #expect(isAsked == [false, false])
    #expect(heard.kinds == .serviceManager && heard.asked == nil)
  }
}
