//go:build !race

package gerritstream_test

const underRace = false
