/*
 * The smallest /init that can be measured: says one line, then resets the machine.
 *
 * Under -no-reboot a reset ends QEMU; power-off without ACPI would only halt.
 * Padded to 2 MB, so that unpacking and reading it cost what a real static init costs. No C library: a guest kernel's
 * boot is measured, not a runtime's start.
 */
#ifndef PADDING
#define PADDING (2 << 20)
#endif

/* In .rodata and not in .bss: it must be bytes of the file. */
__attribute__((used)) static const volatile char padding[PADDING] = {1};

static char line[] = "vzctl-bench: init reached, counter                     \n";

/* From reboot(2). Given here, as headers of another architecture are rarely installed. */
#define REBOOT_MAGIC1 0xfee1dead
#define REBOOT_MAGIC2 672274793
#define REBOOT_RESTART 0x01234567

#if defined(__x86_64__)
#define SYS_WRITE 1
#define SYS_REBOOT 169

static long syscall4(long number, long a, long b, long c, long d)
{
	long result;
	register long r10 __asm__("r10") = d;
	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
	return result;
}

static unsigned long counter(void)
{
	unsigned int low, high;
	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (unsigned long)high << 32 | low;
}
#elif defined(__aarch64__)
#define SYS_WRITE 64
#define SYS_REBOOT 142

static long syscall4(long number, long a, long b, long c, long d)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
	return x0;
}

static unsigned long counter(void)
{
	unsigned long count;
	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(count));
	return count;
}
#endif

void _start(void)
{
	/* Decimal, right-aligned in the blanks of the line. */
	unsigned long count = counter();
	char *digit = line + sizeof(line) - 3;
	do
		*digit-- = '0' + count % 10;
	while (count /= 10);
	/* Descriptor 1 is /dev/console, opened by the kernel; the initrd carries the node. */
	syscall4(SYS_WRITE, 1, (long)line, sizeof(line) - 1, 0);
	syscall4(SYS_REBOOT, REBOOT_MAGIC1, REBOOT_MAGIC2, REBOOT_RESTART, 0);
	for (;;)
		;
}
