// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Control
@testable import State
@testable import escra

@Suite struct DecisionSentenceTests {
  @Test(
    arguments: [
      (entry(.start, 1, 1), "found 1.00 cores: a supervisor took the container over"),
      (
        entry(.jumpStart, 0.05, 1, used: 0.03),
        "raised 0.05 -> 1.00 cores: it woke up and ran out of its quota (used 0.03)"
      ),
      (
        entry(.fairShare, 0.5, 1, used: 0.5),
        "raised 0.50 -> 1.00 cores: it ran out of its quota in most periods of the last second "
          + "(used 0.50)"
      ),
      (
        entry(.scaleUp, 1, 1.6, used: 0.97),
        "raised 1.00 -> 1.60 cores: it ran out of its quota (used 0.97)"
      ),
      (
        entry(.scaleDown, 1, 0.8, used: 0.4),
        "lowered 1.00 -> 0.80 cores: more than a fifth of the quota was left over (used 0.40)"
      ),
      (
        entry(.trim, 1, 0.95, used: 0.9),
        "lowered 1.00 -> 0.95 cores: a little of the quota was left over in period after period "
          + "(used 0.90)"
      ),
      (
        entry(.idle, 0.8, 0.05),
        "lowered 0.80 -> 0.05 cores: it has been idle for two seconds (used 0.00)"
      ),
      (entry(.update, 1, 2), "raised 1.00 -> 2.00 cores: the declared limit was changed"),
      (entry(.update, 1, 1), "kept 1.00 cores: the declared limit was changed"),
      (
        entry(.drift, 1, 0.05),
        "lowered 1.00 -> 0.05 cores: another process had written an old value over it"
      ),
      (
        entry(.news, 0.05, 0.7),
        "raised 0.05 -> 0.70 cores: another process wrote a new limit, which is now the declared "
          + "one"
      ),
      (entry(.end, 1, 0.05), "lowered 1.00 -> 0.05 cores: the container has ended"),
      (
        entry(.refused, 0.8, 1.2, used: 0.8),
        "tried 0.80 -> 1.20 cores: a cgroup above it has a lower limit, so the kernel refused"
      ),
      (
        entry(.refused, 1.2, 0.8),
        "stays at 0.80 cores: a cgroup above it has a lower limit, so the kernel refused"
      ),
      (
        entry(.declared, 0.05, 1),
        "raised 0.05 -> 1.00 cores: supervision ended, so the declared limit is back"
      ),
    ] as [(RecordEntry, String)])
  func `every rule is a sentence`(entry: RecordEntry, sentence: String) {
    #expect(entry.sentence == sentence)
  }

  @Test(
    arguments: [
      (
        memoryEntry(.memoryFound, 64, 64, used: 9),
        "found 64Mi of memory: a supervisor took "
          + "its memory over (used 9Mi)"
      ),
      (
        memoryEntry(.memoryGrown, 64, 80, used: 57),
        "raised 64Mi -> 80Mi of memory: it "
          + "was about to use all of its limit (used 57Mi)"
      ),
      (
        memoryEntry(.memoryGivenBack, 80, 32, used: 9),
        "lowered 80Mi -> 32Mi of memory: "
          + "it has not used more for a while (used 9Mi)"
      ),
      (
        memoryEntry(.memoryRefused, 128, 128, used: 121),
        "stays at 128Mi of memory: it needs more, "
          + "and this is its maximum (used 121Mi)"
      ),
      (
        memoryEntry(.memoryNotTaken, 32, 80),
        "tried 32Mi of memory, stays at 80Mi of memory: the "
          + "kernel refused the limit"
      ),
      (
        memoryEntry(.memoryKill, 128, 128, used: 128),
        "out of memory at 128Mi of memory: it was at "
          + "its limit, and the kernel killed a process (used 128Mi)"
      ),
      (
        memoryEntry(.memoryUpdate, 64, 64),
        "kept 64Mi of memory: the declared memory limit was changed"
      ),
      (
        memoryEntry(.memoryGrown, 64, 80, used: 57, applied: false),
        "would have raised 64Mi "
          + "-> 80Mi of memory: it would have been about to use all of that limit (used 57Mi)"
      ),
    ] as [(RecordEntry, String)])
  func `every rule about memory is a sentence`(entry: RecordEntry, sentence: String) {
    #expect(entry.sentence == sentence)
  }

  @Test(
    arguments: [
      (Rule.drift, .named("systemd"), "systemd had written an old value over it"),
      (.drift, .process(4711), "process 4711 had written an old value over it"),
      (
        .news, .named("runc"), "runc wrote a new limit, which is now the declared one"
      ),
      (.drift, .named("a\u{1b}b"), "a?b had written an old value over it"),
    ] as [(Rule, RecordEntry.Writer, String)])
  func `who wrote is told`(rule: Rule, writer: RecordEntry.Writer, end: String) {
    var entry = entry(rule, 1, 0.05)
    entry.writer = writer
    #expect(entry.sentence == "lowered 1.00 -> 0.05 cores: " + end)
  }

  @Test(
    arguments: [
      (
        entry(.predicted, 0.3, 1.2, used: 0.25),
        "raised 0.30 -> 1.20 cores: at its pace it was about to run out of its quota (used 0.25)"
      ),
      (
        entry(.exhausted, 0.3, 0.6, used: 0.3),
        "raised 0.30 -> 0.60 cores: it used up its quota, so its demand is not known (used 0.30)"
      ),
      (
        entry(.giveBack, 1.2, 0.4, used: 0.3),
        "lowered 1.20 -> 0.40 cores: its recent peak plus the margin is lower (used 0.30)"
      ),
      (
        entry(.rest, 0.4, 0.05),
        "lowered 0.40 -> 0.05 cores: it has been idle (used 0.00)"
      ),
      (
        entry(.due, 0.6, 1, used: 0.5),
        "raised 0.60 -> 1.00 cores: a new period began, so the rest of an earlier raise was due "
          + "(used 0.50)"
      ),
    ] as [(RecordEntry, String)])
  func `every rule of headroom is a sentence`(entry: RecordEntry, sentence: String) {
    #expect(entry.sentence == sentence)
  }

  @Test(arguments: [
    (entry(.idle, 1, 0.05, applied: false), "would have lowered 1.00 -> 0.05 cores: "),
    (entry(.jumpStart, 0.05, 1, applied: false), "would have raised 0.05 -> 1.00 cores: "),
    (entry(.update, 1, 1, applied: false), "would have kept 1.00 cores: "),
    (entry(.start, 1, 1, applied: false), "found 1.00 cores: "),
  ])
  func `what was not written would have been`(entry: RecordEntry, beginning: String) {
    #expect(entry.sentence.utf8.starts(with: beginning.utf8))
  }

  @Test(arguments: Rule.allCases)
  func `what did not happen is not told as if it had`(rule: Rule) {
    let entry =
      rule.isMemory
      ? memoryEntry(rule, 64, 80, used: 57, applied: false)
      : entry(rule, 0.05, 1, used: 0.03, applied: false)
    for claim in [
      "ran out", "used up its", "was left over", "its quota", "its limit", "stays at", "was given",
    ] where rule != .memoryKill && rule != .memoryNotTaken {
      #expect(!entry.sentence.contains(claim), "\(claim)")
    }
  }

  @Test(arguments: [
    (
      entry(.granted, 0.3, 0.4, used: 0.25), "application had this much (used 0.25)",
      "\"used\": 0.25"
    ),
    (entry(.granted, 0.3, 0.4), "application had this much", "\"used\": null"),
    (entry(.due, 0.3, 0.4), "was due", "\"used\": null"),
    (entry(.update, 0.3, 0.4), "was changed", "\"used\": null"),
    (entry(.rest, 0.4, 0.05), "has been idle (used 0.00)", "\"used\": 0"),
    (memoryEntry(.memoryGranted, 64, 80), "application had this much", "\"used\": null"),
  ])
  func `a use that is not known is left out`(entry: RecordEntry, end: String, json: String) {
    #expect(entry.sentence.hasSuffix(end))
    #expect(entry.json.text.contains(json))
  }

  @Test func `rules have names of their own`() {
    #expect(Set(Rule.allCases.map(\.name)).count == Rule.allCases.count)
    #expect(Set(Rule.allCases.map(\.reason)).count == Rule.allCases.count)
  }

  @Test func `a period of zero is no division`() {
    var broken = entry(.idle, 1, 0)
    broken.period = 0
    #expect(broken.coresBefore == 1e8)
  }
}
