#include "textflag.h"

// func Pause()
// The frame of more than 128 bytes makes the assembler insert the stack check
// that lets the runtime preempt a spinning goroutine.
TEXT ·Pause(SB), 0, $160-0
	PAUSE
	PAUSE
	RET
