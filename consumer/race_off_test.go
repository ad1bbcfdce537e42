//go:build !race

package consumer_test

const underRace = false
