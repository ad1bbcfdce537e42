package gerrit

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

// row is a member of an event that a consumer reads, and its types.
type row struct {
	path  string   // "change.project"; "approvals[]": each element; "refUpdates[0]": the first alone
	kinds kinds    // what it may be if it is present
	of    []string // only in events of these types; nil: in all of them
	field field    // where its value is recorded; noField: only its kind counts
}

// members are the members of events that Zuul reads, in any release, with the
// types that Gerrit writes. A member may be null if Zuul treats that like an
// absent one. The rows are in depth-first order.
//
// What the wrong type does to Zuul, each tried with its own modules: an array
// or an object as newRev, project, ref or refName becomes a key of a dictionary
// and stops the whole queue, in some cases only with a replication_timeout; a
// wrong type where its handler looks inside keeps the event in the queue for
// ever, in releases before summer 2025; and one that its filters compare loses
// the event for every tenant.
var members = [...]row{
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
}

// accounts are the members of Gerrit's own events that hold an account; in a
// plugin's event the name may mean something else. It is never written to.
var accounts = [...]string{
	"uploader", "author", "submitter", "abandoner", "restorer", "reviewer", "changer", "editor", "deleter",
}

// table alone defines which types the members of an event may have: members,
// then those of accounts. It is never written to.
var table = func() (t [len(members) + 4*len(accounts)]row) {
	at := copy(t[:], members[:])
	for _, account := range accounts {
		t[at] = row{path: account, kinds: anObject | aNull, of: gerritTypes}
		for i, name := range []string{"name", "email", "username"} {
			t[at+1+i] = row{path: account + "." + name, kinds: aText | aNull, of: gerritTypes}
		}
		at += 4
	}
	return t
}()

// must describes what the member must be.
func (r *row) must() string {
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
	noMember member = iota // any member without a row
	top                    // the event itself
)

// field is a member whose value is recorded, for an Event or for a rule on more
// than its type. Fields are in the order of the table, so that those within a
// member follow each other.
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

// span is the place of a value. The zero span means that it is absent: only the
// event itself stands at offset 0.
type span struct{ start, end int }

// wrong holds for each member the offset of a value of a wrong kind; 0: none.
type wrong [len(table)]int

// note records a member's value, and replaces what was recorded.
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

// forget drops what was recorded within a member: of two members with one name
// the last counts, and counts as a whole.
func (s *scanner) forget(n *node) {
	for f := n.fields[0]; f < n.fields[1]; f++ {
		s.seen[f] = span{}
	}
	if s.wrong != nil {
		clear(s.wrong[n.scope+1 : n.last+1])
	}
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
