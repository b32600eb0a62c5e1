// SPDX-License-Identifier: Apache-2.0
internal import Syscalls

/// What `escra setup kubernetes --cluster` prints: what applications that span nodes need.
struct ClusterManifests {
  /// An image with escra-agent in /usr/bin.
  var image = "escra-runc:\(EscraVersion.current)"

  /// All documents.
  var text: String {
    [definition, account, role, binding, config, agent].joined(separator: "---\n")
  }

  private var definition: String {
    """
    # The ledgers of applications that span nodes: one object for each application and resource.
    # Agents write them; kubectl get escraapplications shows them.
    apiVersion: apiextensions.k8s.io/v1
    kind: CustomResourceDefinition
    metadata:
      name: escraapplications.escra.io
    spec:
      group: escra.io
      scope: Namespaced
      names:
        kind: EscraApplication
        listKind: EscraApplicationList
        plural: escraapplications
        singular: escraapplication
      versions:
        - name: v1alpha1
          served: true
          storage: true
          schema:
            openAPIV3Schema:
              type: object
              properties:
                spec:
                  type: object
                  properties:
                    application: { type: string }
                    resource: { type: string, enum: ["cpu", "memory"] }
                    ledger:
                      type: object
                      x-kubernetes-preserve-unknown-fields: true
          additionalPrinterColumns:
            - name: Application
              type: string
              jsonPath: .spec.application
            - name: Resource
              type: string
              jsonPath: .spec.resource
            - name: Limit
              type: integer
              jsonPath: .spec.ledger.limit
            - name: Free
              type: integer
              jsonPath: .spec.ledger.free

    """
  }

  private var account: String {
    """
    apiVersion: v1
    kind: ServiceAccount
    metadata:
      name: escra-agent
      namespace: kube-system

    """
  }

  private var role: String {
    """
    apiVersion: rbac.authorization.k8s.io/v1
    kind: ClusterRole
    metadata:
      name: escra-agent
    rules:
      - apiGroups: ["escra.io"]
        resources: ["escraapplications"]
        verbs: ["get", "watch", "create", "update", "delete"]

    """
  }

  private var binding: String {
    """
    apiVersion: rbac.authorization.k8s.io/v1
    kind: ClusterRoleBinding
    metadata:
      name: escra-agent
    roleRef:
      apiGroup: rbac.authorization.k8s.io
      kind: ClusterRole
      name: escra-agent
    subjects:
      - kind: ServiceAccount
        name: escra-agent
        namespace: kube-system

    """
  }

  private var config: String {
    """
    apiVersion: v1
    kind: ConfigMap
    metadata:
      name: escra-agent
      namespace: kube-system
    data:
      config.json: |
        {
          "cluster": {
            "engine": "kubernetes",
            "endpoints": ["https://kubernetes.default.svc"],
            "ca": "/var/run/secrets/escra/ca.crt",
            "token": "/var/run/secrets/escra/token"
          }
        }

    """
  }

  /// The node's network makes its host name the node's.
  private var agent: String {
    """
    # One agent on each node. Containers run on when it is deleted, with what they declare.
    apiVersion: apps/v1
    kind: DaemonSet
    metadata:
      name: escra-agent
      namespace: kube-system
      labels:
        app.kubernetes.io/name: escra-agent
    spec:
      selector:
        matchLabels:
          app.kubernetes.io/name: escra-agent
      updateStrategy:
        type: RollingUpdate
      template:
        metadata:
          labels:
            app.kubernetes.io/name: escra-agent
        spec:
          serviceAccountName: escra-agent
          automountServiceAccountToken: false
          hostNetwork: true
          dnsPolicy: ClusterFirstWithHostNet
          priorityClassName: system-node-critical
          nodeSelector:
            escra-runc: installed
          tolerations:
            - operator: Exists
          containers:
            - name: agent
              image: \(image)
              command: ["escra-agent", "--escra-config", "/etc/escra-agent/config.json"]
              securityContext:
                runAsUser: 0
                readOnlyRootFilesystem: true
                allowPrivilegeEscalation: false
                capabilities: { drop: ["ALL"] }
              resources:
                requests: { cpu: 1m, memory: 16Mi }
                limits: { cpu: 500m, memory: 64Mi }
              volumeMounts:
                - name: state
                  mountPath: /run/escra
                - name: config
                  mountPath: /etc/escra-agent
                - name: secrets
                  mountPath: /var/run/secrets/escra
          volumes:
            - name: state
              hostPath:
                path: /run/escra
                type: DirectoryOrCreate
            - name: config
              configMap:
                name: escra-agent
            - name: secrets
              projected:
                defaultMode: 256
                sources:
                  - serviceAccountToken:
                      path: token
                  - configMap:
                      name: kube-root-ca.crt
                      items:
                        - key: ca.crt
                          path: ca.crt

    """
  }
}
