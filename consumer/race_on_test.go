//go:build race

package consumer_test

// underRace: the race detector makes SQLite ten times as slow.
const underRace = true
