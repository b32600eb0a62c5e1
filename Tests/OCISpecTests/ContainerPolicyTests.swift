// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import OCISpec
@testable import Quantities

@Suite struct ContainerPolicyTests {
  @Test func `a container that asks for nothing stays as it is`() throws {
    let policy = try resolve([:])
    #expect(policy.name == .standard)
    #expect(!policy.memoryIsManaged)
  }

  @Test(
    arguments: [
      ("strict", PolicyName.observe, PolicyName.reactive, PolicyName.strict),
      (nil, .observe, .reactive, .observe),
      (nil, nil, .reactive, .reactive),
      (nil, nil, nil, .standard),
      ("standard", .observe, .reactive, .standard),
      (nil, .standard, .reactive, .standard),
    ] as [(String?, PolicyName?, PolicyName?, PolicyName)])
  func `the annotation wins over the invocation, and that over the config`(
    annotation: String?, invocation: PolicyName?, configured: PolicyName?, expected: PolicyName
  ) throws {
    var config = OperatorConfig()
    config.defaultPolicy = configured
    let annotations: Annotated = annotation.map { ["policy": $0] } ?? [:]
    let policy = try resolve(annotations, config: config, invocationDefault: invocation)
    #expect(policy.name == expected)
  }

  @Test(arguments: [
    "escra-runc", "/usr/bin/escra-runc", "runc", "", "/", "escra-runc-1.2.reactive", "escra",
    "/opt/escra-runc.strict/escra-runc",
  ])
  func `a plain program name selects nothing`(name: String) throws {
    #expect(try PolicyName(programName: name) == nil)
  }

  @Test(arguments: PolicyName.allCases)
  func `a program name selects the policy behind its point`(policy: PolicyName) throws {
    #expect(try PolicyName(programName: "escra-runc.\(policy.rawValue)") == policy)
    #expect(try PolicyName(programName: "/usr/bin/escra-runc.\(policy.rawValue)") == policy)
  }

  // Bounds: annotations, declared millicores, what comes of them.
  @Test(
    arguments: [
      ([:], 1000, 50, 1000),
      ([:], nil, 50, 8000),
      ([:], 20, 20, 20),
      ([:], 16_000, 50, 8000),
      (["cpu.max": "2"], 1000, 50, 2000),
      (["cpu.max": "500m"], 1000, 50, 500),
      (["cpu.max": "2", "app.cpu": "4"], 1000, 50, 2000),
      (["cpu.max": "4", "app.cpu": "2"], 1000, 50, 2000),
      (["app.cpu": "4"], 1000, 50, 4000),
      (["cpu.max": "100"], 1000, 50, 8000),
      (["cpu.min": "10m"], 1000, 10, 1000),
      (["cpu.min": "1m"], 1000, 1, 1000),
      (["cpu.min": "1"], 1000, 1000, 1000),
      (["cpu.min": "2", "cpu.max": "3"], 1000, 2000, 3000),
      (["cpu.min": "8", "cpu.max": "30"], 1000, 8000, 8000),
      (["cpu.min": "2", "app": "shop"], 1000, 1000, 1000),
      (["cpu.min": "8"], nil, 8000, 8000),
    ] as [(Annotated, Int64?, Int64, Int64)])
  func `the CPU limit moves between floor and ceiling`(
    annotations: Annotated, declared: Int64?, floor: Int64, ceiling: Int64
  ) throws {
    let declared = declared.map { CPUAmount(millicores: $0) }
    let policy = try resolve(annotations, cpu: declared, invocationDefault: .reactive)
    #expect(
      policy.cpu
        == Bounds(
          floor: CPUAmount(millicores: floor), ceiling: CPUAmount(millicores: ceiling),
          declared: declared))
  }

  @Test(
    arguments: [
      ([:], 1 << 30, 16 << 20, 1 << 30, false),
      (["cpu.max": "2"], 1 << 30, 16 << 20, 1 << 30, false),
      (["app": "shop"], 1 << 30, 16 << 20, 1 << 30, true),
      (["app.memory": "2Gi"], 1 << 30, 16 << 20, 2 << 30, true),
      (["memory.max": "512Mi"], 1 << 30, 16 << 20, 512 << 20, true),
      (["memory.min": "1M"], 1 << 30, 1_003_520, 1 << 30, true),
      (["memory.max": "1"], 1 << 30, 4096, 4096, true),
      (["memory.max": "32Gi"], nil, 16 << 20, 16 << 30, true),
      ([:], nil, 16 << 20, 16 << 30, false),
    ] as [(Annotated, Int64?, Int64, Int64, Bool)])
  func `the memory limit moves between floor and ceiling, where something asks for it`(
    annotations: Annotated, declared: Int64?, floor: Int64, ceiling: Int64, isManaged: Bool
  ) throws {
    let policy = try resolve(annotations, memory: declared, invocationDefault: .reactive)
    #expect(policy.memory == Bounds(floor: floor, ceiling: ceiling, declared: declared))
    #expect(policy.memoryIsManaged == isManaged)
  }

  @Test func `the operator's ceiling caps what is declared and what is not`() throws {
    var config = OperatorConfig()
    config.ceiling.cpu = CPUAmount(millicores: 600)
    config.ceiling.memory = ByteQuantity(bytes: 256 << 20)
    config.floor.cpu = CPUAmount(millicores: 100)
    for cpu in [CPUAmount(millicores: 1000), nil] {
      let policy = try resolve([:], cpu: cpu, config: config, invocationDefault: .reactive)
      #expect(policy.cpu.floor == CPUAmount(millicores: 100))
      #expect(policy.cpu.ceiling == CPUAmount(millicores: 600))
      #expect(policy.memory.ceiling == 256 << 20)
    }
  }

  @Test func `an update finds what was asked for apart from what there is`() throws {
    var config = OperatorConfig()
    config.ceiling.cpu = CPUAmount(millicores: 3000)
    let declaredOnly = try resolve([:], config: config, invocationDefault: .reactive)
    #expect(declaredOnly.askedCPUCeiling == nil)
    #expect(declaredOnly.cpuLimit == CPUAmount(millicores: 3000))
    let asked = try resolve(["cpu.max": "2"], invocationDefault: .reactive)
    #expect(asked.askedCPUCeiling == CPUAmount(millicores: 2000))
    #expect(asked.cpuLimit == CPUAmount(millicores: 8000))
  }

  @Test func `carries the application, its limits, its scope and the priority`() throws {
    let policy = try resolve([
      "policy": "reactive", "app": "shop.eu-1", "app.cpu": "4", "app.memory": "1000",
      "priority": "-1000", "io.kubernetes.pod.namespace": "other",
      "io.kubernetes.cri.sandbox-namespace": "store",
    ])
    #expect(policy.app == "shop.eu-1")
    #expect(policy.appCPU == CPUAmount(millicores: 4000))
    #expect(policy.appMemory == 4096)
    #expect(policy.scope == "store")
    #expect(policy.priority == -1000)
    #expect(policy.law == .headroom)
  }

  @Test func `the pod's namespace is the scope where the sandbox's is not said`() throws {
    #expect(try resolve(["io.kubernetes.pod.namespace": "store"]).scope == "store")
    #expect(try resolve([:]).scope == nil)
  }

  @Test(
    arguments: [
      ["memory.min": "32Mi"], ["memory.max": "512Mi"], ["priority": "5"],
    ] as [Annotated])
  func `strict takes what does not touch its CPUs`(annotations: Annotated) throws {
    let policy = try resolve(annotations, invocationDefault: .strict)
    #expect(policy.name == .strict)
    #expect(policy.memoryIsManaged == (policy.priority == 0))
  }
}
