package daemon

import (
	"context"
	"fmt"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/kinesis"
)

// listWithin is how long listing a stream may take, with all its pages.
const listWithin = 30 * time.Second

// ListStream lists the stream that the configuration names, once, for commands
// that do not read it. Its errors are those of gerritstream.Source.List, and
// *ConfigError.
func ListStream(ctx context.Context, c *config.Config) (gerritstream.Listing, error) {
	ctx, cancel := context.WithTimeout(ctx, listWithin)
	defer cancel()
	source, err := kinesis.New(ctx, c.Kinesis)
	if err != nil {
		return gerritstream.Listing{}, sourceFault(err)
	}
	listing, err := source.List(ctx)
	if err != nil {
		return gerritstream.Listing{}, fmt.Errorf("list the stream: %w", err)
	}
	return listing, nil
}
