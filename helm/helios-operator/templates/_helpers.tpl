{{/* Name of the chart's objects: always the same, for there is one operator in a cluster. */}}
{{- define "helios-operator.fullname" -}}
{{- default .Chart.Name .Values.nameOverride -}}
{{- end -}}

{{/* What selects the pods; it can never change. */}}
{{- define "helios-operator.selector" -}}
app.kubernetes.io/name: {{ include "helios-operator.fullname" . }}
{{- end -}}

{{- define "helios-operator.labels" -}}
{{ include "helios-operator.selector" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "helios-operator.account" -}}
{{- default (ternary (include "helios-operator.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{/* Name of everything that belongs to the webhooks. */}}
{{- define "helios-operator.webhooks" -}}
{{ include "helios-operator.fullname" . }}-webhook
{{- end -}}

{{- define "helios-operator.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end -}}
