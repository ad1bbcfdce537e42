package kinesistest

import (
	"bytes"
	"crypto/md5" //nolint:gosec // Kinesis routes by it
	"math/big"
)

// hashKey is a 128-bit key, most significant byte first.
type hashKey [16]byte

// maxHashKey is the last key: 2^128-1.
func maxHashKey() hashKey {
	var k hashKey
	for i := range k {
		k[i] = 0xff
	}
	return k
}

func hashOf(partitionKey string) hashKey {
	return md5.Sum([]byte(partitionKey)) //nolint:gosec // see above
}

// parseHashKey reads a decimal key; ok is false when it is none or too large.
func parseHashKey(s string) (key hashKey, ok bool) {
	n, ok := new(big.Int).SetString(s, 10)
	if !ok || n.Sign() < 0 || n.BitLen() > 8*len(key) {
		return hashKey{}, false
	}
	return keyOf(n), true
}

func keyOf(n *big.Int) hashKey {
	var k hashKey
	n.FillBytes(k[:])
	return k
}

func (k hashKey) int() *big.Int             { return new(big.Int).SetBytes(k[:]) }
func (k hashKey) String() string            { return k.int().String() }
func (k hashKey) compare(other hashKey) int { return bytes.Compare(k[:], other[:]) }

// before is the key in front of k, which is not the first.
func (k hashKey) before() hashKey { return keyOf(new(big.Int).Sub(k.int(), big.NewInt(1))) }

// evenStarts cuts all keys into n ranges of equal size, the last one taking the
// rest, and returns where each starts.
func evenStarts(n int) []hashKey {
	size := new(big.Int).Lsh(big.NewInt(1), 128)
	size.Div(size, big.NewInt(int64(n)))
	starts := make([]hashKey, n)
	for i := range starts {
		starts[i] = keyOf(new(big.Int).Mul(size, big.NewInt(int64(i))))
	}
	return starts
}

// middle is the key that cuts a range into two halves.
func middle(first, last hashKey) hashKey {
	sum := new(big.Int).Add(first.int(), last.int())
	sum.Add(sum, big.NewInt(1))
	return keyOf(sum.Rsh(sum, 1))
}
