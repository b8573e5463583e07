# bash completion for publish
_publish() {
	local line=${COMP_LINE:0:COMP_POINT} words current keep value description
	read -ra words <<<"$line"
	[[ $line == *[[:space:]] ]] && words+=('')
	current=${words[${#words[@]} - 1]}
	# Bash takes a word apart at colons and equals signs, and replaces only
	# what stands behind the last one.
	keep=${current%"${current##*[:=]}"}
	COMPREPLY=()
	while IFS=$'\t' read -r value description; do
		case $value in
		:files) compopt -o default ;;
		:dirs) compopt -o dirnames ;;
		*) COMPREPLY+=("$(printf %q "${value#"$keep"}")") ;;
		esac
	done < <("${words[0]/#\~/$HOME}" __complete -- "${words[@]:1}" 2>/dev/null)
}
complete -F _publish publish
