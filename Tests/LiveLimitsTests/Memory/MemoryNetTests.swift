// SPDX-License-Identifier: Apache-2.0
import LiveLimits
import Testing

@Suite struct MemoryNetTests {
  @Test(
    arguments: [
      (isWanted: true, isGuarded: true, limit: 64, isRefused: false, isOn: true),
      // Nobody would notice the supervisor's death.
      (true, false, 64, false, false),
      // There is nothing left to raise to, or nothing to be had: the kernel's kill.
      (true, true, 256, false, false), (true, true, 300, false, false),
      (true, true, 64, true, false), (false, true, 64, false, false),
    ] as [(isWanted: Bool, isGuarded: Bool, limit: Int64, isRefused: Bool, isOn: Bool)])
  func `is on while somebody may raise, and somebody else watches`(
    isWanted: Bool, isGuarded: Bool, limit: Int64, isRefused: Bool, isOn: Bool
  ) {
    var net = MemoryNet(isWanted: isWanted)
    #expect(net.isOn(limit: limit, ceiling: 256, isRefused: isRefused) == false)
    net.isGuarded = isGuarded
    #expect(net.isOn(limit: limit, ceiling: 256, isRefused: isRefused) == isOn)
  }

  @Test(
    arguments: [
      ("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", false, false),
      ("oom_kill_disable 1\nunder_oom 1\noom_kill 0\n", true, true),
      ("oom_kill_disable 1\nunder_oom 0", true, false), ("", false, false),
    ])
  func `reads memory.oom_control`(text: String, isOn: Bool, isUnderOOM: Bool) {
    let reading = MemoryNet.Reading(text)
    #expect(reading.isOn == isOn)
    #expect(reading.isUnderOOM == isUnderOOM)
  }
}
