// Command gerritstream receives Gerrit's events from an AWS Kinesis stream and
// queues each of them once, with any number of processes of which one per shard
// reads. `gerritstream --help` lists what it can do.
package main

import "os"

// version is set by the linker: git describe.
var version string

func main() {
	os.Exit(execute(os.Args[1:], process{
		stdin:   os.Stdin,
		stdout:  os.Stdout,
		stderr:  newLossyWriter(os.Stderr),
		environ: os.Environ(),
	}))
}
