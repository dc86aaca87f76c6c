package vm

import (
	"context"
	"strings"
	"time"
)

// haltAnswer bounds QEMU's answer to why its CPUs stand still.
const haltAnswer = 20 * time.Second

// halted looks why the CPUs stand still. Mostly that was asked for, to pause, save or copy the VM. One that cannot go on, as KVM has failed or does not know an
// instruction, would stand there for ever: QEMU leaves it for who debugs it. It is ended, and says why.
func (p *process) halted() {
	select {
	case <-p.greeted:
	case <-p.exited:
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), haltAnswer)
	defer cancel()
	var now struct {
		Status string `json:"status"`
	}
	if p.monitor.Execute(ctx, "query-status", nil, &now) != nil {
		return // it has ended, or does not answer, which others notice
	}
	if now.Status != "internal-error" {
		return
	}
	why := "QEMU cannot go on (" + now.Status + ")"
	if said := p.stderr.lines(4); len(said) > 0 {
		why += "; it said: " + strings.Join(said, " / ")
	}
	p.lost.CompareAndSwap(nil, why)
	_ = p.kills() // fails only if it has ended
}
