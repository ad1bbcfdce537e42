package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strconv"
)

// maxLine bounds a line of a tail: a record of 10 MiB in base64.
const maxLine = 16 << 20

// Values returns the query as the parameters of GET /v1/tail.
func (q *TailQuery) Values() url.Values {
	v := url.Values{"type": q.Filter.Types, "project": q.Filter.Projects, "ref": q.Filter.Refs, "verdict": q.Verdicts}
	if q.Since != "" {
		v.Set("since", q.Since)
	} else {
		v.Set("n", strconv.Itoa(q.N))
	}
	v.Set("payload", strconv.FormatBool(q.Payload))
	v.Set("stop", strconv.FormatBool(q.Stop))
	return v
}

// Line is a line of a tail: one of the two.
type Line struct {
	Verdict *Verdict
	Note    *Note
}

// Tail asks the process that serves a socket for its verdicts. Errors: a
// *Problem, or one of the connection, in which errors.Is finds
// syscall.ECONNREFUSED and fs.ErrNotExist if nobody serves the socket. What it
// yields ends with an error: io.EOF where the process ended it in order, or
// that of ctx.
func Tail(ctx context.Context, path string, q *TailQuery) (iter.Seq2[Line, error], error) {
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
		DisableKeepAlives: true,
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://gerritstream/v1/tail?"+q.Values().Encode(), nil)
	if err != nil {
		return nil, err
	}
	res, err := client.Do(req) //nolint:bodyclose // what is returned closes it
	if err != nil {
		return nil, errors.Unwrap(err) // without the URL, which is made up
	}
	if res.StatusCode != http.StatusOK {
		defer res.Body.Close()
		p := &Problem{}
		if err := json.NewDecoder(io.LimitReader(res.Body, maxBody)).Decode(p); err != nil {
			return nil, fmt.Errorf("the process answered with status %s", res.Status)
		}
		return nil, p
	}
	return func(yield func(Line, error) bool) {
		defer res.Body.Close()
		lines := bufio.NewScanner(res.Body)
		lines.Buffer(nil, maxLine)
		for lines.Scan() {
			l, err := decodeLine(lines.Bytes())
			if !yield(l, err) || err != nil {
				return
			}
		}
		err := lines.Err()
		if err == nil {
			err = io.EOF
		}
		yield(Line{}, err)
	}, nil
}

func decodeLine(b []byte) (l Line, err error) {
	var note Note
	if err := json.Unmarshal(b, &note); err == nil && note.Note != "" {
		return Line{Note: &note}, nil
	}
	l.Verdict = &Verdict{}
	if err := json.Unmarshal(b, l.Verdict); err != nil {
		return l, fmt.Errorf("read the process' answer: %w", err)
	}
	return l, nil
}
