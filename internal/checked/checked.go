// Package checked does arithmetic on sizes and offsets that come from outside,
// with a report of overflow instead of a wrong result. Code that reads a file
// format computes every product, sum and padding of claimed sizes here.
package checked

import "math/bits"

// Add returns a+b; ok is false if the sum does not fit.
func Add(a, b uint64) (sum uint64, ok bool) {
	sum, carry := bits.Add64(a, b, 0)
	return sum, carry == 0
}

// Mul returns a*b; ok is false if the product does not fit.
func Mul(a, b uint64) (product uint64, ok bool) {
	high, product := bits.Mul64(a, b)
	return product, high == 0
}

// AlignUp returns the smallest multiple of align that is at least n; ok is
// false if it does not fit or if align is not a power of two.
func AlignUp(n, align uint64) (aligned uint64, ok bool) {
	if align == 0 || align&(align-1) != 0 {
		return 0, false
	}
	sum, ok := Add(n, align-1)
	return sum &^ (align - 1), ok
}
