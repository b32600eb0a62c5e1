// SPDX-License-Identifier: Apache-2.0
internal import CBPF
package import Syscalls

/// One of the programs that ``SchedulerHooks`` are made of, to see whether a kernel takes it.
package struct SchedulerProgram: Sendable {
  /// What it is attached to: "tp_btf/sched_wakeup".
  package let name: String
  private let number: Int32

  /// All there are: the one that predicts first, the nets behind it, the one that minds memory last.
  package static let all = (0..<Int32(ESCRA_HOOK_PROGRAMS)).map {
    SchedulerProgram(name: String(cString: escra_hooks_name($0)), number: $0)
  }

  /// Whether it is the one that predicts.
  package var predicts: Bool { number == 0 }

  /// Whether it minds memory: only cgroup v2 has a line to come near to.
  package var mindsMemory: Bool { number == Int32(ESCRA_HOOK_PROGRAMS) - 1 }

  /// Loads and attaches it for a moment, beside what runs already.
  ///
  /// - Throws: ``SystemError`` with what the kernel says: EPERM without CAP_BPF and CAP_PERFMON or
  ///   where it refuses the kind, ESRCH for a function that it does not have.
  package func attempt() throws(SystemError) {
    try retrying("attach", name) { escra_hooks_try(number) }
  }
}
