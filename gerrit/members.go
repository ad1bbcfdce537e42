package gerrit

import "slices"

// kinds is a set of JSON's types.
type kinds uint8

const (
	aText kinds = 1 << iota
	aNumber
	aBoolean
	anObject
	anArray
	aNull

	anything = aText | aNumber | aBoolean | anObject | anArray | aNull
)

// row is one member of an event that somebody reads, and what it may be.
type row struct {
	path  string   // "change.project"; "approvals[]": each element; "refUpdates[0]": the first alone
	kinds kinds    // what it may be when it is there
	of    []string // only in events of these types; nil: in all of them
	field field    // where its value is noted; noField: only its kind counts
}

// table is the one place that says which types the members of an event may
// have: each member that Zuul reads, of any release, has the type that Gerrit
// writes. null stands where Zuul makes no difference between it and nothing.
// The rows are in depth-first order.
//
// What the wrong type does to Zuul (each tried with its own modules): an array
// or an object as newRev, project, ref or refName is used as a key of a
// dictionary and stops the whole queue, some of them only with a
// replication_timeout; what its handler looks into, and is of another type,
// stays in the queue for ever with releases before summer 2025; and what its
// filters compare loses the event for every tenant.
var table = [...]row{
	noMember: {kinds: anything},
	top:      {kinds: anything}, // not an object: found where the document is checked

	{path: "type", kinds: anything, field: topType}, // has a reason of its own
	{path: "eventCreatedOn", kinds: anything, field: topCreated},
	{path: "project", kinds: aText | anObject | aNull, field: topProject}, // old payloads: {"name": ...}
	{path: "project.name", kinds: aText | aNull, field: topProjectName},
	{path: "projectName", kinds: aText | aNull, field: projectName},
	{path: "refName", kinds: aText | aNull, field: topRefName},
	{path: "ref", kinds: aText | aNull, field: topRef},
	{path: "newHead", kinds: aText | aNull, field: topNewHead},
	{path: "newRev", kinds: aText | aNull},
	{path: "uuid", kinds: aText | aNull},
	{path: "comment", kinds: aText | aNull},
	{path: "status", kinds: aText | aNull, of: []string{typeRefReplicated}},

	{path: "change", kinds: anObject},
	{path: "change.project", kinds: aText, field: changeProject},
	{path: "change.branch", kinds: aText | aNull, field: changeBranch},
	{path: "change.number", kinds: aNumber | aText | aNull, field: changeNumber},
	{path: "change.id", kinds: aText | aNull},
	{path: "change.url", kinds: aText | aNull},
	{path: "change.topic", kinds: aText | aNull},
	{path: "change.status", kinds: aText | aNull},

	{path: "patchSet", kinds: anObject},
	{path: "patchSet.number", kinds: aNumber | aText | aNull},
	{path: "patchSet.ref", kinds: aText | aNull},
	{path: "patchSet.revision", kinds: aText | aNull},

	{path: "patchSetComments", kinds: anObject},
	{path: "patchSetComments./PATCHSET_LEVEL", kinds: anArray},
	{path: "patchSetComments./PATCHSET_LEVEL[]", kinds: anObject},
	{path: "patchSetComments./PATCHSET_LEVEL[].message", kinds: aText | aNull},

	{path: "refUpdate", kinds: anObject},
	{path: "refUpdate.refName", kinds: aText, field: updateRefName},
	{path: "refUpdate.project", kinds: aText, field: updateProject},
	{path: "refUpdate.oldRev", kinds: aText | aNull},
	{path: "refUpdate.newRev", kinds: aText | aNull},

	{path: "refUpdates", kinds: anything},
	{path: "refUpdates[0]", kinds: anything},
	{path: "refUpdates[0].project", kinds: anything, field: firstProject},

	{path: "approvals", kinds: anArray},
	{path: "approvals[]", kinds: anObject},
	{path: "approvals[].type", kinds: aText},
	{path: "approvals[].description", kinds: aText},
	{path: "approvals[].value", kinds: aNumber | aText},
	{path: "approvals[].oldValue", kinds: aNumber | aText},

	{path: "added", kinds: anArray | anObject}, // hashtags, or keyed values
	{path: "added[]", kinds: aText},
	{path: "removed", kinds: anArray | anObject},
	{path: "removed[]", kinds: aText},

	// Accounts. A plugin's event may mean something else by the name.
	{path: "uploader", kinds: anObject | aNull, of: gerritTypes},
	{path: "uploader.name", kinds: aText | aNull, of: gerritTypes},
	{path: "uploader.email", kinds: aText | aNull, of: gerritTypes},
	{path: "uploader.username", kinds: aText | aNull, of: gerritTypes},
	{path: "author", kinds: anObject | aNull, of: gerritTypes},
	{path: "author.name", kinds: aText | aNull, of: gerritTypes},
	{path: "author.email", kinds: aText | aNull, of: gerritTypes},
	{path: "author.username", kinds: aText | aNull, of: gerritTypes},
	{path: "submitter", kinds: anObject | aNull, of: gerritTypes},
	{path: "submitter.name", kinds: aText | aNull, of: gerritTypes},
	{path: "submitter.email", kinds: aText | aNull, of: gerritTypes},
	{path: "submitter.username", kinds: aText | aNull, of: gerritTypes},
	{path: "abandoner", kinds: anObject | aNull, of: gerritTypes},
	{path: "abandoner.name", kinds: aText | aNull, of: gerritTypes},
	{path: "abandoner.email", kinds: aText | aNull, of: gerritTypes},
	{path: "abandoner.username", kinds: aText | aNull, of: gerritTypes},
	{path: "restorer", kinds: anObject | aNull, of: gerritTypes},
	{path: "restorer.name", kinds: aText | aNull, of: gerritTypes},
	{path: "restorer.email", kinds: aText | aNull, of: gerritTypes},
	{path: "restorer.username", kinds: aText | aNull, of: gerritTypes},
	{path: "reviewer", kinds: anObject | aNull, of: gerritTypes},
	{path: "reviewer.name", kinds: aText | aNull, of: gerritTypes},
	{path: "reviewer.email", kinds: aText | aNull, of: gerritTypes},
	{path: "reviewer.username", kinds: aText | aNull, of: gerritTypes},
	{path: "changer", kinds: anObject | aNull, of: gerritTypes},
	{path: "changer.name", kinds: aText | aNull, of: gerritTypes},
	{path: "changer.email", kinds: aText | aNull, of: gerritTypes},
	{path: "changer.username", kinds: aText | aNull, of: gerritTypes},
	{path: "editor", kinds: anObject | aNull, of: gerritTypes},
	{path: "editor.name", kinds: aText | aNull, of: gerritTypes},
	{path: "editor.email", kinds: aText | aNull, of: gerritTypes},
	{path: "editor.username", kinds: aText | aNull, of: gerritTypes},
	{path: "deleter", kinds: anObject | aNull, of: gerritTypes},
	{path: "deleter.name", kinds: aText | aNull, of: gerritTypes},
	{path: "deleter.email", kinds: aText | aNull, of: gerritTypes},
	{path: "deleter.username", kinds: aText | aNull, of: gerritTypes},
}

// appliesTo reports whether the row counts in an event of a type.
func (r *row) appliesTo(eventType []byte) bool {
	return r.of == nil || slices.Contains(r.of, string(eventType))
}

// words names what the member must be.
func (r *row) words() string {
	switch r.kinds &^ aNull {
	case aText:
		return "a string"
	case anObject:
		return "an object"
	case anArray:
		return "an array"
	case aNumber | aText:
		return "a number or a string"
	case anArray | anObject:
		return "an array or an object"
	}
	return "a string or an object"
}

// member is a row of the table.
type member uint8

const (
	noMember member = iota // nothing that is taken note of
	top                    // the event itself
)

// field is a member whose value is noted: an Event is made of it, or a rule
// that is about more than its type. They are in the order of the table, so that
// those within a member follow each other.
type field uint8

const (
	noField field = iota
	topType
	topCreated
	topProject
	topProjectName // project.name
	projectName    // projectName
	topRefName
	topRef
	topNewHead
	changeProject // change.project ...
	changeBranch
	changeNumber
	updateRefName // refUpdate.refName ...
	updateProject
	firstProject // refUpdates[0].project

	fieldCount
)

// span is where a value stands. The zero span means that it is absent: no value
// stands at offset 0 but the event itself.
type span struct{ start, end int }

// wrong holds, of each member, where a value stands that is of another kind
// than its row says; 0: nowhere.
type wrong [len(table)]int

// note keeps what is known of a member's value, instead of what was known of
// it.
func (s *scanner) note(m member, n *node, start, end int) {
	s.seen[n.field] = span{start, end}
	if n.kinds&kindOf[s.data[start]] == 0 {
		if s.wrong == nil {
			s.wrong = new(wrong)
		}
		s.wrong[m] = start
	} else if s.wrong != nil {
		s.wrong[m] = 0
	}
}

// forget drops what was noted within a member: of two members with one name the
// last counts, and it counts whole.
func (s *scanner) forget(n *node) {
	for f := n.fields[0]; f < n.fields[1]; f++ {
		s.seen[f] = span{}
	}
	if s.wrong != nil {
		clear(s.wrong[n.scope+1 : n.last+1])
	}
}

// anyWrong reports whether a member, or one within, has a value of another kind
// than its row says.
func (s *scanner) anyWrong(m member) bool {
	return s.wrong != nil && slices.ContainsFunc(s.wrong[m:tree[m].last+1], func(at int) bool { return at > 0 })
}

// kindOf is the kind of the value that begins with a byte.
var kindOf = func() (k [256]kinds) {
	for c := '0'; c <= '9'; c++ {
		k[c] = aNumber
	}
	k['-'] = aNumber
	k['"'], k['{'], k['['] = aText, anObject, anArray
	k['t'], k['f'], k['n'] = aBoolean, aBoolean, aNull
	return k
}()
