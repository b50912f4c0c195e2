{{- define "helios-proxy.labels" -}}
app.kubernetes.io/name: helios-proxy
app.kubernetes.io/instance: {{ .Release.Name }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* One object of the policies: (dict "top" $ "kind" "PoolProfile" "name" "fast" "spec" …). */}}
{{- define "helios-proxy.policy" -}}
apiVersion: helios.heliosproxy.dev/v1alpha1
kind: {{ .kind }}
metadata:
  name: {{ .name }}
  namespace: {{ .top.Release.Namespace }}
  labels:
    {{- include "helios-proxy.labels" .top | nindent 4 }}
spec:
  {{- toYaml .spec | nindent 2 }}
{{- end -}}
