// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import escra

@Suite struct SetupTests {
  private static let names = RuntimeNames(program: "/usr/bin/escra-runc")

  // MARK: Docker

  static let daemonFiles = [
    "{}", "{ }\n", "{\n}\n", "{\"debug\":true}",
    "{\n  \"debug\": true,\n  \"hosts\": [\"a,b\", \"}\"]\n}\n",
    "{\n    \"runtimes\": {}\n}\n", "{\n  \"runtimes\": {\n  }\n}",
    "{\"runtimes\":{ },\"debug\":false}\n",
    "{\n\t\"exec-opts\": [\"native.cgroupdriver=systemd\"],\n\t\"runtimes\": {\n\t\t\"nvidia\": {\n"
      + "\t\t\t\"args\": [],\n\t\t\t\"path\": \"nvidia-container-runtime\"\n\t\t}\n\t}\n}\n",
    "{\"runtimes\": {\"a\": {\"path\": \"/a\"}, \"b\": {\"path\": \"/b\"}}, \"log-opts\": {\"x\": \"\\\"\"}}",
  ]

  @Test(arguments: daemonFiles)
  func `daemon.json gets our runtimes, and loses them without a trace`(text: String) throws {
    let new = try DockerSetup.registered(text, path: "f", Self.names)
    let runtimes = try #require(JSONObject(new)?.object("runtimes"))
    #expect(Set(runtimes.members.map(\.name)).isSuperset(of: RuntimeNames.words))
    #expect(new.contains("\"escra-reactive\": { \"path\": \"/usr/bin/escra-runc.reactive\" }"))
    #expect(try DockerSetup.registered(new, path: "f", Self.names) == new)
    #expect(try DockerSetup.unregistered(new, path: "f") == text)
  }

  @Test func `where there is no daemon.json it is made, and removed`() throws {
    let new = try DockerSetup.registered(nil, path: "f", Self.names)
    #expect(try DockerSetup.unregistered(new, path: "f") == nil)
    #expect(try DockerSetup.registered(new, path: "f", Self.names) == new)
    let moved = try DockerSetup.registered(new, path: "f", RuntimeNames(program: "/opt/escra-runc"))
    #expect(moved.contains("/opt/escra-runc.strict") && !moved.contains("/usr/bin"))
  }

  @Test func `what others have written around ours stays`() throws {
    let text = """
      { "runtimes": { "first": {"path": "/f"}, "escra": {"path": "/e"}, "escra-observe": {"path": "/o"},
        "last": {"path": "/l"} }, "debug": true }
      """
    #expect(
      try DockerSetup.unregistered(text, path: "f") == """
        { "runtimes": { "first": {"path": "/f"},
          "last": {"path": "/l"} }, "debug": true }
        """)
  }

  @Test(arguments: ["[", "[]", "{\"a\": 1, \"a\": 2}", "1"])
  func `a daemon.json that Docker would not read is left alone`(text: String) {
    let refusal = #expect(throws: Complaint.self) {
      _ = try DockerSetup.registered(text, path: "/d.json", Self.names)
    }
    #expect(refusal?.description.contains("/d.json") == true)
  }

  // MARK: containerd

  static let plugins = [2: "io.containerd.grpc.v1.cri", 3: "io.containerd.cri.v1.runtime"]

  private func setup(
    _ files: [(String, String?)], dump: String? = nil, directory: String? = nil
  ) throws -> ContainerdSetup {
    ContainerdSetup(
      files: try files.map {
        .init(path: $0.0, text: $0.1, toml: try TOMLText($0.1 ?? "", path: $0.0))
      },
      dump: try dump.map { try TOMLText($0, path: "dump") }, importedDirectory: directory)
  }

  private static func runc(_ version: Int) -> String {
    let plugin = plugins[version] ?? ""
    return """
      # Ours.
      version = \(version)
      [plugins.'\(plugin)'.containerd.runtimes.runc]
        runtime_type = 'io.containerd.runc.v2' # as ever
        base_runtime_spec = "/base.json"
        pod_annotations = ["others.*"]
        [plugins."\(plugin)".containerd.runtimes.runc.options]
          SystemdCgroup = true
          BinaryName = "/opt/runc"
      """
  }

  @Test(arguments: [2, 3])
  func `a handler has what runc's has`(version: Int) throws {
    let text = Self.runc(version)
    let (path, new) = try setup([("/c", text)]).registered(Self.names)
    let toml = try TOMLText(new, path: path)
    let runtimes = ["plugins", Self.plugins[version] ?? "", "containerd", "runtimes"]
    for name in Self.names.all {
      let own = runtimes + [name.name]
      #expect(toml.strings(own + ["options", "BinaryName"]) == [name.path])
      #expect(toml[own + ["options", "SystemdCgroup"]] == "true")
      #expect(toml.strings(own + ["base_runtime_spec"]) == ["/base.json"])
      #expect(
        toml.strings(own + ["pod_annotations"]) == ["others.*", "io.escra.*", "io.escra.*/*"])
      #expect(toml.strings(own + ["container_annotations"]) == RuntimeNames.annotations)
      #expect(toml.strings(own + ["runtime_type"]) == ["io.containerd.runc.v2"])
    }
    #expect(toml.below(runtimes + ["runc"]).count == 5)
    #expect(path == "/c" && new.hasPrefix(text))
    #expect(try ContainerdSetup.unregistered(new, path: path) == text)
  }

  @Test func `without a table for runc it gets the built-in one`() throws {
    let plugin = "plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc"
    let dump = """
      version = 2
      [\(plugin)]
      runtime_type = "io.containerd.runc.v2"
      runtime_root = ""
      cni_max_conf_num = 0
      [\(plugin).options]
      SystemdCgroup = false
      Root = "/r"
      """
    let made = try setup([("/c", nil)], dump: dump).registered(Self.names).text
    let toml = try TOMLText(made, path: "c")
    let runtimes = ["plugins", "io.containerd.grpc.v1.cri", "containerd", "runtimes"]
    #expect(toml[["version"]] == "2")
    #expect(
      toml.below(runtimes + ["runc"]).map(\.path) == [["runtime_type"], ["options", "Root"]])
    #expect(toml.strings(runtimes + ["escra", "options", "Root"]) == ["/r"])
    #expect(try ContainerdSetup.unregistered(made, path: "c") == nil)
    // One that was added since does not take runc's away.
    let other = "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.nvidia]\n"
    let left = try #require(try ContainerdSetup.unregistered(made + other, path: "c"))
    let rest = try TOMLText(left, path: "c")
    #expect(rest.tables(in: runtimes) == ["runc", "nvidia"] && rest[["version"]] == "2")
  }

  @Test func `an import that has the plugin is the file that counts`() throws {
    let plugin = "[plugins.\"io.containerd.grpc.v1.cri\".cni]\n"
    let files: [(String, String?)] = [
      ("/c", "version = 2\n" + plugin), ("/a", "version = 2\n"), ("/b", "version = 2\n" + plugin),
      ("/d", "version = 2\n"),
    ]
    #expect(try setup(files).registered(Self.names).path == "/b")
    #expect(try setup([("/c", "version = 2\n"), ("/a", "")]).registered(Self.names).path == "/c")
  }

  @Test func `containerd 2 with imports gets a drop-in`() throws {
    let text =
      "version = 3\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n"
      + Self.runc(3)
      .split(separator: "\n").dropFirst(2).joined(separator: "\n")
    let made = try setup([("/c", text)], directory: "/etc/containerd/conf.d")
      .registered(Self.names)
    #expect(made.path == "/etc/containerd/conf.d/99-escra.toml")
    let toml = try TOMLText(made.text, path: "d")
    #expect(toml[["version"]] == "3" && !made.text.contains("runtimes.runc]"))
    #expect(made.text.contains("SystemdCgroup = true"))
    #expect(try ContainerdSetup.unregistered(made.text, path: "d") == nil)
  }

  @Test(arguments: [
    ("disabled_plugins = [\"cri\"]\n", "run escra setup docker if"),
    ("[plugins.cri]\n", "version 1"), ("version = 1\n", "version 1"),
    ("version = 2\n[x\n", "line 2"),
    (
      "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.escra]\na = 1\n",
      "line 2, has a runtime \"escra\""
    ),
    (
      "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd]\nruntimes = {}\n",
      "inline table"
    ),
  ])
  func `what cannot be added to is told`(text: String, said: String) {
    let refusal = #expect(throws: Complaint.self) {
      _ = try setup([("/c.toml", text)]).registered(Self.names)
    }
    #expect(refusal?.description.contains(said) == true, "\(refusal?.description ?? "")")
  }

  // MARK: drop-ins

  @Test func `Podman's drop-in keeps the list of others`() throws {
    let other = try TOMLText("[engine]\nruntime_supports_json = [\"crun\", 'mine']\n", path: "c")
    let lines = PodmanSetup.lines(Self.names, beside: [other])
    let toml = try TOMLText(lines.joined(separator: "\n"), path: "d")
    #expect(
      toml.strings(["engine", "runtime_supports_json"]) == ["crun", "mine"] + RuntimeNames.words)
    #expect(toml.strings(["engine", "runtimes", "escra"]) == ["/usr/bin/escra-runc"])
    #expect(PodmanSetup.lines(Self.names, beside: [])[1].contains("\"runc\""))
  }

  @Test func `CRI-O's drop-in has what runc's table has`() throws {
    let other = try TOMLText(
      """
      [crio.runtime]
      default_runtime = "runc"
      [crio.runtime.runtimes.runc]
      runtime_path = "/usr/lib/crio/runc"
      runtime_root = "/run/runc"
      monitor_path = "/usr/lib/crio/conmon"
      allowed_annotations = [
        "io.containers.trace-syscall", # a comment
      ]
      """, path: "c")
    let toml = try TOMLText(
      CRIOSetup.lines(Self.names, beside: [other]).joined(separator: "\n"), path: "d")
    let own = ["crio", "runtime", "runtimes", "escra-strict"]
    #expect(toml.strings(own + ["runtime_path"]) == ["/usr/bin/escra-runc.strict"])
    #expect(toml.strings(own + ["runtime_type"]) == ["oci"])
    #expect(toml.strings(own + ["monitor_path"]) == ["/usr/lib/crio/conmon"])
    #expect(toml.strings(own + ["allowed_annotations"]) == ["io.containers.trace-syscall"])
  }

  // MARK: files

  @Test(arguments: [nil, "", "a = 1\n", "\n\n", "a = 1\r\n# é\n"])
  func `a block comes and goes`(text: String?) {
    let with = MarkedBlock.append(["[x]", "y = 1"], to: text, engine: "containerd")
    #expect(MarkedBlock.strip(with) == text)
    #expect(MarkedBlock.strip(with + "z = 1\n") == (text ?? "") + "z = 1\n")
    #expect(MarkedBlock.strip(text ?? "") == text ?? "")
  }

  @Test func `the end of a line that was missing is missing again`() {
    let with = MarkedBlock.append(["[x]"], to: "a = 1", engine: "containerd")
    #expect(with.hasPrefix("a = 1\n#") && MarkedBlock.strip(with) == "a = 1")
    // What came behind the block needs it.
    #expect(MarkedBlock.strip(with + "[y]\n") == "a = 1\n[y]\n")
  }

  @Test func `a change is shown as diff -u shows it`() {
    let nine = (1...9).map { "\($0)\n" }
    let changed = nine[..<4] + ["five\n"] + nine[5...]
    #expect(
      FileChange(path: "/f", before: nine.joined(), after: changed.joined()).diff == [
        "--- /f", "+++ /f", "@@ -2,7 +2,7 @@", " 2", " 3", " 4", "-5", "+five", " 6", " 7", " 8",
      ])
    #expect(
      FileChange(path: "/f", before: "a\nb\nc\n", after: "a\nb\nx\nc\n").diff == [
        "--- /f", "+++ /f", "@@ -1,3 +1,4 @@", " a", " b", "+x", " c",
      ])
    #expect(
      FileChange(path: "/f", before: nil, after: "a\n").diff == [
        "--- /dev/null", "+++ /f", "@@ -0,0 +1,1 @@", "+a",
      ])
    #expect(
      FileChange(path: "/f", before: "a", after: "a\nb\n").diff == [
        "--- /f", "+++ /f", "@@ -1,1 +1,2 @@", "-a", "\\ No newline at end of file", "+a", "+b",
      ])
  }

  @Test(arguments: [
    ("a = 1", "a", "1"), ("[t]\nb.'c d' = \"x#\" # e", "t b c d", "\"x#\""),
    ("[[t]]\nb = 1\n[u]\nc = [\n 1, # two\n [2]]", "u c", "[\n 1, # two\n [2]]"),
    ("a = { b = 1, c = { d = '''e\nf''' } }", "a c d", "'''e\nf'''"),
    ("a = \"\"\"x\n\"y\" z\"\"\"\nb = 2", "b", "2"), ("\"a\\\"b\" = 1", "a\"b", "1"),
    ("a=1979-05-27T07:32:00Z\r\nb=+inf", "b", "+inf"),
  ])
  func `keys and the text of their values`(text: String, path: String, value: String) throws {
    let toml = try TOMLText(text, path: "f")
    let entry = toml.entries.first { $0.path.joined(separator: " ") == path }
    #expect(entry?.value == value)
  }

  @Test(arguments: [
    "a", "a =", "[a", "a = \"x", "a = [1", "a = {b = 1", "= 1", "a = 1 b = 2", "[a] b",
  ])
  func `what is no TOML is told with its line`(text: String) {
    let refusal = #expect(throws: Complaint.self) { _ = try TOMLText("\n\n" + text, path: "/f") }
    #expect(refusal?.description.hasPrefix("/f, line 3: ") == true)
  }
}
