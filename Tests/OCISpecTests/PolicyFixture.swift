// SPDX-License-Identifier: Apache-2.0
@testable import OCISpec
@testable import Quantities

/// Annotations as a table writes them: keys without `io.escra.`, unless they are Kubernetes' own.
typealias Annotated = KeyValuePairs<String, String>

/// What holds for a container with these annotations on a node of 8 CPUs and 16 GiB, by default
/// one that declares 1 CPU and 1 GiB.
func resolve(
  _ annotations: Annotated, cpu: CPUAmount? = CPUAmount(millicores: 1000),
  memory: Int64? = 1 << 30, config: OperatorConfig = OperatorConfig(),
  invocationDefault: PolicyName? = nil
) throws(PolicyError) -> ContainerPolicy {
  try ContainerPolicy.resolve(
    annotations: annotations.map { key, value in
      (key.hasPrefix("io.kubernetes.") ? key : "io.escra.\(key)", value)
    },
    declared: DeclaredLimits(cpu: cpu, memory: memory), config: config,
    node: NodeCapacity(millicores: 8000, memory: 16 << 30), invocationDefault: invocationDefault)
}

/// A config with these bytes, as `/etc/escra/config.json`.
func parse(_ json: String) throws(OperatorConfigError) -> OperatorConfig {
  try OperatorConfig(parsing: Array(json.utf8), file: "/etc/escra/config.json")
}
