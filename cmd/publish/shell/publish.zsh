#compdef publish
# zsh completion for publish
_publish() {
	local line
	local -a candidates
	for line in "${(@f)$("${words[1]/#\~/$HOME}" __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
		case $line in
		'') ;;
		:files) _files ;;
		:dirs) _files -/ ;;
		*$'\t'*) candidates+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}") ;;
		*) candidates+=("${line//:/\\:}") ;;
		esac
	done
	(( $#candidates )) && _describe -V publish candidates
}
if [ "$funcstack[1]" = _publish ]; then
	_publish "$@"
else
	compdef _publish publish
fi
