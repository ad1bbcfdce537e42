// Package admin shows a running process to people and to machines, over HTTP:
// /healthz, /readyz, /metrics, and a plain page at /. It is given a function
// that returns the status, and sees nothing else of the process: it can change
// nothing.
package admin
