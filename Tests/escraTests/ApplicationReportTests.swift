// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Application
@testable import escra

private func report(_ change: (inout ApplicationReport) -> Void = { _ in }) -> ApplicationReport {
  let record = MemberRecord(
    nonce: 1,
    cpu: MemberRecord.Share(
      held: 300_000_000, declared: 500_000_000, floor: 50_000_000, ceiling: 2_000_000_000))
  var report = ApplicationReport(
    name: "shop", namespace: nil, root: "/run/runc", room: "0123456789abcdef", broker: 4711,
    cpu: ApplicationMessage.Figures(
      limit: 500_000_000, inForce: 500_000_000, charged: 300_000_000, members: 1, waiting: 0),
    memory: nil, members: [ApplicationReport.Member(id: "web", priority: 3, record: record)])
  change(&report)
  return report
}

@Suite struct ApplicationReportTests {
  @Test func `an application is told in sentences and a table of its members`() {
    #expect(
      report().lines() == [
        "shop has 1 member.", "CPU: the limit is 0.50; 0.30 are granted.",
        "Process 4711 is the broker.", "",
        "NAME  ID   PRIORITY  CPU DECLARED  CPU GRANTED  MEM DECLARED  MEM GRANTED",
        "web   web         3          0.50         0.30             -            -",
      ])
  }

  @Test func `a limit that is on its way down is told with what holds until then`() {
    let lines = report {
      $0.cpu?.limit = 100_000_000
      $0.cpu?.waiting = 2
      $0.broker = nil
    }.lines()
    #expect(
      lines[1] == "CPU: the limit is 0.50, and shall be 0.10; 0.30 are granted, "
        + "and 2 members could use more.")
    #expect(lines[2].hasPrefix("There is no broker at the moment"))
  }

  @Test func `what could not be recalled is told`() {
    let figures = ApplicationMessage.Figures(
      limit: 100_000_000, inForce: 300_000_000, charged: 300_000_000, members: 1, waiting: 0)
    #expect(
      AppSetCommand.sentence("shop", .cpu, figures)
        == "shop: 0.10 cores as soon as its members have lowered their limits; 0.20 cores could not "
        + "be recalled within one second, and 0.30 cores holds until then")
  }

  @Test(arguments: [
    (2_000_000_000 as Int64, "as this machine has no more"),
    (4_000_000_000, "as the operator's ceiling allows no more"),
  ])
  func `a limit that is less than what was asked for is told with the reason`(
    machine: Int64, reason: String
  ) {
    let figures = ApplicationMessage.Figures(
      limit: 2_000_000_000, inForce: 2_000_000_000, charged: 0, members: 1, waiting: 0)
    #expect(
      AppSetCommand.sentence("shop", .cpu, figures, asked: 100_000_000_000, machine: machine)
        == "shop: 2.00 cores, not the 100.00 cores asked for, \(reason), from now on")
    #expect(
      AppSetCommand.sentence("shop", .cpu, figures, asked: 2_000_000_000, machine: machine)
        == "shop: 2.00 cores from now on")
  }

  @Test func `what was set before a refusal is told beside it`() {
    let figures = ApplicationMessage.Figures(
      limit: 800_000_000, inForce: 800_000_000, charged: 300_000_000, members: 1, waiting: 0)
    let limits: [(SharedResource, Int64)] = [(.cpu, 800_000_000), (.memory, 1 << 20)]
    let (outcomes, complaint) = AppSetCommand.set(limits, of: "shop") { resource, _ in
      resource == .cpu ? .figures(figures) : .refuse(.minima, figure: 32 << 20)
    }
    #expect(outcomes.map(\.0) == [.cpu] && outcomes.map(\.1) == [figures])
    #expect(
      complaint?.description
        == "shop cannot have 1Mi of memory: its members need 32Mi of memory at least")
  }

  @Test func `nothing is asked for after a refusal`() {
    var asked: [SharedResource] = []
    let limits: [(SharedResource, Int64)] = [(.cpu, 1), (.memory, 1 << 20)]
    let (outcomes, complaint) = AppSetCommand.set(limits, of: "shop") { resource, _ in
      asked.append(resource)
      return nil
    }
    #expect(outcomes.isEmpty && asked == [.cpu])
    #expect(complaint?.description.contains("does not answer") == true)
  }

  @Test func `members need the sum of their minima`() {
    let two = report { $0.members += $0.members }
    #expect(two.least(of: .cpu) == 100_000_000 && two.least(of: .memory) == 0)
  }

  @Test func `one of several applications of a name is found by its directory or namespace`()
    throws
  {
    let other = report {
      $0.namespace = "other"
      $0.room = "fedcba9876543210"
    }
    let all = [report(), other]
    #expect(try choose(application: "fedcba9876543210", namespace: nil, among: all) == other)
    #expect(try choose(application: "shop", namespace: "other", among: all) == other)
    #expect(throws: Complaint.self) {
      try choose(application: "shop", namespace: nil, among: all)
    }
    #expect(throws: Complaint.self) {
      try choose(application: "shap", namespace: nil, among: all)
    }
  }
}
