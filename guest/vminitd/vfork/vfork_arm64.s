#include "textflag.h"

// The child has the parent's stack and must leave it as it is: it only uses registers, and writes the results of its calls.

// func vfork(f *frame) (result uintptr)
TEXT ·vfork(SB),NOSPLIT,$0-16
	MOVD	f+0(FP), R9
	MOVD	16(R9), R20 // calls
	MOVD	24(R9), R21 // count
	MOVD	0(R9), R0
	MOVD	8(R9), R1
	MOVD	$435, R8 // clone3
	SVC
	CBZ	R0, child
	MOVD	R0, result+8(FP)
	RET

child:
	MOVD	0(R20), R8
	MOVD	8(R20), R0
	MOVD	16(R20), R1
	MOVD	24(R20), R2
	MOVD	32(R20), R3
	MOVD	40(R20), R4
	MOVD	ZR, R5
	SVC
	MOVD	R0, 48(R20)
	CMN	$4095, R0
	BCS	end
	ADD	$56, R20
	SUBS	$1, R21
	BNE	child

end:
	MOVD	$253, R0
	MOVD	$94, R8 // exit_group
	SVC
	B	end
