// Package spin has the one instruction that a polite busy-wait needs. A spin
// loop without a safepoint holds up the garbage collector for seconds; every
// call of Pause is one.
package spin
