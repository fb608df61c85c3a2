package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/trunkline-net/trunkline/internal/child"
)

// process is one child of the demo.
type process struct {
	*child.Process
	person bool // not a node
}

// participant is the demo's end of one person's process.
type participant struct {
	*process
	name, dir string

	mu      sync.Mutex // guards next, waiting, broken
	next    int
	waiting map[int]chan reply
	broken  error
}

// refusal is an error that carries the code with which a node refused.
type refusal struct{ code, text string }

func (r *refusal) Error() string { return r.text }

func (d *demo) startParticipant(name string) (*participant, error) {
	dir := d.folder(name)
	c, err := child.Start(name, d.binary, d.logs, "demo-participant", "--data", dir)
	if err != nil {
		return nil, err
	}
	p := &process{Process: c, person: true}
	one := &participant{process: p, name: name, dir: dir, waiting: make(map[int]chan reply)}
	d.children = append(d.children, p)
	go one.readLoop()
	return one, nil
}

// readLoop hands replies to those who wait; it ends with the process's output.
func (p *participant) readLoop() {
	for {
		var r reply
		err := p.ReadLine(&r)
		p.mu.Lock()
		if err != nil {
			p.broken = err
			for id, c := range p.waiting {
				close(c)
				delete(p.waiting, id)
			}
			p.mu.Unlock()
			return
		}
		if c, ok := p.waiting[r.ID]; ok {
			delete(p.waiting, r.ID)
			c <- r
		}
		p.mu.Unlock()
	}
}

// do sends one request and waits for its reply.
func (p *participant) do(ctx context.Context, verb string, args, into any) error {
	wait, err := p.begin(verb, args)
	if err != nil {
		return err
	}
	return wait(ctx, into)
}

// begin sends one request and returns a function that waits for its reply, for verbs that
// take as long as the other side needs.
func (p *participant) begin(verb string, args any) (func(context.Context, any) error, error) {
	raw, err := json.Marshal(args)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	if p.broken != nil {
		p.mu.Unlock()
		return nil, p.broken
	}
	p.next++
	id, c := p.next, make(chan reply, 1)
	p.waiting[id] = c
	line, err := json.Marshal(request{ID: id, Do: verb, Args: raw})
	if err == nil {
		_, err = p.In.Write(append(line, '\n'))
	}
	p.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("ask %s to %s: %w", p.name, verb, err)
	}
	return func(ctx context.Context, into any) error {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s did not finish to %s: %w", p.name, verb, ctx.Err())
		case r, ok := <-c:
			if !ok {
				p.mu.Lock()
				defer p.mu.Unlock()
				return p.broken
			}
			if r.Error != "" {
				return fmt.Errorf("%s, %s: %w", p.name, verb, &refusal{code: r.Code, text: r.Error})
			}
			if into == nil {
				return nil
			}
			return json.Unmarshal(r.Result, into)
		}
	}, nil
}

func refusalCode(err error) string {
	var r *refusal
	if errors.As(err, &r) {
		return r.code
	}
	return ""
}
