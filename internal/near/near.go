// Package near finds the word that was probably meant by a mistyped one.
package near

import "strings"

// longest is the longest text that is compared with what it may have been meant
// to be.
const longest = 64

// Nearest returns the candidate that s was probably meant to be, or "" when
// none is close.
func Nearest(s string, candidates []string) string {
	if len(s) > longest {
		return ""
	}
	best, distance := "", max(1, len(s)/3)+1
	for _, c := range candidates {
		if d := editDistance(strings.ToLower(s), strings.ToLower(c)); d < distance {
			best, distance = c, d
		}
	}
	return best
}

// editDistance counts the bytes to insert, remove, replace or swap with a
// neighbour that make b of a.
func editDistance(a, b string) int {
	before, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		prev[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(prev[j]+cost, prev[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, prev, row = prev, row, before
	}
	return prev[len(b)]
}
