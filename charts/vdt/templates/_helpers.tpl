{{- define "vdt.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- /* The release's name, not said twice; short enough for every suffix of the chart and for a pod's name. */}}
{{- define "vdt.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Objects without a namespace share one space of names with every other release. */}}
{{- define "vdt.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "vdt.fullname" .) }}
{{- end }}

{{- define "vdt.selector" -}}
app.kubernetes.io/name: {{ include "vdt.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "vdt.labels" -}}
{{ include "vdt.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: vdt
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* The metadata of an object: (list root name {labels} {annotations}), without its namespace. */}}
{{- define "vdt.metadata" -}}
{{- $root := index . 0 -}}
name: {{ index . 1 }}
labels:
  {{- include "vdt.labels" $root | nindent 2 }}
  {{- if gt (len .) 2 }}
  {{- with index . 2 }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- end }}
{{- $annotations := $root.Values.annotations }}
{{- if gt (len .) 3 }}
{{- $annotations = merge (dict) (index . 3) $annotations }}
{{- end }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "vdt.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "vdt.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name is needed when serviceAccount.create is false" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- /* A reference of an image: (list root "operator"). */}}
{{- define "vdt.image" -}}
{{- $root := index . 0 }}
{{- $image := index $root.Values.images (index . 1) }}
{{- $repository := $image.repository }}
{{- with $root.Values.images.registry }}
{{- $repository = printf "%s/%s" (trimSuffix "/" .) $repository }}
{{- end }}
{{- if $image.digest }}
{{- printf "%s@%s" $repository $image.digest }}
{{- else }}
{{- printf "%s:%s" $repository (default $root.Chart.AppVersion $image.tag) }}
{{- end }}
{{- end }}

{{- define "vdt.watchNamespace" -}}
{{- if eq .Values.scope "Namespaced" }}
{{- default .Release.Namespace .Values.watchNamespace }}
{{- end }}
{{- end }}

{{- define "vdt.adminKeySecret" -}}
{{- default (printf "%s-admin-key" (include "vdt.fullname" .)) .Values.admin.keySecret }}
{{- end }}

{{- define "vdt.leaseName" -}}
{{- printf "%s-leader" (include "vdt.fullname" .) }}
{{- end }}

{{- /* What the operator may do to the objects that it makes. The same rules bind to the cluster or to a namespace. */}}
{{- define "vdt.rules" -}}
- apiGroups: [vdt.io]
  resources: [virtualtables]
  verbs: [get, list, watch]
- apiGroups: [vdt.io]
  resources: [virtualtables/status]
  verbs: [patch]
# A server-side apply of an object that does not exist yet needs create beside patch.
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [configmaps, services, serviceaccounts]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
# Pods are made by their StatefulSet; the operator rolls them, and annotates them so that the kubelet brings a new Secret.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, patch, delete]
- apiGroups: [""]
  resources: [pods/resize]
  verbs: [patch]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [secrets]
  verbs: [get{{ if .Values.secrets.watch }}, list, watch{{ end }}]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors]
  verbs: [get, create, patch, delete]
- apiGroups: [cert-manager.io]
  resources: [certificates]
  verbs: [get, create, patch, delete]
{{- end }}
