#compdef vzctl
# Completion of vzctl in zsh: the program itself says what may follow.
_vzctl() {
	local -a options command
	command=("${(@)words[1,CURRENT-1]}")
	[[ "${words[CURRENT]}" == -* ]] && command+=("${words[CURRENT]}")
	options=("${(@f)$("${command[@]}" --generate-bash-completion 2>/dev/null)}")
	if [[ -n "${options[1]}" ]]; then
		_describe 'values' options
	else
		_files
	fi
}
compdef _vzctl vzctl
