package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/gerritstream/gerritstream/internal/daemon/zuulconf"
	"github.com/gerritstream/gerritstream/kinesis"
)

// zuulReader takes settings from a zuul.conf.
type zuulReader struct {
	l      *loader
	ours   []map[string]given // what the other sources give, the weakest first
	file   *zuulconf.File
	values map[string]given // what the file gives, by our keys
}

// readZuul applies a zuul.conf. What stronger sources give matters: they choose
// the connection, and with another store the file's ZooKeeper is not used.
func (l *loader) readZuul(ours []map[string]given) {
	r := zuulReader{l: l, ours: ours, values: map[string]given{}}
	raw, err := readAtMost(l.src.ZuulConf, maxFile)
	if err != nil {
		l.faults.add(Place{}, "", "%v", err)
	} else if r.file, err = zuulconf.Parse(l.src.ZuulConf, raw, l.src.Environ); err != nil {
		r.report(err)
	}
	if err != nil {
		l.unread, l.zuulFailed = true, true
		return
	}
	r.zookeeper()
	if c := r.connection(); c != nil {
		r.kinesis(c)
	}
	l.apply(r.values)
}

// given returns what the strongest other source gives for a setting that is one
// text; ok is false when none does.
func (r *zuulReader) given(key string) (text string, at Place, ok bool) {
	for _, values := range slices.Backward(r.ours) {
		if v := values[key]; len(v.texts) > 0 {
			return v.texts[0], v.places[0], true
		}
	}
	return "", Place{}, false
}

// report adds the faults that err joins.
func (r *zuulReader) report(err error) {
	for _, err := range each(err) {
		if fault, ok := errors.AsType[*zuulconf.Fault](err); ok {
			r.l.faults.add(r.at(fault.Place), "", "%s", fault.Problem)
		}
	}
}

// at returns a place in the zuul.conf.
func (r *zuulReader) at(p zuulconf.Place) Place {
	return Place{Name: r.l.src.ZuulConf, Line: p.Line, Column: p.Column}
}

// set notes the value of a setting, unless it is empty.
func (r *zuulReader) set(key, text string, at zuulconf.Place) {
	if text != "" {
		r.values[key] = given{[]string{text}, []Place{r.at(at)}}
	}
}

func (r *zuulReader) note(format string, args ...any) {
	r.l.config.Notes = append(r.l.config.Notes, fmt.Sprintf(format, args...))
}

// zookeeper takes the section [zookeeper], unless a store of another kind is
// configured.
func (r *zuulReader) zookeeper() {
	store, at, given := r.given("store")
	if given && !strings.HasPrefix(store, zookeeperPrefix) {
		r.note("the ZooKeeper of %s is not used: %s names another store", r.l.src.ZuulConf, at)
		return
	}
	z, err := r.file.ZooKeeper()
	switch {
	case err != nil:
		r.report(err)
		r.l.zuulFailed = true
	case given:
	case len(z.Servers) == 0:
		r.l.faults.add(r.at(zuulconf.Place{}), "store", "no ZooKeeper is named (hosts in [zookeeper]); %s",
			r.l.howToSet("store"))
	default:
		r.set("store", zookeeperPrefix+strings.Join(z.Servers, ",")+z.Chroot, z.At["hosts"])
	}
	r.set("zookeeper.tls.cert", z.Cert, z.At["tls_cert"])
	r.set("zookeeper.tls.key", z.Key, z.At["tls_key"])
	r.set("zookeeper.tls.ca", z.CA, z.At["tls_ca"])
	if z.SessionTimeout > 0 {
		r.set("zookeeper.session_timeout", z.SessionTimeout.String(), z.At["session_timeout"])
	}
}

// connection chooses the connection: the one that another source names, or the
// only one that gets its events from Kinesis. nil: nothing is to be taken from
// it, or there was a fault.
func (r *zuulReader) connection() *zuulconf.Connection {
	name, at, given := r.given("connection")
	if !given {
		if name = r.onlyConnection(); name == "" {
			r.l.unread = true // the stream may be there
			return nil
		}
	}
	path := r.l.src.ZuulConf
	c, err := r.file.Kinesis(name)
	switch _, _, stream := r.given("stream"); {
	case err != nil:
		r.report(err)
	case c != nil:
		return c
	case !slices.Contains(r.file.Connections(), name):
		choices := ""
		if names, err := r.file.KinesisConnections(); err == nil && len(names) > 0 {
			choices = "; those that get their events from Kinesis: " + strings.Join(names, ", ")
		}
		r.l.faults.add(at, "connection", "%s has no [connection %s]%s", path, name, choices)
	case !stream && !r.l.src.StoreOnly:
		r.l.faults.add(at, "connection", "[connection %s] of %s has no %s and gets no events from Kinesis; %s",
			name, path, zuulconf.KeyRegion, r.l.howToSet("stream"))
	default:
		return nil
	}
	r.l.unread = true
	return nil
}

// onlyConnection returns the only connection that gets its events from Kinesis;
// "": there was a fault.
func (r *zuulReader) onlyConnection() string {
	names, err := r.file.KinesisConnections()
	switch {
	case err != nil:
		r.report(err)
	case len(names) == 0:
		r.l.faults.add(r.at(zuulconf.Place{}), "connection",
			"no [connection ...] in it gets its events from Kinesis: none has %s", zuulconf.KeyRegion)
	case len(names) > 1:
		r.l.faults.add(r.at(zuulconf.Place{}), "connection",
			"%d connections in it get their events from Kinesis: %s; %s",
			len(names), strings.Join(names, ", "), r.l.howToSet("connection"))
	default:
		return names[0]
	}
	return ""
}

// kinesis takes the settings of a connection.
func (r *zuulReader) kinesis(c *zuulconf.Connection) {
	r.set("connection", c.Name, c.Place)
	r.set("stream", c.Stream, c.At[zuulconf.KeyStream])
	r.set("aws.region", c.Region, c.At[zuulconf.KeyRegion])
	if c.Replication {
		r.set("filter.replication", strconv.FormatBool(true), c.At[zuulconf.KeyReplication])
	}
	if c.AccessKey == "" {
		return
	}
	src := r.l.src
	for _, key := range keyFiles {
		if _, at, given := r.given(key); given {
			r.note("the key of %s [%s] is not used: %s names another", src.ZuulConf, c.Section, at)
			return
		}
	}
	r.l.config.Kinesis.Credentials.Keys = zuulKeys(src.ZuulConf, c).
		Reread(func() (kinesis.Keys, error) { return rereadZuulKeys(src, c.Name) })
}

// zuulKeys returns the key of a connection.
func zuulKeys(path string, c *zuulconf.Connection) kinesis.Keys {
	return kinesis.NewKeys(string(c.AccessKey), string(c.SecretKey), fmt.Sprintf("%s [%s]", path, c.Section))
}

// rereadZuulKeys reads the key of a connection again; it may have changed. A
// file that is gone, half written, or without the key is an error, and the
// caller tries again.
func rereadZuulKeys(src Sources, connection string) (kinesis.Keys, error) {
	raw, err := readAtMost(src.ZuulConf, maxFile)
	if err != nil {
		return kinesis.Keys{}, err
	}
	file, err := zuulconf.Parse(src.ZuulConf, raw, src.Environ)
	if err != nil {
		return kinesis.Keys{}, err
	}
	switch c, err := file.Kinesis(connection); {
	case err != nil:
		return kinesis.Keys{}, err
	case c == nil || c.AccessKey == "":
		return kinesis.Keys{}, fmt.Errorf("%s names no key for the connection %s any more", src.ZuulConf, connection)
	default:
		return zuulKeys(src.ZuulConf, c), nil
	}
}
