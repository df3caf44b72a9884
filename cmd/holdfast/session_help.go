package main

// What the verbs of 'holdfast session' say of themselves, beside gc and fsck.

// Help is shown by 'holdfast session ls --help'.
func (sessionLsCmd) Help() string {
	return `A session's state is idle (a turn can begin), active (one is under way), interrupted (the last turn was cut short and can go on), parked (not expected soon) or damaged (records are lost: rewind or fork below, or delete).

Examples:
  holdfast session ls
  holdfast session ls --json | jq -r 'select(.state == "damaged").id'`
}

// Help is shown by 'holdfast session show --help'.
func (sessionShowCmd) Help() string {
	return `Example:
  holdfast session show sess_…`
}

// Help is shown by 'holdfast session tree --help'.
func (sessionTreeCmd) Help() string {
	return `A line for each turn: its state, the tokens that came with it and those of the answer, and how both begin. The head, which the next turn follows, has a star. Control characters are shown as dots.

Example:
  holdfast session tree sess_…`
}

// Help is shown by 'holdfast session fork --help'.
func (sessionForkCmd) Help() string {
	return `Prints the IDs of the new sessions. They need nothing of the old one afterwards.

Example:
  holdfast session fork --count 2 --turn turn_3 sess_…`
}

// Help is shown by 'holdfast session rewind --help'.
func (sessionRewindCmd) Help() string {
	return `The turns behind it stay in the tree, and can be the head again.

Examples:
  holdfast session rewind sess_… turn_1
  holdfast session rewind sess_… start`
}

// Help is shown by 'holdfast session export --help'.
func (sessionExportCmd) Help() string {
	return `The file holds all turns, as text and tokens, and not whose they are. KV is not in it: where the session is imported it is computed anew.

Examples:
  holdfast session export sess_… > session.hf
  holdfast session export -o session.hf sess_…`
}

// Help is shown by 'holdfast session import --help'.
func (sessionImportCmd) Help() string {
	return `Prints the ID of the new session, which is another than that of the exported one. A file that was changed or cut short is refused.

Examples:
  holdfast session import session.hf
  holdfast session import --server https://other:8080 --api-key-file key < session.hf`
}

// Help is shown by 'holdfast session verify --help'.
func (sessionVerifyCmd) Help() string {
	return `Prints what was read back. The exit code is 1 if records are lost or blocks are bad; blocks that are missing are computed anew and no damage.

Example:
  holdfast session verify sess_…`
}

// Help is shown by 'holdfast session rm --help'.
func (sessionRmCmd) Help() string {
	return `One that fails does not keep the others; the exit code is 1 then.

Example:
  holdfast session rm sess_… sess_…`
}

// Help is shown by 'holdfast session stats --help'.
func (sessionStatsCmd) Help() string {
	return `Examples:
  holdfast session stats
  holdfast session stats --json --store ~/.local/state/holdfast`
}
