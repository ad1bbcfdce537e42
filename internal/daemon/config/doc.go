// Package config reads the configuration of a gerritstream process from a
// zuul.conf, a YAML file, GERRITSTREAM_* environment variables and flags, each
// overriding those before.
//
// Two tables hold what there is to know. settings.go has a row for each
// setting, with its key, flag, default, bounds and meaning, from which file,
// environment, flags, help and docs/configuration.md follow. stores.go has a
// row for each kind of store.
//
// goccy/go-yaml provides the file's syntax tree, which has the line and column
// that every fault is reported with. A layer that merges maps (koanf and its
// like) would lose those positions, so there is none.
//
// Secrets are not settings. AWS credentials come from the files and environment
// variables that AWS' own tools use; a setting at most names a file. Only a
// zuul.conf holds a key itself; it becomes a kinesis.Keys, which never prints.
package config
