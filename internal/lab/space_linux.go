package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// space is a network namespace: a thread that was moved into a fresh one and never leaves it.
// What is to happen in the namespace runs on that thread, one thing at a time.
type space struct {
	name string
	tid  int // of the thread; the kernel and ip(8) find the namespace by it

	jobs chan func()
	gone chan struct{} // closed when the thread ends

	mu       sync.Mutex // guards what follows
	children []*Process
	closed   bool
}

// errNotPermitted: the process may not make namespaces, so it is not root in any useful sense.
var errNotPermitted = errors.New("this process may not make network namespaces")

// newSpace makes a namespace whose programs read hosts as /etc/hosts.
func newSpace(name, hosts string) (*space, error) {
	s := &space{name: name, jobs: make(chan func()), gone: make(chan struct{})}
	ready := make(chan error, 1)
	onOwnThread(func() {
		defer close(s.gone)
		s.tid = unix.Gettid()
		err := enter(hosts)
		ready <- err
		if err != nil {
			return
		}
		for job := range s.jobs {
			job()
		}
	})
	if err := <-ready; err != nil {
		return nil, err
	}
	return s, s.ip("link set lo up")
}

// onOwnThread runs f on a thread that ends with it. The first thread of a process cannot end,
// so if that is the one at hand, it is kept busy until f has another.
func onOwnThread(f func()) {
	go func() {
		runtime.LockOSThread() // and never unlocked: the runtime then ends the thread
		if unix.Gettid() != unix.Getpid() {
			f()
			return
		}
		other := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			close(other)
			f()
		}()
		<-other
		runtime.UnlockOSThread()
	}()
}

// enter moves the calling thread into a fresh network namespace, and into a mount namespace in
// which names are found in the lab's own file and nowhere else.
func enter(hosts string) error {
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
		if errors.Is(err, unix.EPERM) {
			return errNotPermitted
		}
		return fmt.Errorf("make a namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts to the namespace: %w", err)
	}
	// What /sys says of interfaces is of the namespace that it was mounted in.
	if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		return fmt.Errorf("mount /sys: %w", err)
	}
	for _, m := range [][2]string{{hosts, "/etc/hosts"}, {filepath.Join(filepath.Dir(hosts), "resolv.conf"), "/etc/resolv.conf"}} {
		if err := unix.Mount(m[0], m[1], "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s: %w", m[1], err)
		}
	}
	return nil
}

// do runs f in the namespace. Sockets, files below /proc/sys/net and processes that f makes are
// the namespace's; goroutines that f starts are not in it.
func (s *space) do(f func() error) error {
	done := make(chan error, 1)
	select {
	case s.jobs <- func() { done <- f() }:
		return <-done
	case <-s.gone:
		return fmt.Errorf("%s is closed", s.name)
	}
}

// Process is a program that runs in a host.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // valid after done
}

// start runs cmd in the namespace.
func (s *space) start(cmd *exec.Cmd) (*Process, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	// The thread that starts it is the namespace's own, so this is bound to the namespace.
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("%s is closed", s.name)
	}
	if err := s.do(cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s in %s: %w", filepath.Base(cmd.Path), s.name, err)
	}
	p := &Process{cmd: cmd, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	s.children = append(s.children, p)
	return p, nil
}

// Wait returns what the program ended with.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// PID is the program's.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends the program a signal.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Kill ends the program as a power cut would, and waits for its end.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.done
}

// close ends the programs and the thread, and with it the namespace.
func (s *space) close() {
	s.mu.Lock()
	children := s.children
	already := s.closed
	s.closed = true
	s.mu.Unlock()
	for _, p := range children {
		p.Kill()
	}
	if !already {
		close(s.jobs)
	}
	<-s.gone
}

// tool runs one of the administrator's programs in the namespace, with text as its input.
func (s *space) tool(text, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(text)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	// Waiting for it on the namespace's thread keeps the order of what is set up.
	if err := s.do(cmd.Run); err != nil {
		return fmt.Errorf("%s: %s %s: %w: %s\n%s", s.name, name, strings.Join(args, " "), err, &said, text)
	}
	return nil
}

// ip runs lines of ip(8).
func (s *space) ip(lines ...string) error {
	return s.tool(strings.Join(lines, "\n")+"\n", "ip", "-batch", "-")
}

// forwards waits until a port of the bridge passes packets on. The kernel notices by itself
// that both ends of a cable are up, up to a second later, and loses what is sent until then.
func (s *space) forwards(port string) error {
	const forwarding = "3" // BR_STATE_FORWARDING
	for end := time.Now().Add(setupTime); ; time.Sleep(time.Millisecond) {
		var state []byte
		err := s.do(func() (err error) {
			state, err = os.ReadFile("/sys/class/net/" + port + "/brport/state")
			return err
		})
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if strings.TrimSpace(string(state)) == forwarding {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: the kernel does not take %s up", s.name, port)
		}
	}
}

// setupTime is far more than any step of making a network takes.
const setupTime = 20 * time.Second

// sysctl sets values below /proc/sys/net.
func (s *space) sysctl(values ...string) error {
	return s.do(func() error {
		for _, v := range values {
			name, value, _ := strings.Cut(v, "=")
			if err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
		return nil
	})
}
