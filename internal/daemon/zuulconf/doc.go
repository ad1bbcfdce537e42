// Package zuulconf reads what concerns gerritstream in a zuul.conf: where
// ZooKeeper is, and which connections get their events from Kinesis. It is
// pure: it is handed the file's bytes and the environment, and opens nothing.
//
// Zuul reads the file with Python's ConfigParser, so that class' rules hold
// here, and a test compares the two:
//   - Sections are told apart by case; keys are lower-cased. [DEFAULT] is
//     inherited by every section, and the environment's variables that begin
//     with ZUUL_ are defaults of [DEFAULT].
//   - "key = value" or "key: value"; the first delimiter counts. A line that is
//     indented more than its key's goes on with the value, empty lines in
//     between included. A line that begins with "#" or ";" is a comment;
//     nothing else is.
//   - %(key)s stands for another key of the section, and %% for a percent sign.
//     It is resolved when a value is asked for, so that a value nobody asks for
//     may hold anything.
//   - A section or a key that is there twice, a key outside a section and a
//     line that is neither are faults.
//
// Zuul looks for the file in /etc/zuul/zuul.conf and then in ~/zuul.conf.
// Nothing is looked for here: it is named, or it is not read.
package zuulconf
