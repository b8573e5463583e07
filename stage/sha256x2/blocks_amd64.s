//go:build !purego

#include "textflag.h"

// The processor keeps a state as two registers: a, b, e, f and c, d, g, h. ABEF1 and so on
// are the first sum, with four registers for the sixteen words of its block; the other
// names are the second. X0 is what SHA256RNDS2 takes the words from, X13 and X15 are free.
#define ABEF1 X1
#define CDGH1 X2
#define ABEF2 X7
#define CDGH2 X8

// STATE turns eight words, low and high half, into the two registers.
#define STATE(abef, cdgh) \
	PSHUFD  $0xb1, abef, abef; \
	PSHUFD  $0x1b, cdgh, cdgh; \
	MOVO    abef, X15; \
	PALIGNR $8, cdgh, abef; \
	PBLENDW $0xf0, X15, cdgh

// WORDS is the reverse of STATE.
#define WORDS(abef, cdgh) \
	PSHUFD  $0x1b, abef, abef; \
	PSHUFD  $0xb1, cdgh, cdgh; \
	MOVO    abef, X15; \
	PBLENDW $0xf0, cdgh, abef; \
	PALIGNR $8, X15, cdgh

// LOAD reads four words of a block, which are big-endian.
#define LOAD(at, to) \
	MOVOU  at, to; \
	PSHUFB X14, to

// FOUR does four rounds, with the constants at AX.
#define FOUR(at, w, abef, cdgh) \
	MOVOU       at(AX), X0; \
	PADDD       w, X0; \
	SHA256RNDS2 X0, abef, cdgh; \
	PSHUFD      $0x0e, X0, X0; \
	SHA256RNDS2 X0, cdgh, abef

// NEXT turns the four oldest of sixteen words into the next four.
#define NEXT(w0, w1, w2, w3) \
	MOVO       w3, X13; \
	PALIGNR    $4, w2, X13; \
	SHA256MSG1 w1, w0; \
	PADDD      X13, w0; \
	SHA256MSG2 w3, w0

// TWICE does four rounds of both sums, and STEP readies the words of later ones too.
#define TWICE(at, w, v) \
	FOUR(at, w, ABEF1, CDGH1); \
	FOUR(at, v, ABEF2, CDGH2)

#define STEP(at, w0, w1, w2, w3, v0, v1, v2, v3) \
	TWICE(at, w0, v0); \
	NEXT(w0, w1, w2, w3); \
	NEXT(v0, v1, v2, v3)

// SIXTEEN does sixteen rounds of both.
#define SIXTEEN(at0, at1, at2, at3) \
	STEP(at0, X3, X4, X5, X6, X9, X10, X11, X12); \
	STEP(at1, X4, X5, X6, X3, X10, X11, X12, X9); \
	STEP(at2, X5, X6, X3, X4, X11, X12, X9, X10); \
	STEP(at3, X6, X3, X4, X5, X12, X9, X10, X11)

// func blocks2(a, b *[8]uint32, p, q *byte, n int)
TEXT ·blocks2(SB), NOSPLIT, $64-40
	MOVQ  a+0(FP), DI
	MOVQ  b+8(FP), SI
	MOVQ  p+16(FP), R8
	MOVQ  q+24(FP), R9
	MOVQ  n+32(FP), CX
	LEAQ  constants<>(SB), AX
	MOVOU swap<>(SB), X14
	MOVOU 0(DI), ABEF1
	MOVOU 16(DI), CDGH1
	STATE(ABEF1, CDGH1)
	MOVOU 0(SI), ABEF2
	MOVOU 16(SI), CDGH2
	STATE(ABEF2, CDGH2)

block:
	TESTQ CX, CX
	JEQ   done
	LOAD(0(R8), X3)
	LOAD(16(R8), X4)
	LOAD(32(R8), X5)
	LOAD(48(R8), X6)
	LOAD(0(R9), X9)
	LOAD(16(R9), X10)
	LOAD(32(R9), X11)
	LOAD(48(R9), X12)
	MOVOU ABEF1, before-64(SP)
	MOVOU CDGH1, before-48(SP)
	MOVOU ABEF2, before-32(SP)
	MOVOU CDGH2, before-16(SP)
	SIXTEEN(0, 16, 32, 48)
	SIXTEEN(64, 80, 96, 112)
	SIXTEEN(128, 144, 160, 176)
	TWICE(192, X3, X9)
	TWICE(208, X4, X10)
	TWICE(224, X5, X11)
	TWICE(240, X6, X12)
	MOVOU before-64(SP), X0
	PADDD X0, ABEF1
	MOVOU before-48(SP), X0
	PADDD X0, CDGH1
	MOVOU before-32(SP), X0
	PADDD X0, ABEF2
	MOVOU before-16(SP), X0
	PADDD X0, CDGH2
	ADDQ  $64, R8
	ADDQ  $64, R9
	DECQ  CX
	JMP   block

done:
	WORDS(ABEF1, CDGH1)
	MOVOU ABEF1, 0(DI)
	MOVOU CDGH1, 16(DI)
	WORDS(ABEF2, CDGH2)
	MOVOU ABEF2, 0(SI)
	MOVOU CDGH2, 16(SI)
	RET

// func cpuid(leaf uint32) (eax, ebx, ecx uint32)
TEXT ·cpuid(SB), NOSPLIT, $0-20
	MOVL leaf+0(FP), AX
	XORL CX, CX
	CPUID
	MOVL AX, eax+8(FP)
	MOVL BX, ebx+12(FP)
	MOVL CX, ecx+16(FP)
	RET

// swap reverses the bytes of each of four words.
DATA swap<>+0(SB)/8, $0x0405060700010203
DATA swap<>+8(SB)/8, $0x0c0d0e0f08090a0b
GLOBL swap<>(SB), RODATA|NOPTR, $16

// constants are those of FIPS 180-4, 4.2.2.
DATA constants<>+0x00(SB)/8, $0x71374491428a2f98
DATA constants<>+0x08(SB)/8, $0xe9b5dba5b5c0fbcf
DATA constants<>+0x10(SB)/8, $0x59f111f13956c25b
DATA constants<>+0x18(SB)/8, $0xab1c5ed5923f82a4
DATA constants<>+0x20(SB)/8, $0x12835b01d807aa98
DATA constants<>+0x28(SB)/8, $0x550c7dc3243185be
DATA constants<>+0x30(SB)/8, $0x80deb1fe72be5d74
DATA constants<>+0x38(SB)/8, $0xc19bf1749bdc06a7
DATA constants<>+0x40(SB)/8, $0xefbe4786e49b69c1
DATA constants<>+0x48(SB)/8, $0x240ca1cc0fc19dc6
DATA constants<>+0x50(SB)/8, $0x4a7484aa2de92c6f
DATA constants<>+0x58(SB)/8, $0x76f988da5cb0a9dc
DATA constants<>+0x60(SB)/8, $0xa831c66d983e5152
DATA constants<>+0x68(SB)/8, $0xbf597fc7b00327c8
DATA constants<>+0x70(SB)/8, $0xd5a79147c6e00bf3
DATA constants<>+0x78(SB)/8, $0x1429296706ca6351
DATA constants<>+0x80(SB)/8, $0x2e1b213827b70a85
DATA constants<>+0x88(SB)/8, $0x53380d134d2c6dfc
DATA constants<>+0x90(SB)/8, $0x766a0abb650a7354
DATA constants<>+0x98(SB)/8, $0x92722c8581c2c92e
DATA constants<>+0xa0(SB)/8, $0xa81a664ba2bfe8a1
DATA constants<>+0xa8(SB)/8, $0xc76c51a3c24b8b70
DATA constants<>+0xb0(SB)/8, $0xd6990624d192e819
DATA constants<>+0xb8(SB)/8, $0x106aa070f40e3585
DATA constants<>+0xc0(SB)/8, $0x1e376c0819a4c116
DATA constants<>+0xc8(SB)/8, $0x34b0bcb52748774c
DATA constants<>+0xd0(SB)/8, $0x4ed8aa4a391c0cb3
DATA constants<>+0xd8(SB)/8, $0x682e6ff35b9cca4f
DATA constants<>+0xe0(SB)/8, $0x78a5636f748f82ee
DATA constants<>+0xe8(SB)/8, $0x8cc7020884c87814
DATA constants<>+0xf0(SB)/8, $0xa4506ceb90befffa
DATA constants<>+0xf8(SB)/8, $0xc67178f2bef9a3f7
GLOBL constants<>(SB), RODATA|NOPTR, $256
