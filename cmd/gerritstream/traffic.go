package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/gerritstream/gerritstream/gerrittest"
)

// traffic is the flag for a rate of made-up events.
type traffic float64 // events a second; 0: none

var _ pflag.Value = (*traffic)(nil)

const (
	// maxTraffic is what an embedded Kinesis keeps in memory for an hour: some
	// gigabytes.
	maxTraffic = 500

	// trafficEvery is the pause between two calls of PutRecords.
	trafficEvery = 50 * time.Millisecond

	// badWithin spreads the first record of each bad kind over some minutes, so
	// that they are no burst, which would be trouble.
	badWithin = 4000
)

func (t *traffic) String() string {
	if *t == 0 {
		return ""
	}
	return strconv.FormatFloat(float64(*t), 'g', -1, 64) + "/s"
}

// Set reads a rate such as 20/s or 300/m.
func (t *traffic) Set(text string) error {
	number, unit, _ := strings.Cut(text, "/")
	per, known := map[string]float64{"": 1, "s": 1, "m": 60, "h": 3600}[unit]
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !known {
		return errors.New("must be a rate such as 20/s or 300/m")
	}
	if n /= per; !(n > 0 && n <= maxTraffic) {
		return fmt.Errorf("must be above 0 and at most %d/s: the stream is kept in memory", maxTraffic)
	}
	*t = traffic(n)
	return nil
}

// Type is what help calls the value.
func (*traffic) Type() string { return "rate" }

// newTraffic returns a producer of lifelike traffic for as long as wanted.
func newTraffic(stream *demoStream) *producer {
	return newProducer(stream, gerrittest.Options{Within: badWithin, BadEvery: badEvery(1)},
		func(*gerrittest.Record, *putAnswer) {})
}

// pace publishes at a rate until ctx ends. What a shard refuses for a while is
// caught up later.
func (p *producer) pace(ctx context.Context, rate traffic) error {
	ticker := time.NewTicker(trafficEvery)
	defer ticker.Stop()
	began, made := time.Now(), 0
	for {
		if due := int(time.Since(began).Seconds()*float64(rate)) - made; due > 0 {
			if err := p.publish(ctx, due); err != nil {
				return err
			}
			made += due
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}
