// SPDX-License-Identifier: Apache-2.0
import TestValues
import Testing

@testable import OCISpec
@testable import Quantities

private let cores = "write cores such as 2, 0.5 or 500m"
private let bytes = "write bytes such as 512Mi, 1.5Gi, 100M or 1048576"
private let policies = "write standard, strict, reactive or observe"
private let appName =
  "is no application name; write 1 to 63 of a-z, 0-9, - and ., with a letter or a digit at both ends"
private let integer = "write an integer from -1000 to 1000"
private let a64 = String(repeating: "a", count: 64)
private let a254 = String(repeating: "a", count: 254)

/// Every sentence there is about annotations, beside what brings it up.
enum AnnotationTables {
  static let badPolicies: [(Annotated, String)] = [
    (["policy": ""], #"io.escra.policy "" is no policy; \#(policies)"#),
    (["policy": "Reactive"], #"io.escra.policy "Reactive" is no policy; \#(policies)"#),
    (["policy": "reactive "], #"io.escra.policy "reactive\u{20}" is no policy; \#(policies)"#),
    (["policy": "true"], #"io.escra.policy "true" is no policy; \#(policies)"#),
    (["policy": "a\"\n"], #"io.escra.policy "a\"\u{a}" is no policy; \#(policies)"#),
    (
      ["policy": "no such file or directory"],
      #"io.escra.policy "no\u{20}such\u{20}file\u{20}or\u{20}directory" is no policy; \#(policies)"#
    ),
    (["policy": a254], #"io.escra.policy "\#(a64)..." is 254 bytes long; write at most 253"#),
  ]

  static let badValues: [(Annotated, String)] = [
    (["app": ""], #"io.escra.app "" \#(appName)"#),
    (["app": "Shop"], #"io.escra.app "Shop" \#(appName)"#),
    (["app": "-shop"], #"io.escra.app "-shop" \#(appName)"#),
    (["app": "shop."], #"io.escra.app "shop." \#(appName)"#),
    (["app": "../../etc"], #"io.escra.app "../../etc" \#(appName)"#),
    (["app": "a_b"], #"io.escra.app "a_b" \#(appName)"#),
    (["app": "bücher"], #"io.escra.app "b\u{fc}cher" \#(appName)"#),
    (["app": a64], #"io.escra.app "\#(a64)" \#(appName)"#),
    (["app": a254], #"io.escra.app "\#(a64)..." is 254 bytes long; write at most 253"#),

    (["app.cpu": ""], #"io.escra.app.cpu "" is empty; \#(cores)"#),
    (["app.cpu": "-2"], #"io.escra.app.cpu "-2" is negative; \#(cores)"#),
    (["app.cpu": "two"], #"io.escra.app.cpu "two" is no quantity; \#(cores)"#),
    (
      ["app.cpu": "9m"],
      #"io.escra.app.cpu "9m" is below 10m, the least that the kernel enforces; \#(cores)"#
    ),
    (["cpu.min": "50%"], #"io.escra.cpu.min "50%" is no quantity; \#(cores)"#),
    (
      ["cpu.min": "0"],
      #"io.escra.cpu.min "0" is below 1m, the least that the kernel enforces; \#(cores)"#
    ),
    (
      ["cpu.min": "10.5m"],
      #"io.escra.cpu.min "10.5m" is finer than 1m, a thousandth of a core; \#(cores)"#
    ),
    (["cpu.max": "1e30"], #"io.escra.cpu.max "1e30" is too large; \#(cores)"#),
    (["cpu.max": "2 cores"], #"io.escra.cpu.max "2\u{20}cores" is no quantity; \#(cores)"#),
    (["cpu.max": "max 100000"], #"io.escra.cpu.max "max\u{20}100000" is no quantity; \#(cores)"#),
    (["cpu.max": a254], #"io.escra.cpu.max "\#(a64)..." is 254 bytes long; write at most 253"#),
    (
      ["cpu.max/web": "x", "io.kubernetes.cri.container-name": "web"],
      #"io.escra.cpu.max/web "x" is no quantity; \#(cores)"#
    ),

    (["app.memory": "1GB"], #"io.escra.app.memory "1GB" is no quantity; \#(bytes)"#),
    (
      ["app.scope": "Cluster", "app": "shop"],
      #"io.escra.app.scope "Cluster" is no scope of an application; write node or cluster"#
    ),
    (
      ["app.scope": "cluster"],
      #"io.escra.app.scope "cluster" has no effect without an application; add io.escra.app"#
    ),
    (["app.memory": "-1"], #"io.escra.app.memory "-1" is negative; \#(bytes)"#),
    (["memory.min": ""], #"io.escra.memory.min "" is empty; \#(bytes)"#),
    (["memory.min": "0"], #"io.escra.memory.min "0" is nothing at all; \#(bytes)"#),
    (["memory.min": "512m"], #"io.escra.memory.min "512m" is in parts of a byte; \#(bytes)"#),
    (["memory.max": "512mb"], #"io.escra.memory.max "512mb" is no quantity; \#(bytes)"#),
    (["memory.max": "8Ei"], #"io.escra.memory.max "8Ei" is too large; \#(bytes)"#),
    (["memory.max": "unlimited"], #"io.escra.memory.max "unlimited" is no quantity; \#(bytes)"#),

    (["priority": ""], #"io.escra.priority "" is no priority; \#(integer)"#),
    (["priority": "high"], #"io.escra.priority "high" is no priority; \#(integer)"#),
    (["priority": "1.5"], #"io.escra.priority "1.5" is no priority; \#(integer)"#),
    (["priority": "1001"], #"io.escra.priority "1001" is no priority; \#(integer)"#),
    (["priority": "-1001"], #"io.escra.priority "-1001" is no priority; \#(integer)"#),
    (
      ["priority": "99999999999999999999"],
      #"io.escra.priority "99999999999999999999" is no priority; \#(integer)"#
    ),
  ]

  static let badKeys: [(Annotated, String)] = [
    (["polcy": "x"], "unknown annotation io.escra.polcy; the nearest known one is io.escra.policy"),
    (
      ["poilcy": "x"],
      "unknown annotation io.escra.poilcy; the nearest known one is io.escra.policy"
    ),
    (
      ["Policy": "x"],
      "unknown annotation io.escra.Policy; the nearest known one is io.escra.policy"
    ),
    (
      ["cpu-max": "1"],
      "unknown annotation io.escra.cpu-max; the nearest known one is io.escra.cpu.max"
    ),
    (
      ["memory.limit": "1"],
      "unknown annotation io.escra.memory.limit; the nearest known one is io.escra.memory.min"
    ),
    (
      ["app.mem": "1"],
      "unknown annotation io.escra.app.mem; known are io.escra.policy, io.escra.app, "
        + "io.escra.app.cpu, io.escra.app.memory, io.escra.app.scope, io.escra.cpu.min, "
        + "io.escra.cpu.max, "
        + "io.escra.memory.min, io.escra.memory.max, io.escra.priority, io.escra.visible, "
        + "io.escra.profile and io.escra.record"
    ),
    (
      ["colour": "blue"],
      "unknown annotation io.escra.colour; known are io.escra.policy, io.escra.app, "
        + "io.escra.app.cpu, io.escra.app.memory, io.escra.app.scope, io.escra.cpu.min, "
        + "io.escra.cpu.max, "
        + "io.escra.memory.min, io.escra.memory.max, io.escra.priority, io.escra.visible, "
        + "io.escra.profile and io.escra.record"
    ),
    (
      ["polcy/web": "x"],
      "unknown annotation io.escra.polcy/web; the nearest known one is io.escra.policy"
    ),
    (
      ["polic\u{1b}[2J": "x"],
      #"unknown annotation io.escra.polic\u{1b}[2J; known are io.escra.policy, io.escra.app, "#
        + "io.escra.app.cpu, io.escra.app.memory, io.escra.app.scope, io.escra.cpu.min, "
        + "io.escra.cpu.max, "
        + "io.escra.memory.min, io.escra.memory.max, io.escra.priority, io.escra.visible, "
        + "io.escra.profile and io.escra.record"
    ),
    (
      ["app/web": "shop"],
      "io.escra.app/web is for the whole application, not for one container; write io.escra.app"
    ),
    (
      ["app.cpu/web": "1"],
      "io.escra.app.cpu/web is for the whole application, not for one container; "
        + "write io.escra.app.cpu"
    ),
    (
      ["app.memory/": "1"],
      "io.escra.app.memory/ is for the whole application, not for one container; "
        + "write io.escra.app.memory"
    ),
  ]

  static let contradictions: [(Annotated, String)] = [
    (
      ["cpu.min": "2", "cpu.max": "1"],
      #"io.escra.cpu.min "2" is above io.escra.cpu.max "1"; write at most "1""#
    ),
    (
      ["cpu.min": "2", "app.cpu": "1500m"],
      #"io.escra.cpu.min "2" is above io.escra.app.cpu "1500m"; write at most "1500m""#
    ),
    (
      ["cpu.min": "1001m"],
      #"io.escra.cpu.min "1001m" is above the container's own limit 1; write at most 1"#
    ),
    (
      ["memory.min": "1Gi", "memory.max": "512Mi"],
      #"io.escra.memory.min "1Gi" is above io.escra.memory.max "512Mi"; write at most "512Mi""#
    ),
    (
      ["memory.min": "2Gi", "app.memory": "1Gi", "app": "shop"],
      #"io.escra.memory.min "2Gi" is above io.escra.app.memory "1Gi"; write at most "1Gi""#
    ),
    (
      ["memory.min": "2Gi"],
      #"io.escra.memory.min "2Gi" is above the container's own limit 1Gi; write at most 1Gi"#
    ),
    (
      ["cpu.min": "9", "app": "shop"],
      #"io.escra.cpu.min "9" is above what this node has 8; write at most 8"#
    ),
    (
      ["memory.min": "1Ti", "app": "shop"],
      #"io.escra.memory.min "1Ti" is above what this node has 16Gi; write at most 16Gi"#
    ),
    (
      [
        "cpu.min/web": "2", "cpu.max": "1", "io.kubernetes.container.name": "web",
      ],
      #"io.escra.cpu.min/web "2" is above io.escra.cpu.max "1"; write at most "1""#
    ),
  ]

  static let aboveCeiling: [(Annotated, String)] = [
    (
      ["cpu.max": "8"],
      #"io.escra.cpu.max "8" is above the operator's ceiling.cpu 4; write at most 4"#
    ),
    (
      ["app.cpu": "4001m", "app": "shop"],
      #"io.escra.app.cpu "4001m" is above the operator's ceiling.cpu 4; write at most 4"#
    ),
    (
      ["cpu.min": "5"],
      #"io.escra.cpu.min "5" is above the operator's ceiling.cpu 4; write at most 4"#
    ),
    (
      ["memory.max": "2Gi"],
      #"io.escra.memory.max "2Gi" is above the operator's ceiling.memory 1536Mi; "#
        + "write at most 1536Mi"
    ),
    (
      ["app.memory": "1537Mi"],
      #"io.escra.app.memory "1537Mi" is above the operator's ceiling.memory 1536Mi; "#
        + "write at most 1536Mi"
    ),
  ]

  static let withStrict: [(Annotated, String)] = [
    "cpu.min", "cpu.max", "app", "app.cpu", "app.memory",
  ]
  .map { key in
    (
      [key: "1"],
      "io.escra.\(key) contradicts the policy strict, whose CPUs are the declared ones; "
        + "remove it, or use reactive"
    )
  }

  static let withoutPolicy: [(Annotated, String)] = [
    "app", "app.cpu", "app.memory", "cpu.min", "cpu.max", "memory.min", "memory.max", "priority",
  ].map { key in
    (
      [key: "1"],
      "io.escra.\(key) has no effect without a policy; add io.escra.policy: strict, reactive or "
        + "observe, or standard to ignore it"
    )
  }
}

@Suite struct AnnotationTests {
  @Test(arguments: AnnotationTables.badPolicies)
  func `refuses what is no policy`(annotations: Annotated, expected: String) {
    #expect(sentence { _ = try resolve(annotations) } == expected)
  }

  @Test(
    arguments: AnnotationTables.badValues + AnnotationTables.badKeys
      + AnnotationTables.contradictions)
  func `refuses, under any policy that would read it,`(annotations: Annotated, expected: String) {
    #expect(sentence { _ = try resolve(annotations, invocationDefault: .reactive) } == expected)
    #expect(sentence { _ = try resolve(annotations, invocationDefault: .observe) } == expected)
  }

  @Test(arguments: AnnotationTables.badKeys)
  func `refuses a misspelt key that leaves no policy at all`(
    annotations: Annotated, expected: String
  ) {
    #expect(sentence { _ = try resolve(annotations) } == expected)
  }

  @Test(arguments: AnnotationTables.aboveCeiling)
  func `refuses what is above the operator's ceiling`(annotations: Annotated, expected: String) {
    var config = OperatorConfig()
    config.ceiling.cpu = CPUAmount(millicores: 4000)
    config.ceiling.memory = ByteQuantity(bytes: 1536 << 20)
    #expect(
      sentence { _ = try resolve(annotations, config: config, invocationDefault: .reactive) }
        == expected)
  }

  @Test(arguments: [["cpu.min": "8001m"], ["cpu.min": "8001m", "cpu.max": "30"]] as [Annotated])
  func `refuses a minimum that the node does not have`(annotations: Annotated) {
    #expect(
      sentence { _ = try resolve(annotations, cpu: nil, invocationDefault: .reactive) }
        == #"io.escra.cpu.min "8001m" is above what this node has 8; write at most 8"#)
  }

  @Test(arguments: AnnotationTables.withStrict)
  func `refuses to move what strict holds still`(annotations: Annotated, expected: String) {
    #expect(sentence { _ = try resolve(annotations, invocationDefault: .strict) } == expected)
  }

  @Test(arguments: AnnotationTables.withoutPolicy)
  func `refuses keys that no policy would read`(annotations: Annotated, expected: String) {
    #expect(sentence { _ = try resolve(annotations) } == expected)
    // A default of standard is what there is without a default.
    #expect(sentence { _ = try resolve(annotations, invocationDefault: .standard) } == expected)
  }

  @Test func `says which policies the operator allows`() {
    var config = OperatorConfig()
    config.allowedPolicies = [.reactive, .observe]
    #expect(
      sentence { _ = try resolve(["policy": "strict"], config: config) }
        == #"io.escra.policy "strict" is not allowed on this node; use reactive or observe"#)
    #expect(
      sentence { _ = try resolve(["policy": "standard"], config: config) }
        == #"io.escra.policy "standard" is not allowed on this node; use reactive or observe"#)
    #expect(
      sentence { _ = try resolve([:], config: config, invocationDefault: .strict) }
        == #"the default policy "strict" is not allowed on this node; use reactive or observe"#)
  }

  @Test(arguments: [
    ("escra-runc.foo", "escra-runc.foo"), ("/usr/bin/escra-runc.Strict", "escra-runc.Strict"),
    ("escra-runc.", "escra-runc."),
  ])
  func `refuses a program name that selects no policy`(argument: String, shown: String) {
    #expect(
      sentence { _ = try PolicyName(programName: argument) }
        == "program name \"\(shown)\" selects no policy; use escra-runc.standard, "
        + "escra-runc.strict, escra-runc.reactive or escra-runc.observe")
  }

  @Test func `refuses an option that is no policy`() {
    #expect(
      sentence { _ = try PolicyName("fast", from: "--escra-policy") }
        == #"--escra-policy "fast" is no policy; \#(policies)"#)
  }
}
