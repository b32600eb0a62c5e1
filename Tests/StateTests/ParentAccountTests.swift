// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Cgroups
@testable import Control

private func cpu(_ quota: Int64?, _ period: Int64 = 100_000) -> ParentValue {
  ParentValue(quota, scale: period)
}

private func account(_ found: ParentValue, _ holds: ParentAccount.Hold...) -> ParentAccount {
  var account = ParentAccount(found: found)
  account.holds = holds
  return account
}

private func hold(_ nonce: UInt64, _ excess: Int64 = 0) -> ParentAccount.Hold {
  ParentAccount.Hold(nonce: nonce, excess: excess)
}

@Suite struct ParentAccountTests {
  @Test(arguments: [
    // What nobody holds anything above stays as it was found, whatever the period.
    (found: cpu(50_000), excess: [], target: cpu(50_000)),
    (found: cpu(50_000), excess: [0, 0], target: cpu(50_000)),
    (found: cpu(33_333, 77_777), excess: [0], target: cpu(33_333, 77_777)),
    // Nanocores above; a whole thousandth of a CPU is a kubelet's to write, and never ours.
    (found: cpu(50_000), excess: [300_000_000], target: cpu(80_001)),
    (found: cpu(50_000), excess: [100_000_000, 200_000_000], target: cpu(80_001)),
    (found: cpu(50_000), excess: [1], target: cpu(50_001)),
    (found: cpu(25_000, 50_000), excess: [500_000_000], target: cpu(50_001, 50_000)),
    // No limit needs no more.
    (found: cpu(nil), excess: [300_000_000], target: cpu(nil)),
    // Nothing overflows.
    (found: cpu(.max / 2), excess: [.max, .max], target: cpu(922_337_203_685_478)),
  ])
  func `a pod has what was found and what its containers hold above theirs`(
    found: ParentValue, excess: [Int64], target: ParentValue
  ) {
    var account = ParentAccount(found: found)
    account.holds = excess.enumerated().map { hold(UInt64($0.offset + 1), $0.element) }
    #expect(account.target == target)
  }

  @Test func `memory is raised in whole pages, and never to what a kubelet would write`() {
    let mib: Int64 = 1 << 20
    let found = ParentValue(64 * mib, scale: ParentValue.bytes)
    #expect(account(found, hold(1, 0)).target == found)
    for excess: Int64 in [1, 4096, mib, 17 * mib + 5, 1 << 40] {
      let value = account(found, hold(1, excess)).target.value ?? 0
      #expect(value >= 64 * mib + excess && value <= 64 * mib + excess + (128 << 10))
      #expect(value % (64 << 10) == 0 && value % mib != 0)
    }
  }

  @Test func `who has left holds nothing`() {
    let left = account(cpu(50_000), hold(0, 700_000_000), hold(2, 100_000_000))
    #expect(left.target == cpu(60_001))
    #expect(!left.isUnused)
    #expect(account(cpu(50_000), hold(0, 700_000_000)).isUnused)
  }

  // MARK: who wrote it

  @Test func `what a kubelet writes is what it wants from then on`() {
    var made = account(cpu(50_000), hold(1, 300_000_000))
    (made.written, made.writing) = (80_001, 80_001)
    // Ours, what is about to be ours, and the old value, which a service manager repeats.
    for own: Int64 in [80_001, 50_000] {
      let isNews = made.see(cpu(own))
      #expect(!isNews && made.found == cpu(50_000))
    }
    var isNews = made.see(cpu(100_000))
    #expect(isNews && made.found == cpu(100_000))
    #expect(made.target == cpu(130_001))
    // And what was ours is not any more.
    isNews = made.see(cpu(80_001))
    #expect(isNews && made.found == cpu(80_001))
    isNews = made.see(cpu(nil))
    #expect(isNews && made.target == cpu(nil))
  }

  @Test func `a value that was about to be written is ours, written or not`() {
    for kernel: Int64 in [60_001, 70_001] {
      var made = account(cpu(50_000), hold(1, 200_000_000))
      (made.written, made.writing) = (60_001, 70_001)
      let isNews = made.see(cpu(kernel))
      #expect(!isNews && made.found == cpu(50_000))
    }
  }

  @Test func `another period comes before its quota, and does not make ours the maker's`() {
    var made = account(cpu(50_000), hold(1, 300_000_000))
    (made.written, made.writing) = (80_001, 80_001)
    var isNews = made.see(cpu(80_001, 50_000))
    #expect(isNews && made.found == cpu(50_000, 50_000))
    isNews = made.see(cpu(25_000, 50_000))
    #expect(isNews && made.found == cpu(25_000, 50_000))
    #expect(made.target == cpu(40_001, 50_000))
  }

  // MARK: pods

  @Test(arguments: [
    ("/sys/fs/cgroup/cpu/kubepods/burstable/pod1234-ab", true),
    ("/sys/fs/cgroup/cpu/kubepods/pod1234-ab", true),
    ("/sys/fs/cgroup/nodes/kubepods/besteffort/pod1234-ab", true),
    (
      "/sys/fs/cgroup/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod12_ab.slice",
      true
    ),
    ("/sys/fs/cgroup/kubepods.slice/kubepods-pod12_ab.slice", true),
    ("/sys/fs/cgroup/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod12_ab.slice", true),
    // Above a pod, in one, and what only looks so.
    ("/sys/fs/cgroup/cpu/kubepods/burstable", false), ("/sys/fs/cgroup/cpu/kubepods", false),
    ("/sys/fs/cgroup/cpu/kubepods/burstable/pod1234-ab/0123", false),
    ("/sys/fs/cgroup/kubepods.slice/kubepods-burstable.slice", false),
    ("/sys/fs/cgroup/cpu/docker/pod1234-ab", false), ("/sys/fs/cgroup/cpu/pods", false),
    ("/sys/fs/cgroup/machine.slice/machine-pod12.slice", false), ("/pod1", false), ("", false),
  ])
  func `a pod's group is known by where a kubelet puts it`(path: String, isPod: Bool) {
    #expect(CgroupLocation.isPod(path) == isPod)
  }
}
