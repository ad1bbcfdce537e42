package gerrit

// member names a place in an event that Scan takes note of. A member that is an object is also the scope of the members in
// it.
type member int

const (
	noMember member = iota
	top             // the event itself

	topType
	topProject
	topProjectName
	topRefName
	topRef
	topCreated
	topNewHead
	topChange
	topPatchSet
	topPatchSetComments
	topRefUpdate
	topRefUpdates

	projectName // project.name

	changeProject // change.project ...
	changeBranch
	changeNumber

	updateRefName // refUpdate.refName ...
	updateProject

	firstUpdate  // refUpdates[0]
	firstProject // refUpdates[0].project

	memberCount
)

// lookUp returns the member that a key names within a scope.
func lookUp(scope member, key []byte) member {
	switch scope {
	case top:
		return lookUpTop(key)
	case topChange:
		switch string(key) {
		case "project":
			return changeProject
		case "branch":
			return changeBranch
		case "number":
			return changeNumber
		}
	case topRefUpdate:
		switch string(key) {
		case "refName":
			return updateRefName
		case "project":
			return updateProject
		}
	case topProject:
		if string(key) == "name" {
			return projectName
		}
	case firstUpdate:
		if string(key) == "project" {
			return firstProject
		}
	}
	return noMember
}

func lookUpTop(key []byte) member {
	switch string(key) {
	case "type":
		return topType
	case "project":
		return topProject
	case "projectName":
		return topProjectName
	case "refName":
		return topRefName
	case "ref":
		return topRef
	case "eventCreatedOn":
		return topCreated
	case "newHead":
		return topNewHead
	case "change":
		return topChange
	case "patchSet":
		return topPatchSet
	case "patchSetComments":
		return topPatchSetComments
	case "refUpdate":
		return topRefUpdate
	case "refUpdates":
		return topRefUpdates
	}
	return noMember
}

// span is where a member's value stands. The zero span means that the member is absent: no value stands at offset 0 but the
// event itself.
type span struct{ start, end int }

// spans holds the last value of every member.
type spans [memberCount]span

// forget drops what was seen within a member: of two members with one name the last counts, and it counts whole.
func (s *spans) forget(m member) {
	switch m {
	case topProject:
		s[projectName] = span{}
	case topChange:
		s[changeProject], s[changeBranch], s[changeNumber] = span{}, span{}, span{}
	case topRefUpdate:
		s[updateRefName], s[updateProject] = span{}, span{}
	case topRefUpdates:
		s[firstProject] = span{}
	}
}
