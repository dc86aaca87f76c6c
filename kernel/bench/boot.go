package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// machine is what all measured kernels share.
type machine struct {
	initrd    string
	memoryMiB int
	cpu       string    // QEMU's -cpu
	extra     string    // more words for the command line
	devices   []string  // more of QEMU's arguments
	console   io.Writer // nil, or where a copy of the guest's words goes
}

// bootResult holds one boot's figures: wall from exec to the init's line, processor what the host spent on the whole
// QEMU process; guest is zero unless instructions were counted.
type bootResult struct {
	wall, processor, guest time.Duration
}

// reached is what init.c prints: the guest's cycle counter, which under -icount counts nanoseconds since reset.
var reached = regexp.MustCompile(`vzctl-bench: init reached, counter +([0-9]+)`)

// boot runs one kernel until its init has spoken and reset the machine. An error carries the guest's last words.
func (m machine) boot(ctx context.Context, kernel string, icount bool) (bootResult, error) {
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", m.arguments(kernel, icount)...)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return bootResult{}, fmt.Errorf("make a pipe for the console: %w", err)
	}
	var complaints strings.Builder
	cmd.Stderr = &complaints
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		return bootResult{}, fmt.Errorf("start QEMU: %w", err)
	}
	result, said, scanErr := m.watch(stdout, begun, icount)
	if err := errors.Join(scanErr, cmd.Wait(), ctx.Err()); err != nil {
		return bootResult{}, fmt.Errorf("%w; QEMU said %q, the guest last said:\n%s", err, complaints.String(), said)
	}
	if result.wall == 0 {
		return bootResult{}, fmt.Errorf("the guest stopped before its init ran; QEMU said %q, the guest last said:\n%s", complaints.String(), said)
	}
	result.processor = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return result, nil
}

func (m machine) watch(console io.Reader, begun time.Time, icount bool) (result bootResult, said string, err error) {
	var last []string
	lines := bufio.NewScanner(console)
	for lines.Scan() {
		line := lines.Text()
		if m.console != nil {
			if _, err := fmt.Fprintln(m.console, line); err != nil {
				return result, "", err
			}
		}
		last = append(last, line)
		last = last[max(0, len(last)-10):]
		match := reached.FindStringSubmatch(line)
		if match == nil {
			continue
		}
		result.wall = time.Since(begun)
		if icount {
			counter, err := strconv.ParseInt(match[1], 10, 64)
			if err != nil {
				return result, line, fmt.Errorf("read the guest's counter: %w", err)
			}
			result.guest = time.Duration(counter)
		}
	}
	return result, strings.Join(last, "\n"), lines.Err()
}

// arguments is the machine of README.md's table: microvm entered by PVH, no firmware tables, one serial port.
func (m machine) arguments(kernel string, icount bool) []string {
	tscKHz := hostTSC()
	accelerator := []string{"-accel", "tcg"}
	if icount {
		tscKHz = 1_000_000 // one tick per instruction
		accelerator = append(accelerator, "-icount", "shift=0,sleep=off")
	}
	words := fmt.Sprintf("console=ttyS0 quiet reboot=t panic=-1 no_timer_check noreplace-smp dummy.numdummies=0 "+
		"acpi=off pci=off nolapic_timer tsc=reliable tsc_early_khz=%d lpj=%d %s", tscKHz, tscKHz*1000/kernelHZ, m.extra)
	arguments := append(accelerator,
		"-M", "microvm,acpi=off,x-option-roms=off,rtc=on,pic=on,pit=on,isa-serial=on",
		"-cpu", m.cpu, "-smp", "1", "-m", strconv.Itoa(m.memoryMiB),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
		"-global", "virtio-mmio.force-legacy=off", "-kernel", kernel, "-initrd", m.initrd, "-append", strings.TrimSpace(words))
	return append(arguments, m.devices...)
}

// kernelHZ is CONFIG_HZ of our kernel; a peer's other value makes its delays longer or shorter, and no measured kernel delays.
const kernelHZ = 100

var megahertz = regexp.MustCompile(`cpu MHz\s*:\s*([0-9]+)\.([0-9]{3})`)

// hostTSC returns the host's cycle counter rate in kHz, which is the guest's under emulation; zero makes the guest calibrate.
func hostTSC() int {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return 0
	}
	match := megahertz.FindSubmatch(text)
	if match == nil {
		return 0
	}
	khz, err := strconv.Atoi(string(match[1]) + string(match[2]))
	if err != nil {
		return 0
	}
	return khz
}
