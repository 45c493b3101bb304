{{- define "trunkline.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Name of every object. At most 52 characters, so that suffixes fit into a label's 63. */}}
{{- define "trunkline.fullname" -}}
{{- default .Release.Name .Values.fullnameOverride | replace "." "-" | trunc 52 | trimSuffix "-" }}
{{- end }}

{{/* Name of an object without a namespace: releases of the same name in two namespaces do not meet. */}}
{{- define "trunkline.clusterName" -}}
{{ include "trunkline.fullname" . }}:{{ .Release.Namespace }}
{{- end }}

{{- define "trunkline.selector" -}}
app.kubernetes.io/name: {{ include "trunkline.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "trunkline.labels" -}}
app.kubernetes.io/name: {{ include "trunkline.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: trunkline
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{- end }}

{{/* Takes (dict "image" IMAGE "root" $). */}}
{{- define "trunkline.image" -}}
{{ .image.repository }}:{{ default .root.Chart.AppVersion .image.tag }}
{{- end }}

{{/* The namespaces that are obeyed, as a JSON list; empty when all are. */}}
{{- define "trunkline.namespaces" -}}
{{- if .Values.watchAllNamespaces -}}
{{- if .Values.watchNamespaces }}{{ fail "watchAllNamespaces and watchNamespaces contradict each other: write one of the two" }}{{ end -}}
[]
{{- else -}}
{{ default (list .Release.Namespace) .Values.watchNamespaces | toJson }}
{{- end -}}
{{- end }}

{{/* What every container of ours may do: nothing but its work (Pod Security "restricted"). */}}
{{- define "trunkline.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* The operator's own user, as its image names it. */}}
{{- define "trunkline.podSecurity" -}}
runAsNonRoot: true
runAsUser: 50600
runAsGroup: 50600
seccompProfile: {type: RuntimeDefault}
{{- end }}
