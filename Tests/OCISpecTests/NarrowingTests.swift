// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import OCISpec
@testable import Quantities

@Suite struct NarrowingTests {
  static let names = ["io.kubernetes.cri.container-name", "io.kubernetes.container.name"]

  @Test(arguments: names)
  func `a key for one container wins there, wherever it stands`(nameKey: String) throws {
    let before = try resolve([
      "policy": "observe", "cpu.max/web": "3", "cpu.max": "2", nameKey: "web",
    ])
    #expect(before.cpu.ceiling == CPUAmount(millicores: 3000))
    let after = try resolve([
      nameKey: "web", "policy": "observe", "policy/web": "reactive", "priority": "1",
      "priority/web": "2",
    ])
    #expect(after.name == .reactive)
    #expect(after.priority == 2)
  }

  @Test(arguments: names)
  func `a key for another container is ignored, whatever its value`(nameKey: String) throws {
    let policy = try resolve([
      "policy": "reactive", "policy/web": "nonsense", "cpu.max/web": "-1", "priority/": "9",
      "cpu.max/web/x": "1", nameKey: "db",
    ])
    #expect(policy.name == .reactive)
    #expect(policy.cpu.ceiling == CPUAmount(millicores: 1000))
  }

  @Test(
    arguments: [
      ["policy/web": "reactive"], ["policy": "reactive", "policy/web": "observe"],
      ["policy": "reactive", "cpu.max": "2", "cpu.max/web": "1"],
      ["policy": "reactive", "priority/": "1"],
      ["policy": "reactive", "policy/web": "observe", "io.kubernetes.cri.container-name": ""],
    ] as [Annotated])
  func `keys for one container are an error where no name is known`(keys: Annotated) throws {
    let error = #expect(throws: PolicyError.self) { try resolve(keys) }
    #expect(error?.description.contains("the engine gives this container no name") == true)
  }

  @Test func `a container that is standard by its own word needs no name`() throws {
    #expect(try resolve(["policy": "standard", "policy/web": "reactive"]).name == .standard)
  }

  @Test func `containerd's name counts where both are given`() throws {
    let policy = try resolve([
      "policy/web": "reactive", "policy/db": "observe", "io.kubernetes.container.name": "db",
      "io.kubernetes.cri.container-name": "web",
    ])
    #expect(policy.name == .reactive)
  }

  @Test func `the last of a key that comes twice wins`() throws {
    #expect(try resolve(["policy": "nonsense", "policy": "reactive"]).name == .reactive)
  }

  @Test(arguments: ["io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType"])
  func `a pod's sandbox stays as it is, whatever is asked for`(typeKey: String) throws {
    var config = OperatorConfig()
    config.defaultPolicy = .reactive
    config.allowedPolicies = [.reactive]
    let policy = try resolve(
      ["policy": "nonsense", "polcy": "x", "app/web": "shop", "cpu.max": "-1", typeKey: "sandbox"],
      config: config, invocationDefault: .strict)
    #expect(policy.name == .standard)
    #expect(!policy.memoryIsManaged)
    #expect(try resolve([typeKey: "container"], config: config).name == .reactive)
  }

  @Test func `keys of a container that is standard by its own word are ignored`() throws {
    let keys: Annotated = [
      "policy": "reactive", "policy/web": "standard", "app": "Nonsense", "cpu.max": "-1",
      "polcy": "x", "io.kubernetes.cri.container-name": "web",
    ]
    let policy = try resolve(keys, invocationDefault: .reactive)
    #expect(policy.name == .standard)
    #expect(policy.app == nil)
  }

  @Test func `keys that only look like ours are somebody else's`() throws {
    let policy = try ContainerPolicy.resolve(
      annotations: [("io.escra", "x"), ("io.escrap.policy", "x"), ("xio.escra.policy", "x")],
      declared: DeclaredLimits(cpu: nil, memory: nil), config: OperatorConfig(),
      node: NodeCapacity(millicores: 1000, memory: 1 << 30), invocationDefault: nil)
    #expect(policy.name == .standard)
  }
}
