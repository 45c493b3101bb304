{{/*
What the operator does in a namespace that it obeys, and no more. Objects of its own it writes by
server-side apply: a patch, and create for the first; what it does not delete goes with its owner.
*/}}
{{- define "trunkline.rules" -}}
- apiGroups: [trunkline.dev]
  resources: [trunks, agents, mediapools]
  verbs: [list, watch]
# The pool `default`, for the first Trunk that needs it.
- apiGroups: [trunkline.dev]
  resources: [mediapools]
  verbs: [create]
- apiGroups: [trunkline.dev]
  resources: [trunks/status, agents/status, mediapools/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, create, patch, delete]
# Watched as metadata; read only when a Trunk, an Agent or a MediaPool names it.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [services]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [list, watch, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, watch, create, patch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
