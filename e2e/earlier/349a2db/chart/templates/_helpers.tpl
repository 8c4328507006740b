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

{{- /* Labels are maps that are merged, the first one that has a key wins: a key that is written twice is refused by some of those who read it. */}}
{{- define "vdt.selector" -}}
{{- dict "app.kubernetes.io/name" (include "vdt.name" .) "app.kubernetes.io/instance" .Release.Name "app.kubernetes.io/component" "operator" | toYaml }}
{{- end }}

{{- /* The labels of an object: (list root {labels}). The chart's own win, then those that are given, then those of every object. */}}
{{- define "vdt.labels" -}}
{{- $root := index . 0 }}
{{- $own := dict
  "app.kubernetes.io/version" $root.Chart.AppVersion
  "app.kubernetes.io/part-of" "vdt"
  "app.kubernetes.io/managed-by" $root.Release.Service
  "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_")
}}
{{- merge (dict) (include "vdt.selector" $root | fromYaml) $own (index . 1) $root.Values.labels | toYaml }}
{{- end }}

{{- /* The metadata of an object: (list root name {labels} {annotations}), without its namespace. */}}
{{- define "vdt.metadata" -}}
{{- $root := index . 0 }}
{{- $labels := dict }}
{{- if gt (len .) 2 }}
{{- $labels = index . 2 }}
{{- end }}
{{- $annotations := $root.Values.annotations }}
{{- if gt (len .) 3 }}
{{- $annotations = merge (dict) (index . 3) $annotations }}
{{- end -}}
name: {{ index . 1 }}
labels:
  {{- include "vdt.labels" (list $root $labels) | nindent 2 }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* A pod's security context without the ids that the cluster gives: (list root {context}). */}}
{{- define "vdt.podSecurityContext" -}}
{{- $root := index . 0 }}
{{- if $root.Values.podSecurity.assignIds }}
{{- toYaml (index . 1) }}
{{- else }}
{{- omit (index . 1) "runAsUser" "runAsGroup" "fsGroup" | toYaml }}
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
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [cert-manager.io]
  resources: [certificates]
  verbs: [get, list, watch, create, patch, delete]
{{- end }}
