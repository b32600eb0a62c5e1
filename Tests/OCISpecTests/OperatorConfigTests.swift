// SPDX-License-Identifier: Apache-2.0
import Glibc
import TestValues
import Testing

@testable import OCISpec
@testable import Quantities
@testable import Syscalls

@Suite struct OperatorConfigTests {
  @Test func `reads every key`() throws {
    let config = try parse(
      """
      {
        "runtimes": ["/opt/runc", "/usr/bin/crun"],
        "defaultPolicy": "observe",
        "allowedPolicies": ["observe", "reactive"],
        "law": "escra",
        "floor": {"cpu": "100m", "memory": "32Mi"},
        "ceiling": {"cpu": 4, "memory": "8Gi"},
        "reservedCPUs": "0-1,4",
        "hostMemoryReserve": 1073741824,
        "appConflict": "refuse",
        "onFailure": "refuse"
      }
      """)
    var expected = OperatorConfig()
    expected.law = .escra
    expected.runtimes = ["/opt/runc", "/usr/bin/crun"]
    expected.defaultPolicy = .observe
    expected.allowedPolicies = [.observe, .reactive]
    expected.floor.cpu = CPUAmount(millicores: 100)
    expected.floor.memory = ByteQuantity(bytes: 32 << 20)
    expected.ceiling.cpu = CPUAmount(millicores: 4000)
    expected.ceiling.memory = ByteQuantity(bytes: 8 << 30)
    expected.reservedCPUs = "0-1,4"
    expected.hostMemoryReserve = 1 << 30
    expected.appConflict = .refuse
    expected.onFailure = .refuse
    #expect(config == expected)
  }

  @Test func `what is not said has its default`() throws {
    let config = try parse("{}")
    #expect(config == OperatorConfig())
    #expect(config.floor.cpu == CPUAmount(millicores: 50))
    #expect(config.floor.memory == ByteQuantity(bytes: 16 << 20))
    #expect(config.ceiling == OperatorConfig.Ceiling())
    #expect(config.allowedPolicies == PolicyName.allCases)
    #expect(config.appConflict == .accept)
    #expect(config.onFailure == .continue)
    #expect(try parse(#"{"floor": {"cpu": "10m"}}"#).floor.memory == config.floor.memory)
  }

  /// What is wrong, and the sentence behind the file's name.
  static let typos: [(String, String)] = [
    ("", "line 1, column 0: '[' or '{' expected near end of file"),
    ("{\"law\": \"escra\",\n}", "line 2, column 1: string or '}' expected near '}'"),
    ("{\n  \"law\": escra\n}", "line 2, column 14: invalid token near 'escra'"),
    (
      #"{"law": "escra", "law": "escra"}"#, #"line 1, column 22: duplicate object key near '"law"'"#
    ),
    (
      #"{"hostMemoryReserve": 18446744073709551615}"#,
      "line 1, column 42: too big integer near '18446744073709551615'"
    ),
    (
      "[1]",
      "the document [1] is no object; write one with runtimes, defaultPolicy, allowedPolicies, law, hooks, "
        + "floor, ceiling, reservedCPUs, hostMemoryReserve, appConflict, onFailure, "
        + "history, cluster, applicationFromEnv and stateRoot"
    ),
    (#"{"runtime": []}"#, "unknown key runtime; the nearest known one is runtimes"),
    (
      #"{"default_policy": "strict"}"#,
      "unknown key default_policy; the nearest known one is defaultPolicy"
    ),
    (#"{"onfailure": "refuse"}"#, "unknown key onfailure; the nearest known one is onFailure"),
    (
      #"{"colour": "blue"}"#,
      "unknown key colour; known are runtimes, defaultPolicy, allowedPolicies, law, hooks, floor, ceiling, "
        + "reservedCPUs, hostMemoryReserve, appConflict, onFailure, "
        + "history, cluster, applicationFromEnv and stateRoot"
    ),
    (
      #"{"a\nb": 1}"#,
      #"unknown key a\u{a}b; known are runtimes, defaultPolicy, allowedPolicies, law, hooks, "#
        + "floor, ceiling, reservedCPUs, hostMemoryReserve, appConflict, onFailure, "
        + "history, cluster, applicationFromEnv and stateRoot"
    ),
    (
      #"{"applicationFromEnv": "A=B"}"#,
      #"applicationFromEnv "A=B" is no name of a variable; write one such as "ESCRA_APP""#
    ),
    (
      #"{"stateRoot": "/run/../etc"}"#,
      #"stateRoot "/run/../etc" is no place for state; write a directory of at most 30 bytes such as "#
        + #""/run/escra-b""#
    ),
    (#"{"floor": {"cpus": "1"}}"#, "unknown key floor.cpus; the nearest known one is floor.cpu"),
    (
      #"{"ceiling": {"bandwidth": "1"}}"#,
      "unknown key ceiling.bandwidth; known are ceiling.cpu and ceiling.memory"
    ),
    (
      #"{"runtimes": "/usr/bin/runc"}"#,
      #"runtimes "/usr/bin/runc" is no array; write an array of absolute paths"#
    ),
    (
      #"{"runtimes": ["/bin/runc", "runc"]}"#,
      #"runtimes[1] "runc" is no absolute path; write a path that begins with /"#
    ),
    (
      #"{"defaultPolicy": "reactve"}"#,
      #"defaultPolicy "reactve" is no policy; write standard, strict, reactive or observe"#
    ),
    (
      #"{"defaultPolicy": null}"#,
      "defaultPolicy null is no policy; write standard, strict, reactive or observe"
    ),
    (
      #"{"defaultPolicy": "strict", "allowedPolicies": ["reactive", "observe"]}"#,
      #"defaultPolicy "strict" is not in allowedPolicies; use reactive or observe"#
    ),
    (
      #"{"allowedPolicies": ["reactive", "any"]}"#,
      #"allowedPolicies[1] "any" is no policy; write standard, strict, reactive or observe"#
    ),
    (
      #"{"allowedPolicies": []}"#,
      "allowedPolicies [] allows nothing; write an array of standard, strict, reactive or observe"
    ),
    (#"{"law": "murphy"}"#, #"law "murphy" is no control law; write headroom or escra"#),
    (#"{"law": true}"#, #"law true is no control law; write headroom or escra"#),
    (#"{"floor": "50m"}"#, #"floor "50m" is no object; write one with floor.cpu and floor.memory"#),
    (
      #"{"floor": {"cpu": 0.5}}"#,
      "floor.cpu 0.5 is neither a string nor an integer; write cores such as 2, 0.5 or 500m"
    ),
    (
      #"{"floor": {"cpu": "5m"}}"#,
      #"floor.cpu "5m" is below 10m, the least that the kernel enforces; write cores such as 2, 0.5 or 500m"#
    ),
    (
      #"{"floor": {"memory": "16MB"}}"#,
      #"floor.memory "16MB" is no quantity; write bytes such as 512Mi, 1.5Gi, 100M or 1048576"#
    ),
    (
      #"{"ceiling": {"memory": -1}}"#,
      "ceiling.memory -1 is negative; write bytes such as 512Mi, 1.5Gi, 100M or 1048576"
    ),
    (
      #"{"floor": {"cpu": "2"}, "ceiling": {"cpu": "1"}}"#,
      "floor.cpu 2 is above ceiling.cpu 1; write at most 1"
    ),
    (
      #"{"ceiling": {"memory": "8Mi"}}"#,
      "floor.memory 16Mi is above ceiling.memory 8Mi; write at most 8Mi"
    ),
    (
      #"{"reservedCPUs": "3-1"}"#,
      #"reservedCPUs "3-1" is no list of CPUs; write one such as "0-1,4""#
    ),
    (
      #"{"reservedCPUs": "0-1,8192"}"#,
      #"reservedCPUs "0-1,8192" is no list of CPUs; write one such as "0-1,4""#
    ),
    (
      #"{"reservedCPUs": "0,,1"}"#,
      #"reservedCPUs "0,,1" is no list of CPUs; write one such as "0-1,4""#
    ),
    (
      #"{"reservedCPUs": "0-1-2"}"#,
      #"reservedCPUs "0-1-2" is no list of CPUs; write one such as "0-1,4""#
    ),
    (
      #"{"reservedCPUs": "+1"}"#,
      #"reservedCPUs "+1" is no list of CPUs; write one such as "0-1,4""#
    ),
    (#"{"reservedCPUs": ""}"#, #"reservedCPUs "" is no list of CPUs; write one such as "0-1,4""#),
    (#"{"reservedCPUs": 2}"#, #"reservedCPUs 2 is no list of CPUs; write one such as "0-1,4""#),
    (
      #"{"hostMemoryReserve": {"a": 1}}"#,
      #"hostMemoryReserve {"a":1} is neither a string nor an integer; write bytes such as 512Mi, 1.5Gi, 100M or 1048576"#
    ),
    (#"{"appConflict": "deny"}"#, #"appConflict "deny" is no known value; write accept or refuse"#),
    (#"{"onFailure": false}"#, "onFailure false is no known value; write continue or refuse"),
  ]

  @Test(arguments: typos)
  func `names the file, the key, the value and what is accepted`(json: String, expected: String) {
    #expect(sentence { _ = try parse(json) } == "/etc/escra/config.json: \(expected)")
  }

  @Test func `survives a config that is deep, long or no text`() {
    let deep = String(repeating: "[", count: 1_000_000)
    #expect(sentence { _ = try parse(deep) }.contains("line 1, column"))
    let bytes: [UInt8] = Array(#"{"law": ""#.utf8) + [0xff, 0xfe]
    #expect(throws: OperatorConfigError.self) { try OperatorConfig(parsing: bytes, file: "f") }
    let long = "{\"law\": [\"\(String(repeating: "x", count: 100_000))\"]}"
    #expect(sentence { _ = try parse(long) }.utf8.count < 200)
  }

  @Test(arguments: [
    (#"{"law": "x", "runtimes": ["/opt/crun"]}"#, ["/opt/crun"]),
    (#"{"runtimes": ["/opt/crun"], "no such key": 1}"#, ["/opt/crun"]),
    (
      #"{"runtimes": ["/opt/crun"], "defaultPolicy": "strict", "allowedPolicies": ["observe"]}"#,
      ["/opt/crun"]
    ),
    (#"{"runtimes": ["crun"], "law": "x"}"#, []), (#"{"runtimes": ["/opt/crun"]"#, []), ("[]", []),
  ])
  func `an error elsewhere does not hide the low-level runtimes`(json: String, found: [String]) {
    #expect { _ = try parse(json) } throws: { ($0 as? OperatorConfigError)?.runtimes == found }
  }

  @Test func `an absent file stands for the defaults, unless it was named by hand`() throws {
    let path = "/tmp/escra-no-config-\(getpid()).json"
    #expect(try OperatorConfig.load(path: path) == OperatorConfig())
    #expect(
      sentence { _ = try OperatorConfig.load(path: path, isRequired: true) }
        == "cannot open \(path) (ENOENT); make it a readable file of at most 1048576 bytes")
  }

  @Test func `a directory is no config`() {
    #expect(
      sentence { _ = try OperatorConfig.load(path: "/tmp") }
        == "cannot read /tmp (EISDIR); make it a readable file of at most 1048576 bytes")
  }

  @Test func `a FIFO or a device is no config, and blocks nobody`() {
    let path = "/tmp/escra-config-\(getpid()).fifo"
    #expect(mkfifo(path, 0o600) == 0)
    defer { unlink(path) }
    for path in [path, "/dev/zero"] {
      #expect(
        sentence { _ = try OperatorConfig.load(path: path) }
          == "\(path) is not a regular file; make it a readable file of at most 1048576 bytes")
    }
  }

  @Test func `reads a file, and refuses one that is no config by its length`() throws {
    let path = "/tmp/escra-config-\(getpid()).json"
    defer { unlink(path) }
    let file = try FileDescriptor.open(path, O_CREAT | O_RDWR | O_TRUNC)
    try file.write(#"{"onFailure": "refuse"}"#)
    #expect(try OperatorConfig.load(path: path).onFailure == .refuse)
    ftruncate(file.number, (1 << 20) + 1)
    #expect(
      sentence { _ = try OperatorConfig.load(path: path) }
        == "cannot read \(path) (EFBIG); make it a readable file of at most 1048576 bytes")
  }

  @Test func `the built-in runtimes are absolute and begin with Debian's runc`() {
    #expect(OperatorConfig.builtInRuntimes.first == "/usr/bin/runc")
    #expect(OperatorConfig.builtInRuntimes.allSatisfy { $0.hasPrefix("/") })
    #expect(OperatorConfig.builtInRuntimes.contains("/usr/bin/crun"))
  }
}
