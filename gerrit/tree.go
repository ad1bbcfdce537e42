package gerrit

import "strings"

// node is a row of the table prepared for scanning.
type node struct {
	name    string
	kinds   kinds
	field   field
	scope   member   // the node's own member if others have rows within it, else noMember
	last    member   // the last one within; those within follow the node without a gap
	fields  [2]field // the fields within: the first, and the one after the last
	element member   // each element of an array; noMember: elements have no row
	first   bool     // only the first element counts

	// The members within, by a hash of their names that is free of collisions.
	seed  uint32
	slots [slotCount]member
}

// slotCount is a power of two, several times the members of any object.
const (
	slotBits  = 7
	slotCount = 1 << slotBits
)

// tree is the table prepared for scanning. It is never written to.
var tree = grow()

// grow makes the nodes of the table's rows.
func grow() *[len(table)]node {
	var nodes [len(table)]node
	within := map[string][]member{}
	byPath := map[string]member{"": top}
	for i := range table {
		m, r := member(i), &table[i]
		nodes[m] = node{kinds: r.kinds, field: r.field, last: m, fields: [2]field{fieldCount, 0}}
		if m <= top {
			continue
		}
		byPath[r.path] = m
		parent, name := split(r.path)
		nodes[m].name = name
		if name == "" {
			p := byPath[parent]
			nodes[p].element, nodes[p].first, nodes[p].scope = m, strings.HasSuffix(r.path, "[0]"), p
		} else {
			within[parent] = append(within[parent], m)
		}
		for path := r.path; path != ""; { // widen every node that it stands in
			path, _ = split(path)
			n := &nodes[byPath[path]]
			n.last = m
			if r.field != noField {
				n.fields = [2]field{min(n.fields[0], r.field), r.field + 1}
			}
		}
	}
	for path, members := range within {
		p := byPath[path]
		nodes[p].scope = p
		nodes[p].place(members, &nodes)
	}
	return &nodes
}

// split divides a path into the path around it and its own name; "" for an
// element.
func split(path string) (parent, name string) {
	if strings.HasSuffix(path, "]") {
		return path[:strings.LastIndexByte(path, '[')], ""
	}
	dot := strings.LastIndexByte(path, '.')
	return path[:max(dot, 0)], path[dot+1:]
}

// place finds a seed with which no two names share a slot.
func (n *node) place(members []member, nodes *[len(table)]node) {
	for n.seed = 1; ; n.seed += 0x9e3779b2 { // odd ones only
		n.slots = [slotCount]member{}
		clash := false
		for _, m := range members {
			slot := &n.slots[hash([]byte(nodes[m].name), n.seed)]
			clash = clash || *slot != noMember
			*slot = m
		}
		if !clash {
			return
		}
	}
}

// hash returns the slot of a name, which is not empty. The length and three
// bytes are enough to tell apart the names of any one object.
func hash(name []byte, seed uint32) uint32 {
	n := len(name)
	h := uint32(name[0]) | uint32(name[n/2])<<8 | uint32(name[n-1])<<16
	h |= uint32(n) << 24 //nolint:gosec // a long name only wraps around
	return h * seed >> (32 - slotBits)
}

// lookUp returns the member for a name within a scope.
func lookUp(scope member, key []byte) member {
	if len(key) == 0 {
		return noMember
	}
	n := &tree[scope]
	m := n.slots[hash(key, n.seed)]
	if tree[m].name != string(key) {
		return noMember
	}
	return m
}
