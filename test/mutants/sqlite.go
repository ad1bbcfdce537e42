package main

// sqliteMutants are the breaks of the store in one file.
var sqliteMutants = []mutant{
	{
		name: "SQLite: nobody notices that the file was taken away",
		file: "sqlite/place.go",
		old:  "		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):\n",
		new:  "		case errors.Is(err, syscall.ENOTDIR):\n",
		pkg:  "./sqlite", tests: "TestTakenAway",
	},
	{
		name: "SQLite: a commit into a file that was taken away counts",
		file: "sqlite/writer.go",
		old:  "	if err := w.store.place.check(); err != nil {",
		new:  "	if err := w.store.fate(); err != nil {",
		pkg:  "./sqlite", tests: "TestCommitIntoAFileThatWasReplaced",
	},
	{
		name: "SQLite: another file in the place of the first is as good",
		file: "sqlite/place.go",
		old:  "case err == nil && !os.SameFile(info, f.info):",
		new:  "case err == nil && info.Size() < 0:",
		pkg:  "./sqlite", tests: "TestTakenAway",
	},
	{
		name: "SQLite: a database made read-only is waited for",
		file: "sqlite/place.go",
		old:  "		err = s.place.checkWritable()\n",
		new:  "",
		pkg:  "./sqlite", tests: "TestMadeReadOnly",
	},
	{
		name: "SQLite: a store that is gone does not end Run",
		file: "supervisor.go",
		old:  "errors.Is(err, ErrNewerFormat), errors.Is(err, ErrStoreGone), ",
		new:  "errors.Is(err, ErrNewerFormat), ",
		pkg:  ".", tests: "TestAStoreThatIsGoneEndsRun",
	},
	{
		name: "SQLite: a restored copy keeps its journal mode",
		file: "sqlite/schema.go",
		old:  "	if err := setJournal(ctx, conn); err != nil || s.version == len(migrations) {\n		return err\n	}\n",
		new:  "	if s.version == len(migrations) {\n		return nil\n	}\n	if err := setJournal(ctx, conn); err != nil {\n		return err\n	}\n",
		pkg:  "./sqlite", tests: "TestCopyInAnotherJournalMode",
	},
	{
		name: "SQLite: a file mounted by itself is taken",
		file: "sqlite/file.go",
		old:  "	if mounted(path) {",
		new:  "	if mounted(path) && path == \"\" {",
		pkg:  "./sqlite", tests: "TestMountedByItself",
	},
	{
		name: "SQLite: every missing folder is made",
		file: "sqlite/file.go",
		old:  "	err := os.Mkdir(folder, 0o700)\n",
		new:  "	err := os.MkdirAll(folder, 0o700)\n",
		pkg:  "./sqlite", tests: "TestMissingFolders",
	},
}
