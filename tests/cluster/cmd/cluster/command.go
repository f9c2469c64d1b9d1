package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	endLimit    = 10 * time.Second // between TERM and KILL
	endInterval = 50 * time.Millisecond
)

type process struct {
	pid, parent int
	zombie      bool
}

// readProcess parses /proc/PID/stat: pid (name) state parent. The name may hold anything.
func readProcess(path string) (p process, ok bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return p, false // it has ended since
	}
	after := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(after) < 2 {
		return p, false
	}
	p.zombie = after[0] == "Z" || after[0] == "X"
	if p.parent, err = strconv.Atoi(after[1]); err != nil {
		return p, false
	}
	p.pid, err = strconv.Atoi(filepath.Base(filepath.Dir(path)))
	return p, err == nil
}

// family is what lives below this process, except the servers.
type family struct {
	servers []int
	command int // its status is collected by who started it
}

// living returns the pids of all descendants, and reaps those that have become our children by
// the death of their parents and have ended.
func (f family) living() []int {
	paths, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is good
	children := map[int][]process{}
	for _, path := range paths {
		if p, ok := readProcess(path); ok && !slices.Contains(f.servers, p.pid) {
			children[p.parent] = append(children[p.parent], p)
		}
	}
	var pids []int
	for parents := []int{os.Getpid()}; len(parents) > 0; parents = parents[1:] {
		for _, p := range children[parents[0]] {
			if !p.zombie {
				pids = append(pids, p.pid)
				parents = append(parents, p.pid)
			} else if p.parent == os.Getpid() && p.pid != f.command {
				_, _ = unix.Wait4(p.pid, nil, unix.WNOHANG, nil)
			}
		}
	}
	return pids
}

// end asks all descendants to end and kills those that do not.
func (f family) end() {
	limit := time.Now().Add(endLimit)
	asked := map[int]bool{}
	for pids := f.living(); len(pids) > 0; pids = f.living() {
		for _, pid := range pids {
			// Any of them may have ended since.
			if time.Now().After(limit) {
				_ = unix.Kill(pid, unix.SIGKILL)
			} else if !asked[pid] {
				_ = unix.Kill(pid, unix.SIGTERM)
			}
			asked[pid] = true
		}
		time.Sleep(endInterval)
	}
}

// reap keeps orphans that have ended from staying in the process list until the command ends.
func (f family) reap(ctx context.Context) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	defer signal.Stop(ended)
	for {
		select {
		case <-ctx.Done():
			return
		case <-ended:
			f.living()
		}
	}
}

// runCommand runs o.command and returns its exit status. Orphans below it become our children, so
// that nothing that it starts can outlive this process.
func runCommand(ctx context.Context, s *servers, o options, dir string) (status int, err error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 1, fmt.Errorf("PR_SET_CHILD_SUBREAPER: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.Command(o.command[0], o.command[1:]...)
	cmd.Env = append(os.Environ(), "LEASE_SERVER_DIR="+dir, "CLUSTER_BIN="+o.bin)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return 127, err
	}
	below := family{
		servers: []int{s.etcd.cmd.Process.Pid, s.api.cmd.Process.Pid},
		command: cmd.Process.Pid,
	}
	go below.reap(ctx)
	broken := make(chan error, 1)
	go func() { broken <- s.wait(ctx) }()
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // its ProcessState is read below
		close(ended)
	}()
	select {
	case <-ended:
	case err = <-broken:
		if ctx.Err() != nil {
			err = errors.New("interrupted")
		}
	}
	below.end()
	<-ended
	status = cmd.ProcessState.ExitCode()
	if status < 0 {
		status = 128 + int(cmd.ProcessState.Sys().(syscall.WaitStatus).Signal())
	}
	return status, err
}
