package zuulconf

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// ZooKeeper is what the file says of ZooKeeper, in its section [zookeeper].
type ZooKeeper struct {
	Servers []string // "HOST:PORT"; none: there is no such section, or it has no hosts
	Chroot  string   // "/zuul"; "": none
	Cert    string   // paths of PEM files; "": not given
	Key     string
	CA      string

	// SessionTimeout is what to ask for. 0: not given. (Zuul's own default is
	// not looked at.)
	SessionTimeout time.Duration

	At map[string]Place // where each key stands, by its name in the file: "hosts"
}

// ZooKeeper reads the section [zookeeper]. Its error joins a *Fault for each
// key that is wrong.
func (f *File) ZooKeeper() (ZooKeeper, error) {
	z := ZooKeeper{}
	s := f.find("zookeeper")
	if s == nil {
		return z, nil
	}
	r := reader{file: f, section: s, at: map[string]Place{}}
	if hosts, ok := r.text("hosts"); ok {
		var err error
		z.Servers, z.Chroot, err = SplitHosts(hosts)
		r.wrong("hosts", err)
	}
	z.Cert, _ = r.text("tls_cert")
	z.Key, _ = r.text("tls_key")
	z.CA, _ = r.text("tls_ca")
	if text, ok := r.text("session_timeout"); ok {
		z.SessionTimeout = r.seconds("session_timeout", text)
	}
	z.At = r.at
	return z, r.faults.err()
}

// reader reads the keys of one section.
type reader struct {
	file    *File
	section *section
	at      map[string]Place
	faults  faults
}

// text returns a key's value; ok is false where there is none, or a fault.
func (r *reader) text(key string) (text string, ok bool) { return r.read(key, false) }

// secret is text for a value that is never quoted.
func (r *reader) secret(key string) Secret {
	text, _ := r.read(key, true)
	return Secret(text)
}

func (r *reader) read(key string, secret bool) (text string, ok bool) {
	v, fault := r.file.get(r.section, key, secret)
	r.faults.add(fault)
	if v.there {
		r.at[key] = v.place
	}
	return v.text, v.there && fault == nil
}

// wrong adds a fault for each of the errors that err joins.
func (r *reader) wrong(key string, err error) {
	if err == nil {
		return
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range joined.Unwrap() {
			r.wrong(key, err)
		}
		return
	}
	r.fault(key, "%v", err)
}

func (r *reader) fault(key, format string, args ...any) {
	r.faults.add(r.file.fault(r.at[key], "[%s] %s: "+format, append([]any{r.section.name, key}, args...)...))
}

// maxSeconds is the longest time that is taken for one.
const maxSeconds = 1e6

// seconds reads a positive number of seconds.
func (r *reader) seconds(key, text string) time.Duration {
	n, ok := number(text)
	if !ok || n <= 0 || n > maxSeconds {
		r.fault(key, "%q is not a number of seconds", text)
		return 0
	}
	return time.Duration(math.Ceil(n * float64(time.Second)))
}

// pythonNumber is the form of a number that Python's float reads, but for
// infinity and NaN.
var pythonNumber = regexp.MustCompile(`^[+-]?(\d+(_\d+)*\.?(\d+(_\d+)*)?|\.\d+(_\d+)*)([eE][+-]?\d+(_\d+)*)?$`)

// number reads a number as Python's float does. What is not finite is none
// here.
func number(text string) (n float64, ok bool) {
	text = strings.TrimSpace(text)
	if !pythonNumber.MatchString(text) {
		return 0, false
	}
	n, err := strconv.ParseFloat(strings.ReplaceAll(text, "_", ""), 64)
	return n, err == nil
}
