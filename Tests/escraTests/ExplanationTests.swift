// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Control
@testable import LiveLimits
@testable import OCISpec
@testable import Quantities
@testable import State
@testable import escra

@Suite struct ExplanationTests {
  private func explain(
    _ state: ContainerState = exampleState(), _ report: ContainerReport? = nil,
    _ entries: [RecordEntry] = [entry(.idle, 1, 0.05)], limitAbove: Double? = nil
  ) -> Explanation {
    Explanation(
      state: state, report: report ?? exampleReport(state), entries: entries,
      limitAbove: limitAbove, cpus: 4)
  }

  @Test func `a member of an application may have what that has`() {
    let state = exampleState {
      $0.app = "shop"
      $0.membership = ApplicationMembership(
        application: "shop", user: 0, root: "/r", namespace: nil, priority: 0, cpu: nil, memory: nil
      )
    }
    let lines = explain(state).lines(last: 0, now: 0, offset: 0)
    #expect(lines.contains { $0.contains("the application \"shop\" with its other members") })
    #expect(lines.contains { $0.contains("else the limit of the application \"shop\"") })
    var observer = state
    observer.membership = nil
    #expect(
      explain(observer).lines(last: 0, now: 0, offset: 0).contains {
        $0.contains("but only reactive containers are members")
      })
  }

  @Test func `how the share of this node has changed is told of an application that spans nodes`() {
    var explanation = explain()
    #expect(!explanation.lines(last: 5, now: 0, offset: 0).contains { $0.contains("share") })
    var status = ClusterStatus()
    status.cpu.notes = [.init(time: 2, sentence: "the second"), .init(time: 4, sentence: "fourth")]
    status.memory.notes = [
      .init(time: 1, sentence: "the first"), .init(time: 3, sentence: "third"),
    ]
    explanation.cluster = status
    let lines = explanation.lines(last: 3, now: 0, offset: 0)
    let place = lines.firstIndex(of: "The application's share of this node, the newest change last")
    let shown = place.map { lines[($0 + 1)...].prefix(3).map { $0.split(separator: "  ").last } }
    #expect(shown == ["the second", "third", "fourth"])
  }

  @Test func `which limit programs see is told of a container with two groups`() {
    let state = exampleState {
      $0.innerName = "web"
      $0.cpuDirectory = "/sys/fs/cgroup/docker/escra0"
    }
    #expect(!explain(state).cpu.contains { $0.hasPrefix("Programs in it") }, "nothing was seen")
    let report = exampleReport(state) { $0.cpu.visible = .at(2) }
    let told = explain(state, report).cpu
    #expect(
      told.contains {
        $0.hasPrefix("Programs in it see 2.00 cores, the limit of its own cgroup web;")
      })
    #expect(told.contains { $0.hasSuffix("the outer cgroup, /sys/fs/cgroup/docker/escra0.") })
    let one = exampleState { $0.oneGroup = "config.json names no absolute cgroupsPath" }
    #expect(explain(one).cpu.contains { $0.hasSuffix("names no absolute cgroupsPath.") })
  }

  @Test(arguments: [
    (
      excess: 300_000_000 as Int64, inForce: 1_800_010_000 as Int64,
      says: "Its pod has 1.80 cores: 1.50 of its own"
    ),
    (excess: 0, inForce: 1_500_000_000, says: "Its pod has 1.50 cores, and more if"),
  ])
  func `a pod's limit is what it was made with and what is held above`(
    excess: Int64, inForce: Int64, says: String
  ) {
    var explanation = explain(exampleState { $0.cpuParent = "/kubepods/pod1" })
    explanation.parent = ParentRegistry.Sight(
      found: 1_500_000_000, excess: excess, inForce: inForce)
    #expect(explanation.cpu.contains { $0.hasPrefix(says) })
  }

  @Test func `the whole story of a container at work`() {
    let entries = [entry(.start, 1, 1), entry(.idle, 1, 0.05)]
    let lines = explain(exampleState(), nil, entries).lines(
      last: 10, now: 1_795_248_060_000_000_000, offset: 0)
    #expect(
      lines == [
        "web runs as process 4711 under the policy reactive.",
        "Process 4712 supervises it.",
        "",
        "CPU",
        "  It declared 1.00 cores.",
        "  It gets at least 0.05 cores: io.escra.cpu.min, else the operator's floor.",
        "  It gets at most 2.00 cores: io.escra.cpu.max, else io.escra.app.cpu.",
        "  Its limit is 0.05 cores, and it uses 0.01.",
        "  The reason is the last decision: it has been idle for two seconds.",
        "  Demand is detected by a perf event when it wakes up, which costs nothing while it is idle. "
          + "While it is busy, its use is read every few milliseconds.",
        "",
        "Memory",
        "  It declared a memory limit of 512Mi.",
        "  Its limit is 512Mi now, and it uses 3Mi.",
        "  Its memory limit does not move, because no annotation asks for it.",
        "",
        "Decisions, the newest last",
        "  08:00:00.123  found 1.00 cores: a supervisor took the container over",
        "  08:00:00.123  lowered 1.00 -> 0.05 cores: it has been idle for two seconds (used 0.00)",
      ])
  }

  @Test(
    arguments: [
      (nil, "512Mi: what it declared; io.escra.memory.max can allow more."),
      (1 << 30, "1Gi: io.escra.memory.max, else io.escra.app.memory."),
    ] as [(Int64?, String)])
  func `a memory limit that moves has bounds and a reason`(asked: Int64?, bound: String) {
    let state = exampleState {
      $0.memory = MemoryBase(
        declared: 512 << 20, floor: 16 << 20, explicitCeiling: asked, limit: 4 << 30)
    }
    let grown = memoryEntry(.memoryGrown, 64, 80, used: 57)
    let lines = explain(state, nil, [grown, entry(.idle, 1, 0.05)]).memory
    #expect(
      lines.dropFirst(2) == [
        "It gets at least 16Mi: io.escra.memory.min, else the operator's floor.",
        "It gets at most " + bound, "The last decision: \(grown.sentence).",
      ])
  }

  @Test(
    arguments: [
      (
        nil, nil,
        "0.60 cores: the limit of the application \"shop\"; escra app show has its members."
      ),
      (500_000_000, nil, "0.50 cores: io.escra.cpu.max."),
      (nil, 0.4, "0.40 cores: a cgroup above its own has no more."),
      (
        nil, 0.7,
        "0.60 cores: the limit of the application \"shop\"; escra app show has its members."
      ),
    ] as [(Int64?, Double?, String)])
  func `a member gets no more than its application has`(
    asked: Int64?, above: Double?, sentence: String
  ) {
    let state = exampleState {
      $0.app = "shop"
      $0.membership = ApplicationMembership(
        application: "shop", user: 0, root: "/r", namespace: nil, priority: 0, cpu: nil, memory: nil
      )
      $0.base.explicitCeiling = asked ?? 4_000_000_000
      $0.memory = MemoryBase(
        declared: 64 << 20, floor: 16 << 20, explicitCeiling: 4 << 30, limit: 4 << 30)
    }
    var explanation = explain(
      state,
      exampleReport(state) {
        $0.applicationCPU = 600_000_000
        $0.applicationMemory = 128 << 20
      }, limitAbove: above)
    #expect(explanation.cpu.contains("It gets at most " + sentence))
    #expect(
      explanation.memory.contains(
        "It gets at most 128Mi: the limit of the application \"shop\"; escra app show has its members."
      ))
    #expect(explanation.memoryBounds == MemoryBounds(floor: 16 << 20, ceiling: 128 << 20))
    explanation.memoryAbove = 96 << 20
    #expect(
      explanation.memory.contains(
        "It gets at most 96Mi: a cgroup above its own has no more."))
    #expect(explanation.json(last: 0).text.contains("\"ceiling\": \(96 << 20)"))
  }

  @Test func `a member's memory is bounded by what its application has`() {
    let state = exampleState {
      $0.app = "shop"
      $0.membership = ApplicationMembership(
        application: "shop", user: 0, root: "/r", namespace: nil, priority: 0, cpu: nil, memory: nil
      )
      $0.memory = MemoryBase(
        declared: nil, floor: 16 << 20, explicitCeiling: nil, limit: 4 << 30)
    }
    #expect(
      explain(state).memory.contains(
        "It gets at most 4Gi: io.escra.memory.max, else the limit of the application "
          + "\"shop\"; escra app show has its members."))
  }

  @Test func `where no memory is declared nothing is held to what was`() {
    let state = exampleState {
      $0.memory = MemoryBase(
        declared: nil, floor: 16 << 20, explicitCeiling: nil, limit: 4 << 30)
    }
    #expect(
      explain(state).memory.contains(
        "It gets at most 4Gi: the operator's ceiling, else the machine's memory."))
  }

  @Test func `of a released container only what is so is told`() {
    let state = exampleState {
      $0.memory = MemoryBase(
        declared: 512 << 20, floor: 16 << 20, explicitCeiling: nil, limit: 4 << 30)
    }
    let report = exampleReport(state) {
      $0.supervisor = nil
      $0.isReleased = true
      $0.source = nil
      $0.cpu.limit = .at(1)
      $0.counters = CPUController.Counters()
    }
    let grown = memoryEntry(.memoryGrown, 64, 80, used: 57)
    let told = explain(state, report, [entry(.idle, 1, 0.05), grown])
    #expect(
      told.cpu.prefix(2) == [
        "It declared 1.00 cores.",
        "Its limit is 1.00 cores, and it uses 0.01.",
      ])
    #expect(told.cpu.count == 3 && told.cpu.last?.hasPrefix("Since it began: ") == true)
    #expect(
      told.memory == [
        "It declared a memory limit of 512Mi.", "Its limit is 512Mi now, and it uses 3Mi.",
      ])
  }

  @Test(arguments: [
    ("bpf", "BPF program"), ("events, sampling", "memory.high is crossed"),
    ("thresholds", "thresholds"),
  ])
  func `where its memory is heard of is told`(source: String, words: String) {
    let state = exampleState {
      $0.memory = MemoryBase(
        declared: 512 << 20, floor: 16 << 20, explicitCeiling: nil, limit: 4 << 30)
      $0.memorySource = source
    }
    #expect(explain(state).memory.last?.contains(words) == true)
    #expect(explain(exampleState()).memory.last?.contains(words) == false)
  }

  @Test(
    arguments: [
      (2_000_000_000, 4_000_000_000, nil, "2.00 cores: io.escra.cpu.max, else io.escra.app.cpu."),
      (nil, 4_000_000_000, nil, "1.00 cores: what it declared; io.escra.cpu.max can allow more."),
      (3_000_000_000, 2_500_000_000, nil, "2.50 cores: the operator's ceiling."),
      (9_000_000_000, 4_000_000_000, nil, "4.00 cores: all of the machine's CPUs."),
      (2_000_000_000, 4_000_000_000, 1.5, "1.50 cores: a cgroup above its own has no more."),
      (2_000_000_000, 4_000_000_000, 3.0, "2.00 cores: io.escra.cpu.max, else io.escra.app.cpu."),
    ] as [(Int64?, Int64, Double?, String)])
  func `each ceiling has an origin`(
    asked: Int64?, limit: Int64, above: Double?, sentence: String
  ) {
    let state = exampleState {
      $0.base.explicitCeiling = asked
      $0.base.limit = limit
    }
    #expect(
      explain(state, limitAbove: above).cpu.contains("It gets at most " + sentence))
  }

  @Test func `nothing declared is all there is`() {
    let state = exampleState {
      $0.base.declared.quota = nil
      $0.base.explicitCeiling = nil
    }
    let cpu = explain(state).cpu
    #expect(cpu[0] == "It declared no CPU limit.")
    #expect(cpu.contains("It gets at most 4.00 cores: all of the machine's CPUs."))
  }

  @Test func `without an alarm the floor is higher, and that is said`() {
    let cpu = explain(exampleState { $0.source = "sampling" }).cpu
    #expect(
      cpu.contains(
        "It gets at least 0.50 cores: half of what it declared, because no event "
          + "reports that it wakes up."))
    #expect(
      cpu.last?.utf8.starts(with: "Demand is detected by reading its use 20 times".utf8) == true)
  }

  @Test func `a container that is not found yet has no alarm to miss`() {
    let state = exampleState {
      $0.source = nil
      $0.phase = .starting
      $0.initProcess = nil
    }
    let explanation = explain(state, ContainerReport(state), [])
    #expect(
      explanation.heading[0] == "web is starting under the policy reactive.")
    #expect(explanation.bounds.floor == 0.05)
    #expect(
      explanation.cpu.last
        == "No supervisor has found its cgroup yet.")
    #expect(explanation.lines(last: 10, now: 0, offset: 0).last == "No decision yet")
  }

  @Test func `under observe it says what would be`() {
    let state = exampleState { $0.policy = .observe }
    #expect(explain(state).cpu.contains { $0.hasPrefix("It would get at least 0.05 cores") })
    #expect(explain(state).cpu.contains { $0.hasPrefix("It would get at most 2.00 cores") })
    #expect(
      explain(state).cpu.contains(
        "Under observe nothing is written; the limit would be 0.05 cores: it has been idle for "
          + "two seconds."))
  }

  @Test func `a limit that nobody decided is not explained by a decision`() {
    let report = exampleReport { $0.cpu.limit = .at(0.7) }
    #expect(
      explain(exampleState(), report).cpu.contains(
        "The last decision was 0.05 cores: another process has just written the limit, or an update "
          + "is in progress."))
  }

  @Test func `a dead supervisor is told, and an ended container needs none`() {
    let orphan = exampleReport { $0.supervisor = nil }
    #expect(
      explain(exampleState(), orphan).heading.last
        == "Its supervisor is dead: the limit stays as it is until the keeper, or the next call "
        + "for this container, starts one.")
    let ended = exampleReport {
      $0.supervisor = nil
      $0.phase = "ended"
    }
    #expect(
      explain(exampleState(), ended).heading == [
        "web has ended; its policy was reactive.",
        "Its supervisor has ended, too.",
      ])
  }

  @Test func `only the last decisions are told`() {
    let entries = (1...5).map { entry(.update, 1, Double($0)) }
    let explanation = explain(exampleState(), nil, entries)
    let lines = explanation.lines(last: 2, now: 0, offset: 0)
    #expect(lines.suffix(3).first == "Decisions, the newest last")
    #expect(lines.last?.contains("-> 5.00 cores") == true)
    #expect(!explanation.lines(last: 0, now: 0, offset: 0).contains("Decisions, the newest last"))
  }

  @Test func `for programs there is the same and the decisions' figures`() {
    let json = explain().json(last: 10).text
    for part in [
      "\"id\": \"web\"", "\"floor\": 0.05", "\"ceiling\": 2", "\"hasAlarm\": true",
      "\"rule\": \"idle\"", "\"applied\": true", "\"before\": 1", "\"after\": 0.05",
      "\"timeNanoseconds\": 1795248000123456789",
    ] { #expect(json.contains(part), "\(part)") }
  }
}
