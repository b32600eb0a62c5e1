// SPDX-License-Identifier: Apache-2.0
internal import OCISpec
internal import Syscalls

/// What `escra setup kubernetes` prints: YAML for `kubectl apply --filename -`.
struct KubernetesManifests {
  /// An image with escra-runc installed in /usr/bin, and nsenter.
  var image = "escra-runc:\(EscraVersion.current)"
  /// The engine that kubelets call.
  var engine = Engine.containerd

  /// All documents.
  var text: String {
    [runtimeClass, installer, reactive, application, strict].joined(separator: "---\n")
  }

  private var runtimeClass: String {
    """
    # Pods choose the runtime by this name. Nodes that have it are labelled by hand, or by what
    # installs them: kubectl label node NODE escra-runc=installed
    apiVersion: node.k8s.io/v1
    kind: RuntimeClass
    metadata:
      name: escra
    handler: escra
    scheduling:
      nodeSelector:
        escra-runc: installed

    """
  }

  /// Copies the programs to /usr/local/bin by rename.
  ///
  /// A container that starts meanwhile finds the old ones or the new ones. They stay when the DaemonSet is deleted: containers need them.
  private var installer: String {
    """
    # Copies the programs to each node and registers them. What it does to a node is undone there by:
    # escra setup \(engine.rawValue) --undo
    apiVersion: apps/v1
    kind: DaemonSet
    metadata:
      name: escra-runc
      namespace: kube-system
      labels:
        app.kubernetes.io/name: escra-runc
    spec:
      selector:
        matchLabels:
          app.kubernetes.io/name: escra-runc
      updateStrategy:
        type: RollingUpdate
      template:
        metadata:
          labels:
            app.kubernetes.io/name: escra-runc
        spec:
          hostPID: true
          tolerations:
            - operator: Exists
          initContainers:
            - name: install
              image: \(image)
              securityContext:
                privileged: true
              command:
                - sh
                - -ec
                - |
                  bin=/host/usr/local/bin
                  for program in escra-runc escra; do
                    cp /usr/bin/$program $bin/.$program.new
                    mv $bin/.$program.new $bin/$program
                  done
                  for policy in observe reactive strict; do
                    ln -sf escra-runc $bin/escra-runc.$policy
                  done
                  node() { nsenter --target 1 --mount --uts --ipc --net --pid -- "$@"; }
                  before=$(node /usr/local/bin/escra setup \(engine.rawValue) --dry-run)
                  node /usr/local/bin/escra setup \(engine.rawValue)
                  if [ -n "$before" ]; then node systemctl restart \(engine.rawValue); fi
                  node /usr/local/bin/escra doctor
              volumeMounts:
                - name: bin
                  mountPath: /host/usr/local/bin
          containers:
            - name: pause
              image: \(image)
              command: ["sleep", "infinity"]
              resources:
                requests: { cpu: 1m, memory: 8Mi }
                limits: { cpu: 10m, memory: 16Mi }
          volumes:
            - name: bin
              hostPath:
                path: /usr/local/bin
                type: Directory

    """
  }

  private var reactive: String {
    deployment(
      "web", comment: "CPU and memory limits follow what it uses; one CPU for a moment.",
      annotations: ["io.escra.policy: reactive", "io.escra.cpu.max: \"1\""],
      containers: [("web", "500m", "256Mi")])
  }

  private var application: String {
    deployment(
      "shop", comment: "All containers of this application on a node share what they declare.",
      annotations: ["io.escra.policy: reactive", "io.escra.app: shop"],
      containers: [("front", "500m", "256Mi"), ("cache", "250m", "128Mi")])
  }

  private var strict: String {
    deployment(
      "own", comment: "One CPU of its own; every other container is kept off it.",
      annotations: ["io.escra.policy: strict"], containers: [("own", "1", "256Mi")])
  }

  private func deployment(
    _ name: String, comment: String, annotations: [String],
    containers: [(name: String, cpu: String, memory: String)]
  ) -> String {
    let lines = containers.flatMap { container in
      [
        "        - name: \(container.name)", "          image: nginx", "          resources:",
        "            limits: { cpu: \(TOMLText.quoted(container.cpu)), memory: \(container.memory) }",
      ]
    }
    return """
      # \(comment)
      apiVersion: apps/v1
      kind: Deployment
      metadata:
        name: \(name)
      spec:
        replicas: 1
        selector:
          matchLabels: { app: \(name) }
        template:
          metadata:
            labels: { app: \(name) }
            annotations:
      \(annotations.map { "        " + $0 }.joined(separator: "\n"))
          spec:
            runtimeClassName: escra
            containers:
      \(lines.joined(separator: "\n"))

      """
  }
}
