// Package child runs the program's own binary as processes of their own: nodes and people of
// the demonstration, nodes and relays of the benchmark. Call [Start], read what the process
// says with [Process.ReadLine], and end it with [Process.Stop]; it dies with its parent.
package child

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Process is one child. Its standard error goes to a file, because that is the log in which
// nothing secret may stand.
type Process struct {
	In io.WriteCloser // its standard input

	name string
	cmd  *exec.Cmd
	out  *bufio.Reader
	log  *os.File

	once sync.Once
	done chan struct{} // closed when the process has ended
}

// Start runs the binary with its log in logDir/NAME.log. The caller ends it with Stop or Kill.
func Start(name, binary, logDir string, args ...string) (*Process, error) {
	log, err := os.OpenFile(filepath.Join(logDir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	// Not bound to a context: a child is stopped in order, by Stop, or killed by Kill.
	cmd := exec.CommandContext(context.Background(), binary, args...)
	cmd.Stderr = log
	dieWithParent(cmd)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	// An os.Pipe of our own: Wait would close cmd.StdoutPipe under the reader's feet.
	read, write, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	cmd.Stdout = write
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), read.Close(), write.Close(), log.Close())
	}
	if err := write.Close(); err != nil {
		return nil, err
	}
	p := &Process{name: name, cmd: cmd, In: stdin, out: bufio.NewReaderSize(read, 64<<10), log: log, done: make(chan struct{})}
	go func() {
		// How it ended is in its log; what matters here is that it has.
		_ = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// PID is its process id, also after its end.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// ReadLine decodes one line of JSON from the child's standard output.
func (p *Process) ReadLine(into any) error {
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("%s ended before it answered: %w; its log: %s", p.name, err, p.logTail())
	}
	if err := json.Unmarshal(line, into); err != nil {
		return fmt.Errorf("%s did not answer in JSON: %w", p.name, err)
	}
	return nil
}

// Kill ends the process as a power cut would.
func (p *Process) Kill() {
	p.once.Do(func() { _ = p.cmd.Process.Kill() })
	<-p.done
}

// Stop asks the process to end and kills it when it does not within the grace.
func (p *Process) Stop(grace time.Duration) error {
	var forced bool
	p.once.Do(func() {
		_ = p.In.Close()
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-p.done:
		case <-timer.C:
			forced = true
			_ = p.cmd.Process.Kill()
		}
	})
	<-p.done
	if err := p.log.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	if forced {
		return fmt.Errorf("%s did not end within %s of SIGTERM", p.name, grace)
	}
	return nil
}

// logTail returns the end of the child's log for an error message.
func (p *Process) logTail() string {
	b, err := os.ReadFile(p.log.Name())
	if err != nil {
		return "unreadable"
	}
	const most = 600
	if len(b) > most {
		b = b[len(b)-most:]
	}
	return string(b)
}

// Run executes one command of the binary to its end and decodes its JSON output.
func Run(ctx context.Context, binary string, into any, args ...string) error {
	cmd := exec.CommandContext(ctx, binary, args...)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return fmt.Errorf("trunkline %s: %s", args[0], exit.Stderr)
		}
		return err
	}
	return json.Unmarshal(out, into)
}
