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
	*loader
	src    Sources
	ours   []map[string]value // what our own sources say, the weakest first
	file   *zuulconf.File
	values map[string]value // what the file says, by our keys
}

// readZuul applies what a zuul.conf says. It needs to know what the stronger
// sources say: they choose the connection, and with another store its ZooKeeper
// is none of our business.
func (l *loader) readZuul(src Sources, ours []map[string]value) {
	r := zuulReader{loader: l, src: src, ours: ours, values: map[string]value{}}
	raw, err := readAtMost(src.ZuulConf, maxFile)
	if err != nil {
		l.faults.add(Place{}, "", "%v", err)
		l.unread, l.zuulFailed = true, true
		return
	}
	r.file, err = zuulconf.Parse(src.ZuulConf, raw, src.Environ)
	if err != nil {
		r.wrong(err)
		l.unread, l.zuulFailed = true, true
		return
	}
	r.zookeeper()
	if c := r.connection(); c != nil {
		r.kinesis(c)
	}
	l.apply(r.values)
}

// said returns what the strongest of our sources says about a setting that is
// one text; nothing: ok is false.
func (r *zuulReader) said(key string) (text string, at Place, ok bool) {
	for _, values := range slices.Backward(r.ours) {
		if v := values[key]; len(v.texts) > 0 {
			return v.texts[0], v.places[0], true
		}
	}
	return "", Place{}, false
}

// wrong takes over the faults that err joins; nil: none.
func (r *zuulReader) wrong(err error) {
	if err == nil {
		return
	}
	for _, err := range each(err) {
		var fault *zuulconf.Fault
		if errors.As(err, &fault) {
			r.faults.add(r.at(fault.Place), "", "%s", fault.Problem)
		}
	}
}

// at returns a place in the zuul.conf.
func (r *zuulReader) at(p zuulconf.Place) Place {
	return Place{Name: r.src.ZuulConf, Line: p.Line, Column: p.Column}
}

// set notes the value of a setting, unless it is empty.
func (r *zuulReader) set(key, text string, at zuulconf.Place) {
	if text != "" {
		r.values[key] = value{texts: []string{text}, places: []Place{r.at(at)}}
	}
}

// zookeeper takes the section [zookeeper], unless a store of another kind is
// asked for.
func (r *zuulReader) zookeeper() {
	store, at, given := r.said("store")
	if given && !strings.HasPrefix(store, zookeeperPrefix) {
		r.config.Notes = append(r.config.Notes,
			fmt.Sprintf("the ZooKeeper of %s is not used: %s asks for another store", r.src.ZuulConf, at))
		return
	}
	z, err := r.file.ZooKeeper()
	switch {
	case err != nil:
		r.wrong(err)
		r.zuulFailed = true
	case given:
	case len(z.Servers) == 0:
		r.faults.add(r.at(zuulconf.Place{}), "store", "it names no ZooKeeper (hosts in [zookeeper]); %s", howToSet("store", r.src.File != ""))
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

// connection chooses the connection: the one that our sources name, or the only
// one that gets its events from Kinesis. nil: our sources say what it would, or
// a fault.
func (r *zuulReader) connection() *zuulconf.Connection {
	name, at, given := r.said("connection")
	if !given {
		if name = r.onlyConnection(); name == "" {
			return nil
		}
	}
	c, err := r.file.Kinesis(name)
	switch _, _, stream := r.said("stream"); {
	case err != nil:
		r.wrong(err)
		r.unread = true // the stream may be there
	case c != nil:
		return c
	case !slices.Contains(r.file.Connections(), name):
		r.faults.add(at, "connection", "%s has no [connection %s]%s", r.src.ZuulConf, name, r.choices())
		r.unread = true
	case !stream && !r.src.StoreOnly:
		r.faults.add(at, "connection", "[connection %s] of %s does not get its events from Kinesis: it has no %s; %s",
			name, r.src.ZuulConf, zuulconf.KeyRegion, howToSet("stream", r.src.File != ""))
		r.unread = true
	}
	return nil
}

// onlyConnection returns the only connection that gets its events from Kinesis;
// "": a fault.
func (r *zuulReader) onlyConnection() string {
	names, err := r.file.KinesisConnections()
	switch {
	case err != nil:
		r.wrong(err)
	case len(names) == 0:
		r.faults.add(r.at(zuulconf.Place{}), "connection", "no [connection ...] in it gets its events from Kinesis: none has %s",
			zuulconf.KeyRegion)
	case len(names) > 1:
		r.faults.add(r.at(zuulconf.Place{}), "connection", "%d connections in it get their events from Kinesis: %s; %s",
			len(names), strings.Join(names, ", "), howToSet("connection", r.src.File != ""))
	default:
		return names[0]
	}
	r.unread = true // so much for the stream
	return ""
}

// choices names the connections that can be chosen, in half a sentence.
func (r *zuulReader) choices() string {
	names, err := r.file.KinesisConnections()
	if err != nil || len(names) == 0 {
		return ""
	}
	return "; those that get their events from Kinesis: " + strings.Join(names, ", ")
}

// kinesis takes what a connection says.
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
	for _, key := range []string{"aws.access_key_file", "aws.secret_key_file", "aws.session_token_file", "aws.credentials_file"} {
		if _, at, given := r.said(key); given {
			r.config.Notes = append(r.config.Notes,
				fmt.Sprintf("the key of %s [%s] is not used: %s names another", r.src.ZuulConf, c.Section, at))
			return
		}
	}
	r.config.Kinesis.Credentials.Keys = zuulKeys(r.src.ZuulConf, c).Reread(func() (kinesis.Keys, error) { return rereadZuulKeys(r.src, c.Name) })
}

// zuulKeys is the key that a connection names.
func zuulKeys(path string, c *zuulconf.Connection) kinesis.Keys {
	return kinesis.NewKeys(string(c.AccessKey), string(c.SecretKey), fmt.Sprintf("%s [%s]", path, c.Section))
}

// rereadZuulKeys reads the key of a connection again, as it may have been
// changed while we run. A file that is gone, half written, or without the key
// is an error: whoever asked tries again.
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
