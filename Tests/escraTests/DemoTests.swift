// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import escra

@Suite struct DemoTests {
  @Test func `bursts need more than is declared, and the whole does not`() {
    let requests = DemoLoad.requests(seconds: 10)
    func cores(_ from: Int64, _ to: Int64) -> Double {
      let work = requests.filter { $0.arrival >= from * 1_000_000_000 }
        .filter { $0.arrival < to * 1_000_000_000 }.reduce(0) { $0 + $1.work }
      return Double(work) / Double(to - from) / 1e9
    }
    #expect(cores(2, 3) > DemoLoad.declared && cores(2, 3) < DemoLoad.most)
    #expect(cores(6, 7) > DemoLoad.declared && cores(4, 6) < DemoLoad.declared / 2)
    #expect(cores(0, 10) < DemoLoad.declared)
    #expect(requests.map(\.arrival) == requests.map(\.arrival).sorted())
  }

  @Test(arguments: [(99, 99), (50, 50), (100, 100), (1, 1)])
  func `a percentile is one of the latencies`(percent: Int, latency: Int64) {
    #expect(DemoLoad.percentile(percent, of: Array((1...100).reversed())) == latency)
    #expect(DemoLoad.percentile(percent, of: [7]) == 7)
    #expect(DemoLoad.percentile(percent, of: []) == nil)
  }

  @Test(arguments: [
    ("some avg10=9.99 avg60=50.00 avg300=1.00 total=1\nfull avg10=99.00\n", 2, false),
    ("some avg10=10.00 avg60=0.00 avg300=0.00 total=1\n", 2, true), ("", 2, false),
    ("", 1, true),
  ])
  func `a machine is busy by the kernel's figure`(pressure: String, cpus: Int, isBusy: Bool) {
    #expect((DemoCommand.busy(pressure: pressure, cpus: cpus) != nil) == isBusy)
  }
}
