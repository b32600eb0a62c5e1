import Syscalls
import Testing
@testable import LiveLimits
@Suite struct DebugBound {
  @Test func `debug`() {
    let ms: Nanoseconds = 1_000_000
    for load in Load.allCases {
      var laws: [(String, ControlLaw.Parameters?)] = [("static", nil), ("escra", .escra(.published))]
      for w in [1, 2, 3, 5, 10] {
        var p = HeadroomLaw.Parameters.standard
        p.window = w
        p.idleAfter = Nanoseconds(w) * 100 * ms
        laws.append(("h\(w)", .headroom(p)))
      }
      for (name, law) in laws {
        for hook in [LawSimulation.Hook.none, .seeing] {
          var s = LawSimulation(law, quota: 50 * ms, floor: 5 * ms, ceiling: 200 * ms, phase: 37 * ms)
          s.hook = hook
          s.run(30_000 * ms) { now, backlog in
            let w = load.work(at: now)
            backlog[0] += w[0]; backlog[1] += w[1]
          }
          print("DBG", load, name, hook, "thr", s.kernel.throttled / ms, "slack", s.slack / ms, "w", s.writes.count, "r", s.readings, s.controller.map { "\($0.counters.predictions)/\($0.counters.throttles)/\($0.counters.raises)" } ?? "", "left", s.backlog.reduce(0,+)/ms)
        }
      }
    }
  }
}
