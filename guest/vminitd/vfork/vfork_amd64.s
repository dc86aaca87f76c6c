#include "textflag.h"

// The child has the parent's stack and must leave it as it is: it only uses registers, and writes the results of its calls.

// func vfork(f *frame) (result uintptr)
TEXT ·vfork(SB),NOSPLIT,$0-16
	MOVQ	f+0(FP), R8
	MOVQ	16(R8), R12 // calls
	MOVQ	24(R8), R13 // count
	MOVQ	0(R8), DI
	MOVQ	8(R8), SI
	MOVQ	$435, AX // clone3
	SYSCALL
	TESTQ	AX, AX
	JZ	child
	MOVQ	AX, result+8(FP)
	RET

child:
	MOVQ	0(R12), AX
	MOVQ	8(R12), DI
	MOVQ	16(R12), SI
	MOVQ	24(R12), DX
	MOVQ	32(R12), R10
	MOVQ	40(R12), R8
	XORQ	R9, R9
	SYSCALL
	MOVQ	AX, 48(R12)
	CMPQ	AX, $0xfffffffffffff001
	JCC	end
	ADDQ	$56, R12
	DECQ	R13
	JNZ	child

end:
	MOVQ	$253, DI
	MOVQ	$231, AX // exit_group
	SYSCALL
	JMP	end
