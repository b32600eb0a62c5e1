// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc
internal import OCISpec
internal import State
internal import Syscalls

/// Runs the agent until a signal asks for its end.
///
/// - Parameter arguments: Without the program's name.
/// - Returns: The exit code.
func runAgent(_ arguments: [String]) -> Int32 {
  do throws(Complaint) {
    switch try Options(arguments) {
    case .help: print(Options.usage, terminator: "")
    case .version: print("escra-agent \(EscraVersion.current)")
    case .run(let config, let state): try run(config, state)
    case .check(let config): try check(config)
    }
    return 0
  } catch {
    complain(error.sentence)
    return 1
  }
}

private func clusterConfig(
  _ path: String?
) throws(Complaint) -> (cluster: ClusterConfig, root: StateRoot) {
  let file = path ?? OperatorConfig.defaultPath
  let config: OperatorConfig
  do throws(OperatorConfigError) {
    config = try OperatorConfig.load(path: file, isRequired: path != nil)
  } catch { throw Complaint(error.description) }
  guard let cluster = config.cluster else {
    throw Complaint(
      "\(file) has no \"cluster\"; write \"cluster\": {\"endpoints\": [\"https://HOST:2379\"]}")
  }
  try checkSecrets(cluster)
  return (cluster, config.stateRoot.map { StateRoot(path: $0) } ?? .system)
}

private func client(_ loop: EventLoop, _ cluster: ClusterConfig) throws(SystemError) -> HTTPClient {
  let security = TransportSecurity(
    authority: cluster.ca, certificate: cluster.cert, key: cluster.key)
  guard let client = HTTPClient(loop: loop, security: security) else {
    throw SystemError("start", "libcurl", errno: ENOMEM)
  }
  return client
}

private func check(_ path: String?) throws(Complaint) {
  let cluster = try clusterConfig(path).cluster
  _ = try nodeName(cluster)
  do throws(SystemError) {
    let loop = try EventLoop()
    try Examination(loop: loop, client: try client(loop, cluster), cluster: cluster).run()
  } catch { throw Complaint(error.description) }
}

private func run(_ path: String?, _ state: String?) throws(Complaint) {
  let (cluster, configured) = try clusterConfig(path)
  let node = try nodeName(cluster)
  // It has a connection to the broker of each application.
  _ = escra_allow_descriptors()
  let root = state.map { StateRoot(path: $0) } ?? configured
  let lock = try lock(root)
  do throws(SystemError) {
    let loop = try EventLoop()
    let client = try client(loop, cluster)
    let endpoints = Endpoints(cluster.endpoints, node: node)
    let ledger: any Ledger =
      switch cluster.engine {
      case .etcd: EtcdLedger(loop: loop, client: client, endpoints: endpoints)
      case .kubernetes:
        KubernetesLedger(loop: loop, client: client, endpoints: endpoints, token: cluster.token)
      }
    let agent = Agent(loop: loop, root: root, cluster: cluster, node: node, ledger: ledger)
    defer { withExtendedLifetime((agent, client)) {} }
    try agent.run()
  } catch { throw Complaint(error.description) }
  _ = consume lock
}

/// Becomes the node's agent, for as long as the result is open.
///
/// A swap of one agent is no news to another one, and could follow what the other has raised.
private func lock(_ root: StateRoot) throws(Complaint) -> FileDescriptor {
  do throws(SystemError) {
    try StateDirectory.make(root.path)
    try StateDirectory.make(root.agent)
    let directory = try FileDescriptor.open(root.agent, O_RDONLY | O_DIRECTORY)
    if try directory.lock(wait: false) { return directory }
  } catch { throw Complaint(error.description) }
  throw Complaint("another escra-agent serves \(root.path); end it first")
}

private func nodeName(_ cluster: ClusterConfig) throws(Complaint) -> String {
  if let node = cluster.node { return node }
  var bytes = [CChar](repeating: 0, count: 254)
  gethostname(&bytes, 253)
  let name = String(decoding: bytes.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  guard ClusterConfig.isNodeName(name), name != "localhost" else {
    throw Complaint("the host name \(quoted(name)) names no node; write \"node\" in \"cluster\"")
  }
  return name
}

/// Refuses secrets that others can read or replace.
private func checkSecrets(_ cluster: ClusterConfig) throws(Complaint) {
  for (name, path) in [("key", cluster.key), ("token", cluster.token)] {
    if let path { try SecretFile.check(path, "cluster.\(name)") }
  }
  for (name, path) in [("ca", cluster.ca), ("cert", cluster.cert)] {
    guard let path else { continue }
    do throws(SystemError) { _ = try FileDescriptor.open(path, O_RDONLY | O_NONBLOCK) } catch {
      throw Complaint("cluster.\(name): \(error); make it a readable file")
    }
  }
}

/// A file that only root may read.
enum SecretFile {
  /// Refuses a file that is not one.
  static func check(_ path: String, _ name: String) throws(Complaint) {
    let status: FileStatus
    do throws(SystemError) {
      status = try FileDescriptor.open(path, O_RDONLY | O_NONBLOCK).status()
    } catch { throw Complaint("\(name): \(error); make it a regular file") }
    guard status.isRegularFile else {
      throw Complaint("\(name) \(path) is not a regular file; make it one")
    }
    guard status.user == 0 else {
      throw Complaint("\(name) \(path) does not belong to root; run chown root \(path)")
    }
    guard status.mode & 0o077 == 0 else {
      throw Complaint("\(name) \(path) can be read by others than root; run chmod 600 \(path)")
    }
  }
}
