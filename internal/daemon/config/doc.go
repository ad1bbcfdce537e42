// Package config is what a gerritstream process is told: by a zuul.conf, by a
// YAML file, by GERRITSTREAM_* environment variables and by flags, each over
// the one before.
//
// One table (see settings.go) names every setting once, with its key in the
// file, its flag, its variable, its help text and the rule its value obeys;
// file, environment, flags and help are all read from it. goccy/go-yaml gives
// the file's syntax tree, because a tree has the line and column that every
// fault is reported with. A layer that merges maps (koanf and its like) would
// sit between the two and lose exactly those positions, so there is none.
//
// Secrets are not settings. AWS credentials come from the files and environment
// variables that AWS' own tools use; a setting at most names a file. Only a
// zuul.conf holds a key itself; it becomes a kinesis.Keys, which nobody can
// print.
package config
