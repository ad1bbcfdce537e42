// Package chart tests the Helm chart: Helm's own engine renders it, and the
// types of Kubernetes read the result strictly.
package chart

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	policy "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"
)

// values are some of the chart's, in YAML.
const (
	sqlite = "image: {repository: registry.example/gerritstream}\n" +
		"config: {stream: gerrit, aws: {region: us-west-2}}\n"
	zookeeper = "image: {repository: registry.example/gerritstream}\n" +
		"config: {stream: gerrit, aws: {region: us-west-2}, store: 'zookeeper://zk1:2281,zk2:2281/ci'}\n"
)

// kinds are the types of what the chart makes.
var kinds = map[string]func() any{
	"Deployment":          func() any { return &apps.Deployment{} },
	"StatefulSet":         func() any { return &apps.StatefulSet{} },
	"ConfigMap":           func() any { return &core.ConfigMap{} },
	"Service":             func() any { return &core.Service{} },
	"ServiceAccount":      func() any { return &core.ServiceAccount{} },
	"PodDisruptionBudget": func() any { return &policy.PodDisruptionBudget{} },
	"ServiceMonitor":      func() any { return &monitoring.ServiceMonitor{} },
}

// render returns what the chart makes of values, by kind, and its notes. It
// refuses what a type does not have, and two objects of one kind.
func render(t *testing.T, values string) (objects map[string]any, notes string) {
	t.Helper()
	objects = map[string]any{}
	files, err := renderFiles(t, load(t), values)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if strings.HasSuffix(name, "NOTES.txt") {
			notes = text
			continue
		}
		if strings.TrimSpace(text) == "" {
			continue
		}
		var header struct{ Kind string }
		if err := yaml.Unmarshal([]byte(text), &header); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, text)
		}
		made, ok := kinds[header.Kind]
		if !ok || objects[header.Kind] != nil {
			t.Fatalf("%s makes a %q, unknown or the second one\n%s", name, header.Kind, text)
		}
		object := made()
		if err := yaml.UnmarshalStrict([]byte(text), object); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, text)
		}
		objects[header.Kind] = object
	}
	return objects, notes
}

func load(t *testing.T) *chart.Chart {
	t.Helper()
	loaded, err := loader.Load(filepath.Join("..", "..", "deploy", "helm", "gerritstream"))
	if err != nil {
		t.Fatal(err)
	}
	if err := loaded.Validate(); err != nil {
		t.Fatal(err)
	}
	return loaded
}

// renderFiles validates values by the schema, and renders all templates.
func renderFiles(t *testing.T, loaded *chart.Chart, values string) (map[string]string, error) {
	t.Helper()
	given, err := loader.LoadValues(strings.NewReader(values))
	if err != nil {
		return nil, err
	}
	all, err := util.ToRenderValues(loaded, given,
		common.ReleaseOptions{Name: "events", Namespace: "ci", Revision: 1, IsInstall: true},
		common.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	return engine.Engine{Strict: true}.RenderWithContext(t.Context(), loaded, all)
}

func kindsOf(objects map[string]any) []string { return slices.Sorted(maps.Keys(objects)) }

func TestSQLiteIsOneStatefulPod(t *testing.T) {
	objects, notes := render(t, sqlite+"replicas: 3\n")
	want := []string{"ConfigMap", "Service", "ServiceAccount", "StatefulSet"}
	if got := kindsOf(objects); !slices.Equal(got, want) {
		t.Fatalf("it makes %q, want %q", got, want)
	}
	set := objects["StatefulSet"].(*apps.StatefulSet)
	if *set.Spec.Replicas != 1 || set.Spec.ServiceName != objects["Service"].(*core.Service).Name {
		t.Errorf("%d replicas of service %q", *set.Spec.Replicas, set.Spec.ServiceName)
	}
	claim := set.Spec.VolumeClaimTemplates[0]
	if size := claim.Spec.Resources.Requests[core.ResourceStorage]; size.String() != "10Gi" {
		t.Errorf("the volume has %v", size)
	}
	kept := set.Spec.PersistentVolumeClaimRetentionPolicy.WhenDeleted
	if kept != apps.RetainPersistentVolumeClaimRetentionPolicyType {
		t.Error("the queue is deleted with the release")
	}
	mounts := mountsOf(set.Spec.Template)
	if mounts["/var/lib/gerritstream"] != claim.Name {
		t.Errorf("the volume is not mounted where the queue is: %v", mounts)
	}
	checkPod(t, set.Spec.Template, set.Spec.Selector.MatchLabels, objects)
	if !strings.Contains(notes, "statefulset/events-gerritstream") {
		t.Errorf("notes:\n%s", notes)
	}
}

func TestZooKeeperIsADeployment(t *testing.T) {
	objects, notes := render(t, zookeeper+"zookeeperTLSSecret: zk\n")
	want := []string{"ConfigMap", "Deployment", "PodDisruptionBudget", "Service", "ServiceAccount"}
	if got := kindsOf(objects); !slices.Equal(got, want) {
		t.Fatalf("it makes %q, want %q", got, want)
	}
	deployment := objects["Deployment"].(*apps.Deployment)
	if *deployment.Spec.Replicas != 2 {
		t.Errorf("%d replicas", *deployment.Spec.Replicas)
	}
	template := deployment.Spec.Template
	checkPod(t, template, deployment.Spec.Selector.MatchLabels, objects)
	mounts := mountsOf(template)
	if mounts["/var/lib/gerritstream"] != "" || mounts["/etc/gerritstream/zookeeper"] != "zookeeper-tls" {
		t.Errorf("mounts %v", mounts)
	}
	for _, v := range template.Spec.Volumes {
		if v.Name == "zookeeper-tls" && v.Secret.SecretName != "zk" {
			t.Errorf("the certificates are of secret %q", v.Secret.SecretName)
		}
	}
	budget := objects["PodDisruptionBudget"].(*policy.PodDisruptionBudget)
	if budget.Spec.MaxUnavailable.IntValue() != 1 ||
		!reflect.DeepEqual(budget.Spec.Selector, deployment.Spec.Selector) {
		t.Errorf("budget %+v", budget.Spec)
	}
	if !strings.Contains(notes, "deployment/events-gerritstream") || !strings.Contains(notes, "zookeeper://zk1:2281") {
		t.Errorf("notes:\n%s", notes)
	}
}

// TestOnePodNeedsNoBudget: a budget would only keep a node from being drained.
func TestOnePodNeedsNoBudget(t *testing.T) {
	for _, values := range []string{"replicas: 1\n", "podDisruptionBudget: {enabled: false}\n"} {
		if objects, _ := render(t, zookeeper+values); objects["PodDisruptionBudget"] != nil {
			t.Errorf("%q: there is a budget", values)
		}
	}
}

func TestServiceMonitorFindsTheService(t *testing.T) {
	objects, _ := render(t, sqlite+"serviceMonitor: {enabled: true, interval: 15s, labels: {release: prometheus}}\n")
	monitor := objects["ServiceMonitor"].(*monitoring.ServiceMonitor)
	service := objects["Service"].(*core.Service)
	for key, value := range monitor.Spec.Selector.MatchLabels {
		if service.Labels[key] != value {
			t.Errorf("the monitor wants the label %s=%s, the service has %q", key, value, service.Labels[key])
		}
	}
	endpoint := monitor.Spec.Endpoints[0]
	if endpoint.Port != service.Spec.Ports[0].Name || endpoint.Path != "/metrics" || endpoint.Interval != "15s" {
		t.Errorf("endpoint %+v", endpoint)
	}
	if monitor.Labels["release"] != "prometheus" {
		t.Errorf("labels %v", monitor.Labels)
	}
}

func TestRoleOfAWSIsOnTheServiceAccount(t *testing.T) {
	const role = "arn:aws:iam::123456789012:role/gerrit-events"
	objects, _ := render(t, sqlite+"serviceAccount: {awsRoleARN: '"+role+"', annotations: {team: ci}}\n")
	account := objects["ServiceAccount"].(*core.ServiceAccount)
	want := map[string]string{"eks.amazonaws.com/role-arn": role, "team": "ci"}
	if !maps.Equal(account.Annotations, want) {
		t.Errorf("annotations %v, want %v", account.Annotations, want)
	}
	objects, _ = render(t, sqlite+"serviceAccount: {create: false, name: reader}\n")
	set := objects["StatefulSet"].(*apps.StatefulSet)
	if objects["ServiceAccount"] != nil || set.Spec.Template.Spec.ServiceAccountName != "reader" {
		t.Errorf("service account %q", set.Spec.Template.Spec.ServiceAccountName)
	}
}

// TestChangedSettingsReplaceThePods: a process reads its settings once.
func TestChangedSettingsReplaceThePods(t *testing.T) {
	sum := func(values string) string {
		objects, _ := render(t, values)
		return objects["StatefulSet"].(*apps.StatefulSet).Spec.Template.Annotations["checksum/config"]
	}
	before := sum(sqlite)
	if before == "" || before != sum(sqlite+"podLabels: {a: b}\n") {
		t.Error("the annotation does not follow the settings alone")
	}
	if before == sum(strings.Replace(sqlite, "us-west-2", "eu-west-1", 1)) {
		t.Error("the annotation does not follow the settings")
	}
}

// TestEveryValueIsUsed renders values that are all set.
func TestEveryValueIsUsed(t *testing.T) {
	objects, _ := render(t, `
image: {repository: registry.example/gerritstream, tag: 1.2.3, pullPolicy: Always}
config: {stream: gerrit, store: 'zookeeper://zk1:2281'}
imagePullSecrets: [{name: registry}]
replicas: 3
env: [{name: AWS_ACCESS_KEY_ID, valueFrom: {secretKeyRef: {name: aws, key: id}}}]
envFrom: [{secretRef: {name: more}}]
podAnnotations: {a: b}
podLabels: {c: d}
nodeSelector: {disk: ssd}
tolerations: [{key: ci, operator: Exists}]
affinity: {nodeAffinity: {}}
priorityClassName: high
extraContainers: [{name: reader, image: registry.example/reader}]
extraVolumes: [{name: ca, configMap: {name: ca}}]
extraVolumeMounts: [{name: ca, mountPath: /ca}]
nameOverride: reader
`)
	pod := objects["Deployment"].(*apps.Deployment).Spec.Template
	spec, container := pod.Spec, pod.Spec.Containers[0]
	for what, ok := range map[string]bool{
		"image":        container.Image == "registry.example/gerritstream:1.2.3" && container.ImagePullPolicy == core.PullAlways,
		"pull secrets": spec.ImagePullSecrets[0].Name == "registry",
		"replicas":     *objects["Deployment"].(*apps.Deployment).Spec.Replicas == 3,
		"env": slices.ContainsFunc(container.Env, func(e core.EnvVar) bool {
			return e.Name == "AWS_ACCESS_KEY_ID" && e.ValueFrom.SecretKeyRef.Name == "aws"
		}),
		"envFrom":     container.EnvFrom[0].SecretRef.Name == "more",
		"annotations": pod.Annotations["a"] == "b",
		"labels":      pod.Labels["c"] == "d" && pod.Labels["app.kubernetes.io/name"] == "reader",
		"selector":    spec.NodeSelector["disk"] == "ssd",
		"tolerations": spec.Tolerations[0].Key == "ci",
		"affinity":    spec.Affinity.NodeAffinity != nil,
		"priority":    spec.PriorityClassName == "high",
		"containers":  spec.Containers[1].Name == "reader",
		"volumes":     mountsOf(pod)["/ca"] == "ca",
		"name":        objects["Deployment"].(*apps.Deployment).Name == "events-reader",
	} {
		if !ok {
			t.Errorf("%s: the value is not used", what)
		}
	}
}

// TestSchemaRefuses gives values that would make pods that do not start.
func TestSchemaRefuses(t *testing.T) {
	loaded := load(t)
	for values, named := range map[string]string{
		"":                         "repository",
		"image: {repository: r}\n": "stream",
		sqlite + "replicas: 0\n":   "replicas",
		sqlite + "replica: 1\n":    "replica",
		"image: {repository: r}\nconfig: {stream: s, store: 'sqlite:/data/x.db'}\n": "store",
		"image: {repository: r}\nconfig: {stream: s, admin: '127.0.0.1:1'}\n":       "config",
		sqlite + "serviceAccount: {awsRoleARN: gerrit-events}\n":                    "awsRoleARN",
		sqlite + "serviceMonitor: {enabled: 'yes'}\n":                               "enabled",
		"image: {repository: r, pullPolicy: Sometimes}\nconfig: {stream: s}\n":      "pullPolicy",
	} {
		_, err := renderFiles(t, loaded, values)
		if err == nil || !strings.Contains(err.Error(), named) {
			t.Errorf("%q: %v, want an error that names %q", values, err, named)
		}
	}
}

func mountsOf(pod core.PodTemplateSpec) map[string]string {
	mounts := map[string]string{}
	for _, m := range pod.Spec.Containers[0].VolumeMounts {
		mounts[m.MountPath] = m.Name
	}
	return mounts
}

// checkPod checks what holds for pods on any store.
func checkPod(t *testing.T, pod core.PodTemplateSpec, selector map[string]string, objects map[string]any) {
	t.Helper()
	service := objects["Service"].(*core.Service)
	for _, labels := range []map[string]string{selector, service.Spec.Selector} {
		for key, value := range labels {
			if len(labels) == 0 || pod.Labels[key] != value {
				t.Errorf("the pods are not selected by %s=%s", key, value)
			}
		}
	}
	security, container := pod.Spec.SecurityContext, pod.Spec.Containers[0]
	if !*security.RunAsNonRoot || *security.RunAsUser != 65532 || *security.FSGroup != 65532 ||
		security.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault {
		t.Errorf("security of the pod: %+v", security)
	}
	own := container.SecurityContext
	if !*own.ReadOnlyRootFilesystem || *own.AllowPrivilegeEscalation || own.Capabilities.Drop[0] != "ALL" {
		t.Errorf("security of the container: %+v", own)
	}
	named := map[string]bool{}
	for _, v := range pod.Spec.Volumes {
		named[v.Name] = true
	}
	if set, ok := objects["StatefulSet"].(*apps.StatefulSet); ok {
		named[set.Spec.VolumeClaimTemplates[0].Name] = true
	}
	for path, volume := range mountsOf(pod) {
		if !named[volume] {
			t.Errorf("%s: there is no volume %q", path, volume)
		}
	}
	config := objects["ConfigMap"].(*core.ConfigMap)
	var settings map[string]any
	err := yaml.Unmarshal([]byte(config.Data["gerrit.yaml"]), &settings)
	if err != nil || settings["stream"] != "gerrit" {
		t.Errorf("settings %v: %v", settings, err)
	}
	if container.LivenessProbe.HTTPGet.Path != "/healthz" || container.ReadinessProbe.HTTPGet.Path != "/readyz" {
		t.Error("the probes ask for something else than health")
	}
	if memory := container.Resources.Limits.Memory().Value(); memory < 2*128<<20+128<<20 {
		t.Errorf("the limit of %d bytes is below what `memory` needs", memory)
	}
}

// TestValuesAreDescribed: each value has its place in the schema, so that
// a wrong name is refused.
func TestValuesAreDescribed(t *testing.T) {
	folder := filepath.Join("..", "..", "deploy", "helm", "gerritstream")
	var values map[string]any
	var schema struct{ Properties map[string]any }
	for name, into := range map[string]any{"values.yaml": &values, "values.schema.json": &schema} {
		text, err := os.ReadFile(filepath.Join(folder, name))
		if err == nil {
			err = yaml.Unmarshal(bytes.TrimSpace(text), into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for name := range values {
		if schema.Properties[name] == nil {
			t.Errorf("values.schema.json does not know %s", name)
		}
	}
	for name := range schema.Properties {
		if _, ok := values[name]; !ok && name != "global" {
			t.Errorf("values.yaml does not have %s", name)
		}
	}
}
