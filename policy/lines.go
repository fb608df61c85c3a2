package policy

import (
	"fmt"
	"sort"

	"github.com/pelletier/go-toml/v2/unstable"
)

// lineIndex knows on which line each key of a document stands, so that a check that happens
// after decoding can still point at the line. The decoder itself only knows positions while
// it reads. Paths look like "rule[2].actions[0]"; the path of a table is its header's line.
type lineIndex struct {
	lines map[string]int
	marks []mark // in the order of the document
}

type mark struct {
	line, column int
	path         string
}

// indexLines reads the document's outline. It is only called on documents that the decoder
// has accepted or refused already, so an error here ends the outline where it stands.
func indexLines(data []byte) *lineIndex {
	x := &lineIndex{lines: make(map[string]int)}
	var p unstable.Parser
	p.Reset(data)
	starts := lineStarts(data)
	at := func(n *unstable.Node) mark {
		off := int(n.Raw.Offset)
		line := sort.SearchInts(starts, off+1) // the number of lines that start at or before off
		return mark{line: line, column: off - starts[line-1] + 1}
	}
	counts := make(map[string]int) // array of tables -> how many so far
	here := ""
	for p.NextExpression() {
		switch n := p.Expression(); n.Kind {
		case unstable.Table, unstable.ArrayTable:
			path, m := "", mark{}
			parts := 0
			for k := n.Key(); k.Next() && parts < maxDepth; parts++ {
				if m.line == 0 {
					m = at(k.Node())
				}
				if c := counts[path]; c > 0 {
					path = fmt.Sprintf("%s[%d]", path, c-1)
				}
				path = join(path, string(k.Node().Data))
			}
			if n.Kind == unstable.ArrayTable {
				counts[path]++
				path = fmt.Sprintf("%s[%d]", path, counts[path]-1)
			}
			here = path
			x.add(path, m)
		case unstable.KeyValue:
			x.keyValue(here, n, at, 0)
		}
	}
	return x
}

// maxDepth is how deep the outline goes. The schema is four deep; without an end, a hostile
// document of nested brackets would make paths of quadratic size.
const maxDepth = 8

func (x *lineIndex) keyValue(parent string, n *unstable.Node, at func(*unstable.Node) mark, depth int) {
	path, m := parent, mark{}
	parts := 0
	for k := n.Key(); k.Next() && parts < maxDepth; parts++ {
		if parts == 0 {
			m = at(k.Node())
		}
		path = join(path, string(k.Node().Data))
	}
	x.add(path, m)
	x.value(path, m, n.Value(), at, depth+1)
}

func (x *lineIndex) value(path string, parent mark, n *unstable.Node, at func(*unstable.Node) mark, depth int) {
	if depth > maxDepth {
		return
	}
	switch n.Kind {
	case unstable.InlineTable:
		for c := n.Children(); c.Next(); {
			x.keyValue(path, c.Node(), at, depth)
		}
	case unstable.Array:
		i := 0
		for c := n.Children(); c.Next(); i++ {
			element := fmt.Sprintf("%s[%d]", path, i)
			m := parent
			if c.Node().Raw.Length > 0 {
				m = at(c.Node())
			}
			x.add(element, m)
			x.value(element, m, c.Node(), at, depth+1)
		}
	}
}

func (x *lineIndex) add(path string, m mark) {
	m.path = path
	if _, ok := x.lines[path]; !ok {
		x.lines[path] = m.line
	}
	x.marks = append(x.marks, m)
}

// line is where the path stands; for a key that is missing, where its table stands.
func (x *lineIndex) line(path string) int {
	for {
		if n, ok := x.lines[path]; ok {
			return n
		}
		cut := -1
		for i := len(path) - 1; i >= 0; i-- {
			if path[i] == '.' || path[i] == '[' {
				cut = i
				break
			}
		}
		if cut < 0 {
			return 1
		}
		path = path[:cut]
	}
}

// before is the path of the last key or table that starts at or before a position.
func (x *lineIndex) before(line, column int) string {
	path := ""
	for _, m := range x.marks {
		if m.line > line || (m.line == line && m.column > column) {
			break
		}
		path = m.path
	}
	return path
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func lineStarts(data []byte) []int {
	starts := []int{0}
	for i, b := range data {
		if b == '\n' {
			starts = append(starts, i+1)
		}
	}
	return starts
}
