{{- define "gerritstream.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "gerritstream.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "gerritstream.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" | trimSuffix "." }}
{{ include "gerritstream.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "gerritstream.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "gerritstream.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* Whether pods on several hosts can share the store. */}}
{{- define "gerritstream.shared" -}}
{{- $store := get .Values.config "store" }}
{{- if not (or (empty $store) (hasPrefix "sqlite:" $store)) }}true{{ end }}
{{- end }}

{{/* The pods, whoever makes them. */}}
{{- define "gerritstream.pods" -}}
metadata:
  labels:
    {{- include "gerritstream.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/config: {{ toYaml .Values.config | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "gerritstream.serviceAccount" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: 15
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile:
      type: RuntimeDefault
  containers:
    - name: gerritstream
      image: {{ printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: ["run", "--config", "/etc/gerritstream/gerrit.yaml"]
      env:
        - name: GERRITSTREAM_ADMIN
          value: ":9419"
        {{- if not (get .Values.config "admin_hosts") }}
        {{- $name := include "gerritstream.fullname" . }}
        {{- $within := printf "%s.%s" $name .Release.Namespace }}
        - name: GERRITSTREAM_ADMIN_HOSTS
          value: {{ printf "%s,%s,%s.svc,%s.svc.cluster.local" $name $within $within $within | quote }}
        {{- end }}
        {{- if .Values.zookeeperTLSSecret }}
        - name: GERRITSTREAM_ZOOKEEPER_TLS_CERT
          value: /etc/gerritstream/zookeeper/tls.crt
        - name: GERRITSTREAM_ZOOKEEPER_TLS_KEY
          value: /etc/gerritstream/zookeeper/tls.key
        - name: GERRITSTREAM_ZOOKEEPER_TLS_CA
          value: /etc/gerritstream/zookeeper/ca.crt
        {{- end }}
        {{- with .Values.env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with .Values.envFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - name: admin
          containerPort: 9419
      livenessProbe:
        httpGet:
          path: /healthz
          port: admin
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet:
          path: /readyz
          port: admin
        periodSeconds: 10
        timeoutSeconds: 5
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: ["ALL"]
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      volumeMounts:
        - name: config
          mountPath: /etc/gerritstream/gerrit.yaml
          subPath: gerrit.yaml
          readOnly: true
        {{- if not (include "gerritstream.shared" .) }}
        - name: queue
          mountPath: /var/lib/gerritstream
        {{- end }}
        {{- if .Values.zookeeperTLSSecret }}
        - name: zookeeper-tls
          mountPath: /etc/gerritstream/zookeeper
          readOnly: true
        {{- end }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- with .Values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ include "gerritstream.fullname" . }}
    {{- if .Values.zookeeperTLSSecret }}
    - name: zookeeper-tls
      secret:
        secretName: {{ .Values.zookeeperTLSSecret }}
        defaultMode: 0440
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- if include "gerritstream.shared" . }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "gerritstream.selector" . | nindent 10 }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
