package zuulconf

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// pairs splits servers into hosts and ports.
func pairs(servers []string) [][2]any {
	var all [][2]any
	for _, server := range servers {
		host, port, _ := net.SplitHostPort(server)
		n, _ := strconv.Atoi(port)
		all = append(all, [2]any{host, n})
	}
	return all
}

// parse parses a valid file.
func parse(t *testing.T, text string) *File {
	t.Helper()
	f, err := Parse("F", []byte(text), zuulEnviron)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// sample is the file of the corpus that looks like a real one.
func sample(t *testing.T) *File {
	t.Helper()
	raw, err := os.ReadFile("testdata/corpus/zuul.conf")
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, string(raw))
}

func TestZooKeeper(t *testing.T) {
	got, err := sample(t).ZooKeeper()
	want := ZooKeeper{
		Servers: []string{"zk1.example.org:2281", "zk2.example.org:2281", "zk3.example.org:2281"}, Chroot: "/zuul",
		Cert: "/var/certs/certs/client.pem", Key: "/var/certs/keys/clientkey.pem", CA: "/var/certs/certs/cacert.pem",
		SessionTimeout: 40 * time.Second,
		At: map[string]Place{"hosts": {5, 1}, "tls_cert": {7, 1}, "tls_key": {8, 1}, "tls_ca": {9, 1},
			"session_timeout": {10, 1}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\ngot  %+v\nwant %+v", err, got, want)
	}
	if got, err := parse(t, "[DEFAULT]\nhosts = zk\n").ZooKeeper(); err != nil || got.Servers != nil {
		t.Errorf("without the section: %+v, %v", got, err)
	}
	if got, err := parse(t, "[zookeeper]\n[DEFAULT]\nhosts = zk\n").ZooKeeper(); err != nil || len(got.Servers) != 1 {
		t.Errorf("inherited: %+v, %v", got, err)
	}
}

func TestKinesis(t *testing.T) {
	f := sample(t)
	names, err := f.KinesisConnections()
	if want := []string{"gerrit", "review two"}; err != nil || !reflect.DeepEqual(names, want) {
		t.Errorf("%q, %v", names, err)
	}
	if want := []string{"gerrit", "review two", "database"}; !reflect.DeepEqual(f.Connections(), want) {
		t.Errorf("%q", f.Connections())
	}
	got, err := f.Kinesis("gerrit")
	want := &Connection{
		Name: "gerrit", Section: "connection gerrit", Place: Place{15, 1}, Region: "us-west-2", Stream: "gerrit-events",
		AccessKey: "AKIDEXAMPLE", SecretKey: "100%sure/tail", Replication: true,
		At: map[string]Place{
			"driver": {17, 1}, KeyRegion: {20, 1}, KeyStream: {21, 1}, KeyAccess: {22, 1}, KeySecret: {23, 1}, KeyReplication: {24, 1},
		},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\ngot  %+v\nwant %+v", err, got, want)
	}
	got, err = f.Kinesis("review two")
	if err != nil || got == nil || got.Region != "eu-west-1" || got.Stream != "gerrit" || got.AccessKey != "" ||
		got.Replication {
		t.Errorf("%+v, %v", got, err)
	}
	for _, name := range []string{"database", "nobody"} {
		if got, err := f.Kinesis(name); got != nil || err != nil {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// TestConnectionNames: which sections are connections, and their names.
func TestConnectionNames(t *testing.T) {
	const region = "\ndriver=gerrit\naws_kinesis_region="
	tests := []struct{ name, file, connection, region string }{
		{"plain", "[connection a]" + region + "r", "a", "r"},
		{"double quotes", "[connection \"a b\"]" + region + "r", "a b", "r"},
		{"single quotes", "[connection 'a']" + region + "r", "a", "r"},
		{"one quote", "[connection 'a]" + region + "r", "'a", "r"},
		{"only a quote", "[connection ']" + region + "r", "'", "r"},
		{"mixed quotes", "[connection 'a\"]" + region + "r", "'a\"", "r"},
		{"in capitals", "[CONNECTION a]" + region + "r", "a", "r"},
		{"two spaces", "[connection  a]" + region + "r", " a", "r"},
		{"legacy", "[gerrit]" + region + "r", "gerrit", "r"},
		{"legacy has no driver", "[gerrit]\ndriver=x\naws_kinesis_region=r", "gerrit", "r"},
		{"legacy in capitals is foreign", "[GERRIT]" + region + "r", "GERRIT", ""},
		{"legacy gives way", "[gerrit]" + region + "old\n[connection 'gerrit']" + region + "new", "gerrit", "new"},
		{"the last of two counts", "[connection a]" + region + "1\n[connection 'a']" + region + "2", "a", "2"},
		{"another driver", "[connection a]\ndriver=sql\n[DEFAULT]\naws_kinesis_region=r", "a", ""},
		{"no driver", "[connection a]\naws_kinesis_region=r", "a", "r"},
		{"no region", "[connection a]\ndriver=gerrit", "a", ""},
		{"empty region", "[connection a]" + region, "a", ""},
		{"key in capitals", "[connection a]\nAWS_Kinesis_Region=r", "a", "r"},
		{"no connection", "[connections a]" + region + "r", "a", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := parse(t, tt.file).Kinesis(tt.connection)
			got := ""
			if c != nil {
				got = c.Region
			}
			if err != nil || got != tt.region {
				t.Errorf("region %q, %v; want %q", got, err, tt.region)
			}
		})
	}
}

// TestFaults: all faults are reported at once, with lines and without secrets.
func TestFaults(t *testing.T) {
	const head = "[connection a]\ndriver=gerrit\naws_kinesis_region=r\n"
	tests := []struct{ name, file, want string }{
		{"not UTF-8", "[a]\nb = é\xff", "F:2:6: not UTF-8"},
		{"byte order mark", "\ufeff[a]\nb", "F:1:1: it begins with a byte order mark, and Zuul does not read it either; save it without one\n" +
			"F:2:1: neither a [section] nor a \"key = value\", nor indented to continue the value above"},
		{"no section", "# x\n  a = 1\nb = 2\n[a]\n[a]", "F:2:3: a line before the first [section]\nF:5:1: [a] is already defined at line 4"},
		{"a key twice", "[a]\nb = 1\nB: 2", "F:3:1: [a] b is already defined at line 2"},
		{"a key twice in defaults", "[DEFAULT]\nb = 1\n[DEFAULT]\nb = 2", "F:4:1: [DEFAULT] b is already defined at line 2"},
		{"no key", "[a]\n = hunter2", `F:2:2: no key before the '='`},
		{"no delimiter", "[a]\nhunter2", "F:2:1: neither a [section] nor a \"key = value\", nor indented to continue the value above"},
		{"hosts", "[zookeeper]\nhosts=zk1:x,,zk 2,::1,[zk]:1/a/../b\nsession_timeout=0",
			`F:2:1: [zookeeper] hosts: "zk1:x": the port is not a number from 1 to 65535
F:2:1: [zookeeper] hosts: a server is missing before or after a comma
F:2:1: [zookeeper] hosts: "zk 2" is not a host's name or address
F:2:1: [zookeeper] hosts: "::1": several colons; an IPv6 address goes in brackets: [::1]:2181
F:2:1: [zookeeper] hosts: "[zk]:1" is not an IPv6 address in brackets, such as [::1]:2181
F:2:1: [zookeeper] hosts: the chroot "/a/../b" has a relative part
F:3:1: [zookeeper] session_timeout: "0" is not a number of seconds`},
		{"no hosts", "[zookeeper]\nhosts=", "F:2:1: [zookeeper] hosts: no server is named"},
		{"only a chroot", "[zookeeper]\nhosts=/zuul", "F:2:1: [zookeeper] hosts: no server is named"},
		{"references", "[zookeeper]\nhosts=%(none)s\ntls_ca=5%\ntls_key=%(x\ntls_cert=%(tls_cert)s",
			`F:2:1: [zookeeper] hosts: %(none)s: no such key in the section, in [DEFAULT] or among the ZUUL_* variables
F:5:1: [zookeeper] tls_cert: its references are more than 10 levels deep; perhaps they are circular
F:4:1: [zookeeper] tls_key: a reference begins with "%(" but lacks a name or ")s"
F:3:1: [zookeeper] tls_ca: a percent sign must be written as %%`},
		{"a reference to a broken variable", "[zookeeper]\nhosts=%(zuul_bad)s", "F:2:1: [zookeeper] hosts: a percent sign must be written as %%"},
		{"session timeout", "[zookeeper]\nsession_timeout=10s", `F:2:1: [zookeeper] session_timeout: "10s" is not a number of seconds`},
		{"secret with a percent sign", head + "aws_kinesis_access_key=id\naws_kinesis_secret_key=hunter2%x",
			"F:5:1: [connection a] aws_kinesis_secret_key: it has an unknown reference, or a percent sign that is not written as %%"},
		{"secret with a reference", head + "aws_kinesis_access_key=id\naws_kinesis_secret_key=%(hunter2)s",
			"F:5:1: [connection a] aws_kinesis_secret_key: it has an unknown reference, or a percent sign that is not written as %%"},
		{"id without secret", head + "aws_kinesis_access_key=hunter2",
			"F:4:1: [connection a] aws_kinesis_access_key: given without aws_kinesis_secret_key"},
		{"id of two words", head + "aws_kinesis_access_key=hunter2 x\naws_kinesis_secret_key=y",
			"F:4:1: [connection a] aws_kinesis_access_key: more than one word"},
		{"secret of two lines", head + "aws_kinesis_access_key=x\naws_kinesis_secret_key=hunter2\n  y",
			"F:5:1: [connection a] aws_kinesis_secret_key: more than one word"},
		{"empty stream", head + "aws_kinesis_stream=", `F:4:1: [connection a] aws_kinesis_stream: empty; without the key the stream is "gerrit"`},
		{"replication timeout", head + "replication_timeout=soon", `F:4:1: [connection a] replication_timeout: "soon" is not a number of seconds`},
		{"driver", "[connection a]\ndriver=%(x)s\naws_kinesis_region=r",
			"F:2:1: [connection a] driver: %(x)s: no such key in the section, in [DEFAULT] or among the ZUUL_* variables"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := everythingWrong(tt.file)
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if strings.Contains(got, "hunter2") {
				t.Error("a secret is quoted")
			}
		})
	}
}

// everythingWrong returns the faults of a file and of its values.
func everythingWrong(text string) string {
	f, err := Parse("F", []byte(text), zuulEnviron)
	if err != nil {
		return err.Error()
	}
	var found []string
	if _, err := f.ZooKeeper(); err != nil {
		found = append(found, err.Error())
	}
	for _, name := range f.Connections() {
		if _, err := f.Kinesis(name); err != nil {
			found = append(found, err.Error())
		}
	}
	return strings.Join(found, "\n")
}

// TestUnreadValuesMayHoldAnything: only values that are read are interpolated.
func TestUnreadValuesMayHoldAnything(t *testing.T) {
	f := parse(t, `
[connection a]
driver = gerrit
password = 5%
aws_kinesis_region = r
aws_kinesis_secret_key = 5% as well, and without an id it counts for nothing
[connection b]
aws_kinesis_region = %(
[connection c]
driver = %(nothing)s
[zookeeper]
hosts = zk
foreign = %(foreign)s
`)
	if _, err := f.ZooKeeper(); err != nil {
		t.Error(err)
	}
	if c, err := f.Kinesis("a"); err != nil || c == nil || c.SecretKey != "" {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := f.KinesisConnections(); err == nil ||
		!strings.HasPrefix(err.Error(), "F:8:1: [connection b] aws_kinesis_region: ") ||
		strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
}

func TestEnvironment(t *testing.T) {
	const text = "[zookeeper]\nhosts = %(ZUUL_ZK)s\n[DEFAULT]\nzuul_over = file\n"
	f, err := Parse("F", []byte(text), []string{"ZUUL_ZK=zk1", "ZUUL_OVER=%", "OTHER=%", "ZUUL_ZK_=x"})
	if err != nil {
		t.Fatal(err)
	}
	if z, err := f.ZooKeeper(); err != nil || !reflect.DeepEqual(z.Servers, []string{"zk1:2181"}) {
		t.Errorf("%+v, %v", z, err)
	}
	if v, _, fault := f.get(f.find("zookeeper"), "zuul_over", false); fault != nil || v.text != "file" {
		t.Errorf("%+v, %v: the file is stronger", v, fault)
	}
	_, err = Parse("F", []byte(text), []string{"ZUUL_ZK=zk1", "ZUUL_zk=zk2"})
	if err == nil || err.Error() != "F: the environment has $ZUUL_ZK and $ZUUL_zk, which are the same key" {
		t.Errorf("got %v", err)
	}
}

// TestInterpolationEnds: ten levels of a hundred thousand references each are
// not all followed.
func TestInterpolationEnds(t *testing.T) {
	var b strings.Builder
	b.WriteString("[zookeeper]\nhosts = %(k1)s\n")
	for i := range 8 {
		fmt.Fprintf(&b, "k%d = %s\n", i+1, strings.Repeat(fmt.Sprintf("%%(k%d)s", i+2), 10_000))
	}
	_, err := parse(t, b.String()+"k9 = %%\n").ZooKeeper()
	if want := "F:2:1: [zookeeper] hosts: more than 10000 references"; err == nil || err.Error() != want {
		t.Errorf("got %.200v", err)
	}
	long := strings.Repeat("x", maxValue/2)
	_, err = parse(t, "[zookeeper]\nhosts = %(l)s%(l)s%(l)s\nl="+long).ZooKeeper()
	if want := "F:2:1: [zookeeper] hosts: longer than 1 MiB with its references"; err == nil || err.Error() != want {
		t.Errorf("got %.200v", err)
	}
}

// TestSecretsAreNotPrinted with any verb, log or encoding.
func TestSecretsAreNotPrinted(t *testing.T) {
	c := Connection{Name: "a", AccessKey: "hunter2", SecretKey: "hunter2"}
	var b strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X"} {
		fmt.Fprintf(&b, verb+verb+verb+"\n", c, &c, c.SecretKey) //nolint:govet // verbs from the table
	}
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	b.Write(text)
	slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "c", c, "key", c.SecretKey)
	slog.New(slog.NewTextHandler(&b, nil)).Info("x", "c", c, "key", c.SecretKey)
	for _, secret := range []string{"hunter2", fmt.Sprintf("%x", "hunter2"), fmt.Sprintf("%X", "hunter2")} {
		if strings.Contains(b.String(), secret) {
			t.Errorf("printed:\n%s", &b)
		}
	}
}

func TestChroots(t *testing.T) {
	for path, want := range map[string]string{
		"": "", "/a": "", "/a/b-c.d_e": "", "/...": "",
		"/a/./b": `the chroot "/a/./b" has a relative part`,
		"/..":    `the chroot "/.." has a relative part`,
		"/a\x7f": `the chroot "/a\x7f" has a character that ZooKeeper refuses`,
	} {
		got := ""
		if err := checkChroot(path); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", path, got, want)
		}
	}
}

// TestWrittenIsRead: values written by the rules are read back unchanged.
func TestWrittenIsRead(t *testing.T) {
	key := rapid.StringMatching(`[a-z][a-z_0-9.-]{0,8}`)
	text := rapid.StringOf(rapid.RuneFrom([]rune("ab%=:#;[]()s é\t\"'"))).
		Filter(func(s string) bool { return s == trim(s) })
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.MapOfN(key, text, 0, 6).Draw(t, "values")
		var b strings.Builder
		b.WriteString("[a]\n")
		for k, v := range want {
			delimiter := rapid.SampledFrom([]string{"=", ":", " = ", "\t:  "}).Draw(t, "delimiter")
			b.WriteString(k + delimiter + strings.ReplaceAll(v, "%", "%%") +
				rapid.SampledFrom([]string{"\n", "\r\n", "\n\n# x\n", " \n"}).Draw(t, "end"))
		}
		f, err := Parse("F", []byte(b.String()), nil)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for k := range f.sections[0].values {
			v, _, fault := f.get(f.sections[0], k, false)
			if fault != nil {
				t.Fatal(fault)
			}
			got[k] = v.text
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %q, want %q of %q", got, want, b.String())
		}
	})
}

// FuzzParse: reading any file ends with values, or with faults of one line that
// have a place.
func FuzzParse(f *testing.F) {
	for _, raw := range corpus(f) {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		file, err := Parse("F", raw, zuulEnviron)
		if err != nil {
			for _, line := range linesOf(err) {
				if line < 1 {
					t.Errorf("a fault without a line: %v", err)
				}
			}
			return
		}
		z, err := file.ZooKeeper()
		if err == nil && checkChroot(z.Chroot) != nil {
			t.Errorf("chroot %q", z.Chroot)
		}
		if again, err := splitServers(strings.Join(z.Servers, ",")); len(z.Servers) > 0 &&
			(err != nil || !reflect.DeepEqual(again, z.Servers)) {
			t.Errorf("servers %q are read again as %q, %v", z.Servers, again, err)
		}
		names, err := file.KinesisConnections()
		for _, name := range names {
			c, fault := file.Kinesis(name)
			if err == nil && c == nil || fault == nil && (c.AccessKey == "") != (c.SecretKey == "") {
				t.Errorf("connection %q: %+v, %v", name, c, fault)
			}
		}
	})
}
