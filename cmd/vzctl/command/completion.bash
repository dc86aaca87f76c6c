# Completion of vzctl in bash: the program itself says what may follow.
_vzctl_complete() {
	local cur="${COMP_WORDS[COMP_CWORD]}"
	local words=("${COMP_WORDS[@]:0:COMP_CWORD}")
	[[ "$cur" == -* ]] && words+=("$cur")
	COMPREPLY=($(compgen -W "$("${words[@]}" --generate-bash-completion 2>/dev/null | sed 's/:.*//')" -- "$cur"))
}
complete -o bashdefault -o default -F _vzctl_complete vzctl
