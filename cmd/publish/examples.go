package main

// example is a line that a person can try, and what it is for.
type example struct{ what, line string }

// examples are shown in the help and in the manual page of each command, by the
// command's path. A transcript takes them from the help and runs them.
var examples = map[string][]example{
	"init": {
		{"make a repository in the folder images", "publish init images"},
		{"take over a tree that a web server serves already", "publish init --adopt www images"},
	},
	"config check": {{"see what is wrong with publish.yaml after an edit", "publish config check"}},
	"stage add": {
		{"stage an image as distrobuilder leaves it", "publish stage add build"},
		{"stage an image with another alias, from two files", "publish stage add build/incus.tar.gz build/rootfs.squashfs --alias debian/stable"},
	},
	"stage import": {{"merge a tree that another tool made", "publish stage import www"}},
	"stage list":   {{"print the names of what is staged, for a script", "publish stage list --json | grep -o '\"product\":\"[^\"]*\"'"}},
	"stage remove": {
		{"take one version out of staging", "publish stage remove debian:12:default:amd64/20260103_00:00"},
		{"take a product out of staging, with all its versions", "publish stage remove alpine:3.23:default:amd64"},
	},
	"stage reset": {{"forget what is staged, and begin again from production", "publish stage reset"}},
	"validate": {
		{"check what is staged", "publish validate"},
		{"read every byte of what production serves", "publish validate --full production"},
	},
	"diff": {
		{"see what a promote would change", "publish diff"},
		{"compare generation 1 with production", "publish diff 1 production"},
	},
	"prune": {
		{"see what the rules of retention would take out, and why", "publish prune --dry-run"},
		{"keep the plan, read it, then do it", "publish prune --plan plan.json && publish prune --apply plan.json"},
	},
	"promote": {
		{"see what would change", "publish promote --dry-run"},
		{"make what is staged production", "publish promote -m 'weekly build'"},
	},
	"revert": {
		{"go back to the content before", "publish revert -m 'does not boot'"},
		{"go back to the content of generation 1", "publish revert 1"},
	},
	"hold":   {{"let no timer promote until somebody has looked", "publish hold -m 'images of Tuesday do not boot'"}},
	"unhold": {{"allow promotes again", "publish unhold"}},
	"revoke": {
		{"see what would be deleted", "publish revoke debian:12:default:amd64/20260102_00:00 -m 'ssh key inside' --dry-run"},
		{"delete it everywhere, without being asked", "publish revoke debian:12:default:amd64/20260102_00:00 -m 'ssh key inside' --yes"},
	},
	"pin":    {{"keep generation 1 until unpin", "publish pin 1 -m 'last one with the old kernel'"}},
	"unpin":  {{"let the window of generation 1 end it", "publish unpin 1"}},
	"status": {{"look", "publish status"}, {"in a monitor: fail if production is older than a month", "publish status --check --max-age 31d"}},
	"list": {
		{"print what production serves", "publish list"},
		{"print what generation 1 holds, for a script", "publish list 1 --json"},
	},
	"show":      {{"see who made generation 1, why, and until when it is kept", "publish show 1"}},
	"history":   {{"see the last five events", "publish history --limit 5"}, {"see the reverts of a week", "publish history --kind revert --since 7d"}},
	"changelog": {{"write what changed since the new year", "publish changelog --since 2026-01-01 > changelog.md"}},
	"verify":    {{"read all that production serves", "publish verify"}, {"read what generation 1 holds", "publish verify 1"}},
	"gc":        {{"see what can be deleted now", "publish gc --dry-run"}},
	"recover":   {{"finish what a killed command left", "publish recover"}},
	"completion": {
		{"complete commands in this bash", "eval \"$(publish completion bash)\""},
		{"complete commands in every fish", "publish completion fish > publish.fish"},
	},
	"man":     {{"write the manual page to a file", "publish man > publish.1"}},
	"help":    {{"read about promote", "publish help promote"}, {"see every key of publish.yaml", "publish help config"}},
	"version": {{"print the version for a script", "publish version --json"}},
}
